"""Reduced cells and compact tables."""

from __future__ import annotations

import numpy as np
import pytest

from icsg3d.crystals.arrays import CrystalArrays, periodic_distances
from icsg3d.crystals.cells import reduced_cell
from icsg3d.crystals.compact import read_compact, write_compact
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


def test_tables_come_back_as_written(tmp_path):
    crystals = [sheared(), CrystalArrays(np.array([14]), np.array([[0.25, 0.5, 0.75]]), 3.0 * np.eye(3))]
    path = tmp_path / "table.npz"
    write_compact(path, crystals, {"ids": np.array(["a", "b"]), "band_gap": np.array([3.0, np.nan])})
    again, columns = read_compact(path)
    for before, after in zip(crystals, again, strict=True):
        np.testing.assert_array_equal(before.numbers, after.numbers)
        np.testing.assert_allclose(before.frac_coords, after.frac_coords, atol=1e-6)
        np.testing.assert_allclose(before.lattice, after.lattice, atol=1e-5)
    assert columns["ids"].tolist() == ["a", "b"]
    np.testing.assert_array_equal(columns["band_gap"], [3.0, np.nan])


def test_tables_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_compact(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match="no readable"):
        read_compact(tmp_path / "text.npz")
    np.savez(tmp_path / "part.npz", natoms=np.array([1]), Z=np.array([1]))
    with pytest.raises(InputError, match="lacks frac, lattice"):
        read_compact(tmp_path / "part.npz")
    np.savez(
        tmp_path / "odd.npz", natoms=np.array([2]), Z=np.array([1]), frac=np.zeros((1, 3)), lattice=np.eye(3)[None]
    )
    with pytest.raises(InputError, match="do not fit"):
        read_compact(tmp_path / "odd.npz")
