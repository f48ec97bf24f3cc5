from __future__ import annotations

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from icsg3d.screening import Duplicates


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
