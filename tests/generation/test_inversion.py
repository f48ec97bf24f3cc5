from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, centred, periodic_distances
from icsg3d.crystals.structures import from_arrays
from icsg3d.generation import inversion
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.inversion import inverted_latents
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.representation.voxels import VoxelConfig

UNKNOWN = torch.tensor([-1])
SIGNS = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
SHIFTS = np.array([[0, 0, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0]])
BEAU = CrystalArrays(
    np.array([4] * 4 + [79] * 4), np.concatenate([SIGNS * x + SHIFTS for x in (0.847, 0.155)]) % 1.0, 4.72 * np.eye(3)
)
"""BeAu in the FeSi structure, P2_13, each element on 4a."""
CARBON_MONOXIDE = CrystalArrays(
    np.array([6] * 4 + [8] * 4), np.concatenate([SIGNS * x + SHIFTS for x in (0.959, 0.070)]) % 1.0, 5.96 * np.eye(3)
)
"""Solid CO, the same sites: molecules with much empty space between them."""


def distances(crystal):
    found = periodic_distances(crystal.frac_coords, crystal.frac_coords, crystal.lattice)
    return np.where(np.eye(len(found), dtype=bool), np.inf, found)


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
    assert torch.equal(inverted_latents(cubic.space.network, batch(strontium_titanate), UNKNOWN, latent), latent)


@pytest.mark.slow
def test_a_vector_of_another_crystal_is_led_to_the_one_wanted(cubic, strontium_titanate):
    other = cubic.prepare(prototype_structure("CaTiO3"))[0]
    latent = torch.as_tensor(cubic.encode_arrays([strontium_titanate, other], torch.tensor([-1, -1])))
    crystals = batch(strontium_titanate, strontium_titanate)
    found = inverted_latents(cubic.space.network, crystals, torch.tensor([-1, -1]), latent)
    assert torch.equal(found[0], latent[0])
    assert not torch.equal(found[1], latent[1])
    decoded = cubic.decode(found[1:].numpy())[0].structure
    assert decoded.composition.reduced_formula == "SrTiO3"
    assert cubic.decode(latent[1:].numpy())[0].structure.composition.reduced_formula == "CaTiO3"


@pytest.mark.slow
def test_a_vector_does_not_depend_on_its_company(cubic, strontium_titanate, monkeypatch):
    monkeypatch.setattr(inversion, "STEPS", 20)
    other = cubic.prepare(prototype_structure("NaCl"))[0]
    wrong = torch.as_tensor(cubic.encode_arrays([cubic.prepare(prototype_structure("CaTiO3"))[0]], UNKNOWN))
    crystals, latent, unknown = batch(strontium_titanate, other), torch.cat([wrong, wrong]), torch.tensor([-1, -1])
    together = inverted_latents(cubic.space.network, crystals, unknown, latent)
    alone = inverted_latents(cubic.space.network, batch(strontium_titanate), UNKNOWN, wrong)
    assert not torch.equal(together[:1], wrong)
    assert torch.equal(together[:1], alone)


def test_the_network_keeps_its_weights_and_gets_no_gradients(cubic, strontium_titanate, monkeypatch):
    monkeypatch.setattr(inversion, "STEPS", 3)
    before = {name: value.clone() for name, value in cubic.space.network.state_dict().items()}
    latent = torch.zeros(1, cubic.space.network.config.vae.latent)
    inverted_latents(cubic.space.network, batch(strontium_titanate), UNKNOWN, latent)
    assert all(torch.equal(before[name], value) for name, value in cubic.space.network.state_dict().items())
    assert all(parameter.grad is None for parameter in cubic.space.network.parameters())
    assert not latent.any()


@pytest.mark.parametrize(
    ("before", "by_voxels", "by_atoms", "kept"),
    [
        ((1, -0.5), (2, -0.6), (1, -0.1), "voxels"),  # more counts before nearer
        ((1, -0.5), (1, -0.4), (2, -0.9), "atoms"),
        ((1, -0.5), (1, -0.4), (1, -0.3), "atoms"),
        ((1, -0.5), (1, -0.3), (1, -0.4), "voxels"),
        ((2, -0.5), (1, -0.1), (2, -0.6), "mean"),
        ((0, -math.inf), (0, -math.inf), (0, -math.inf), "mean"),
    ],
)
def test_the_vector_is_kept_from_which_the_most_comes_back(monkeypatch, before, by_voxels, by_atoms, kept):
    results = iter([[before], [by_voxels, by_atoms]])
    monkeypatch.setattr(inversion, "_judged", lambda *_: [inversion._Judgement(*values) for values in next(results)])
    monkeypatch.setattr(inversion, "_descend", lambda *_: torch.tensor([[1.0] * 3, [2.0] * 3]))
    network = SimpleNamespace(config=SimpleNamespace(voxels=VoxelConfig(grid=12)))
    found = inverted_latents(network, batch(BEAU), UNKNOWN, torch.zeros(1, 3))
    assert found.tolist() == [[{"mean": 0.0, "voxels": 1.0, "atoms": 2.0}[kept]] * 3]


def test_what_comes_back_is_judged_by_parts_and_by_distance():
    moved = CrystalArrays(BEAU.numbers, BEAU.frac_coords + np.array([0.01, 0, 0]), BEAU.lattice)
    fewer = CrystalArrays(BEAU.numbers[:-1], BEAU.frac_coords[:-1], BEAU.lattice)
    other = CrystalArrays(BEAU.numbers + 1, BEAU.frac_coords, BEAU.lattice)
    assert inversion._judgement(BEAU, BEAU) == (3, 0.0)
    assert inversion._judgement(BEAU, moved) == (3, pytest.approx(-2 * 0.01 * 4.72))
    assert inversion._judgement(BEAU, other) == (1, 0.0)
    lost = inversion._judgement(BEAU, fewer)
    assert lost.rank == 0
    assert lost.nearness == pytest.approx(-distances(BEAU)[-1].min() / 8)  # one of eight, to the nearest that is left
    assert inversion._judgement(BEAU, None) == (0, -math.inf)
    assert (
        inversion._judgement(BEAU, None) < lost < inversion._judgement(BEAU, other) < inversion._judgement(BEAU, moved)
    )


@pytest.mark.slow
def test_descent_brings_back_what_the_mean_does_not(cubic):
    arrays = cubic.prepare(from_arrays(CARBON_MONOXIDE))[0]
    mean = torch.as_tensor(cubic.encode_arrays([arrays], UNKNOWN))
    found = inverted_latents(cubic.space.network, batch(arrays), UNKNOWN, mean)
    crystal = centred(batch(arrays))
    assert inversion._judged(cubic.space.network, crystal, UNKNOWN, mean)[0].rank < 3
    assert inversion._judged(cubic.space.network, crystal, UNKNOWN, found)[0].rank == 3


def test_both_ways_down_are_what_each_is_alone(cubic, monkeypatch):
    """The vectors share a batch, not a loss: where the weights are the same, so are the ways."""
    monkeypatch.setattr(inversion, "STEPS", 3)
    arrays = cubic.prepare(prototype_structure("NaCl"))[0]
    latent, unknown = torch.zeros(2, cubic.space.network.config.vae.latent), torch.tensor([-1, -1])
    moved = inversion._descend(cubic.space.network, batch(arrays), unknown, latent)
    assert not torch.allclose(moved[0], moved[1], atol=1e-4)
    monkeypatch.setattr(inversion, "atoms_alike", lambda atoms: torch.ones(atoms.shape))
    plain = inversion._descend(cubic.space.network, batch(arrays), unknown, latent)
    assert torch.allclose(plain[0], moved[0], atol=1e-4)
    assert (moved[0].abs() > 0.01).any()


def test_located_crystals_are_their_means_where_these_decode_to_them(cubic):
    crystals = [prototype_structure(formula) for formula in ("SrTiO3", "NaCl")]
    assert np.array_equal(cubic.locate(crystals), cubic.encode(crystals))
