"""Equilibrium volumes: what the model sees has no scale, and what it says is a volume."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.structures import to_arrays
from icsg3d.errors import InputError
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.properties import PropertyModel, PropertyModelConfig
from icsg3d.models.volume import (
    REFERENCE_VOLUME,
    VOLUME,
    VOLUME_FORMAT,
    load_volume_model,
    save_volume_model,
    volume_per_atom,
    without_scale,
)
from icsg3d.pretrained import available
from icsg3d.properties.predictor import shipped_properties
from icsg3d.properties.volume import VolumePredictor, at_volume
from icsg3d.representation.graphs import GraphConfig
from icsg3d.training.volumes import shaken, volume_set


def rock_salt(edge, species=("Na", "Cl")):
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), list(species), [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def predictor():
    torch.manual_seed(0)
    network = CrystalGraphConfig(layers=2, width=8, hidden=8)
    config = PropertyModelConfig(VOLUME, network, members=2, mean=1.3, scale=0.2, elements=(11, 17), spread_floor=0.01)
    return VolumePredictor(PropertyModel(config))


def test_volume_and_reference():
    crystal = to_arrays(rock_salt(5.64))
    assert volume_per_atom(crystal) == pytest.approx(5.64**3 / 8)  # 22.43
    scaled = without_scale(crystal)
    assert volume_per_atom(scaled) == pytest.approx(REFERENCE_VOLUME)
    assert np.linalg.norm(scaled.lattice[0]) == pytest.approx(160 ** (1 / 3))
    assert (scaled.frac_coords == crystal.frac_coords).all()


def test_scale_does_not_matter_and_elements_do(predictor):
    found = predictor.predict([rock_salt(edge) for edge in (4.0, 5.64, 9.0)] + [rock_salt(5.64, ("K", "Cl"))])
    assert found.values[:3] == pytest.approx(found.values[0], rel=1e-5)
    assert abs(found.values[3] / found.values[0] - 1) > 1e-4
    assert found.unseen == ((), (), (), ("K",))
    # The learned scale is the decadic logarithm: 0.01 of it where the two members agree, and more where they do not.
    assert (found.stds >= 0.0099 * math.log(10) * found.values).all()


def test_atoms_may_be_nearer_than_in_a_material_since_the_scale_is_not_the_crystal_s(predictor):
    close = rock_salt(2.6)  # atoms at 0.485 of the sum of their radii
    with pytest.raises(InputError, match=r"1\.3 angstrom apart, and 1.34 is the least"):
        to_arrays(close)
    assert predictor.predict([close]).values == pytest.approx(predictor.predict([rock_salt(5.64)]).values, rel=1e-5)


def test_settled_crystals_have_the_predicted_volume(predictor):
    given = rock_salt(4.0)
    settled = predictor.settle([given])[0]
    assert settled.volume / 8 == pytest.approx(predictor.predict([given]).values[0], rel=1e-5)
    assert settled.lattice.angles == pytest.approx((90, 90, 90))
    assert given.lattice.a == 4.0


def test_what_has_no_graph_has_no_volume(predictor):
    alone = Structure(Lattice.orthorhombic(1, 1, 400), ["Na"], [[0, 0, 0]])
    disordered = Structure(Lattice.cubic(3), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    found = predictor.predict([disordered, rock_salt(5.64), alone])
    assert np.isnan(found.values[0])
    assert np.isfinite(found.values[1])
    assert predictor.settle([disordered]) == [None]
    assert len(found) == 3
    assert predictor.predict([]).values.shape == (0,)


def test_at_volume_refuses_nonsense():
    with pytest.raises(InputError, match="above 0 cubic angstrom, got -1"):
        at_volume(rock_salt(5), -1)


def test_models_are_read_back_and_are_no_property_models(predictor, tmp_path):
    digest = save_volume_model(predictor.model, tmp_path)
    model, again = load_volume_model(tmp_path)
    assert again == digest
    assert model.config == predictor.model.config
    given = [rock_salt(5.64)]
    assert VolumePredictor(model).predict(given).values == pytest.approx(predictor.predict(given).values)
    assert not set(available(VOLUME_FORMAT)) & set(shipped_properties())


def test_shaking_keeps_volume_and_elements_and_is_repeatable():
    crystal = to_arrays(rock_salt(5.64))
    first, second = (shaken(crystal, np.random.default_rng((0, n))) for n in (1, 1))
    assert volume_per_atom(first) == pytest.approx(volume_per_atom(crystal))
    assert (first.lattice == second.lattice).all()
    assert (first.numbers == crystal.numbers).all()
    moves = (first.frac_coords - crystal.frac_coords) @ first.lattice
    assert 0 < np.abs(moves).max() < 0.6
    assert 0 < np.abs(first.lattice - crystal.lattice).max() < 1.0
    sizes = [
        np.std((shaken(crystal, np.random.default_rng(n)).frac_coords - crystal.frac_coords) * 5.64) for n in range(200)
    ]
    assert np.mean(sizes) == pytest.approx(0.05, rel=0.15)  # uniform up to 0.1


def test_sets_hold_true_volumes_and_graphs_without_scale():
    crystals = [to_arrays(rock_salt(edge)) for edge in (4.0, 5.64)]
    salt = crystals[1]  # and with 3375 cubic angstrom per atom
    crystals.append(CrystalArrays(salt.numbers, salt.frac_coords, 30.0 / 5.64 * salt.lattice))
    made = volume_set(crystals, list("abc"), ["NaCl"] * 3, GraphConfig(), scale=2)
    assert made.ids == ["a", "b"]
    assert made.values == pytest.approx([8.0, 5.64**3 / 8])
    assert (made.scales == 2).all()
    half = 160 ** (1 / 3) / 2
    assert made.graphs.distances[:6] == pytest.approx(half, rel=1e-5)
    shook = volume_set(crystals, list("abc"), ["NaCl"] * 3, GraphConfig(), shake=0)
    assert shook.values == pytest.approx(made.values)
    assert np.ptp(shook.graphs.distances[:6]) > 1e-3
    with pytest.raises(InputError, match="none of 1 crystals"):
        volume_set(crystals[2:], ["c"], ["NaCl"], GraphConfig())


def test_configuration_of_another_format_is_refused(predictor, tmp_path):
    from icsg3d.models.properties import save_property_model

    save_property_model(PropertyModel(dataclasses.replace(predictor.model.config, members=1)), tmp_path)
    with pytest.raises(InputError, match="is not the configuration of an icsg3d volume"):
        VolumePredictor.from_pretrained(tmp_path)
