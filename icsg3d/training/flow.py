"""Fitting of the flow that is the density of training crystals in latent space."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch

from icsg3d.models.flow import FlowConfig, LatentFlow
from icsg3d.processors import has_bfloat16
from icsg3d.progress import track

_STEPS_PER_CRYSTAL = 4
_MOST_STEPS = 15_000


@dataclass(frozen=True)
class FlowOptions:
    """How a flow is fitted.

    Attributes:
        steps: Of the optimiser; None for four for each crystal, but not more than 15,000.
        batch_size: Latent vectors of a step.
        learning_rate: Of AdamW, at its highest.
        weight_decay: Of AdamW.
        components: Principal components that flow, at most half as many as there are crystals.
        width: Features of the hidden layers.
        unlabelled: Share of a batch that has no condition, so that it may be left out.
        recombined: Share of a batch that are recombined crystals.
        held_out: Share of the crystals that tells which weights are best.
        every: Steps between looks at them.
        seed: Of everything random.
    """

    steps: int | None = None
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    components: int = 96
    width: int = 768
    unlabelled: float = 0.5
    recombined: float = 0.4
    held_out: float = 0.1
    every: int = 500
    seed: int = 0

    def steps_for(self, count: int) -> int:
        """Return the number of steps for so many crystals."""
        return min(_MOST_STEPS, _STEPS_PER_CRYSTAL * count) if self.steps is None else self.steps


class Cloud(NamedTuple):
    """Posteriors of crystals in latent space.

    Means and standard deviations, (n, latent), and bins of the condition, (n,), int64, negative where unknown or
    hidden.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    bins: torch.Tensor

    def rows(self, rows: torch.Tensor) -> Cloud:
        """Return some of the crystals."""
        return Cloud(*(tensor[rows] for tensor in self))

    def draw(self, count: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw latent vectors, shape (count, latent), and their bins."""
        mean, spread, bins = self.rows(torch.randint(len(self.mean), (count,), generator=random))
        return mean + spread * torch.randn(mean.shape, generator=random), bins


def fit_flow(
    clouds: dict[str, Cloud],
    n_bins: int,
    options: FlowOptions | None = None,
) -> LatentFlow:
    """Fit a flow to the posteriors of crystals.

    Recombined crystals have a bin of their own, the last: they teach which elements take which places, and never stand
    for the crystals themselves. The averaged weights (of all steps, the last ones counting most) that give the least
    loss on held-out crystals are kept.

    Args:
        clouds: ``unlabelled``, the crystals without their conditions; ``labelled``, the same with them, if they have
            any; ``recombined``, if there are any.
        n_bins: Bins of the condition.
        options: How to fit.
    """
    options = options or FlowOptions()
    random = torch.Generator().manual_seed(options.seed)
    own = clouds["unlabelled"]
    count, size = own.mean.shape
    held = torch.randperm(count, generator=random) < options.held_out * count
    held &= count > 1
    judged = own.rows(held) if bool(held.any()) else own
    sources = {name: cloud if name == "recombined" else cloud.rows(~held) for name, cloud in clouds.items()}
    components = max(1, min(options.components, count // 2, size))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        flow = LatentFlow(FlowConfig(size, components, options.width, bins=n_bins + 1))
    flow.set_components(own.mean)
    average = copy.deepcopy(flow).requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(
        flow.parameters(), options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    steps = options.steps_for(count)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, steps)
    best, best_loss = copy.deepcopy(average), float("inf")
    half = has_bfloat16(own.mean.device.type)
    for step in track(range(1, steps + 1), "fitting the latent density"):
        loss = matching_loss(flow, *_batch(sources, options, n_bins, random), random, half=half)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        _move_average(average, flow, step)
        if step % options.every == 0 or step == steps:
            found = _held_out_loss(average, judged, options.seed)
            if found < best_loss:
                best, best_loss = copy.deepcopy(average), found
    return best.eval()


def _batch(
    sources: dict[str, Cloud], options: FlowOptions, n_bins: int, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw latent vectors and their bins from all sources."""
    made = round(options.recombined * options.batch_size) if "recombined" in sources else 0
    own = options.batch_size - made
    unlabelled = round(options.unlabelled * own) if "labelled" in sources else own
    counts = {"unlabelled": unlabelled, "labelled": own - unlabelled, "recombined": made}
    drawn = [sources[name].draw(count, random) for name, count in counts.items() if count]
    latent, bins = (torch.cat(tensors) for tensors in zip(*drawn, strict=True))
    if made:
        bins[-made:] = n_bins
    return latent, bins


def matching_loss(
    flow: LatentFlow, latent: torch.Tensor, condition: torch.Tensor, random: torch.Generator, *, half: bool = False
) -> torch.Tensor:
    """Return the mean squared error of the velocity between noise and latent vectors, at random times.

    Args:
        flow: The flow.
        latent: Shape (B, latent).
        condition: Bins, shape (B,), int64, negative where unknown.
        random: Of noise and times.
        half: Whether the flow is evaluated in bfloat16, which takes a quarter of the time on processors that have it.
    """
    data = flow.components(latent)
    noise = torch.randn(data.shape, generator=random)
    time = torch.sigmoid(torch.randn(len(data), generator=random))  # most of the work lies half way
    between = noise + time[:, None] * (data - noise)
    with torch.autocast(latent.device.type, torch.bfloat16, enabled=half):
        velocity = flow(between, time, condition)
    return (velocity - (data - noise)).square().mean()


@torch.no_grad()
def _move_average(average: LatentFlow, flow: LatentFlow, step: int) -> None:
    weight = max(0.002, 10 / (step + 9))  # early on, only what was learned last
    for kept, new in zip(average.parameters(), flow.parameters(), strict=True):
        kept.lerp_(new, weight)


@torch.no_grad()
def _held_out_loss(flow: LatentFlow, judged: Cloud, seed: int) -> float:
    """Return the mean loss over the same noise and times each time it is asked for."""
    random = torch.Generator().manual_seed(seed + 1)
    return float(torch.stack([matching_loss(flow, judged.mean, judged.bins, random) for _ in range(10)]).mean())
