from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.errors import InputError
from icsg3d.representation.segmentation import SegmentationParameters, segment, segment_batch
from icsg3d.representation.segmentation.refinement import is_too_flat
from icsg3d.representation.voxels import VoxelConfig, voxelize

PERIODIC = VoxelConfig.preset("periodic")
PAPER = VoxelConfig.preset("paper")
PLAIN = SegmentationParameters(refine_steps=0)


def cube(edge):
    return np.eye(3) * edge


def draw(atoms, edge, grid, radius, periodic=True, start=0.0, end=1.0):
    """Species map of balls of one radius in a cube, by nearest images over all 27 neighbours; atoms {(x, y, z): Z}."""
    axis = np.arange(grid) / grid if periodic else np.linspace(start, end, grid)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    images = (-1, 0, 1) if periodic else (0,)
    best, species = np.full((grid,) * 3, np.inf), np.zeros((grid,) * 3, dtype=int)
    for place, number in atoms.items():
        for shift in np.stack(np.meshgrid(images, images, images), axis=-1).reshape(-1, 3):
            distance = np.linalg.norm((points - place - shift) * edge, axis=-1)
            nearer = (distance <= radius) & (distance < best)
            best[nearer], species[nearer] = distance[nearer], number
    return species


def true_map(crystal, config=PERIODIC):
    return voxelize(CrystalBatch.from_arrays([crystal], dtype=torch.float64), config).species[0].numpy()


def errors(sites, frac_coords, lattice):
    """Distances of found from true atoms in angstrom, paired; each over 27 images."""
    shifts = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), axis=-1).reshape(-1, 3)
    between = sites.frac_coords[:, None, None] - np.asarray(frac_coords)[None, :, None] + shifts
    distances = np.linalg.norm(between @ lattice, axis=-1).min(axis=-1)
    return distances[linear_sum_assignment(distances)]


def assert_found(sites, crystal, tolerance):
    assert sorted(sites.numbers) == sorted(crystal.numbers)
    assert errors(sites, crystal.frac_coords, crystal.lattice).max() < tolerance


# Sites


def test_balls_are_found_where_they_were_drawn():
    places = [(0.25, 0.5, 0.5), (0.76, 0.06, 0.44), (0.3, 0.1, 0.97)]
    crystal = CrystalArrays(np.array([8, 8, 26]), np.array(places), cube(5.0))
    sites = segment(true_map(crystal), PERIODIC, crystal.lattice)
    assert_found(sites, crystal, 0.02)


def test_without_a_lattice_sites_are_centroids():
    species = draw({(0.5, 0.5, 0.5): 8, (0.125, 0.25, 0.25): 22}, 8.0, 16, 1.2)
    sites = segment(species, PERIODIC)
    assert dict(zip(sites.numbers, sites.frac_coords.tolist(), strict=True)) == {
        8: pytest.approx([0.5, 0.5, 0.5]),
        22: pytest.approx([0.125, 0.25, 0.25]),
    }
    assert sites.voxels.tolist() == [np.count_nonzero(species == z) for z in sites.numbers]


def test_refinement_corrects_the_centroid_of_an_atom_that_is_cut_by_a_neighbour():
    # The oxygen is cut on one side by a large caesium: its centroid leans away from it.
    crystal = CrystalArrays(np.array([55, 8]), np.array([[0.2, 0.5, 0.5], [0.52, 0.51, 0.5]]), cube(7.0))
    species = true_map(crystal)
    plain = segment(species, PERIODIC, crystal.lattice, PLAIN)
    refined = segment(species, PERIODIC, crystal.lattice)
    assert errors(plain, crystal.frac_coords, crystal.lattice).max() > 0.05
    assert errors(refined, crystal.frac_coords, crystal.lattice).max() < 0.03


def test_atom_across_the_seam_is_one_atom_at_the_seam():
    for place in [(0.0, 0.5, 0.5), (0.98, 0.02, 0.0), (0.0, 0.0, 0.0)]:
        sites = segment(draw({place: 8}, 6.0, 16, 1.26), PERIODIC, cube(6.0))
        assert sites.numbers.tolist() == [8]
        assert errors(sites, [place], cube(6.0)) < 0.02
        assert ((sites.frac_coords >= 0) & (sites.frac_coords < 1)).all()


def test_margin_of_the_paper_grid():
    # The grid runs from -0.25 to 1.25: a site at 0 lies a sixth of the way along it, one at -0.1 is still a site.
    species = draw({(0.0, 0.5, 1.0): 22, (-0.1, 0.5, 0.4): 8}, 6.0, 32, 0.9, periodic=False, start=-0.25, end=1.25)
    assert np.abs(np.argwhere(species == 22).mean(axis=0) - np.array([1 / 6, 1 / 2, 5 / 6]) * 31).max() < 0.05
    sites = segment(species, PAPER)
    found = dict(zip(sites.numbers.tolist(), sites.frac_coords, strict=True))
    assert np.abs(found[22] - [0.0, 0.5, 1.0]).max() < 0.003
    assert np.abs(found[8] - [-0.1, 0.5, 0.4]).max() < 0.003


def test_paper_grid_does_not_wrap():
    species = draw({(-0.2, 0.5, 0.5): 8, (1.2, 0.5, 0.5): 8}, 6.0, 32, 1.2, periodic=False, start=-0.25, end=1.25)
    assert len(segment(species, PAPER)) == 2


@pytest.mark.parametrize("shift", [(1, 0, 0), (5, 9, 13), (8, 8, 8)])
def test_translation_by_grid_steps_moves_the_sites(shift):
    crystal = CrystalArrays(
        np.array([56, 22, 8, 8, 8]),
        np.array([[0.51, 0.5, 0.47], [0, 0.03, 0], [0.5, 0, 0], [0, 0.52, 0], [0, 0, 0.5]]),
        cube(4.0),
    )
    species = true_map(crystal)
    before = segment(species, PERIODIC, crystal.lattice)
    after = segment(np.roll(species, shift, (0, 1, 2)), PERIODIC, crystal.lattice)
    assert sorted(after.numbers) == sorted(before.numbers)
    assert sorted(after.voxels) == sorted(before.voxels)
    assert errors(after, before.frac_coords + np.array(shift) / 16, crystal.lattice).max() < 1e-3


def test_any_lattice():
    lattice = np.array([[5.0, 0, 0], [2.0, 5.5, 0], [-1.0, 1.5, 6.0]])
    crystal = CrystalArrays(
        np.array([3, 9, 17]), np.array([[0.1, 0.2, 0.9], [0.5, 0.05, 0.4], [0.6, 0.6, 0.9]]), lattice
    )
    assert_found(segment(true_map(crystal), PERIODIC, lattice), crystal, 0.04)


# Splitting


@pytest.mark.parametrize("distance", [1.95, 2.1, 2.25, 2.4])
def test_overlapping_atoms_of_one_species_are_split(distance):
    atoms = {(0.5 - distance / 16, 0.5, 0.5): 8, (0.5 + distance / 16, 0.5, 0.5): 8}
    species = draw(atoms, 8.0, 32, 1.26)
    config = dataclasses.replace(PERIODIC, grid=32)
    assert ndimage.label(species)[1] == 1
    sites = segment(species, config, cube(8.0))
    assert sites.numbers.tolist() == [8, 8]
    assert errors(sites, list(atoms), cube(8.0)).max() < 0.03


def test_touching_atoms_of_different_species_are_split_by_species_or_by_shape():
    species = draw({(0.3, 0.5, 0.5): 8, (0.6, 0.5, 0.5): 9}, 8.0, 32, 1.26)
    config = dataclasses.replace(PERIODIC, grid=32)
    for per_species in (True, False):
        sites = segment(species, config, cube(8.0), SegmentationParameters(per_species=per_species))
        assert sorted(sites.numbers) == [8, 9]


def test_five_balls_in_a_row_need_several_rounds():
    atoms = {(0.5, 0.5, 0.1 + 0.19 * k): 8 for k in range(5)}
    species = draw(atoms, 12.0, 48, 1.26, periodic=False)
    config = VoxelConfig(grid=48, periodic=False, chemistry=False)
    assert ndimage.label(species)[1] == 1
    assert len(segment(species, config, cube(12.0), SegmentationParameters())) == 5


def test_chain_around_the_torus_is_split_without_losing_voxels():
    atoms = {(0.5, 0.5, 0.05): 8, (0.5, 0.5, 0.55): 8}
    species = draw(atoms, 4.4, 16, 1.26)
    assert (species > 0).any(axis=(0, 1)).all()  # it leaves no layer free
    sites = segment(species, PERIODIC, cube(4.4))
    assert sites.voxels.sum() == np.count_nonzero(species)
    assert errors(sites, list(atoms), cube(4.4)).max() < 0.03


def test_atom_that_touches_all_its_images_is_one_atom():
    place = (0.3, 0.9, 0.6)
    sites = segment(draw({place: 8}, 2.45, 16, 1.26), PERIODIC, cube(2.45))
    assert sites.numbers.tolist() == [8]
    assert errors(sites, [place], cube(2.45)) < 0.05


def test_atom_that_touches_its_image_is_placed_in_its_own_middle():
    # A square column around the torus with a waist in layer 3, so the atom's middle is half a grid from there.
    species = np.zeros((16, 16, 16), dtype=int)
    species[6:10, 6:10] = 8
    species[:, :, 3] = 0
    species[7:9, 7:9, 3] = 8
    sites = segment(species, PERIODIC)
    assert sites.voxels.tolist() == [15 * 16 + 4]
    assert sites.frac_coords[0] == pytest.approx([7.5 / 16, 7.5 / 16, 11 / 16], abs=0.01)


def test_small_regions_are_never_split():
    species = np.zeros((16, 16, 16), dtype=int)
    species[4:7, 4, 4] = species[4, 4:7, 4] = 8  # an L of five voxels fills 5/6 of its hull
    assert len(segment(species, PERIODIC)) == 1


# Networks' output


def test_box_without_background_keeps_its_atoms():
    assert segment(np.full((16, 16, 16), 8), PERIODIC, cube(4.0)).numbers.tolist() == [8]
    species = np.full((16, 16, 16), 8)
    species[:, :, 8:] = 22
    assert sorted(segment(species, PERIODIC).numbers) == [8, 22]
    assert segment(np.full((32, 32, 32), 8), PAPER, cube(4.0)).numbers.tolist() == [8]
    # Two large atoms of a small cell that fill space, as in an intermetallic compound of the caesium chloride type.
    crystal = CrystalArrays(np.array([55, 37]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), cube(2.8))
    species = true_map(crystal)
    assert (species > 0).all()
    assert_found(segment(species, PERIODIC, crystal.lattice), crystal, 0.05)


def test_empty_map_has_no_atoms():
    sites = segment(np.zeros((16, 16, 16), dtype=int), PERIODIC, cube(4.0))
    assert len(sites) == 0
    assert sites.frac_coords.shape == (0, 3)
    assert [len(s) for s in segment_batch(np.zeros((0, 16, 16, 16), dtype=int), PERIODIC)] == []


def test_specks_are_noise_and_holes_are_filled():
    clean = draw({(0.5, 0.5, 0.5): 8}, 6.0, 16, 1.26)
    noisy = clean.copy()
    noisy[0, 0, 0] = noisy[2, 3, 12] = 40
    noisy[8:10, 8:10, 8], noisy[8, 8, 6] = 40, 0
    assert (clean[8:10, 8:10, 6:9] == 8).all()
    sites = segment(noisy, PERIODIC, cube(6.0))
    assert sites.numbers.tolist() == [8]
    assert sites.voxels.tolist() == [np.count_nonzero(clean)]
    assert sites.frac_coords == pytest.approx(segment(clean, PERIODIC, cube(6.0)).frac_coords)


def test_true_atoms_of_one_voxel_are_kept():
    # A cell of 16 angstrom: one voxel is as large as a beryllium ion of 0.6 angstrom.
    crystal = CrystalArrays(np.array([4, 8]), np.array([[0.25, 0.25, 0.25], [0.75, 0.5, 0.5]]), cube(16.0))
    species = true_map(crystal)
    assert np.count_nonzero(species == 4) == 1
    assert_found(segment(species, PERIODIC, crystal.lattice), crystal, 0.1)


def test_species_is_the_majority():
    species = draw({(0.5, 0.5, 0.5): 38}, 6.0, 16, 1.3)
    inside = np.argwhere(species == 38)
    species[tuple(inside[: len(inside) // 3].T)] = 37
    for params in (SegmentationParameters(), SegmentationParameters(per_species=False)):
        sites = segment(species, PERIODIC, cube(6.0), params)
        assert sites.numbers.tolist() == [38]
        assert errors(sites, [(0.5, 0.5, 0.5)], cube(6.0)) < 0.1
    assert sorted(segment(species, PERIODIC).numbers) == [37, 38]  # no lattice, no distance to merge by


def test_fragments_merge_across_the_seam():
    species = draw({(0.0, 0.0, 0.5): 38}, 6.0, 16, 1.3)
    species[:8][species[:8] > 0] = 37
    sites = segment(species, PERIODIC, cube(6.0))
    assert len(sites) == 1
    assert errors(sites, [(0.0, 0.0, 0.5)], cube(6.0)) < 0.1


def test_atom_mask_makes_background():
    species = draw({(0.25, 0.5, 0.5): 8, (0.75, 0.5, 0.5): 9}, 6.0, 16, 1.2)
    probability = np.where(species == 8, 0.85, 0.75)
    assert segment(species, PERIODIC, cube(6.0), atom_mask=probability).numbers.tolist() == [8]
    lower = SegmentationParameters(mask_threshold=0.7)
    assert len(segment(species, PERIODIC, cube(6.0), lower, torch.from_numpy(probability))) == 2


@pytest.mark.parametrize("per_species", [True, False])
def test_noise_neither_fails_nor_leaves_the_cell(per_species):
    rng = np.random.default_rng(0)
    maps = np.stack(
        [rng.integers(0, 95, (16, 16, 16)), 8 * rng.integers(0, 2, (16, 16, 16)), 8 * (rng.random((16,) * 3) < 0.1)]
    )
    lattices = np.stack([cube(4.0), cube(8.0), np.array([[4.0, 0, 0], [3.999, 0.01, 0], [0, 0, 4.0]])])
    for given_lattices in (lattices, None):
        params = SegmentationParameters(per_species=per_species)
        for sites in segment_batch(maps, PERIODIC, given_lattices, params):
            assert np.isfinite(sites.frac_coords).all()
            assert ((sites.frac_coords >= 0) & (sites.frac_coords < 1)).all()
            assert (sites.numbers > 0).all()


@pytest.mark.parametrize("bound", [{"max_step": 0.05, "refine_steps": 1}, {"max_shift": 0.05, "refine_steps": 9}])
def test_refinement_is_bounded(bound):
    crystal = CrystalArrays(np.array([55, 8]), np.array([[0.2, 0.5, 0.5], [0.52, 0.51, 0.5]]), cube(7.0))
    species = true_map(crystal)
    plain, free, bounded = (
        segment(species, PERIODIC, crystal.lattice, dataclasses.replace(PLAIN, **changes)).frac_coords
        for changes in ({}, {"refine_steps": 9}, bound)
    )
    assert np.abs(free - plain).max() > 0.1 / 16
    assert np.abs(bounded - plain).max() == pytest.approx(0.05 / 16, rel=1e-3)


def test_refinement_of_a_map_that_no_crystal_makes_stays_near():
    # Caesium is drawn three times as wide as what is seen, and swallows its neighbour.
    species = draw({(0.4, 0.5, 0.5): 55, (0.52, 0.5, 0.5): 8}, 8.0, 16, 0.6)
    params = SegmentationParameters(refine_steps=50, min_fill=0, merge_distance=0)
    sites = segment(species, PERIODIC, cube(8.0), params)
    assert errors(sites, [(0.4, 0.5, 0.5), (0.52, 0.5, 0.5)], cube(8.0)).max() < 3**0.5 * 1.5 * 8 / 16


def test_nearly_flat_cells_are_not_refined():
    lattices = np.stack([cube(4.0), np.diag([3.1, 3.1, 53.0]), np.array([[4, 0, 0], [3.99, 0.02, 0], [0, 0, 4]])])
    assert is_too_flat(lattices).tolist() == [False, False, True]
    species = draw({(0.4, 0.5, 0.5): 8}, 4.0, 16, 1.0)
    params = SegmentationParameters(min_fill=0)
    sites = segment_batch(np.stack([species] * 3), PERIODIC, lattices, params)
    assert [len(s) for s in sites] == [1, 1, 1]
    assert sites[2].frac_coords == pytest.approx(segment(species, PERIODIC).frac_coords)


# Batches and input


def test_batch_equals_one_by_one_whatever_the_type():
    crystals = [
        CrystalArrays(np.array([11, 17]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), cube(4.0)),
        CrystalArrays(np.array([8, 8, 40]), np.array([[0.1, 0.1, 0.1], [0.6, 0.5, 0.1], [0.4, 0.5, 0.7]]), cube(5.0)),
    ]
    batch = CrystalBatch.from_arrays(crystals)
    species = voxelize(batch, PERIODIC).species
    together = segment_batch(species, PERIODIC, batch.lattice)
    for sites, one, crystal in zip(together, species, crystals, strict=True):
        alone = segment(one.numpy(), PERIODIC, crystal.lattice)
        assert sites.numbers.tolist() == alone.numbers.tolist()
        assert sites.frac_coords == pytest.approx(alone.frac_coords, abs=1e-6)
        assert_found(sites, crystal, 0.02)


@pytest.mark.parametrize(
    ("species", "kwargs", "message"),
    [
        (np.zeros((16, 16, 16)), {}, "integers"),
        (np.zeros((8, 8, 8), dtype=int), {}, "16, 16, 16"),
        (np.zeros((2, 16, 16, 16), dtype=int), {}, "segment_batch"),
        (np.full((16, 16, 16), 95), {}, "0 to 94"),
        (np.full((16, 16, 16), -1), {}, "0 to 94"),
        (np.zeros((16, 16, 16), dtype=int), {"lattice": np.eye(2)}, "lattices of shape"),
        (np.zeros((16, 16, 16), dtype=int), {"lattice": np.zeros((3, 3))}, "no volume"),
        (np.zeros((16, 16, 16), dtype=int), {"lattice": np.full((3, 3), np.nan)}, "no volume"),
        (np.zeros((16, 16, 16), dtype=int), {"atom_mask": np.zeros((8, 8, 8))}, "atom mask"),
    ],
)
def test_input_that_cannot_be_used_is_named(species, kwargs, message):
    with pytest.raises(InputError, match=message):
        segment(species, PERIODIC, **kwargs)


def test_parameters_are_checked():
    assert SegmentationParameters.preset("paper").min_convexity == 0.8
    with pytest.raises(InputError, match="papre"):
        SegmentationParameters.preset("papre")
    with pytest.raises(InputError, match="min_convexity"):
        SegmentationParameters(min_convexity=1.1)
    with pytest.raises(InputError, match="min_voxels"):
        SegmentationParameters(min_voxels=-1)


# Random crystals


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(5.0, 7.0), st.integers(1, 6))
def test_separated_atoms_are_found_wherever_they_are(seed, edge, count):
    rng = np.random.default_rng(seed)
    places = np.zeros((0, 3))
    while len(places) < count:
        place = rng.random(3)
        between = places - place
        # More than the diameter of the largest ion, Sr: two that overlap may be one basin.
        if len(places) == 0 or np.linalg.norm((between - np.round(between)) * edge, axis=1).min() > 2.7:
            places = np.concatenate([places, place[None]])
            rejected = 0
        elif (rejected := rejected + 1) > 200:  # the cell is full
            break
    crystal = CrystalArrays(rng.choice([8, 9, 12, 22, 26, 38], len(places)), places, cube(edge))
    # Half a grid spacing: an ion of 0.6 angstrom on a coarse grid is a dozen voxels.
    assert_found(segment(true_map(crystal), PERIODIC, crystal.lattice), crystal, 0.5 * edge / 16)
