"""Tables of candidates that are written row by row: CSV, Parquet, and the archive of the first ones."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from monty.json import MontyEncoder

from icsg3d.files import replacing, saving
from icsg3d.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from icsg3d.generation.candidates import Candidate

RESULT_FILE = "candidates.json.gz"
TABLE_FILE = "candidates.csv"
PARQUET_FILE = "candidates.parquet"

LISTED = 1000
"""Candidates that the archive holds at least, where there are so many; all that are kept are in it."""

_ROWS = 2048
"""Rows of a table that are in memory together."""

_KINDS: dict[frozenset[type], pa.DataType] = {
    frozenset({bool}): pa.bool_(),
    frozenset({int}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
    frozenset({list}): pa.list_(pa.string()),
}
"""Kinds of columns by the kinds of their values; any other column holds text."""


def write_tables(folder: Path, everyone: Callable[[], Iterable[Candidate]], listed: int | None) -> None:
    """Write ``candidates.csv``, ``candidates.parquet`` and ``candidates.json.gz``, a few rows in memory at a time.

    Args:
        folder: Where.
        everyone: Returns the candidates in the order of the tables; called twice.
        listed: How many the archive holds at most; None for all.

    Raises:
        InputError: if something cannot be written.
    """
    columns: dict[str, set[type]] = {}
    with saving(folder), replacing(folder / RESULT_FILE) as file, _archive(file) as archive:
        for place, candidate in enumerate(everyone()):
            if listed is None or place < listed:
                archive.add(candidate)
            for name, value in candidate.row().items():
                kinds = columns.setdefault(name, set())
                if value is not None and value != "":
                    kinds.add(type(value))
    names = list(columns) or ["index"]
    with saving(folder), replacing(folder / TABLE_FILE) as table, replacing(folder / PARQUET_FILE) as parquet:
        text = io.TextIOWrapper(table, encoding="utf-8", newline="", write_through=True)
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        schema = _schema(columns)
        with pq.ParquetWriter(parquet, schema, compression="zstd") as rows:
            left = iter(track(everyone(), "writing tables"))
            while part := list(itertools.islice(left, _ROWS)):
                found = [candidate.row() for candidate in part]
                writer.writerows(found)
                rows.write_batch(_batch(part, found, schema))
        text.detach()


class _Archive:
    """A JSON list that is written entry by entry."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self._file.write(b"[")
        self._first = True

    def add(self, candidate: Candidate) -> None:
        """Write one more entry."""
        self._file.write(b"" if self._first else b", ")
        self._file.write(json.dumps(candidate.as_dict(), cls=MontyEncoder).encode())
        self._first = False


@contextmanager
def _archive(file: BinaryIO) -> Iterator[_Archive]:
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        yield _Archive(packed)
        packed.write(b"]")


def _schema(columns: Mapping[str, set[type]]) -> pa.Schema:
    fields = [pa.field(name, _KINDS.get(frozenset(kinds), pa.string())) for name, kinds in columns.items()]
    return pa.schema([*fields, pa.field("structure", pa.string())] if fields else [pa.field("index", pa.int64())])


def _batch(candidates: Iterable[Candidate], rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows with the crystals as JSON texts of pymatgen's dictionaries."""
    texts = [
        None if each.structure is None else json.dumps(each.structure.as_dict(), cls=MontyEncoder)
        for each in candidates
    ]
    cells = [
        texts if field.name == "structure" else [_cell(row.get(field.name), field.type) for row in rows]
        for field in schema
    ]
    columns = [pa.array(values, field.type) for values, field in zip(cells, schema, strict=True)]
    return pa.record_batch(columns, schema=schema)


def _cell(value: Any, kind: pa.DataType) -> Any:
    if value is None or (value == "" and not pa.types.is_string(kind)):
        return None
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else json.dumps(value, cls=MontyEncoder)
    return [str(each) for each in value] if pa.types.is_list(kind) else value
