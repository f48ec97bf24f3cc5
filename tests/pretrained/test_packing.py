"""How a trained network becomes a model folder, and how shipped models are found."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from icsg3d import pretrained
from icsg3d.crystals.structures import to_arrays
from icsg3d.errors import InputError
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.density import LatentDensity
from icsg3d.models.encoding import encode_posteriors
from icsg3d.models.generator import GeneratorNetwork
from icsg3d.models.properties import PropertyModel, PropertyModelConfig, load_property_model
from icsg3d.models.targets import PROPERTIES
from icsg3d.pretrained.packing import TrainingRecord, fit_density, pack_property_model
from icsg3d.properties.predictor import PropertyPredictor, shipped_properties
from icsg3d.representation.graphs import GraphSet, crystal_graph
from icsg3d.training.data import PropertySet
from icsg3d.training.flow import FlowOptions

QUICK = FlowOptions(steps=20, width=16)
GATED = CrystalGraphConfig.preset("gated", layers=2, width=8, hidden=8)
CRYSTALS = [prototype_structure(formula) for formula in ("NaCl", "CsCl", "SrTiO3")]


def make(name="band_gap"):
    torch.manual_seed(len(name))
    settings = {"members": 2, "mean": 1.5, "scale": 2.0, "elements": (8, 11, 17, 22, 38, 55), "spread_floor": 0.1}
    return PropertyModel(PropertyModelConfig(PROPERTIES[name], GATED, **settings))


# Property models


def pack(folder, name="band_gap"):
    graphs = GraphSet.from_graphs([crystal_graph(to_arrays(crystal)) for crystal in CRYSTALS])
    formulas = [crystal.composition.reduced_formula for crystal in CRYSTALS]
    crystals = PropertySet(graphs, np.arange(3.0), ["mp-1", "mp-2", "mp-3"], formulas, np.zeros(3, dtype=int))
    files = [{"name": "gaps.json.gz", "role": "training", "sha256": "ab" * 32, "rows": 3}]
    record = TrainingRecord("icsg3d train property ...", files, {"seed": 0}, 1800.0, "a test", {"mae": 0.25})
    return pack_property_model(make(name), crystals, folder, record, "Licence: none.\n")


def test_a_packed_model_predicts(tmp_path):
    digest = pack(tmp_path / "model")
    names = {"config.json", "weights.safetensors", "README.md", "training.json", "training_crystals.csv.gz"}
    assert {path.name for path in (tmp_path / "model").iterdir()} == names
    predictor = PropertyPredictor.from_pretrained(tmp_path / "model")
    assert predictor.digest == digest
    assert predictor.property == PROPERTIES["band_gap"]
    assert pretrained.training_formulas(tmp_path / "model") == {"NaCl", "CsCl", "SrTiO3"}
    expected = PropertyPredictor(load_property_model(tmp_path / "model")[0]).predict(CRYSTALS)
    assert PropertyPredictor.from_pretrained(str(tmp_path / "model")).predict(CRYSTALS).values == pytest.approx(
        expected.values
    )
    exact = PropertyPredictor(make()).predict(CRYSTALS)
    assert expected.values == pytest.approx(exact.values, abs=0.02)  # 16 bits


def test_the_card_tells_what_is_predicted(tmp_path):
    digest = pack(tmp_path)
    card = (tmp_path / "README.md").read_text()
    for text in ("`band_gap` in eV", digest, "gaps.json.gz", "| mae | 0.25 |", "2 networks of 2", "Licence: none."):
        assert text in card
    parameters = sum(parameter.numel() for parameter in make().parameters())
    assert f"{parameters:,} parameters" in card
    assert "0.50 hours" in card


def test_shipped_models_are_found_by_name(tmp_path, monkeypatch, tiny_model):
    pack(tmp_path / "band_gap")
    pack(tmp_path / "bulk_modulus", "bulk_modulus")
    shutil.copytree(tiny_model, tmp_path / "cubic")
    monkeypatch.setattr(pretrained, "_FOLDER", tmp_path)
    assert shipped_properties() == ["band_gap", "bulk_modulus"]
    assert PropertyPredictor.from_pretrained("bulk_modulus").property.unit == "GPa"
    with pytest.raises(InputError, match="no model 'cubic'; shipped are band_gap, bulk_modulus, or give a model's"):
        PropertyPredictor.from_pretrained("cubic")


# Shipped models


@pytest.mark.parametrize(("name", "most"), [("cubic", 48e6), ("materials", 60e6), ("perovskites", 48e6)])
def test_shipped_generators_have_cards_and_training_crystals_and_are_small(name, most):
    folder = pretrained.find(name)
    card = (folder / pretrained.CARD_FILE).read_text()
    assert CrystalGenerator.from_pretrained(name).digest in card
    assert "licence" in card.lower()
    assert len(pretrained.training_formulas(folder)) > 4000
    assert sum(path.stat().st_size for path in folder.iterdir()) < most


# The density of a generator


@pytest.fixture(scope="module")
def network(tiny_config):
    torch.manual_seed(0)
    return GeneratorNetwork(tiny_config).eval()


def test_a_density_is_fitted_to_what_the_network_makes_of_crystals(network, tiny_crystals, watched):
    bins = torch.tensor([0, 0, 0, 1, 1, 9, -1, -1, -1, -1, -1, -1])
    found = fit_density(network, tiny_crystals.crystals, bins, QUICK)
    assert found.shares == pytest.approx([1 / 4, 1 / 6, *[0] * 7, 1 / 12])
    assert watched["fitting the latent density"][-1] == (20, 20)
    latent = encode_posteriors(network, tiny_crystals.crystals, torch.full((12,), -1)).mean  # without the conditions
    assert found.flow.mean.numpy() == pytest.approx(latent.mean(0).numpy(), abs=1e-5)
    assert (found.flow.config.components, found.flow.config.width, found.flow.config.bins) == (6, 16, 11)
    stored = LatentDensity.from_tensors(found.tensors(8)).flow.state_dict()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in found.flow.state_dict().items())
    again = fit_density(network, tiny_crystals.crystals, bins, QUICK)
    other = fit_density(network, tiny_crystals.crystals, bins, dataclasses.replace(QUICK, seed=1))
    assert np.array_equal(again.sample(4, 1, 0), found.sample(4, 1, 0))
    assert not np.allclose(other.sample(4, 1, 0), found.sample(4, 1, 0))


def test_crystals_that_cannot_exchange_elements_and_have_no_energies_have_a_density(network, tiny_crystals):
    few = [tiny_crystals.crystals[0], tiny_crystals.crystals[1], tiny_crystals.crystals[7]]  # one of each kind
    found = fit_density(network, few, torch.full((3,), -1), QUICK)
    assert np.isfinite(found.sample(3, -1, 0)).all()
    with pytest.raises(InputError, match="bin 0"):
        found.sample(3, 0, 0)
