"""Exchange of elements on crystals whose neighbours are known."""

from __future__ import annotations

import math

import pytest
from pymatgen.analysis.structure_prediction.substitution_probability import SubstitutionProbability
from pymatgen.core import Element, Lattice, Species, Structure

from icsg3d.errors import InputError
from icsg3d.generation.exchange import exchanges

PEROVSKITE = Structure.from_spacegroup(
    "Pm-3m", Lattice.cubic(3.905), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]
)
STATES = {"Sr": 2, "Ti": 4, "O": -2}
HEUSLER = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.95), ["Cu", "Mn", "Al"], [[0.25] * 3, [0, 0, 0], [0.5] * 3]
)


def formulas(structure, found):
    return [each.apply(structure).composition.reduced_formula for each in found]


@pytest.mark.slow
def test_neighbours_of_strontium_titanate_are_perovskites_that_are_known():
    found = exchanges(PEROVSKITE, 20, STATES)
    assert found[0].replaced == {"Sr": "Ba", "Ti": "Ti", "O": "O"}
    assert {"BaTiO3", "CaTiO3", "SrZrO3", "SrSnO3"} <= set(formulas(PEROVSKITE, found))
    assert "SrTiO3" not in formulas(PEROVSKITE, found)


def test_the_order_is_that_of_the_published_probabilities():
    found = exchanges(PEROVSKITE, 30, STATES)
    chances = [each.log_probability for each in found]
    assert chances == sorted(chances, reverse=True)
    # Between two that change the same ion, the ratio is that of the conditional probabilities.
    table = SubstitutionProbability()
    ratio = table.cond_prob(Species("Ba", 2), Species("Sr", 2)) / table.cond_prob(Species("Ca", 2), Species("Sr", 2))
    barium, calcium = (next(e for e in found if e.replaced == {"Sr": s, "Ti": "Ti", "O": "O"}) for s in ("Ba", "Ca"))
    assert math.exp(barium.log_probability - calcium.log_probability) == pytest.approx(ratio)


def test_charges_add_up_to_what_they_did():
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    found = formulas(salt, exchanges(salt, 25, {"Na": 1, "Cl": -1}))
    assert {"KCl", "NaF", "MgO", "CaO"} <= set(found)
    assert not {"CaCl", "MgCl", "NaO", "NaS"} & set(found)


def test_metals_are_exchanged_for_metals_and_the_numbers_stay():
    found = exchanges(HEUSLER, 40)
    assert all(Element(new).is_metal for each in found for new in each.replaced.values())
    assert {each.apply(HEUSLER).composition.anonymized_formula for each in found} == {"ABC2"}


def test_cell_and_base_stay_and_formal_charges_do_not_matter():
    charged = PEROVSKITE.copy()
    charged.add_oxidation_state_by_element(STATES)
    new = exchanges(charged, 1, STATES)[0].apply(charged)
    assert new.lattice == PEROVSKITE.lattice
    assert [site.species_string for site in new] == ["Ba", "Ti", "O", "O", "O"]
    assert charged[0].species_string == "Sr2+"


def test_only_allowed_elements_come_in():
    found = exchanges(PEROVSKITE, 10, STATES, elements={"Ca", "Zr"})
    assert {"CaTiO3", "SrZrO3", "CaZrO3"} <= set(formulas(PEROVSKITE, found))
    assert {new for each in found for new in each.replaced.values()} <= {"Sr", "Ti", "O", "Ca", "Zr"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "1 or more, got 0"),
        ({"n": 1, "elements": {"Xx"}}, "Xx is no element"),
        ({"n": 1, "elements": {"F"}}, "no element of SrTiO3 can be exchanged"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        exchanges(PEROVSKITE, states=STATES, **arguments)
