"""Batches of crystals of one grid shape, with rare elements and rare kinds of crystals drawn more often."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.crystals.elements import N_CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.representation.fields import FieldConfig, GridShape

_LIGHTEST, _HEAVIEST = 0.25, 8.0
"""Bounds of a crystal's weight, relative to the mean one."""


@dataclass(frozen=True)
class GridSet:
    """Crystals with the shapes of their grids.

    Attributes:
        crystals: In reduced cells (:func:`icsg3d.crystals.cells.reduced_cell`).
        shapes: Of their grids, one each.
        weights: How often each is drawn, mean 1, shape (n,).
    """

    crystals: Sequence[CrystalArrays]
    shapes: Sequence[GridShape]
    weights: np.ndarray

    @classmethod
    def make(cls, crystals: Sequence[CrystalArrays], fields: FieldConfig, weights: np.ndarray | None = None) -> GridSet:
        """Find the shapes; weights are equal if none are given."""
        shapes = [fields.shape(crystal.lattice) for crystal in crystals]
        return cls(crystals, shapes, np.ones(len(crystals)) if weights is None else weights)

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.crystals)

    def rows(self, chosen: np.ndarray) -> GridSet:
        """Return some of the crystals."""
        return GridSet(
            [self.crystals[row] for row in chosen], [self.shapes[row] for row in chosen], self.weights[chosen]
        )

    def batch(self, rows: np.ndarray) -> tuple[CrystalBatch, GridShape]:
        """Return crystals of one shape, and that shape."""
        return CrystalBatch.from_arrays([self.crystals[row] for row in rows]), self.shapes[rows[0]]


def balanced_weights(crystals: Sequence[CrystalArrays], space_groups: np.ndarray) -> np.ndarray:
    """Return weights under which rare elements and rare prototypes are drawn more often, mean 1, shape (n,).

    A crystal weighs the inverse square roots of how many crystals have its rarest element, and of how many have its
    anonymous formula and space group, within bounds.
    """
    with_element = np.zeros(N_CLASSES)
    for crystal in crystals:
        with_element[np.unique(crystal.numbers)] += 1
    prototypes = [_prototype(c, int(group)) for c, group in zip(crystals, space_groups, strict=True)]
    of_prototype = Counter(prototypes)
    rarest = np.array([with_element[crystal.numbers].min() for crystal in crystals])
    alike = np.array([of_prototype[prototype] for prototype in prototypes])
    weights = rarest**-0.5 * (20 + alike) ** -0.25
    for _ in range(5):
        weights = np.clip(weights / weights.mean(), _LIGHTEST, _HEAVIEST)
    return weights / weights.mean()


def _prototype(crystal: CrystalArrays, group: int) -> tuple[int, ...]:
    counts = np.unique(crystal.numbers, return_counts=True)[1]
    return (group, *sorted((counts // math.gcd(*counts.tolist())).tolist()))


def epoch_batches(
    shapes: Sequence[GridShape], weights: np.ndarray, budget: int, size: int, seed: tuple[int, ...]
) -> list[np.ndarray]:
    """Return rows of the batches of an epoch: about ``size`` crystals drawn by their weights, one shape a batch.

    Args:
        shapes: Of the crystals' grids.
        weights: How often each is drawn, mean 1, shape (n,).
        budget: Points of a batch, at most (a crystal with more is a batch of its own).
        size: Crystals of an epoch.
        seed: The same seed gives the same batches.
    """
    random = np.random.default_rng(seed)
    expected = weights / weights.sum() * size
    counts = np.floor(expected + random.random(len(shapes))).astype(int)
    rows = random.permutation(np.repeat(np.arange(len(shapes)), counts))
    by_shape: dict[GridShape, list[int]] = {}
    for row in rows:
        by_shape.setdefault(shapes[row], []).append(int(row))
    batches = []
    for shape, members in by_shape.items():
        each = max(1, budget // math.prod(shape))
        parts = math.ceil(len(members) / each)
        batches += [part for part in np.array_split(np.array(members), parts) if len(part)]
    return [batches[i] for i in random.permutation(len(batches))]
