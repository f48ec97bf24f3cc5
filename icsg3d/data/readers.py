"""Which reader a source of crystals takes, and how many entries it has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd

from icsg3d.crystals.reading import ending, is_json, read_json, read_quietly
from icsg3d.crystals.structures import from_arrays
from icsg3d.data.ase_database import count_ase_database, iter_ase_database
from icsg3d.data.cif_tables import iter_cif_table
from icsg3d.data.compact_arrays import count_compact, iter_compact
from icsg3d.data.frames import frame_from_json
from icsg3d.data.json_lines import iter_json_lines
from icsg3d.data.matminer_datasets import is_dataset_name, read_dataset
from icsg3d.data.parquet import count_parquet, iter_parquet
from icsg3d.data.parts import Part, part_of_frame
from icsg3d.data.xyz_frames import has_frames, iter_xyz
from icsg3d.errors import InputError
from icsg3d.limits import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SUFFIXES = {".cif", ".vasp", ".poscar", ".xyz", ".extxyz", ".xsf", ".res", ".cssr", ".json", ".mson"}


def _iter_compact_frames(path: Path, size: int) -> Iterator[pd.DataFrame]:
    """Read compact arrays as dataframes of so many rows."""
    ROWS.check(count_compact(path), f"{path} has", "split it")
    first = 0
    for crystals in iter_compact(path, size):
        structures = [from_arrays(crystals.crystal(row)) for row in range(len(crystals))]
        columns = {"material_id": crystals.ids, "structure": structures, **crystals.columns}
        yield pd.DataFrame(columns, index=range(first, first + len(crystals)))
        first += len(crystals)


_TABLES: dict[str, Callable[[Path, int], Iterator[pd.DataFrame]]] = {
    ".csv": iter_cif_table,
    ".jsonl": iter_json_lines,
    ".ndjson": iter_json_lines,
    ".npz": _iter_compact_frames,
    ".parquet": iter_parquet,
    ".db": iter_ase_database,
}
"""Readers of tables by the ending of the file's name, that of a compression aside."""

_COUNTS: dict[str, Callable[[Path], int]] = {
    ".npz": count_compact,
    ".parquet": count_parquet,
    ".db": count_ase_database,
}
"""Numbers of rows that can be had without reading the crystals."""


def iter_parts(path: Path, size: int) -> Iterator[Part]:
    """Read a source in parts of at most so many entries.

    Raises:
        InputError: if there is no such source, it is damaged, or there is no crystal in it; the last is known at its
            end.
    """
    parts = _folder_parts(path, size) if path.is_dir() else _file_parts(path, size)
    entries, crystals, reason = 0, 0, ""
    for part in parts:
        entries += len(part)
        crystals += len(part.ids)
        reason = reason or (part.skipped[0][1] if part.skipped else "")
        yield part
        del part
    if not crystals:
        raise InputError(_nothing(path, entries, reason))


def _nothing(path: Path, entries: int, reason: str) -> str:
    if path.is_dir():
        detail = f"none of its {entries} files is one" if entries else "it has no CIF, POSCAR or similar file"
        return f"the folder {path} holds no crystal ({detail}); give a folder of crystal files or a dataframe"
    reason = reason or "it is empty"
    return f"{path} holds no crystal: none of its {entries} rows has a structure ({reason}); give another file"


def _file_parts(path: Path, size: int) -> Iterator[Part]:
    kind = ending(path)
    reader = _TABLES.get(kind)
    if reader is not None and (kind != ".db" or path.is_file()):
        for frame in reader(path, size):
            yield part_of_frame(frame, path)
            del frame
        return
    if is_json(path):
        content = read_json(path)
        if not isinstance(content, dict) or "sites" not in content:
            yield from _cut(frame_from_json(content, path, strict=False), path, size)
            return
    elif not path.exists() and is_dataset_name(str(path)):
        yield from _cut(read_dataset(str(path)), path, size)
        return
    elif kind in {".xyz", ".extxyz"} and path.is_file() and has_frames(path):
        for frame in iter_xyz(path, size):
            yield part_of_frame(frame, path)
        return
    structure = read_quietly(path)
    yield Part([path.name.split(".")[0]], [True], [structure], pd.DataFrame(index=[0]), [], (path,))


def _cut(frame: pd.DataFrame, path: Path, size: int) -> Iterator[Part]:
    """Cut a table that is in memory as a whole."""
    for start in range(0, max(len(frame), 1), size):
        yield part_of_frame(frame.iloc[start : start + size], path)


def _folder_parts(folder: Path, size: int) -> Iterator[Part]:
    names = crystal_files(folder)
    for start in range(0, len(names), size):
        files = [folder / name for name in names[start : start + size]]
        structures, ids, skipped = [], [], []
        for path in files:
            try:
                structures.append(read_quietly(path))
                ids.append(path.stem)
            except InputError as error:
                skipped.append((path.name, str(error)))
        frame = pd.DataFrame(index=range(len(ids)))
        yield Part(ids, [True] * len(ids), structures, frame, skipped, tuple(files))
        del structures


def crystal_files(folder: Path) -> list[str]:
    """Return the names of the crystal files in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _is_crystal_file(entry.name) and entry.is_file())


def _is_crystal_file(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _SUFFIXES or name.startswith(("POSCAR", "CONTCAR"))  # noqa: PTH122


def count_entries(path: Path) -> int | None:
    """Return the number of entries of a source where it can be had at once, good or bad; None where it cannot.

    Raises:
        InputError: if the source is damaged.
    """
    if path.is_dir():
        return len(crystal_files(path))
    count = _COUNTS.get(ending(path))
    return count(path) if count is not None and path.is_file() else None
