"""Whether a crystal was rebuilt, judged on arrays alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from icsg3d.crystals.arrays import periodic_distances

if TYPE_CHECKING:
    from icsg3d.crystals.arrays import CrystalArrays

SITE_TOLERANCE = 0.3
"""Largest allowed distance of a site from the true one, in angstrom, in the true cell."""

LENGTH_TOLERANCE = 0.1
"""Largest allowed relative error of a cell length."""

ANGLE_TOLERANCE = 5.0
"""Largest allowed error of a cell angle, in degrees."""

ERROR_WEIGHT = 0.2
"""What an angstrom of error costs a rebuilt crystal. Of a few hundred crystals one more then outweighs 0.01 to 0.03
angstrom in all others: shares that differ by one crystal do not tell epochs apart, exactness does."""


@dataclass(frozen=True)
class Rebuilt:
    """Comparison of a decoded crystal with the true one.

    Attributes:
        count: Whether the number of atoms is right.
        species: Whether, besides, the composition is.
        rebuilt: Whether, besides, every site and the lattice are within tolerance.
        error: Mean absolute error of the cell's three lengths plus mean distance of the sites, in angstrom; 0 where not
            rebuilt.
    """

    count: bool
    species: bool
    rebuilt: bool
    error: float = field(default=0.0, compare=False)

    @property
    def quality(self) -> float:
        """0 where the crystal is not rebuilt; else 1, less what the error costs."""
        return max(0.0, self.rebuilt - ERROR_WEIGHT * self.error)


def compare(true: CrystalArrays, found: CrystalArrays | None) -> Rebuilt:
    """Compare crystals in the same cell setting and with the same origin.

    Args:
        true: The crystal that was encoded.
        found: What was decoded; None if decoding failed.
    """
    if found is None or len(found) != len(true):
        return Rebuilt(count=False, species=False, rebuilt=False)
    if not np.array_equal(np.sort(true.numbers), np.sort(found.numbers)):
        return Rebuilt(count=True, species=False, rebuilt=False)
    lengths, sites = _length_errors(true, found), _site_distances(true, found)
    if lengths is None or sites is None:
        return Rebuilt(count=True, species=True, rebuilt=False)
    return Rebuilt(count=True, species=True, rebuilt=True, error=float(lengths.mean() + sites.mean()))


def _length_errors(true: CrystalArrays, found: CrystalArrays) -> np.ndarray | None:
    """Return the errors of a, b, c in angstrom, shape (3,); None if a length or an angle is out of tolerance."""
    lengths, angles = _lengths_angles(true.lattice)
    lengths_found, angles_found = _lengths_angles(found.lattice)
    errors = np.abs(lengths_found - lengths)
    agree = (errors < LENGTH_TOLERANCE * lengths).all() and (np.abs(angles_found - angles) < ANGLE_TOLERANCE).all()
    return errors if agree else None


def _lengths_angles(lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.linalg.norm(lattice, axis=1)
    cosines = [lattice[i] @ lattice[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    return lengths, np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def _site_distances(true: CrystalArrays, found: CrystalArrays) -> np.ndarray | None:
    """Return how far each site is from the one assigned to it, shape (N,), in angstrom; None if one is too far."""
    distances = periodic_distances(true.frac_coords, found.frac_coords, true.lattice)
    distances = np.where(true.numbers[:, None] == found.numbers[None], distances, np.inf)
    allowed = distances < SITE_TOLERANCE
    assigned = linear_sum_assignment(np.where(allowed, distances, 1e3))
    return distances[assigned] if allowed[assigned].all() else None


def site_distances(true: CrystalArrays, found: CrystalArrays) -> np.ndarray | None:
    """Return how far each site is from the one assigned to it, in angstrom; None if the species differ."""
    if not np.array_equal(np.sort(true.numbers), np.sort(found.numbers)):
        return None
    distances = periodic_distances(true.frac_coords, found.frac_coords, true.lattice)
    distances[true.numbers[:, None] != found.numbers[None]] = 1e3
    return distances[linear_sum_assignment(distances)]
