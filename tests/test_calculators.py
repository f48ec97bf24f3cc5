from __future__ import annotations

import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.calculators import CrystalGraphCalculator
from icsg3d.generation.prototypes import prototype_structure
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


@pytest.mark.parametrize("ask", ["get_forces", "get_stress"])
def test_forces_are_ases_own_error(atoms, ask):
    atoms.calc = CrystalGraphCalculator()
    with pytest.raises(PropertyNotImplementedError):
        getattr(atoms, ask)()
