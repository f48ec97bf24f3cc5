"""Crystals at the minimum of the predicted energy."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from icsg3d.errors import InputError
from icsg3d.properties import relaxing
from icsg3d.properties.equilibrium import energy_minimum, scaled
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.relaxing import LARGEST_FORCE, relaxed
from icsg3d.properties.surface import EnergySurface


@pytest.fixture(scope="module")
def energy():
    return PropertyPredictor.from_pretrained("formation_energy_per_atom")


@pytest.fixture(scope="module")
def surface(energy):
    return EnergySurface(energy.model)


def rutile(u=0.305, a=4.6, c=2.96):
    return Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(a, c), ["Ti", "O"], [[0, 0, 0], [u, u, 0]])


def group(structure):
    return SpacegroupAnalyzer(structure, 0.01).get_space_group_number()


def test_a_simple_cell_ends_where_a_scan_of_its_volume_has_the_minimum(energy, surface):
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.3), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    salt = salt.get_primitive_structure()
    found = relaxed(salt, surface)
    expected = scaled(salt, energy_minimum(salt, energy))
    assert found.structure.volume == pytest.approx(expected.volume, rel=0.01)
    assert found.moved < 1e-4  # all its atoms are where symmetry holds them
    assert group(found.structure) == 225


def test_sites_that_are_off_come_back_and_symmetry_is_kept(surface):
    begun = rutile(u=0.33, a=4.7, c=2.9)
    found = relaxed(begun, surface)
    again = relaxed(rutile(), surface)
    assert group(found.structure) == group(begun) == 136
    assert found.structure.lattice.abc == pytest.approx(again.structure.lattice.abc, rel=0.01)
    first, second = (each.structure.distance_matrix for each in (found, again))
    np.testing.assert_allclose(first, second, atol=0.02)
    shift = found.structure.frac_coords - begun.frac_coords
    shift = np.linalg.norm((shift - np.round(shift)) @ found.structure.lattice.matrix, axis=1)
    assert found.moved == pytest.approx(np.sqrt((shift**2).mean()), rel=1e-3)
    assert 0.05 < found.moved < 0.3
    point = surface.at(
        np.array(found.structure.atomic_numbers), found.structure.cart_coords, found.structure.lattice.matrix
    )
    assert np.linalg.norm(point.forces, axis=1).max() < LARGEST_FORCE


def test_the_energy_falls_and_the_crystal_given_stays(energy, surface):
    begun = rutile(u=0.32)
    copy = begun.copy()
    found = relaxed(begun, surface).structure
    assert begun == copy
    before, after = energy.predict([begun, found]).values
    assert after < before - 0.01
    assert [site.specie for site in found] == [site.specie for site in begun]


def test_the_same_crystal_ends_at_the_same_place_to_the_last_bit(surface):
    one, other = (relaxed(rutile(u=0.32), surface).structure for _ in range(2))
    assert (one.frac_coords == other.frac_coords).all()
    assert (one.lattice.matrix == other.lattice.matrix).all()


def test_steps_bound_the_work(surface, monkeypatch):
    asked = []
    at = surface.at
    monkeypatch.setattr(surface, "at", lambda *given: asked.append(1) or at(*given))
    relaxed(rutile(u=0.35), surface, steps=3)
    assert len(asked) == 4


@pytest.mark.parametrize(("name", "value"), [("_VOLUMES", (0.99, 1.01)), ("MIN_DISTANCE", 2.5)])
def test_what_is_led_astray_is_none(surface, monkeypatch, name, value):
    begun = rutile(a=4.8, c=3.1)
    assert relaxed(begun, surface) is not None
    monkeypatch.setattr(relaxing, name, value)
    assert relaxed(begun, surface) is None


def test_an_energy_that_does_not_fall_is_none(surface, monkeypatch):
    at, energies = surface.at, iter(range(100))
    monkeypatch.setattr(surface, "at", lambda *given: at(*given)._replace(energy=float(next(energies))))
    assert relaxed(rutile(u=0.32), surface, steps=3) is None


def test_forces_that_are_no_numbers_are_none(surface, monkeypatch):
    at = surface.at
    monkeypatch.setattr(surface, "at", lambda *given: at(*given)._replace(forces=np.full((6, 3), np.nan)))
    assert relaxed(rutile(u=0.32), surface) is None


def test_a_lonely_atom_has_no_forces(surface):
    point = surface.at(np.array([18]), np.zeros((1, 3)), 20 * np.eye(3))
    assert np.isfinite(point.energy)
    assert np.abs(point.forces).max() == 0
    assert np.abs(point.stress).max() == 0


def test_only_energies_have_a_surface():
    gaps = PropertyPredictor.from_pretrained("band_gap").model
    with pytest.raises(InputError, match="band_gap gives no forces"):
        EnergySurface(gaps)
