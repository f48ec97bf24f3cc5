"""A list of candidates that grows batch by batch: of repeats the best stays, and what refused the rest is counted.

What is judged lies in a *book*, a mapping of numbers to candidates, which may be on disk; in memory there are numbers,
energies and, of crystals that may stay, keys. The outcome depends on the candidates alone, not on their order or parts.
"""

from __future__ import annotations

import dataclasses
import math
import time
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from icsg3d.errors import InputError
from icsg3d.progress import task
from icsg3d.screening.batches import BATCH, Batch, Finished, LostDraws, Team, alone
from icsg3d.screening.judging import ABOVE_HULL, merit
from icsg3d.screening.repeats import BASE, Repeats
from icsg3d.screening.screen import REPEATS, THE_BASE, pointed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pymatgen.core import Structure

    from icsg3d.generation.candidates import Candidate
    from icsg3d.generation.sources import Source
    from icsg3d.screening.pipeline import Judge

PASSING_PER_KEPT = 2
"""Different candidates that are to pass for each one wanted, so that there is a choice."""

_SHOWN = 4
"""Reasons that a sentence names."""

_TOLD_TOGETHER = 256

_VALUES = {"hull": ABOVE_HULL}
"""Predictions behind reasons, where these have another name."""


class Book(Protocol):
    """Candidates by number, in memory (a dictionary) or on disk."""

    def __getitem__(self, number: int, /) -> Candidate:
        """Return the candidate of a number."""

    def __setitem__(self, number: int, candidate: Candidate, /) -> None:
        """Keep a candidate."""

    def __contains__(self, number: object, /) -> bool:
        """Return whether there is a candidate of a number."""

    def clear(self) -> None:
        """Forget all candidates."""


class Shortlist:
    """Judged candidates and the best of them.

    Args:
        judge: What they are judged by.
        keep: How many are wanted; None for all that pass.
        enough: It is full when so many different ones passed, of which the best are kept; None for never.
        book: Where judged candidates are kept, by number; those that are there count once they are entered.
        told: Where those that are kept in the end are put, with all that is told of them.

    Attributes:
        lost: Batches that could not be judged.
    """

    def __init__(
        self,
        judge: Judge,
        keep: int | None = None,
        *,
        enough: int | None = None,
        book: Book | None = None,
        told: Book | None = None,
    ) -> None:
        self.judge = judge
        self.keep = keep
        self.book: Book = {} if book is None else book
        self.told: Book = {} if told is None else told
        self.lost: list[LostDraws] = []
        self._enough = enough
        self._numbers = array("q")
        self._merits = array("d")
        self._passes = array("b")
        self._refused_for: Counter[str] = Counter()
        self._repeats = Repeats(self._crystal, judge.base)

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Judge more candidates, whose numbers are new."""
        self.enter(self.judge.assess(candidates))

    def enter(self, assessed: Iterable[Candidate]) -> None:
        """Take candidates that are judged already, as :meth:`icsg3d.screening.pipeline.Judge.assess` does."""
        for each in assessed:
            if each.index not in self.book:
                self.book[each.index] = each
            passes = bool(each.screening["passed"])
            self._numbers.append(each.index)
            self._merits.extend(merit(each)[:2])
            self._passes.append(passes)
            if passes and each.structure is not None:
                self._repeats.add(merit(each), each.structure, each.screening["space_group"])
            else:
                self._refused_for.update(each.screening["failed_on"])

    def finish(self) -> None:
        """Add to those that are kept what is told of them alone."""
        self.told.clear()
        numbers = self._chosen()
        for start in range(0, len(numbers), _TOLD_TOGETHER):
            part = numbers[start : start + _TOLD_TOGETHER]
            for each in self.judge.tell([self._marked(number) for number in part]):
                self.told[each.index] = each

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self._numbers)

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the candidates, in the order in which they were entered."""
        return self._numbers

    @property
    def count(self) -> int:
        """How many are kept."""
        return self.passed if self.keep is None else min(self.passed, self.keep)

    @property
    def passed(self) -> int:
        """How many different candidates passed."""
        if self.judge.screening.unique:
            return self._repeats.different
        return len(self._passing())

    @property
    def share(self) -> float:
        """Share of the candidates that passed, repeats counted."""
        return sum(self._passes) / max(len(self), 1)

    @property
    def full(self) -> bool:
        """Whether no more are needed."""
        return self._enough is not None and self.passed >= self._enough

    @property
    def kept(self) -> list[Candidate]:
        """The best of those that passed, as many as wanted, best first, with their rank."""
        return list(self.iter_kept())

    def iter_kept(self) -> Iterator[Candidate]:
        """Yield what :attr:`kept` holds, one after the other."""
        for rank, number in enumerate(self._chosen(), start=1):
            yield self._at_rank(number, rank)

    def everyone(self) -> Iterator[Candidate]:
        """Yield all candidates in the order of their rank: those kept, others that passed, those refused."""
        chosen = self._chosen()
        yield from self.iter_kept()
        numbers = np.frombuffer(self._numbers, dtype=np.int64) if self._numbers else np.empty(0, np.int64)
        above, energy = np.array(self._merits).reshape(-1, 2).T
        refused = ~np.isin(numbers, self._passing())
        order = np.lexsort((numbers, energy, above, refused))
        others = numbers[order][~np.isin(numbers[order], chosen)]
        yield from (self._marked(int(number)) for number in others)

    def reasons(self) -> Counter[str]:
        """Return how many candidates each criterion refused; one may be refused by several."""
        found = Counter(self._refused_for)
        for number, passes in zip(self._numbers, self._passes, strict=True):
            if passes:
                repeated = self._repeats.repeated_by(number)
                if repeated == BASE:
                    found[THE_BASE] += 1
                elif repeated is not None and self.judge.screening.unique:
                    found[REPEATS] += 1
        return found

    def describe(self) -> str:
        """Return in a sentence how many passed, and what refused the others."""
        share = f" ({self.passed / len(self):.0%})" if len(self) else ""
        told = f"{self.passed} of {len(self)} passed{share}"
        most = [f"{reason} {count}" for reason, count in self.reasons().most_common(_SHOWN)]
        return f"{told}; refused for {', '.join(most)}" if most else told

    def nearest(self) -> str:
        """Return which candidate that was refused came nearest, and what it lacked; empty if there is none."""
        passing = set(self._passing())
        best, least = None, None
        for number in self._numbers:
            each = self._marked(number) if number not in passing else None
            if each is None or each.structure is None or THE_BASE in _unmet(each):
                continue
            miss = (len(_unmet(each)), self._missed(each), *merit(each))
            if least is None or miss < least:
                best, least = each, miss
        if best is None:
            return ""
        values = [_lack(best, name) for name in _unmet(best)]
        return f"the nearest was {best.formula}, refused for {', '.join(values)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, and the numbers of candidates that could not be judged."""
        lost = [{"first": each.first, "last": each.last, "reason": each.reason} for each in self.lost]
        counts = {"judged": len(self), "passed": self.passed, "kept": self.count}
        return counts | {"refused_for": dict(self.reasons())} | ({"lost": lost} if lost else {})

    def _crystal(self, number: int) -> Structure:
        structure = self.book[number].structure
        if structure is None:  # it passed
            raise AssertionError(number)
        return structure

    def _passing(self) -> list[int]:
        """Return the numbers of those that pass in the end, in no order."""
        if self.judge.screening.unique:
            return [number for _, _, number in self._repeats.staying()]
        numbers = (number for number, passes in zip(self._numbers, self._passes, strict=True) if passes)
        return [number for number in numbers if self._repeats.repeated_by(number) != BASE]

    def _chosen(self) -> list[int]:
        """Return the numbers of those that are kept, best first."""
        if self.judge.screening.unique:
            return [number for _, _, number in sorted(self._repeats.staying())[: self.keep]]
        merits = np.array(self._merits).reshape(-1, 2)
        place = {number: row for row, number in enumerate(self._numbers)}
        return sorted(self._passing(), key=lambda number: (*merits[place[number]], number))[: self.keep]

    def _at_rank(self, number: int, rank: int) -> Candidate:
        found = self.told[number] if number in self.told else self._marked(number)
        return dataclasses.replace(found, screening=found.screening | {"rank": rank})

    def _marked(self, number: int) -> Candidate:
        """Return a candidate that tells which better one it repeats."""
        found = self.book[number]
        if not found.screening["passed"]:
            return found
        marked = pointed(found, self._repeats.repeated_by(number), self.judge.screening)
        return dataclasses.replace(marked, duplicate_of=marked.screening["duplicate_of"])

    def _missed(self, candidate: Candidate) -> float:
        """Return by how much a candidate misses ranges and hull; infinite where it lacks what has no measure."""
        screening = self.judge.screening
        ranges: dict[str, tuple[float, float]] = dict(screening.constraints.ranges)
        if screening.above_hull is not None:
            ranges["hull"] = (-math.inf, screening.above_hull)
        misses = []
        for name in _unmet(candidate):
            value = candidate.predictions.get(_VALUES.get(name, name))
            if name not in ranges or value is None:
                return math.inf
            low, high = ranges[name]
            misses.append(max(low - value, value - high))
        return sum(misses)


def _unmet(candidate: Candidate) -> list[str]:
    return list(candidate.screening["failed_on"])


def _lack(candidate: Candidate, name: str) -> str:
    value = candidate.predictions.get(_VALUES.get(name, name))
    return name if value is None else f"{name} ({value:.3g})"


def fill(
    source: Source,
    shortlist: Shortlist,
    drawn: Book | None = None,
    team: Team | None = None,
) -> None:
    """Judge the candidates of a source, batch by batch, until enough pass or there are no more.

    A batch that fails is tried again; if it fails again it is left out and named in ``shortlist.lost``.

    Args:
        source: Of the candidates.
        shortlist: Takes them; what its book holds already is not judged again.
        drawn: Candidates of the source that there are already, by number; takes those that are drawn.
        team: What does the work; by default this process.
    """
    drawn = {} if drawn is None else drawn

    def save(candidate: Candidate) -> None:
        drawn[candidate.index] = candidate

    team = team or alone(source, shortlist.judge, save)
    begun, new = time.monotonic(), 0
    with task("generating and judging", total=source.limit, done=0) as running:
        for found in team(_batches(source.limit, shortlist, drawn)):
            if isinstance(found, LostDraws):
                shortlist.lost.append(found)
                numbers = range(found.first, found.last + 1)  # what was judged before is not lost
                shortlist.enter(shortlist.book[number] for number in numbers if number in shortlist.book)
            else:
                new += len(found.batch.missing)
                _enter(found, shortlist, drawn)
            rate = new / max(time.monotonic() - begun, 1e-3)
            running.update(text=f"judging, {rate:.0f} a second, {shortlist.share:.0%} pass")
            running.advance(found.size)
            if shortlist.full:
                return


def best_of(source: Source, judge: Judge, count: int) -> list[Candidate]:
    """Draw until twice as many different candidates pass, or there are no more, and return the best, best first.

    Raises:
        InputError: if none passes.
    """
    shortlist = Shortlist(judge, count, enough=PASSING_PER_KEPT * count)
    fill(source, shortlist)
    found = shortlist.kept
    if not found:
        nearest = shortlist.nearest()
        msg = f"no draw passed: {shortlist.describe()}{f'; {nearest}' if nearest else ''}"
        raise InputError(f"{msg}; allow more draws, or relax a constraint")
    return found


def _batches(limit: int, shortlist: Shortlist, drawn: Book) -> Iterator[Batch]:
    for first in range(0, limit, BATCH):
        numbers = range(first, min(first + BATCH, limit))
        missing = tuple(number for number in numbers if number not in shortlist.book)
        yield Batch(numbers, missing, {number: drawn[number] for number in missing if number in drawn})


def _enter(found: Finished, shortlist: Shortlist, drawn: Book) -> None:
    for candidate in found.drawn:
        if candidate.index not in drawn:  # it came from another process
            drawn[candidate.index] = candidate
    assessed = {each.index: each for each in found.assessed}
    known = {number: shortlist.book[number] for number in found.batch.numbers if number not in assessed}
    shortlist.enter((assessed | known)[number] for number in found.batch.numbers)
