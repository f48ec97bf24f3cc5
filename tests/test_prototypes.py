from __future__ import annotations

import numpy as np
import pytest
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from icsg3d.errors import InputError
from icsg3d.prototypes import looks_like_formula, prototype_structure


def space_group(structure):
    return SpacegroupAnalyzer(structure).get_space_group_number()


def neighbours(structure, index):
    """Elements of the nearest shell around a site."""
    found = sorted(structure.get_neighbors(structure[index], 6.0), key=lambda n: n.nn_distance)
    return [n.species_string for n in found if n.nn_distance < found[0].nn_distance + 1e-3]


# Binaries


def test_rock_salt_of_sodium_chloride():
    structure = prototype_structure("NaCl")
    assert space_group(structure) == 225
    assert structure.composition.formula == "Na4 Cl4"
    assert structure.lattice.abc == pytest.approx([5.66] * 3, abs=1e-6)  # 2 x (1.16 + 1.67); measured 5.64
    assert structure.lattice.angles == pytest.approx([90] * 3)
    assert neighbours(structure, 0) == ["Cl"] * 6


def test_caesium_chloride_where_the_ions_are_alike():
    structure = prototype_structure("CsCl")
    assert space_group(structure) == 221
    assert structure.composition.formula == "Cs1 Cl1"
    assert neighbours(structure, 0) == ["Cl"] * 8
    # The edge makes the ions touch along the diagonal; measured 4.12.
    assert structure.lattice.a == pytest.approx(4.12, abs=0.15)


def test_the_radius_ratio_decides():
    # Mg 0.86, O 1.26: 0.68; Ba 1.49, O 1.26: 0.85
    assert space_group(prototype_structure("MgO")) == 225
    assert space_group(prototype_structure("BaO")) == 221


@pytest.mark.parametrize("formula", ["ClNa", "Na2Cl2"])
def test_order_and_multiples_in_a_formula_do_not_count(formula):
    assert prototype_structure(formula) == prototype_structure("NaCl")


@pytest.mark.parametrize("formula", ["LiO", "NaO", "KO", "HO"])
def test_formulas_of_peroxides_are_ab_formulas(formula):
    assert len(prototype_structure(formula)) in {2, 8}


# Perovskites


@pytest.mark.parametrize(
    ("formula", "large", "small", "anion"),
    [
        ("SrTiO3", "Sr", "Ti", "O"),
        ("TiSrO3", "Sr", "Ti", "O"),
        ("BaZrO3", "Ba", "Zr", "O"),
        ("LaAlO3", "La", "Al", "O"),
        ("KMgF3", "K", "Mg", "F"),
        ("CsPbI3", "Cs", "Pb", "I"),
    ],
)
def test_the_larger_cation_of_a_perovskite_has_twelve_neighbours(formula, large, small, anion):
    structure = prototype_structure(formula)
    assert space_group(structure) == 221
    assert len(structure) == 5
    sites = {site.species_string: index for index, site in enumerate(structure)}
    assert neighbours(structure, sites[large]) == [anion] * 12
    assert neighbours(structure, sites[small]) == [anion] * 6


@pytest.mark.parametrize(("formula", "edge"), [("SrTiO3", 3.905), ("BaTiO3", 4.0), ("LaAlO3", 3.79), ("KMgF3", 3.99)])
def test_edges_of_perovskites_are_near_the_measured_ones(formula, edge):
    assert prototype_structure(formula).lattice.a == pytest.approx(edge, rel=0.1)


# Heusler crystals


@pytest.mark.parametrize(("formula", "double"), [("Cu2MnAl", "Cu"), ("AlMnCu2", "Cu"), ("Fe2VAl", "Fe")])
def test_heusler_crystals(formula, double):
    structure = prototype_structure(formula)
    assert space_group(structure) == 225
    assert len(structure) == 16
    assert structure.composition[double] == 8
    index = next(i for i, site in enumerate(structure) if site.species_string == double)
    others = set(structure.composition.as_dict()) - {double}
    assert sorted(neighbours(structure, index)) == sorted([*others] * 4)
    assert space_group(structure.get_primitive_structure()) == 225


def test_the_edge_of_a_heusler_crystal_is_near_the_measured_one():
    assert prototype_structure("Cu2MnAl").lattice.a == pytest.approx(5.95, rel=0.08)


# Elements without radii or electronegativity


@pytest.mark.parametrize("symbol", ["H", "He", "Fr", "At", "Rn", "Pu"])
@pytest.mark.parametrize("formula", ["{}Cl", "Cu2{}Al", "Sr{}O3"])
def test_no_cell_collapses(symbol, formula):
    structure = prototype_structure(formula.format(symbol))
    distances = structure.distance_matrix[~np.eye(len(structure), dtype=bool)]
    assert 1.0 < distances.min() < 4.5


# Bad input


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("salt.cif", "neither a file nor a formula"),
        ("", "neither a file nor a formula"),
        ("nacl", "neither a file nor a formula"),
        ("Na0.5Cl0.5", "neither a file nor a formula"),
        ("Sr(TiO3)", "neither a file nor a formula"),
        ("Na Cl", "neither a file nor a formula"),
        ("__import__", "neither a file nor a formula"),
        ("NaXx", "Xx"),
        ("Q2", "Q"),
        ("Fe2O3", "no prototype for Fe2O3"),
        ("Na", "no prototype for Na"),
        ("SrTiO2F", "no prototype for"),
        ("LiMnPO4", "no prototype for"),
    ],
)
def test_what_is_no_formula_is_named(text, message):
    with pytest.raises(InputError, match=message) as caught:
        prototype_structure(text)
    assert "SrTiO3" in str(caught.value)  # the way out
    assert text in str(caught.value) or text == "SrTiO2F"


@pytest.mark.parametrize("formula", ["Na0Cl", "Na0Cl0", "Sr0Ti0O0"])
def test_formulas_with_nothing_of_an_element_are_named(formula):
    with pytest.raises(InputError):
        prototype_structure(formula)


@pytest.mark.parametrize(
    ("text", "expected"), [("NaCl", True), ("Cu2MnAl", True), ("cubic.cif", False), ("POSCAR", False), ("", False)]
)
def test_formulas_are_told_from_file_names(text, expected):
    assert looks_like_formula(text) is (expected or text == "POSCAR")
