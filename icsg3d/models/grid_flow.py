"""Density of latent grids as a flow: noise on a periodic grid is carried along a learned velocity to a latent grid.

Flow matching along straight lines (Lipman et al. 2023, arXiv:2210.02747) by a small network of periodic convolutions,
which see what is next to a block, and attention, which sees the whole cell, with a bias by the distance of blocks. What
is known of the crystal (its cell, the number of its atoms, and where wanted its energy and elements) scales and shifts
every layer (Peebles and Xie 2023, arXiv:2212.09748).

Crystals have an atom at the corner of the first block, so that the network need not choose among all translations of a
crystal; where a block is in the cell goes in with its latent vector.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from icsg3d.crystals.elements import MAX_NUMBER
from icsg3d.models.blocks import one_hot_condition
from icsg3d.models.periodic import Dense, Mixing, PeriodicConv
from icsg3d.representation.fields import step_metric

_FREQUENCIES = 16
_HARMONICS = (1, 2)
_DISTANCES = 16
_FARTHEST = 12.0
"""Angstrom; up to where the attention's bias tells distances apart."""

_BLOCK = 2.0
"""Angstrom; unit of a block's lengths."""


@dataclass(frozen=True)
class GridFlowConfig:
    """Size of a :class:`GridFlow`.

    Attributes:
        latent: Channels of a latent vector.
        width: Features of a block inside of the network.
        layers: Layers.
        heads: Of the attention.
        bins: Bins of the energy.
        most_atoms: Atoms of a cell, at most.
    """

    latent: int = 12
    width: int = 256
    layers: int = 5
    heads: int = 8
    bins: int = 10
    most_atoms: int = 20


@dataclass(frozen=True)
class GridConditions:
    """What is known of crystals before they are drawn; all on grids of one shape.

    Attributes:
        lattice: Lattice vectors as rows, shape (B, 3, 3), in angstrom.
        atoms: Number of atoms, shape (B,), int64.
        bins: Bin of the energy, shape (B,), int64, negative where it is left open.
        elements: Which of the elements 1 to 94 the crystal has, shape (B, 94), float32; all zero where that is left
            open.
    """

    lattice: torch.Tensor
    atoms: torch.Tensor
    bins: torch.Tensor
    elements: torch.Tensor

    def __getitem__(self, rows: slice | torch.Tensor) -> GridConditions:
        """Return those of some of the crystals."""
        return GridConditions(self.lattice[rows], self.atoms[rows], self.bins[rows], self.elements[rows])

    def unasked(self) -> GridConditions:
        """Return the same with energy and elements left open."""
        return dataclasses.replace(
            self, bins=torch.full_like(self.bins, -1), elements=torch.zeros_like(self.elements)
        )  # fmt: skip

    def thinned(self, share: float, random: torch.Generator) -> GridConditions:
        """Return the same with energies left open for a share of the crystals, and elements for another."""
        size = (2, len(self.bins), 1)
        energy, element = torch.rand(size, generator=random) < share
        return dataclasses.replace(
            self, bins=self.bins.masked_fill(energy[:, 0], -1), elements=self.elements.masked_fill(element, 0.0)
        )


class FlowLayer(nn.Module):
    """Convolution and attention side by side, then two dense layers; each added, scaled and shifted."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = Dense(width, 6 * width)
        self.conv = PeriodicConv(width, width)
        self.queries = Mixing(width, 3 * width)
        self.distances = Dense(_DISTANCES, heads)
        self.joined = Mixing(width, width)
        self.first = Mixing(width, 3 * width)
        self.second = Mixing(3 * width, width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self, x: torch.Tensor, embedding: torch.Tensor, distances: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        """Map (B, X, Y, Z, width) to the same shape.

        Args:
            x: Features of the blocks.
            embedding: Of time and conditions, shape (B, width).
            distances: Radial functions of the distance from the first block, shape (B, blocks, functions).
            places: For each pair of blocks the number of the block that is as far from the first, (blocks, blocks).
        """
        scales, shifts, gates, *rest = self.modulation(embedding)[:, None, None, None].chunk(6, dim=-1)
        hidden = torch.addcmul(shifts, F.layer_norm(x, x.shape[-1:]), 1 + scales)
        x = x + gates * (self.conv(hidden) + self._attention(hidden, distances, places))
        scales, shifts, gates = rest
        hidden = torch.addcmul(shifts, F.layer_norm(x, x.shape[-1:]), 1 + scales)
        return x + gates * self.second(F.silu(self.first(hidden)))

    def _attention(self, x: torch.Tensor, distances: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        count, width = len(x), x.shape[-1]
        rows = self.queries(x).view(count, -1, 3, self.heads, width // self.heads)
        query, key, value = rows.permute(2, 0, 3, 1, 4)
        bias = self.distances(distances)[:, places].permute(0, 3, 1, 2)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.joined(mixed.transpose(1, 2).reshape(x.shape))


class GridFlow(nn.Module):
    """Velocity field that turns normal noise into latent grids.

    Args:
        config: Sizes.
    """

    def __init__(self, config: GridFlowConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        places = 6 * len(_HARMONICS) + 1
        self.first = PeriodicConv(config.latent + places, width)
        self.layers = nn.ModuleList(FlowLayer(width, config.heads) for _ in range(config.layers))
        self.last = nn.Linear(width, config.latent)
        self.time = nn.Linear(2 * _FREQUENCIES, width)
        self.cell = nn.Sequential(nn.Linear(9 + config.most_atoms, width), nn.SiLU(), nn.Linear(width, width))
        self.energy = nn.Linear(config.bins, width, bias=False)
        self.elements = nn.Linear(MAX_NUMBER, width, bias=False)
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("scale", torch.ones(config.latent))
        self.mean: torch.Tensor
        self.scale: torch.Tensor
        nn.init.zeros_(self.last.weight)

    def forward(self, x: torch.Tensor, time: torch.Tensor, conditions: GridConditions) -> torch.Tensor:
        """Return velocities, shape (B, X, Y, Z, latent), float32.

        Args:
            x: Points on the way, shape (B, X, Y, Z, latent), in whose precision the layers compute.
            time: 0 at the noise, 1 at the data, shape (B,).
            conditions: Of the crystals.
        """
        shape = tuple(x.shape[1:4])
        embedding = self._embedding(time, conditions, shape).to(x.dtype)
        distances, places = _distances(conditions.lattice, shape), _differences(shape)
        where = _positions(shape).to(x.dtype).expand(len(x), *shape, -1)
        x = self.first(torch.cat([x, where], dim=-1))
        for layer in self.layers:
            x = layer(x, embedding, distances.to(x.dtype), places)
        return self.last(F.layer_norm(x, x.shape[-1:]).float())

    def _embedding(self, time: torch.Tensor, conditions: GridConditions, shape: tuple[int, ...]) -> torch.Tensor:
        angles = time[:, None] * torch.exp(torch.linspace(0, 5, _FREQUENCIES))
        blocks = torch.tensor(shape, dtype=torch.float32).log().expand(len(time), 3)
        atoms = F.one_hot(conditions.atoms - 1, self.config.most_atoms).float()
        metric = step_metric(conditions.lattice, shape, _BLOCK)  # type: ignore[arg-type]
        return F.silu(
            self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
            + self.cell(torch.cat([metric, blocks, atoms], dim=1))
            + self.energy(one_hot_condition(conditions.bins, self.config.bins))
            + self.elements(conditions.elements)
        )

    def guided(self, x: torch.Tensor, time: torch.Tensor, conditions: GridConditions, guidance: float) -> torch.Tensor:
        """Return velocities in which what energy and elements change counts ``guidance`` times.

        Source: Ho and Salimans 2022, arXiv:2207.12598, for diffusion; the rule is the same.
        """
        velocity = self(x, time, conditions)
        asked = bool((conditions.bins >= 0).any()) or bool(conditions.elements.any())
        if guidance == 1 or not asked:
            return velocity
        anyhow = self(x, time, conditions.unasked())
        return anyhow + guidance * (velocity - anyhow)

    @torch.no_grad()
    def carry(
        self,
        x: torch.Tensor,
        conditions: GridConditions,
        *,
        start: float = 0.0,
        steps: int = 6,
        guidance: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Carry points from a time to the data by Heun's method, and return latent grids.

        Args:
            x: Points at time ``start``, shape (B, X, Y, Z, latent): noise at 0.
            conditions: Of the crystals.
            start: From 0, below 1.
            steps: Of the whole way from 0; a part of it takes its share of them, at least one. Of the last third, where
                draws begin, two steps end within 1.4 % of a latent vector's spread of where twenty do.
            guidance: How many times the difference that energy and elements make is counted.
            dtype: Precision of the layers.
        """
        return self.mean + self._carried(x, conditions, start, 1.0, steps, guidance, dtype) * self.scale

    @torch.no_grad()
    def noise(self, latent: torch.Tensor, conditions: GridConditions, *, steps: int = 6) -> torch.Tensor:
        """Return the noise that the flow would carry to latent grids, shape (B, X, Y, Z, latent)."""
        return self._carried((latent - self.mean) / self.scale, conditions, 1.0, 0.0, steps, 1.0, torch.float32)

    def _carried(
        self,
        x: torch.Tensor,
        conditions: GridConditions,
        start: float,
        end: float,
        steps: int,
        guidance: float,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        """Return points carried from one time to another by Heun's method."""
        count = max(1, math.ceil(steps * abs(end - start)))
        times = torch.linspace(start, end, count + 1)
        for now, then in itertools.pairwise(times):
            length = then - now
            velocity = self.guided(x.to(dtype), now.expand(len(x)), conditions, guidance)
            ahead = self.guided((x + length * velocity).to(dtype), then.expand(len(x)), conditions, guidance)
            x = x + length * (velocity + ahead) / 2
        return x

    def between(self, latent: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Return the points on the straight way from noise to latent grids at times, shape (B,)."""
        shares = time.view(-1, 1, 1, 1, 1)
        return (1 - shares) * noise + shares * (latent - self.mean) / self.scale


def matching_loss(
    flow: GridFlow,
    latent: torch.Tensor,
    conditions: GridConditions,
    random: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return the mean squared error of the velocity between noise and latent grids, at random times."""
    noise = torch.randn(latent.shape, generator=random)
    time = torch.sigmoid(torch.randn(len(latent), generator=random))  # most of the work lies half way
    velocity = flow(flow.between(latent, noise, time).to(dtype), time, conditions)
    return (velocity - (latent - flow.mean) / flow.scale + noise).square().mean()


def _positions(shape: tuple[int, ...]) -> torch.Tensor:
    """Return where blocks are in the cell as periodic functions, and which is the first, shape (X, Y, Z, functions)."""
    axes = torch.meshgrid(*[torch.arange(n) / n for n in shape], indexing="ij")
    turns = [2 * math.pi * harmonic * axis for axis in axes for harmonic in _HARMONICS]
    first = torch.zeros(shape)
    first[0, 0, 0] = 1
    return torch.stack([f(turn) for turn in turns for f in (torch.sin, torch.cos)] + [first], dim=-1)


def _differences(shape: tuple[int, ...]) -> torch.Tensor:
    """Return for each pair of blocks the number of the block that is where one is as seen from the other."""
    index = torch.cartesian_prod(*[torch.arange(n) for n in shape])
    difference = (index[None] - index[:, None]) % torch.tensor(shape)
    return (difference[..., 0] * shape[1] + difference[..., 1]) * shape[2] + difference[..., 2]


def _distances(lattice: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Return radial functions of the distance of each block's nearest image from the first, (B, blocks, functions)."""
    index = torch.cartesian_prod(*[torch.arange(n) for n in shape]) / torch.tensor(shape)
    images = torch.cartesian_prod(*[torch.arange(-1.0, 2.0)] * 3)
    offsets = (index - index.round())[:, None] + images
    nearest = torch.einsum("psi,bij->bpsj", offsets, lattice).norm(dim=-1).amin(-1)
    centres = torch.linspace(0, _FARTHEST, _DISTANCES)
    return torch.exp(-(((nearest[..., None] - centres) * _DISTANCES / _FARTHEST) ** 2))
