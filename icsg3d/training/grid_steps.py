"""What both trainings of a latent-grid model share: learning rates and batches by the number of the step alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from icsg3d.training.grid_data import epoch_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from icsg3d.representation.fields import GridShape


class Weighted(Protocol):
    """Crystals with the shapes of their grids and how often each is drawn."""

    @property
    def shapes(self) -> Sequence[GridShape]:
        """Of the grids."""

    @property
    def weights(self) -> np.ndarray:
        """Mean 1, shape (n,)."""


@dataclass(frozen=True)
class GridSteps:
    """Steps of a training on grids.

    Attributes:
        steps: In all. The learning rate rises over ``warm``, stays, and falls to nothing over the last ``cooling``.
        learning_rate: At its highest.
        warm: Steps.
        cooling: Share of the steps.
        budget: Grid points, or blocks, of a batch.
        epoch: Crystals of an epoch.
        weight_decay: Of matrices.
        seed: Of weights, order and noise.
        half: Whether the layers compute in bfloat16.
    """

    steps: int
    learning_rate: float = 2e-3
    warm: int = 100
    cooling: float = 0.5
    budget: int = 40_000
    epoch: int = 20_000
    weight_decay: float = 0.02
    seed: int = 0
    half: bool = True

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        left = (self.steps - step) / (self.cooling * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warm, max(left, 0.0))

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the layers."""
        return torch.bfloat16 if self.half else torch.float32

    def batches(self, data: Weighted, start: int) -> Iterator[np.ndarray]:
        """Give the rows of one batch after the other, from step ``start`` on."""
        epoch, step = 0, 0
        while True:
            batches = epoch_batches(data.shapes, data.weights, self.budget, self.epoch, (self.seed, epoch))
            if step + len(batches) > start:
                yield from batches[max(0, start - step) :]
            step += len(batches)
            epoch += 1
