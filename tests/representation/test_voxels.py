from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.crystals.elements import chemistry_vectors, ionic_radii
from icsg3d.representation import voxels
from icsg3d.representation.voxels import (
    VoxelConfig,
    atom_map,
    coordinate_channels,
    lattice_from_coordinates,
    species_radii,
    voxelize,
)

PAPER = VoxelConfig.preset("paper")
PERIODIC = VoxelConfig.preset("periodic")

CUBIC = CrystalArrays(
    np.array([38, 22, 8, 8, 8]),
    np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    3.9 * np.eye(3),
)
FCC_PRIMITIVE = CrystalArrays(
    np.array([11, 17]),
    np.array([[0.02, -0.01, 0.4], [0.52, 0.49, 0.9]]),
    2.83 * (np.ones((3, 3)) - np.eye(3)),
)
SKEWED = CrystalArrays(
    np.array([55, 3, 9]),
    np.array([[0.1, 0.2, 0.3], [0.55, 0.9, 0.05], [0.8, 0.45, 0.7]]),
    np.array([[4.0, 0.3, 0], [3.1, 3.6, 0.2], [-2.9, 2.2, 4.4]]),
)
CRYSTALS = pytest.mark.parametrize("crystal", [CUBIC, FCC_PRIMITIVE, SKEWED], ids=["cubic", "fcc", "skewed"])

RIM = 3e-4
"""Angstrom; so near to the rim of a ball nothing is asked of the species."""


def batch_of(*crystals, dtype=torch.float64):
    return CrystalBatch.from_arrays(crystals, dtype=dtype)


def ionic_radius(number):
    return float(ionic_radii()[number])


def reference_axis(config):
    if config.periodic:
        return [k / config.grid for k in range(config.grid)]
    step = (1 + 2 * config.margin) / (config.grid - 1)
    return [-config.margin + k * step for k in range(config.grid)]


def reference_images(lattice, reach):
    """All lattice translations that can bring a point of the cell to within reach, and one more layer of them."""
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    ranges = [range(-math.ceil(reach / h) - 1, math.ceil(reach / h) + 2) for h in heights]
    return np.array(list(itertools.product(*ranges)))


def reference(crystal, config, points=None):
    """Density, species and chemistry of a crystal by two plain loops, over grid points and over atoms.

    Distances are the smallest over more images than can matter: no nearest image is further away than half the edges'
    sum. With ``points``, only those grid points are
    worked out, and everything else is NaN or -1. Points on the rim of a ball or midway between two atoms are -1 too.
    """
    axis, size = reference_axis(config), config.grid
    density, species = np.full((size,) * 3, np.nan), np.full((size,) * 3, -1)
    chemistry = np.full((39, size, size, size), np.nan)
    lattice = crystal.lattice
    images = (
        reference_images(lattice, np.linalg.norm(lattice, axis=1).sum() / 2) if config.periodic else np.zeros((1, 3))
    )
    for i, j, k in points if points is not None else itertools.product(range(size), repeat=3):
        point = np.array([axis[i], axis[j], axis[k]])
        total, vector, within, rim = 0.0, np.zeros(39), [], False
        for number, site in zip(crystal.numbers, crystal.frac_coords, strict=True):
            offset = point - site
            offset = offset - np.round(offset) if config.periodic else offset
            distance = np.sqrt((((offset + images) @ lattice) ** 2).sum(1)).min()
            sigma = ionic_radius(int(number))
            norm = sigma**3 * (2 * math.pi) ** 1.5
            total += int(number) / norm * math.exp(-(distance**2) / (2 * sigma**2))
            vector += chemistry_vectors()[number].astype(float) * math.exp(-(distance**2) / (2 * config.width**2))
            radius = max(sigma, config.min_radius)
            rim = rim or abs(distance - radius) < RIM
            if distance < radius:
                within.append((distance, int(number)))
        within.sort()
        rim = rim or (len(within) > 1 and within[1][0] - within[0][0] < RIM)
        density[i, j, k], chemistry[:, i, j, k] = total, vector
        species[i, j, k] = -1 if rim else within[0][1] if within else 0
    return density, species, chemistry


def assert_like_reference(crystal, config, dtype=torch.float64, points=None):
    density, species, chemistry = reference(crystal, config, points)
    drawn = voxelize(batch_of(crystal, dtype=dtype), config)
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    known = ~np.isnan(density)
    np.testing.assert_allclose(drawn.density[0].numpy()[known], density[known], tolerance, tolerance)
    assert (drawn.species[0].numpy()[species >= 0] == species[species >= 0]).all()
    assert (species >= 0).sum() > 0.5 * known.sum()
    if config.chemistry:
        np.testing.assert_allclose(drawn.chemistry[0].numpy()[:, known], chemistry[:, known], tolerance, tolerance)
    else:
        assert drawn.chemistry is None


# Against the double loop


@CRYSTALS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_periodic_grids_are_those_of_a_double_loop(crystal, dtype):
    assert_like_reference(crystal, dataclasses.replace(PERIODIC, grid=8), dtype)


@CRYSTALS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_paper_grids_are_those_of_a_double_loop(crystal, dtype):
    assert_like_reference(crystal, dataclasses.replace(PAPER, grid=9), dtype)


@pytest.mark.parametrize("config", [PAPER, PERIODIC], ids=["paper", "periodic"])
def test_whole_presets_agree_at_random_points(config):
    points = np.random.default_rng(0).integers(0, config.grid, (400, 3))
    for crystal in (CUBIC, SKEWED):
        assert_like_reference(crystal, config, points=[tuple(p) for p in points])


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_random_cells_are_those_of_a_double_loop(data):
    lattice = data.draw(cells())
    count = data.draw(st.integers(1, 4))
    numbers = data.draw(st.lists(st.integers(1, 94), min_size=count, max_size=count))
    coordinate = st.floats(-1, 2, allow_subnormal=False)
    frac = data.draw(st.lists(st.tuples(*[coordinate] * 3), min_size=count, max_size=count))
    crystal = CrystalArrays(np.array(numbers), np.array(frac), lattice)
    config = VoxelConfig(grid=4) if data.draw(st.booleans()) else dataclasses.replace(PAPER, grid=5)
    density, species, _ = reference(crystal, config)
    drawn = voxelize(batch_of(crystal), config)
    # Images that gain less than a millionth of the edges' squares are left out.
    slack = 1e-6 * (lattice**2).sum() / (2 * min(map(ionic_radius, numbers)) ** 2)
    np.testing.assert_allclose(drawn.density[0].numpy(), density, 1e-8 + slack, 1e-9)
    assert (drawn.species[0].numpy()[species >= 0] == species[species >= 0]).all()


@st.composite
def cells(draw):
    """Lattice vectors in any orientation, edges of 2.5 to 8 angstrom, of at least a quarter of the box's volume."""
    rows = draw(st.lists(st.tuples(*[st.floats(-1, 1)] * 3), min_size=3, max_size=3))
    lengths = np.array(draw(st.tuples(*[st.floats(2.5, 8)] * 3)))
    matrix = np.array(rows)
    norms = np.linalg.norm(matrix, axis=1)
    assume(norms.min() > 0.1)
    matrix = matrix / norms[:, None]
    assume(abs(matrix[0] @ np.cross(matrix[1], matrix[2])) > 0.25)
    return matrix * lengths[:, None]


# What the grids mean


def test_one_atom_worked_out_by_hand():
    crystal = CrystalArrays(np.array([17]), np.array([[0.0, 0, 0]]), 10 * np.eye(3))
    drawn = voxelize(batch_of(crystal), VoxelConfig(grid=10))
    sigma = ionic_radius(17)
    peak = 17 / (sigma**3 * (2 * math.pi) ** 1.5)
    assert drawn.density[0, 0, 0, 0].item() == pytest.approx(peak)
    assert drawn.density[0, 0, 9, 0].item() == pytest.approx(peak * math.exp(-1 / (2 * sigma**2)))
    # Period 3, group 17: the 31st column of the long table. At one angstrom, width 0.45.
    assert drawn.chemistry[0, :, 1, 0, 0].nonzero().flatten().tolist() == [2, 7 + 30]
    assert drawn.chemistry[0, 2, 1, 0, 0].item() == pytest.approx(math.exp(-1 / (2 * 0.45**2)))
    assert drawn.species[0, 0, 0, 0] == 17
    assert drawn.species[0, 5, 5, 5] == 0


def test_on_a_fine_periodic_grid_the_density_holds_all_electrons():
    # Oxygen is wide enough (1.26 angstrom) for images beyond the nearest to matter in a small cell, not in this one.
    crystal = CrystalArrays(np.array([8, 25]), np.array([[0.1, 0.2, 0.3], [0.6, 0.6, 0.6]]), 12 * np.eye(3))
    drawn = voxelize(batch_of(crystal), VoxelConfig(grid=32, chemistry=False))
    assert drawn.density.sum().item() * (12 / 32) ** 3 == pytest.approx(33, rel=1e-3)


def test_without_periodicity_an_atom_is_drawn_once():
    crystal = CrystalArrays(np.array([11]), np.array([[0.0, 0.0, 0.0]]), 4 * np.eye(3))
    config = VoxelConfig(grid=7, periodic=False, margin=0.25, chemistry=False)  # points at -0.25, 0, ... 1.25
    drawn = voxelize(batch_of(crystal), config)
    assert drawn.species[0, 1, 1, 1] == 11
    assert drawn.species[0, 5, 5, 5] == 0
    assert drawn.density[0, 5, 1, 1] < 0.01 * drawn.density[0, 1, 1, 1]
    repeated = voxelize(batch_of(crystal), VoxelConfig(grid=4, chemistry=False)).density
    assert repeated[0, 3, 0, 0].item() == pytest.approx(repeated[0, 1, 0, 0].item())


def test_the_nearest_atom_within_its_radius_gives_the_species():
    lithium, caesium = ionic_radius(3), ionic_radius(55)
    assert lithium < caesium
    crystal = CrystalArrays(np.array([55, 3]), np.array([[0.0, 0, 0], [0.25, 0, 0]]), 8 * np.eye(3))
    line = voxelize(batch_of(crystal), VoxelConfig(grid=32)).species[0, :, 0, 0].tolist()
    for index, species in enumerate(line):
        place = index / 4  # angstrom; lithium lies at 2
        from_caesium, from_lithium = min(place, 8 - place), abs(place - 2)
        near = [(d, z) for d, z, r in ((from_caesium, 55, caesium), (from_lithium, 3, lithium)) if d < r]
        if abs(from_caesium - from_lithium) > 1e-6:
            assert species == (min(near)[1] if near else 0)
    assert {0, 3, 55} == set(line)


def test_a_nearer_atom_out_of_its_radius_does_not_hide_another():
    # Carbon, of 0.3 angstrom, at 1.0 from the point; caesium, of 1.8, at 1.5 from it.
    crystal = CrystalArrays(np.array([6, 55]), np.array([[0.1, 0, 0], [0.85, 0, 0]]), 10 * np.eye(3))
    config = VoxelConfig(grid=5, min_radius=0.0)
    assert ionic_radius(6) < 1.0
    assert ionic_radius(55) > 1.5
    assert voxelize(batch_of(crystal), config).species[0, 0, 0, 0] == 55


@pytest.mark.parametrize("config", [PERIODIC, PAPER], ids=["periodic", "paper"])
def test_each_voxel_of_the_species_map_belongs_to_one_atom(config):
    batch = batch_of(CUBIC, FCC_PRIMITIVE, SKEWED)  # padded to five atoms
    species, atoms = voxelize(batch, config).species, atom_map(batch, config)
    assert atoms.shape == species.shape
    assert torch.equal(atoms >= 0, species > 0)
    for crystal, numbers, owners in zip((CUBIC, FCC_PRIMITIVE, SKEWED), species, atoms, strict=True):
        inside = numbers > 0
        assert np.array_equal(numbers[inside], crystal.numbers[owners[inside]])
        assert set(owners[inside].tolist()) == set(range(len(crystal)))


def test_equal_atoms_have_voxels_of_their_own():
    """Every oxygen of the perovskite takes those that are nearest to it."""
    atoms = atom_map(batch_of(CUBIC), PERIODIC)[0]
    centres = [(np.round(position * PERIODIC.grid) % PERIODIC.grid).astype(int) for position in CUBIC.frac_coords]
    assert [int(atoms[tuple(centre)]) for centre in centres] == [0, 1, 2, 3, 4]
    sizes = np.bincount(atoms[atoms >= 0])
    assert sizes[2] == sizes[3] == sizes[4]


def test_min_radius_raises_small_radii_and_leaves_the_density():
    crystal = CrystalArrays(np.array([6, 55]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), 8 * np.eye(3))
    small = VoxelConfig(grid=32, min_radius=0.0, chemistry=False)
    large = dataclasses.replace(small, min_radius=1.1)
    assert species_radii(torch.tensor([6, 55]), large, torch.float64).tolist() == pytest.approx([1.1, ionic_radius(55)])
    assert species_radii(torch.tensor([6]), small, torch.float64).tolist() == pytest.approx([ionic_radius(6)])
    before, after = (voxelize(batch_of(crystal), config) for config in (small, large))
    assert torch.equal(before.density, after.density)
    points = np.array(list(itertools.product(np.arange(-16, 16) / 4, repeat=3)))
    ball = np.count_nonzero((points**2).sum(1) < 1.1**2)
    assert (after.species == 6).sum() == ball
    assert (before.species == 6).sum() < ball
    assert torch.equal(before.species == 55, after.species == 55)


@CRYSTALS
def test_turning_the_lattice_changes_nothing(crystal):
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turned = CrystalArrays(crystal.numbers, crystal.frac_coords, crystal.lattice @ turn)
    for config in (dataclasses.replace(PAPER, grid=8), dataclasses.replace(PERIODIC, grid=8)):
        one, other = voxelize(batch_of(crystal), config), voxelize(batch_of(turned), config)
        assert torch.allclose(one.inputs(), other.inputs(), atol=1e-10)
        assert (one.species == other.species).float().mean() > 0.99  # rounding decides on the rim of a ball


@CRYSTALS
@pytest.mark.parametrize("steps", [(1, 0, 0), (0, 3, 0), (5, 2, 9)])
def test_translation_by_grid_steps_is_a_roll(crystal, steps):
    config = dataclasses.replace(PERIODIC, grid=8)
    off = crystal.frac_coords + 0.013  # no point lies exactly on a rim
    moved = off + np.array(steps) / 8
    still, rolled = (voxelize(batch_of(dataclasses.replace(crystal, frac_coords=f)), config) for f in (off, moved))
    assert torch.allclose(rolled.inputs(), still.inputs().roll(steps, dims=(2, 3, 4)), atol=1e-10)
    assert torch.equal(rolled.species, still.species.roll(steps, dims=(1, 2, 3)))
    assert not torch.equal(rolled.species, still.species)


@CRYSTALS
def test_translation_by_whole_cells_changes_nothing(crystal):
    config = dataclasses.replace(PERIODIC, grid=8)
    moved = dataclasses.replace(crystal, frac_coords=crystal.frac_coords + np.array([3, -2, 1]))
    one, other = voxelize(batch_of(crystal), config), voxelize(batch_of(moved), config)
    assert torch.allclose(one.inputs(), other.inputs(), atol=1e-10)


def test_another_choice_of_cell_gives_the_same_density():
    # The same crystal in a sheared cell: both grids hold the points of the plane z = 0, in another order.
    sheared = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]]) @ SKEWED.lattice
    frac = SKEWED.frac_coords @ SKEWED.lattice @ np.linalg.inv(sheared)
    other = CrystalArrays(SKEWED.numbers, frac, sheared)
    config = VoxelConfig(grid=6)
    first, second = (voxelize(batch_of(c), config).density[0] for c in (SKEWED, other))
    for i, j in itertools.product(range(6), repeat=2):  # i a + j (a + b) = (i + j) a + j b
        assert torch.allclose(second[i, j], first[(i + j) % 6, j], rtol=1e-9)


@pytest.mark.parametrize("config", [dataclasses.replace(PAPER, grid=8), dataclasses.replace(PERIODIC, grid=8)])
def test_batches_equal_single_crystals(config, monkeypatch):
    crystals = [CUBIC, FCC_PRIMITIVE, SKEWED, CUBIC, FCC_PRIMITIVE]
    together = voxelize(batch_of(*crystals), config)
    for index, crystal in enumerate(crystals):
        alone = voxelize(batch_of(crystal), config)
        assert torch.allclose(together.inputs()[index], alone.inputs()[0], atol=1e-12)
        assert torch.equal(together.species[index], alone.species[0])
    monkeypatch.setitem(voxels._CHUNK_ELEMENTS, "cpu", 5 * 8**3 * 2)  # two at a time
    chunked = voxelize(batch_of(*crystals), config)
    assert torch.allclose(chunked.inputs(), together.inputs(), atol=1e-12)
    assert torch.equal(chunked.species, together.species)


def test_the_order_of_atoms_does_not_matter():
    order = [2, 0, 1]
    shuffled = CrystalArrays(SKEWED.numbers[order], SKEWED.frac_coords[order], SKEWED.lattice)
    one, other = voxelize(batch_of(SKEWED)), voxelize(batch_of(shuffled))
    assert torch.allclose(one.inputs(), other.inputs(), atol=1e-12)
    assert torch.equal(one.species, other.species)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grids_come_in_the_type_of_the_batch(dtype):
    drawn = voxelize(batch_of(CUBIC, dtype=dtype), VoxelConfig(grid=4))
    assert drawn.density.dtype == drawn.chemistry.dtype == drawn.inputs().dtype == dtype
    assert drawn.species.dtype == torch.int64


def test_inputs_stack_density_and_chemistry():
    config = VoxelConfig(grid=4)
    drawn = voxelize(batch_of(CUBIC, SKEWED), config)
    assert drawn.inputs().shape == (2, config.channels, 4, 4, 4) == (2, 40, 4, 4, 4)
    assert torch.allclose(drawn.inputs()[:, 0], torch.log(1 + drawn.density))
    assert torch.equal(drawn.inputs()[:, 1:], drawn.chemistry)
    plain = dataclasses.replace(config, chemistry=False, log_density=False)
    bare = voxelize(batch_of(CUBIC, SKEWED), plain)
    assert bare.inputs().shape[1] == plain.channels == 1
    assert torch.equal(bare.inputs()[:, 0], drawn.density)


@pytest.mark.parametrize("height", [1e-2, 1e-3])
def test_cells_too_flat_for_nearest_images_are_refused(height):
    flat = CrystalArrays(np.array([3]), np.zeros((1, 3)), np.array([[5.0, 0, 0], [0, 5, 0], [5, 5, height]]))
    with pytest.raises(ValueError, match="too flat or skewed"):
        voxelize(batch_of(flat), VoxelConfig(grid=4))
    assert voxelize(batch_of(flat), VoxelConfig(grid=4, periodic=False)).density.isfinite().all()


# Coordinate channels


def test_coordinates_are_positions_of_grid_points():
    config = VoxelConfig(grid=5, periodic=False, margin=0.25)
    coordinates = coordinate_channels(torch.as_tensor(SKEWED.lattice)[None], config)[0].numpy()
    axis = reference_axis(config)
    for i, j, k in itertools.product(range(5), repeat=3):
        expected = axis[i] * SKEWED.lattice[0] + axis[j] * SKEWED.lattice[1] + axis[k] * SKEWED.lattice[2]
        assert coordinates[:, i, j, k] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("config", [PAPER, VoxelConfig(grid=8)], ids=["paper", "periodic"])
@settings(max_examples=25, deadline=None)
@given(lattice=cells())
def test_lattices_come_back_from_coordinates_in_single_precision(config, lattice):
    config = dataclasses.replace(config, grid=min(config.grid, 16))
    coordinates = coordinate_channels(torch.as_tensor(lattice, dtype=torch.float32)[None], config)
    assert_same_cell(lattice_from_coordinates(coordinates, config)[0].numpy(), lattice)


def assert_same_cell(found, true):
    lengths, expected = np.linalg.norm(found, axis=1), np.linalg.norm(true, axis=1)
    assert np.abs(lengths - expected).max() < 1e-4
    for i, j in ((1, 2), (0, 2), (0, 1)):
        angle = math.degrees(math.acos(found[i] @ found[j] / lengths[i] / lengths[j]))
        assert angle == pytest.approx(math.degrees(math.acos(true[i] @ true[j] / expected[i] / expected[j])), abs=0.01)


def test_a_perfect_paper_grid_gives_the_lattice_unscaled():
    # The reference subtracted a/32 once too often and gave 0.969 of the edge.
    lattice = torch.diag(torch.tensor([4.0, 4.0, 5.5]))[None]
    coordinates = coordinate_channels(lattice, PAPER)
    spread = coordinates.amax((2, 3, 4)) - coordinates.amin((2, 3, 4))
    assert spread[0].tolist() == pytest.approx([6.0, 6.0, 8.25], rel=1e-6)
    found = lattice_from_coordinates(coordinates, PAPER)[0]
    assert found.numpy() == pytest.approx(lattice[0].numpy(), abs=1e-6)


def test_the_origin_of_coordinates_drops_out():
    coordinates = coordinate_channels(torch.as_tensor(SKEWED.lattice)[None], PAPER) + 7.5
    assert lattice_from_coordinates(coordinates, PAPER)[0].numpy() == pytest.approx(SKEWED.lattice, abs=1e-9)


def test_least_squares_averages_noise():
    random = torch.Generator().manual_seed(0)
    coordinates = coordinate_channels(torch.as_tensor(SKEWED.lattice)[None], PAPER)
    noisy = coordinates + 0.1 * torch.randn(coordinates.shape, generator=random, dtype=torch.float64)
    found = lattice_from_coordinates(noisy, PAPER)[0].numpy()
    # numpy's own least squares on the same equations
    axis = reference_axis(PAPER)
    points = np.array(list(itertools.product(axis, repeat=3)))
    design = np.hstack([points, np.ones((len(points), 1))])
    expected = np.linalg.lstsq(design, noisy[0].reshape(3, -1).T.numpy(), rcond=None)[0][:3]
    assert found == pytest.approx(expected, abs=1e-9)
    assert found == pytest.approx(SKEWED.lattice, abs=5e-3)


# Configuration


def test_presets():
    assert (PAPER.grid, PAPER.periodic, PAPER.margin, PAPER.channels) == (32, False, 0.25, 1)
    assert (PERIODIC.grid, PERIODIC.periodic, PERIODIC.margin, PERIODIC.channels) == (16, True, 0.0, 40)
    assert VoxelConfig.preset("periodic", grid=12).grid == 12
    assert PAPER.axis()[[0, -1]].tolist() == [-0.25, 1.25]
    assert PERIODIC.axis().tolist() == [k / 16 for k in range(16)]
    assert torch.equal(voxelize(batch_of(CUBIC)).density, voxelize(batch_of(CUBIC), PERIODIC).density)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grid": 3}, "at least 4 points along each axis, got 3"),
        ({"grid": 8, "margin": 0.25}, "periodic grid has no margin, got 0.25"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        VoxelConfig(**values)


def test_an_unknown_preset_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'cubic'.*paper, periodic"):
        VoxelConfig.preset("cubic")
