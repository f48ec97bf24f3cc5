"""One way to load crystals, whatever they are kept in."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pymatgen.core import Structure

from icsg3d.crystals.reading import is_json, notes_of, read_json, read_quietly
from icsg3d.crystals.structures import from_arrays
from icsg3d.data.ase_database import read_ase_database
from icsg3d.data.cif_tables import read_cif_table
from icsg3d.data.compact_arrays import read_compact
from icsg3d.data.frames import BadCell, frame_from_json
from icsg3d.data.matminer_datasets import is_dataset_name, read_dataset
from icsg3d.errors import InputError
from icsg3d.files import sha256
from icsg3d.limits import ROWS
from icsg3d.refusals import listed, log_noted

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger(__name__)

_SUFFIXES = {".cif", ".vasp", ".poscar", ".xyz", ".extxyz", ".xsf", ".res", ".cssr", ".json", ".mson"}


@dataclass(frozen=True)
class CrystalTable:
    """Crystals with their names and whatever else is known of them.

    Attributes:
        ids: Name of each crystal, as the source has it; without one the number of its row.
        structures: The crystals.
        frame: The other columns, one row per crystal.
        skipped: What was left out, with the reason, by name. A name that is taken is numbered, as in ``mp-1 (2)``, so
            that each entry that was left out is there.
        sources: The files it was read from.
        source_sizes: For each file, the number of crystals in the source that it is, or is part of.
    """

    ids: list[str]
    structures: list[Structure]
    frame: pd.DataFrame
    skipped: dict[str, str]
    sources: tuple[Path, ...]
    source_sizes: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.structures)

    def digest(self) -> str:
        """Return a SHA-256 of the names and bytes of the files; of a data set that is no file, of its name alone."""
        parts = [f"{path.name} {sha256(path.read_bytes()) if path.is_file() else ''}\n" for path in self.sources]
        return sha256("".join(parts).encode())

    def head(self, count: int | None) -> CrystalTable:
        """Return the first crystals, all if ``count`` is None."""
        return replace(self, ids=self.ids[:count], structures=self.structures[:count], frame=self.frame.iloc[:count])


@dataclass(frozen=True)
class _Part:
    """What one source holds.

    Attributes:
        ids: Name of each crystal.
        named: Whether the source has that name; otherwise it is the number of a row.
        structures: The crystals.
        frame: The other columns, one row per crystal.
        skipped: Name of each entry that was left out, and the reason.
        sources: The files it was read from.
    """

    ids: list[str]
    named: list[bool]
    structures: list[Structure]
    frame: pd.DataFrame
    skipped: list[tuple[str, str]]
    sources: tuple[Path, ...]


def load_structures(source: str | Path | Sequence[str | Path]) -> CrystalTable:
    """Load crystals from whatever they are kept in, or from several sources.

    A source is a dataframe in matminer's format (``.json``, ``.json.gz``); a list of candidates of ``icsg3d generate``;
    compact arrays (``.npz``); a table with a column ``cif`` (``.csv``, ``.csv.gz``); an ASE database (``.db``); any
    other file that pymatgen or ASE reads as one crystal; a folder of such files; or the name of a data set that
    ``matminer.datasets.load_dataset`` knows, which may have to download it. Bad entries are left out and named in
    ``skipped``: there are as many entries as crystals and names in ``skipped`` together. What is to be known of how a
    crystal was read is logged, and stays with it (:func:`icsg3d.crystals.reading.notes_of`). Names of crystals are
    those of the source, even if they repeat; where numbers of rows stand in for them, they are different over all
    sources.

    Raises:
        InputError: if there is no such source, or no crystal in it.
    """
    parts = [_load_one(Path(part)) for part in ([source] if isinstance(source, str | Path) else source)]
    if not parts:
        msg = "no data was given; give a file or folder"
        raise InputError(msg)
    ids, skipped = _names(parts)
    structures = [structure for part in parts for structure in part.structures]
    log_noted(_log, {name: "; ".join(notes_of(each)) for name, each in zip(ids, structures, strict=True)})
    return CrystalTable(
        ids,
        structures,
        pd.concat([part.frame for part in parts], ignore_index=True),
        skipped,
        tuple(path for part in parts for path in part.sources),
        tuple(len(part.ids) for part in parts for _ in part.sources),
    )


def _names(parts: Sequence[_Part]) -> tuple[list[str], dict[str, str]]:
    """Return the name of each crystal, and the reason for each entry left out by a name that nothing else has."""
    crystals = [each for part in parts for each in zip(part.ids, part.named, strict=True)]
    taken = Counter(name for name, named in crystals if named)
    ids = [name if named else _free(name, taken) for name, named in crystals]
    return ids, {_free(name, taken): reason for part in parts for name, reason in part.skipped}


def _free(name: str, taken: Counter[str]) -> str:
    """Take a name, numbered if it is taken already."""
    free = name
    while free in taken:
        taken[name] += 1
        free = f"{name} ({taken[name]})"
    taken[free] = 1
    return free


def _load_one(path: Path) -> _Part:
    if path.is_dir():
        return _load_folder(path)
    name = path.name.lower()
    if is_json(path):
        content = read_json(path)
        if not isinstance(content, dict) or "sites" not in content:
            return _table(frame_from_json(content, path, strict=False), path)
    elif name.endswith((".csv", ".csv.gz", ".npz")):
        return _table(_compact_frame(path) if name.endswith(".npz") else read_cif_table(path), path)
    elif name.endswith(".db") and path.is_file():
        return _table(read_ase_database(path), path)
    elif not path.exists() and is_dataset_name(str(path)):
        return _table(read_dataset(str(path)), path)
    structure = read_quietly(path)
    return _Part([path.name.split(".")[0]], [True], [structure], pd.DataFrame(index=[0]), [], (path,))


def _compact_frame(path: Path) -> pd.DataFrame:
    """Return compact arrays as a dataframe."""
    crystals = read_compact(path)
    ROWS.check(len(crystals), f"{path} has", "split it")
    structures = [from_arrays(crystals.crystal(row)) for row in range(len(crystals))]
    return pd.DataFrame({"material_id": crystals.ids, "structure": structures, **crystals.columns})


def _load_folder(folder: Path) -> _Part:
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and (path.suffix.lower() in _SUFFIXES or path.name.startswith(("POSCAR", "CONTCAR")))
    )
    structures, names, skipped = [], [], []
    for path in files:
        try:
            structures.append(read_quietly(path))
            names.append(path.stem)
        except InputError as error:
            skipped.append((path.name, str(error)))
    if not structures:
        detail = f"none of its {len(files)} files is one" if files else "it has no CIF, POSCAR or similar file"
        msg = f"the folder {folder} holds no crystal ({detail}); give a folder of crystal files or a dataframe"
        raise InputError(msg)
    frame = pd.DataFrame(index=range(len(names)))
    return _Part(names, [True] * len(names), structures, frame, skipped, tuple(files))


def _table(frame: pd.DataFrame, path: Path) -> _Part:
    """Return the crystals of a dataframe's column ``structure``, and why there are none in some rows."""
    if "structure" not in frame.columns:
        msg = f"{path} has no column 'structure', only {listed(frame.columns)}; name the column of crystals so"
        raise InputError(msg)
    nothing = pd.Series(None, index=frame.index, dtype=object)
    ids = frame.get("material_id", nothing)
    named = ids.notna()
    names = ids.astype(object).where(named, pd.Series(frame.index, frame.index)).map(str)
    good = frame["structure"].map(lambda value: isinstance(value, Structure)).astype(bool)
    bad = zip(names[~good], frame["structure"][~good], frame.get("reason", nothing)[~good], strict=True)
    skipped = [(name, _reason(cell, known)) for name, cell, known in bad]
    if not good.any():
        reason = skipped[0][1] if skipped else "it is empty"
        msg = f"{path} holds no crystal: none of its {len(frame)} rows has a structure ({reason}); give another file"
        raise InputError(msg)
    kept = frame[good]
    rest = kept.drop(columns="structure").reset_index(drop=True)
    return _Part(list(names[good]), list(named[good]), list(kept["structure"]), rest, skipped, (path,))


def _reason(cell: Any, known: Any) -> str:
    if isinstance(cell, BadCell):
        return cell.reason
    return known if isinstance(known, str) and known else "the row has no structure"
