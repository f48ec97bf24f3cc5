"""Draws that are judged in parts, anywhere, and merged: what may still be among the best, packed so that it travels.

A part is judged on its own (:func:`judge_part`); parts are merged in any order and in as many levels as is convenient
(:func:`merge_parts`); of what is left a :class:`icsg3d.screening.shortlist.Shortlist` makes the list
(:class:`Unpacked`). It is the list that one process makes of all draws.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from monty.json import MontyEncoder

from icsg3d.crystals.matching import repeat_key
from icsg3d.generation.candidates import Candidate, candidate_from_dict
from icsg3d.screening.batches import BATCH, Batch, LostDraws, attempt, judge_batch
from icsg3d.screening.judging import merit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from icsg3d.generation.sources import Source
    from icsg3d.screening.pipeline import Judge
    from icsg3d.screening.repeats import Merit

LISTED = 100
"""Ranges of draws that could not be judged that a part names, with their reasons; all are counted."""

_LONGEST = 300
"""Characters of a reason."""


class Contender(NamedTuple):
    """A candidate that passed, as it travels.

    Attributes:
        above: Its energy above the hull in eV/atom, or infinity.
        energy: Its formation energy in eV/atom, or infinity.
        number: Of the draw.
        formula: Reduced.
        key: What repeats of it share (:func:`icsg3d.crystals.matching.repeat_key`).
        packed: The candidate as JSON, compressed, as text.
    """

    above: float
    energy: float
    number: int
    formula: str
    key: str
    packed: str

    @property
    def merit(self) -> Merit:
        """What candidates are ordered by."""
        return self[:3]

    @property
    def candidate(self) -> Candidate:
        """The candidate.

        Raises:
            InputError: if the text holds something else.
        """
        return candidate_from_dict(json.loads(zlib.decompress(base64.b64decode(self.packed))))


def contender(candidate: Candidate) -> Contender:
    """Return an assessed candidate that passed as it travels, some 3 kB with 20 atoms."""
    if candidate.structure is None:  # it passed
        raise AssertionError(candidate.index)
    text = json.dumps(candidate.as_dict(), cls=MontyEncoder)
    key = repeat_key(candidate.structure, candidate.screening["space_group"])
    packed = base64.b64encode(zlib.compress(text.encode())).decode()
    return Contender(*merit(candidate), candidate.formula, key, packed)


def contenders(found: Iterable[Contender], keep: int | None, *, base: str = "", unique: bool = True) -> list[Contender]:
    """Return those that may be among the best ``keep`` beside any others, best first.

    Of each key that is the best: the others repeat it, whatever else there is. Crystals of different formulas never
    repeat each other, and the best crystal of a formula always stays, as nothing better of its formula is there to be
    repeated. So ``keep`` formulas among strictly better ones are ``keep`` better ones that stay, and whoever has these
    before it is never kept. Dropping it changes nothing for others: it could only have stood in the way of worse ones
    of its formula, which are dropped with it. More candidates never take a better one, nor a formula, away; hence the
    function is associative: contenders of contenders of parts are those of all.

    Args:
        found: Candidates that passed, in any order.
        keep: How many are wanted; None for all.
        base: Reduced formula of the base, which is better than all and no candidate: the best crystal of its formula
            may repeat it, so that this formula does not count.
        unique: Whether repeats are left out. If not, every candidate of another formula than the base's stays.
    """
    best: dict[Any, Contender] = {}
    for each in found:
        key = each.key if unique else each.number
        known = best.get(key)
        if known is None or each.merit < known.merit:
            best[key] = each
    ordered = sorted(best.values(), key=lambda each: each.merit)
    staying: set[Any] = set()
    for place, each in enumerate(ordered):
        if keep is not None and len(staying) >= keep:
            return ordered[:place]
        if each.formula != base:
            staying.add(each.formula if unique else each.number)
    return ordered


@dataclass(frozen=True)
class Part:
    """What came of some of the draws.

    Attributes:
        first: Number of the first.
        count: How many they are, those counted that could not be judged.
        judged: How many were judged.
        passed: How many of these met all that is asked of each alone; repeats are counted.
        refused_for: How many each criterion refused; one may be refused by several.
        lost: Which could not be judged, up to :data:`LISTED` ranges.
        lost_count: How many these are in all.
        contenders: Those that may be among the best, best first.
        base: Reduced formula of the base; empty without one.
        unique: Whether repeats are left out.
    """

    first: int
    count: int
    judged: int = 0
    passed: int = 0
    refused_for: Counter[str] = field(default_factory=Counter)
    lost: tuple[LostDraws, ...] = ()
    lost_count: int = 0
    contenders: tuple[Contender, ...] = ()
    base: str = ""
    unique: bool = True


def judge_part(source: Source, judge: Judge, numbers: range, keep: int | None) -> Part:
    """Draw and judge some numbers, batch by batch; a batch is tried twice before it is named as lost.

    Args:
        source: Of the candidates.
        judge: Of them.
        numbers: Which.
        keep: How many are wanted of all draws; None for all that pass.

    Raises:
        InputError: if something is asked for that cannot be had.
    """
    passed: list[Contender] = []
    refused_for: Counter[str] = Counter()
    lost: list[LostDraws] = []
    judged = 0
    for batch in _batches(numbers):
        found = attempt(lambda each: judge_batch(source, judge, each), batch)
        if isinstance(found, LostDraws):
            lost.append(found)
            continue
        judged += len(found.assessed)
        for each in found.assessed:
            if each.screening["passed"]:
                passed.append(contender(each))
            else:
                refused_for.update(each.screening["failed_on"])
    base, unique = formula_of(judge), judge.screening.unique
    best = tuple(contenders(passed, keep, base=base, unique=unique))
    named = listed(lost)
    count = sum(each.count for each in lost)
    return Part(numbers.start, len(numbers), judged, len(passed), refused_for, named, count, best, base, unique)


def formula_of(judge: Judge) -> str:
    """Return the reduced formula of the base of a judge; empty without one."""
    return "" if judge.base is None else str(judge.base.composition.reduced_formula)


def _batches(numbers: range) -> Iterator[Batch]:
    for first in range(numbers.start, numbers.stop, BATCH):
        part = range(first, min(first + BATCH, numbers.stop))
        yield Batch(part, tuple(part))


def merge_parts(parts: Sequence[Part | LostDraws], keep: int | None) -> Part:
    """Return what came of several parts together, in any order.

    Args:
        parts: Of one base and one way to treat repeats; of those that gave nothing, which draws they were.
        keep: How many are wanted of all draws; None for all that pass.
    """
    there = [each for each in parts if isinstance(each, Part)]
    gone = [each for each in parts if isinstance(each, LostDraws)]
    base = next((each.base for each in there), "")
    unique = all(each.unique for each in there)
    refused_for: Counter[str] = Counter()
    for each in there:
        refused_for.update(each.refused_for)
    return Part(
        first=min(each.first for each in parts),
        count=sum(each.count for each in parts),
        judged=sum(each.judged for each in there),
        passed=sum(each.passed for each in there),
        refused_for=refused_for,
        lost=listed([*gone, *(lost for each in there for lost in each.lost)]),
        lost_count=sum(each.count for each in gone) + sum(each.lost_count for each in there),
        contenders=tuple(
            contenders((one for each in there for one in each.contenders), keep, base=base, unique=unique)
        ),
        base=base,
        unique=unique,
    )


def listed(lost: Iterable[LostDraws]) -> tuple[LostDraws, ...]:
    """Return ranges of draws in their order, neighbours with one reason together, up to :data:`LISTED` of them."""
    found: list[LostDraws] = []
    for each in sorted(lost, key=lambda one: one.first):
        reason = each.reason if len(each.reason) <= _LONGEST else f"{each.reason[:_LONGEST]} ..."
        if found and found[-1].last + 1 == each.first and found[-1].reason == reason:
            found[-1] = LostDraws(found[-1].first, each.last, reason, found[-1].known + each.known)
        else:
            found.append(dataclasses.replace(each, reason=reason))
    return tuple(found[:LISTED])


class Unpacked:
    """Contenders as candidates by number, each unpacked when it is asked for: a book for a shortlist.

    Args:
        found: The contenders.
    """

    def __init__(self, found: Iterable[Contender]) -> None:
        self._found = {each.number: each for each in found}
        self._own: dict[int, Candidate] = {}

    def __getitem__(self, number: int) -> Candidate:
        return self._own[number] if number in self._own else self._found[number].candidate

    def __setitem__(self, number: int, candidate: Candidate) -> None:
        self._own[number] = candidate

    def __contains__(self, number: object) -> bool:
        return number in self._own or number in self._found

    def __iter__(self) -> Iterator[Candidate]:
        """Yield the candidates, one after the other."""
        return (each.candidate for each in self._found.values())

    def clear(self) -> None:
        """Forget all candidates."""
        self._found.clear()
        self._own.clear()


def to_lines(found: Iterable[Contender]) -> str:
    """Return contenders as text, a line of JSON each."""
    return "\n".join(json.dumps([_finite(each.above), _finite(each.energy), *each[2:]]) for each in found)


def from_lines(text: str) -> list[Contender]:
    """Return the contenders of :func:`to_lines`."""
    rows = [json.loads(line) for line in text.splitlines()]
    return [Contender(_number(above), _number(energy), *rest) for above, energy, *rest in rows]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.inf if value is None else value
