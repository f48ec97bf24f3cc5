from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, centred
from icsg3d.errors import InputError
from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork
from icsg3d.models.unet import SegmentationUNetConfig
from icsg3d.models.vae import CrystalVAEConfig, coarse_map
from icsg3d.representation.voxels import VoxelConfig
from icsg3d.training.augment import Augmentation
from icsg3d.training.data import CrystalSet
from icsg3d.training.widening import widened

ROCK_SALT = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
CRYSTALS = CrystalSet(
    [
        CrystalArrays(np.array(pair), ROCK_SALT, edge / 2 * (np.ones((3, 3)) - np.eye(3)))
        for pair in itertools.product((3, 11, 19, 20), (8, 9, 17))
        for edge in (4.4, 5.2)
    ],
    [""] * 24,
    np.full(24, np.nan),
)
CONFIG = GeneratorConfig(
    VoxelConfig(grid=8),
    CrystalVAEConfig(
        grid=8, channels=40, filters=(4, 6), depths=(1, 1), bottleneck=4, hidden=16, decoder_hidden=(16,), latent=6
    ),
    SegmentationUNetConfig(40, down=((4, 4),), bottom=(6, 6), up=((4, 4),)),
    elements=CRYSTALS.elements,
)
AS_THEY_ARE = Augmentation(permute_axes=False, mirror=False, strain=0.0, substitute=0.0)
CONDITION = torch.arange(24) % 11 - 1


def network_of(config=CONFIG):
    torch.manual_seed(3)
    return GeneratorNetwork(config).eval()


def maps(network):
    return coarse_map(network.draw(centred(CRYSTALS.batch()))[1]).flatten(1)


@pytest.mark.slow
@torch.no_grad()
def test_a_wider_network_encodes_and_decodes_as_before():
    network = network_of()
    wider = widened(network, 15, CRYSTALS, AS_THEY_ARE)
    assert wider.config == dataclasses.replace(CONFIG, vae=dataclasses.replace(CONFIG.vae, latent=15))
    old, new = (each.encode(CRYSTALS.batch(), CONDITION) for each in (network, wider))
    assert torch.allclose(new.mean[:, :6], old.mean, atol=1e-6)
    assert torch.allclose(new.log_variance[:, :6], old.log_variance, atol=1e-6)
    latent = torch.randn(24, 15)
    before, after = network.decode(latent[:, :6], CONDITION), wider.decode(latent, CONDITION)
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-5)
    assert not torch.allclose(wider.decode(latent.roll(1, 1), CONDITION).grid, after.grid, atol=1e-3)


@pytest.mark.slow
@torch.no_grad()
def test_new_dimensions_spread_evenly_and_tell_what_the_old_ones_leave_out():
    network = network_of()
    wider = widened(network, 12, CRYSTALS, AS_THEY_ARE)
    posterior = wider.encode(CRYSTALS.batch(), CONDITION)
    new = posterior.mean[:, 6:]
    assert np.allclose(new.mean(0), 0, atol=1e-5)
    assert np.allclose(np.cov(new.T, bias=True), 0.15**2 * np.eye(6), atol=1e-4)  # one apart from the other
    assert np.allclose(posterior.log_variance[:, 6:].exp().sqrt(), 0.01)
    rows = wider.vae.encoder.shortcut.weight
    assert np.allclose(rows[6:] @ rows[:6].T, 0, atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_the_strongest_components_are_taken():
    """By an independent way: singular values of the maps without their part along the old directions."""
    network = network_of()
    rows = network.vae.encoder.shortcut.weight.double().numpy()
    found = maps(network).double().numpy()
    left = (found - found.mean(0)) @ (np.eye(rows.shape[1]) - np.linalg.pinv(rows) @ rows)
    _, strengths, directions = np.linalg.svd(left, full_matrices=False)
    wider = widened(network, 11, CRYSTALS, AS_THEY_ARE)
    new = wider.vae.encoder.shortcut.weight[6:].double().numpy()
    lengths = np.linalg.norm(new, axis=1)
    assert 0.15 / lengths == pytest.approx(strengths[:5] / np.sqrt(24), rel=1e-3)
    assert np.abs((new / lengths[:, None] * directions[:5]).sum(1)) == pytest.approx(np.ones(5), abs=1e-3)


@pytest.mark.slow
@torch.no_grad()
def test_what_hardly_varies_is_not_blown_up():
    wider = widened(network_of(), 40, CRYSTALS, AS_THEY_ARE)  # of 24 crystals, 23 components vary
    lengths = wider.vae.encoder.shortcut.weight[6:].norm(dim=1)
    assert lengths.max() <= 0.15 / 0.02 * 1.001
    assert np.allclose(lengths, lengths.sort().values, rtol=1e-4)  # the strongest first


@pytest.mark.slow
def test_the_given_network_stays_as_it_is_and_the_new_one_can_learn():
    network = network_of()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    wider = widened(network, 9, CRYSTALS, AS_THEY_ARE)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in (*network.parameters(), *wider.parameters()))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights():
    one, same, other = (widened(network_of(), 9, CRYSTALS, Augmentation(), seed) for seed in (1, 1, 2))
    states = [each.state_dict()["vae.encoder.shortcut.weight"] for each in (one, same, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_what_cannot_be_widened_is_refused():
    with pytest.raises(InputError, match="of 6 dimensions cannot be made narrower, to 5; give a larger --latent"):
        widened(network_of(), 5, CRYSTALS, AS_THEY_ARE)
    paper = GeneratorConfig(
        dataclasses.replace(VoxelConfig.preset("paper"), grid=8),
        dataclasses.replace(CrystalVAEConfig.paper(), grid=8, filters=(4, 6), depths=(1, 1), hidden=16, latent=6),
        SegmentationUNetConfig(4, periodic=False, down=((4, 4),), bottom=(6, 6), up=((4, 4),)),
    )
    with pytest.raises(InputError, match="only periodic networks"):
        widened(network_of(paper), 8, CRYSTALS, AS_THEY_ARE)
