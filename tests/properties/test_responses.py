"""What is made of a network's energies: against values worked out by hand and by the predictor."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp

from icsg3d.generation.prototypes import prototype_structure
from icsg3d.properties import responses
from icsg3d.properties.predictor import PropertyPredictor, graph_of
from icsg3d.representation.description import batch_of


@pytest.fixture(scope="module")
def predictor():
    return PropertyPredictor.from_pretrained("formation_energy_per_atom")


@pytest.fixture(scope="module")
def config(predictor):
    return predictor.model.config.network.graph


@pytest.fixture(scope="module")
def crystal():
    """A crystal without symmetry."""
    perturbed = prototype_structure("SrTiO3").copy()
    moved = np.random.default_rng(0).normal(scale=0.02, size=(len(perturbed), 3))
    return Structure(perturbed.lattice, perturbed.species, perturbed.frac_coords + moved)


def turned(crystal):
    other = crystal.copy()
    other.apply_operation(SymmOp.from_axis_angle_and_translation([1, 2, 0.5], 37))
    return other


def energy(predictor, crystals):
    graphs = [graph_of(each, predictor.model.config.network.graph) for each in crystals]
    return responses.mean_energies(predictor, graphs)


# Strains and stiffness


def test_strains_are_orthogonal_and_the_first_alone_changes_the_volume():
    pairs = responses.strains().reshape(6, 2, 3, 3)
    np.testing.assert_allclose(pairs[:, 0], -pairs[:, 1])
    units = pairs[:, 1].reshape(6, 9) / np.array(responses.STRAINS)[:, None]
    np.testing.assert_allclose(units @ units.T, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(np.trace(units.reshape(6, 3, 3), axis1=1, axis2=2), [np.sqrt(3)] + [0.0] * 5, atol=1e-12)


def test_stiffness_of_a_cubic_crystal_with_known_constants():
    """Of tungsten-like constants: K = (C11 + 2 C12) / 3 and G = (C11 - C12 + 3 C44) / 5, by Voigt."""
    first, second, fourth, volume, still = 501.0, 198.0, 151.0, 16.0, -3.0
    pressure, sheared = 7.0, 2.0
    found = []
    for strain in responses.strains():
        diagonal, off = np.diag(strain), np.array([strain[1, 2], strain[0, 2], strain[0, 1]])
        density = first / 2 * (diagonal**2).sum() + fourth / 2 * (4 * off**2).sum()
        density += second * (diagonal[0] * diagonal[1] + diagonal[1] * diagonal[2] + diagonal[0] * diagonal[2])
        density += -pressure * diagonal.sum() + sheared * (strain[0, 1] + strain[1, 0])
        found.append(still + density * volume / 160.21766)
    made = responses.stiffness(np.array([still]), np.array([found]), np.array([volume]))[0]
    expected = [(first + 2 * second) / 3, (first - second + 3 * fourth) / 5, pressure, sheared * np.sqrt(2)]
    np.testing.assert_allclose(made, expected, rtol=1e-6)


def test_bulk_stiffness_is_the_curvature_of_predicted_energies(predictor, config):
    crystal = prototype_structure("MgO")
    stretch = 0.09 / np.sqrt(3)  # of each edge: a strain of norm 0.09
    energies = []
    for factor in (1 - stretch, 1.0, 1 + stretch):
        copy = crystal.copy()
        copy.scale_lattice(crystal.volume * factor**3)
        energies.append(float(predictor.predict(copy).values[0]) * len(crystal))
    second = (energies[0] - 2 * energies[1] + energies[2]) / stretch**2
    slope = (energies[2] - energies[0]) / (2 * stretch)
    found = responses.energy_features(predictor, [responses.probe(crystal, config)])[0]
    numbers = dict(zip((*responses.ATOMS, *responses.STIFFNESS, *responses.EXCHANGES), found, strict=True))
    # E(e) of a cell whose edges are 1 + e times as long: E'' = 9 K V and E' = -3 p V
    assert numbers["bulk_stiffness"] == pytest.approx(160.21766 * second / (9 * crystal.volume), rel=0.01)
    assert numbers["pressure"] == pytest.approx(-160.21766 * slope / (3 * crystal.volume), abs=0.02)
    assert numbers["shear_stress"] == pytest.approx(0.0, abs=0.3)


# Atoms, exchanges, layers


def test_atoms_energies_make_up_the_prediction(predictor, config, crystal):
    given = [prototype_structure("Fe2VAl"), prototype_structure("NaCl"), crystal]  # the largest first
    atoms = responses.atomic_energies(predictor, [graph_of(each, config) for each in given])
    assert [len(each) for each in atoms] == [len(each) for each in given]
    np.testing.assert_allclose([each.mean() for each in atoms], predictor.predict(given).values, atol=1e-5)


def test_an_exchange_costs_what_the_exchanged_crystal_is_predicted_to(predictor, config):
    crystal = prototype_structure("NaCl")
    sulphide, magnesium = crystal.copy(), crystal.copy()
    sulphide.replace_species({"Cl": "S"})
    magnesium.replace_species({"Na": "Mg"})
    still, before, after = energy(predictor, [crystal, sulphide, magnesium])
    found = responses.exchanges(predictor, [graph_of(crystal, config)], np.array([still]))[0]
    hole, electron = 2 * (before - still), 2 * (after - still)
    expected = [hole, before - still, hole, electron, after - still, electron, hole + electron]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_least_and_greatest_cost_are_of_the_elements_apart(predictor, config, crystal):
    costs = []
    for old, new in (("Sr", "Y"), ("Ti", "V"), ("O", "F")):
        other = crystal.copy()
        other.replace_species({old: new})
        apart = energy(predictor, [other])[0] - energy(predictor, [crystal])[0]
        costs.append((apart, apart / crystal.composition.get_atomic_fraction(old)))
    found = responses.exchanges(predictor, [graph_of(crystal, config)], energy(predictor, [crystal]))[0]
    whole, each = np.array(costs).T
    np.testing.assert_allclose(found[3:6], [each.min(), whole.mean(), each.max()], atol=1e-9)


def test_without_neighbours_in_the_periodic_table_an_exchange_costs_nothing(predictor, config):
    argon = Structure(Lattice.cubic(5.3), ["Ar"] * 4, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    chlorine_and_potassium = responses.exchanges(predictor, [graph_of(argon, config)], energy(predictor, [argon]))
    assert (chlorine_and_potassium[0] != 0).all()
    sodium = Structure(Lattice.cubic(4.3), ["Na"] * 2, [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = responses.exchanges(predictor, [graph_of(sodium, config)], energy(predictor, [sodium]))[0]
    assert found[:3].tolist() == [0, 0, 0]
    assert (found[3:6] != 0).all()
    no_one = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(elements=())))
    assert not responses.exchanges(no_one, [graph_of(sodium, config)], np.zeros(1)).any()


def test_the_last_layers_coordinates_are_those_of_the_uncertainty(predictor, config, crystal):
    given = [crystal, prototype_structure("NaCl")]
    graphs = [graph_of(each, config) for each in given]
    found = responses.layers(predictor, graphs)
    network, uncertainty = predictor.model.members[0], predictor.model.uncertainty
    with torch.no_grad():
        expected = uncertainty.coordinates(network.embed(batch_of(graphs))).numpy()
    width = uncertainty.config.directions
    np.testing.assert_allclose(found[:, -width:], expected, rtol=1e-5, atol=1e-6)
    assert found.shape == (2, len(responses.layer_labels(predictor.model))) == (2, 3 * width)
    assert not np.allclose(found[:, :width], found[:, -width:], atol=0.1)


# Invariance


@pytest.mark.parametrize("change", ["turned", "moved", "doubled", "in another order"])
def test_the_choice_of_the_cell_changes_nothing(predictor, config, crystal, change):
    other = crystal.copy()
    if change == "turned":
        other = turned(crystal)
    elif change == "moved":
        other.translate_sites(list(range(len(other))), [0.1, 0.2, 0.3])
    elif change == "doubled":
        other.make_supercell([2, 1, 1])
    else:
        other = Structure.from_sites(other.sites[::-1])
    probes = [responses.probe(each, config) for each in (crystal, other)]
    first, second = responses.energy_features(predictor, probes)
    # a change of shape of finite size knows of directions in the fourth order
    np.testing.assert_allclose(first, second, rtol=1e-2 if change == "turned" else 2e-4, atol=2e-2)
    first, second = responses.layers(predictor, [each.still for each in probes])
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
