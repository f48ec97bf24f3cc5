from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import spglib
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.elements import atomic_radii
from icsg3d.training.variants import symmetric_variants

CUBIC = 195
"""The cubic space groups are 195 to 230."""


def arrays(structure):
    return CrystalArrays(np.array(structure.atomic_numbers), structure.frac_coords, structure.lattice.matrix)


def primitive(group, edge, species, sites):
    structure = Structure.from_spacegroup(group, Lattice.cubic(edge), species, sites)
    return arrays(structure.get_primitive_structure(use_site_props=False).get_reduced_structure())


ROCK_SALT = primitive("Fm-3m", 4.2, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PEROVSKITE = primitive("Pm-3m", 3.9, ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]])
HEUSLER = primitive("Fm-3m", 6.0, ["Cu", "Al", "Mn"], [[0.25, 0.25, 0.25], [0, 0, 0], [0.5, 0.5, 0.5]])
PYRITE = primitive("Pa-3", 5.42, ["Fe", "S"], [[0, 0, 0], [0.385, 0.385, 0.385]])
CUBIC_PARENTS = [ROCK_SALT, PEROVSKITE, HEUSLER, PYRITE]
RUTILE = arrays(
    Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
)


def space_group(crystal):
    cell = (crystal.lattice, crystal.frac_coords, crystal.numbers)
    return spglib.get_symmetry_dataset(cell, symprec=0.01).number


def distances(crystal):
    structure = Structure(crystal.lattice, crystal.numbers, crystal.frac_coords)
    found = structure.distance_matrix
    return np.where(np.eye(len(found), dtype=bool), np.inf, found)


@pytest.fixture(scope="module")
def variants():
    return symmetric_variants(CUBIC_PARENTS, 120, longest=10.0)


def test_as_many_come_as_are_asked_for(variants):
    assert len(variants) == 120
    assert symmetric_variants(CUBIC_PARENTS, 0, longest=10.0) == []


def test_variants_of_cubic_crystals_are_cubic(variants):
    assert all(space_group(crystal) >= CUBIC for crystal in variants)


def test_many_have_less_symmetry_than_their_parents(variants):
    groups = Counter(space_group(crystal) for crystal in variants)
    assert len(groups) >= 10
    assert sum(n for group, n in groups.items() if group in (225, 221, 205)) < 90  # those of the parents


def test_they_are_primitive_with_6_to_24_atoms_and_no_edge_beyond_the_longest(variants):
    sizes = {len(crystal) for crystal in variants}
    assert sizes <= set(range(6, 25))
    assert {8, 10, 12, 16, 20} <= sizes  # rock salt, double perovskite, pyrite, doubled Heusler, tilted perovskite
    for crystal in variants:
        cell = (crystal.lattice, crystal.frac_coords, crystal.numbers)
        assert len(spglib.find_primitive(cell, symprec=0.01)[2]) == len(crystal)
        assert np.linalg.norm(crystal.lattice, axis=1).max() <= 10.0
    small = symmetric_variants(CUBIC_PARENTS, 30, longest=5.6)
    assert small
    assert all(np.linalg.norm(c.lattice, axis=1).max() <= 5.6 for c in small)


def test_atoms_keep_apart(variants):
    for crystal in variants:
        radii = atomic_radii()[crystal.numbers]
        assert (distances(crystal) > 0.6 * (radii[:, None] + radii) - 1e-9).all()


def test_elements_are_those_of_the_given_crystals(variants):
    known = {12, 8, 38, 22, 29, 13, 25, 26, 16}
    found = {int(number) for crystal in variants for number in crystal.numbers}
    assert found == known
    assert any(len(set(crystal.numbers)) > 3 for crystal in variants)  # more than any parent has


def test_a_free_coordinate_takes_other_values():
    """Sulphur in pyrite lies anywhere on the threefold axis, with symmetry and iron in place."""
    found = []
    for crystal in symmetric_variants([PYRITE], 60, longest=10.0, seed=2):
        if space_group(crystal) == 205 and np.array_equal(np.bincount(crystal.numbers), np.bincount(PYRITE.numbers)):
            assert np.allclose(crystal.lattice, PYRITE.lattice)
            halves = 2 * crystal.frac_coords[crystal.numbers == 26]
            assert np.allclose(halves, np.round(halves))
            offsets = (crystal.frac_coords - PYRITE.frac_coords)[crystal.numbers == 16]
            offsets = np.abs(offsets - np.round(offsets))
            assert np.allclose(offsets, offsets[0, 0], atol=1e-6)  # all by the same, along the diagonals
            found.append(offsets[0, 0] * 5.42 * np.sqrt(3))
    assert len(found) >= 3
    assert max(found) <= 1.0 + 1e-6
    assert max(found) - min(found) > 0.1


@pytest.mark.slow
def test_rock_salt_becomes_the_fesi_structure():
    """P2_13, eight atoms, both on threefold axes: a subgroup of rock salt's that frees both coordinates."""
    made = symmetric_variants([ROCK_SALT], 60, longest=10.0)
    chiral = [crystal for crystal in made if space_group(crystal) == 198 and len(crystal) == 8]
    assert chiral
    ideal = np.round(chiral[0].frac_coords * 4) / 4
    assert np.abs(chiral[0].frac_coords - ideal).max() > 0.005


def test_new_elements_change_the_size_of_the_cell():
    radii = atomic_radii()
    resized = 0
    for crystal in symmetric_variants([PYRITE], 40, longest=20.0, seed=1):
        if len(crystal) == len(PYRITE):
            ratio = radii[crystal.numbers].sum() / radii[PYRITE.numbers].sum()
            assert crystal.lattice == pytest.approx(PYRITE.lattice * np.clip(ratio, 0.75, 1.35))
            resized += ratio != 1.0
    assert resized >= 3


def test_variants_of_a_tetragonal_crystal_are_tetragonal_or_higher():
    made = symmetric_variants([RUTILE], 30, longest=10.0)
    assert len(made) == 30
    assert all(75 <= space_group(crystal) <= 142 for crystal in made)


def test_variants_depend_on_their_seed_alone():
    one, same, other = (symmetric_variants(CUBIC_PARENTS, 15, 10.0, seed=seed) for seed in (3, 3, 4))
    for first, second in zip(one, same, strict=True):
        assert np.array_equal(first.numbers, second.numbers)
        assert np.array_equal(first.frac_coords, second.frac_coords)
        assert np.array_equal(first.lattice, second.lattice)
    assert any(not np.array_equal(a.numbers, b.numbers) for a, b in zip(one, other, strict=True))


def test_fewer_come_back_where_nothing_can_be_varied():
    assert symmetric_variants([ROCK_SALT], 10, longest=4.0) == []  # no larger cell is short enough


@pytest.mark.slow
def test_rare_sizes_are_parents_of_more_than_their_share():
    rocks = [CrystalArrays(ROCK_SALT.numbers, ROCK_SALT.frac_coords, ROCK_SALT.lattice * 1.0) for _ in range(25)]
    made = symmetric_variants([*rocks, PYRITE], 60, longest=10.0)
    assert sum(len(crystal) == 12 for crystal in made) >= 15  # 6 if each crystal had the same chance
