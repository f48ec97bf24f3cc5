"""Autoencoder whose latent space is a periodic grid: a vector for each block of a cell, for cells of any size.

What is in a cell becomes a local matter, the same everywhere: translating a crystal by a block rolls its latent grid,
and a cell twice as large has twice as many vectors. The cell itself travels beside the grid, exactly; the metric of a
voxel's step enters every block as scale and shift (Perez et al. 2018, arXiv:1709.07871).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from icsg3d.crystals.elements import MAX_NUMBER, chemistry_vectors
from icsg3d.models.periodic import Coarser, Dense, Finer, PeriodicConv, ResidualBlock
from icsg3d.representation.fields import FieldConfig, draw, step_metric

if TYPE_CHECKING:
    from icsg3d.crystals.arrays import CrystalBatch
    from icsg3d.representation.fields import GridShape

_LOG_VARIANCE = 6.0
"""Bound of the posterior's logarithmic variance, either way."""


@dataclass(frozen=True)
class GridVAEConfig:
    """Size of a :class:`GridVAE`.

    Attributes:
        fields: How crystals become grids.
        latent: Channels of a latent vector.
        species: Channels in which atoms are drawn.
        embedding: Size of the embedding of the cell.
        encoder: Channels at grid points, at cells of two points, and at blocks.
        decoder: The same of the decoder.
        encoder_blocks: Residual blocks at these three levels.
        decoder_blocks: The same of the decoder.
    """

    fields: FieldConfig = field(default_factory=FieldConfig)
    latent: int = 12
    species: int = 16
    embedding: int = 64
    encoder: tuple[int, int, int] = (32, 96, 192)
    decoder: tuple[int, int, int] = (48, 96, 192)
    encoder_blocks: tuple[int, int, int] = (1, 1, 2)
    decoder_blocks: tuple[int, int, int] = (1, 3, 3)


class GridPosterior(NamedTuple):
    """Normal distributions of latent grids.

    Attributes:
        mean: Shape (B, X, Y, Z, latent), blocks along each axis.
        log_variance: The same shape.
    """

    mean: torch.Tensor
    log_variance: torch.Tensor

    def draw(self, random: torch.Generator | None = None) -> torch.Tensor:
        """Return a draw of each."""
        noise = torch.randn(self.mean.shape, generator=random, device=self.mean.device)
        return self.mean + noise * (0.5 * self.log_variance).exp()

    def divergence(self) -> torch.Tensor:
        """Return the divergence of each grid from the standard normal distribution, in nats, shape (B,)."""
        terms = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * terms.flatten(1).sum(1)


class DecodedFields(NamedTuple):
    """What latent grids decode to.

    Attributes:
        height: Logits of the Gaussian of the nearest atom, shape (B, X, Y, Z), float32.
        offset: From each point to its nearest atom, in steps of the grid, shape (B, X, Y, Z, 3), float32.
        hidden: Of which the species are read, shape (B, X, Y, Z, channels).
    """

    height: torch.Tensor
    offset: torch.Tensor
    hidden: torch.Tensor


class _Level(nn.Module):
    """Residual blocks at one level of resolution."""

    def __init__(self, channels: int, count: int, embedding: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(channels, embedding) for _ in range(count))

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        return x


class GridVAE(nn.Module):
    """Crystals to latent grids, and latent grids to fields from which atoms are read.

    Args:
        config: Sizes.
    """

    def __init__(self, config: GridVAEConfig) -> None:
        super().__init__()
        self.config = config
        fine, middle, coarse = config.encoder
        size = config.embedding
        self.metric = nn.Sequential(Dense(6, size), nn.SiLU(), Dense(size, size), nn.SiLU())
        self.register_buffer("chemistry", torch.tensor(chemistry_vectors()), persistent=False)
        self.chemistry: torch.Tensor
        self.species_in = nn.Linear(self.chemistry.shape[1], config.species)
        self.stem = PeriodicConv(config.species, fine)
        self.down = nn.ModuleList([Coarser(fine, middle), Coarser(middle, coarse)])
        self.encoder = nn.ModuleList(
            _Level(channels, count, size) for channels, count in zip(config.encoder, config.encoder_blocks, strict=True)
        )
        self.posterior = nn.Linear(coarse, 2 * config.latent)
        fine, middle, coarse = config.decoder
        self.latent_in = PeriodicConv(config.latent, coarse)
        self.up = nn.ModuleList([Finer(middle, fine), Finer(coarse, middle)])
        self.decoder = nn.ModuleList(
            _Level(channels, count, size) for channels, count in zip(config.decoder, config.decoder_blocks, strict=True)
        )
        self.places = nn.Linear(fine, 4)
        self.species_out = nn.Sequential(Dense(fine, 4 * fine), nn.SiLU(), Dense(4 * fine, MAX_NUMBER))
        with torch.no_grad():
            self.posterior.weight.mul_(0.3)

    def settle_encoder(self) -> None:
        """Let the encoder learn no more, so that latent grids keep their meaning and a density of them its worth."""
        for part in (self.metric, self.species_in, self.stem, self.down, self.encoder, self.posterior):
            part.requires_grad_(requires_grad=False)

    def embedding(self, lattice: torch.Tensor, shape: GridShape, dtype: torch.dtype) -> torch.Tensor:
        """Return embeddings of the cells of crystals on a grid, shape (B, embedding)."""
        metric = step_metric(lattice, shape, self.config.fields.spacing)
        return self.metric(metric.to(dtype))

    def encode(self, batch: CrystalBatch, shape: GridShape, dtype: torch.dtype = torch.float32) -> GridPosterior:
        """Return the posteriors of crystals whose grid has a shape, on the blocks of the grid.

        Args:
            batch: Crystals.
            shape: Of their grids.
            dtype: Precision of the layers; what goes in and comes out is float32.
        """
        features = self.species_in(self.chemistry[batch.numbers])
        x = self.stem(draw(batch, shape, self.config.fields, features).to(dtype))
        embedding = self.embedding(batch.lattice, shape, dtype)
        for level, blocks in enumerate(self.encoder):
            x = self.down[level - 1](x) if level else x
            x = blocks(x, embedding)
        mean, log_variance = self.posterior(F.layer_norm(x, x.shape[-1:]).float()).chunk(2, dim=-1)
        return GridPosterior(mean, _LOG_VARIANCE * torch.tanh(log_variance / _LOG_VARIANCE))

    def decode(self, latent: torch.Tensor, lattice: torch.Tensor, dtype: torch.dtype = torch.float32) -> DecodedFields:
        """Return the fields of latent grids, shape (B, X, Y, Z, latent), in cells with lattices (B, 3, 3)."""
        block = self.config.fields.block
        shape = tuple(block * blocks for blocks in latent.shape[1:4])
        embedding = self.embedding(lattice, shape, dtype)  # type: ignore[arg-type]
        x = self.latent_in(latent.to(dtype))
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](x, embedding)
            x = self.up[level - 1](x) if level else x
        hidden = F.silu(F.layer_norm(x, x.shape[-1:]))
        places = self.places(hidden.float())
        return DecodedFields(places[..., 0], places[..., 1:], hidden)

    def species(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits of the elements 1 to 94 at points, (Q, 94) of (Q, channels), float32."""
        return self.species_out(hidden).float()
