"""Both trainings of a latent-grid generator, one after the other: the autoencoder, then the density of its latents."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.models.generator import energy_bins
from icsg3d.models.grid_flow import GridFlow
from icsg3d.models.grid_generator import GridGeneratorConfig, GridNetworks
from icsg3d.models.grid_vae import GridVAE
from icsg3d.models.known_crystals import KnownCrystals
from icsg3d.processors import same_every_time
from icsg3d.training.grid_flow import (
    GridFlowOptions,
    LatentSet,
    averaged,
    encode_set,
    held_out_loss,
    set_scale,
    train_grid_flow,
)
from icsg3d.training.grid_vae import GridTrainingOptions, judge, train_grid_vae
from icsg3d.training.long_runs import LongRun
from icsg3d.training.optimizers import matrix_optimizers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.training.grid_data import GridSet

_JUDGED = 256
"""Validation crystals that are looked at while the autoencoder is trained."""

_BINS = 10


@dataclass(frozen=True)
class MaterialsData:
    """Crystals in reduced cells to learn from and to judge by.

    Attributes:
        training: Learned from.
        validation: Judged by.
        energies: Of the training crystals in eV/atom, NaN where unknown, shape (n,).
        validation_energies: Of the others.
        experimental: Whether a training crystal is known from experiment, shape (n,): at these draws begin. None where
            that is not known; then they begin at all.
    """

    training: GridSet
    validation: GridSet
    energies: np.ndarray
    validation_energies: np.ndarray
    experimental: np.ndarray | None = None


def untrained(config: GridGeneratorConfig, data: MaterialsData, seed: int = 0) -> GridNetworks:
    """Return networks that have learned nothing, with the elements, energy bins and crystals of the data."""
    crystals = data.training.crystals
    shares = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = np.nanquantile(data.energies, shares) if np.isfinite(data.energies).any() else np.empty(0)
    numbers = np.unique(np.concatenate([crystal.numbers for crystal in crystals]))
    config = replace(
        config,
        elements=tuple(numbers.tolist()),
        energy_edges=tuple(np.round(edges, 4).tolist()),
        # What is learned is local: a cell taller than those of training is no other matter.
        max_length=max(config.max_length, _longest(crystals)),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae, flow = GridVAE(config.vae), GridFlow(config.flow)
    return GridNetworks(config, vae, flow, KnownCrystals.of(crystals, _bins(data.energies, config), data.experimental))


def continued(networks: GridNetworks, data: MaterialsData) -> GridNetworks:
    """Return the networks of a model with the crystals of the data, where draws begin, and elements of both."""
    crystals, config = data.training.crystals, networks.config
    numbers = np.unique(np.concatenate([crystal.numbers for crystal in crystals]))
    config = replace(
        config,
        elements=tuple(sorted({*config.elements, *numbers.tolist()})),
        max_length=max(config.max_length, _longest(crystals)),
    )
    known = KnownCrystals.of(crystals, _bins(data.energies, config), data.experimental)
    return replace(networks, config=config, known=known)


def _longest(crystals: Sequence[CrystalArrays]) -> float:
    """Return the length of the longest cell vector in angstrom, rounded up."""
    return float(np.ceil(max(np.linalg.norm(crystal.lattice, axis=1).max() for crystal in crystals)))


def _digest(network: nn.Module) -> str:
    """Return the SHA-256 of a network's weights."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _bins(energies: np.ndarray, config: GridGeneratorConfig) -> np.ndarray:
    return energy_bins(torch.as_tensor(energies, dtype=torch.float32), config.energy_edges).numpy()


@same_every_time()
def fit_autoencoder(
    networks: GridNetworks,
    data: MaterialsData,
    options: GridTrainingOptions,
    folder: Path,
    tell: Callable[[int, Mapping[str, float]], None],
) -> None:
    """Train the autoencoder in place, from the state that its folder has, if any."""
    random = np.random.default_rng(0)
    size = len(data.validation)
    rows = random.choice(size, min(_JUDGED, size), replace=False)
    shown = data.validation.rows(rows)
    optimizers = matrix_optimizers(networks.vae, options.learning_rate, options.weight_decay)
    run = LongRun(
        folder,
        {"vae": networks.vae},
        optimizers,
        options.steps,
        judge=lambda: judge(networks.vae, shown, half=options.half),
        tell=tell,
    )
    train_grid_vae(networks.vae, data.training, options, optimizers, start=run.start, report=run)


@same_every_time()
def fit_density(
    networks: GridNetworks,
    data: MaterialsData,
    options: GridFlowOptions,
    folder: Path,
    tell: Callable[[int, Mapping[str, float]], None],
) -> None:
    """Train the density of the latents of a finished autoencoder in place, from the state that its folder has, if any.

    Crystals are drawn as often as they are there, so that draws resemble them.
    """

    def encoded(crystals: GridSet, energies: np.ndarray) -> LatentSet:
        plain = replace(crystals, weights=np.ones(len(crystals)))
        return encode_set(networks.vae, plain, _bins(energies, networks.config), half=options.half)

    latents = encoded(data.training, data.energies)
    judged = encoded(data.validation, data.validation_energies)
    flow = networks.flow
    average = averaged(flow)
    optimizers = matrix_optimizers(flow, options.learning_rate, options.weight_decay)
    run = LongRun(
        folder,
        {"flow": flow, "average": average},
        optimizers,
        options.steps,
        basis=_digest(networks.vae),
        judge=lambda: {"loss": held_out_loss(average, judged, half=options.half)},
        tell=tell,
    )
    if run.start == 0:
        for each in (flow, average):
            set_scale(each, latents)
    train_grid_flow(flow, average, latents, options, optimizers, start=run.start, report=run)
    flow.load_state_dict(average.state_dict())
