"""A run that encodes crystals and decodes them again."""

from __future__ import annotations

import functools
import logging
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icsg3d.arguments import job_count, whole_number
from icsg3d.data.sources import CHUNK
from icsg3d.data.tables import CRYSTAL_ENDINGS, check_ending, read_crystals, write_crystals
from icsg3d.defaults import GENERATOR
from icsg3d.files import saving
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.models.decoding import SYMMETRY_TOLERANCE
from icsg3d.processors import available_processors, one_thread
from icsg3d.progress import task
from icsg3d.refusals import Told, usable
from icsg3d.runs.chunked import chunked_run
from icsg3d.runs.processes import shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import pandas as pd
    from pymatgen.core import Structure

    from icsg3d.data import CrystalTable
    from icsg3d.run_folders import PartialRows
    from icsg3d.runs.chunked import ChunkedRun

_CHUNK = 32
"""Crystals that are rebuilt together."""

_PER_PROCESS = 64
"""Crystals for which it is worth while to start a process, which takes some seconds."""

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
    jobs: int = 1,
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
        jobs: Processes that share the work, each with networks of its own; -1 for one on each processor (one in all on
            another device than the CPU), but no more than one for 64 crystals. The result is the same.
        resume: Take up what an interrupted run left.

    Raises:
        InputError: if an option or the source cannot be used, or a process dies; finished rows are kept.
        Interrupted: on Ctrl-C; finished rows are kept.
    """
    data, out, jobs = Path(data), Path(out), job_count(jobs)
    limit = None if limit is None else whole_number(limit, "--limit", 1)
    check_ending(out, CRYSTAL_ENDINGS)
    generator = CrystalGenerator.from_pretrained(model, device, symmetry)
    key = {"data": str(data.resolve()), "limit": limit, "symmetry": symmetry, "batch": _CHUNK} | generator.as_dict()
    with chunked_run(data, out, key, size=CHUNK, resume=resume) as run:
        good, count = _rebuild_all(generator, run, limit, jobs, device)
        with saving(out):
            write_crystals(_in_order(run.rows), out, count)
    return Reconstructed(out, good, count)


def _rebuild_all(
    generator: CrystalGenerator, run: ChunkedRun, limit: int | None, jobs: int, device: str
) -> tuple[int, int]:
    """Rebuild what is missing; return how many crystals gave one, and how many entries there are."""
    good, count, done = 0, 0, 0
    unread, failed = Told(_log), Told(_log)
    expected = min((each for each in (limit, run.total) if each is not None), default=None)
    with (
        task("rebuilding", total=limit or run.total) as running,
        _rebuilding(generator, _processes(jobs, expected, device), device) as rebuild,
    ):
        for number, whole in enumerate(run.tables):
            table = whole.head(None if limit is None else limit - done)
            unread.refused(table.skipped)
            run.rows.add((number, "skipped"), [[name, None, reason] for name, reason in table.skipped.items()])
            chunks = {rows[0]: rows for rows in _batched(range(len(table)))}
            missing = [rows for start, rows in chunks.items() if (number, start) not in run.rows.rows]
            made = rebuild(_taken(table, rows) for rows in missing)
            for start, rows in chunks.items():
                if (number, start) not in run.rows.rows:
                    run.rows.add((number, start), next(made))
                found = run.rows.rows[number, start]
                good += sum(structure is not None for _, structure, _ in found)
                failed.refused({name: reason for name, structure, reason in found if structure is None})
                running.advance(len(rows))
            done += len(table)
            count += len(table) + len(table.skipped)
            del whole, table, made
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


def rebuild_missing(
    generator: CrystalGenerator, table: CrystalTable, partial: PartialRows, jobs: int = 1, device: str = "cpu"
) -> None:
    """Rebuild the crystals of a table that a partial file does not hold yet: name, crystal (or None) and reason.

    Args:
        generator: Which rebuilds them.
        table: The crystals.
        partial: What is finished, by the row of the table.
        jobs: As of :func:`reconstruct`.
        device: Where the networks of other processes run.
    """
    missing = [row for row in range(len(table)) if row not in partial.rows]
    chunks = _batched(missing)
    with (
        task("rebuilding", total=len(table), done=len(table) - len(missing)) as running,
        _rebuilding(generator, _processes(jobs, len(missing), device), device) as rebuild,
    ):
        for rows, made in zip(chunks, rebuild(_taken(table, rows) for rows in chunks), strict=True):
            for row, each in zip(rows, made, strict=True):
                partial.add(row, each)
            running.advance(len(rows))


def _batched(rows: Sequence[int]) -> list[Sequence[int]]:
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]


def _taken(table: CrystalTable, rows: Sequence[int]) -> list[tuple[str, Structure]]:
    return [(table.ids[row], table.structures[row]) for row in rows]


def _processes(jobs: int, count: int | None, device: str) -> int:
    """Return how many processes rebuild so many crystals (None for very many) on a device."""
    if jobs == -1:
        most = available_processors() if device == "cpu" else 1
        return most if count is None else max(1, min(most, count // _PER_PROCESS))
    return jobs if count is None else max(1, min(jobs, -(-count // _CHUNK)))


_Chunk = list[tuple[str, "Structure"]]


def _rebuilding(
    generator: CrystalGenerator, processes: int, device: str
) -> AbstractContextManager[Callable[[Iterable[_Chunk]], Iterator[list[list[Any]]]]]:
    """Return what takes chunks of named crystals and yields what :func:`_rebuilt` makes of each."""
    if processes == 1 or generator.folder is None:
        return nullcontext(functools.partial(map, functools.partial(_rebuilt, generator)))
    return shared(_Rebuilding(generator.folder, generator.symmetry_tolerance), processes, device)


@dataclass(frozen=True)
class _Rebuilding:
    """What processes do; each loads a generator of its own.

    Attributes:
        folder: Of the model.
        symmetry: Crystals are brought to the symmetry they have within this distance in angstrom.
    """

    folder: Path
    symmetry: float

    def begin(self, device: str) -> Callable[[_Chunk], list[list[Any]]]:
        """Return what rebuilds a chunk."""
        return functools.partial(_rebuilt, CrystalGenerator.from_pretrained(self.folder, device, self.symmetry))


def _rebuilt(generator: CrystalGenerator, chunk: _Chunk) -> list[list[Any]]:
    """Return name, dictionary of the rebuilt crystal (or None) and reason for each of some named crystals."""
    names, structures = [name for name, _ in chunk], [structure for _, structure in chunk]
    found = usable(structures, generator.prepare)
    made: dict[int, list[Any]] = {place: [names[place], None, reason] for place, reason in found.refused.items()}
    with one_thread():
        decoded = generator.reconstruct([structures[place] for place in found.rows]) if found.rows else []
    for place, crystal in zip(found.rows, decoded, strict=True):
        structure = None if crystal.structure is None else crystal.structure.as_dict()
        made[place] = [names[place], structure, crystal.reason]
    return [made[place] for place in range(len(chunk))]
