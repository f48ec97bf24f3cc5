from __future__ import annotations

import math

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from icsg3d.screening import Duplicates, shortest_distance


def rock_salt(cation="Na", anion="Cl", edge=5.66):
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(Lattice.cubic(edge), [cation] * 4 + [anion] * 4, [*corners, *(corners + 0.5)])


def caesium_chloride(edge=3.4):
    return Structure(Lattice.cubic(edge), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


# Repeats


def test_the_first_of_equal_crystals_is_named():
    seen = Duplicates()
    assert seen.first_of(3, rock_salt()) is None
    assert seen.first_of(4, caesium_chloride()) is None
    assert seen.first_of(5, rock_salt()) == 3
    assert seen.first_of(6, caesium_chloride()) == 4
    assert seen.first_of(9, rock_salt()) == 3


def test_cell_origin_and_order_of_atoms_do_not_count():
    seen = Duplicates()
    seen.first_of(0, rock_salt())
    primitive = rock_salt().get_primitive_structure()
    moved = Structure(primitive.lattice, primitive.species[::-1], primitive.frac_coords[::-1] + 0.3)
    assert seen.first_of(1, moved) == 0


def test_other_elements_make_another_crystal():
    seen = Duplicates()
    assert seen.first_of(0, rock_salt()) is None
    assert seen.first_of(1, rock_salt("K")) is None
    assert seen.first_of(2, rock_salt("Cl", "Na")) == 0  # the same crystal with its origin moved


def test_a_repeat_is_not_remembered_itself():
    # Each is like the one before it, but the third is not like the first.
    matcher = StructureMatcher(scale=False, ltol=0.05, primitive_cell=False)
    edges = [5.0, 5.2, 5.4]
    fits = [matcher.fit(rock_salt(edge=a), rock_salt(edge=b)) for a, b in ((5.0, 5.2), (5.2, 5.4), (5.0, 5.4))]
    assert fits == [True, True, False]
    seen = Duplicates(matcher)
    assert [seen.first_of(i, rock_salt(edge=edge)) for i, edge in enumerate(edges)] == [None, 0, None]


def test_the_matcher_decides_what_is_the_same():
    strict = Duplicates(StructureMatcher(scale=False, ltol=0.01))
    loose = Duplicates()
    for seen, expected in ((strict, None), (loose, 0)):
        assert seen.first_of(0, rock_salt(edge=5.0)) is None
        assert seen.first_of(1, rock_salt(edge=6.0)) is expected


# Shortest distances


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (rock_salt(), 5.66 / 2),
        (rock_salt().get_primitive_structure(), 5.66 / 2),
        (caesium_chloride(), 3.4 * math.sqrt(3) / 2),
        (Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]]), 3.3),
        (Structure(Lattice.orthorhombic(9, 3, 5), ["Po"], [[0.2, 0.2, 0.2]]), 3.0),
        (Structure(Lattice.cubic(6), ["H", "H"], [[0.95, 0, 0], [0.05, 0, 0]]), 0.6),
        pytest.param(
            Structure(Lattice.cubic(12), ["H", "H"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
            6 * math.sqrt(3),
            marks=pytest.mark.xfail(
                raises=AssertionError, reason="gives the cell's edge where all pairs are beyond 8 A"
            ),
        ),
        (Structure(Lattice.cubic(12), ["Xe"], [[0, 0, 0]]), 12),
    ],
    ids=["rock salt", "primitive", "CsCl", "Po", "one short edge", "across a face", "far apart", "one far atom"],
)
def test_distances_worked_out_by_hand(structure, expected):
    assert shortest_distance(structure) == pytest.approx(expected, abs=1e-3)


def test_the_image_of_an_atom_may_be_nearer_than_any_edge():
    # The short diagonal a - b of a rhombus of 30 degrees.
    lattice = Lattice.from_parameters(6, 6, 7, 90, 90, 30)
    short = 2 * 6 * math.sin(math.radians(15))
    assert shortest_distance(Structure(lattice, ["Fe"], [[0, 0, 0]])) == pytest.approx(short, abs=1e-6)


def test_atoms_at_the_same_place_are_at_no_distance():
    structure = Structure(Lattice.cubic(5), ["Fe", "Fe"], [[0.1, 0.1, 0.1], [0.1, 0.1, 0.1]])
    assert shortest_distance(structure) == pytest.approx(0, abs=1e-6)


def test_it_is_the_smallest_entry_of_the_distance_matrix():
    random = np.random.default_rng(0)
    for _ in range(5):
        lattice = Lattice.from_parameters(*random.uniform(4, 7, 3), *random.uniform(75, 105, 3))
        structure = Structure(lattice, ["O"] * 4, random.random((4, 3)))
        matrix = structure.distance_matrix[np.triu_indices(4, 1)]
        assert shortest_distance(structure) == pytest.approx(min(matrix.min(), *lattice.abc), abs=1e-6)
