from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, lattice_parameters
from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork, energy_bins
from icsg3d.models.unet import SegmentationUNetConfig
from icsg3d.models.vae import CrystalVAEConfig
from icsg3d.representation.voxels import VoxelConfig, coordinate_channels

PERIODIC = GeneratorConfig(
    VoxelConfig(grid=8),
    CrystalVAEConfig(
        grid=8, channels=40, filters=(4, 6), depths=(1, 1), bottleneck=4, hidden=16, decoder_hidden=(16,), latent=6
    ),
    SegmentationUNetConfig(40, down=((4, 4),), bottom=(6, 6), up=((4, 4),)),
    elements=(8, 22, 38),
)
PAPER = GeneratorConfig(
    dataclasses.replace(VoxelConfig.preset("paper"), grid=8),
    dataclasses.replace(CrystalVAEConfig.paper(), grid=8, filters=(4, 6), depths=(1, 1), hidden=16, latent=6),
    SegmentationUNetConfig(4, periodic=False, down=((4, 4),), bottom=(6, 6), up=((4, 4),)),
)
CRYSTALS = [
    CrystalArrays(
        np.array([38, 22, 8, 8, 8]),
        np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
        3.9 * np.eye(3),
    ),
    CrystalArrays(np.array([22, 8]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), 2.1 * (np.ones((3, 3)) - np.eye(3))),
]
UNKNOWN = torch.tensor([-1, -1])


def network_of(config):
    torch.manual_seed(0)
    return GeneratorNetwork(config).eval()


def batch(crystals=CRYSTALS):
    return CrystalBatch.from_arrays(crystals)


# Presets


def test_presets_fit_together():
    for name in ("paper", "periodic"):
        config = GeneratorConfig.preset(name)
        coordinates = 0 if config.vae.lattice_head else 3
        assert config.vae.grid == config.voxels.grid
        assert config.vae.channels == config.unet.channels == config.voxels.channels + coordinates
        assert config.vae.periodic == config.unet.periodic == config.voxels.periodic == (name == "periodic")
        assert config.voxels.grid % 2 ** len(config.unet.down) == 0


def test_the_paper_preset_is_the_paper_networks():
    config = GeneratorConfig.preset("paper")
    assert config.vae == CrystalVAEConfig.paper()
    assert config.unet == SegmentationUNetConfig.paper()
    assert config.voxels == VoxelConfig.preset("paper")


def test_the_periodic_preset_takes_another_grid():
    config = GeneratorConfig.preset("periodic", grid=16)
    assert config.vae.grid == config.voxels.grid == 16


@torch.no_grad()
def test_the_paper_preset_takes_another_grid():
    config = GeneratorConfig.preset("paper", grid=16)
    assert config.vae == dataclasses.replace(CrystalVAEConfig.paper(), grid=16)
    assert config.voxels == VoxelConfig.preset("paper", grid=16)
    network = network_of(config)
    decoded = network.decode(network.encode(batch(), UNKNOWN).mean, UNKNOWN)
    assert decoded.grid.shape == (2, 4, 16, 16, 16)


@pytest.mark.parametrize(("name", "grid"), [("paper", 24), ("paper", 0), ("periodic", 10), ("periodic", 0)])
def test_a_grid_that_the_networks_cannot_halve_is_refused(name, grid):
    with pytest.raises(ValueError, match=f"{grid} points cannot be halved|at least 4 points along each axis, got 0"):
        GeneratorConfig.preset(name, grid=grid)


def test_an_unknown_preset_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'cubic'.*paper, periodic"):
        GeneratorConfig.preset("cubic")


# Encoding


@torch.no_grad()
@pytest.mark.parametrize("config", [PERIODIC, PAPER], ids=["periodic", "paper"])
def test_encoding_and_decoding_have_the_right_shapes(config):
    network = network_of(config)
    posterior = network.encode(batch(), UNKNOWN)
    assert posterior.mean.shape == (2, 6)
    decoded = network.decode(posterior.mean, UNKNOWN)
    assert decoded.grid.shape == (2, config.vae.channels, 8, 8, 8)
    assert decoded.species.shape == decoded.atom.shape == (2, 8, 8, 8)
    assert decoded.species.dtype == torch.int64
    assert decoded.lattice.shape == (2, 3, 3)
    assert ((decoded.atom >= 0) & (decoded.atom <= 1)).all()


@torch.no_grad()
def test_the_periodic_network_does_not_see_where_a_crystal_lies():
    network = network_of(PERIODIC)
    moved = [dataclasses.replace(c, frac_coords=c.frac_coords + np.array([0.31, 0.77, 0.05])) for c in CRYSTALS]
    still, other = (network.encode(batch(c), UNKNOWN).mean for c in (CRYSTALS, moved))
    assert torch.allclose(still, other, atol=1e-5)


@torch.no_grad()
def test_padding_does_not_change_a_latent_vector():
    network = network_of(PERIODIC)
    together = network.encode(batch(), UNKNOWN).mean
    alone = network.encode(batch(CRYSTALS[1:]), UNKNOWN[:1]).mean
    assert torch.allclose(together[1], alone[0], atol=1e-5)


@torch.no_grad()
def test_the_paper_networks_see_coordinates():
    grid = network_of(PAPER).draw(batch())[1]
    assert grid.shape == (2, 4, 8, 8, 8)
    assert torch.equal(grid[:, 1:], coordinate_channels(batch().lattice, PAPER.voxels))
    voxels, grid = network_of(PERIODIC).draw(batch())
    assert torch.equal(grid, voxels.inputs())


# Decoding


@torch.no_grad()
def test_only_known_elements_come_out():
    latent = 5 * torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    bins = torch.full((6,), -1)
    few = network_of(PERIODIC)
    few.unet.species_head.bias[50] += 1e4  # tin: certain, were it known
    assert set(few.decode(latent, bins).species.unique().tolist()) <= {0, 8, 22, 38}
    everything = network_of(dataclasses.replace(PERIODIC, elements=()))
    everything.unet.species_head.bias[50] += 1e4
    assert everything.decode(latent, bins).species.unique().tolist() == [50]


@torch.no_grad()
def test_lattices_come_from_the_head_or_from_coordinates():
    periodic, paper = network_of(PERIODIC), network_of(PAPER)
    parameters = lattice_parameters(batch().lattice)
    found = periodic.lattices(torch.empty(0), parameters)
    assert torch.allclose(lattice_parameters(found), parameters, atol=1e-5)
    assert torch.allclose(paper.lattices(paper.draw(batch())[1], None), batch().lattice, atol=1e-5)


def test_the_list_of_known_elements_is_no_weight():
    assert not any("known" in name for name in GeneratorNetwork(PERIODIC).state_dict())


# Condition


def test_energies_fall_into_bins_between_edges():
    edges = (-2.0, -1.0, 0.5)
    energies = torch.tensor([-3.0, -1.5, 0.0, 2.0, math.nan, -1.0], dtype=torch.float64)
    assert energy_bins(energies, edges).tolist() == [0, 1, 2, 3, -1, 1]


def test_without_edges_no_energy_has_a_bin():
    assert energy_bins(torch.tensor([-1.0, math.nan]), ()).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("energy", "expected"),
    [(-5.0, (-math.inf, -2.0)), (-2.0, (-math.inf, -2.0)), (-1.5, (-2.0, -1.0)), (0.5, (-1.0, math.inf))],
)
def test_the_range_of_an_energy_is_that_of_its_bin(energy, expected):
    config = dataclasses.replace(GeneratorConfig.preset("periodic"), energy_edges=(-2.0, -1.0))
    assert config.energy_range(energy) == expected
    number = int(energy_bins(torch.tensor([energy]), config.energy_edges))
    assert expected == ((-math.inf, -2.0, -1.0)[number], (-2.0, -1.0, math.inf)[number])


@pytest.mark.parametrize("guidance", [-0.1, 101.0, math.nan])
def test_a_guidance_that_means_nothing_is_refused(guidance):
    with pytest.raises(ValueError, match="the guidance must be between 0 and 100"):
        dataclasses.replace(GeneratorConfig.preset("periodic"), guidance=guidance)


@pytest.mark.parametrize("temperature", [-0.1, 1.01, math.nan])
def test_a_temperature_that_means_nothing_is_refused(temperature):
    with pytest.raises(ValueError, match="the temperature must be between 0 and 1"):
        dataclasses.replace(GeneratorConfig.preset("periodic"), temperature=temperature)
