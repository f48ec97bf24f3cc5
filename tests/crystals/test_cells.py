"""Reduced cells."""

from __future__ import annotations

import numpy as np
import pytest

from icsg3d.crystals.arrays import CrystalArrays, periodic_distances
from icsg3d.crystals.cells import reduced_cell
from icsg3d.errors import InputError


def sheared():
    """Rutile in a cell that is far from reduced."""
    lattice = np.diag([4.594, 4.594, 2.959])
    change = np.array([[1, 2, 0], [0, 1, 3], [0, 0, 1]])
    x = 0.305
    sites = [[0, 0, 0], [0.5] * 3, [x, x, 0], [-x, -x, 0], [0.5 - x, 0.5 + x, 0.5], [0.5 + x, 0.5 - x, 0.5]]
    numbers = np.array([22, 22, 8, 8, 8, 8])
    return CrystalArrays(numbers, np.array(sites) @ np.linalg.inv(change), change @ lattice)


def test_reduced_cells_are_short_ascending_and_right_handed():
    reduced = reduced_cell(sheared())
    np.testing.assert_allclose(np.linalg.norm(reduced.lattice, axis=1), [2.959, 4.594, 4.594], atol=1e-6)
    assert np.linalg.det(reduced.lattice) == pytest.approx(4.594**2 * 2.959)


def test_no_atom_moves():
    crystal = sheared()
    reduced = reduced_cell(crystal)
    given = crystal.frac_coords @ crystal.lattice @ np.linalg.inv(reduced.lattice)
    distances = periodic_distances(given % 1, reduced.frac_coords, reduced.lattice)
    np.testing.assert_allclose(np.diag(distances), 0, atol=1e-8)


def test_flat_cells_are_refused():
    flat = CrystalArrays(np.array([6]), np.zeros((1, 3)), np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]))
    with pytest.raises(InputError, match="enclose no volume"):
        reduced_cell(flat)
