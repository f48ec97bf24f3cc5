from __future__ import annotations

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from atomate2.ase.jobs import EmtRelaxMaker
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedEntry
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.data.elemental import elemental_ground_states
from icsg3d.errors import InputError
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.workflows import calculations
from icsg3d.workflows.calculations import MAX_RISE, _judged, calculation_key, corrected_energy, element_energy
from icsg3d.workflows.formation import FormationEnergyMaker
from icsg3d.workflows.local import run_flow
from tests.workflows.emt_makers import CountingMaker, EmtStaticMaker, FailingMaker, NanMaker


class VersionedMaker(CountingMaker):
    """The same settings, said to be of another version."""

    def __init__(self, version):
        super().__init__()
        self._version = version

    def as_dict(self):
        return CountingMaker().as_dict() | {"@version": self._version}


def run(flow, store, tmp_path):
    return run_flow(flow, store, tmp_path).output


def emt_energy(atoms, *, relax):
    """Energy per atom by ASE alone, without a line of the package or of atomate2."""
    atoms.calc = EMT()
    if relax:
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.001)
    return atoms.get_potential_energy() / len(atoms)


def test_formation_energy_is_that_of_ase_alone(crystal, emt, store, tmp_path):
    structure = crystal("Cu", "Au", 3.05)
    found = run(emt.make(structure), store, tmp_path)
    atoms = AseAtomsAdaptor.get_atoms(structure)
    expected = emt_energy(atoms, relax=True)
    for symbol in ("Cu", "Au"):  # both are fcc
        expected -= 0.5 * emt_energy(bulk(symbol, cubic=True), relax=True)
    assert found.formation_energy_per_atom == pytest.approx(expected, abs=1e-4)
    assert found.structure.lattice.a == pytest.approx(atoms.cell.lengths()[0], abs=2e-3)
    assert found.state == "finished"
    assert set(found.task_ids) == {"relax", "static"}
    assert found.formula_pretty == "CuAu"


def test_without_relaxation_the_crystal_is_taken_as_it_is(crystal, emt, store, tmp_path):
    emt.relax_maker = None
    structure = crystal("Ni", "Al", 3.2)
    found = run(emt.make(structure), store, tmp_path)
    expected = emt_energy(AseAtomsAdaptor.get_atoms(structure), relax=False)
    for symbol in ("Ni", "Al"):
        element = AseAtomsAdaptor.get_atoms(elemental_ground_states()[symbol])
        expected -= 0.5 * emt_energy(element, relax=False)
    assert found.formation_energy_per_atom == pytest.approx(expected, abs=1e-6)
    assert found.structure.lattice.a == pytest.approx(3.2)


def test_without_a_static_maker_the_last_step_of_the_relaxation_counts(crystal, emt, store, tmp_path):
    structure = crystal("Cu", "Au", 3.05)
    both = run(emt.make(structure), store, tmp_path)
    emt.static_maker = None
    alone = run(emt.make(structure), store, tmp_path)
    assert alone.formation_energy_per_atom == pytest.approx(both.formation_energy_per_atom, abs=1e-6)


def test_nothing_is_calculated_twice(crystal, store, tmp_path, monkeypatch):
    log = tmp_path / "count"
    monkeypatch.setenv("COUNT_FILE", str(log))
    maker = FormationEnergyMaker(relax_maker=CountingMaker(), static_maker=None, engine="counting", packages=[])
    first = run(maker.make(crystal("Cu", "Au", 3.05)), store, tmp_path)
    assert sorted(log.read_text().split()) == ["Au", "Cu", "CuAu"]
    again = run(maker.make(crystal("Cu", "Au", 3.05)), store, tmp_path)
    assert again.formation_energy_per_atom == first.formation_energy_per_atom
    assert len(log.read_text().split()) == 3
    run(maker.make(crystal("Cu", "Ag", 3.0)), store, tmp_path)  # copper is known, silver and the compound are not
    assert sorted(log.read_text().split()[3:]) == ["Ag", "CuAg"]


def test_other_settings_are_another_calculation(crystal):
    structure = crystal("Cu", "Au", 3.05)
    key = calculation_key(CountingMaker(), structure)
    assert key == calculation_key(CountingMaker(name="another name"), structure.copy())
    assert key != calculation_key(CountingMaker(steps=7), structure)
    assert key != calculation_key(EmtStaticMaker(), structure)
    assert key != calculation_key(CountingMaker(), crystal("Cu", "Au", 3.06))
    assert key != calculation_key(CountingMaker(), structure.copy(site_properties={"magmom": [1.0, 0.0]}))
    assert key != calculation_key(CountingMaker(), structure.copy(site_properties={"magmom": [[0, 0, 1.0], [0, 0, 0]]}))
    assert key != calculation_key(CountingMaker(), structure, ["ase"])
    charged = structure.copy()
    charged.set_charge(1)
    assert key != calculation_key(CountingMaker(), charged)
    moved = structure.copy()
    moved.translate_sites([0], [-1e-12, 0, 0], to_unit_cell=False)
    assert key == calculation_key(CountingMaker(), moved)


def test_versions_of_packages_count_and_those_of_makers_do_not(crystal, monkeypatch):
    structure = crystal("Cu", "Au", 3.05)
    key = calculation_key(CountingMaker(), structure, ["ase"])
    monkeypatch.setattr(calculations, "version", lambda _: "99")
    assert key != calculation_key(CountingMaker(), structure, ["ase"])
    assert calculation_key(CountingMaker(), structure) == calculation_key(VersionedMaker("1"), structure)
    assert calculation_key(VersionedMaker("1"), structure) == calculation_key(VersionedMaker("2"), structure)


def test_a_failed_calculation_is_a_failed_document(crystal, store, tmp_path):
    maker = FormationEnergyMaker(relax_maker=FailingMaker(), static_maker=EmtStaticMaker(), engine="x", packages=[])
    found = run(maker.make(crystal("Ni", "Al", 2.9)), store, tmp_path)
    assert (found.state, found.formation_energy_per_atom) == ("failed", None)
    assert found.reason == "the relaxation gave no result"
    assert run(maker.make(crystal("Cu", "Al", 2.9)), store, tmp_path).state == "finished"


def relaxation(structure, energies, state="successful"):
    steps = [{"energy": energy} for energy in energies]
    return {"structure": structure, "output": {"energy": energies[-1], "ionic_steps": steps}, "state": state}


def test_molecules_of_an_element_may_drift_apart_and_atoms_may_not_collapse(crystal):
    before = crystal("F", "F", 3.0)
    for edge, expected in ((4.5, -0.6), (2.5, None)):
        done = relaxation(crystal("F", "F", edge), [-1.0, -1.2])
        found = element_energy.original("F", before, done, done, {"relax": "1"})
        assert found.energy_per_atom == expected
        assert bool(found.reason) == (expected is None)


def test_relaxations_are_judged(crystal):
    before = crystal("Cu", "Au", 3.0)
    assert _judged(before, None) == ("finished", "")
    assert _judged(before, relaxation(crystal("Cu", "Au", 3.1), [-1.0, -1.2]))[0] == "finished"
    blown = _judged(before, relaxation(crystal("Cu", "Au", 3.6), [-1.0, -1.2]))  # 1.2^3 = 1.73
    assert blown[0] == "failed"
    assert "factor of 1.73" in blown[1]
    assert _judged(before, relaxation(crystal("Cu", "Au", 2.5), [-1.0, -1.2]))[0] == "failed"
    rise = [-1.0, -1.0 + 2 * 1.1 * MAX_RISE]  # two atoms
    assert _judged(before, relaxation(before, rise)) == (
        "unconverged",
        "the energy rose by 0.0055 eV/atom along the relaxation",
    )
    assert _judged(before, relaxation(before, [-1.0, -1.0 + 2 * 0.9 * MAX_RISE]))[0] == "finished"
    assert _judged(before, relaxation(before, [-1.0], state="failed"))[0] == "unconverged"
    vasp = {"ionic_steps": [{"e_0_energy": -1.0}, {"e_0_energy": -0.5}]}
    assert _judged(before, relaxation(before, [-1.0]) | {"output": {}, "calcs_reversed": [{"output": vasp}]})[0] == (
        "unconverged"
    )
    four = before.copy()
    four.make_supercell([2, 1, 1])
    assert _judged(four, relaxation(before, [-1.0]))[0] == "finished"  # a smaller cell of the same crystal


def vasp_entry(structure, energy, **parameters):
    symbols = {"Mg": "PBE Mg_pv", "O": "PBE O", "V": "PBE V_pv", "S": "PBE S", "Al": "PBE Al"}
    spec = [{"titel": f"PAW_{symbols[e.symbol]} 06Sep2000", "hash": None} for e in structure.composition.elements]
    values = {"run_type": "GGA", "is_hubbard": False, "hubbards": {}, "potcar_spec": spec} | parameters
    return {"output": {"energy": energy}, "entry": ComputedEntry(structure.composition, energy, parameters=values)}


@pytest.mark.parametrize(("formula", "per_anion"), [("MgO", -0.687), ("MgS", -0.503)])
def test_mp2020_corrects_anions(formula, per_anion):
    # Wang et al. 2021 (doi:10.1038/s41598-021-94550-5), Table 1: oxides -0.687, sulfides -0.503 eV per anion.
    structure = prototype_structure(formula)
    anions = len(structure) / 2
    energy, correction = corrected_energy(vasp_entry(structure, -50.0), structure, "MP2020")
    assert correction == pytest.approx(per_anion * anions)
    assert energy == pytest.approx(-50.0 + per_anion * anions)


def test_mp2020_leaves_elements_alone_and_refuses_what_does_not_fit():
    element = elemental_ground_states()["Al"]
    assert corrected_energy(vasp_entry(element, -3.7), element, "MP2020") == pytest.approx((-3.7, 0.0))
    structure = prototype_structure("MgO")
    with pytest.raises(InputError, match="corrections do not fit the calculation of MgO"):
        corrected_energy(vasp_entry(structure, -50.0, run_type="R2SCAN"), structure, "MP2020")
    with pytest.raises(InputError, match="no entry to correct"):
        corrected_energy({"output": {"energy": -1.0}}, structure, "MP2020")
    with pytest.raises(InputError, match="no correction 'magic'"):
        corrected_energy(vasp_entry(structure, -50.0), structure, "magic")


def test_no_correction_is_no_correction():
    structure = prototype_structure("MgO")
    assert corrected_energy(vasp_entry(structure, -50.0), structure, None) == (-50.0, 0.0)


def test_an_element_that_did_not_converge_is_no_reference(crystal, emt, store, tmp_path):
    swollen = Structure(Lattice.cubic(4.4), ["Cu"] * 4, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    emt.relax_maker.steps = 2
    emt.elements = {"Cu": swollen}
    found = run(emt.make(crystal("Cu", "Au", 3.03)), store, tmp_path)
    assert (found.state, found.formation_energy_per_atom) == ("failed", None)
    assert "no energy of the element" in found.reason
    assert "Cu (the relaxation used up its steps)" in found.reason
    assert "Cu relax" in found.task_ids


def test_an_energy_that_is_no_number_is_no_energy(crystal, store, tmp_path):
    maker = FormationEnergyMaker(relax_maker=None, static_maker=NanMaker(), engine="nan", packages=[])
    found = run(maker.make(crystal("Cu", "Au", 3.03)), store, tmp_path)
    assert (found.state, found.reason) == ("failed", "the static calculation gave no result")


def test_settings_that_were_changed_later_are_recorded(crystal, emt, store, tmp_path):
    flow = emt.make(crystal("Cu", "Au", 3.05))
    flow.update_maker_kwargs({"steps": 3}, class_filter=EmtRelaxMaker)
    assert run(flow, store, tmp_path).engine.settings["relax"]["steps"] == 3
