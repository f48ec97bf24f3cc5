"""A list of candidates that grows batch by batch: of repeats the best stays, and what refused the rest is counted."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from icsg3d.crystals.display import CrystalList
from icsg3d.progress import task
from icsg3d.screening.judging import ABOVE_HULL, merit, ranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from icsg3d.generation.candidates import Candidate
    from icsg3d.generation.sources import Source
    from icsg3d.screening.pipeline import Judge

BATCH = 64
"""Candidates that are drawn and judged together. Whether there are enough is asked after each batch, so that the same
seed gives the same list wherever a run was interrupted."""

_SHOWN = 4
"""Reasons that a sentence names."""

_VALUES = {"hull": ABOVE_HULL}
"""Predictions behind reasons, where these have another name."""


class Shortlist:
    """Judged candidates and the best of them.

    Args:
        judge: What they are judged by.
        keep: How many are wanted; None for all that pass.
        stops: Whether it is full when as many as wanted passed; else the best of all are sought.
    """

    def __init__(self, judge: Judge, keep: int | None = None, *, stops: bool = True) -> None:
        self.judge = judge
        self.keep = keep
        self._stops = stops
        self._passed: list[Candidate] = []
        self._refused: list[Candidate] = []
        self._told: dict[int, Candidate] = {}

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Judge more candidates, whose numbers are new."""
        assessed = self.judge.assess(candidates)
        self._refused += [each for each in assessed if not each.screening["passed"]]
        news = [each for each in assessed if each.screening["passed"]]
        if news:
            everyone = self.judge.unrepeated([*self._passed, *news])
            self._passed = [each for each in everyone if each.screening["passed"]]
            self._refused += [each for each in everyone if not each.screening["passed"]]

    def finish(self) -> None:
        """Add to those that are kept what is told of them alone."""
        kept = self.kept
        self._told = {each.index: each for each in self.judge.tell(kept)}

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self._passed) + len(self._refused)

    @property
    def passed(self) -> int:
        """How many different candidates passed."""
        return len(self._passed)

    @property
    def full(self) -> bool:
        """Whether no more are needed."""
        return self._stops and self.keep is not None and self.passed >= self.keep

    @property
    def kept(self) -> list[Candidate]:
        """The best of those that passed, as many as wanted, best first, with their rank."""
        best = sorted(self._passed, key=merit)[: self.keep]
        found = [self._told.get(each.index, each) for each in best]
        return [
            dataclasses.replace(each, screening=each.screening | {"rank": rank})
            for rank, each in enumerate(found, start=1)
        ]

    def everyone(self) -> CrystalList[Candidate]:
        """Return all candidates in the order of their rank: those kept, others that passed, those refused."""
        kept = self.kept
        chosen = {each.index for each in kept}
        others = ranked([each for each in (*self._passed, *self._refused) if each.index not in chosen])
        repeated = {each.index: each.screening.get("duplicate_of") for each in others}
        return CrystalList([*kept, *(_pointed(each, repeated) for each in others)])

    def reasons(self) -> Counter[str]:
        """Return how many candidates each criterion refused; one may be refused by several."""
        return Counter(reason for each in self._refused for reason in each.screening["failed_on"])

    def describe(self) -> str:
        """Return in a sentence how many passed, and what refused the others."""
        share = f" ({self.passed / len(self):.0%})" if len(self) else ""
        told = f"{self.passed} of {len(self)} passed{share}"
        most = [f"{reason} {count}" for reason, count in self.reasons().most_common(_SHOWN)]
        return f"{told}; refused for {', '.join(most)}" if most else told

    def nearest(self) -> str:
        """Return which candidate that was refused came nearest, and what it lacked; empty if there is none."""
        crystals = [each for each in self._refused if each.structure is not None and "the base" not in _unmet(each)]
        if not crystals:
            return ""
        best = min(crystals, key=lambda each: (len(_unmet(each)), self._missed(each), *merit(each)))
        values = [_lack(best, name) for name in _unmet(best)]
        return f"the nearest was {best.formula}, refused for {', '.join(values)}"

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

    def as_dict(self) -> dict[str, Any]:
        """Return the counts."""
        return {"judged": len(self), "passed": self.passed, "kept": len(self.kept), "refused_for": dict(self.reasons())}


def _unmet(candidate: Candidate) -> list[str]:
    return list(candidate.screening["failed_on"])


def _lack(candidate: Candidate, name: str) -> str:
    value = candidate.predictions.get(_VALUES.get(name, name))
    return name if value is None else f"{name} ({value:.3g})"


def _pointed(candidate: Candidate, repeated: dict[int, Any]) -> Candidate:
    """Return a candidate that points to the crystal it repeats, not to one that was found to repeat a better one."""
    first = candidate.screening.get("duplicate_of")
    if first is None:
        return candidate
    while (better := repeated.get(first)) is not None:
        first = better
    screening = candidate.screening | {"duplicate_of": first}
    return dataclasses.replace(candidate, duplicate_of=first, screening=screening)


def fill(source: Source, shortlist: Shortlist, given: Iterable[Candidate] = ()) -> Iterator[Candidate]:
    """Judge the candidates of a source, batch by batch, until enough pass or there are no more.

    Args:
        source: Of the candidates.
        shortlist: Takes them.
        given: Candidates of the source that there are already.

    Yields:
        Each candidate that the source gave, before it is judged, so that it can be kept.
    """
    known = {each.index: each for each in given}
    with task("generating and judging", total=source.limit, done=0) as running:
        for first in range(0, source.limit, BATCH):
            numbers = range(first, min(first + BATCH, source.limit))
            for candidate in source.candidates([number for number in numbers if number not in known]):
                known[candidate.index] = candidate
                yield candidate
            shortlist.add([known[number] for number in numbers])
            running.advance(len(numbers))
            if shortlist.full:
                return
