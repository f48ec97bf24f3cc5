"""Whether crystals repeat each other."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher

if TYPE_CHECKING:
    from pymatgen.core import Structure


class Duplicates:
    """Crystals seen so far, to tell whether another repeats one of them.

    Args:
        matcher: What counts as the same crystal; by default pymatgen's with its default tolerances,
            whatever the charges.
    """

    def __init__(self, matcher: StructureMatcher | None = None) -> None:
        self._matcher = matcher or StructureMatcher(comparator=ElementComparator())
        self._seen: dict[str, list[tuple[int, Structure]]] = defaultdict(list)

    def first_of(self, index: int, structure: Structure) -> int | None:
        """Return the index of the first crystal that this one repeats, or None, and remember it if it is new."""
        found = self.repeated_by(structure)
        if found is None:
            self._seen[structure.composition.reduced_formula].append((index, structure))
        return found

    def repeated_by(self, structure: Structure) -> int | None:
        """Return the index of the first crystal that this one repeats, or None; it is not remembered."""
        for earlier, other in self._seen[structure.composition.reduced_formula]:
            if self._matcher.fit(structure, other):
                return earlier
        return None
