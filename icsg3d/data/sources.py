"""One way to load crystals, whatever they are kept in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from pymatgen.core import Structure

from icsg3d.data.ase_database import read_ase_database
from icsg3d.data.cif_tables import read_cif_table
from icsg3d.data.frames import BadCell, frame_from_json
from icsg3d.data.matminer_datasets import is_dataset_name, read_dataset
from icsg3d.errors import InputError
from icsg3d.structures import read_json, read_structure

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUFFIXES = {".cif", ".vasp", ".poscar", ".xyz", ".extxyz", ".xsf", ".res", ".cssr", ".json"}


@dataclass(frozen=True)
class CrystalTable:
    """Crystals with their names and whatever else is known of them.

    Attributes:
        ids: Name of each crystal.
        structures: The crystals.
        frame: The other columns, one row per crystal.
        skipped: What was left out, with the reason, by name.
        sources: The files it was read from.
    """

    ids: list[str]
    structures: list[Structure]
    frame: pd.DataFrame
    skipped: dict[str, str]
    sources: tuple[Path, ...]

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.structures)

    def head(self, count: int | None) -> CrystalTable:
        """Return the first crystals, all if ``count`` is None."""
        return CrystalTable(
            self.ids[:count], self.structures[:count], self.frame.iloc[:count], self.skipped, self.sources
        )


def load_structures(source: str | Path | Sequence[str | Path]) -> CrystalTable:
    """Load crystals from whatever they are kept in, or from several sources.

    A source is a dataframe in matminer's format (``.json``, ``.json.gz``); a list of candidates of
    ``icsg3d generate``; a table with a column ``cif`` (``.csv``,
    ``.csv.gz``); an ASE database (``.db``); any other file that pymatgen or ASE reads as one crystal; a folder of such
    files; or the name of a data set that ``matminer.datasets.load_dataset`` knows, which may have to download it. Bad
    entries are left out and named in ``skipped``.

    Raises:
        InputError: if there is no such source, or no crystal in it.
    """
    if isinstance(source, str | Path):
        return _load_one(Path(source))
    tables = [_load_one(Path(part)) for part in source]
    if not tables:
        msg = "no data was given; give a file or folder"
        raise InputError(msg)
    return CrystalTable(
        [name for table in tables for name in table.ids],
        [structure for table in tables for structure in table.structures],
        pd.concat([table.frame for table in tables], ignore_index=True),
        {name: reason for table in tables for name, reason in table.skipped.items()},
        tuple(path for table in tables for path in table.sources),
    )


def _load_one(path: Path) -> CrystalTable:
    if path.is_dir():
        return _load_folder(path)
    name = path.name.lower()
    if name.endswith((".json", ".json.gz")):
        content = read_json(path)
        if not isinstance(content, dict) or "sites" not in content:
            return _table(frame_from_json(content, path, strict=False), path)
    elif name.endswith((".csv", ".csv.gz")):
        return _table(read_cif_table(path), path)
    elif name.endswith(".db") and path.is_file():
        return _table(read_ase_database(path), path)
    elif not path.exists() and is_dataset_name(str(path)):
        return _table(read_dataset(str(path)), path)
    structure = read_structure(path)
    return CrystalTable([path.name.split(".")[0]], [structure], pd.DataFrame(index=[0]), {}, (path,))


def _load_folder(folder: Path) -> CrystalTable:
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and (path.suffix.lower() in _SUFFIXES or path.name.startswith(("POSCAR", "CONTCAR")))
    )
    structures, names, skipped = [], [], {}
    for path in files:
        try:
            structures.append(read_structure(path))
            names.append(path.stem)
        except InputError as error:
            skipped[path.name] = str(error)
    if not structures:
        detail = f"none of its {len(files)} files is one" if files else "it has no CIF, POSCAR or similar file"
        msg = f"the folder {folder} holds no crystal ({detail}); give a folder of crystal files or a dataframe"
        raise InputError(msg)
    return CrystalTable(names, structures, pd.DataFrame(index=range(len(names))), skipped, tuple(files))


def _table(frame: pd.DataFrame, path: Path) -> CrystalTable:
    """Return the crystals of a dataframe's column ``structure``, and why there are none in some rows."""
    if "structure" not in frame.columns:
        columns = ", ".join(map(str, frame.columns))
        msg = f"{path} has no column 'structure', only {columns}; name the column of crystals so"
        raise InputError(msg)
    ids = frame["material_id"] if "material_id" in frame.columns else pd.Series(frame.index, index=frame.index)
    good = frame["structure"].map(lambda value: isinstance(value, Structure))
    bad = zip(ids[~good], frame["structure"][~good], strict=True)
    known = frame["reason"] if "reason" in frame.columns else pd.Series("", index=frame.index)
    reasons = {str(name): reason if isinstance(reason, str) else "" for name, reason in zip(ids, known, strict=True)}
    skipped = {
        str(name): cell.reason if isinstance(cell, BadCell) else reasons[str(name)] or "the row has no structure"
        for name, cell in bad
    }
    if not good.any():
        reason = next(iter(skipped.values()), "it is empty")
        msg = f"{path} holds no crystal: none of its {len(frame)} rows has a structure ({reason}); give another file"
        raise InputError(msg)
    kept = frame[good]
    return CrystalTable(
        [str(name) for name in ids[good]],
        list(kept["structure"]),
        kept.drop(columns="structure").reset_index(drop=True),
        skipped,
        (path,),
    )
