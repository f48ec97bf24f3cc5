from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.data.elemental import elemental_ground_states
from icsg3d.evaluation.stability import stability
from icsg3d.hull import Phase, ReferenceHull


def crystal(*symbols: str) -> Structure:
    return Structure(Lattice.cubic(4.0), symbols, [[k / len(symbols)] * 3 for k in range(len(symbols))])


class Table:
    """Energies in eV/atom from a table; elements have -1."""

    def __init__(self, **values: float) -> None:
        self.values = values

    def static(self, structures):
        return np.array([self._energy(structure) for structure in structures])

    def relaxed(self, structure):
        return self._energy(structure)

    def _energy(self, structure):
        if structure.is_ordered and len(structure.composition) == 1:
            return -1.0
        return self.values[structure.composition.reduced_formula]


def test_without_phases_the_elements_are_the_hull():
    # MgO lies at -1.5, half an eV/atom below the elements' -1; NaCl 0.05 above them, KBr 0.2 above.
    found = stability(
        [crystal("Mg", "O"), crystal("Na", "Cl"), crystal("K", "Br")], [], Table(MgO=-1.5, NaCl=-0.95, KBr=-0.8)
    )
    assert (found["chgnet_samples"], found["chgnet_failed"], found["chgnet_phases"]) == (3, 0, 0)
    assert found["stable"] == pytest.approx(1 / 3)
    assert found["metastable"] == pytest.approx(2 / 3)
    assert found["median_above_hull"] == pytest.approx(0.05)


def test_a_phase_in_the_system_raises_the_bar_and_others_do_not_count():
    # At the composition MgO2, a mixture of MgO (-2 eV/atom, 2 of 3 atoms) and O (-1, 1 of 3)
    # has -5/3; a sample at -1.6 lies 1/15 above it.
    sample, phases = crystal("Mg", "O", "O"), [crystal("Mg", "O"), crystal("Na", "Cl")]
    found = stability([sample], phases, Table(MgO2=-1.6, MgO=-2.0, NaCl=-9.0))
    assert found["chgnet_phases"] == 1
    assert found["median_above_hull"] == pytest.approx(1 / 15)
    assert (found["stable"], found["metastable"]) == (0, 1)


def test_a_hull_that_is_given_takes_the_place_of_phases():
    # MgO at -2.0 eV/atom is formed with -1.0 from elements at -1. The hull has MgO at -1.2: 0.2 above it. At MgO2 the
    # hull lies at -1.2 * 2 / 3 = -0.8, and -1.9 is -0.9 of formation: 0.1 below.
    hull = ReferenceHull([Phase("MgO", -1.2), Phase("Mg", 0.0), Phase("O2", 0.0)])
    samples = [crystal("Mg", "O"), crystal("Mg", "O", "O"), crystal("Na", "Cl")]
    found = stability(samples, [], Table(MgO=-2.0, MgO2=-1.9, NaCl=-3), hull)
    assert (found["chgnet_phases"], found["stable"], found["metastable"]) == (len(hull), 1 / 3, 1 / 3)
    assert found["median_above_hull"] == pytest.approx(0.05)  # of 0.2 and -0.1
    assert found["chgnet_failed"] == pytest.approx(1 / 3)  # the hull lacks sodium


def test_stable_unique_and_new_ones_are_counted_among_all_draws():
    # 0.5 below, 0.05 above and 0.2 above the elements; the third is no novelty, the fourth has no energy.
    samples = [crystal("Mg", "O"), crystal("Na", "Cl"), crystal("K", "Br"), crystal("Li", "F")]
    energies = Table(MgO=-1.5, NaCl=-0.95, KBr=-0.8, LiF=float("nan"))
    found = stability(samples, [], energies, new=[True, True, False, True], draws=10)
    assert (found["sun"], found["sun_stable"]) == (0.2, 0.1)
    found = stability(samples, [], energies, new=[False, True, True, True])
    assert (found["sun"], found["sun_stable"]) == (0.25, 0.0)
    assert "sun" not in stability(samples, [], energies)


def charged(structure: Structure) -> Structure:
    return structure.copy().add_oxidation_state_by_element({"Mg": 2, "O": -1})


@pytest.mark.parametrize("of_samples", [charged, Structure.copy])
@pytest.mark.parametrize("of_phases", [charged, Structure.copy])
def test_oxidation_states_change_nothing(of_samples, of_phases):
    # As above, 1/15 above a mixture of MgO and O, whichever of the crystals say what is charged.
    sample, phase = of_samples(crystal("Mg", "O", "O")), of_phases(crystal("Mg", "O"))

    class Neutral(Table):
        def _energy(self, structure):
            return super()._energy(structure.copy().remove_oxidation_states())

    found = stability([sample], [phase], Neutral(MgO2=-1.6, MgO=-2.0))
    assert (found["chgnet_phases"], found["chgnet_failed"]) == (1, 0)
    assert found["median_above_hull"] == pytest.approx(1 / 15)


def test_a_disordered_phase_does_not_compete():
    disordered = crystal("Mg", "O")
    disordered.replace(0, {"Mg": 0.5, "O": 0.5})
    found = stability([crystal("Mg", "O")], [disordered], Table(MgO=-2.0))
    assert (found["chgnet_phases"], found["stable"]) == (0, 1)


def test_what_has_no_energy_or_no_reference_is_counted_as_failed():
    found = stability(
        [crystal("Mg", "O"), crystal("Yb", "O"), crystal("Na", "Cl")], [], Table(MgO=np.nan, YbO=-3, NaCl=-2)
    )
    assert found["chgnet_failed"] == pytest.approx(2 / 3)
    assert found["stable"] == pytest.approx(1 / 3)


def test_each_sample_is_reported_once(watched):
    stability([crystal("Mg", "O")] * 3, [], Table(MgO=-2.0))
    assert watched["relaxing with CHGNet"][-1] == (3, 3)


# Ground states of the elements


def test_ground_states_have_the_known_crystals():
    states = elemental_ground_states()
    assert len(states) == 88
    assert all({site.specie.symbol for site in crystal} == {symbol} for symbol, crystal in states.items())
    # Silicon in the diamond structure: a bond of a sqrt(3) / 4 with a = 5.43 to 5.47 angstrom (PBE); four neighbours.
    silicon = states["Si"]
    assert silicon.get_space_group_info()[0] == "Fd-3m"
    bonds = silicon.get_neighbors(silicon[0], 2.6)
    assert len(bonds) == 4
    assert bonds[0].nn_distance == pytest.approx(5.45 * 3**0.5 / 4, abs=0.02)
    # Iron is body-centred: one atom, eight neighbours at a sqrt(3) / 2 with a = 2.83 (PBE).
    iron = states["Fe"]
    assert (len(iron), len(iron.get_neighbors(iron[0], 2.6))) == (1, 8)


def test_ground_states_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        elemental_ground_states()["Si"] = None
