"""Whether a crystal was rebuilt, judged on arrays alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from icsg3d.arrays import periodic_distances

if TYPE_CHECKING:
    from icsg3d.arrays import CrystalArrays

SITE_TOLERANCE = 0.3
"""Largest allowed distance of a site from the true one, in angstrom, in the true cell."""

LENGTH_TOLERANCE = 0.1
"""Largest allowed relative error of a cell edge."""

ANGLE_TOLERANCE = 5.0
"""Largest allowed error of a cell angle, in degrees."""


@dataclass(frozen=True)
class Rebuilt:
    """Comparison of a decoded crystal with the true one.

    Attributes:
        count: Whether the number of atoms is right.
        species: Whether, besides, the composition is.
        rebuilt: Whether, besides, every site and the lattice are within tolerance.
    """

    count: bool
    species: bool
    rebuilt: bool


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
    return Rebuilt(count=True, species=True, rebuilt=_lattices_agree(true, found) and _sites_agree(true, found))


def _lattices_agree(true: CrystalArrays, found: CrystalArrays) -> bool:
    lengths, angles = _lengths_angles(true.lattice)
    lengths_found, angles_found = _lengths_angles(found.lattice)
    return bool(
        np.all(np.abs(lengths_found / lengths - 1) < LENGTH_TOLERANCE)
        and np.all(np.abs(angles_found - angles) < ANGLE_TOLERANCE)
    )


def _lengths_angles(lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.linalg.norm(lattice, axis=1)
    cosines = [lattice[i] @ lattice[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    return lengths, np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def _sites_agree(true: CrystalArrays, found: CrystalArrays) -> bool:
    distances = periodic_distances(true.frac_coords, found.frac_coords, true.lattice)
    distances = np.where(true.numbers[:, None] == found.numbers[None], distances, np.inf)
    allowed = distances < SITE_TOLERANCE
    rows, columns = linear_sum_assignment(np.where(allowed, distances, 1e3))
    return bool(allowed[rows, columns].all())
