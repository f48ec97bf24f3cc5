"""Oxidation states of compositions whose chemistry is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pymatgen.core import Composition

from icsg3d.crystals.charges import charge_balance, frequencies


@pytest.mark.parametrize("formula", ["KGdO3", "CsOsO3", "PaPbAuI3", "RbHgI4O", "GeHI3"])
def test_what_has_no_plausible_states(formula):
    found = charge_balance(formula)
    assert found.kind == "unbalanced"
    assert not found.passes
    assert found.describe() == "unbalanced"
    assert math.isnan(found.score)


@pytest.mark.parametrize(
    ("formula", "states"),
    [
        ("Fe3O4", {"Fe": (2, 3, 3), "O": (-2,) * 4}),
        ("CsPbI3", {"Cs": (1,), "Pb": (2,), "I": (-1,) * 3}),
        ("Cs2AgBiBr6", {"Cs": (1, 1), "Ag": (1,), "Bi": (3,), "Br": (-1,) * 6}),
        ("LaNiO3", {"La": (3,), "Ni": (3,), "O": (-2,) * 3}),
        ("BaBiO3", {"Ba": (2, 2), "Bi": (3, 5), "O": (-2,) * 6}),
        ("YBa2Cu3O7", {"Y": (3,), "Ba": (2, 2), "Cu": (2, 2, 3), "O": (-2,) * 7}),
        ("KClO4", {"K": (1,), "Cl": (7,), "O": (-2,) * 4}),
        ("FeS2", {"Fe": (2,), "S": (-1, -1)}),
        ("CaHCl", {"Ca": (2,), "H": (-1,), "Cl": (-1,)}),
        ("NaBH4", {"Na": (1,), "B": (3,), "H": (-1,) * 4}),
        ("Mg(OH)2", {"Mg": (2,), "H": (1, 1), "O": (-2, -2)}),
        ("PbTe", {"Pb": (2,), "Te": (-2,)}),
        ("NH4Cl", {"H": (1,) * 4, "N": (-3,), "Cl": (-1,)}),
    ],
)
def test_states_of_salts(formula, states):
    found = charge_balance(formula)
    assert found.kind == "ionic"
    assert dict(found.states) == states
    assert sum(sum(each) for each in found.states.values()) == 0


@pytest.mark.parametrize("formula", ["Cu2MnAl", "TiNiSn", "MgB2", "CsAu", "Fe4N", "Mn3NiN", "YH2", "Si", "O2", "LaB6"])
def test_metals_and_elements(formula):
    found = charge_balance(formula)
    assert found.kind == "metallic"
    assert found.passes
    assert not found.states


@pytest.mark.parametrize(
    "formula",
    [
        "NaN3",  # the metal cannot give what the nitrogen would take
        "Na2O2",  # there is no O(1-)
        "Cu2MnO9",
        "HI3",
        "NeAr",
    ],
)
def test_what_neither_is(formula):
    assert charge_balance(formula).kind == "unbalanced"


def test_multiples_order_and_charges_do_not_matter():
    assert charge_balance("O8Fe6") == charge_balance("Fe3O4")
    assert charge_balance(Composition({"Fe2+": 1, "Fe3+": 2, "O2-": 4})).means["Fe"] == pytest.approx(8 / 3)


def test_description():
    assert charge_balance("Fe3O4").describe() == "Fe(2+) 2Fe(3+) 4O(2-)"
    assert charge_balance("MgB2").describe() == "metallic"


def test_usual_states_score_higher():
    # Ag+ is far more frequent than Ag3+.
    assert charge_balance("AgCl").score > charge_balance("AgF3").score > -6
    assert charge_balance("AgCl").score < 0


def test_rare_states_make_a_salt_unusual():
    found = charge_balance("La3S2(ClO2)2")  # La2+ and S2+, which are rare in oxides and chlorides
    assert found.kind == "unusual"
    assert not found.passes
    assert found.score < -6
    assert found.describe() == "3La(2+) 2S(2+) 2Cl(1-) 4O(2-)"


def test_frequencies_are_pymatgens():
    table = frequencies()
    assert table["O"] == {-2: pytest.approx(44783 / (44783 + 101))}
    assert table["Gd"] == {3: pytest.approx(235 / 239)}
    assert table["Os"] == {4: 1.0}  # pymatgen counted none, and calls this one common
    assert table["He"] == {}


def test_share_of_known_crystals(data_folder):
    from benchmarks.charges import SALT_MAKERS, known_compositions, replaced

    known = known_compositions(data_folder / "mp_structures.npz")[::40]
    assert len(known) == 343
    assert np.mean([charge_balance(Composition(c)).passes for c in known]) > 0.93
    random = np.random.default_rng(0)
    made = [replaced(c, random, one=False) for c in known if SALT_MAKERS & set(c) and set(c) - SALT_MAKERS]
    assert np.mean([charge_balance(Composition(c)).passes for c in made]) < 0.5
