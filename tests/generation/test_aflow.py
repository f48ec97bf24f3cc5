"""Prototypes have the space group and the neighbours that tables give."""

from __future__ import annotations

import pytest
from pymatgen.core import Composition, Element, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from icsg3d.generation.aflow import further_prototypes, prototype_name, stoichiometries


def prototypes(formula):
    return further_prototypes({Element(str(e)): int(n) for e, n in Composition(formula).items()})


@pytest.mark.parametrize(
    ("formula", "name", "group", "atoms"),
    [
        ("CaF2", "fluorite", 225, 3),
        ("TiO2", "rutile", 136, 6),
        ("MgCu2", "cubic Laves", 227, 6),
        ("AlCu3", "copper-gold", 221, 4),
        ("BiI3", "bismuth triiodide", 148, 8),
        ("TiNiSn", "half-Heusler", 216, 3),
        ("MgAl2O4", "spinel", 227, 14),
        ("K2NiF4", "potassium nickel fluoride", 139, 7),
        ("K2PtCl6", "potassium hexachloroplatinate", 225, 9),
        ("Cs2AgBiBr6", "elpasolite", 225, 10),
    ],
)
def test_space_groups(formula, name, group, atoms):
    structure = prototypes(formula)[name]
    assert SpacegroupAnalyzer(structure).get_space_group_number() == group
    assert len(structure) == atoms
    assert structure.composition.reduced_formula == Composition(formula).reduced_formula


def test_a_half_heusler_has_three_different_arrangements():
    names = [name for name in prototypes("TiNiSn") if name.startswith("half-Heusler")]
    assert names == ["half-Heusler", "half-Heusler, arrangement 2", "half-Heusler, arrangement 3"]


@pytest.mark.parametrize(
    ("formula", "name", "centre", "shell"),
    [
        ("CaF2", "fluorite", "Ca", ["F"] * 8),
        ("Cs2AgBiBr6", "elpasolite", "Bi", ["Br"] * 6),
        ("K2PtCl6", None, "Pt", ["Cl"] * 6),
    ],
)
def test_coordination(formula, name, centre, shell):
    found = prototypes(formula)
    structure = found[name or next(iter(found))]
    site = next(each for each in structure if each.species_string == centre)
    nearest = sorted(structure.get_neighbors(site, 8), key=lambda n: n.nn_distance)[: len(shell)]
    assert [n.species_string for n in nearest] == shell
    assert nearest[-1].nn_distance == pytest.approx(nearest[0].nn_distance, rel=1e-3)


def test_every_stoichiometry_has_prototypes_of_it():
    examples = {(1, 2): "CaF2", (1, 3): "AlF3", (1, 1, 1): "LiAlSi", (1, 2, 4): "MgAl2O4", (1, 2, 6): "K2PtCl6"}
    assert set(stoichiometries()) == {*examples, (1, 1, 2, 6)}
    for numbers, formula in examples.items():
        for structure in prototypes(formula).values():
            assert tuple(sorted(int(n) for n in structure.composition.reduced_composition.values())) == numbers


@pytest.mark.parametrize(
    ("formula", "name"),
    [
        ("CaF2", "rutile"),
        ("MgCu2", "cubic Laves"),
        ("TiNiSn", "half-Heusler"),
        ("MgAl2O4", "spinel"),
        ("K2PtCl6", "potassium hexachloroplatinate"),
        ("Cs2AgBiBr6", "elpasolite"),
    ],
)
def test_prototypes_are_recognised_in_any_cell(formula, name):
    structure = prototypes(formula)[name]
    assert prototype_name(structure * [2, 1, 1]) == name


def test_simple_prototypes_are_recognised_and_distorted_ones_are_not():
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    assert prototype_name(salt) == "rock salt"
    perovskite = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(4), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
    )
    assert prototype_name(perovskite) == "perovskite"
    perovskite.translate_sites([1], [0, 0, 0.03])  # 0.12 angstrom: P4mm
    assert prototype_name(perovskite) != "perovskite"
    lonely = Structure(Lattice.from_parameters(4, 5, 6, 80, 85, 95), ["Na", "Cl"], [[0, 0, 0], [0.4, 0.3, 0.2]])
    assert prototype_name(lonely) == ""
    assert prototype_name(None) == ""
