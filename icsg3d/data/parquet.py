"""Crystals from Parquet, and tables into it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from icsg3d.crystals.unpacking import check_regular
from icsg3d.data.frames import check_names
from icsg3d.data.parts import crystal_of_cell
from icsg3d.errors import InputError
from icsg3d.limits import BYTES, ROWS
from icsg3d.refusals import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

_INDEX = re.compile(r"__index_level_\d+__|__null_dask_index__")
"""Columns in which pandas and dask keep the names of rows."""

_BUFFER = 1 << 20
"""Bytes of a column that are read at once; without it a whole group of rows, which is often the whole file."""

_GROUP = 1 << 15
"""Rows of a group, at least, in what is written."""


def count_parquet(path: Path) -> int:
    """Return the number of rows, which stands at the end of the file.

    Raises:
        InputError: as in :func:`iter_parquet`.
    """
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def iter_parquet(path: Path, size: int) -> Iterator[pd.DataFrame]:
    """Read Parquet as dataframes of so many rows, the number of the row (from 0) as the index.

    Crystals stand in a column ``structure``, as JSON text of what pymatgen's ``as_dict`` gives, or in a column ``cif``.
    A text that is none leaves a :class:`~icsg3d.data.frames.BadCell` with the reason.

    Raises:
        InputError: if the file is missing, damaged, beyond the limits, or has no such column.
    """
    with _opened(path) as file:
        names = [name for name in file.schema_arrow.names if not _INDEX.fullmatch(name)]
        check_names(names, path)
        held = next((name for name in ("structure", "cif") if name in names), None)
        if held is None:
            raise InputError(
                f"{path} has no column 'structure' or 'cif', only {listed(names)}; name the column of crystals so"
            )
        ROWS.check(file.metadata.num_rows, f"{path} has", "split it")
        _check_announced(file.metadata, size, path)
        first = 0
        for batch in file.iter_batches(batch_size=min(size, ROWS.value() + 1), columns=names):
            BYTES.check(batch.nbytes, f"{path} has, in {batch.num_rows} rows,", "split it")
            index = range(first, first + batch.num_rows)
            first += batch.num_rows
            structures = [crystal_of_cell(cell) for cell in batch.column(held).to_pylist()]
            rest = [name for name in names if name not in {"structure", "cif"}]
            frame = batch.select(rest).to_pandas(ignore_metadata=True) if rest else pd.DataFrame(index=index)
            yield frame.set_axis(index, axis=0).assign(structure=pd.Series(structures, index=index, dtype=object))
            del batch, structures, frame  # before the next ones are made
        if not first:
            yield pd.DataFrame(columns=["structure"])


def _check_announced(metadata: Any, size: int, path: Path) -> None:
    """Refuse groups of rows of which so many rows are announced to be too large, before they are unpacked."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        rows = max(group.num_rows, 1)
        BYTES.check(
            group.total_byte_size * min(size, rows) // rows, f"{path} has, in {min(size, rows)} rows,", "split it"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        check_regular(path, whole=False)
        with parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}; give the path of a data set or crystal file") from error
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} cannot be read as Parquet ({reason}); give an undamaged file") from error


def write_parquet(frames: Iterable[pd.DataFrame], file: BinaryIO) -> None:
    """Write dataframes of the same columns below each other; not many rows are in memory at a time.

    Raises:
        OSError: if it cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    writer, waiting, rows = None, [], 0
    try:
        for frame in frames:
            table = pa.Table.from_pandas(frame, schema=writer and writer.schema, preserve_index=False)
            if writer is None:
                writer = parquet.ParquetWriter(file, table.schema.remove_metadata(), compression="zstd")
            waiting.append(table.replace_schema_metadata(None))
            rows += len(frame)
            if rows >= _GROUP:
                writer.write_table(pa.concat_tables(waiting))
                waiting, rows = [], 0
        if writer is not None and waiting:
            writer.write_table(pa.concat_tables(waiting))
    finally:
        if writer is not None:
            writer.close()
