"""A folder of candidates that is written as they come, so that an interrupted run can be resumed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from typing import TYPE_CHECKING, Any

from monty.json import MontyEncoder
from pymatgen.io.cif import CifWriter
from pymatgen.symmetry.analyzer import SymmetryUndeterminedError

from icsg3d.crystals.display import CrystalList
from icsg3d.crystals.structures import read_json, structure_from_dict
from icsg3d.data.sources import load_structures
from icsg3d.errors import InputError
from icsg3d.files import saving, write_atomically
from icsg3d.generation.candidates import Candidate, mark_repeats
from icsg3d.run_folders import PartialRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

RESULT_FILE = "candidates.json.gz"
TABLE_FILE = "candidates.csv"
CIF_FOLDER = "cifs"
JUDGING_FILE = "judging.json"
PICTURE_FILE = "candidates.png"
PARTIAL_FILE = "candidates.partial.jsonl"
REPORT_FILE = "report.html"
CANDIDATE_FILES = (RESULT_FILE, REPORT_FILE, TABLE_FILE, PICTURE_FILE, PARTIAL_FILE, JUDGING_FILE, CIF_FOLDER)

_SYMPREC = 0.01


def candidate_from_dict(values: Mapping[str, Any]) -> Candidate:
    """Return a candidate of its monty dictionary, making nothing but a Candidate and its Structure.

    Raises:
        InputError: if the dictionary is something else.
    """
    try:
        fields = {name: value for name, value in values.items() if not name.startswith("@")}
        if fields["structure"] is not None:
            fields["structure"] = structure_from_dict(fields["structure"])
        return Candidate.from_checked(fields)
    except Exception as error:
        msg = f"an entry is no candidate of icsg3d ({type(error).__name__}: {error}); give a file of icsg3d generate"
        raise InputError(msg) from error


class CandidateFolder:
    """Candidates on disk: one line and one CIF each as they come, table and archive when the run ends.

    Args:
        folder: Of the run, claimed by :func:`icsg3d.run_folders.run_folder` with the names :data:`CANDIDATE_FILES`.
        settings: Of the run; finished candidates of another one are not taken.
        resume: Whether to take up what is there.
        cifs: Whether each candidate's CIF is written as it comes; else those of :meth:`write_ranked` are.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, resume: bool = False, cifs: bool = True) -> None:
        self.folder = folder
        self._cifs = cifs
        self._partial = PartialRows(folder / PARTIAL_FILE, dict(settings))
        self._partial.begin(resume=resume)
        self.candidates = [candidate_from_dict(row) for _, row in sorted(self._partial.rows.items())]
        with saving(folder):
            (folder / CIF_FOLDER).mkdir(exist_ok=True)

    def add(self, candidate: Candidate) -> None:
        """Keep a candidate."""
        if self._cifs and candidate.structure is not None:
            write_cif(self.folder / CIF_FOLDER, candidate.index, candidate.structure)
        self._partial.add(candidate.index, candidate.as_dict())
        self.candidates.append(candidate)

    def missing(self, n: int) -> list[int]:
        """Return the numbers of the draws up to ``n`` that are not here yet."""
        return sorted(set(range(n)) - {candidate.index for candidate in self.candidates})

    def write_tables(self) -> None:
        """Write the table and the archive of what there is, in the order of the draws and with repeats marked."""
        self.candidates.sort(key=lambda candidate: candidate.index)
        mark_repeats(self.candidates)
        self._write(self.candidates)

    def write_ranked(self, candidates: Sequence[Candidate], kept: Sequence[Candidate]) -> None:
        """Write table and archive of judged candidates in the order given, and the CIFs of those that are kept."""
        self._write(candidates)
        cifs = self.folder / CIF_FOLDER
        with saving(cifs):
            shutil.rmtree(cifs, ignore_errors=True)
            cifs.mkdir()
        for candidate in kept:
            if candidate.structure is not None:
                write_cif(cifs, candidate.index, candidate.structure)

    def _write(self, candidates: Sequence[Candidate]) -> None:
        text = io.StringIO()
        rows = [candidate.row() for candidate in candidates]
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["index"]
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        archive = json.dumps([c.as_dict() for c in candidates], cls=MontyEncoder).encode()
        with saving(self.folder):
            write_atomically(self.folder / TABLE_FILE, text.getvalue().encode())
            write_atomically(self.folder / RESULT_FILE, gzip.compress(archive, mtime=0))


def write_cif(folder: Path, index: int, structure: Structure) -> None:
    """Write the crystal of a candidate as CIF, named by its number and formula.

    It has the symmetry within 0.01 angstrom and the standard cell of its space group, or the given cell without
    symmetry where spglib finds none.
    """
    name = f"{index:05d}_{structure.composition.reduced_formula}.cif"
    with saving(folder / name):
        write_atomically(folder / name, symmetrised_cif(structure).encode())


def symmetrised_cif(structure: Structure) -> str:
    """Return a crystal as CIF with its symmetry within 0.01 angstrom, numbers to six decimal places."""
    try:
        return str(CifWriter(structure, symprec=_SYMPREC, significant_figures=6))
    except (SymmetryUndeterminedError, TypeError, ValueError):
        return str(CifWriter(structure, significant_figures=6))


def read_candidates(path: Path) -> CrystalList[Candidate]:
    """Read ``candidates.json.gz``.

    Raises:
        InputError: if the file is missing or something else.
    """
    content = read_json(path)
    if not isinstance(content, list):
        msg = f"{path} is no list of candidates; give the candidates.json.gz of icsg3d generate"
        raise InputError(msg)
    return CrystalList(candidate_from_dict(entry) for entry in content)


def read_candidates_or_crystals(path: Path) -> CrystalList[Candidate]:
    """Read candidates, or crystals from any source as candidates of unknown origin, numbered from 0.

    Raises:
        InputError: if there is no such source, or no crystal in it.
    """
    if path.name.endswith((".json", ".json.gz")) and path.is_file() and isinstance(read_json(path), list):
        return read_candidates(path)
    table = load_structures(path)
    found = [
        Candidate(index, structure, source=str(name))
        for index, (structure, name) in enumerate(zip(table.structures, table.ids, strict=True))
    ]
    failed = [
        Candidate(len(found) + k, None, reason, source=str(name))
        for k, (name, reason) in enumerate(table.skipped.items())
    ]
    return CrystalList(found + failed)


def unique_structures(candidates: Sequence[Candidate]) -> CrystalList[Candidate]:
    """Return the candidates that have a structure and repeat no earlier one."""
    return CrystalList(c for c in candidates if c.structure is not None and c.duplicate_of is None)
