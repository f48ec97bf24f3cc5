from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.comparison import ERROR_WEIGHT, Rebuilt, compare

TRUE = CrystalArrays(
    np.array([38, 22, 8, 8, 8]),
    np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    4.0 * np.eye(3),
)
RIGHT = Rebuilt(count=True, species=True, rebuilt=True)
WRONG_SITE_OR_CELL = Rebuilt(count=True, species=True, rebuilt=False)
WRONG_SPECIES = Rebuilt(count=True, species=False, rebuilt=False)
NOTHING = Rebuilt(count=False, species=False, rebuilt=False)


def changed(**changes):
    return dataclasses.replace(TRUE, **changes)


def displaced(vector, atom=2):
    """The crystal with an atom moved by a vector in angstrom."""
    frac = TRUE.frac_coords.copy()
    frac[atom] += np.array(vector) / 4.0
    return changed(frac_coords=frac)


def cell(a=4.0, b=4.0, gamma=90.0):
    angle = np.radians(gamma)
    return changed(lattice=np.array([[a, 0, 0], [b * np.cos(angle), b * np.sin(angle), 0], [0, 0, 4.0]]))


def test_an_equal_crystal_is_rebuilt():
    assert compare(TRUE, TRUE) == RIGHT


def test_the_order_of_atoms_and_the_cell_they_lie_in_do_not_count():
    order = [4, 1, 3, 0, 2]
    shifts = np.array([[1, 0, 0], [0, -1, 0], [0, 0, 2], [-1, 1, 0], [0, 0, 0]])
    assert compare(TRUE, CrystalArrays(TRUE.numbers[order], TRUE.frac_coords[order] + shifts, TRUE.lattice)) == RIGHT


def test_sites_just_across_a_face_are_near():
    assert compare(TRUE, displaced([-0.1, -0.1, 0.0], atom=0)) == RIGHT
    wrapped = changed(frac_coords=displaced([-0.1, -0.1, 0.0], atom=0).frac_coords % 1)
    assert compare(TRUE, wrapped) == RIGHT


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (displaced([0.28, 0, 0]), RIGHT),
        (displaced([0.32, 0, 0]), WRONG_SITE_OR_CELL),
        (displaced([0.25, 0.25, 0]), WRONG_SITE_OR_CELL),
        (displaced([0, 0, 0.32], atom=0), WRONG_SITE_OR_CELL),
        (cell(a=4.38), RIGHT),
        (cell(a=4.42), WRONG_SITE_OR_CELL),
        (cell(b=3.62), RIGHT),
        (cell(b=3.58), WRONG_SITE_OR_CELL),
        (cell(gamma=94), RIGHT),
        (cell(gamma=96), WRONG_SITE_OR_CELL),
        (cell(gamma=84), WRONG_SITE_OR_CELL),
        (changed(numbers=np.array([22, 38, 8, 8, 8])), WRONG_SITE_OR_CELL),  # right composition, swapped sites
        (changed(numbers=np.array([8, 22, 38, 8, 8])), WRONG_SITE_OR_CELL),
        (changed(numbers=np.array([38, 40, 8, 8, 8])), WRONG_SPECIES),
        (changed(numbers=np.array([38, 22, 22, 8, 8])), WRONG_SPECIES),
        (CrystalArrays(TRUE.numbers[:4], TRUE.frac_coords[:4], TRUE.lattice), NOTHING),
        (CrystalArrays(np.append(TRUE.numbers, 8), np.vstack([TRUE.frac_coords, [0.2] * 3]), TRUE.lattice), NOTHING),
        (None, NOTHING),
    ],
)
def test_what_is_off(found, expected):
    assert compare(TRUE, found) == expected


def test_each_site_is_matched_once():
    frac = TRUE.frac_coords.copy()
    frac[3] = frac[2] + 0.01  # two found atoms at one true site
    assert compare(TRUE, changed(frac_coords=frac)) == WRONG_SITE_OR_CELL


def test_atoms_are_assigned_together_and_not_one_by_one():
    # Each of two atoms is near enough to the first site; only one assignment suits both.
    true = CrystalArrays(np.array([1, 1]), np.array([[0.0, 0, 0], [0.05, 0, 0]]), 5.0 * np.eye(3))
    found = CrystalArrays(np.array([1, 1]), np.array([[-0.05, 0, 0], [0.0, 0, 0]]), 5.0 * np.eye(3))
    assert compare(true, found) == RIGHT


def test_a_turned_cell_is_the_same_crystal():
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    assert compare(TRUE, changed(lattice=TRUE.lattice @ turn)) == RIGHT


# How exactly


def test_the_error_is_that_of_the_edges_and_the_sites():
    assert compare(TRUE, TRUE).error == pytest.approx(0)
    assert compare(TRUE, displaced([0.2, 0, 0])).error == pytest.approx(0.2 / 5)
    longer = cell(a=4.3, b=3.9)  # sites keep their fractions, and are measured in the true cell
    assert compare(TRUE, longer).error == pytest.approx((0.3 + 0.1) / 3)
    both = dataclasses.replace(longer, frac_coords=displaced([0, 0, 0.1]).frac_coords)
    assert compare(TRUE, both).error == pytest.approx((0.3 + 0.1) / 3 + 0.1 / 5)


def test_the_error_of_a_turned_cell_is_none():
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    assert compare(TRUE, changed(lattice=TRUE.lattice @ turn)).error == pytest.approx(0)


def test_what_is_not_rebuilt_has_no_quality_and_exactness_tells_the_rest_apart():
    assert compare(TRUE, displaced([0.32, 0, 0])).quality == 0
    assert compare(TRUE, None).quality == 0
    assert compare(TRUE, TRUE).quality == pytest.approx(1)
    assert compare(TRUE, displaced([0.2, 0, 0])).quality == pytest.approx(1 - ERROR_WEIGHT * 0.04)


@pytest.mark.parametrize(("fewer", "better"), [(1, True), (2, False)])
def test_a_crystal_less_is_made_good_by_exactness_and_two_are_not(fewer, better):
    def quality(lost, error):
        results = [dataclasses.replace(RIGHT, error=error)] * (342 - lost) + [NOTHING] * lost
        return np.mean([result.quality for result in results])

    assert (quality(5 + fewer, 0.016) > quality(5, 0.041)) == better
