from __future__ import annotations

import numpy as np
import pytest
import torch

from icsg3d import refining
from icsg3d.arrays import CrystalArrays, CrystalBatch
from icsg3d.generator import CrystalGenerator
from icsg3d.prototypes import prototype_structure
from icsg3d.refining import refined_latents
from icsg3d.training.metrics import Rebuilt

UNKNOWN = torch.tensor([-1])


@pytest.fixture(scope="module")
def cubic():
    return CrystalGenerator.from_pretrained("cubic")


@pytest.fixture(scope="module")
def strontium_titanate(cubic):
    return cubic.prepare(prototype_structure("SrTiO3"))[0]


def batch(*crystals: CrystalArrays) -> CrystalBatch:
    return CrystalBatch.from_arrays(list(crystals))


def test_what_comes_back_is_left_alone(cubic, strontium_titanate):
    latent = torch.as_tensor(cubic.encode_arrays([strontium_titanate], UNKNOWN))
    assert torch.equal(refined_latents(cubic.network, batch(strontium_titanate), UNKNOWN, latent), latent)


def test_a_vector_of_another_crystal_is_led_to_the_one_wanted(cubic, strontium_titanate):
    other = cubic.prepare(prototype_structure("CaTiO3"))[0]
    latent = torch.as_tensor(cubic.encode_arrays([strontium_titanate, other], torch.tensor([-1, -1])))
    crystals = batch(strontium_titanate, strontium_titanate)
    found = refined_latents(cubic.network, crystals, torch.tensor([-1, -1]), latent)
    assert torch.equal(found[0], latent[0])
    assert not torch.equal(found[1], latent[1])
    decoded = cubic.decode(found[1:].numpy())[0].structure
    assert decoded.composition.reduced_formula == "SrTiO3"
    assert cubic.decode(latent[1:].numpy())[0].structure.composition.reduced_formula == "CaTiO3"


def test_a_vector_does_not_depend_on_its_company(cubic, strontium_titanate):
    other = cubic.prepare(prototype_structure("NaCl"))[0]
    wrong = torch.as_tensor(cubic.encode_arrays([cubic.prepare(prototype_structure("CaTiO3"))[0]], UNKNOWN))
    crystals, latent, unknown = batch(strontium_titanate, other), torch.cat([wrong, wrong]), torch.tensor([-1, -1])
    together = refined_latents(cubic.network, crystals, unknown, latent)
    alone = refined_latents(cubic.network, batch(strontium_titanate), UNKNOWN, wrong)
    assert not torch.equal(together[:1], wrong)
    assert torch.equal(together[:1], alone)


def test_the_network_keeps_its_weights_and_gets_no_gradients(cubic, strontium_titanate):
    before = {name: value.clone() for name, value in cubic.network.state_dict().items()}
    latent = torch.zeros(1, cubic.network.config.vae.latent)
    refined_latents(cubic.network, batch(strontium_titanate), UNKNOWN, latent)
    assert all(torch.equal(before[name], value) for name, value in cubic.network.state_dict().items())
    assert all(parameter.grad is None for parameter in cubic.network.parameters())
    assert not latent.any()


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [((1, 0, 0), (1, 1, 0), True), ((1, 1, 0), (1, 0, 0), False), ((0, 0, 0), (0, 0, 0), False)],
)
def test_a_vector_moves_only_if_more_comes_back(cubic, strontium_titanate, monkeypatch, before, after, kept):
    results = iter([[Rebuilt(*map(bool, before))], [Rebuilt(*map(bool, after))]])
    monkeypatch.setattr(refining, "_judged", lambda *_: next(results))
    monkeypatch.setattr(refining, "STEPS", 1)
    latent = torch.zeros(1, cubic.network.config.vae.latent)
    found = refined_latents(cubic.network, batch(strontium_titanate), UNKNOWN, latent)
    assert bool(found.any()) == kept


def test_located_crystals_are_their_means_where_these_decode_to_them(cubic):
    crystals = [prototype_structure(formula) for formula in ("SrTiO3", "NaCl")]
    assert np.array_equal(cubic.locate(crystals), cubic.encode(crystals))
