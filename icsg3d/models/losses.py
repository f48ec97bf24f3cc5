"""Losses of the generator's networks (Court et al. 2020, sections 2.3 and 2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.models.unet import Segmentation
    from icsg3d.models.vae import Posterior


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of the loss.

    Attributes:
        grid: Squared error of the decoded grid, summed over channels, averaged over voxels.
        perceptual: Squared difference of the U-Net's feature maps of true and decoded grid.
        species: Cross-entropy of the species.
        atom: Binary cross-entropy of the atom mask.
        lattice: Squared error of the lattice numbers in units of their spread.
        kl: Kullback-Leibler divergence of the posterior from the unit Gaussian, summed over dimensions.
        background: Class weight of voxels without an atom in the species loss; atoms have 1.
    """

    grid: float = 10.0
    perceptual: float = 0.5
    species: float = 1.0
    atom: float = 0.3
    lattice: float = 3.0
    kl: float = 2e-5
    background: float = 0.15


def grid_loss(decoded: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Return the squared error of grids (B, C, G, G, G), summed over channels, averaged over the rest."""
    return (decoded.float() - true).square().sum(1).mean()


def perceptual_loss(decoded: Sequence[torch.Tensor], true: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the summed mean squared difference of feature maps, level by level."""
    return torch.stack([(d.float() - t.float()).square().mean() for d, t in zip(decoded, true, strict=True)]).sum()


def atoms_alike(atoms: torch.Tensor) -> torch.Tensor:
    """Return weights of voxels with which all of an atom counts as much as all of any other atom of its crystal.

    Else a voxel of a large atom, of which there are many, is worth as much as one of the few of a small atom, and small
    atoms are given up for large ones.

    Args:
        atoms: The atom of its crystal that each voxel belongs to, -1 for none, shape (B, G, G, G).

    Returns:
        Shape (B, G, G, G), 1 on average over the voxels of a crystal's atoms, and 1 in the background.
    """
    inside = atoms >= 0
    which = atoms.flatten(1).clamp(min=0)
    counts = torch.zeros(len(atoms), int(which.max()) + 1, device=atoms.device)
    counts.scatter_add_(1, which, inside.flatten(1).float())  # the background adds nothing
    share = counts.sum(1) / (counts > 0).sum(1)
    weights = (share[:, None] / counts.gather(1, which)).view_as(atoms)
    return weights.where(inside, 1.0)


def segmentation_loss(
    segmentation: Segmentation, species: torch.Tensor, background: float, voxels: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted cross-entropy of the species and the binary one of the atom mask, each of shape (B,).

    Args:
        segmentation: Logits of the network.
        species: True species map, shape (B, G, G, G).
        background: Weight of voxels without an atom in the former.
        voxels: Further weights of voxels in both, shape (B, G, G, G).
    """
    inside = species > 0
    voxels = torch.ones_like(species, dtype=torch.float32) if voxels is None else voxels
    weights = voxels * torch.where(inside, 1.0, background)
    by_class = nn.functional.cross_entropy(segmentation.species.float(), species, reduction="none")
    by_mask = nn.functional.binary_cross_entropy_with_logits(
        segmentation.atom.float(), inside.float(), reduction="none"
    )
    axes = (1, 2, 3)
    return (weights * by_class).sum(axes) / weights.sum(axes), (voxels * by_mask).mean(axes)


def kl_loss(posterior: Posterior) -> torch.Tensor:
    """Return the divergence from the unit Gaussian, summed over dimensions, averaged over crystals."""
    mean, log_variance = posterior
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
