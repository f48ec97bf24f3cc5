"""Training of whole property models: several networks, in several processes, and the calibration of their spread."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import minimize

from icsg3d.models.properties import PropertyModel, transform
from icsg3d.progress import task
from icsg3d.training.properties import train_network
from icsg3d.training.resuming import begin_training

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from icsg3d.models.properties import PropertyModelConfig
    from icsg3d.progress import Task
    from icsg3d.training.data import PropertySet
    from icsg3d.training.properties import PropertyOptions

_ONE_SIGMA = 0.6827
"""Share of a normal distribution within one standard deviation."""


def train_ensemble(
    config: PropertyModelConfig,
    training: PropertySet,
    validation: PropertySet,
    out: Path,
    options: PropertyOptions,
    *,
    start: PropertyModel | None = None,
    accelerator: str = "auto",
    jobs: int = 1,
    resume: bool = False,
) -> PropertyModel:
    """Train all networks of a property model and calibrate its uncertainties on the validation crystals.

    Args:
        config: Of the property and its networks; scaling, elements and calibration are filled in.
        training: Crystals to learn from.
        validation: Crystals to judge by and to calibrate with; they choose nothing else.
        out: Folder of checkpoints and logs.
        options: How to train.
        start: Model whose networks the members start from, in turn.
        accelerator: Lightning's: ``cpu``, ``gpu``, ``auto``.
        jobs: Members trained at the same time, each in a process and with its share of the threads.
        resume: Continue from the last checkpoints in ``out``, if there are any.

    Raises:
        InputError: if the checkpoints to resume from are of another training.
    """
    own = transform(torch.as_tensor(training.values[training.scales == 0]), config.property)
    config = dataclasses.replace(
        config, mean=float(own.mean()), scale=float(own.std()), elements=training.subset(_own(training)).elements
    )
    begin_training(out, _fingerprint(config, training, validation, options), resume=resume)
    model = PropertyModel(config)
    tasks = [
        {
            "config": config,
            "training": training,
            "validation": validation,
            "out": out,
            "options": options,
            "member": member,
            "start": None if start is None else start.members[member % len(start.members)],
            "accelerator": accelerator,
            "resume": resume,
        }
        for member in range(config.members)
    ]
    epochs = config.members * sum(phase.epochs for phase in options.phases)
    with task("epochs", total=epochs) as running:
        states = _one_by_one(tasks, running) if jobs == 1 else _in_processes(tasks, jobs, running)
    for member, state in zip(model.members, states, strict=True):
        member.load_state_dict(state)
    return calibrated(model.eval(), validation)


def _fingerprint(
    config: PropertyModelConfig, training: PropertySet, validation: PropertySet, options: PropertyOptions
) -> str:
    alike = dataclasses.replace(config, members=1)  # more members may join later
    state = hashlib.sha256(f"{alike!r} {options!r}".encode())
    for crystals in (training, validation):
        for array in (crystals.graphs.numbers, crystals.graphs.neighbours, crystals.values, crystals.scales):
            state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def _own(training: PropertySet) -> np.ndarray:
    return np.flatnonzero(training.scales == 0)


def _one_by_one(tasks: Sequence[dict[str, Any]], running: Task) -> list[dict[str, torch.Tensor]]:
    return [train_network(**each, report=running.advance).state_dict() for each in tasks]


def _in_processes(tasks: Sequence[dict[str, Any]], jobs: int, progress: Task) -> list[dict[str, torch.Tensor]]:
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    with context.Manager() as manager, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        epochs = manager.Queue()
        running = [pool.submit(_train_alone, each, threads, epochs) for each in tasks]
        left = set(running)
        while left:
            done, left = wait(left, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            while not epochs.empty():
                epochs.get()
                progress.advance()
        return [{name: torch.as_tensor(array) for name, array in future.result().items()} for future in running]


def _train_alone(arguments: dict[str, Any], threads: int, epochs: Any) -> dict[str, np.ndarray]:
    torch.set_num_threads(threads)
    network = train_network(**arguments, report=lambda: epochs.put(1))
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def transformed(model: PropertyModel, crystals: PropertySet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, spread of the members, and true value of each crystal, on the learned scale."""
    means, spreads = [], []
    with torch.no_grad():
        for batch in crystals.graphs.batches():
            mean, spread = model.transformed(batch)
            means.append(mean.double().numpy())
            spreads.append(spread.double().numpy())
    true = transform(torch.as_tensor(crystals.values), model.config.property).numpy()
    return np.concatenate(means), np.concatenate(spreads), true


def calibrated(model: PropertyModel, crystals: PropertySet) -> PropertyModel:
    """Return the model with uncertainties that fit its errors on some crystals it did not learn from."""
    mean, spread, true = transformed(model, crystals)
    floor, factor = fit_spread(np.abs(true - mean), spread)
    config = dataclasses.replace(model.config, spread_floor=floor, spread_factor=factor)
    new = PropertyModel(config)
    new.load_state_dict(model.state_dict())
    return new.eval()


def fit_spread(errors: np.ndarray, spread: np.ndarray) -> tuple[float, float]:
    """Return floor and factor with sigma^2 = floor^2 + (factor x spread)^2 that describe absolute errors.

    Their ratio has the greatest likelihood under a Laplace distribution, which a few large errors do not rule; then
    both are scaled so that 68.27 % of the errors are within one sigma.
    """
    if not spread.any():  # one member, or members that agree in everything
        return float(np.quantile(errors, _ONE_SIGMA)), 1.0
    typical, size = max(float(np.median(errors)), 1e-12), max(float(spread.mean()), 1e-12)

    def sigma(logs: np.ndarray) -> np.ndarray:
        return np.hypot(typical * np.exp(logs[0]), np.exp(logs[1]) * typical / size * spread)

    def cost(logs: np.ndarray) -> float:
        width = sigma(logs)
        return float(np.mean(errors / width + np.log(width)) + 1e-3 * np.square(logs).sum())

    found = minimize(cost, np.zeros(2), method="Nelder-Mead").x
    scale = float(np.quantile(errors / sigma(found), _ONE_SIGMA))
    return scale * typical * float(np.exp(found[0])), scale * float(np.exp(found[1])) * typical / size


def coverage(model: PropertyModel, crystals: PropertySet, seed: int = 0) -> dict[str, float]:
    """Return the shares of crystals within one and two sigma, each half judged by the calibration of the other.

    Halves are of formulas, so that no composition is in both. Of a single formula nothing can be said.
    """
    mean, spread, true = transformed(model, crystals)
    errors = np.abs(true - mean)
    names, group = np.unique(np.asarray(crystals.formulas), return_inverse=True)
    if len(names) < 2:
        return {}
    half = np.random.default_rng(seed).permutation(len(names))[group] % 2 == 0
    within = np.empty(len(errors))
    for part in (half, ~half):
        floor, factor = fit_spread(errors[~part], spread[~part])
        within[part] = errors[part] / np.hypot(floor, factor * spread[part])
    return {
        "within_one_sigma": float((within <= 1).mean()),
        "within_two_sigma": float((within <= 2).mean()),
    }


def errors(model: PropertyModel, crystals: PropertySet) -> dict[str, float]:
    """Return the mean absolute error in the property's unit and on the learned scale, and that of the median."""
    with torch.no_grad():
        mean, _, true = transformed(model, crystals)
        parts = [model(batch)[0] for batch in crystals.graphs.batches()]
    values = torch.cat(parts).double().numpy()
    return {
        "mae": float(np.abs(values - crystals.values).mean()),
        "mae_learned_scale": float(np.abs(mean - true).mean()),
        "mae_of_median": float(np.abs(crystals.values - np.median(crystals.values)).mean()),
    }
