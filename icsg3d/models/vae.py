"""Conditional variational autoencoder of crystal grids."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import nn

from icsg3d.errors import InputError
from icsg3d.models.blocks import ConvBlock, convolution, one_hot_condition

N_LATTICE = 6
"""Numbers of a lattice beside the grid: three log lengths, three cosines of angles."""

COARSE = 4
"""Points of the coarse map along each axis: halves and quarters, where most atoms of simple crystals lie, are the
centres of its blocks."""


Architecture = Literal["paper", "periodic"]

_SWITCHES = ("periodic", "pool_last", "bottleneck_conv", "shortcut", "lattice_head", "rectified")
_ARCHITECTURES: dict[tuple[bool, ...], Architecture] = {
    (True, False, False, True, True, False): "periodic",
    (False, True, True, False, False, True): "paper",
}
"""The two architectures by the switches in a configuration; there are no others."""


@dataclass(frozen=True)
class CrystalVAEConfig:
    """Sizes of a :class:`CrystalVAE`, and which of two architectures it has.

    Six fields of a model's configuration, ``periodic`` and those marked "as one" below, tell the architectures apart.
    They go together: without any of them the configuration is of the periodic architecture, and :meth:`paper` gives
    that of the paper.

    Attributes:
        grid: Points along each axis.
        channels: Channels of the grid.
        periodic: Whether convolutions wrap around.
        filters: Filters of each level of the encoder; the decoder mirrors them.
        depths: Convolutions of each level.
        pool_last: Whether the last level of the encoder is pooled too; as one with ``periodic=False``.
        bottleneck: Channels of the coarsest grid of the decoder and, in the paper, of the encoder.
        bottleneck_conv: Whether a convolution leads to the bottleneck; as one with ``periodic=False``.
        hidden: Units of the dense layer before the latent space.
        decoder_hidden: Units of the dense layers after it; empty for none but the one onto the coarsest grid, as in
            the paper.
        dense_blocks: Residual dense blocks on either side of the latent space, none in the paper. They cost next to
            nothing beside the convolutions, and it is there that an element is bound to a site.
        shortcut: Whether a coarse map runs past the convolutions (:class:`PeriodicEncoder`); as one with ``periodic``.
        latent: Dimensions of the latent space.
        bins: Bins of the condition (formation energy per atom).
        lattice_head: Whether six lattice numbers are encoded and decoded beside the grid; as one with ``periodic``.
        rectified: Whether the decoded grid ends in batch norm and ReLU; as one with ``periodic=False``.
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
            InputError: if the fields mix the two architectures, the grid cannot be halved as often as the levels ask,
                or levels and depths differ.
        """
        paper = self.architecture == "paper"
        if paper and (self.decoder_hidden or self.dense_blocks):
            msg = "the paper's autoencoder has no decoder_hidden and no dense_blocks; leave them empty and 0"
            raise InputError(msg)
        step = 2 ** (len(self.filters) - 1 + paper)
        if self.grid % step:
            levels = len(self.filters)
            msg = f"a grid of {self.grid} points cannot be halved for {levels} levels; take a multiple of {step}"
            raise InputError(msg)
        if not paper and self.grid % COARSE:
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
    def architecture(self) -> Architecture:
        """Name of the architecture that the fields describe.

        Raises:
            InputError: if they mix the two.
        """
        found = tuple(getattr(self, name) for name in _SWITCHES)
        if found not in _ARCHITECTURES:
            told = " or ".join(
                f"{name!r} ({', '.join(f'{k}={v}' for k, v in zip(_SWITCHES, values, strict=True))})"
                for values, name in _ARCHITECTURES.items()
            )
            given = ", ".join(f"{name}={value}" for name, value in zip(_SWITCHES, found, strict=True))
            raise InputError(f"there is no autoencoder with {given}; take those of the architecture {told}")
        return _ARCHITECTURES[found]

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


def _levels(
    inputs: int, filters: tuple[int, ...], depths: tuple[int, ...], *, periodic: bool, beside_last: int = 0
) -> nn.ModuleList:
    """Return levels of convolutions; the last one takes so many channels beside those of the level before it."""
    levels = []
    for number, (width, depth) in enumerate(zip(filters, depths, strict=True), start=1):
        taken = inputs + (beside_last if number == len(filters) else 0)
        later = (ConvBlock(width, width, periodic=periodic) for _ in range(depth - 1))
        levels.append(nn.Sequential(ConvBlock(taken, width, periodic=periodic), *later))
        inputs = width
    return nn.ModuleList(levels)


def _dense_blocks(size: int, number: int) -> list[nn.Module]:
    """Return residual dense blocks."""
    return [DenseBlock(size) for _ in range(number)]


def _with_condition(grid: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Return a grid (B, C, G, G, G) with a one-hot condition (B, bins) at every point as further channels."""
    tiled = condition[:, :, None, None, None].expand(-1, -1, *grid.shape[2:])
    return torch.cat([grid, tiled.to(grid.dtype)], dim=1)


def _posterior(mean: torch.Tensor, log_variance: torch.Tensor) -> Posterior:
    """Return a latent Gaussian in float32 whose variances stay within bounds."""
    return Posterior(mean.float(), log_variance.float().clamp(-12.0, 6.0))


class PaperEncoder(nn.Module):
    """Grid and condition to a latent Gaussian, as in the paper: every level is pooled, then comes a bottleneck."""

    def __init__(self, config: CrystalVAEConfig) -> None:
        super().__init__()
        self.levels = _levels(config.channels + config.bins, config.filters, config.depths, periodic=False)
        conv = convolution(config.filters[-1], config.bottleneck, periodic=False)
        self.bottleneck = nn.Sequential(conv, nn.LeakyReLU(0.3))
        self.dense = nn.Sequential(nn.Linear(config.bottleneck * (config.coarse // 2) ** 3, config.hidden), nn.ReLU())
        self.mean = nn.Linear(config.hidden, config.latent)
        self.log_variance = nn.Linear(config.hidden, config.latent)

    def forward(self, grid: torch.Tensor, condition: torch.Tensor) -> Posterior:
        """Encode; shapes as in :meth:`CrystalVAE.encode`, ``condition`` one-hot."""
        x = _with_condition(grid, condition)
        for level in self.levels:
            x = nn.functional.max_pool3d(level(x), 2)
        x = self.dense(self.bottleneck(x).flatten(1))
        return _posterior(self.mean(x), self.log_variance(x))


class PaperDecoder(nn.Module):
    """Latent vector and condition to a grid of values from 0 on, as in the paper."""

    def __init__(self, config: CrystalVAEConfig) -> None:
        super().__init__()
        self.first = (config.bottleneck, *(config.coarse,) * 3)
        self.coarsest = nn.Linear(config.latent + config.bins, math.prod(self.first))
        self.levels = _levels(config.bottleneck, config.filters[::-1], config.depths[::-1], periodic=False)
        output = convolution(config.filters[0], config.channels, periodic=False)
        self.output = nn.Sequential(output, nn.BatchNorm3d(config.channels), nn.ReLU())

    def forward(self, latent: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Decode; shapes as in :meth:`CrystalVAE.decode`, ``condition`` one-hot."""
        x = self.coarsest(torch.cat([latent, condition.to(latent.dtype)], dim=1)).unflatten(1, self.first)
        for level in self.levels[:-1]:
            x = nn.functional.interpolate(level(x), scale_factor=2.0)
        return self.output(self.levels[-1](x))


class PeriodicEncoder(nn.Module):
    """Grid, condition and lattice numbers to a latent Gaussian, by circular convolutions and past them.

    The coarse map, the mean of the grid over 4^3 blocks, runs linearly and through the dense layers into the latent
    space. Which element lies where is a nearly linear matter, and so learned in minutes that would else take hours.
    """

    def __init__(self, config: CrystalVAEConfig) -> None:
        super().__init__()
        self.levels = _levels(config.channels + config.bins, config.filters, config.depths, periodic=True)
        coarse = config.channels * COARSE**3
        self.shortcut = nn.Linear(coarse, config.latent)
        dense = _dense_blocks(config.hidden, config.dense_blocks)
        size = config.filters[-1] * config.coarse**3 + coarse + N_LATTICE
        self.dense = nn.Sequential(nn.Linear(size, config.hidden), nn.ReLU(), *dense)
        self.mean = nn.Linear(config.hidden, config.latent)
        self.log_variance = nn.Linear(config.hidden, config.latent)

    def forward(self, grid: torch.Tensor, condition: torch.Tensor, lattice: torch.Tensor) -> Posterior:
        """Encode; shapes as in :meth:`CrystalVAE.encode`, ``condition`` one-hot."""
        x = _with_condition(grid, condition)
        for level in self.levels[:-1]:
            x = nn.functional.max_pool3d(level(x), 2)
        x, coarse = self.levels[-1](x).flatten(1), coarse_map(grid).flatten(1)
        x = self.dense(torch.cat([x, coarse.to(x.dtype), lattice.to(x.dtype)], dim=1))
        return _posterior(self.mean(x).float() + self.shortcut(coarse).float(), self.log_variance(x))


class PeriodicDecoder(nn.Module):
    """Latent vector and condition to a grid, by circular convolutions beside a coarse map."""

    def __init__(self, config: CrystalVAEConfig) -> None:
        super().__init__()
        self.first, self.grid = (config.bottleneck, *(config.coarse,) * 3), config.grid
        self.coarse = (config.channels, *(COARSE,) * 3)
        sizes = (config.latent + config.bins, *config.decoder_hidden)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.3)]
        self.dense = nn.Sequential(*layers, *_dense_blocks(sizes[-1], config.dense_blocks))
        self.coarsest = nn.Linear(sizes[-1], math.prod(self.first))
        self.map = nn.Linear(sizes[-1], math.prod(self.coarse))
        self.shortcut = nn.Linear(config.latent, math.prod(self.coarse))
        filters, depths, beside = config.filters[::-1], config.depths[::-1], config.channels
        self.levels = _levels(config.bottleneck, filters, depths, periodic=True, beside_last=beside)
        self.output = convolution(filters[-1] + beside, config.channels, periodic=True)

    def forward(self, latent: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Decode; shapes as in :meth:`CrystalVAE.decode`, ``condition`` one-hot."""
        hidden = self.dense(torch.cat([latent, condition.to(latent.dtype)], dim=1))
        x = self.coarsest(hidden).unflatten(1, self.first)
        for level in self.levels[:-1]:
            x = nn.functional.interpolate(level(x), scale_factor=2.0)
        coarse = (self.map(hidden) + self.shortcut(latent)).unflatten(1, self.coarse)
        spread = spread_map(coarse, self.grid).to(x.dtype)
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

    In the ``paper`` architecture the lattice lies in three coordinate channels of the grid. On a torus those would jump
    at the seam, so the ``periodic`` architecture takes and gives six lattice numbers beside the grid.

    Args:
        config: Sizes.
    """

    def __init__(self, config: CrystalVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: PaperEncoder | PeriodicEncoder
        self.decoder: PaperDecoder | PeriodicDecoder
        self.lattice_head: LatticeHead | None
        if config.architecture == "paper":
            self.encoder, self.decoder, self.lattice_head = PaperEncoder(config), PaperDecoder(config), None
        else:
            self.encoder, self.decoder = PeriodicEncoder(config), PeriodicDecoder(config)
            self.lattice_head = LatticeHead(config.latent)
        self.register_buffer("lattice_mean", torch.zeros(N_LATTICE))
        self.register_buffer("lattice_scale", torch.ones(N_LATTICE))
        self.lattice_mean: torch.Tensor
        self.lattice_scale: torch.Tensor

    def encode(self, grid: torch.Tensor, condition: torch.Tensor, lattice: torch.Tensor | None = None) -> Posterior:
        """Encode grids.

        Args:
            grid: Shape (B, channels, G, G, G).
            condition: Bins, shape (B,), int64, negative where unknown.
            lattice: Log lengths and cosines, shape (B, 6), which the periodic architecture needs and the paper's
                ignores.

        Raises:
            InputError: if they are missing.
        """
        known = one_hot_condition(condition, self.config.bins)
        if self.lattice_head is None:
            return self.encoder(grid, known)
        if lattice is None:
            raise InputError("the periodic autoencoder encodes the lattice beside the grid; give it as lattice")
        return self.encoder(grid, known, (lattice - self.lattice_mean) / self.lattice_scale)

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
