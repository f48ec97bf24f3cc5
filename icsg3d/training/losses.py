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


def segmentation_loss(
    segmentation: Segmentation, species: torch.Tensor, weights: LossWeights
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the class-weighted cross-entropy of the species and the binary cross-entropy of the atom mask.

    Args:
        segmentation: Logits of the network.
        species: True species map, shape (B, G, G, G).
        weights: Its ``background`` is the class weight of the background.
    """
    logits = segmentation.species
    classes = torch.ones(logits.shape[1], device=logits.device)
    classes[0] = weights.background
    return (
        nn.functional.cross_entropy(logits.float(), species, weight=classes),
        nn.functional.binary_cross_entropy_with_logits(segmentation.atom.float(), (species > 0).float()),
    )


def kl_loss(posterior: Posterior) -> torch.Tensor:
    """Return the divergence from the unit Gaussian, summed over dimensions, averaged over crystals."""
    mean, log_variance = posterior
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
