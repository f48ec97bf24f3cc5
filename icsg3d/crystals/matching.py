"""Whether crystals repeat each other."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher

from icsg3d.files import sha256

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


_RADII = np.linspace(0.6, 2.4, 13)
_WIDTH = 0.1
_FARTHEST = 2.9
"""Centres and width of the shells of a fingerprint, and how far neighbours count, in units of (V/N)^(1/3)."""

_STEP = 0.05
_OFFSET = 0.3719
"""Step to which numbers of neighbours are rounded, and an offset that keeps the round numbers of ideal crystals away
from the edges between steps."""

_VOLUME_STEP = 0.01


def repeat_key(structure: Structure, label: str = "") -> str:
    """Return a text that two crystals share only if they are the same to within a few hundredths of an angstrom.

    It holds the formula, the number of sites, the volume per atom to 1 %, and how many neighbours of each element there
    are around those of each element in thirteen shells up to 2.4 times the mean distance of atoms, (V/N)^(1/3). Equal
    crystals may have different keys, at the edges between steps; what shares a key needs no comparison.

    Args:
        structure: Ordered.
        label: Something else that equal crystals share, such as the space group.
    """
    numbers = np.array([site.specie.Z for site in structure])
    kinds, kind = np.unique(numbers, return_inverse=True)
    scale = (structure.volume / len(structure)) ** (1 / 3)
    centres, others, _, distances = structure.get_neighbor_list(_FARTHEST * scale)
    shells = np.exp(-(((distances[:, None] / scale - _RADII) / _WIDTH) ** 2))
    pairs = kind[centres] * len(kinds) + kind[others]
    counts = np.zeros((len(kinds) ** 2, len(_RADII)))
    np.add.at(counts, pairs, shells)
    steps = np.floor(counts / len(structure) / _STEP + _OFFSET).astype(np.int64)
    volume = math.floor(math.log(structure.volume / len(structure)) / _VOLUME_STEP + _OFFSET)
    digest = sha256(steps.tobytes())[:16]
    return f"{structure.composition.reduced_formula} {len(structure)} {label} {volume} {digest}"
