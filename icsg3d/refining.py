"""Latent vectors that decode to given crystals, found by descent where the encoder's mean does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from icsg3d.arrays import centred, lattice_parameters
from icsg3d.decoding import decode_crystals, padded
from icsg3d.training.losses import LossWeights, grid_loss, segmentation_loss
from icsg3d.training.metrics import compare

if TYPE_CHECKING:
    from icsg3d.arrays import CrystalBatch
    from icsg3d.models.generator import GeneratorNetwork
    from icsg3d.training.metrics import Rebuilt

STEPS = 60
"""Of the descent; crystals that come back at all do so within 40."""

_RATE = 0.02
"""Learning rate of Adam; latent vectors spread by about 0.15 along each dimension."""

_WEIGHTS = LossWeights()


def refined_latents(
    network: GeneratorNetwork, crystals: CrystalBatch, condition: torch.Tensor, latent: torch.Tensor
) -> torch.Tensor:
    """Return latent vectors, moved where they do not decode to their crystals.

    The crystal is known, so whether it comes back can be told (:func:`icsg3d.training.metrics.compare`). Where it does
    not, its vector goes down the gradient of the loss of the training (grid, species, mask and lattice) for some steps.
    The new one is kept if more comes back than before: the number of atoms, the species, the sites.

    Args:
        network: The generator, in evaluation mode.
        crystals: On the network's device.
        condition: Bins, shape (B,), int64, negative where unknown.
        latent: Means of the encoder, shape (B, latent), B at most :data:`icsg3d.decoding.BATCH`.
    """
    if network.config.voxels.periodic:
        crystals = centred(crystals)
    before = _judged(network, crystals, condition, latent)
    rows = torch.tensor([row for row, result in enumerate(before) if not result.rebuilt], dtype=torch.int64)
    if not len(rows):
        return latent
    rows = rows.to(latent.device)
    # One by one: the loss weighs the voxels of a batch against each other, and a vector must not depend on its company.
    alone = ((crystals[row].trimmed(), condition[row], latent[row]) for row in rows[:, None])
    moved = torch.cat([_descend(network, *each) for each in alone])
    after = _judged(network, crystals[rows].trimmed(), condition[rows], moved)
    latent = latent.clone()
    for row, vector, result in zip(rows.tolist(), moved, after, strict=True):
        if _rank(result) > _rank(before[row]):
            latent[row] = vector
    return latent


def _rank(result: Rebuilt) -> int:
    return result.count + result.species + result.rebuilt


def _judged(
    network: GeneratorNetwork, crystals: CrystalBatch, condition: torch.Tensor, latent: torch.Tensor
) -> list[Rebuilt]:
    decoded = decode_crystals(network, *padded(latent, condition), count=len(latent))
    return [compare(true, each.crystal) for true, each in zip(crystals.arrays(), decoded, strict=True)]


def _descend(
    network: GeneratorNetwork, crystals: CrystalBatch, condition: torch.Tensor, latent: torch.Tensor
) -> torch.Tensor:
    """Return a crystal's latent vector after some steps down the gradient; the network's weights stay as they are."""
    voxels, grid = network.draw(crystals)
    parameters = lattice_parameters(crystals.lattice)
    vae = network.vae
    moved = latent.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=_RATE)
    with torch.enable_grad():
        for _ in range(STEPS):
            decoded, lattice = vae.decode(moved, condition)
            species, mask = segmentation_loss(network.unet(decoded), voxels.species, _WEIGHTS)
            loss = _WEIGHTS.grid * grid_loss(decoded, grid) + _WEIGHTS.species * species + _WEIGHTS.atom * mask
            if lattice is not None:
                loss = loss + _WEIGHTS.lattice * ((lattice - parameters) / vae.lattice_scale).square().mean()
            (moved.grad,) = torch.autograd.grad(loss, [moved])
            optimizer.step()
    return moved.detach()
