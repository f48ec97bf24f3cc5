"""A folder of candidates that is written as they come, so that an interrupted run can be resumed."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from typing import TYPE_CHECKING, Any, Literal

from pymatgen.io.cif import CifWriter
from pymatgen.symmetry.analyzer import SymmetryUndeterminedError

from icsg3d.crystals.display import CrystalList
from icsg3d.crystals.structures import read_json
from icsg3d.data.sources import load_structures
from icsg3d.errors import InputError
from icsg3d.files import saving, write_atomically
from icsg3d.generation.candidates import Candidate, candidate_from_dict
from icsg3d.report.database import FORMATS
from icsg3d.report.tables import LISTED, PARQUET_FILE, RESULT_FILE, TABLE_FILE, write_tables
from icsg3d.run_folders import PartialRows
from icsg3d.screening.repeats import Repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

CIF_FOLDER = "cifs"
JUDGING_FILE = "judging.json"
PICTURE_FILE = "candidates.png"
PARTIAL_FILE = "candidates.partial.jsonl"
JUDGED_FILE = "judged.partial.jsonl"
TOLD_FILE = "told.partial.jsonl"
REPORT_FILE = "report.html"
SUBMITTED_FILE = "submitted.json"
CANDIDATE_FILES = (
    *(RESULT_FILE, REPORT_FILE, TABLE_FILE, PARQUET_FILE, PICTURE_FILE, JUDGING_FILE, CIF_FOLDER),
    *(PARTIAL_FILE, JUDGED_FILE, TOLD_FILE, SUBMITTED_FILE),
    *(f"candidates.{name}" for name in FORMATS),
)

_SYMPREC = 0.01


class CandidateLog:
    """Candidates by number in a file to which each is appended as it comes; in memory is only where they stand.

    Args:
        path: Of the file.
        key: What makes the run what it is.
    """

    def __init__(self, path: Path, key: Any) -> None:
        self._partial = PartialRows(path, key)

    def begin(self, *, resume: bool, others: Literal["refuse", "replace"] = "refuse") -> None:
        """Read what an interrupted run left, or begin a new file; as :meth:`icsg3d.run_folders.PartialRows.begin`."""
        self._partial.begin(resume=resume, others=others)

    def __getitem__(self, number: int) -> Candidate:
        return candidate_from_dict(self._partial.rows[number])

    def __setitem__(self, number: int, candidate: Candidate) -> None:
        self._partial.add(number, candidate.as_dict())

    def __contains__(self, number: object) -> bool:
        return number in self._partial.rows

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._partial.rows))

    def __len__(self) -> int:
        return len(self._partial.rows)

    def clear(self) -> None:
        """Delete the file."""
        self._partial.remove()


class CandidateFolder:
    """Candidates on disk: one line each as they come, table and archive when the run ends.

    Args:
        folder: Of the run, claimed by :func:`icsg3d.run_folders.run_folder` with the names :data:`CANDIDATE_FILES`.
        settings: Of the run; finished candidates of another one are not taken.
        resume: Whether to take up what is there.
        cifs: Whether each candidate's CIF is written as it comes; else those of :meth:`write_ranked` are.

    Attributes:
        drawn: Candidates as they were drawn, by number.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, resume: bool = False, cifs: bool = True) -> None:
        self.folder = folder
        self._settings = dict(settings)
        self._resume = resume
        self._cifs = cifs
        self.drawn = CandidateLog(folder / PARTIAL_FILE, self._settings)
        self.drawn.begin(resume=resume)

    def judged(self, judge: Any) -> CandidateLog:
        """Return where judged candidates are kept; those of another judge are not taken.

        Args:
            judge: What identifies the judge, anything that JSON can hold.
        """
        log = CandidateLog(self.folder / JUDGED_FILE, self._settings | {"judge": judge})
        log.begin(resume=self._resume, others="replace")
        return log

    def told(self) -> CandidateLog:
        """Return where candidates are kept that more is told of, until the tables are written."""
        log = CandidateLog(self.folder / TOLD_FILE, self._settings)
        log.begin(resume=False)
        return log

    @property
    def candidates(self) -> list[Candidate]:
        """The candidates as they were drawn, by number."""
        return [self.drawn[number] for number in self.drawn]

    def add(self, candidate: Candidate) -> None:
        """Keep a candidate as it was drawn."""
        if self._cifs and candidate.structure is not None:
            write_cif(self.folder / CIF_FOLDER, candidate.index, candidate.structure)
        self.drawn[candidate.index] = candidate

    def missing(self, n: int) -> list[int]:
        """Return the numbers of the draws up to ``n`` that are not here yet."""
        return [number for number in range(n) if number not in self.drawn]

    def write_tables(self) -> None:
        """Write tables and archive of what was drawn, in the order of the draws and with repeats marked."""
        repeats = Repeats(lambda number: self.drawn[number].structure)  # type: ignore[arg-type, return-value]
        for number in self.drawn:
            structure = self.drawn[number].structure
            if structure is not None:
                repeats.add((0.0, 0.0, number), structure)

        def marked() -> Iterator[Candidate]:
            for number in self.drawn:
                each = self.drawn[number]
                repeated = None if each.structure is None else repeats.repeated_by(number)
                yield dataclasses.replace(each, duplicate_of=repeated)

        write_tables(self.folder, marked, None)

    def write_ranked(self, everyone: Callable[[], Iterable[Candidate]], kept: int) -> None:
        """Write tables and archive of judged candidates in the order given, and the CIFs of those that are kept.

        Args:
            everyone: Returns the candidates, those that are kept first, one after the other; called twice.
            kept: How many are kept.
        """
        write_ranked(self.folder, everyone, kept)


def write_ranked(folder: Path, everyone: Callable[[], Iterable[Candidate]], kept: int) -> None:
    """Write tables, archive and CIFs of judged candidates; arguments as of :meth:`CandidateFolder.write_ranked`."""
    cifs = folder / CIF_FOLDER
    with saving(folder):
        shutil.rmtree(cifs, ignore_errors=True)
        cifs.mkdir()
    for candidate in itertools.islice(everyone(), kept):
        if candidate.structure is not None:
            write_cif(cifs, candidate.index, candidate.structure)
    write_tables(folder, everyone, max(kept, LISTED))


def write_cif(folder: Path, index: int, structure: Structure) -> None:
    """Write the crystal of a candidate as CIF, named by its number and formula.

    It has the symmetry within 0.01 angstrom and the standard cell of its space group, or the given cell without
    symmetry where spglib finds none.
    """
    name = f"{index:05d}_{structure.composition.reduced_formula}.cif"
    with saving(folder / name):
        folder.mkdir(exist_ok=True)
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


def is_archive(path: Path) -> bool:
    """Return whether a file is a list of candidates: each has a number, as no other crystals in JSON do."""
    if not path.name.endswith((".json", ".json.gz")) or not path.is_file():
        return False
    content = read_json(path)
    return isinstance(content, list) and all(isinstance(each, dict) and "index" in each for each in content)


def read_candidates_or_crystals(path: Path) -> CrystalList[Candidate]:
    """Read candidates, or crystals from any source as candidates of unknown origin, numbered from 0.

    Raises:
        InputError: if there is no such source, or no crystal in it.
    """
    if is_archive(path):
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
