"""A run that encodes crystals and decodes them again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icsg3d.arguments import whole_number
from icsg3d.data.sources import CHUNK
from icsg3d.data.tables import CRYSTAL_ENDINGS, check_ending, read_crystals, write_crystals
from icsg3d.defaults import GENERATOR
from icsg3d.files import saving
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.models.decoding import SYMMETRY_TOLERANCE
from icsg3d.processors import one_thread
from icsg3d.progress import task
from icsg3d.refusals import Told, usable
from icsg3d.runs.chunked import chunked_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from icsg3d.data import CrystalTable
    from icsg3d.run_folders import PartialRows
    from icsg3d.runs.chunked import ChunkedRun

_CHUNK = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconstructed:
    """What came of a run.

    Attributes:
        out: The table that was written.
        good: How many crystals gave a crystal again.
        count: Entries of the source.
    """

    out: Path
    good: int
    count: int

    @property
    def frame(self) -> pd.DataFrame:
        """The table, read from the file: ``material_id``, ``structure`` (None where there is none) and ``reason``."""
        return read_crystals(self.out)

    def __str__(self) -> str:
        """Return the counts in a sentence."""
        return f"{self.good} of {self.count} crystals gave a crystal again"


def reconstruct(
    data: Path,
    out: Path,
    *,
    model: str = GENERATOR,
    device: str = "cpu",
    symmetry: float = SYMMETRY_TOLERANCE,
    limit: int | None = None,
    resume: bool = False,
) -> Reconstructed:
    """Encode crystals and decode them again, into a table with ``material_id``, ``structure`` and ``reason``.

    Crystals are read, rebuilt and written chunk by chunk (:func:`icsg3d.data.iter_tables`), so that memory does not
    grow with their number. Entries that could not be read stand behind all others.

    Args:
        data: Any source of crystals.
        out: Table to write: a dataframe in matminer's format (``.json``, ``.json.gz``), JSON lines (``.jsonl``,
            ``.jsonl.gz``) or ``.parquet``.
        model: Shipped generator, or folder of a trained one.
        device: Where the networks run.
        symmetry: Crystals are brought to the symmetry they have within this distance in angstrom; 0 for none.
        limit: Take only so many crystals, and read no further.
        resume: Take up what an interrupted run left.

    Raises:
        InputError: if an option or the source cannot be used.
        Interrupted: on Ctrl-C; finished rows are kept.
    """
    data, out = Path(data), Path(out)
    limit = None if limit is None else whole_number(limit, "--limit", 1)
    check_ending(out, CRYSTAL_ENDINGS)
    generator = CrystalGenerator.from_pretrained(model, device, symmetry)
    key = {"data": str(data.resolve()), "limit": limit, "symmetry": symmetry, "batch": _CHUNK} | generator.as_dict()
    with chunked_run(data, out, key, size=CHUNK, resume=resume) as run:
        good, count = _rebuild_all(generator, run, limit)
        with saving(out):
            write_crystals(_in_order(run.rows), out, count)
    return Reconstructed(out, good, count)


def _rebuild_all(generator: CrystalGenerator, run: ChunkedRun, limit: int | None) -> tuple[int, int]:
    """Rebuild what is missing; return how many crystals gave one, and how many entries there are."""
    good, count, done = 0, 0, 0
    unread, failed = Told(_log), Told(_log)
    with task("rebuilding", total=limit or run.total) as running:
        for number, whole in enumerate(run.tables):
            table = whole.head(None if limit is None else limit - done)
            unread.refused(table.skipped)
            run.rows.add((number, "skipped"), [[name, None, reason] for name, reason in table.skipped.items()])
            for start in range(0, len(table), _CHUNK):
                rows = range(start, min(start + _CHUNK, len(table)))
                if (number, start) not in run.rows.rows:
                    made = _rebuilt(generator, table, rows)
                    run.rows.add((number, start), [made[row] for row in rows])
                found = run.rows.rows[number, start]
                good += sum(structure is not None for _, structure, _ in found)
                failed.refused({name: reason for name, structure, reason in found if structure is None})
                running.advance(len(rows))
            done += len(table)
            count += len(table) + len(table.skipped)
            del whole, table
            if done == limit:
                break
    unread.end()
    failed.end()
    return good, count


def _in_order(rows: PartialRows) -> Iterator[list[Any]]:
    """Yield the rows of all crystals in their order, and then of what could not be read."""
    crystals = sorted(place for place in rows.rows if place[1] != "skipped")
    skipped = sorted(place for place in rows.rows if place[1] == "skipped")
    for place in (*crystals, *skipped):
        yield from rows.rows[place]


def rebuild_missing(generator: CrystalGenerator, table: CrystalTable, partial: PartialRows) -> None:
    """Rebuild the crystals of a table that a partial file does not hold yet: name, crystal (or None) and reason."""
    missing = [row for row in range(len(table)) if row not in partial.rows]
    with task("rebuilding", total=len(table), done=len(table) - len(missing)) as running:
        for chunk in _batched(missing):
            for row, made in _rebuilt(generator, table, chunk).items():
                partial.add(row, made)
            running.advance(len(chunk))


def _batched(rows: Sequence[int]) -> list[Sequence[int]]:
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]


def _rebuilt(generator: CrystalGenerator, table: CrystalTable, rows: Sequence[int]) -> dict[int, list[Any]]:
    """Return name, dictionary of the rebuilt crystal (or None) and reason for some rows of a table."""
    found = usable([table.structures[row] for row in rows], generator.prepare)
    made: dict[int, list[Any]] = {
        rows[place]: [table.ids[rows[place]], None, reason] for place, reason in found.refused.items()
    }
    good = [rows[place] for place in found.rows]
    with one_thread():
        decoded = generator.reconstruct([table.structures[row] for row in good]) if good else []
    for row, crystal in zip(good, decoded, strict=True):
        structure = None if crystal.structure is None else crystal.structure.as_dict()
        made[row] = [table.ids[row], structure, crystal.reason]
    return made
