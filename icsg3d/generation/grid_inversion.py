"""Latent grids that decode to given crystals, found by descent where the encoder's mean does not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from icsg3d.crystals.arrays import CrystalBatch, centred
from icsg3d.crystals.comparison import site_distances
from icsg3d.models.grid_decoding import LatentGrid, crystals_of, encode_crystal, sites_of
from icsg3d.models.grid_losses import GridLossConfig, grid_losses
from icsg3d.models.grid_vae import GridPosterior

if TYPE_CHECKING:
    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.models.grid_vae import GridVAE
    from icsg3d.representation.sites import ReadingConfig

STEPS = 60
"""Of the descent, at most; two crystals a second on one idle core."""

_EVERY = 15
"""Steps after which it is looked whether the crystal comes back."""

_RATE = 0.1
"""Learning rate of Adam; latent vectors spread by about 1 along each channel."""

_NEAR = 0.1
"""Angstrom; how far a site may be off for a crystal to count as come back."""

_WEIGHTS = GridLossConfig()


def located_grid(
    network: GridVAE, crystal: CrystalArrays, reading: ReadingConfig | None = None, device: torch.device | str = "cpu"
) -> LatentGrid:
    """Return a latent grid that decodes to a crystal: the encoder's mean or, where that does not, a better one.

    The crystal is known, so it is seen whether it comes back. Where it does not, its grid goes down the gradient of
    the loss of the training until it does, at most :data:`STEPS` steps. Of all grids that were looked at, that one is
    taken whose crystal is nearest.

    Args:
        network: The autoencoder, in evaluation mode.
        crystal: In its reduced cell.
        reading: How atoms are read.
        device: Where the network is.
    """
    mean = encode_crystal(network, crystal, device)
    batch = centred(CrystalBatch.from_arrays([crystal], device=device))
    true = batch.arrays()[0]
    grid = torch.as_tensor(mean.grid, device=device)[None]
    best, miss = grid, _miss(network, grid, batch, true, reading)
    moved = grid.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=_RATE)
    for _ in range(STEPS // _EVERY):
        if miss < _NEAR:
            break
        _descend(network, moved, batch, optimizer)
        found = _miss(network, moved.detach(), batch, true, reading)
        if found < miss:
            best, miss = moved.detach().clone(), found
    return replace(mean, grid=best[0].cpu().numpy())


def _descend(network: GridVAE, grid: torch.Tensor, batch: CrystalBatch, optimizer: torch.optim.Optimizer) -> None:
    """Take some steps down the gradient of the loss of a latent grid, (1, X, Y, Z, latent); the network stays."""
    shape = network.config.fields.shape(batch.lattice[0])
    for _ in range(_EVERY):
        with torch.enable_grad():
            decoded = network.decode(grid, batch.lattice)
            point = GridPosterior(grid, torch.zeros_like(grid))
            loss = grid_losses(network, decoded, point, batch, shape, _WEIGHTS).total(_WEIGHTS)
            (grid.grad,) = torch.autograd.grad(loss, [grid])
        optimizer.step()


@torch.no_grad()
def _miss(
    network: GridVAE, grid: torch.Tensor, batch: CrystalBatch, true: CrystalArrays, reading: ReadingConfig | None
) -> float:
    """Return how far the farthest site of what a grid decodes to is off, in angstrom.

    Where the number of atoms is right and species are wrong it is a thousand for each wrong one, and infinite where
    the number is wrong.
    """
    sites = sites_of(network, network.decode(grid, batch.lattice), batch.lattice, reading, len(true))
    found = crystals_of(sites, batch.lattice)[0]
    if len(found) != len(true):
        return math.inf
    distances = site_distances(true, found)
    if distances is not None:
        return float(distances.max())
    kinds = [torch.bincount(torch.as_tensor(each.numbers), minlength=200) for each in (true, found)]
    return 500.0 * float((kinds[0] - kinds[1]).abs().sum())
