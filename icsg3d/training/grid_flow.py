"""Training of the density of latent grids: a flow over what a finished autoencoder encodes crystals to."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.crystals.arrays import centred
from icsg3d.crystals.elements import MAX_NUMBER
from icsg3d.models.grid_flow import GridConditions, GridFlow, matching_loss
from icsg3d.training.grid_data import epoch_batches
from icsg3d.training.grid_steps import GridSteps
from icsg3d.training.optimizers import take_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from icsg3d.models.grid_vae import GridVAE
    from icsg3d.representation.fields import GridShape
    from icsg3d.training.grid_data import GridSet


@dataclass(frozen=True)
class LatentSet:
    """Latent grids of crystals and what is known of these.

    Attributes:
        latents: Shape (X, Y, Z, latent) each.
        conditions: Of all crystals, in the same order.
        weights: How often each is drawn, mean 1, shape (n,).
    """

    latents: Sequence[torch.Tensor]
    conditions: GridConditions
    weights: np.ndarray

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.latents)

    @property
    def shapes(self) -> list[GridShape]:
        """Blocks along the axes of each crystal."""
        return [(x, y, z) for x, y, z, _ in (latent.shape for latent in self.latents)]

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, GridConditions]:
        """Return latent grids of one shape, (B, X, Y, Z, latent), and their conditions."""
        return torch.stack([self.latents[row] for row in rows]), self.conditions[torch.as_tensor(rows)]

    def rows(self, chosen: np.ndarray) -> LatentSet:
        """Return some of the crystals."""
        index = torch.as_tensor(chosen)
        return LatentSet([self.latents[row] for row in chosen], self.conditions[index], self.weights[chosen])


@torch.no_grad()
def encode_set(
    network: GridVAE,
    data: GridSet,
    bins: np.ndarray,
    *,
    budget: int = 80_000,
    half: bool = True,
    report: Callable[[int], None] = lambda _: None,
) -> LatentSet:
    """Encode crystals with their canonical origin at the corner of the first block.

    Args:
        network: The autoencoder.
        data: Crystals.
        bins: Of their energies, negative where unknown, shape (n,).
        budget: Grid points of a batch.
        half: Whether the layers compute in bfloat16.
        report: Called with the number of crystals encoded so far.
    """
    network.eval()
    dtype = torch.bfloat16 if half else torch.float32
    latents: list[torch.Tensor] = [torch.empty(0)] * len(data)
    done = 0
    for rows in epoch_batches(data.shapes, np.ones(len(data)), budget, len(data), (0,)):
        batch, shape = data.batch(rows)
        for row, mean in zip(rows, network.encode(centred(batch), shape, dtype).mean, strict=True):
            latents[row] = mean
        done += len(rows)
        report(done)
    conditions = GridConditions(
        torch.as_tensor(np.stack([crystal.lattice for crystal in data.crystals]), dtype=torch.float32),
        torch.tensor([len(crystal) for crystal in data.crystals]),
        torch.as_tensor(bins),
        element_sets([crystal.numbers for crystal in data.crystals]),
    )
    return LatentSet(latents, conditions, data.weights)


def element_sets(numbers: Sequence[np.ndarray]) -> torch.Tensor:
    """Return which elements crystals have, 1 or 0, shape (n, 94), of their atomic numbers."""
    found = torch.zeros(len(numbers), MAX_NUMBER)
    for row, each in enumerate(numbers):
        found[row, torch.as_tensor(np.unique(each)) - 1] = 1
    return found


@dataclass(frozen=True)
class GridFlowOptions(GridSteps):
    """How to train a :class:`icsg3d.models.grid_flow.GridFlow`, in batches of so many blocks.

    The other options are those of all trainings on grids.

    Attributes:
        unasked: Share of the crystals for which the energy is left open in training, and likewise the elements.
        average: Weight of the new weights in the running mean that is kept, once it has run for long.
    """

    budget: int = 2_000
    unasked: float = 0.5
    average: float = 0.005


def set_scale(flow: GridFlow, data: LatentSet) -> None:
    """Let a flow see latent vectors with the mean and the spread of those of a set; channels without use stay small."""
    vectors = torch.cat([latent.flatten(0, 2) for latent in data.latents])
    flow.mean.copy_(vectors.mean(0))
    flow.scale.copy_(vectors.std(0).clamp(min=0.1 * float(vectors.std(0).max())))


def train_grid_flow(
    flow: GridFlow,
    average: GridFlow,
    data: LatentSet,
    options: GridFlowOptions,
    optimizer: Sequence[torch.optim.Optimizer],
    *,
    start: int = 0,
    report: Callable[[int, dict[str, float]], None],
) -> None:
    """Train from step ``start`` to the last.

    Args:
        flow: What is trained, in place.
        average: Running mean of its weights, which is what draws are made with; moved in place.
        data: Latent grids to learn from.
        options: How.
        optimizer: As :func:`icsg3d.training.optimizers.matrix_optimizers` gives.
        start: Steps that were done already.
        report: Called after each step with the number of steps done and its figures.
    """
    flow.train()
    batches = options.batches(data, start)
    for step in range(start, options.steps):
        begun = time.perf_counter()
        latent, conditions = data.batch(next(batches))
        random = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        loss = matching_loss(flow, latent, conditions.thinned(options.unasked, random), random, options.dtype)
        take_step(optimizer, loss, options.rate(step))
        _move_average(average, flow, max(options.average, 10 / (step + 10)))
        figures = {"loss": loss.item(), "crystals": float(len(latent))}
        report(step + 1, figures | {"seconds": time.perf_counter() - begun})


def averaged(flow: GridFlow) -> GridFlow:
    """Return a copy of a flow for the running mean of its weights."""
    return copy.deepcopy(flow).requires_grad_(requires_grad=False)


@torch.no_grad()
def _move_average(average: GridFlow, flow: GridFlow, weight: float) -> None:
    for kept, new in zip(average.parameters(), flow.parameters(), strict=True):
        kept.lerp_(new, weight)


@torch.no_grad()
def held_out_loss(flow: GridFlow, data: LatentSet, *, budget: int = 4_000, half: bool = True) -> float:
    """Return the mean loss of crystals over the same noise and times each time it is asked for."""
    dtype = torch.bfloat16 if half else torch.float32
    total = 0.0
    random = torch.Generator().manual_seed(1)
    for rows in epoch_batches(data.shapes, np.ones(len(data)), budget, len(data), (0,)):
        latent, conditions = data.batch(rows)
        loss = matching_loss(flow, latent, conditions, random, dtype)
        total += loss.item() * len(rows)
    return total / len(data) if len(data) else math.nan
