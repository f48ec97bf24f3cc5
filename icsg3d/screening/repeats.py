"""Which candidates repeat a better one: the same answer in any order and in any parts.

Of crystals that share a key (:func:`icsg3d.crystals.matching.repeat_key`) only the best is looked at further. Of these,
in the order of their merit, a crystal stays if pymatgen's StructureMatcher takes it for none of its formula that stays
already. What stays is therefore a function of the set of crystals alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher

from icsg3d.crystals.matching import repeat_key
from icsg3d.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymatgen.core import Structure

Merit = tuple[float, float, int]
"""What candidates are ordered by, least first; the last number is that of the candidate."""

_MANY = 500
"""Formulas whose repeats are not found in a moment."""

BASE = -1
"""Stands for the base among the numbers of candidates."""


@dataclass
class _Formula:
    """Crystals of one formula.

    Attributes:
        best: The best merit of each key.
        matches: Whether two of the best are alike, by their numbers.
        resolved: What each of the best repeats, None for those that stay; None where that has to be found.
    """

    best: dict[str, Merit] = field(default_factory=dict)
    matches: dict[tuple[int, int], bool] = field(default_factory=dict)
    resolved: dict[int, int | None] | None = None


class Repeats:
    """Crystals among which repeats are looked for.

    Args:
        fetch: Returns the crystal of a number, so that they need not be kept in memory.
        base: Crystal that is none of them, but better than all; what repeats it points to :data:`BASE`.
        matcher: What counts as the same crystal; by default pymatgen's with its default tolerances, whatever the
            charges.
    """

    def __init__(
        self,
        fetch: Callable[[int], Structure],
        base: Structure | None = None,
        matcher: StructureMatcher | None = None,
    ) -> None:
        self._fetch = fetch
        self._base = base
        self._matcher = matcher or StructureMatcher(comparator=ElementComparator())
        self._formulas: dict[str, _Formula] = {}
        self._keys: dict[int, tuple[str, str]] = {}
        self._different = 0
        self._stale: set[str] = set()
        if base is not None:
            self._enter(BASE, (float("-inf"), float("-inf"), BASE), base)

    def add(self, merit: Merit, structure: Structure, label: str = "") -> None:
        """Add a crystal.

        Args:
            merit: Whose last number is that of the crystal.
            structure: The crystal.
            label: As of :func:`icsg3d.crystals.matching.repeat_key`.
        """
        self._enter(merit[2], merit, structure, label)

    def _enter(self, number: int, merit: Merit, structure: Structure, label: str = "") -> None:
        formula = structure.composition.reduced_formula
        group = self._formulas.setdefault(formula, _Formula())
        key = repeat_key(structure, label)
        known = group.best.get(key)
        if known is None or merit < known:
            group.best[key] = merit
            self._stale.add(formula)
        self._keys[number] = (formula, key)

    def __len__(self) -> int:
        """Return the number of crystals, the base not counted."""
        return len(self._keys) - (self._base is not None)

    @property
    def different(self) -> int:
        """How many of the crystals repeat neither a better one nor the base."""
        stale = sorted(self._stale)
        for formula in track(stale, "looking for repeats") if len(stale) > _MANY else stale:
            group = self._formulas[formula]
            self._different -= _staying(group)
            group.resolved = self._resolve(group)
            self._different += _staying(group)
        self._stale.clear()
        return self._different

    def repeated_by(self, number: int) -> int | None:
        """Return the number of the better crystal that this one repeats, :data:`BASE`, or None.

        It is always one that stays.
        """
        if self._stale:
            _ = self.different
        formula, key = self._keys[number]
        group = self._formulas[formula]
        best = group.best[key][2]
        repeated = (group.resolved or {})[best]
        return repeated if repeated is not None or best == number else best

    def staying(self) -> Iterator[Merit]:
        """Yield the merits of crystals that repeat nothing, in no order."""
        _ = self.different
        for group in self._formulas.values():
            for merit in group.best.values():
                if merit[2] != BASE and (group.resolved or {})[merit[2]] is None:
                    yield merit

    def _resolve(self, group: _Formula) -> dict[int, int | None]:
        kept: list[int] = []
        resolved: dict[int, int | None] = {}
        for _, _, number in sorted(group.best.values()):
            repeated = next((other for other in kept if self._alike(group, number, other)), None)
            resolved[number] = repeated
            if repeated is None:
                kept.append(number)
        present = set(resolved)
        group.matches = {pair: alike for pair, alike in group.matches.items() if present.issuperset(pair)}
        return resolved

    def _alike(self, group: _Formula, number: int, other: int) -> bool:
        pair = (number, other) if number < other else (other, number)
        if pair not in group.matches:
            group.matches[pair] = bool(self._matcher.fit(self._crystal(number), self._crystal(other)))
        return group.matches[pair]

    def _crystal(self, number: int) -> Structure:
        if number == BASE and self._base is not None:
            return self._base
        return self._fetch(number)


def _staying(group: _Formula) -> int:
    return sum(number != BASE and repeated is None for number, repeated in (group.resolved or {}).items())
