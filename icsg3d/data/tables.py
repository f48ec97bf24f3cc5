"""Tables that are written as they come: of numbers as CSV or Parquet, of crystals as JSON, JSON lines or Parquet.

Whatever is written is whole or not there at all, and not more than some thousand rows of it are in memory at a time.
"""

from __future__ import annotations

import json
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
from monty.json import MontyEncoder

from icsg3d.data.frames import read_frame
from icsg3d.data.json_lines import iter_json_lines
from icsg3d.data.parquet import iter_parquet, write_parquet
from icsg3d.errors import InputError
from icsg3d.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

NUMBER_ENDINGS = (".csv", ".parquet")
CRYSTAL_ENDINGS = (".json", ".json.gz", ".jsonl", ".jsonl.gz", ".parquet")

_CRYSTAL_COLUMNS = ("material_id", "structure", "reason")
_WORDS = ("material_id", "formula", "unseen_elements", "notes")
_BLOCK = 1 << 12
"""Rows of crystals that are made into Parquet together."""


def check_ending(path: Path, endings: Sequence[str]) -> None:
    """Refuse a name that says no format.

    Raises:
        InputError: if the name ends in none of the endings.
    """
    if not path.name.endswith(tuple(endings)):
        listed = f"{', '.join(endings[:-1])} or {endings[-1]}"
        raise InputError(
            f"the table is written as {listed}; name a file that ends in one of them instead of {path.name}"
        )


def write_numbers(frames: Iterable[pd.DataFrame], path: Path) -> None:
    """Write dataframes of the same columns below each other, ``.csv`` (six digits) or ``.parquet`` (all of them).

    Raises:
        OSError: if it cannot be written.
    """
    with replacing(path) as file:
        if path.suffix == ".parquet":
            write_parquet(frames, file)
            return
        for number, frame in enumerate(frames):
            file.write(frame.to_csv(index=False, header=number == 0, float_format="%.6g").encode())


def read_numbers(path: Path) -> pd.DataFrame:
    """Read what :func:`write_numbers` has written, names and formulas as words, whatever they look like."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    columns = list(pd.read_csv(path, nrows=0))
    missing = {name: [""] for name in columns if name not in _WORDS}
    kinds = dict.fromkeys(_WORDS, str)
    return pd.read_csv(path, keep_default_na=False, na_values=missing, dtype=kinds)


def write_crystals(rows: Iterable[Sequence[Any]], path: Path, count: int) -> None:
    """Write a table of crystals: ``material_id``, ``structure`` and ``reason``.

    As ``.json`` it is a dataframe in matminer's format, byte for byte as :func:`icsg3d.data.frames.write_frame` writes
    it; as JSON lines and Parquet, where the crystals are JSON texts, :func:`icsg3d.data.load_structures` reads it.

    Args:
        rows: Name, dictionary of the crystal (None without one) and reason of each.
        path: With one of :data:`CRYSTAL_ENDINGS`.
        count: Number of rows.

    Raises:
        OSError: if it cannot be written.
    """
    if path.suffix == ".parquet":
        with replacing(path) as file:
            write_parquet(_parquet_frames(rows), file)
        return
    lines = ".jsonl" in path.suffixes[-2:]
    with replacing(path) as file, _packing(file, packed=path.suffix == ".gz") as put:
        for text in _json_lines(rows) if lines else _dataframe(rows, count):
            put(text.encode())


def _parquet_frames(rows: Iterable[Sequence[Any]]) -> Iterator[pd.DataFrame]:
    waiting: list[Sequence[Any]] = []
    for name, structure, reason in rows:
        waiting.append((name, None if structure is None else json.dumps(structure, cls=MontyEncoder), reason))
        if len(waiting) == _BLOCK:
            yield pd.DataFrame(waiting, columns=list(_CRYSTAL_COLUMNS))
            waiting = []
    yield pd.DataFrame(waiting, columns=list(_CRYSTAL_COLUMNS), dtype=object)


def _json_lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(dict(zip(_CRYSTAL_COLUMNS, row, strict=True)), cls=MontyEncoder) + "\n"


def _dataframe(rows: Iterable[Sequence[Any]], count: int) -> Iterator[str]:
    yield '{"index": ['
    for number in range(count):
        yield f", {number}" if number else "0"
    yield f'], "columns": {json.dumps(_CRYSTAL_COLUMNS)}, "data": ['
    for number, row in enumerate(rows):
        yield (", " if number else "") + json.dumps(row, cls=MontyEncoder)
    yield "]}"


@contextmanager
def _packing(file: Any, *, packed: bool) -> Iterator[Any]:
    """Yield what puts bytes into a file, packed as ``gzip.compress`` does without a date."""
    if not packed:
        yield file.write
        return
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    yield lambda data: file.write(packer.compress(data))
    file.write(packer.flush())


def read_crystals(path: Path) -> pd.DataFrame:
    """Read what :func:`write_crystals` has written, a structure as such and None where there is none."""
    if path.name.endswith((".json", ".json.gz")):
        return read_frame(path)
    reader = iter_parquet if path.suffix == ".parquet" else iter_json_lines
    return pd.concat(list(reader(path, _BLOCK)), ignore_index=True)[list(_CRYSTAL_COLUMNS)]
