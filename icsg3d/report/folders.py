"""A folder of candidates that is written as they come, and can be gone on with."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from typing import TYPE_CHECKING, Any

from monty.json import MontyEncoder

from icsg3d.crystals.structures import read_json, structure_from_dict
from icsg3d.data.sources import load_structures
from icsg3d.errors import InputError
from icsg3d.files import write_atomically
from icsg3d.generation.candidates import Candidate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

RESULT_FILE = "candidates.json.gz"
TABLE_FILE = "candidates.csv"
CIF_FOLDER = "cifs"
PICTURE_FILE = "candidates.png"
SETTINGS_FILE = "run.json"
_PARTIAL_FILE = "candidates.partial.jsonl"
_OWN = (RESULT_FILE, TABLE_FILE, PICTURE_FILE, _PARTIAL_FILE, CIF_FOLDER)


def candidate_from_dict(values: Mapping[str, Any]) -> Candidate:
    """Return a candidate of its monty dictionary, making nothing but a Candidate and its Structure.

    Raises:
        InputError: if the dictionary is something else.
    """
    try:
        fields = {name: value for name, value in values.items() if not name.startswith("@")}
        if fields["structure"] is not None:
            fields["structure"] = structure_from_dict(fields["structure"])
        _check_types(fields)
        return Candidate(**fields)
    except Exception as error:
        msg = f"an entry is no candidate of icsg3d ({type(error).__name__}: {error}); give a file of icsg3d generate"
        raise InputError(msg) from error


def _check_types(fields: Mapping[str, Any]) -> None:
    """Raise TypeError where a value is not of its field's kind."""
    kinds: dict[str, Any] = {"index": int, "predictions": dict, "screening": dict, "reason": str, "base": str}
    kinds |= {"model": str, "model_sha256": str}
    wrong = [name for name, kind in kinds.items() if name in fields and not isinstance(fields[name], kind)]
    optional = ("seed", "scale", "latent_distance", "condition", "duplicate_of")
    wrong += [name for name in optional if not isinstance(fields.get(name), int | float | None)]
    wrong += [
        name for name, value in dict(fields.get("predictions") or {}).items() if not isinstance(value, int | float)
    ]
    if wrong:
        msg = f"{', '.join(wrong)} is of the wrong kind"
        raise TypeError(msg)


def claim_folder(
    folder: Path, own: Sequence[str], settings: Mapping[str, Any], *, holds: str, resume: bool, overwrite: bool
) -> bool:
    """Make a folder for the results of a run, or go on with one that was begun with the same settings.

    Args:
        folder: Where; made if need be.
        own: Names of the files and folders that such a run writes.
        settings: What makes the run what it is; kept in the folder.
        holds: What the folder holds, for messages.
        resume: Go on with what is there.
        overwrite: Remove what an earlier run left.

    Returns:
        Whether there is something to go on with.

    Raises:
        InputError: if the folder holds another run, or cannot be made.
    """
    names = (*own, SETTINGS_FILE)
    occupied = any((folder / name).exists() for name in names)
    if occupied:
        _check_kind(folder, holds)
    settings = {"holds": holds, **settings}
    if occupied and not (resume or overwrite):
        msg = (
            f"{folder} holds {holds} of an earlier run; go on with --resume, replace them with --overwrite, "
            "or name another --out"
        )
        raise InputError(msg)
    if occupied and overwrite:
        for name in names:
            _remove(folder / name)
    elif occupied:
        _check_settings(folder, json.loads(json.dumps(dict(settings))))  # tuples become lists on disk
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / SETTINGS_FILE, json.dumps(dict(settings), indent=1).encode())
    except OSError as error:
        msg = f"the folder {folder} cannot be written ({error.strerror}); name another with --out"
        raise InputError(msg) from error
    return occupied and not overwrite


def _check_kind(folder: Path, holds: str) -> None:
    """Refuse a folder that holds something else, so that nothing is removed that such a run did not write."""
    path = folder / SETTINGS_FILE
    earlier = read_json(path) if path.is_file() else None
    if not isinstance(earlier, dict) or earlier.get("holds", holds) != holds:
        msg = f"{folder} holds files that no run for {holds} wrote; name another --out"
        raise InputError(msg)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / SETTINGS_FILE
    try:
        earlier = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read ({error}), so the run cannot go on; use --overwrite or another --out"
        raise InputError(msg) from error
    changed = [name for name in settings if name != "holds" and earlier.get(name) != settings[name]]
    if changed:
        msg = (
            f"{folder} was begun with another {', '.join(changed)}; repeat the command as it was, or use "
            "--overwrite or another --out"
        )
        raise InputError(msg)


class CandidateFolder:
    """Candidates on disk: one line and one CIF each as they come, table and archive when the run ends.

    Args:
        folder: Where; made if need be.
        settings: What makes the run what it is; a run goes on only with the same.
        resume: Go on with what is there.
        overwrite: Remove what an earlier run left.

    Raises:
        InputError: if the folder holds another run, or cannot be made.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], *, resume: bool = False, overwrite: bool = False
    ) -> None:
        self.folder = folder
        goes_on = claim_folder(folder, _OWN, settings, holds="candidates", resume=resume, overwrite=overwrite)
        self.candidates: list[Candidate] = self._read_partial() if goes_on else []
        (folder / CIF_FOLDER).mkdir(exist_ok=True)

    def _read_partial(self) -> list[Candidate]:
        path = self.folder / _PARTIAL_FILE
        if not path.exists():
            return []
        candidates = []
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):  # the line that was being written when the run was cut off
                break
            candidates.append(candidate_from_dict(json.loads(line)))
        text = "".join(json.dumps(c.as_dict(), cls=MontyEncoder) + "\n" for c in candidates)
        write_atomically(path, text.encode())
        return candidates

    def add(self, candidate: Candidate) -> None:
        """Keep a candidate."""
        if candidate.structure is not None:
            write_cif(self.folder / CIF_FOLDER, candidate.index, candidate.structure)
        with (self.folder / _PARTIAL_FILE).open("a") as file:
            file.write(json.dumps(candidate.as_dict(), cls=MontyEncoder) + "\n")
        self.candidates.append(candidate)

    def write_tables(self) -> None:
        """Write the table and the archive of what there is."""
        text = io.StringIO()
        rows = [candidate.row() for candidate in self.candidates]
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["index"]
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.folder / TABLE_FILE, text.getvalue().encode())
        archive = json.dumps([c.as_dict() for c in self.candidates], cls=MontyEncoder).encode()
        write_atomically(self.folder / RESULT_FILE, gzip.compress(archive, mtime=0))


def write_cif(folder: Path, index: int, structure: Structure) -> None:
    """Write the crystal of a candidate as CIF, named by its number and formula."""
    name = f"{index:05d}_{structure.composition.reduced_formula}.cif"
    write_atomically(folder / name, structure.to(fmt="cif", symprec=None).encode())


def read_candidates(path: Path) -> list[Candidate]:
    """Read ``candidates.json.gz``.

    Raises:
        InputError: if the file is missing or something else.
    """
    content = read_json(path)
    if not isinstance(content, list):
        msg = f"{path} is no list of candidates; give the candidates.json.gz of icsg3d generate"
        raise InputError(msg)
    return [candidate_from_dict(entry) for entry in content]


def read_candidates_or_crystals(path: Path) -> list[Candidate]:
    """Read candidates, or crystals from any source as candidates of unknown origin, numbered from 0.

    Raises:
        InputError: if there is no such source, or no crystal in it.
    """
    if path.name.endswith((".json", ".json.gz")) and path.is_file() and isinstance(read_json(path), list):
        return read_candidates(path)
    table = load_structures(path)
    found = [Candidate(index, structure) for index, structure in enumerate(table.structures)]
    failed = [Candidate(len(found) + k, None, reason) for k, reason in enumerate(table.skipped.values())]
    return found + failed


def unique_structures(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that have a structure and repeat no earlier one."""
    return [c for c in candidates if c.structure is not None and c.duplicate_of is None]
