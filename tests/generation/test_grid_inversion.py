"""Latent grids found by descent, on an untrained network that has something to gain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.generation import grid_inversion
from icsg3d.generation.grid_inversion import located_grid
from icsg3d.models.grid_decoding import encode_crystal
from icsg3d.models.grid_losses import GridLossConfig, grid_losses
from icsg3d.models.grid_vae import GridPosterior, GridVAE, GridVAEConfig

CONFIG = GridVAEConfig(
    latent=8, species=8, embedding=8, encoder=(8, 8, 8), decoder=(16, 16, 16), encoder_blocks=(0, 1, 1),
    decoder_blocks=(1, 1, 1),
)  # fmt: skip
CRYSTAL = CrystalArrays(np.array([26, 8]), np.array([[0, 0, 0], [0.5, 0.5, 0.45]]), np.diag([2.6, 2.7, 3.6]))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return GridVAE(CONFIG).eval()


def loss_of(network, grid):
    batch = CrystalBatch.from_arrays([CRYSTAL])
    shape = CONFIG.fields.shape(CRYSTAL.lattice)
    grid = torch.as_tensor(grid)[None]
    posterior = GridPosterior(grid, torch.zeros_like(grid))
    with torch.no_grad():
        losses = grid_losses(network, network.decode(grid, batch.lattice), posterior, batch, shape, GridLossConfig())
    return losses.total(GridLossConfig()).item()


def test_descent_lowers_the_loss_and_leaves_the_network(network, monkeypatch):
    """Each look finds the crystal nearer, so that the last grid is taken."""
    looks = iter([5.0, 4.0, 3.0, 2.0, 1.0])
    monkeypatch.setattr(grid_inversion, "_miss", lambda *_: next(looks))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = located_grid(network, CRYSTAL)
    assert loss_of(network, found.grid) < 0.95 * loss_of(network, encode_crystal(network, CRYSTAL).grid)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_mean_that_decodes_stays(network, monkeypatch):
    monkeypatch.setattr(grid_inversion, "_miss", lambda *_: 0.05)
    np.testing.assert_array_equal(located_grid(network, CRYSTAL).grid, encode_crystal(network, CRYSTAL).grid)


def test_of_all_looks_the_nearest_is_taken(network, monkeypatch):
    looks = iter([5.0, 2.0, 3.0, 4.0, 2.5])
    monkeypatch.setattr(grid_inversion, "_miss", lambda *_: next(looks))
    monkeypatch.setattr(grid_inversion, "_descend", lambda _network, grid, *_: grid.data.add_(1.0))
    mean = encode_crystal(network, CRYSTAL).grid
    np.testing.assert_allclose(located_grid(network, CRYSTAL).grid, mean + 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("numbers", "miss"), [([26, 8], 0.18), ([26, 16], 1000.0), ([16, 17], 2000.0), ([26, 8, 8], np.inf)]
)
def test_misses_rank_number_then_species_then_sites(network, monkeypatch, numbers, miss):
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.2, 0.2, 0.2]])[: len(numbers)]
    found = CrystalArrays(np.array(numbers), sites, CRYSTAL.lattice)
    monkeypatch.setattr(grid_inversion, "sites_of", lambda *_: [])
    monkeypatch.setattr(grid_inversion, "crystals_of", lambda *_: [found])
    batch = CrystalBatch.from_arrays([CRYSTAL])
    grid = torch.zeros(1, 1, 1, 2, 8)
    assert grid_inversion._miss(network, grid, batch, CRYSTAL, None) == pytest.approx(miss)
