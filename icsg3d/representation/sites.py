"""Atoms read from fields: every grid point near an atom points to it, and points that agree are one atom.

The place of Algorithm S1 of Court et al. 2020 on grids of any cell: a seed is the point that is surest of an atom, its
basin are the points that point to the same place, the site is their mean and the species their majority, both weighted
by how sure they are. What a point says is where the atom is, so atoms closer together than two steps of the grid (H in
O-H, N2) are told apart, and sites are not bound to the grid.

Where the number of atoms is known, as of a latent grid, the heaviest basins are taken: a few stray points that agree
with nobody are no atom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from icsg3d.crystals.arrays import wrapped

if TYPE_CHECKING:
    from icsg3d.representation.fields import GridShape, Targets


_NEARER = 0.4
"""Angstrom, instead of ``same`` where too few atoms are read: points of two atoms may have been taken for one's."""


@dataclass(frozen=True)
class ReadingConfig:
    """How atoms are read.

    Attributes:
        surest: Least height of an atom's surest point. An atom between eight points half an angstrom
            apart has 0.63.
        least: Least height of a point that is heard at all.
        same: Distance in angstrom within which two points mean the same atom: below the shortest bond (H2, 0.74), and
            well above what points near one atom disagree by.
    """

    surest: float = 0.4
    least: float = 0.15
    same: float = 0.6


@dataclass(frozen=True)
class Sites:
    """Atoms that were read from one grid.

    Attributes:
        numbers: Atomic numbers, shape (N,).
        frac_coords: Fractional coordinates in [0, 1), shape (N, 3).
        shares: Probability of each element by the points of an atom's basin, column 0 for atomic number 1, shape
            (N, elements).
    """

    numbers: np.ndarray
    frac_coords: np.ndarray
    shares: np.ndarray

    @property
    def certainty(self) -> np.ndarray:
        """Probability of each atom's own element, shape (N,)."""
        return self.shares[np.arange(len(self.numbers)), self.numbers - 1]


def heard_points(height: np.ndarray, config: ReadingConfig) -> np.ndarray:
    """Return the numbers of the grid points that are heard, the surest first, of heights, shape (points,)."""
    heard = np.flatnonzero(height >= config.least)
    return heard[np.argsort(-height[heard], kind="stable")]


class _Basin(NamedTuple):
    """Points that mean the same atom: their mean site, what they weigh together, and their mean species."""

    site: np.ndarray
    weight: float
    share: np.ndarray


def read_sites(
    height: np.ndarray,
    point: np.ndarray,
    offset: np.ndarray,
    species: np.ndarray,
    lattice: np.ndarray,
    shape: GridShape,
    config: ReadingConfig | None = None,
    atoms: int | None = None,
) -> Sites:
    """Return the atoms that points near atoms point to.

    Args:
        height: Of the points, the surest first, shape (Q,).
        point: Numbers of the points in the flattened grid, shape (Q,).
        offset: From each point to its atom, in steps of the grid, shape (Q, 3).
        species: Probability of each element, column 0 for atomic number 1, shape (Q, elements).
        lattice: Lattice vectors as rows, shape (3, 3), in angstrom.
        shape: Of the grid.
        config: How to read.
        atoms: How many there are, if that is known: of more basins the heaviest are taken, and where there are fewer,
            points must agree within 0.4 angstrom to mean the same atom, if that makes enough of them.
    """
    config = config or ReadingConfig()
    votes = (np.stack(np.unravel_index(point, shape), axis=1) + offset) / np.array(shape)
    basins = _basins(height, votes, species, lattice, config.surest, config.same)
    if atoms is not None and len(basins) < atoms:
        nearer = _basins(height, votes, species, lattice, config.surest, min(config.same, _NEARER))
        basins = nearer if len(nearer) >= atoms else basins
    if atoms is not None and len(basins) > atoms:
        heaviest = sorted(range(len(basins)), key=lambda number: basins[number].weight)[len(basins) - atoms :]
        basins = [basins[number] for number in sorted(heaviest)]
    shares = np.array([basin.share for basin in basins]).reshape(-1, species.shape[1])
    sites = np.array([basin.site for basin in basins]).reshape(-1, 3)
    return Sites(shares.argmax(1) + 1, wrapped(sites), shares)


def _basins(
    height: np.ndarray, votes: np.ndarray, species: np.ndarray, lattice: np.ndarray, surest: float, same: float
) -> list[_Basin]:
    """Return the basins of all seeds that are sure enough, the surest first.

    Args:
        height: Of the points, the surest first, shape (Q,).
        votes: Where each point has its atom, fractional, shape (Q, 3).
        species: Probability of each element, shape (Q, elements).
        lattice: Lattice vectors as rows, shape (3, 3), in angstrom.
        surest: Least height of a seed.
        same: Distance in angstrom within which two points mean the same atom.
    """
    free = np.ones(len(votes), dtype=bool)
    found = list[_Basin]()
    for seed in range(len(votes)):
        if not free[seed]:
            continue
        if height[seed] < surest:
            break
        centre = votes[seed]
        for _ in range(2):  # once about the seed's vote, once about the mean of its basin
            away = votes - centre
            away -= np.round(away)
            basin = free & (np.linalg.norm(away @ lattice, axis=1) < same)
            basin[seed] = True
            weight = height[basin]
            centre = centre + (weight[:, None] * away[basin]).sum(0) / weight.sum()
        free &= ~basin
        found.append(_Basin(centre, float(weight.sum()), weight @ species[basin] / weight.sum()))
    return found


def sites_of_targets(targets: Targets, lattice: np.ndarray, shape: GridShape, classes: int) -> Sites:
    """Return the atoms read from the true fields of one crystal: what reading can do at best.

    Args:
        targets: Of one crystal.
        lattice: Its lattice vectors as rows, shape (3, 3), in angstrom.
        shape: Of its grid.
        classes: Elements that are told apart, from atomic number 1 on.
    """
    config = ReadingConfig()
    height = targets.height.double().numpy()
    heard = heard_points(height, config)
    rows = np.searchsorted(targets.point.numpy(), heard)
    species = np.eye(classes)[targets.number.numpy()[rows] - 1]
    return read_sites(height[heard], heard, targets.offset.double().numpy()[rows], species, lattice, shape, config)
