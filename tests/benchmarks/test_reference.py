from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.reference import algorithm_s1, density_and_species, density_and_species_in_floats
from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.representation.voxels import VoxelConfig, voxelize

CRYSTAL = CrystalArrays(
    np.array([38, 22, 8]),
    np.array([[0.02, 0.01, 0.03], [0.5, 0.52, 0.49], [0.5, 0.5, 0.97]]),
    np.array([[3.9, 0.0, 0.0], [0.4, 3.8, 0.0], [-0.3, 0.2, 4.1]]),
)
PAPER = VoxelConfig.preset("paper", grid=8)
PERIODIC = VoxelConfig.preset("periodic", grid=8, chemistry=False)


def package(config):
    grids = voxelize(CrystalBatch.from_arrays([CRYSTAL], dtype=torch.float64), config)
    return grids.density[0].numpy(), grids.species[0].numpy()


@pytest.mark.parametrize(
    ("draw", "config"),
    [(density_and_species, PAPER), (density_and_species, PERIODIC), (density_and_species_in_floats, PAPER)],
)
def test_plain_loops_give_what_the_package_gives(draw, config):
    density, species = draw(CRYSTAL, config)
    expected, expected_species = package(config)
    np.testing.assert_allclose(density, expected, rtol=1e-6)
    np.testing.assert_array_equal(species, expected_species)
    assert set(np.unique(species)) == {0, 8, 22, 38}


def test_the_loop_with_floats_refuses_a_periodic_grid():
    with pytest.raises(ValueError, match="not periodic"):
        density_and_species_in_floats(CRYSTAL, PERIODIC)


def balls(*centres, radius=4.3, grid=24):
    points = np.indices((grid,) * 3).transpose(1, 2, 3, 0)
    return np.any([np.linalg.norm(points - np.array(c), axis=-1) < radius for c in centres], axis=0)


def test_plain_algorithm_s1_takes_a_ball_as_an_atom():
    binary = balls((11, 12, 10))
    ((number, centre),) = algorithm_s1(binary, np.where(binary, 26, 0))
    assert number == 26
    np.testing.assert_allclose(centre, (11, 12, 10))


def test_plain_algorithm_s1_takes_three_touching_balls_apart():
    centres = [(6, 6, 10), (14, 6, 10), (14, 14, 10)]
    binary = balls(*centres)
    species = np.where(binary, np.where(np.indices(binary.shape)[0] < 10, 8, 26), 0)
    found = algorithm_s1(binary, species)
    assert sorted(number for number, _ in found) == [8, 26, 26]
    for centre in centres:
        assert min(np.linalg.norm(place - np.array(centre)) for _, place in found) < 0.5
