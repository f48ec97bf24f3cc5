from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from icsg3d.crystals.arrays import (
    CrystalArrays,
    CrystalBatch,
    canonical_origin,
    centred,
    lattice_from_parameters,
    lattice_parameters,
    periodic_distances,
    wrap,
    wrapped,
)

ROCK_SALT = CrystalArrays(
    np.array([11, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), 2.83 * (np.ones((3, 3)) - np.eye(3))
)
PEROVSKITE = CrystalArrays(
    np.array([38, 22, 8, 8, 8]),
    np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    3.9 * np.eye(3),
)


def batch_of(*crystals, dtype=torch.float64):
    return CrystalBatch.from_arrays(crystals, dtype=dtype)


def torus_distance(first, second):
    """Largest distance of fractional coordinates on the torus."""
    offsets = np.asarray(first) - np.asarray(second)
    return np.abs(offsets - np.round(offsets)).max()


# Batches


def test_a_batch_is_padded_to_its_largest_crystal():
    batch = batch_of(ROCK_SALT, PEROVSKITE)
    assert batch.numbers.tolist() == [[11, 17, 0, 0, 0], [38, 22, 8, 8, 8]]
    assert batch.mask.tolist() == [[True, True, False, False, False], [True] * 5]
    assert not batch.frac_coords[0, 2:].any()
    assert batch.numbers.dtype == torch.int64
    assert len(batch) == 2


def test_arrays_gives_back_what_went_in():
    for given_, back in zip((PEROVSKITE, ROCK_SALT), batch_of(PEROVSKITE, ROCK_SALT).arrays(), strict=True):
        assert len(back) == len(given_)
        assert (back.numbers == given_.numbers).all()
        assert (back.frac_coords == given_.frac_coords).all()
        assert (back.lattice == given_.lattice).all()


def test_the_floating_point_type_is_the_one_asked_for():
    assert CrystalBatch.from_arrays([ROCK_SALT]).frac_coords.dtype == torch.float32
    assert batch_of(ROCK_SALT).lattice.dtype == torch.float64


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="at least one crystal"):
        CrystalBatch.from_arrays([])


def test_crystals_are_chosen_by_slice_and_by_index():
    batch = batch_of(ROCK_SALT, PEROVSKITE, ROCK_SALT)
    assert batch[1:].numbers.tolist() == batch.numbers[1:].tolist()
    chosen = batch[torch.tensor([2, 1])]
    assert [len(crystal) for crystal in chosen.arrays()] == [2, 5]
    assert (chosen.lattice[1] == batch.lattice[1]).all()


def test_trimming_takes_away_padding_and_nothing_else():
    batch = batch_of(ROCK_SALT, PEROVSKITE, ROCK_SALT)
    trimmed = batch[torch.tensor([0, 2])].trimmed()
    assert trimmed.numbers.shape == (2, 2)
    assert trimmed.frac_coords.shape == (2, 2, 3)
    assert (trimmed.arrays()[1].frac_coords == ROCK_SALT.frac_coords).all()
    assert batch.trimmed().numbers.shape == (3, 5)


# Coordinates


def test_wrap_leads_into_the_cell():
    values = torch.tensor([0.0, 0.25, 1.0, 1.75, -0.25, -3.0, 1 - 1e-9, -1e-12], dtype=torch.float64)
    assert wrap(values).tolist() == pytest.approx([0, 0.25, 0, 0.75, 0.75, 0, 0, 0], abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=5))
def test_wrapped_coordinates_lie_in_the_cell_and_differ_by_whole_numbers(values):
    given_ = torch.tensor(values, dtype=torch.float64)
    inside = wrap(given_)
    assert ((inside >= 0) & (inside < 1)).all()
    assert torus_distance(inside, given_) < 2e-6
    assert (wrap(inside) == inside).all()


def test_arrays_wrapped_never_reach_one():
    assert wrapped(np.array([-1e-17, -0.25, 1.0, 2.75, -1e-300])).tolist() == [0, 0.75, 0, 0.75, 0]


def test_wrapped_single_precision_never_reaches_one():
    assert wrap(torch.tensor([-1e-9, 1 - 2e-8, 5 - 1e-8], dtype=torch.float32)).tolist() == [0, 0, 0]


# Canonical origin


@pytest.mark.parametrize(
    ("numbers", "origin"),
    [
        ([11, 17], 11),  # equally rare: the less electronegative one
        ([17, 11], 11),
        ([8, 22, 8, 38, 8], 38),
        ([29, 25, 29, 13], 25),  # Cu2MnAl: Mn 1.55, Al 1.61
        ([10, 11, 11], 10),  # rarity comes first, even for an element without electronegativity
        ([10, 18, 3, 3], 10),  # neither has one: the lighter
    ],
)
def test_the_origin_is_an_atom_of_the_rarest_element(numbers, origin):
    coordinates = np.arange(3 * len(numbers)).reshape(-1, 3) / 100
    crystal = CrystalArrays(np.array(numbers), coordinates, 4 * np.eye(3))
    assert canonical_origin(batch_of(crystal))[0].tolist() == coordinates[numbers.index(origin)].tolist()


def test_padding_is_never_the_origin():
    alone = CrystalArrays(np.array([8, 8, 8]), np.full((3, 3), 0.3), 4 * np.eye(3))
    assert canonical_origin(batch_of(alone, PEROVSKITE))[0].tolist() == [0.3, 0.3, 0.3]


def test_centred_puts_the_origin_at_zero_and_leaves_padding_alone():
    shifted = CrystalArrays(ROCK_SALT.numbers, ROCK_SALT.frac_coords + np.array([0.3, 0.4, 0.9]), ROCK_SALT.lattice)
    batch = centred(batch_of(shifted, PEROVSKITE))
    assert torus_distance(batch.frac_coords[0, :2], ROCK_SALT.frac_coords) < 1e-12
    assert ((batch.frac_coords >= 0) & (batch.frac_coords < 1)).all()
    assert not batch.frac_coords[0, 2:].any()
    assert (batch.lattice == batch_of(shifted, PEROVSKITE).lattice).all()


@settings(deadline=None)
@given(st.tuples(*[st.floats(-2, 2)] * 3), st.permutations(range(5)))
def test_centred_depends_neither_on_translation_nor_on_the_order_of_atoms(vector, order):
    moved = CrystalArrays(
        PEROVSKITE.numbers[order], PEROVSKITE.frac_coords[order] + np.array(vector), PEROVSKITE.lattice
    )
    expected, found = centred(batch_of(PEROVSKITE)).arrays()[0], centred(batch_of(moved)).arrays()[0]
    assert (found.numbers == expected.numbers[order]).all()
    assert torus_distance(found.frac_coords, expected.frac_coords[order]) < 2e-6


# Lattices


@st.composite
def cells(draw):
    """Lengths in angstrom, angles in degrees, of cells that are not flat."""
    lengths = [draw(st.floats(2, 12)) for _ in range(3)]
    angles = draw(st.tuples(*[st.floats(45, 135)] * 3).filter(lambda angles: volume_factor(angles) > 0.15))
    return lengths, angles


def volume_factor(angles):
    """Volume of a cell with unit edges."""
    x, y, z = np.cos(np.radians(angles))
    return math.sqrt(max(0.0, 1 + 2 * x * y * z - x * x - y * y - z * z))


@settings(max_examples=60, deadline=None)
@given(cells())
def test_lattices_come_back_from_their_parameters(cell):
    lengths, angles = cell
    parameters = torch.tensor([[*np.log(lengths), *np.cos(np.radians(angles))]], dtype=torch.float64)
    lattice = lattice_from_parameters(parameters)
    matrix = lattice[0].numpy()
    assert np.linalg.norm(matrix, axis=1) == pytest.approx(lengths, rel=1e-9)
    for i, j, angle in ((1, 2, angles[0]), (0, 2, angles[1]), (0, 1, angles[2])):
        assert matrix[i] @ matrix[j] / lengths[i] / lengths[j] == pytest.approx(math.cos(math.radians(angle)), abs=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(np.prod(lengths) * volume_factor(angles), rel=1e-6)
    assert lattice_parameters(lattice).numpy() == pytest.approx(parameters.numpy(), abs=1e-9)


def test_lattices_stand_in_the_standard_orientation():
    lattice = lattice_from_parameters(torch.tensor([[1.0, 1.2, 1.4, 0.1, -0.2, 0.3]]))[0]
    assert lattice[0, 1:].tolist() == [0, 0]
    assert lattice[1, 2] == 0
    assert (lattice.diagonal() > 0).all()


def test_parameters_do_not_depend_on_the_orientation():
    lattice = torch.tensor([[[4.0, 0, 0], [1, 5, 0], [-1, 2, 6]]], dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.tensor([[1.0, 2, 3], [0, 1, 4], [5, 6, 0]], dtype=torch.float64))
    assert torch.allclose(lattice_parameters(lattice @ turn), lattice_parameters(lattice), atol=1e-12)


def test_parameters_of_a_hexagonal_cell_worked_out_by_hand():
    lattice = torch.tensor([[[3.0, 0, 0], [-1.5, 1.5 * math.sqrt(3), 0], [0, 0, 5]]], dtype=torch.float64)
    expected = [math.log(3), math.log(3), math.log(5), 0, 0, -0.5]
    assert lattice_parameters(lattice)[0].tolist() == pytest.approx(expected, abs=1e-12)


def test_angles_that_enclose_no_cell_give_nan():
    angles = torch.tensor([[30.0, 30.0, 90.0], [90.0, 90.0, 90.0]]).deg2rad().cos()  # 30 + 30 < 90
    lattices = lattice_from_parameters(torch.cat([torch.ones(2, 3), angles], dim=1))
    assert lattices[0].isnan().any()
    assert lattices[1].isfinite().all()


# Distances


def test_distances_are_to_nearest_images_in_a_skewed_cell():
    lattice = np.array([[4.0, 0, 0], [1.9, 3.5, 0], [-1.0, 1.5, 4.0]])
    random = np.random.default_rng(1)
    first, second = random.uniform(-1, 2, (6, 3)), random.uniform(-1, 2, (4, 3))
    found = periodic_distances(first, second, lattice)
    images = np.array(list(itertools.product(range(-6, 7), repeat=3)))
    expected = [[np.linalg.norm((a - b + images) @ lattice, axis=1).min() for b in second] for a in first]
    assert found == pytest.approx(np.array(expected))


def test_distances_worked_out_by_hand():
    first, second = np.array([[0.0, 0, 0]]), np.array([[0.9, 0, 0], [0.5, 0.5, 0.5], [1.0, 0, -2.0]])
    assert periodic_distances(first, second, 4 * np.eye(3))[0] == pytest.approx([0.4, 2 * math.sqrt(3), 0])
