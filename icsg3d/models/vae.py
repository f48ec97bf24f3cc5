"""Conditional variational autoencoder of crystal grids."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import nn

from icsg3d.errors import InputError
from icsg3d.models.blocks import ConvBlock, convolution, one_hot_condition

N_LATTICE = 6
"""Numbers of a lattice beside the grid: three log lengths, three cosines of angles."""

COARSE = 4
"""Points of the coarse map along each axis: halves and quarters, where most atoms of simple crystals lie, are the
centres of its blocks."""


@dataclass(frozen=True)
class CrystalVAEConfig:
    """Size of a :class:`CrystalVAE`.

    Attributes:
        grid: Points along each axis.
        channels: Channels of the grid.
        periodic: Whether convolutions wrap around.
        filters: Filters of each level of the encoder; the decoder mirrors them.
        depths: Convolutions of each level.
        pool_last: Whether the last level of the encoder is pooled too.
        bottleneck: Channels of the coarsest grid on either side of the latent space.
        bottleneck_conv: Whether a convolution leads to the bottleneck (else the last level has that many filters).
        hidden: Units of the dense layer before the latent space.
        decoder_hidden: Units of the dense layers after it; empty for none but the one onto the coarsest grid.
        dense_blocks: Residual dense blocks on either side of the latent space. They cost next to nothing beside the
            convolutions, and it is there that an element is bound to a site.
        shortcut: Whether a coarse map, the mean of the grid over 4^3 blocks, runs past the convolutions: linearly and
            through the dense layers into the latent space, and out of it again. Which element lies where is a nearly
            linear matter, and so learned in minutes that would else take hours.
        latent: Dimensions of the latent space.
        bins: Bins of the condition (formation energy per atom).
        lattice_head: Whether six lattice numbers are encoded and decoded beside the grid.
        rectified: Whether the decoded grid ends in batch norm and ReLU, as in the paper.
    """

    grid: int
    channels: int
    periodic: bool = True
    filters: tuple[int, ...] = (32, 64, 128)
    depths: tuple[int, ...] = (1, 2, 2)
    pool_last: bool = False
    bottleneck: int = 128
    bottleneck_conv: bool = False
    hidden: int = 384
    decoder_hidden: tuple[int, ...] = (384,)
    dense_blocks: int = 2
    shortcut: bool = True
    latent: int = 256
    bins: int = 10
    lattice_head: bool = True
    rectified: bool = False

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "grid": (4, 256),
        "channels": (1, 256),
        "filters": (1, 16_384),
        "depths": (1, 64),
        "bottleneck": (1, 16_384),
        "hidden": (1, 16_384),
        "decoder_hidden": (1, 16_384),
        "dense_blocks": (0, 64),
        "latent": (1, 16_384),
        "bins": (0, 1000),
    }

    def __post_init__(self) -> None:
        """Check that the sizes fit together.

        Raises:
            InputError: if the grid cannot be halved as often as the levels ask, or levels and depths differ.
        """
        step = 2 ** (len(self.filters) - 1 + self.pool_last)
        if self.grid % step:
            levels = len(self.filters)
            msg = f"a grid of {self.grid} points cannot be halved for {levels} levels; take a multiple of {step}"
            raise InputError(msg)
        if self.shortcut and self.grid % COARSE:
            msg = f"a grid of {self.grid} points has no coarse map of {COARSE}"
            raise InputError(msg)
        if len(self.depths) != len(self.filters):
            msg = f"filters {self.filters} and depths {self.depths} differ in the number of levels"
            raise InputError(msg)

    @classmethod
    def paper(cls) -> CrystalVAEConfig:
        """Return the size of Court et al. 2020: encoder 451,412 and decoder 375,428 values."""
        return cls(
            grid=32,
            channels=4,
            periodic=False,
            filters=(16, 32, 64, 128),
            depths=(1, 1, 1, 1),
            pool_last=True,
            bottleneck=4,
            bottleneck_conv=True,
            hidden=256,
            decoder_hidden=(),
            dense_blocks=0,
            shortcut=False,
            lattice_head=False,
            rectified=True,
        )

    @property
    def coarse(self) -> int:
        """Points along an axis of the decoder's first grid."""
        return self.grid // 2 ** (len(self.filters) - 1)


class Posterior(NamedTuple):
    """Gaussian over the latent space: mean and log variance, each of shape (B, latent)."""

    mean: torch.Tensor
    log_variance: torch.Tensor

    def sample(self, noise: torch.Tensor) -> torch.Tensor:
        """Return mean + standard deviation times ``noise``."""
        return self.mean + (0.5 * self.log_variance).exp() * noise


def coarse_map(grid: torch.Tensor) -> torch.Tensor:
    """Return means over blocks around the points 0, 1/4, 1/2, 3/4 of each axis, (B, C, 4, 4, 4), of (B, C, G, G, G)."""
    block = grid.shape[-1] // COARSE
    return nn.functional.avg_pool3d(torch.roll(grid, (block // 2,) * 3, dims=(2, 3, 4)), block)


def spread_map(coarse: torch.Tensor, grid: int) -> torch.Tensor:
    """Return a coarse map drawn block by block, (B, C, G, G, G)."""
    block = grid // COARSE
    fine = nn.functional.interpolate(coarse, scale_factor=float(block))
    return torch.roll(fine, (-(block // 2),) * 3, dims=(2, 3, 4))


class DenseBlock(nn.Module):
    """Normalisation and two dense layers, added to what came in."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, size) to (B, size)."""
        return x + self.layers(x)


class Encoder(nn.Module):
    """Grid, condition and lattice numbers to a latent Gaussian."""

    def __init__(self, config: CrystalVAEConfig) -> None:
        super().__init__()
        self.config = config
        inputs = config.channels + config.bins
        levels = []
        for width, depth in zip(config.filters, config.depths, strict=True):
            blocks = [ConvBlock(inputs, width, periodic=config.periodic)]
            blocks += [ConvBlock(width, width, periodic=config.periodic) for _ in range(depth - 1)]
            levels.append(nn.Sequential(*blocks))
            inputs = width
        self.levels = nn.ModuleList(levels)
        if config.bottleneck_conv:
            conv = convolution(inputs, config.bottleneck, periodic=config.periodic)
            self.bottleneck: nn.Module = nn.Sequential(conv, nn.LeakyReLU(0.3))
            inputs = config.bottleneck
        else:
            self.bottleneck = nn.Identity()
        size = inputs * (config.coarse // (2 if config.pool_last else 1)) ** 3
        size += N_LATTICE if config.lattice_head else 0
        coarse = config.channels * COARSE**3 if config.shortcut else 0
        self.shortcut = nn.Linear(coarse, config.latent) if config.shortcut else None
        size += coarse
        dense = [DenseBlock(config.hidden) for _ in range(config.dense_blocks)]
        self.dense = nn.Sequential(nn.Linear(size, config.hidden), nn.ReLU(), *dense)
        self.mean = nn.Linear(config.hidden, config.latent)
        self.log_variance = nn.Linear(config.hidden, config.latent)

    def forward(self, grid: torch.Tensor, condition: torch.Tensor, lattice: torch.Tensor | None) -> Posterior:
        """Encode; shapes as in :meth:`CrystalVAE.encode`, ``condition`` one-hot."""
        tiled = condition[:, :, None, None, None].expand(-1, -1, *grid.shape[2:])
        x = torch.cat([grid, tiled.to(grid.dtype)], dim=1)
        for number, level in enumerate(self.levels, start=1):
            x = level(x)
            if number < len(self.levels) or self.config.pool_last:
                x = nn.functional.max_pool3d(x, 2)
        x = self.bottleneck(x).flatten(1)
        coarse = coarse_map(grid).flatten(1) if self.shortcut is not None else x[:, :0]
        if self.shortcut is not None:
            x = torch.cat([x, coarse.to(x.dtype)], dim=1)
        if lattice is not None:
            x = torch.cat([x, lattice.to(x.dtype)], dim=1)
        x = self.dense(x)
        mean = self.mean(x).float()
        if self.shortcut is not None:
            mean = mean + self.shortcut(coarse).float()
        return Posterior(mean, self.log_variance(x).float().clamp(-12.0, 6.0))


class Decoder(nn.Module):
    """Latent vector and condition to a grid."""

    def __init__(self, config: CrystalVAEConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.latent + config.bins, *config.decoder_hidden)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.3)]
        layers += [DenseBlock(sizes[-1]) for _ in range(config.dense_blocks)]
        self.dense = nn.Sequential(*layers)
        self.coarsest = nn.Linear(sizes[-1], config.bottleneck * config.coarse**3)
        coarse = config.channels * COARSE**3
        self.map = nn.Linear(sizes[-1], coarse) if config.shortcut else None
        self.shortcut = nn.Linear(config.latent, coarse) if config.shortcut else None
        levels, width_in = [], config.bottleneck
        for number, (width, depth) in enumerate(zip(config.filters[::-1], config.depths[::-1], strict=True), start=1):
            if config.shortcut and number == len(config.filters):
                width_in += config.channels
            blocks = [ConvBlock(width_in, width, periodic=config.periodic)]
            blocks += [ConvBlock(width, width, periodic=config.periodic) for _ in range(depth - 1)]
            levels.append(nn.Sequential(*blocks))
            width_in = width
        self.levels = nn.ModuleList(levels)
        width_in += config.channels if config.shortcut else 0
        output = convolution(width_in, config.channels, periodic=config.periodic)
        rectified = nn.Sequential(output, nn.BatchNorm3d(config.channels), nn.ReLU())
        self.output = rectified if config.rectified else output

    def forward(self, latent: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Decode; shapes as in :meth:`CrystalVAE.decode`, ``condition`` one-hot."""
        hidden = self.dense(torch.cat([latent, condition.to(latent.dtype)], dim=1))
        x = self.coarsest(hidden).unflatten(1, (self.config.bottleneck, *(self.config.coarse,) * 3))
        for level in self.levels[:-1]:
            x = nn.functional.interpolate(level(x), scale_factor=2.0)
        if self.map is None or self.shortcut is None:
            return self.output(self.levels[-1](x))
        coarse = (self.map(hidden) + self.shortcut(latent)).unflatten(1, (self.config.channels, *(COARSE,) * 3))
        spread = spread_map(coarse, self.config.grid).to(x.dtype)
        x = self.levels[-1](torch.cat([x, spread], dim=1))
        return self.output(torch.cat([x, spread.to(x.dtype)], dim=1))


class LatticeHead(nn.Sequential):
    """Latent vector to six lattice numbers in units of their spread over the training crystals."""

    def __init__(self, latent: int, hidden: int = 256) -> None:
        super().__init__(
            nn.Linear(latent, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, N_LATTICE),
        )


class CrystalVAE(nn.Module):
    """Conditional variational autoencoder (Court et al. 2020, section 2.4 and Figure 4).

    In the ``paper`` size the lattice lies in three coordinate channels of the grid. On a torus those would jump at the
    seam, so the ``periodic`` size takes and gives six lattice numbers beside the grid.

    Args:
        config: Sizes.
    """

    def __init__(self, config: CrystalVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.lattice_head = LatticeHead(config.latent) if config.lattice_head else None
        self.register_buffer("lattice_mean", torch.zeros(N_LATTICE))
        self.register_buffer("lattice_scale", torch.ones(N_LATTICE))
        self.lattice_mean: torch.Tensor
        self.lattice_scale: torch.Tensor

    def encode(self, grid: torch.Tensor, condition: torch.Tensor, lattice: torch.Tensor | None = None) -> Posterior:
        """Encode grids.

        Args:
            grid: Shape (B, channels, G, G, G).
            condition: Bins, shape (B,), int64, negative where unknown.
            lattice: Log lengths and cosines, shape (B, 6), where there is a lattice head.
        """
        if self.lattice_head is None:
            lattice = None
        elif lattice is not None:
            lattice = (lattice - self.lattice_mean) / self.lattice_scale
        return self.encoder(grid, one_hot_condition(condition, self.config.bins), lattice)

    def decode(self, latent: torch.Tensor, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Decode latent vectors.

        Args:
            latent: Shape (B, latent).
            condition: Bins, shape (B,), int64, negative where unknown.

        Returns:
            Grid, shape (B, channels, G, G, G), and log lengths and cosines, shape (B, 6), or None without a head.
        """
        grid = self.decoder(latent, one_hot_condition(condition, self.config.bins))
        if self.lattice_head is None:
            return grid, None
        return grid, self.lattice_head(latent).float() * self.lattice_scale + self.lattice_mean
