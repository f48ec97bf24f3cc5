"""Training of a latent-grid autoencoder: runs until it is stopped, and resumes exactly.

What a step does depends on the seed and the number of the step alone, so a training that was broken off and resumed
does what an unbroken one does.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.crystals.comparison import site_distances
from icsg3d.models.grid_decoding import crystals_of, sites_of
from icsg3d.models.grid_losses import GridLossConfig, grid_losses
from icsg3d.training.augment import Augmentation
from icsg3d.training.grid_data import epoch_batches
from icsg3d.training.grid_steps import GridSteps
from icsg3d.training.optimizers import take_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from icsg3d.models.grid_vae import GridVAE
    from icsg3d.training.grid_data import GridSet

REBUILT_DISTANCE = 0.5
"""Angstrom; a site farther from the true one is a miss."""


@dataclass(frozen=True)
class GridTrainingOptions(GridSteps):
    """How to train the autoencoder, in batches of so many grid points.

    The other options are those of all trainings on grids.

    Attributes:
        ramp: Share of the steps over which the divergence's weight rises; 0 for all of it from the first step on.
        loss: Weights of the loss.
        encoder: Whether the encoder learns as well; else only the decoder does.
        substitute: Share of crystals in which elements are exchanged at random, so that every element is seen on every
            kind of site and is read from the latent vectors, not guessed from its neighbours.
    """

    ramp: float = 0.2
    loss: GridLossConfig = field(default_factory=GridLossConfig)
    encoder: bool = True
    substitute: float = 0.0

    def divergence_share(self, step: int) -> float:
        """Return which share of the divergence's weight counts at a step, counted from 0."""
        rising = self.ramp * self.steps
        return min(1.0, (step + 1) / rising) if rising else 1.0


def train_grid_vae(
    network: GridVAE,
    data: GridSet,
    options: GridTrainingOptions,
    optimizer: Sequence[torch.optim.Optimizer],
    *,
    start: int = 0,
    report: Callable[[int, dict[str, float]], None],
) -> None:
    """Train from step ``start`` to the last.

    Args:
        network: What is trained, in place.
        data: Crystals to learn from.
        options: How.
        optimizer: As :func:`icsg3d.training.optimizers.matrix_optimizers` gives, with their states.
        start: Steps that were done already.
        report: Called after each step with the number of steps done and its figures: the parts of the loss, crystals
            and points of the batch, seconds.
    """
    network.train()
    if not options.encoder:
        network.settle_encoder()
    # Where a cell begins is of no meaning, but its shape decides on the grid, so that its axes and lengths stay.
    augmentation = Augmentation(permute_axes=False, translate=True, strain=0.0, substitute=options.substitute)
    known = torch.as_tensor(np.unique(np.concatenate([crystal.numbers for crystal in data.crystals])))
    batches = options.batches(data, start)
    for step in range(start, options.steps):
        begun = time.perf_counter()
        batch, shape = data.batch(next(batches))
        random = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        batch, _ = augmentation(batch, known, random)
        posterior = network.encode(batch, shape, options.dtype)
        decoded = network.decode(posterior.draw(random), batch.lattice, options.dtype)
        parts = grid_losses(network, decoded, posterior, batch, shape, options.loss)
        loss = parts.total(options.loss, options.divergence_share(step))
        take_step(optimizer, loss, options.rate(step))
        figures: dict[str, float] = {name: value.item() for name, value in parts._asdict().items()}
        figures |= {"loss": loss.item(), "crystals": len(batch), "points": len(batch) * math.prod(shape)}
        report(step + 1, figures | {"seconds": time.perf_counter() - begun})


@torch.no_grad()
def judge(network: GridVAE, data: GridSet, *, budget: int = 40_000, half: bool = True) -> dict[str, float]:
    """Return how well crystals come back straight through the networks, their cells given.

    Returns:
        Share with the right number of atoms, with the right species besides, rebuilt (each site within 0.5 angstrom
        besides); the root mean square distance of the sites of these in angstrom; nats an atom that latent grids carry.
    """
    network.eval()
    dtype = torch.bfloat16 if half else torch.float32
    counts, species, rebuilt, squares, nats, atoms = 0, 0, 0, list[np.ndarray](), 0.0, 0
    for rows in epoch_batches(data.shapes, np.ones(len(data)), budget, len(data), (0,)):
        batch, shape = data.batch(rows)
        posterior = network.encode(batch, shape, dtype)
        nats += float(posterior.divergence().sum())
        atoms += int(batch.mask.sum())
        decoded = network.decode(posterior.mean, batch.lattice, dtype)
        found = crystals_of(sites_of(network, decoded, batch.lattice), batch.lattice)
        for row, crystal in zip(rows, found, strict=True):
            distances = site_distances(data.crystals[row], crystal)
            counts += len(crystal) == len(data.crystals[row])
            species += distances is not None
            if distances is not None and (distances < REBUILT_DISTANCE).all():
                rebuilt += 1
                squares.append(distances**2)
    network.train()
    size = len(data)
    off = float(np.sqrt(np.concatenate(squares).mean())) if squares else math.nan
    return {
        "count": counts / size, "species": species / size, "rebuilt": rebuilt / size, "off": off, "nats": nats / atoms
    }  # fmt: skip
