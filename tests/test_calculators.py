from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.calculators import CrystalGraphCalculator
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.properties import PropertyModel, PropertyModelConfig, save_property_model
from icsg3d.models.targets import PROPERTIES
from icsg3d.properties.predictor import PropertyPredictor


@pytest.fixture
def atoms():
    return AseAtomsAdaptor.get_atoms(prototype_structure("SrTiO3"), msonable=False)


def test_energy_is_the_prediction_times_the_atoms(atoms):
    atoms.calc = CrystalGraphCalculator()
    found = PropertyPredictor.from_pretrained("formation_energy_per_atom").predict(atoms)
    assert atoms.get_potential_energy() == pytest.approx(5 * found.values[0], rel=1e-6)
    assert atoms.calc.results["energy_std"] == pytest.approx(5 * found.stds[0], rel=1e-6)


def test_a_supercell_has_the_energy_of_its_cells(atoms):
    atoms.calc = CrystalGraphCalculator()
    double = atoms * (2, 1, 1)
    double.calc = CrystalGraphCalculator()
    assert double.get_potential_energy() == pytest.approx(2 * atoms.get_potential_energy(), rel=1e-5)


def test_energy_follows_the_atoms(atoms):
    atoms.calc = CrystalGraphCalculator()
    before = atoms.get_potential_energy()
    atoms.set_cell(atoms.cell * 1.05, scale_atoms=True)
    assert abs(atoms.get_potential_energy() - before) > 1e-3


def shaken(atoms):
    atoms = atoms * (1, 1, 1)
    atoms.rattle(0.1, seed=0)
    strain = np.array([[0.02, 0.03, 0], [0, -0.01, 0.02], [0, 0, 0.01]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.calc = CrystalGraphCalculator()
    return atoms


def test_forces_are_the_slopes_of_the_energy(atoms):
    atoms = shaken(atoms)
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 0.5
    for atom, axis in ((0, 0), (3, 2)):
        energies = []
        for step in (-0.01, 0.01):
            moved = atoms.copy()
            moved.positions[atom, axis] += step
            moved.calc = atoms.calc
            energies.append(moved.get_potential_energy())
        assert forces[atom, axis] == pytest.approx((energies[0] - energies[1]) / 0.02, abs=0.02)
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-4)


def test_stress_is_the_slope_of_the_energy_by_the_strain(atoms):
    atoms = shaken(atoms)
    stress = atoms.get_stress(voigt=False)
    for i, j in ((0, 0), (1, 2)):
        energies = []
        for step in (-0.002, 0.002):
            strain = np.zeros((3, 3))
            strain[i, j] += step / 2
            strain[j, i] += step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            strained.calc = atoms.calc
            energies.append(strained.get_potential_energy())
        slope = (energies[1] - energies[0]) / 0.004 / atoms.get_volume()
        assert stress[i, j] == pytest.approx(slope, rel=0.03, abs=2e-4)


def test_energy_and_its_uncertainty_are_the_same_with_forces(atoms):
    atoms.calc = CrystalGraphCalculator()
    alone = atoms.get_potential_energy(), atoms.calc.results["energy_std"]
    atoms.get_forces()
    assert (atoms.get_potential_energy(), atoms.calc.results["energy_std"]) == pytest.approx(alone, rel=1e-6)


def test_a_cubic_perovskite_has_no_forces_and_an_isotropic_stress(atoms):
    atoms.calc = CrystalGraphCalculator()
    np.testing.assert_allclose(atoms.get_forces(), 0, atol=1e-5)
    stress = atoms.get_stress()
    np.testing.assert_allclose(stress, [stress[0]] * 3 + [0] * 3, atol=1e-6)


def test_more_atoms_than_fit_one_matrix_have_the_same_forces(atoms, monkeypatch):
    atoms = shaken(atoms)
    forces = atoms.get_forces()
    monkeypatch.setattr("icsg3d.representation.environments._DENSE_ATOMS", 4)
    again = atoms.copy()
    again.calc = CrystalGraphCalculator()
    np.testing.assert_allclose(again.get_forces(), forces, atol=1e-5)


@pytest.mark.parametrize("ask", ["get_forces", "get_stress"])
def test_without_a_surface_forces_are_ases_own_error(atoms, ask, tmp_path):
    property_ = PROPERTIES["formation_energy_per_atom"]
    model = PropertyModel(
        PropertyModelConfig(property_, CrystalGraphConfig(), mean=0.0, scale=1.0, elements=(8, 22, 38))
    )
    save_property_model(model, tmp_path / "model")
    atoms.calc = CrystalGraphCalculator(str(tmp_path / "model"))
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError):
        getattr(atoms, ask)()
