from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.screening import validity
from icsg3d.screening.validity import composition_valid, structure_valid

# Distances and volume


def pair(gap, edge=10.0):
    """Two atoms in a cubic cell, so many angstrom apart along x."""
    return Structure(Lattice.cubic(edge), ["Na", "Cl"], [[0.2, 0.3, 0.4], [0.2 + gap / edge, 0.3, 0.4]])


@pytest.mark.parametrize(("gap", "valid"), [(0.3, False), (0.49, False), (0.51, True), (2.0, True)])
def test_sites_are_more_than_half_an_angstrom_apart(gap, valid):
    assert structure_valid(pair(gap)) is valid


@pytest.mark.parametrize(("gap", "valid"), [(9.6, False), (9.4, True)])
def test_distances_count_over_the_faces(gap, valid):
    assert structure_valid(pair(gap)) is valid


@pytest.mark.parametrize(("edge", "valid"), [(0.49, False), (0.51, True)])
def test_an_atom_keeps_away_from_its_own_images(edge, valid):
    for lengths in ((edge, 6, 6), (6, edge, 6), (6, 6, edge)):
        assert structure_valid(Structure(Lattice.orthorhombic(*lengths), ["Fe"], [[0, 0, 0]])) is valid


@pytest.mark.parametrize(("height", "valid"), [(0.09, False), (0.11, True)])
def test_flat_cells_are_invalid(height, valid):
    # The third edge is longer than the limit, but lies almost in the plane of the others: the volume is the height.
    cell = Structure(Lattice([[1, 0, 0], [0, 1, 0], [0.6, 0.6, height]]), ["Fe"], [[0, 0, 0]])
    assert cell.volume == pytest.approx(height)
    assert structure_valid(cell) is valid


def test_the_order_of_atoms_and_the_cell_do_not_matter():
    for gap in (0.45, 0.55):
        crystal = pair(gap, 4.0)
        turned = Structure.from_sites(crystal[::-1])
        assert structure_valid(turned) is structure_valid(crystal)
        assert structure_valid(crystal * [2, 1, 1]) is structure_valid(crystal)


# Charges


@pytest.fixture
def smact():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("smact.screening")


CHARGES = {"Na": 1, "K": 1, "Rb": 1, "Mg": 2, "Al": 3}
"""Metals that have this charge alone in the present set."""


@pytest.mark.parametrize("metal", CHARGES)
@pytest.mark.parametrize("halogen", ["F", "Cl"])
def test_a_metal_of_one_charge_takes_as_many_halogens(smact, metal, halogen):
    valid = [count for count in range(1, 7) if composition_valid(Composition({metal: 1, halogen: count}), None)]
    assert valid == [CHARGES[metal]]


@pytest.mark.parametrize("formula", ["NaCl", "SrTiO3", "LaAlO3", "KMgF3", "Al2O3", "SrTiO2N", "OF2"])
def test_compounds_whose_charges_balance_are_valid(smact, formula):
    assert composition_valid(Composition(formula)) is True


@pytest.mark.parametrize("formula", ["Na2Cl", "NaF2", "Na3Cl2", "KCl3"])
def test_compounds_whose_charges_cannot_balance_are_invalid(smact, formula):
    assert composition_valid(Composition(formula)) is False


@pytest.mark.parametrize("formula", ["Fe", "O2", "Cu2MnAl", "Fe2VAl", "NaK2"])
def test_elements_and_alloys_are_valid(smact, formula):
    assert composition_valid(Composition(formula)) is True


def test_the_set_of_charges_matters(smact):
    # Monovalent magnesium stands in the set of the benchmark, for want of evidence no longer in the present one.
    assert composition_valid(Composition("Mg2O")) is True
    assert composition_valid(Composition("Mg2O"), None) is False
    for states in (validity.BENCHMARK_STATES, None):
        assert composition_valid(Composition("MgO"), states) is True


def test_formula_units_and_charges_written_down_do_not_matter(smact):
    cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    assert composition_valid(cell.composition) is True
    cell.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    assert composition_valid(cell.composition) is True
    assert composition_valid(Composition("Na8Cl4")) is False


def test_smact_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "smact.screening", None)
    validity._formula_valid.cache_clear()
    with pytest.raises(InputError, match=r"needs smact; install it with pip install 'icsg3d\[evaluate\]'"):
        composition_valid(Composition("NaCl"))


def test_a_formula_is_looked_at_once(smact, monkeypatch):
    asked = []
    monkeypatch.setattr(smact, "smact_validity", lambda formula, **kwargs: asked.append((formula, kwargs)) or True)
    validity._formula_valid.cache_clear()
    for count in (1, 2, 1):
        assert composition_valid(Composition({"Na": 2 * count, "Cl": count}))
    assert composition_valid(Composition("Na2Cl"), None)
    assert asked == [("Na2Cl", {"oxidation_states_set": "smact14"}), ("Na2Cl", {"oxidation_states_set": None})]
    validity._formula_valid.cache_clear()


def test_what_is_returned_is_a_plain_truth_value():
    assert type(structure_valid(pair(np.float64(2.0)))) is bool
