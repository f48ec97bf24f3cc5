"""Fields of atoms on grids of any cell, against distances worked out by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, lattice_from_parameters
from icsg3d.representation.fields import FieldConfig, draw, nearest_atoms, pairs_within, step_metric

CONFIG = FieldConfig()


def oblique(seed=0, atoms=4):
    """A triclinic crystal with atoms anywhere."""
    random = np.random.default_rng(seed)
    lattice = np.array([[4.1, 0, 0], [-1.2, 5.0, 0], [0.9, -1.7, 6.3]])
    return CrystalArrays(random.integers(1, 95, atoms), random.random((atoms, 3)), lattice)


def all_distances(crystal, shape):
    """Distances of all images within two cells of each atom to each grid point, (points, atoms, images)."""
    points = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), -1).reshape(-1, 3)
    images = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    offsets = crystal.frac_coords[None, :, None] + images - points[:, None, None]
    return np.linalg.norm(offsets @ crystal.lattice, axis=-1), offsets


@pytest.mark.parametrize(
    ("length", "points"), [(1.0, 4), (2.82, 4), (2.84, 8), (4.89, 8), (4.91, 12), (12.0, 24), (13.1, 28)]
)
def test_grids_have_whole_blocks_at_the_nearest_spacing(length, points):
    # between n and n + 1 blocks of 2 angstrom the border is at 2 sqrt(n (n + 1)): 2.828, 4.899, 12.96
    assert CONFIG.shape(np.diag([length, 4.0, 4.0])) == (points, 8, 8)


def test_pairs_are_all_images_within_reach():
    crystal, shape = oblique(), (8, 12, 12)
    pairs = pairs_within(CrystalBatch.from_arrays([crystal]), shape, 1.3)
    distances, _ = all_distances(crystal, shape)
    expected = np.sort(distances[distances <= 1.3])
    np.testing.assert_allclose(np.sort(pairs.squared.sqrt().numpy()), expected, atol=1e-5)


def test_drawn_gaussians_are_sums_over_images():
    crystal, shape = oblique(1), (8, 8, 12)
    features = torch.tensor(np.random.default_rng(2).random((1, 4, 3)))
    grid = draw(CrystalBatch.from_arrays([crystal], dtype=torch.float64), shape, CONFIG, features)
    distances, _ = all_distances(crystal, shape)
    heights = np.where(distances <= CONFIG.reach, np.exp(-(distances**2) / (2 * CONFIG.sigma**2)), 0).sum(-1)
    np.testing.assert_allclose(grid[0].reshape(-1, 3).numpy(), heights @ features[0].numpy(), atol=1e-9)


def test_a_cell_of_one_block_holds_all_images():
    """Along an axis of 2.5 angstrom an atom's Gaussian overlaps its own image."""
    crystal = CrystalArrays(np.array([6]), np.zeros((1, 3)), np.diag([2.5, 4.0, 4.0]))
    grid = draw(CrystalBatch.from_arrays([crystal]), (4, 8, 8), CONFIG, torch.ones(1, 1, 1))
    half_way = 2 * np.exp(-(1.25**2) / (2 * 0.45**2))  # two images, 1.25 angstrom to either side
    assert grid[0, 2, 0, 0, 0].item() == pytest.approx(half_way, rel=1e-5)


def test_targets_point_to_the_nearest_image():
    crystal, shape = oblique(3), (8, 12, 12)
    targets = nearest_atoms(CrystalBatch.from_arrays([crystal]), shape, CONFIG)
    distances, offsets = all_distances(crystal, shape)
    flat = distances.reshape(len(distances), -1)
    nearest = flat.argmin(1)
    near = np.flatnonzero(flat.min(1) <= CONFIG.reach)
    np.testing.assert_array_equal(targets.point.numpy(), near)
    atom = nearest // distances.shape[2]
    np.testing.assert_array_equal(targets.number.numpy(), crystal.numbers[atom[near]])
    expected = offsets.reshape(len(flat), -1, 3)[near, nearest[near]] * np.array(shape)
    np.testing.assert_allclose(targets.offset.numpy(), expected, atol=1e-5)
    heights = np.zeros(len(flat))
    heights[near] = np.exp(-(flat.min(1)[near] ** 2) / (2 * CONFIG.sigma**2))
    np.testing.assert_allclose(targets.height.numpy(), heights, atol=1e-5)


def test_padding_and_company_change_nothing():
    first, second = oblique(4, atoms=2), oblique(5, atoms=7)
    shape = (8, 8, 12)
    together = nearest_atoms(CrystalBatch.from_arrays([first, second]), shape, CONFIG)
    alone = nearest_atoms(CrystalBatch.from_arrays([first]), shape, CONFIG)
    own = together.crystal == 0
    assert torch.equal(together.point[own], alone.point)
    assert torch.equal(together.number[own], alone.number)
    torch.testing.assert_close(together.offset[own], alone.offset)


def test_translation_by_a_point_rolls_the_field():
    crystal, shape = oblique(6), (8, 8, 12)
    moved = CrystalArrays(
        crystal.numbers, (crystal.frac_coords + np.array([1 / 8, -2 / 8, 3 / 12])) % 1, crystal.lattice
    )
    features = torch.ones(2, 4, 1)
    grids = draw(CrystalBatch.from_arrays([crystal, moved]), shape, CONFIG, features)
    torch.testing.assert_close(grids[1], grids[0].roll((1, -2, 3), (0, 1, 2)), atol=1e-5, rtol=0)


def test_the_metric_does_not_see_rotations():
    crystal = oblique()
    turned = lattice_from_parameters(
        torch.tensor([[np.log(4.0), np.log(5.0), np.log(6.0), 0.1, -0.2, 0.3]], dtype=torch.float64)
    )
    rotation = torch.tensor(np.linalg.qr(np.random.default_rng(0).random((3, 3)))[0])
    torch.testing.assert_close(
        step_metric(turned @ rotation, (8, 8, 12), 0.5), step_metric(turned, (8, 8, 12), 0.5), atol=1e-9, rtol=0
    )
    metric = step_metric(torch.as_tensor(crystal.lattice)[None], (8, 8, 12), 0.5)
    assert metric[0, 0].item() == pytest.approx(np.log(4.1 / 8 / 0.5))
