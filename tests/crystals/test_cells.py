"""Reduced cells."""

from __future__ import annotations

import numpy as np
import pytest

from icsg3d.crystals.arrays import CrystalArrays, periodic_distances
from icsg3d.crystals.cells import reduced_cell, widest_gap
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


def test_the_widest_gap_is_the_place_farthest_from_all_atoms():
    """Of one atom in a cube it is the middle, in a flat cell half way to the next layer."""
    cube = CrystalArrays(np.array([8]), np.full((1, 3), 0.25), 8.0 * np.eye(3))
    assert widest_gap(cube) == pytest.approx(8 * np.sqrt(3) / 2, abs=0.01)  # one of the places is the middle
    layers = CrystalArrays(np.array([8]), np.zeros((1, 3)), np.diag([2.0, 2.0, 16.0]))
    assert 8.0 <= widest_gap(layers) <= np.sqrt(8.0**2 + 2)
    moved = CrystalArrays(np.array([8]), np.array([[0.1, 0.2, 0.3]]), np.diag([2.0, 2.0, 16.0]))
    assert abs(widest_gap(moved) - widest_gap(layers)) < 1.0
