"""Runs over any number of crystals: chunk by chunk into a file, in flat memory, to be resumed after a kill."""

from __future__ import annotations

import itertools
import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from icsg3d.data import count_crystals, iter_tables
from icsg3d.data.sources import CHUNK, digest_of
from icsg3d.data.tables import NUMBER_ENDINGS, check_ending, read_numbers, write_numbers
from icsg3d.errors import InputError, Interrupted
from icsg3d.files import locked, saving
from icsg3d.progress import task
from icsg3d.refusals import Told
from icsg3d.run_folders import PartialRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from icsg3d.data import CrystalTable

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChunkedRun:
    """A run that has begun: its crystals, and what it keeps meanwhile.

    Attributes:
        tables: The crystals, chunk by chunk.
        total: How many entries there are; None where nobody knows before the end.
        rows: What is finished, by the number of the chunk.
    """

    tables: Iterator[CrystalTable]
    total: int | None
    rows: PartialRows


@contextmanager
def chunked_run(
    data: Path | Sequence[Path], out: Path, key: Mapping[str, Any], *, size: int, resume: bool
) -> Iterator[ChunkedRun]:
    """Begin or resume a run that reads crystals chunk by chunk and writes one file; lock that meanwhile.

    Args:
        data: One or several sources.
        out: File to write; beside it lies a hidden one of what is finished, until the ``with`` block has ended well.
        key: What finished rows depend on beside the data.
        size: Entries of a chunk.
        resume: Take up what an interrupted run left.

    Raises:
        InputError: if the data cannot be used, the file cannot be written or another run is writing it, or there is
            nothing of this run to resume.
        Interrupted: on Ctrl-C; finished rows are kept.
    """
    tables = iter_tables(data, size)
    begun = list(itertools.islice(tables, 2))  # bad data are told before anything is written
    total = count_crystals(data)
    if total is None and len(begun) == 1:
        total = len(begun[0]) + len(begun[0].skipped)
    digest = digest_of(data)
    with saving(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out):
        rows = PartialRows(
            out.with_name(f".{out.name}.partial.jsonl"), {"data_sha256": digest, "chunk": size} | dict(key)
        )
        rows.begin(resume=resume)
        try:
            yield ChunkedRun(_read(begun, tables, rows), total, rows)
        except KeyboardInterrupt as stop:
            raise Interrupted(
                f"interrupted; what was finished is kept, repeat the command with --resume to finish {out}"
            ) from stop
        rows.remove()


def _read(begun: list[CrystalTable], tables: Iterator[CrystalTable], rows: PartialRows) -> Iterator[CrystalTable]:
    while begun:
        yield begun.pop(0)
    try:
        yield from tables
    except InputError:  # other data are another run
        rows.remove()
        raise


@dataclass(frozen=True)
class Written:
    """What came of a run.

    Attributes:
        count: Rows of the table.
        refused: Entries that were left out.
        told: Rows that hold something in each column of words, by the column.
    """

    count: int
    refused: int
    told: dict[str, int]


@dataclass(frozen=True)
class NumberTable:
    """A table of numbers that a run has written.

    Attributes:
        out: The table.
        count: Its rows.
        labels: What its numbers are.
    """

    out: Path
    count: int
    labels: list[str]

    @property
    def frame(self) -> pd.DataFrame:
        """The table, read from the file: ``material_id``, ``formula`` and the numbers."""
        return read_numbers(self.out)


def write_rows_of(
    data: Path | Sequence[Path],
    out: Path,
    key: Mapping[str, Any],
    work: Callable[[CrystalTable], tuple[pd.DataFrame, dict[str, str]]],
    doing: str,
    done: str,
    *,
    resume: bool,
) -> Written:
    """Make rows of crystals, chunk by chunk, into one table; crystals of which none can be made are named and left out.

    Args:
        data: One or several sources of crystals.
        out: Table to write, ``.csv`` or ``.parquet``.
        key: What a row depends on beside the data.
        work: Returns a row for each crystal of a chunk that can be used, and the reasons of the others by name. A
            column of words may be missing where it holds nothing.
        doing: What is being done, such as "predicting", for the progress.
        done: What a crystal then is, such as "predicted", for messages.
        resume: Take up what an interrupted run left.

    Raises:
        InputError: as :func:`chunked_run`, or if there is no row.
        Interrupted: on Ctrl-C; finished rows are kept.
    """
    check_ending(out, NUMBER_ENDINGS)
    counts = _Counts()
    refused = Told(_log)
    with chunked_run(data, out, key, size=CHUNK, resume=resume) as run:
        with task(doing, total=run.total) as running:
            for number, table in enumerate(run.tables):
                if number not in run.rows.rows:
                    frame, skipped = work(table)
                    run.rows.add(number, {"frame": frame.to_dict(orient="list"), "skipped": skipped})
                row = run.rows.rows[number]
                refused.refused(table.skipped | row["skipped"])
                counts.add(len(table), row["frame"])
                running.advance(len(table) + len(table.skipped))
                del table
        refused.end()
        if not counts.rows:
            run.rows.remove()
            sources = ", ".join(map(str, data if isinstance(data, list | tuple) else [data]))
            raise InputError(
                f"none of the {counts.crystals} crystals in {sources} could be {done}; see the reasons above"
            )
        with saving(out):
            write_numbers(_frames(run.rows, list(counts.columns)), out)
    return Written(counts.rows, refused.count, counts.told)


@dataclass
class _Counts:
    """What is known of a table before it is written.

    Attributes:
        crystals: Crystals that were read.
        rows: Rows of the table.
        columns: Its columns, in the order in which chunks bring them.
        told: Rows that hold something in each column of words, by the column.
    """

    crystals: int = 0
    rows: int = 0
    columns: dict[str, None] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)

    def add(self, crystals: int, frame: Mapping[str, list[Any]]) -> None:
        """Count the crystals and the rows of a chunk."""
        self.crystals += crystals
        if not frame["material_id"]:
            return
        self.rows += len(frame["material_id"])
        self.columns |= dict.fromkeys(frame)
        for name, values in frame.items():
            if isinstance(values[0], str):
                self.told[name] = self.told.get(name, 0) + sum(value != "" for value in values)


def _frames(rows: PartialRows, columns: list[str]) -> Iterator[pd.DataFrame]:
    """Yield the tables of all chunks in their order, with the same columns."""
    for number in sorted(rows.rows):
        found = rows.rows[number]["frame"]
        if found["material_id"]:
            frame = pd.DataFrame(found)
            yield frame.assign(**{name: "" for name in columns if name not in frame})[columns]
