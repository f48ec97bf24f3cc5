from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.crystals.comparison import Rebuilt, compare
from icsg3d.models import decoding
from icsg3d.models.decoding import _symmetrised, assemble, decode_crystals, distinct
from icsg3d.models.generator import DecodedGrids
from icsg3d.representation.segmentation import Sites
from icsg3d.representation.voxels import VoxelConfig, voxelize

PEROVSKITE = CrystalArrays(
    np.array([38, 22, 8, 8, 8]),
    np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    3.9 * np.eye(3),
)
ROCK_SALT = CrystalArrays(
    np.array([11, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), 2.83 * (np.ones((3, 3)) - np.eye(3))
)
CONFIG = VoxelConfig(grid=16)
UNKNOWN = torch.tensor([-1, -1])


class Perfect:
    """A network that decodes every latent vector to the true grids of the given crystals."""

    def __init__(self, *crystals, lattice=None, empty=()):
        self.config = SimpleNamespace(voxels=CONFIG)
        batch = CrystalBatch.from_arrays(crystals)
        drawn = voxelize(batch, CONFIG)
        self.grids = DecodedGrids(
            drawn.inputs(), drawn.species, (drawn.species > 0).float(), batch.lattice if lattice is None else lattice
        )
        for index in empty:
            self.grids.species[index] = 0
            self.grids.atom[index] = 0

    def decode(self, latent, condition):
        assert len(latent) == len(condition)
        return self.grids


def test_perfect_grids_give_back_the_crystals():
    found = decode_crystals(Perfect(PEROVSKITE, ROCK_SALT), torch.zeros(2, 4), UNKNOWN)
    for true, decoded in zip((PEROVSKITE, ROCK_SALT), found, strict=True):
        assert decoded.reason == ""
        assert compare(true, decoded.crystal) == Rebuilt(count=True, species=True, rebuilt=True)
        assert decoded.crystal.lattice == pytest.approx(true.lattice, abs=1e-5)
        assert ((decoded.crystal.frac_coords >= 0) & (decoded.crystal.frac_coords < 1)).all()


def test_each_failure_has_its_reason_and_the_others_go_on():
    lattice = torch.tensor(np.stack([PEROVSKITE.lattice, np.full((3, 3), np.nan)]), dtype=torch.float32)
    first, second = decode_crystals(Perfect(PEROVSKITE, ROCK_SALT, lattice=lattice), torch.zeros(2, 4), UNKNOWN)
    assert first.crystal is not None
    assert (second.crystal, second.reason) == (None, "the decoded angles enclose no cell")
    first, second = decode_crystals(Perfect(PEROVSKITE, ROCK_SALT, empty=[0]), torch.zeros(2, 4), UNKNOWN)
    assert first.crystal is None
    assert "no atom was found" in first.reason
    assert second.crystal is not None


def test_padding_is_not_decoded():
    found = decode_crystals(Perfect(PEROVSKITE, ROCK_SALT), torch.zeros(2, 4), UNKNOWN, count=1)
    assert [len(decoded.crystal) for decoded in found] == [5]


def test_what_is_decoded_is_refined_to_its_symmetry_unless_asked_not_to():
    strained = CrystalArrays(PEROVSKITE.numbers, PEROVSKITE.frac_coords, np.diag([3.86, 3.9, 3.95]))
    network = Perfect(strained, ROCK_SALT)
    found = decode_crystals(network, torch.zeros(2, 4), UNKNOWN)[0].crystal
    edge = np.sqrt((3.86**2 + 3.9**2 + 3.95**2) / 3)
    assert found.lattice == pytest.approx(edge * np.eye(3), abs=1e-5)
    given = decode_crystals(network, torch.zeros(2, 4), UNKNOWN, symmetry_tolerance=0.0)[0].crystal
    assert given.lattice == pytest.approx(strained.lattice, abs=1e-5)
    narrow = decode_crystals(network, torch.zeros(2, 4), UNKNOWN, symmetry_tolerance=0.005)[0].crystal
    assert np.ptp(np.diag(narrow.lattice)) > 0.08


@pytest.mark.parametrize("tolerance", [0.0, 0.25])
def test_an_atom_of_the_rarest_element_lies_at_the_origin_of_a_periodic_grid(tolerance):
    moved = CrystalArrays(PEROVSKITE.numbers, (PEROVSKITE.frac_coords + 0.06) % 1, PEROVSKITE.lattice)
    found = decode_crystals(Perfect(moved, ROCK_SALT), torch.zeros(2, 4), UNKNOWN, symmetry_tolerance=tolerance)[0]
    assert found.crystal.frac_coords[found.crystal.numbers == 38].tolist() == [[0, 0, 0]]
    there = _symmetrised(moved, tolerance, periodic=False).frac_coords
    assert there == pytest.approx(moved.frac_coords, abs=1e-9)
    assert _symmetrised(moved, tolerance, periodic=True).frac_coords[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("frac_coords", "lattice", "reason"),
    [
        ([[0, 0, 0], [0.5, 0.5, 0.5]], np.eye(3) * 4, ""),
        ([[0, 0, 0], [0.13, 0, 0]], np.eye(3) * 4, ""),
        ([[0, 0, 0], [0.12, 0, 0]], np.eye(3) * 4, "two decoded atoms are 0.48 angstrom apart"),
        ([[0.98, 0, 0], [0.02, 0, 0]], np.eye(3) * 4, "two decoded atoms are 0.16 angstrom apart"),
        ([[0, 0, 0], [0.5, 0.5, 0.5]], np.diag([8, 8, 0.4]), "two decoded atoms are 0.40 angstrom apart"),
        ([[0, 0, 0], [0.5, 0.5, 0.5]], [[4, 0, 0], [0, 4, 0], [4, 4, 0.001]], "the decoded cell is flat"),
    ],
)
def test_sites_that_make_no_crystal_are_refused_with_a_reason(frac_coords, lattice, reason):
    decoded = assemble(np.array([26, 8]), np.array(frac_coords, dtype=float), np.array(lattice, dtype=float))
    assert decoded.reason == reason
    assert (decoded.crystal is None) == bool(reason)


@pytest.mark.parametrize(
    ("places", "voxels", "kept"),
    [
        ([0.0, 0.12, 0.5], [9, 40, 3], [1, 2]),  # the larger of two
        ([0.0, 0.12, 0.5], [9, 9, 3], [0, 2]),  # of equals the first
        ([0.98, 0.02, 0.5], [5, 6, 7], [1, 2]),  # across a face
        ([0.0, 0.1, 0.2], [5, 9, 5], [1]),  # both are too near to the largest
        ([0.0, 0.1, 0.2], [5, 4, 5], [0, 2]),  # whoever is dropped drops nobody
        ([0.0, 0.13, 0.5], [9, 40, 3], [0, 1, 2]),
    ],
)
def test_of_sites_too_near_to_each_other_the_largest_counts(places, voxels, kept):
    frac_coords = np.array([[x, 0.3, 0.7] for x in places])
    found = Sites(np.array([26, 8, 12]), frac_coords, np.array(voxels))
    assert distinct(found, 4 * np.eye(3)).tolist() == kept


def test_an_atom_drawn_as_two_species_is_one(monkeypatch):
    def segmented(species, *_, **__):
        return [Sites(np.array([38, 56, 8]), np.array([[0, 0, 0], [0.05, 0, 0], [0.5, 0.5, 0.5]]), np.array([9, 7, 5]))]

    monkeypatch.setattr(decoding, "segment_batch", segmented)
    found = decode_crystals(Perfect(PEROVSKITE, ROCK_SALT), torch.zeros(2, 4), UNKNOWN, count=1)[0].crystal
    assert sorted(found.numbers.tolist()) == [8, 38]


def test_one_atom_is_not_too_near_to_itself():
    decoded = assemble(np.array([26]), np.array([[1.25, -0.25, 0.0]]), 2.5 * np.eye(3))
    assert decoded.crystal.frac_coords.tolist() == [[0.25, 0.75, 0.0]]
