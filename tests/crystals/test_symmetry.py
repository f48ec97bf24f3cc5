from __future__ import annotations

import itertools

import numpy as np
import pytest
import spglib
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.structures import primitive_cell, to_arrays
from icsg3d.crystals.symmetry import anchored, nearest_sites, space_group, symmetrised, symmetry_operations
from icsg3d.generation.prototypes import prototype_structure

TOLERANCE = 0.25

PEROVSKITE = CrystalArrays(
    np.array([38, 22, 8, 8, 8]),
    np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    3.9 * np.eye(3),
)
ROCK_SALT = CrystalArrays(
    np.array([11, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), 2.83 * (np.ones((3, 3)) - np.eye(3))
)
LOW = CrystalArrays(  # four elements anywhere in a cell without equal edges or angles
    np.array([55, 17, 8, 26]),
    np.array([[0.1, 0.2, 0.3], [0.55, 0.9, 0.05], [0.8, 0.45, 0.7], [0.33, 0.61, 0.52]]),
    np.array([[4.0, 0.3, 0], [1.1, 5.6, 0.2], [-0.9, 1.2, 7.4]]),
)
FORMULAS = ("NaCl", "CsCl", "SrTiO3", "Cu2MnAl", "LaAlO3", "Fe2VAl")


def directions(random, count):
    vectors = random.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def disturbed(crystal, seed, distance=0.03, strain=0.01):
    """Every atom moved by a distance in a random direction, the cell strained and sheared, all of it moved together."""
    random = np.random.default_rng(seed)
    lattice = crystal.lattice @ (np.eye(3) + random.uniform(-strain, strain, (3, 3)))
    moved = distance * directions(random, len(crystal)) @ np.linalg.inv(lattice)
    return CrystalArrays(crystal.numbers, (crystal.frac_coords + random.random(3) + moved) % 1.0, lattice)


def turned(seed, *, mirrored):
    """A random rotation, with a reflection if asked for."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return turn * np.linalg.det(turn) * (-1 if mirrored else 1)


def wrapped(offsets):
    return offsets - np.round(offsets)


def misplaced(found, ideal):
    """Largest deviation of a site from its place, as fractions of the edges, both seen from the first atom."""
    return np.abs(
        wrapped((found.frac_coords - found.frac_coords[0]) - (ideal.frac_coords - ideal.frac_coords[0]))
    ).max()


def nearest(crystal, first, second):
    """Shortest distance between two sites, over 125 images."""
    images = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    offset = wrapped(crystal.frac_coords[first] - crystal.frac_coords[second])
    return np.linalg.norm((offset + images) @ crystal.lattice, axis=1).min()


def edges_and_angles(lattice):
    edges = np.linalg.norm(lattice, axis=1)
    cosines = [lattice[i] @ lattice[j] / (edges[i] * edges[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    return edges, np.degrees(np.arccos(cosines))


# Crystals that are nearly symmetric


@pytest.mark.parametrize("seed", range(5))
def test_a_distorted_perovskite_becomes_cubic(seed):
    given = disturbed(PEROVSKITE, seed)
    found = symmetrised(given, TOLERANCE)
    edges, angles = edges_and_angles(found.lattice)
    edge = edges[0]
    assert edges == pytest.approx(edge, abs=1e-9)
    assert angles == pytest.approx(90, abs=1e-9)
    assert edge**2 == pytest.approx((edges_and_angles(given.lattice)[0] ** 2).mean(), abs=1e-9)
    assert misplaced(found, PEROVSKITE) < 1e-6
    assert nearest(found, 0, 2) == pytest.approx(edge / np.sqrt(2), abs=1e-6)  # strontium and oxygen
    assert nearest(found, 1, 2) == pytest.approx(edge / 2, abs=1e-6)  # titanium and oxygen
    assert nearest(found, 0, 1) == pytest.approx(edge * np.sqrt(3) / 2, abs=1e-6)
    assert misplaced(given, PEROVSKITE) > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_a_distorted_rock_salt_becomes_cubic_in_its_primitive_cell(seed):
    given = disturbed(ROCK_SALT, seed)
    found = symmetrised(given, TOLERANCE)
    edges, angles = edges_and_angles(found.lattice)
    assert edges == pytest.approx(edges[0], abs=1e-9)
    assert angles == pytest.approx(60, abs=1e-9)
    assert misplaced(found, ROCK_SALT) < 1e-6
    assert nearest(found, 0, 1) == pytest.approx(edges[0] / np.sqrt(2), abs=1e-6)
    assert edges[0] == pytest.approx(4.0, rel=0.03)  # 2.83 times the root of 2
    # Seen from each other the two atoms were off by 0.06 angstrom at most.
    moved = np.linalg.norm(wrapped(found.frac_coords - given.frac_coords) @ given.lattice, axis=1)
    assert moved.max() < 0.061


@pytest.mark.parametrize("seed", range(5))
def test_a_heusler_crystal_that_lost_much_of_its_symmetry_gets_it_back(seed):
    crystal = primitive_cell(prototype_structure("Cu2MnAl"))[0]
    found = symmetrised(disturbed(crystal, seed, distance=0.07), TOLERANCE)
    edges, angles = edges_and_angles(found.lattice)
    assert edges == pytest.approx(edges[0], abs=1e-9)
    assert angles == pytest.approx(60, abs=1e-9)
    assert misplaced(found, crystal) < 1e-6


def test_a_tetragonal_crystal_stays_tetragonal():
    lattice = np.diag([3.9, 3.93, 4.6])
    given = CrystalArrays(PEROVSKITE.numbers, PEROVSKITE.frac_coords, lattice)
    found = symmetrised(given, TOLERANCE)
    a = np.sqrt((3.9**2 + 3.93**2) / 2)
    assert found.lattice == pytest.approx(np.diag([a, a, 4.6]), abs=1e-9)
    assert misplaced(found, PEROVSKITE) < 1e-9


def test_an_exact_crystal_stays_as_it_is():
    for crystal in (PEROVSKITE, ROCK_SALT):
        found = symmetrised(crystal, TOLERANCE)
        assert found.lattice == pytest.approx(crystal.lattice, abs=1e-9)
        assert wrapped(found.frac_coords - crystal.frac_coords) == pytest.approx(0 * crystal.frac_coords, abs=1e-9)


@pytest.mark.parametrize("formula", FORMULAS)
def test_ideal_crystals_have_the_operations_that_spglib_finds(formula):
    crystal = primitive_cell(prototype_structure(formula))[0]
    found = symmetry_operations(crystal, 0.01)
    theirs = spglib.get_symmetry((crystal.lattice, crystal.frac_coords, crystal.numbers), symprec=0.01)
    assert {rotation.tobytes() for rotation in found.rotations.astype(int)} == {
        rotation.tobytes() for rotation in theirs["rotations"].astype(int)
    }
    assert len(found.rotations) == 48
    assert found.errors.max() < 1e-6


@pytest.mark.parametrize(
    ("lattice", "count"),
    [
        (np.diag([3.0, 4, 5]), 8),
        (np.diag([3.0, 3, 5]), 16),
        (np.array([[3.0, 0, 0], [-1.5, 1.5 * 3**0.5, 0], [0, 0, 5]]), 24),
        (np.array([[3.0, 0, 0], [0.2, 4, 0], [0, 0, 5]]), 4),
        (np.array([[3.0, 0, 0], [0.2, 4, 0], [0.3, 0.4, 5]]), 2),
        (1.0 * (np.ones((3, 3)) - np.eye(3)), 48),
        (2.0 * (np.ones((3, 3)) - 2 * np.eye(3)), 48),
    ],
    ids=["orthorhombic", "tetragonal", "hexagonal", "monoclinic", "triclinic", "face-centred", "body-centred"],
)
def test_one_atom_has_all_the_operations_of_its_lattice(lattice, count):
    found = symmetry_operations(CrystalArrays(np.array([26]), np.array([[0.3, 0.1, 0.7]]), lattice), 0.01)
    assert len(found.rotations) == count


def test_translations_of_a_cell_twice_as_large_are_operations():
    doubled = CrystalArrays(np.array([11, 11]), np.array([[0.1, 0, 0], [0.6, 0, 0]]), np.diag([6.0, 4, 5]))
    found = symmetry_operations(doubled, 0.01)
    assert len(found.rotations) == 16
    translation = (found.rotations == np.eye(3)).all(axis=(1, 2)) & (found.partners == [1, 0]).all(axis=1)
    assert np.abs(found.translations[translation]) == pytest.approx(np.array([[0.5, 0, 0]]))


def test_a_supercell_of_many_cells_becomes_as_symmetric_as_one():
    corners = np.array(list(itertools.product((0, 0.5), repeat=3)))
    coords = (PEROVSKITE.frac_coords[:, None] / 2 + corners).reshape(-1, 3)
    given = CrystalArrays(np.repeat(PEROVSKITE.numbers, 8), coords, 2 * PEROVSKITE.lattice)
    moved = disturbed(given, 0, distance=0.01, strain=0.001)
    assert len(symmetry_operations(moved, 0.1).rotations) == 8 * 48
    found = symmetrised(moved, 0.1)
    assert misplaced(found, given) < 1e-6
    assert edges_and_angles(found.lattice)[1] == pytest.approx(90, abs=1e-9)


def test_operations_are_a_group_within_the_tolerance_for_any_crystal():
    sizes = []
    for seed in range(150):
        random = np.random.default_rng(seed)
        crystal = CrystalArrays(
            random.integers(1, 3, 5),
            random.random((5, 3)) * (seed % 3 > 0),
            np.diag([4.0, 4, 4.2]) + random.normal(0, 0.1, (3, 3)),
        )
        found = symmetry_operations(disturbed(PEROVSKITE, seed, distance=0.002 * seed) if seed % 2 else crystal, 0.3)
        known = {(w.tobytes(), p.tobytes()) for w, p in zip(found.rotations, found.partners, strict=True)}
        for w, p in zip(found.rotations, found.partners, strict=True):
            for v, q in zip(found.rotations, found.partners, strict=True):
                assert ((w @ v).tobytes(), p[q].tobytes()) in known
        assert found.errors.max() <= 0.3
        sizes.append(len(found.rotations))
    assert {1, 2, 48} <= set(sizes)


@pytest.mark.parametrize("change", [[[0, -1, -1], [1, 0, 0], [0, 1, 0]], [[1, 0, 0], [3, 1, 0], [-2, 5, 1]]])
def test_a_crystal_has_the_same_symmetry_in_any_cell(change):
    given = disturbed(PEROVSKITE, 1)
    coords, lattice = given.frac_coords @ np.linalg.inv(change), change @ given.lattice
    skewed = CrystalArrays(given.numbers, coords, lattice)
    found = symmetry_operations(skewed, TOLERANCE)
    assert len(found.rotations) == 48
    images = np.einsum("gij,nj->gni", found.rotations, coords) + found.translations[:, None]
    away = np.linalg.norm(wrapped(images - coords[found.partners]) @ lattice, axis=2)
    assert away.max() < 0.15  # the atoms are off by 0.03, the cell by 1 %
    refined = symmetrised(skewed, TOLERANCE)
    edges, angles = edges_and_angles(np.linalg.inv(change) @ refined.lattice)
    assert edges == pytest.approx(edges[0], abs=1e-9)
    assert angles == pytest.approx(90, abs=1e-6)


def test_operations_that_are_no_group_leave_the_identity():
    # Cubic, but eight of its 48 operations have entries of 2, and the others, all exact, are no group. Its edges are
    # too long by 1.66 angstrom, which is within the tolerance.
    skewed = 4.0 * np.array([[0, -1, -1], [1, 0, 0], [0, 1, 0]])
    found = symmetry_operations(CrystalArrays(np.array([26]), np.zeros((1, 3)), skewed), 2.0)
    assert found.rotations.tolist() == [np.eye(3).tolist()]


def test_the_error_of_an_operation_is_where_it_takes_the_end_of_the_longest_edge():
    found = symmetry_operations(CrystalArrays(np.array([26]), np.zeros((1, 3)), np.diag([4.0, 4.1, 9])), 0.4)
    assert len(found.rotations) == 16
    # Edges of 4 and 4.1 exchanged: strains by Green of half the relative change of their squares.
    strain = np.hypot(4.1**2 / 4**2 - 1, 4**2 / 4.1**2 - 1) / 2
    assert sorted(found.errors) == pytest.approx([0] * 8 + [9 * strain] * 8)


def test_an_operation_leaves_no_offset_on_average():
    found = symmetry_operations(disturbed(PEROVSKITE, 0), TOLERANCE)
    given = disturbed(PEROVSKITE, 0)
    images = np.einsum("gij,nj->gni", found.rotations, given.frac_coords) + found.translations[:, None]
    offsets = wrapped(images - given.frac_coords[found.partners])
    assert offsets.mean(axis=1) == pytest.approx(np.zeros((48, 3)), abs=1e-12)
    assert np.linalg.norm(offsets @ given.lattice, axis=2).max(axis=1).max() <= found.errors.max() + 1e-9
    assert np.abs(offsets).max() > 1e-3


def test_a_tolerance_wider_than_a_tenth_of_the_cell_counts_as_that():
    given = CrystalArrays(np.array([55, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.65]]), 4.0 * np.eye(3))
    assert len(symmetry_operations(given, 100.0).rotations) == 8  # about the third axis; chlorine is 0.6 angstrom off


def test_atoms_on_one_place_have_the_identity_alone():
    found = symmetry_operations(CrystalArrays(np.array([8, 8]), np.zeros((2, 3)), 4.0 * np.eye(3)), TOLERANCE)
    assert found.rotations.tolist() == [np.eye(3).tolist()]
    assert found.partners.tolist() == [[0, 1]]


@pytest.mark.parametrize("crystal", [PEROVSKITE, ROCK_SALT], ids=["perovskite", "rock salt"])
def test_what_was_refined_is_refined(crystal):
    for seed in range(5):
        once = symmetrised(disturbed(crystal, seed), TOLERANCE)
        again = symmetrised(once, TOLERANCE)
        assert again.lattice == pytest.approx(once.lattice, abs=1e-8)
        assert np.abs(wrapped(again.frac_coords - once.frac_coords)).max() < 1e-8


# Crystals that are not


@pytest.mark.parametrize("tolerance", [0, 0.0])
def test_without_a_tolerance_nothing_changes(tolerance):
    given = disturbed(PEROVSKITE, 0)
    assert symmetrised(given, tolerance) is given
    assert symmetrised(PEROVSKITE, tolerance) is PEROVSKITE


def test_a_crystal_within_a_smaller_tolerance_is_left_alone():
    given = disturbed(PEROVSKITE, 0, distance=0.05)
    assert misplaced(symmetrised(given, TOLERANCE), PEROVSKITE) < 1e-6
    assert misplaced(symmetrised(given, 0.01), PEROVSKITE) > 1e-2


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (0.8, 0.6, 0.1), (-0.3, 0.5, 0.9)])
def test_an_atom_far_from_its_place_stays_there(direction):
    displacement = 0.6 * np.array(direction) / np.linalg.norm(direction)
    coords = PEROVSKITE.frac_coords.copy()
    coords[1] += displacement / 3.9
    found = symmetrised(CrystalArrays(PEROVSKITE.numbers, coords, PEROVSKITE.lattice), TOLERANCE)
    others = wrapped(found.frac_coords[[2, 3, 4]] - PEROVSKITE.frac_coords[[2, 3, 4]])
    framework = np.vstack([others, wrapped(found.frac_coords[:1])]).mean(0)
    away = wrapped(found.frac_coords[1] - 0.5 - framework) @ found.lattice
    assert np.linalg.norm(away) == pytest.approx(0.6, abs=0.15)
    assert away @ displacement / 0.6 > 0.55 - 0.15
    if direction == (1, 0, 0):  # the other atoms do not hinder it, so nothing moves
        assert away == pytest.approx(displacement, abs=1e-9)


def test_a_crystal_without_symmetry_comes_back_as_given():
    for seed in range(10):
        random = np.random.default_rng(seed)
        coords = (LOW.frac_coords + random.uniform(-0.02, 0.02, (4, 3))) % 1.0
        given = CrystalArrays(LOW.numbers, coords, LOW.lattice)
        assert symmetrised(given, 0.05) is given


def test_atoms_nearer_than_the_tolerance_are_no_reason_to_fail():
    given = CrystalArrays(
        np.array([26, 26, 8]), np.array([[0, 0, 0], [0.04, 0.01, 0], [0.5, 0.5, 0.45]]), 4.0 * np.eye(3)
    )
    found = symmetrised(given, TOLERANCE)
    assert found.numbers.tolist() == [26, 26, 8]
    assert np.isfinite(found.frac_coords).all()
    assert nearest(found, 0, 1) > 0.1  # 0.16 before; not merged


def test_the_partner_of_an_image_is_the_nearest_site_of_its_element():
    line = CrystalArrays(np.array([8, 8]), np.array([[0.0, 0, 0], [0.4, 0, 0]]), 5.0 * np.eye(3))
    swapped = np.array([[[0.41, 0, 0], [0.98, 0, 0]]])
    assert nearest_sites(swapped, line).tolist() == [[1, 0]]
    assert nearest_sites(np.array([[[0.02, 0, 0], [0.1, 0, 0]]]), line).tolist() == [[0, 0]]
    # As many images as are looked at one part after the other.
    assert nearest_sites(np.tile(swapped, (300_000, 1, 1)), line).tolist() == [[1, 0]] * 300_000
    # Nearest of the same element, whatever lies between.
    mixed = CrystalArrays(np.array([8, 26]), line.frac_coords, line.lattice)
    assert nearest_sites(swapped, mixed).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("lattice", "tolerance"),
    [
        (np.diag([4, 4, 0.05]), TOLERANCE),
        (np.diag([4, 4, 4000.0]), TOLERANCE),
        (np.array([[4, 0, 0], [3.99, 0.03, 0], [0, 0, 4]]), TOLERANCE),
        (np.diag([1.8, 0.7, 16]), 0.6),
        (4 * np.eye(3), 100.0),
    ],
    ids=["flat", "long", "slanted", "narrow", "tolerance"],
)
def test_the_search_ends_in_cells_that_no_crystal_has_and_with_tolerances_wider_than_cells(lattice, tolerance):
    given = CrystalArrays(np.array([8, 26]), np.array([[0.0, 0, 0], [0.5, 0.1, 0]]), lattice)
    found = symmetrised(given, tolerance)
    assert found.numbers.tolist() == [8, 26]
    moved = np.linalg.norm(wrapped(found.frac_coords - given.frac_coords) @ lattice, axis=1)
    assert moved.max() <= 0.4 + 1e-9  # the widest tolerance is a tenth of 4 angstrom


# What never changes


@pytest.mark.parametrize("formula", FORMULAS)
def test_atoms_are_never_lost_nor_exchanged(formula):
    crystal = primitive_cell(prototype_structure(formula))[0]
    changed = 0
    for seed in range(12):
        given = disturbed(crystal, seed, distance=0.02 * seed, strain=0.0025 * seed)
        before = [array.copy() for array in (given.numbers, given.frac_coords, given.lattice)]
        found = symmetrised(given, TOLERANCE)
        assert found.numbers.tolist() == given.numbers.tolist()
        assert found.frac_coords.shape == given.frac_coords.shape
        assert np.isfinite(found.frac_coords).all()
        assert np.linalg.det(found.lattice) == pytest.approx(np.linalg.det(given.lattice), rel=0.05)
        moved = np.linalg.norm(wrapped(found.frac_coords - given.frac_coords) @ given.lattice, axis=1)
        assert moved.max() <= 2 * TOLERANCE
        changed += found is not given
        after = (given.numbers, given.frac_coords, given.lattice)
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert changed > 5


@pytest.mark.parametrize("crystal", [PEROVSKITE, ROCK_SALT], ids=["perovskite", "rock salt"])
@pytest.mark.parametrize(("seed", "mirrored"), [(0, False), (1, False), (2, True), (3, True)])
def test_the_orientation_of_the_cell_is_kept(crystal, seed, mirrored):
    given = disturbed(crystal, seed)
    turn = turned(seed, mirrored=mirrored)
    found = symmetrised(given, TOLERANCE)
    other = symmetrised(CrystalArrays(given.numbers, given.frac_coords, given.lattice @ turn), TOLERANCE)
    assert other.lattice == pytest.approx(found.lattice @ turn, abs=1e-8)
    assert np.linalg.det(other.lattice) * np.linalg.det(found.lattice) * (-1 if mirrored else 1) > 0
    assert np.abs(wrapped(other.frac_coords - found.frac_coords)).max() < 1e-8
    assert np.cross(found.lattice[0], given.lattice[0]) == pytest.approx(np.zeros(3), abs=1e-8)
    assert found.lattice[0] @ given.lattice[0] > 0
    # The second edge stays in the plane of the first two.
    assert np.linalg.det([*given.lattice[:2], found.lattice[1]]) == pytest.approx(0, abs=1e-7)


def test_the_order_of_the_atoms_does_not_matter():
    given = disturbed(PEROVSKITE, 3)
    order = np.array([4, 1, 0, 3, 2])
    found = symmetrised(given, TOLERANCE)
    other = symmetrised(CrystalArrays(given.numbers[order], given.frac_coords[order], given.lattice), TOLERANCE)
    assert other.numbers.tolist() == found.numbers[order].tolist()
    shift = other.frac_coords - found.frac_coords[order]
    assert np.abs(wrapped(shift - shift[0])).max() < 1e-9  # but for the origin
    assert other.lattice == pytest.approx(found.lattice, abs=1e-9)


# Anchors


def test_an_atom_of_the_rarest_element_comes_to_the_origin():
    for seed in range(10):
        given = disturbed(PEROVSKITE, seed)  # strontium and titanium are equally rare, strontium gives electrons first
        found = anchored(given)
        assert found.frac_coords[0] == pytest.approx(np.zeros(3), abs=1e-12)
        assert found.numbers.tolist() == given.numbers.tolist()
        assert found.lattice == pytest.approx(given.lattice)
        shift = wrapped(found.frac_coords - given.frac_coords)
        assert np.abs(wrapped(shift - shift[0])).max() < 1e-12  # rigid
        assert ((found.frac_coords >= 0) & (found.frac_coords <= 1)).all()


def test_one_atom_among_many_of_another_element_is_the_anchor():
    numbers, coords = np.array([8, 8, 14]), np.array([[0.0, 0, 0], [0.4, 0.1, 0], [0.7, 0.2, 0.9]])
    found = anchored(CrystalArrays(numbers, coords, 5.0 * np.eye(3)))
    assert found.frac_coords == pytest.approx(np.array([[0.3, 0.8, 0.1], [0.7, 0.9, 0.1], [0, 0, 0]]))


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([[0.4, 0.4, 0.4], [0.05, 0.97, 0.0]], [0.05, -0.03, 0]),
        ([[0.05, 0.97, 0.0], [0.4, 0.4, 0.4]], [0.05, -0.03, 0]),
        ([[0.6, 0.1, 0.1], [0.5, 0.5, 0.5]], [-0.4, 0.1, 0.1]),
        ([[0.3, 0.3, 0.1], [0.95, 0.97, 0.99]], [-0.05, -0.03, -0.01]),  # over the faces
        ([[0.3, 0.0, 0.0], [0.0, 0.0, 0.28]], [0.3, 0, 0]),  # 1.2 angstrom against 2.8
    ],
)
def test_of_several_atoms_the_nearest_to_the_origin_is_the_anchor(others, expected):
    coords = np.array([[0.01, 0.0, 0.0], [0.21, 0.3, 0.4], [0.81, 0.7, 0.6], *others])
    given = CrystalArrays(np.array([8, 8, 8, 22, 22]), coords, np.diag([4.0, 4, 10]))
    found = anchored(given)
    assert wrapped(given.frac_coords - found.frac_coords - expected) == pytest.approx(np.zeros((5, 3)), abs=1e-12)


@pytest.mark.parametrize("formula", FORMULAS)
def test_what_is_anchored_stays(formula):
    crystal = primitive_cell(prototype_structure(formula))[0]
    for seed in range(5):
        once = anchored(disturbed(crystal, seed, distance=0.2))
        again = anchored(once)
        assert np.abs(wrapped(again.frac_coords - once.frac_coords)).max() < 1e-12


@pytest.mark.parametrize(
    ("group", "lattice", "sites"),
    [
        ("Fm-3m", Lattice.cubic(5.6), [[0, 0, 0], [0.5, 0.5, 0.5]]),
        ("F-43m", Lattice.cubic(5.4), [[0, 0, 0], [0.25, 0.25, 0.25]]),
        ("P6_3mc", Lattice.hexagonal(3.2, 5.2), [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.377]]),
        ("P4_2/mnm", Lattice.tetragonal(4.6, 2.96), [[0, 0, 0], [0.305, 0.305, 0]]),
        ("Pnma", Lattice.orthorhombic(5.4, 7.6, 5.3), [[0.03, 0.25, 0.99], [0.2, 0.05, 0.3]]),
        ("P-1", Lattice.from_parameters(4, 5, 6, 80, 85, 95), [[0.1, 0.2, 0.3], [0.4, 0.15, 0.7]]),
    ],
)
def test_space_groups_are_those_that_crystals_were_made_with(group, lattice, sites):
    made = Structure.from_spacegroup(group, lattice, ["Na", "Cl"], sites)
    for structure in (made, made.get_primitive_structure(), made * [1, 2, 1]):
        assert space_group(to_arrays(structure), 0.01)[1] == group
