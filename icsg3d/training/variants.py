"""Crystals that need not exist, made from given ones: the same lattice and symmetry, other coordinates and elements.

Collections of simple crystals hold few with many atoms, and each of these is one point of a continuum: an atom on a
threefold axis may sit anywhere on it, and any element may sit there. Variants fill the continuum.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

os.environ.setdefault("SPGLIB_WARNING", "OFF")  # it reports each crystal without a group

import numpy as np
import spglib

from icsg3d.crystals import elements
from icsg3d.crystals.arrays import CrystalArrays, periodic_distances, wrapped
from icsg3d.crystals.symmetry import operations_by_spglib
from icsg3d.progress import task
from icsg3d.training.augment import size_ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIZES = range(6, 25)
"""Numbers of atoms of a variant."""

_TOLERANCE = 0.01
"""Angstrom, of spglib, for crystals whose symmetry is exact."""

_MOST_DISPLACED = 1.0
"""Angstrom; how far an atom is moved at most."""

_LEAST_DISTANCE = 0.6
"""Least distance of two atoms as a share of the sum of their radii; in CO it is 0.87, in F2 1.4."""

_TRIES = 20
"""How often a variant is tried, on average, before fewer are made than were asked for."""

_GENERATORS = 2
"""Operations that a subgroup is generated from; more of them generate the whole group too often."""

_LARGER_CELLS = (
    np.eye(3, dtype=int),
    np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]),
    2 * np.eye(3, dtype=int),
)
"""Rows: vectors of a larger cell, in units of the conventional one. The middle two are primitive cells of the doubled
one with its faces or its body centred; all four keep a cubic crystal cubic."""


@dataclass(frozen=True)
class _Parent:
    """A crystal with its symmetry operations, x -> W x + w in fractional coordinates.

    Attributes:
        crystal: The crystal.
        rotations: W, shape (G, 3, 3), integers.
        translations: w, shape (G, 3).
        partners: The site on which each operation puts each site, shape (G, N).
    """

    crystal: CrystalArrays
    rotations: np.ndarray
    translations: np.ndarray
    partners: np.ndarray

    def generated(self, generators: np.ndarray) -> np.ndarray:
        """Return the indices of the operations that the given ones generate."""
        found = {int(g) for g in generators}
        fresh = list(found)
        while fresh:
            products = [self._product(g, h) for g in fresh for h in generators]
            fresh = [g for g in dict.fromkeys(products) if g not in found]
            found.update(fresh)
        return np.array(sorted(found))

    def _product(self, first: int, second: int) -> int:
        rotation = self.rotations[second] @ self.rotations[first]
        translation = self.rotations[second] @ self.translations[first] + self.translations[second]
        offsets = self.translations - translation
        offsets = np.abs(offsets - np.round(offsets)).sum(1) + np.abs(self.rotations - rotation).sum((1, 2))
        return int(offsets.argmin())

    def keeps_cell(self, operations: np.ndarray) -> bool:
        """Return whether a subgroup has no translations and leaves the cell no more freedom than the whole group."""
        rotations = self.rotations[operations]
        identities = (rotations == np.eye(3, dtype=int)).all((1, 2)).sum()
        return bool(identities == 1 and np.isclose(_freedom(rotations), _freedom(self.rotations)))

    def has_translation(self, variant: CrystalArrays) -> bool:
        """Return whether a translation of the parent is also one of the variant, whose cell then is too large."""
        for operation in np.flatnonzero((self.rotations == np.eye(3, dtype=int)).all((1, 2))):
            partner, translation = self.partners[operation], self.translations[operation]
            if (partner == np.arange(len(partner))).all() or (variant.numbers[partner] != variant.numbers).any():
                continue
            offset = variant.frac_coords + translation - variant.frac_coords[partner]
            if np.abs((offset - np.round(offset)) @ variant.lattice).max() < _TOLERANCE:
                return True
        return False


def _freedom(rotations: np.ndarray) -> float:
    """Return how many numbers of the metric a point group leaves free (1 if it is cubic): the mean character."""
    trace = np.trace(rotations, axis1=1, axis2=2)
    of_square = np.trace(rotations @ rotations, axis1=1, axis2=2)
    return float(((trace**2 + of_square) / 2).mean())


def symmetric_variants(
    crystals: Sequence[CrystalArrays], count: int, longest: float, seed: int = 0
) -> list[CrystalArrays]:
    """Make variants of 6 to 24 atoms of crystals and of their supercells.

    Each keeps the cell of its parent up to its size and, of the symmetry operations, a random subgroup that fixes the
    shape of the cell: of cubic crystals, cubic ones come out. Atoms that the subgroup relates move together by up to an
    angstrom, where it lets them, and half the time some of them become another element; the cell then takes the size
    that the atomic radii suggest.

    Args:
        crystals: Primitive cells.
        count: How many to make; fewer come back if few crystals can be varied.
        longest: Longest cell vector that the networks take, in angstrom.
        seed: Of everything random.
    """
    random = np.random.default_rng(seed)
    sizes = np.array([len(crystal) for crystal in crystals])
    chances = 1 / np.sqrt(np.bincount(sizes))[sizes]  # crystals of rare sizes are the parents of more
    known = np.unique(np.concatenate([crystal.numbers for crystal in crystals]))
    parents: dict[int, list[_Parent]] = {}
    made: list[CrystalArrays] = []
    rows = random.choice(len(crystals), _TRIES * count, p=chances / chances.sum()).tolist()
    with task("making symmetric variants", total=count) as running:
        for row in rows:
            if len(made) == count:
                break
            if row not in parents:
                parents[row] = [p for p in map(_parent, _cells(crystals[row], longest)) if p is not None]
            if not parents[row]:
                continue
            variant = _variant(parents[row][random.integers(len(parents[row]))], known, random)
            if variant is not None and np.linalg.norm(variant.lattice, axis=1).max() <= longest:
                made.append(variant)
                running.advance()
    return made


def _cells(crystal: CrystalArrays, longest: float) -> Iterator[CrystalArrays]:
    """Yield the given cell and larger ones of the same crystal, of as many atoms as variants have."""
    if len(crystal) in SIZES:
        yield crystal
    cell: Any = (crystal.lattice, crystal.frac_coords, crystal.numbers)
    try:
        found = spglib.standardize_cell(cell, to_primitive=False, no_idealize=True, symprec=_TOLERANCE)
    except spglib.SpglibError:
        return
    if found is None:
        return
    conventional = CrystalArrays(np.asarray(found[2]), np.asarray(found[1]), np.asarray(found[0]))
    for matrix in _LARGER_CELLS:
        size = len(conventional) * round(abs(np.linalg.det(matrix)))
        lattice = matrix @ conventional.lattice
        if size in SIZES and size > len(crystal) and np.linalg.norm(lattice, axis=1).max() <= longest:
            yield _supercell(conventional, matrix)


def _supercell(crystal: CrystalArrays, matrix: np.ndarray) -> CrystalArrays:
    """Return a crystal in the cell whose vectors are the rows of an integer matrix, in units of the given ones."""
    reach = np.arange(-2, 3)
    shifts = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), -1).reshape(-1, 3)
    inside = shifts @ np.linalg.inv(matrix)
    shifts = shifts[((inside > -1e-9) & (inside < 1 - 1e-9)).all(1)]
    frac_coords = (crystal.frac_coords + shifts[:, None]).reshape(-1, 3) @ np.linalg.inv(matrix)
    return CrystalArrays(np.tile(crystal.numbers, len(shifts)), wrapped(frac_coords), matrix @ crystal.lattice)


def _parent(crystal: CrystalArrays) -> _Parent | None:
    """Return a crystal with its symmetry; None if spglib finds none or the crystal does not have it exactly enough."""
    found = operations_by_spglib(crystal, _TOLERANCE)
    return None if found is None else _Parent(crystal, found.rotations, found.translations, found.partners)


def _variant(parent: _Parent, known: np.ndarray, random: np.random.Generator) -> CrystalArrays | None:
    """Return a variant; None if the subgroup drawn leaves the cell too free, atoms meet, or a smaller cell would do."""
    operations = parent.generated(random.choice(len(parent.rotations), _GENERATORS))
    if not parent.keeps_cell(operations):
        return None
    partners = parent.partners[operations]
    orbits = partners.min(0)
    crystal = parent.crystal
    moved = _displacements(crystal.lattice, parent.rotations[operations], partners, orbits, random)
    numbers = crystal.numbers
    if random.random() < 0.5:
        new = random.choice(known, len(numbers))[orbits]
        numbers = np.where((random.random(len(numbers)) < 0.5)[orbits], new, numbers)
    lattice = crystal.lattice * size_ratio(crystal.numbers, numbers)
    variant = CrystalArrays(numbers, wrapped(crystal.frac_coords + moved), lattice)
    return variant if _apart(variant) and not parent.has_translation(variant) else None


def _displacements(
    lattice: np.ndarray, rotations: np.ndarray, partners: np.ndarray, orbits: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Return random displacements with the symmetry of a group, in fractional coordinates, shape (N, 3)."""
    drawn = random.standard_normal((len(orbits), 3)) @ np.linalg.inv(lattice)
    mean = np.zeros_like(drawn)
    for rotation, partner in zip(rotations, partners, strict=True):
        mean[partner] += drawn @ rotation.T / len(rotations)
    lengths = np.linalg.norm(mean @ lattice, axis=1)
    wanted = random.uniform(0, _MOST_DISPLACED, len(orbits))[orbits]
    return mean * np.where(lengths > 1e-6, wanted / np.maximum(lengths, 1e-6), 0.0)[:, None]


def _apart(crystal: CrystalArrays) -> bool:
    """Return whether no two atoms are much nearer than their radii say."""
    radii = elements.atomic_radii()[crystal.numbers]
    distances = periodic_distances(crystal.frac_coords, crystal.frac_coords, crystal.lattice)
    np.fill_diagonal(distances, np.inf)
    return bool((distances > _LEAST_DISTANCE * (radii[:, None] + radii)).all())
