"""Atoms read from fields: exactly from true ones, also where bonds are hardly longer than a step of the grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, periodic_distances
from icsg3d.crystals.cells import reduced_cell
from icsg3d.crystals.elements import MAX_NUMBER
from icsg3d.data.compact_arrays import read_compact
from icsg3d.representation.fields import FieldConfig, nearest_atoms
from icsg3d.representation.sites import read_sites, sites_of_targets

CONFIG = FieldConfig()


def read_back(crystal):
    """What is read from the true fields of a crystal."""
    shape = CONFIG.shape(crystal.lattice)
    targets = nearest_atoms(CrystalBatch.from_arrays([crystal], dtype=torch.float64), shape, CONFIG)
    return sites_of_targets(targets, crystal.lattice, shape, MAX_NUMBER)


def site_error(true, found):
    """Mean distance of assigned sites; infinite where number or species differ."""
    if sorted(true.numbers) != sorted(found.numbers):
        return np.inf
    distances = periodic_distances(true.frac_coords, found.frac_coords, true.lattice)
    distances[true.numbers[:, None] != found.numbers[None]] = np.inf
    return distances[linear_sum_assignment(np.minimum(distances, 1e6))].mean()


@pytest.mark.parametrize(
    ("pair", "bond"), [((8, 1), 0.96), ((7, 7), 1.10), ((8, 8), 1.21), ((6, 1), 1.09), ((1, 1), 0.74), ((8, 8), 1.49)]
)
@pytest.mark.parametrize("seed", range(8))
def test_short_bonds_are_read_wherever_they_lie(pair, bond, seed):
    random = np.random.default_rng(seed)
    direction = random.normal(size=3)
    direction /= np.linalg.norm(direction)
    lattice = np.array([[4.3, 0, 0], [-1.1, 4.9, 0], [0.4, -1.2, 5.6]])
    middle = random.random(3) @ lattice
    sites = np.stack([middle - bond / 2 * direction, middle + bond / 2 * direction])
    crystal = CrystalArrays(np.array(pair), (sites @ np.linalg.inv(lattice)) % 1, lattice)
    assert site_error(crystal, read_back(crystal)) < 1e-6


def test_a_vote_for_nothing_is_not_heard():
    none = read_sites(np.zeros(0), np.zeros(0, dtype=int), np.zeros((0, 3)), np.zeros((0, 94)), np.eye(3), (4, 4, 4))
    assert none.numbers.shape == (0,)
    assert none.frac_coords.shape == (0, 3)


def test_species_is_the_weighted_majority_and_certainty_its_share():
    # three points at one site: 0.9 for the first says silicon with 0.6, the two others carbon with certainty
    species = np.zeros((3, 94))
    species[0, 13], species[0, 5] = 0.6, 0.4
    species[1:, 5] = 1
    point = np.array([0, 1, 2])  # along z of a grid of 4 x 4 x 4 in a cell of 2 angstrom
    offset = np.array([[0, 0, 0.5], [0, 0, -0.5], [0, 0, -1.5]])
    found = read_sites(np.array([0.9, 0.5, 0.4]), point, offset, species, 2 * np.eye(3), (4, 4, 4))
    assert found.numbers.tolist() == [6]
    assert found.certainty[0] == pytest.approx((0.9 * 0.4 + 0.5 + 0.4) / 1.8)
    np.testing.assert_allclose(found.frac_coords, [[0, 0, 0.125]])


def votes_along_z(*places):
    """Points of a grid of 4 x 4 x 4 in a cell of 4 angstrom, and offsets that point to places on its z axis."""
    point = np.arange(len(places)) % 4
    return point, np.array([[0.0, 0.0, place - number] for number, place in zip(point, places, strict=True)])


def read_places(heights, places, atoms):
    point, offset = votes_along_z(*places)
    species = np.tile(np.eye(94)[7], (len(places), 1))
    found = read_sites(np.array(heights), point, offset, species, 4 * np.eye(3), (4, 4, 4), atoms=atoms)
    return np.sort(4 * found.frac_coords[:, 2])


def test_of_too_many_atoms_the_lightest_are_none():
    """A stray point is surest of all, but two that agree weigh more."""
    heights, places = (0.6, 0.5, 0.45), (3.0, 1.0, 1.1)
    met = (0.5 * 1.0 + 0.45 * 1.1) / 0.95
    np.testing.assert_allclose(read_places(heights, places, None), [met, 3.0])
    np.testing.assert_allclose(read_places(heights, places, 1), [met])
    np.testing.assert_allclose(read_places(heights, places, 3), [met, 3.0])  # there is no third one to be found


def test_where_atoms_are_missing_points_must_agree_better():
    """Two places half an angstrom apart are one atom unless two are known to be there."""
    heights, places = (0.6, 0.6), (1.0, 1.5)
    np.testing.assert_allclose(read_places(heights, places, None), [1.25])
    np.testing.assert_allclose(read_places(heights, places, 1), [1.25])
    np.testing.assert_allclose(read_places(heights, places, 2), [1.0, 1.5])
    np.testing.assert_allclose(read_places(heights, places, 3), [1.25])


def test_votes_meet_across_the_faces():
    """Points on both sides of the face that point to the corner are one atom."""
    species = np.tile(np.eye(94)[7], (2, 1))
    found = read_sites(
        np.array([0.8, 0.7]), np.array([0, 63]), np.array([[-0.3] * 3, [0.7] * 3]), species, 2 * np.eye(3), (4, 4, 4)
    )
    assert len(found.numbers) == 1
    np.testing.assert_allclose(found.frac_coords, [[1 - 0.075] * 3])


def test_true_fields_of_real_crystals_are_read_without_a_miss(data_folder):
    path = data_folder / "mp20_val.npz"
    if not path.is_file():
        pytest.skip("no mp20_val.npz")
    crystals = read_compact(path).crystals
    random = np.random.default_rng(0)
    for crystal in crystals[::70]:
        reduced = reduced_cell(crystal)
        moved = CrystalArrays(reduced.numbers, (reduced.frac_coords + random.random(3)) % 1, reduced.lattice)
        assert site_error(moved, read_back(moved)) < 1e-6
