"""Latent vectors that decode to given crystals, found by descent where the encoder's mean does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from icsg3d.crystals.arrays import centred, lattice_parameters, periodic_distances
from icsg3d.crystals.comparison import compare
from icsg3d.models.decoding import decode_crystals, padded
from icsg3d.models.losses import LossWeights, atoms_alike, grid_loss, segmentation_loss
from icsg3d.representation.voxels import atom_map

if TYPE_CHECKING:
    from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
    from icsg3d.models.generator import GeneratorNetwork

STEPS = 100
"""Of the descent; a tenth of a second each on one core."""

_RATE = 0.05
"""Learning rate of Adam at first; latent vectors spread by about 0.15 along each dimension."""

_LAST_RATE = 0.001
"""Learning rate at the end of a cosine."""

_WEIGHTS = LossWeights()


def inverted_latents(
    network: GeneratorNetwork, crystals: CrystalBatch, condition: torch.Tensor, latent: torch.Tensor
) -> torch.Tensor:
    """Return latent vectors, moved where they do not decode to their crystals.

    The crystal is known, so it is known whether it comes back (:func:`icsg3d.crystals.comparison.compare`). Where it
    does not, its vector goes down the gradient of the loss of the training (grid, species, mask and lattice) for some
    steps, twice: once with every atom counting as much as every other one, as in the training, once with every voxel of
    atoms doing so. Of the three vectors the one is taken from which the most comes back: number of atoms, species,
    sites; of equals the nearest.

    Args:
        network: The generator, in evaluation mode.
        crystals: On the network's device.
        condition: Bins, shape (B,), int64, negative where unknown.
        latent: Means of the encoder, shape (B, latent), B at most :data:`icsg3d.models.decoding.BATCH`.
    """
    if network.config.voxels.periodic:
        crystals = centred(crystals)
    before = _judged(network, crystals, condition, latent)
    rows = torch.tensor([row for row, result in enumerate(before) if not result.rebuilt], dtype=torch.int64)
    if not len(rows):
        return latent
    rows = rows.to(latent.device)
    latent = latent.clone()
    for row in rows:  # one by one, so that a vector does not depend on the others of its batch
        known = crystals[row[None]].trimmed(), condition[row[None]]
        latent[row] = _nearest(network, *known, latent[row[None]], before[int(row)])
    return latent


def _nearest(
    network: GeneratorNetwork, crystal: CrystalBatch, condition: torch.Tensor, mean: torch.Tensor, judged: _Judgement
) -> torch.Tensor:
    """Return the vector, the mean or one that descent leads to, from which the most of a crystal comes back."""
    twice = torch.tensor([0, 0], device=mean.device)
    moved = _descend(network, crystal, condition[twice], mean[twice])
    results = _judged(network, crystal[twice], condition[twice], moved)
    candidates = [(judged, mean[0]), *zip(results, moved, strict=True)]
    return max(candidates, key=lambda candidate: candidate[0])[1]


class _Judgement(NamedTuple):
    """How much of a crystal came back; the better, the greater.

    Attributes:
        rank: How many are right of number of atoms, species, and sites with the lattice.
        nearness: Minus the mean distance of sites of one crystal to the nearest of the other, both ways, in angstrom.
    """

    rank: int
    nearness: float

    @property
    def rebuilt(self) -> bool:
        """Whether all of it did."""
        return self.rank == 3


def _judged(
    network: GeneratorNetwork, crystals: CrystalBatch, condition: torch.Tensor, latent: torch.Tensor
) -> list[_Judgement]:
    decoded = decode_crystals(network, *padded(latent, condition), count=len(latent))
    return [_judgement(true, each.crystal) for true, each in zip(crystals.arrays(), decoded, strict=True)]


def _judgement(true: CrystalArrays, found: CrystalArrays | None) -> _Judgement:
    if found is None:
        return _Judgement(0, -math.inf)
    result = compare(true, found)
    distances = periodic_distances(true.frac_coords, found.frac_coords, true.lattice)
    nearness = -(distances.min(0).mean() + distances.min(1).mean())
    return _Judgement(result.count + result.species + result.rebuilt, float(nearness))


def _descend(
    network: GeneratorNetwork, crystal: CrystalBatch, condition: torch.Tensor, latent: torch.Tensor
) -> torch.Tensor:
    """Return two latent vectors of one crystal after some steps down the gradient; the network stays as it is.

    For the first all voxels of atoms count alike, for the second all atoms do. Both go their own way; together they
    take no longer than one, for which torch has no fast convolution on CPUs.
    """
    voxels, grid = network.draw(crystal)
    alike = atoms_alike(atom_map(crystal, network.config.voxels))
    weights = torch.cat([torch.ones_like(alike), alike])
    species, grid = voxels.species.expand_as(weights), grid.expand(len(latent), *grid.shape[1:])
    parameters = lattice_parameters(crystal.lattice)
    vae = network.vae
    moved = latent.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, _LAST_RATE)
    with torch.enable_grad():
        for _ in range(STEPS):
            decoded, lattice = vae.decode(moved, condition)
            by_class, by_mask = segmentation_loss(network.unet(decoded), species, _WEIGHTS.background, weights)
            loss = len(latent) * _WEIGHTS.grid * grid_loss(decoded, grid)  # sums over the vectors, each by itself
            loss = loss + _WEIGHTS.species * by_class.sum() + _WEIGHTS.atom * by_mask.sum()
            if lattice is not None:
                loss = loss + _WEIGHTS.lattice * ((lattice - parameters) / vae.lattice_scale).square().mean(1).sum()
            (moved.grad,) = torch.autograd.grad(loss, [moved])
            optimizer.step()
            schedule.step()
    return moved.detach()
