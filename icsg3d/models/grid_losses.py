"""Loss of latent-grid autoencoders, in nats per atom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional as F

from icsg3d.representation.fields import nearest_atoms, steps

if TYPE_CHECKING:
    from icsg3d.crystals.arrays import CrystalBatch
    from icsg3d.models.grid_vae import DecodedFields, GridPosterior, GridVAE
    from icsg3d.representation.fields import GridShape, Targets


@dataclass(frozen=True)
class GridLossConfig:
    """Weights of the loss.

    Attributes:
        height: Of the cross-entropy of the heights, summed over an atom's share of the grid.
        species: Of the cross-entropy of the elements.
        exactness: Distance in angstrom at which a site that is off costs about half a nat.
        divergence: Of the posterior's divergence. The optimum trades it against exactness: sites are then off by about
            ``exactness * sqrt(divergence)`` along each axis by the noise of the latent vectors.
        least: Least height of the points at which places and species are asked for.
    """

    height: float = 0.3
    species: float = 1.0
    exactness: float = 0.1
    divergence: float = 0.01
    least: float = 0.15


class GridLosses(NamedTuple):
    """Parts of the loss, each a scalar.

    Attributes:
        height: Cross-entropy of the heights beyond that of the true heights themselves.
        place: Pseudo-Huber loss of the places.
        species: Cross-entropy of the species.
        divergence: Of the posteriors, in nats per atom.
    """

    height: torch.Tensor
    place: torch.Tensor
    species: torch.Tensor
    divergence: torch.Tensor

    def total(self, config: GridLossConfig, share: float = 1.0) -> torch.Tensor:
        """Return the weighted sum; ``share`` is that of the divergence's weight that counts already."""
        read = config.height * self.height + self.place + config.species * self.species
        return read + share * config.divergence * self.divergence


def grid_losses(
    network: GridVAE,
    decoded: DecodedFields,
    posterior: GridPosterior,
    batch: CrystalBatch,
    shape: GridShape,
    config: GridLossConfig,
) -> GridLosses:
    """Return the parts of the loss of a decoded batch.

    Args:
        network: Which decoded it.
        decoded: What it decoded to.
        posterior: From which the latent grids were drawn.
        batch: The true crystals.
        shape: Of their grids.
        config: Which points count.
    """
    targets = nearest_atoms(batch, shape, network.config.fields)
    atoms = batch.mask.sum()
    true = targets.height.clamp(1e-6, 1 - 1e-6)
    entropy = -(true * true.log() + (1 - true) * (1 - true).log()).sum()
    height = F.binary_cross_entropy_with_logits(decoded.height.flatten(), targets.height, reduction="sum") - entropy
    near = targets.height[targets.point] >= config.least
    targets = targets._replace(
        **{name: getattr(targets, name)[near] for name in ("point", "offset", "number", "crystal")}
    )
    weight = targets.height[targets.point]
    logits = network.species(decoded.hidden.flatten(0, 3)[targets.point])
    species = F.cross_entropy(logits, targets.number - 1, reduction="none")
    place = _place_loss(decoded.offset.reshape(-1, 3)[targets.point], targets, steps(batch.lattice, shape), config)
    return GridLosses(
        height / atoms,
        (weight * place).sum() / weight.sum(),
        (weight * species).sum() / weight.sum(),
        posterior.divergence().sum() / atoms,
    )


def _place_loss(offset: torch.Tensor, targets: Targets, vectors: torch.Tensor, config: GridLossConfig) -> torch.Tensor:
    """Return the loss of places: half the square of the error over ``exactness``, linear far away, shape (Q,)."""
    error = torch.einsum("qi,qij->qj", offset - targets.offset, vectors[targets.crystal])
    return (1 + error.square().sum(-1) / config.exactness**2).sqrt() - 1
