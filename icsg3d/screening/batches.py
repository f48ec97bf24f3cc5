"""Batches of candidates: drawn and judged together, tried again where that fails, by one process or by several."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from icsg3d.generation.candidates import Candidate
    from icsg3d.generation.sources import Source
    from icsg3d.screening.pipeline import Judge

BATCH = 64
"""Candidates that are drawn and judged together. Whether there are enough is asked after each batch, so that the same
seed gives the same list wherever a run was interrupted."""

ATTEMPTS = 2
"""How often a batch is tried."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Candidates by number.

    Attributes:
        numbers: All of the batch.
        missing: Those that are not judged yet.
        drawn: Those of them that are drawn already.
    """

    numbers: range
    missing: tuple[int, ...]
    drawn: Mapping[int, Candidate] = field(default_factory=dict)

    @property
    def undrawn(self) -> list[int]:
        """Those that are to be drawn."""
        return [number for number in self.missing if number not in self.drawn]


@dataclass(frozen=True)
class Finished:
    """A batch that is done.

    Attributes:
        batch: Which.
        drawn: Candidates as they were drawn, those that had not been.
        assessed: The same and those drawn before, as :meth:`icsg3d.screening.pipeline.Judge.assess` returns them.
    """

    batch: Batch
    drawn: tuple[Candidate, ...] = ()
    assessed: tuple[Candidate, ...] = ()

    @property
    def size(self) -> int:
        """How many numbers the batch has."""
        return len(self.batch.numbers)


@dataclass(frozen=True)
class LostDraws:
    """Draws that could not be judged.

    Attributes:
        first: Number of the first.
        last: Number of the last.
        reason: Why, at last.
        known: How many between them were judged by an earlier run, and are not lost.
    """

    first: int
    last: int
    reason: str
    known: int = 0

    @classmethod
    def of(cls, batch: Batch, reason: str) -> LostDraws:
        """Return the draws of a batch that failed each time it was tried."""
        numbers = batch.numbers
        return cls(numbers.start, numbers.stop - 1, reason, len(numbers) - len(batch.missing))

    @property
    def size(self) -> int:
        """How many numbers the range has."""
        return self.last - self.first + 1

    @property
    def count(self) -> int:
        """How many are lost."""
        return self.size - self.known

    def __str__(self) -> str:
        """Return the numbers and the reason."""
        return f"{self.first} to {self.last} ({self.reason})"


class Team(Protocol):
    """What draws and judges batches."""

    def __call__(self, batches: Iterable[Batch]) -> Iterator[Finished | LostDraws]:
        """Yield what came of batches, in their order; none is begun long before it is asked for."""


def judge_batch(
    source: Source, judge: Judge, batch: Batch, save: Callable[[Candidate], None] = lambda _: None
) -> Finished:
    """Draw and judge a batch.

    Args:
        source: Of the candidates.
        judge: Of them.
        batch: Which.
        save: Called with each candidate as soon as it is drawn.
    """
    new: dict[int, Candidate] = {}
    for candidate in source.candidates(batch.undrawn):
        new[candidate.index] = candidate
        save(candidate)
    everyone = new | dict(batch.drawn)
    return Finished(batch, tuple(new.values()), tuple(judge.assess([everyone[number] for number in batch.missing])))


def attempt(work: Callable[[Batch], Finished], batch: Batch) -> Finished | LostDraws:
    """Return what came of a batch, which is tried again where it fails.

    Raises:
        InputError: if something is asked for that cannot be had, or the disk is full; that ends a run.
    """
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            return work(batch)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, the other batches count)
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            _log.debug("a batch failed", exc_info=True)
    return LostDraws.of(batch, reason)


def alone(source: Source, judge: Judge, save: Callable[[Candidate], None]) -> Team:
    """Return a team of this process alone; arguments as of :func:`judge_batch`."""

    def run(batches: Iterable[Batch]) -> Iterator[Finished | LostDraws]:
        for batch in batches:
            yield (
                attempt(lambda each: judge_batch(source, judge, each, save), batch)
                if batch.missing
                else Finished(batch)
            )

    return run
