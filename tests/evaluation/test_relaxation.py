from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.evaluation.relaxation import delocalised, neighbour_pairs, relaxation_change
from icsg3d.generation.prototypes import prototype_structure


def cscl(edge):
    return Structure(Lattice.cubic(edge), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_each_bond_counts_once():
    # Caesium chloride: eight bonds of a caesium, which are those of the chlorine, too.
    pairs = neighbour_pairs(cscl(4.12))
    assert len(pairs) == 8
    assert {(first, second) for first, second, _ in pairs} in ({(0, 1)}, {(1, 0)})
    rock_salt = neighbour_pairs(prototype_structure("NaCl"))
    assert len(rock_salt) == 4 * 6


def test_a_breathing_cell_changes_bonds_and_edges_alike():
    change = relaxation_change(cscl(4.0), cscl(4.2))
    assert change.bonds == pytest.approx(5.0)
    assert change.cell == pytest.approx(5.0)
    assert change.volume == pytest.approx(100 * (1.05**3 - 1))
    assert change.bond_count == 8


def test_nothing_moved_is_nothing():
    change = relaxation_change(cscl(4.0), cscl(4.0))
    assert (change.bonds, change.cell, change.volume) == pytest.approx((0, 0, 0))


def test_an_atom_off_its_place_changes_bonds_alone():
    before, after = cscl(4.0), cscl(4.0)
    after.translate_sites([1], [0.05, 0, 0])
    # Chlorine goes 0.2 A along x: four bonds shorten, four lengthen, from sqrt(12).
    old = 12**0.5
    new = [((2 + sign * 0.2) ** 2 + 8) ** 0.5 for sign in (1, -1)]
    expected = 100 * sum(abs(length - old) / old for length in new) / 2
    change = relaxation_change(before, after)
    assert change.bonds == pytest.approx(expected)
    assert (change.cell, change.volume) == pytest.approx((0, 0))


def test_an_atom_that_crossed_a_face_is_followed():
    before = Structure(Lattice.cubic(4.0), ["Cs", "Cl"], [[0.01, 0, 0], [0.5, 0.5, 0.5]])
    after = Structure(Lattice.cubic(4.0), ["Cs", "Cl"], [[0.99, 0, 0], [0.5, 0.5, 0.5]])
    mirrored = relaxation_change(after, before)
    assert relaxation_change(before, after).bonds < 3
    assert mirrored.bonds == pytest.approx(relaxation_change(before, after).bonds, rel=0.1)


def test_a_crystal_that_drifted_as_a_whole_did_not_change():
    before, after = prototype_structure("NaCl"), prototype_structure("NaCl")
    after.translate_sites(list(range(len(after))), [0.4999, 0.5001, 0.5])
    assert relaxation_change(before, after).bonds == pytest.approx(0, abs=1e-8)


def test_charges_do_not_make_other_atoms():
    charged = cscl(4.0)
    charged.add_oxidation_state_by_element({"Cs": 1, "Cl": -1})
    assert relaxation_change(charged, cscl(4.2)).bonds == pytest.approx(5.0)
    assert charged[0].specie.oxi_state == 1


def test_sites_sorted_by_electronegativity_are_matched():
    before = Structure(Lattice.cubic(4.0), ["Cl", "Cs"], [[0.5, 0.5, 0.5], [0, 0, 0]])
    assert relaxation_change(before, cscl(4.2)).bonds == pytest.approx(5.0)


def test_other_atoms_and_atoms_far_apart_are_refused():
    with pytest.raises(InputError, match="do not have the same atoms"):
        relaxation_change(cscl(4.0), prototype_structure("NaCl"))
    with pytest.raises(InputError, match="no atom of He has a neighbour"):
        neighbour_pairs(Structure(Lattice.cubic(30.0), ["He"], [[0, 0, 0]]))


@pytest.mark.parametrize(
    ("species", "flags"),
    [
        (("Ti", "Se"), ["selenide"]),  # the paper's own Table S3
        (("Na", "Te"), ["telluride"]),
        (("Ag", "Te"), ["telluride"]),
        (("Zn", "S"), ["sulfide"]),
        (("Ce", "Se"), ["selenide", "f electrons"]),
        (("U", "N"), ["f electrons"]),
        (("La", "N"), []),  # no f electron
        (("S", "O"), []),  # not a sulfide
        (("Na", "Cl"), []),
    ],
)
def test_delocalised_electrons(species, flags):
    assert delocalised(Structure(Lattice.cubic(4), species, [[0, 0, 0], [0.5, 0.5, 0.5]])) == flags


def test_an_element_is_no_chalcogenide():
    assert delocalised(Structure(Lattice.cubic(3), ["Te"], [[0, 0, 0]])) == []
