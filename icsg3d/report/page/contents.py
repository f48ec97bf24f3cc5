"""What a folder of results holds, read with patience: what is broken or missing is named, and the rest is used."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icsg3d.crystals.structures import read_json, structure_from_dict
from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate, candidate_from_dict
from icsg3d.report.folders import PARTIAL_FILE, RESULT_FILE
from icsg3d.run_folders import SETTINGS_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pymatgen.core import Structure

VALIDATION_FILE = "validation.json.gz"
MOST = 2000
"""Candidates of a run that the page shows; a browser takes some thousands."""

_FIELDS = {each.name for each in dataclasses.fields(Candidate)}
_TABLES = ("table_s1",)
"""JSON files whose rows the page takes from the validation itself."""


@dataclass(frozen=True)
class Validated:
    """What an engine says of a candidate.

    Attributes:
        state: ``finished``, ``unconverged`` or ``failed``.
        reason: Why it did not finish; empty where it did.
        numbers: Energies in eV/atom and changes in percent by name, those that are known.
        flags: Why its electrons count as delocalised.
        relaxed: The relaxed crystal; None without one.
    """

    state: str
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    relaxed: Structure | None = None


@dataclass(frozen=True)
class Evaluation:
    """Figures that a command measured.

    Attributes:
        name: Of its file, without the ending.
        figures: Values by name.
    """

    name: str
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Contents:
    """A folder of results.

    Attributes:
        folder: The folder.
        settings: Of the run; empty where there are none.
        candidates: All that could be read.
        validated: What an engine says, by the candidate's index.
        engine: Name of the engine and versions; empty without a validation.
        evaluations: Figures of ``icsg3d evaluate``.
        pictures: PNG files.
        tables: CSV files.
        missing: Sentences about what is missing or could not be read.
    """

    folder: Path
    settings: Mapping[str, Any]
    candidates: tuple[Candidate, ...]
    validated: Mapping[int, Validated]
    engine: str
    evaluations: tuple[Evaluation, ...]
    pictures: tuple[Path, ...]
    tables: tuple[Path, ...]
    missing: tuple[str, ...]


def read_contents(folder: Path) -> Contents:
    """Read what a folder of results holds.

    Args:
        folder: Of ``icsg3d generate``, ``screen``, ``validate`` or ``evaluate``; it may be half-finished, or of another
            version.

    Raises:
        InputError: if there is no such folder, or nothing of icsg3d is in it.
    """
    if not folder.is_dir():
        msg = f"there is no folder {folder}; name a folder that icsg3d generate, validate or evaluate wrote"
        raise InputError(msg)
    missing: list[str] = []
    settings = _settings(folder, missing)
    validation = _read(folder / VALIDATION_FILE, dict, missing)
    validated: dict[int, Validated] = {}
    engine = ""
    if validation is None:
        candidates = _candidates(folder, settings, missing)
    else:
        candidates, validated = _validation(validation, missing)
        engine = _engine(validation)
    evaluations = _evaluations(folder)
    pictures = tuple(sorted(folder.glob("*.png")))
    tables = tuple(sorted(folder.glob("*.csv")))
    if not (settings or candidates or validated or evaluations or pictures):
        msg = f"{folder} holds nothing that icsg3d wrote; name a folder of icsg3d generate, validate or evaluate"
        raise InputError(msg)
    return Contents(
        folder, settings, tuple(candidates), validated, engine, evaluations, pictures, tables, tuple(missing)
    )


def _read(path: Path, kind: type, missing: list[str]) -> Any:
    """Return the content of a JSON file, None where it is absent; where it is broken, that is noted as well."""
    if not path.is_file():
        return None
    try:
        content = read_json(path)
    except InputError as error:
        missing.append(f"{path.name} cannot be read: {error}")
        return None
    if isinstance(content, kind):
        return content
    missing.append(f"{path.name} holds something else than this version writes, so it is left out.")
    return None


def _settings(folder: Path, missing: list[str]) -> dict[str, Any]:
    found = _read(folder / SETTINGS_FILE, dict, missing)
    return found or {}


def _candidates(folder: Path, settings: Mapping[str, Any], missing: list[str]) -> list[Candidate]:
    entries = _read(folder / RESULT_FILE, list, missing)
    partial = folder / PARTIAL_FILE
    if entries is None and partial.is_file():
        entries, count = _lines(partial)
        missing.append(
            f"The run has not finished: {count} draws are there so far; repeat its command with --resume, and "
            "make this page again with icsg3d report."
        )
    if entries is None:
        if settings.get("holds") == "candidates":
            missing.append(f"The run has not finished: there is no {RESULT_FILE} yet, so there are no candidates.")
        elif settings.get("holds") == "a validation":
            missing.append(f"The validation has not finished: there is no {VALIDATION_FILE} yet.")
        return []
    found: list[Candidate] = []
    refused: list[str] = []
    if len(entries) > MOST:
        missing.append(f"The page shows the first {MOST} candidates; the tables beside it have all of them.")
    for entry in entries[:MOST]:
        try:
            found.append(candidate_of(entry))
        except InputError as error:
            refused.append(str(error))
    if refused:
        missing.append(f"{len(refused)} of {len(entries[:MOST])} entries are left out; the first because {refused[0]}.")
    return found


def _lines(path: Path) -> tuple[list[Any], int]:
    """Return the first entries of a file with one on each line, in order, and how many lines there are.

    Those that are cut off or damaged are left out.
    """
    rows: list[Any] = []
    count = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            count += line.endswith("\n")  # the last may be cut off
            if len(rows) > MOST:
                continue
            with contextlib.suppress(ValueError, RecursionError):
                entry = json.loads(line)
                rows.append(entry["row"] if isinstance(entry, dict) and "row" in entry else entry)
    return sorted(rows, key=lambda row: row.get("index", 0) if isinstance(row, dict) else 0), count


def candidate_of(entry: Any) -> Candidate:
    """Return a candidate of its dictionary; fields that this version does not know are left aside.

    Raises:
        InputError: if it is none.
    """
    if not isinstance(entry, dict):
        msg = f"an entry is a {type(entry).__name__}, not a candidate"
        raise InputError(msg)
    known = {name: value for name, value in entry.items() if name in _FIELDS}
    return candidate_from_dict({"structure": None} | known)


def _validation(document: Mapping[str, Any], missing: list[str]) -> tuple[list[Candidate], dict[int, Validated]]:
    """Return the candidates of a validation, those that were screened out among them, and what the engine says."""
    candidates: list[Candidate] = []
    validated: dict[int, Validated] = {}
    broken = 0
    for row in _list(document.get("rows")):
        try:
            candidate = candidate_of(row.get("candidate") if isinstance(row, dict) else row)
            validated[candidate.index] = _validated(row)
            candidates.append(candidate)
        except InputError:
            broken += 1
    others = _list(document.get("screened_out"))
    shown = max(MOST - len(candidates), 0)
    if len(others) > shown:
        missing.append(f"The page shows {shown} of {len(others)} candidates that were screened out.")
    for entry in others[:shown]:
        try:
            candidates.append(candidate_of(entry))
        except InputError:
            broken += 1
    if broken:
        missing.append(f"{broken} entries of {VALIDATION_FILE} are of another version or damaged, and left out.")
    return sorted(candidates, key=lambda each: each.index), validated


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_NUMBERS = (
    "formation_energy_per_atom",
    "predicted_formation_energy_per_atom",
    "delta_e_form",
    "delta_bonds_percent",
    "delta_cell_percent",
    "delta_volume_percent",
)


def _validated(row: Mapping[str, Any]) -> Validated:
    numbers = {name: float(row[name]) for name in _NUMBERS if isinstance(row.get(name), int | float)}
    relaxed = row.get("relaxed")
    return Validated(
        state=str(row.get("state", "unknown")),
        reason=str(row.get("reason") or ""),
        numbers=numbers,
        flags=tuple(str(flag) for flag in _list(row.get("flags"))),
        relaxed=structure_from_dict(relaxed) if isinstance(relaxed, dict) else None,
    )


def _engine(document: Mapping[str, Any]) -> str:
    engine = document.get("engine")
    if not isinstance(engine, dict):
        return "unknown engine"
    versions = engine.get("versions")
    shown = ", ".join(f"{name} {version}" for name, version in (versions if isinstance(versions, dict) else {}).items())
    return f"{engine.get('name', 'unknown engine')}" + (f" ({shown})" if shown else "")


def _evaluations(folder: Path) -> tuple[Evaluation, ...]:
    """Return the figures of every JSON file that holds a dictionary and has a table of the same name beside it."""
    found = []
    for path in sorted(folder.glob("*.json")):
        if path.stem in (*_TABLES, "run") or not path.with_suffix(".csv").is_file():
            continue
        content = _read(path, dict, [])
        if content and not any(isinstance(value, dict | list) and len(value) > 40 for value in content.values()):
            found.append(Evaluation(path.stem, content))
    return tuple(found)
