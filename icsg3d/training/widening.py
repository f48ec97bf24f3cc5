"""A trained generator with a wider latent space, from which training can continue."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, cast

import torch

from icsg3d.crystals.arrays import centred
from icsg3d.errors import InputError
from icsg3d.models.generator import GeneratorNetwork
from icsg3d.models.vae import coarse_map
from icsg3d.training.data import seed_of

if TYPE_CHECKING:
    from icsg3d.models.vae import CrystalVAEConfig, PeriodicEncoder
    from icsg3d.training.augment import Augmentation
    from icsg3d.training.data import CrystalSet

_SPREAD = 0.15
"""Standard deviation of the crystals along each new dimension; about that along the dimensions of trained networks."""

_NOISE = 0.01
"""Standard deviation of the posterior along each new dimension, likewise."""

_LEAST_SPREAD = 0.02
"""Standard deviation of a component of the coarse maps below which it is stretched no further."""

_BATCH = 64


def check_wider(config: CrystalVAEConfig, latent: int) -> None:
    """Refuse what :func:`widened` cannot do.

    Args:
        config: Of the network to widen.
        latent: Dimensions that it shall have.

    Raises:
        InputError: if it has more dimensions, or the architecture of the paper.
    """
    if latent < config.latent:
        msg = f"a latent space of {config.latent} dimensions cannot be made narrower, to {latent}"
        raise InputError(f"{msg}; give a larger --latent, or leave it out")
    if config.architecture == "paper":
        raise InputError("only periodic networks get a wider latent space, not those of the paper; leave out --latent")


def widened(
    network: GeneratorNetwork, latent: int, crystals: CrystalSet, augmentation: Augmentation, seed: int = 0
) -> GeneratorNetwork:
    """Return a network with more latent dimensions that decodes what the given one decodes.

    The new dimensions hold the leading principal components of what the old ones cannot tell of the coarse maps of
    crystals, stretched to the same spread: what sets large crystals apart varies little among the small ones that
    most sets consist of, and would be learned last. The decoder's weights of the new dimensions are zero at first.

    Args:
        network: Of the periodic architecture (:class:`icsg3d.models.vae.PeriodicEncoder`); stays as it is.
        latent: Dimensions of the new network.
        crystals: To learn from.
        augmentation: Of these.
        seed: Of the augmentation.

    Raises:
        InputError: if the given network has more dimensions, or the architecture of the paper.
    """
    config = network.config.vae
    check_wider(config, latent)
    wider = GeneratorNetwork(
        dataclasses.replace(network.config, vae=dataclasses.replace(config, latent=latent))
    ).requires_grad_(requires_grad=False)
    _take_over(wider, network)
    encoder, before = cast("PeriodicEncoder", wider.vae.encoder), config.latent
    shortcut = encoder.shortcut
    mean, directions = _unseen(_coarse_maps(network, crystals, augmentation, seed), shortcut.weight[:before])
    shortcut.weight[before:] = directions[: latent - before]
    shortcut.bias[before:] = -shortcut.weight[before:] @ mean
    return wider.requires_grad_().eval()


def _take_over(wider: GeneratorNetwork, network: GeneratorNetwork) -> None:
    """Copy the weights of a network; those of and for further latent dimensions become zero."""
    old, before, after = network.state_dict(), network.config.vae.latent, wider.config.vae.latent
    for name, value in wider.state_dict().items():
        if value.shape == old[name].shape:
            value.copy_(old[name])
            continue
        value.zero_()
        if name == "vae.decoder.dense.0.weight":  # the condition comes after the latent vector
            value[:, :before], value[:, after:] = old[name][:, :before], old[name][:, before:]
        else:
            value[tuple(map(slice, old[name].shape))] = old[name]
    wider.vae.encoder.log_variance.bias[before:] = 2 * math.log(_NOISE)


def _coarse_maps(
    network: GeneratorNetwork, crystals: CrystalSet, augmentation: Augmentation, seed: int
) -> torch.Tensor:
    """Return the coarse maps of crystals, augmented as in training, shape (n, channels * 4^3)."""
    everything, known = crystals.batch(), torch.tensor(network.config.elements)
    maps = []
    for start in range(0, len(crystals), _BATCH):
        random = torch.Generator().manual_seed(seed_of(seed, start))
        batch, _ = augmentation(everything[start : start + _BATCH].trimmed(), known, random)
        maps.append(coarse_map(network.draw(centred(batch))[1]).flatten(1))
    return torch.cat(maps)


def _unseen(maps: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of maps and the directions of what given ones leave out, the strongest first.

    Args:
        maps: Shape (n, size).
        seen: Directions that are left out, shape (m, size).

    Returns:
        Shape (size,), and rows that maps multiply to a standard deviation of ``_SPREAD`` with, shape (size - m, size).
    """
    mean = maps.mean(0)
    basis = torch.linalg.qr(seen.T.double())[0]
    centred_maps = (maps - mean).double()
    covariance = centred_maps.T @ centred_maps / len(maps)
    outside = torch.eye(len(mean), dtype=torch.float64) - basis @ basis.T
    variances, vectors = torch.linalg.eigh(outside @ covariance @ outside)
    strongest = variances.argsort(descending=True)[: len(mean) - len(seen)]
    spreads = variances[strongest].clamp(min=_LEAST_SPREAD**2).sqrt()
    return mean, (_SPREAD * vectors[:, strongest] / spreads).T.to(maps.dtype)
