"""Standard uncertainties from where a crystal lies among those that a network learned.

A crystal's pooled features are projected on the main directions of the training crystals'. There, the distance to the
nearest of a sample of training crystals says how unlike them it is, and a linear model of the logarithm of the error,
fitted to crystals that were held out, gives the uncertainty: it can only grow with that distance and, in an ensemble,
with the disagreement of the networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

NEAREST = 2
"""Training crystals whose mean distance counts."""

_FARTHEST = 3.0
"""Coordinates count for the size of the error up to so many standard deviations, so that no line is drawn far out."""

_LEAST_DISTANCE = 1e-2


@dataclass(frozen=True)
class UncertaintyConfig:
    """Sizes of a model of uncertainty.

    Attributes:
        features: Pooled features of a crystal.
        directions: Main directions that count.
        references: Training crystals that distances are taken to.
        disagreement: Whether the standard deviation of an ensemble's networks counts as well.
    """

    features: int
    directions: int = 12
    references: int = 2048
    disagreement: bool = False


class Uncertainty(nn.Module):
    """Distances and uncertainties; all numbers are buffers, set by :mod:`icsg3d.training.uncertainty`.

    Args:
        config: Sizes.
    """

    def __init__(self, config: UncertaintyConfig) -> None:
        super().__init__()
        self.config = config
        self.centre: torch.Tensor
        self.directions: torch.Tensor
        self.references: torch.Tensor
        self.offset: torch.Tensor
        self.slope: torch.Tensor
        self.weights: torch.Tensor
        self.limit: torch.Tensor
        self.register_buffer("centre", torch.zeros(config.features))
        self.register_buffer("directions", torch.zeros(config.features, config.directions))
        self.register_buffer("references", torch.zeros(config.references, config.directions))
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("slope", torch.zeros(()))
        self.register_buffer("weights", torch.zeros(config.directions))
        self.register_buffer("limit", torch.tensor(torch.finfo(torch.float32).max))
        if config.disagreement:
            self.spread_floor: torch.Tensor
            self.spread_slope: torch.Tensor
            self.register_buffer("spread_floor", torch.ones(()))
            self.register_buffer("spread_slope", torch.zeros(()))

    def coordinates(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return pooled features, shape (B, features), along the main directions in standard deviations."""
        return (pooled - self.centre) @ self.directions

    def distance(self, coordinates: torch.Tensor) -> torch.Tensor:
        """Return the mean distance to the nearest training crystals, shape (B,)."""
        count = min(NEAREST, len(self.references))
        return torch.cdist(coordinates, self.references).topk(count, dim=1, largest=False).values.mean(1)

    def terms(self, pooled: torch.Tensor, spread: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the logarithm of the error depends on.

        Args:
            pooled: Features of the crystals, shape (B, features).
            spread: Standard deviation of the networks on the learned scale, shape (B,).

        Returns:
            Logarithms that the error can only grow with, shape (B, 1), or (B, 2) where the disagreement counts: of the
            distance and of the spread; and the bounded coordinates, shape (B, directions).
        """
        coordinates = self.coordinates(pooled)
        growing = [self.distance(coordinates).add(_LEAST_DISTANCE).log()]
        if self.config.disagreement:
            growing.append(spread.add(self.spread_floor).log())
        return torch.stack(growing, dim=1), coordinates.clamp(-_FARTHEST, _FARTHEST)

    def slopes(self) -> torch.Tensor:
        """Return by how much the logarithm of the error grows with each of the terms that it can only grow with."""
        return torch.stack([self.slope, self.spread_slope] if self.config.disagreement else [self.slope])

    def forward(self, pooled: torch.Tensor, spread: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return uncertainties on the learned scale and whether a crystal is unlike all that was learned.

        Args:
            pooled: Features of the crystals, shape (B, features).
            spread: Standard deviation of the networks on the learned scale, shape (B,).
        """
        growing, bounded = self.terms(pooled, spread)
        sigma = (self.offset + growing @ self.slopes() + bounded @ self.weights).exp()
        return sigma, growing[:, 0].exp() - _LEAST_DISTANCE > self.limit
