"""Density of crystals in latent space as a flow: noise is carried along a learned velocity to latent vectors.

Flow matching along straight lines (Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003), in the
leading principal components of the latent vectors. A draw takes forty evaluations, which together cost a small part of
what decoding a grid does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from icsg3d.models.blocks import one_hot_condition

_FREQUENCIES = 16
_EMBEDDING = 64


@dataclass(frozen=True)
class FlowConfig:
    """Size of a :class:`LatentFlow`.

    Attributes:
        latent: Dimensions of the latent space.
        components: Principal components that flow; what lies outside of them stays at the mean.
        width: Features of the hidden layers.
        blocks: Residual blocks.
        bins: Bins of the condition.
    """

    latent: int
    components: int
    width: int = 768
    blocks: int = 4
    bins: int = 10


class FlowBlock(nn.Module):
    """Two dense layers added to what came in, scaled and shifted by time and condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(_EMBEDDING, 2 * width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Map (B, width) to (B, width)."""
        scale, shift = self.modulation(embedding).chunk(2, dim=-1)
        return x + self.second(nn.functional.silu(self.first(self.norm(x) * (1 + scale) + shift)))


class LatentFlow(nn.Module):
    """Velocity field that turns normal noise into latent vectors, alone or for a bin of the condition.

    Args:
        config: Sizes.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(config.components, config.width)
        self.blocks = nn.ModuleList(FlowBlock(config.width) for _ in range(config.blocks))
        self.last = nn.Linear(config.width, config.components)
        self.time = nn.Linear(2 * _FREQUENCIES, _EMBEDDING)
        self.condition = nn.Linear(config.bins, _EMBEDDING, bias=False)
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("basis", torch.zeros(config.components, config.latent))
        self.mean: torch.Tensor
        self.basis: torch.Tensor

    @torch.no_grad()
    def set_components(self, latent: torch.Tensor) -> None:
        """Take the principal components of latent vectors, shape (n, latent), scaled to unit variance."""
        self.mean.copy_(latent.mean(0))
        _, sizes, rows = torch.linalg.svd((latent - self.mean).double(), full_matrices=False)
        scale = (sizes / math.sqrt(len(latent)))[: self.config.components].clamp(min=1e-6)
        self.basis.copy_(rows[: self.config.components] * scale[:, None])

    def components(self, latent: torch.Tensor) -> torch.Tensor:
        """Return the scaled principal components, (B, components), of latent vectors, (B, latent)."""
        return (latent - self.mean) @ (self.basis / self.basis.square().sum(1, keepdim=True)).T

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Return velocities.

        Args:
            x: Points on the way, shape (B, components).
            time: 0 at the noise, 1 at the data, shape (B,).
            condition: Bins, shape (B,), int64, negative where unknown.
        """
        angles = time[:, None] * torch.exp(torch.linspace(0, 5, _FREQUENCIES, device=time.device))
        embedding = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
        embedding = nn.functional.silu(embedding + self.condition(one_hot_condition(condition, self.config.bins)))
        x = self.first(x)
        for block in self.blocks:
            x = block(x, embedding)
        return self.last(x)

    def guided(self, x: torch.Tensor, time: torch.Tensor, condition: torch.Tensor, guidance: float) -> torch.Tensor:
        """Return velocities in which what the condition changes counts ``guidance`` times.

        Source: Ho and Salimans 2022, arXiv:2207.12598, for diffusion; the rule is the same.
        """
        velocity = self(x, time, condition)
        if guidance == 1 or bool((condition < 0).all()):
            return velocity
        anyhow = self(x, time, torch.full_like(condition, -1))
        return anyhow + guidance * (velocity - anyhow)

    @torch.no_grad()
    def sample(
        self,
        noise: torch.Tensor,
        condition: torch.Tensor,
        steps: int = 20,
        guidance: float = 1.0,
        start: float = 0.0,
    ) -> torch.Tensor:
        """Return latent vectors, shape (B, latent), by Heun's method.

        Args:
            noise: Standard normal, shape (B, components); with a later start, points on the way.
            condition: Bins, shape (B,), int64, negative for any.
            steps: Of the integration, from 0 to 1; later starts take their share of them.
            guidance: How many times the difference that the condition makes is counted.
            start: Time at which the points are, 0 to 1.
        """
        return self.mean + self._carried(noise, condition, start, 1.0, steps, guidance) @ self.basis

    @torch.no_grad()
    def noise(self, latent: torch.Tensor, steps: int = 20) -> torch.Tensor:
        """Return the noise from which the flow, without a condition, would carry to latent vectors: (B, components)."""
        anyhow = torch.full((len(latent),), -1, device=latent.device)
        return self._carried(self.components(latent), anyhow, 1.0, 0.0, steps, 1.0)

    def _carried(
        self, x: torch.Tensor, condition: torch.Tensor, start: float, end: float, steps: int, guidance: float
    ) -> torch.Tensor:
        """Return points carried along the flow from one time to another, at most 1/steps at a time."""
        count = math.ceil(steps * abs(end - start) - 1e-9)
        times = [start + (end - start) * step / count for step in range(count)] + [end] if count else [start]
        for now, then in pairwise(times):
            before, after = (torch.full((len(x),), t, device=x.device) for t in (now, then))
            velocity = self.guided(x, before, condition, guidance)
            ahead = self.guided(x + (then - now) * velocity, after, condition, guidance)
            x = x + (then - now) / 2 * (velocity + ahead)
        return x
