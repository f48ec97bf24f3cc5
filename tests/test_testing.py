"""The checks for model authors pass what is right and catch what is wrong."""

from __future__ import annotations

import pytest
import torch

from icsg3d import testing
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.properties import PropertyModel, PropertyModelConfig
from icsg3d.models.targets import PROPERTIES
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.representation.graphs import GraphBatch

STRUCTURES = [prototype_structure(formula) for formula in ("SrTiO3", "NaCl", "KMgF3")]


@pytest.fixture
def predictor():
    torch.manual_seed(0)
    network = CrystalGraphConfig.preset("gated", width=8, layers=1, hidden=8)
    return PropertyPredictor(PropertyModel(PropertyModelConfig(PROPERTIES["formation_energy_per_atom"], network, 2)))


def test_a_sound_predictor_passes(predictor):
    testing.check_predictor(predictor, STRUCTURES)


def test_without_masks_the_check_of_padding_fails(predictor, monkeypatch):
    every = property(lambda self: torch.ones_like(self.numbers, dtype=torch.bool))
    monkeypatch.setattr(GraphBatch, "node_mask", every)
    with pytest.raises(AssertionError, match="padded to 50 nodes"):
        testing.check_padding(predictor, STRUCTURES)


def test_a_predictor_that_counts_atoms_is_caught(predictor, monkeypatch):
    def embed(self, batch):
        return batch.node_mask.sum(1, keepdim=True).double().expand(-1, 8)

    monkeypatch.setattr("icsg3d.models.crystal_graph.CrystalGraphNet.embed", embed)
    with pytest.raises(AssertionError, match="a change of the cell"):
        testing.check_invariance(predictor, STRUCTURES)


def test_numbers_that_are_none_are_caught(predictor):
    with torch.no_grad():
        predictor.model.members[0].output.bias.fill_(float("nan"))
    with pytest.raises(AssertionError, match="not finite"):
        testing.check_finite(predictor, STRUCTURES)


@pytest.mark.slow
def test_the_shipped_generator_passes():
    testing.check_generator(CrystalGenerator.from_pretrained("cubic"), STRUCTURES[0])


@pytest.mark.slow
def test_a_generator_that_forgets_its_seed_is_caught(monkeypatch):
    generator = CrystalGenerator.from_pretrained("cubic")
    sample, seeds = generator.sample_around, iter(range(100))
    monkeypatch.setattr(generator, "sample_around", lambda s, n, seed: sample(s, n, seed=next(seeds)))
    with pytest.raises(AssertionError, match="the same seed gave another latent vector"):
        testing.check_generator(generator, STRUCTURES[0])


def test_changed_input_is_caught():
    structure = STRUCTURES[0].copy()
    with pytest.raises(AssertionError, match="the input was changed"):
        testing.check_untouched(lambda: structure.translate_sites([0], [0.1, 0, 0]), [structure])


def test_round_trip():
    back = testing.check_round_trip(Candidate(3, STRUCTURES[0], predictions={"band_gap": 1.0}))
    assert back.predictions == {"band_gap": 1.0}
    assert back.structure == STRUCTURES[0]
