"""A complete training of a generator for crystals of any cell: from compact tables to a model's folder."""

from __future__ import annotations

import hashlib
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field

from icsg3d import pretrained
from icsg3d.crystals.structures import from_arrays
from icsg3d.data.compact_arrays import composition_key, read_compact
from icsg3d.data.reduced_cells import reduced_table
from icsg3d.errors import InputError, Interrupted
from icsg3d.files import locked, saving, sha256_of_file
from icsg3d.models.grid_generator import (
    GRID_GENERATOR_FORMAT,
    GridGeneratorConfig,
    GridNetworks,
    load_grid_networks,
    save_grid_networks,
)
from icsg3d.models.grid_losses import GridLossConfig
from icsg3d.processors import Precision, bfloat16_wanted
from icsg3d.runs.config import RunConfig
from icsg3d.training.grid_data import GridSet, balanced_weights
from icsg3d.training.grid_flow import GridFlowOptions
from icsg3d.training.grid_vae import GridTrainingOptions
from icsg3d.training.long_runs import CURVE_FILE, STATE_FILE
from icsg3d.training.materials import MaterialsData, continued, fit_autoencoder, fit_density, untrained
from icsg3d.training.resuming import begin_training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_log = logging.getLogger(__name__)

_ENERGY = "formation_energy_per_atom"

CURVE_PICTURE = "curve.png"

_RAMP = 0.2
"""Share of the steps over which the divergence's weight rises; a model to start from has learned under all of it."""


class MaterialsTrainingConfig(RunConfig):
    """Options of :func:`train_materials`."""

    data: tuple[Path, ...] = Field(description="Compact tables (.npz) of crystals to learn from", min_length=1)
    validation: Path = Field(
        description="Compact table of crystals to judge by; crystals of their formulas are left out"
    )
    start: str | None = Field(None, description="Model whose weights are the first ones (--from)")
    autoencoder_steps: int = Field(30_000, ge=0, description="Steps of the autoencoder in all, some 20 crystals each")
    density_steps: int = Field(30_000, ge=0, description="Steps of the density in all, some 40 crystals each")
    learning_rate: float = Field(2e-3, ge=1e-7, description="Highest learning rate of both")
    cooling: float = Field(
        0.6, gt=0, le=1, description="Share of the steps over which the learning rate falls to nothing"
    )
    divergence: float = Field(0.01, ge=0, description="Weight of the divergence of latent grids from noise")
    species: float = Field(1.0, gt=0, description="Weight of the elements' cross-entropy")
    substitute: float = Field(
        0.0, ge=0, le=1, description="Share of the autoencoder's crystals in which elements are exchanged at random"
    )
    encoder: bool = Field(True, description="Whether the encoder learns; else a density keeps its worth")  # noqa: FBT003
    budget: int = Field(40_000, ge=1, description="Grid points of a batch of the autoencoder")
    precision: Precision = Field(
        "auto", description="bfloat16, float32 or auto: bfloat16 where the processor multiplies it in hardware"
    )
    seed: int = Field(0, ge=0, description="Of everything random")

    def fingerprint(self) -> str:
        """Return a hash of all that a training depends on but its length: it may run for longer than was planned."""
        left_out = {"autoencoder_steps", "density_steps", "cooling", "data", "validation"}
        values = self.model_dump(mode="json", exclude=left_out)
        values["tables"] = [sha256_of_file(path) for path in (*self.data, self.validation)]
        return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()


def train_materials(config: MaterialsTrainingConfig, out: Path, *, resume: bool = False) -> Path:
    """Train the autoencoder, then the density of its latent grids, and write the model.

    Args:
        config: What to train on, and how.
        out: Folder of ``autoencoder/`` and ``density/``, each with its state and its learning curve, as a table and
            drawn, ``config.yaml`` and, in ``model/``, the trained model.
        resume: Continue from the states; more steps than before may be asked for.

    Returns:
        Folder of the model.

    Raises:
        InputError: if a table or the model to start from cannot be used, or the folder has another training.
    """
    data, ids = read_crystals(config.data, config.validation)
    with saving(out):
        out.mkdir(parents=True, exist_ok=True)
    with locked(out), saving(out):
        begin_training(out, config.fingerprint(), resume=resume)
        config.write(out)
        networks = _first(config, data)
        if not resume:
            for part in ("autoencoder", "density"):
                (out / part / STATE_FILE).unlink(missing_ok=True)
        half = bfloat16_wanted(config.precision, "cpu")
        _log.info("training in %s", "bfloat16" if half else "float32")
        shared: dict[str, Any] = {"learning_rate": config.learning_rate, "cooling": config.cooling}
        shared |= {"seed": config.seed, "half": half}
        if config.autoencoder_steps:
            losses = GridLossConfig(species=config.species, divergence=config.divergence)
            steps = GridTrainingOptions(
                config.autoencoder_steps,
                budget=config.budget,
                loss=losses,
                encoder=config.encoder,
                substitute=config.substitute,
                ramp=_RAMP if config.start is None else 0.0,
                **shared,
            )
            with _interruptible(out), _curve_drawn(out / "autoencoder"):
                fit_autoencoder(networks, data, steps, out / "autoencoder", _told("autoencoder", steps.steps))
        if config.density_steps:
            density = GridFlowOptions(config.density_steps, **shared)
            with _interruptible(out), _curve_drawn(out / "density"):
                fit_density(networks, data, density, out / "density", _told("density", density.steps))
        save_grid_networks(networks, out / "model")
        formulas = [from_arrays(each).composition.reduced_formula for each in data.training.crystals]
        earlier = {} if config.start is None else _learned(config.start)
        learned = earlier | dict(zip(ids, formulas, strict=True))
        pretrained.write_training_crystals(out / "model", list(learned), list(learned.values()))
    return out / "model"


@contextmanager
def _interruptible(out: Path) -> Iterator[None]:
    """Say what stays of a training that is interrupted within the ``with`` block."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"interrupted; {out} keeps the state of the last minutes, repeat the command with --resume to continue"
        ) from stop


@contextmanager
def _curve_drawn(folder: Path) -> Iterator[None]:
    """Draw the learning curve of a folder as ``curve.png`` when the ``with`` block ends, however it does."""
    try:
        yield
    finally:
        curve = folder / CURVE_FILE
        if curve.is_file():
            _draw_curve(pd.read_csv(curve), folder / CURVE_PICTURE)


def _draw_curve(curve: pd.DataFrame, path: Path) -> None:
    if curve.empty:
        return
    from matplotlib.figure import Figure

    from icsg3d.plot import learning_curve
    from icsg3d.report.figures import save_figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    learning_curve({str(name): curve[name].to_numpy() for name in curve}, figure.subplots())
    save_figure(figure, path)


def _learned(model: str) -> dict[str, str]:
    """Return the formulas of the crystals that a model has learned from, by their names."""
    return dict(pretrained.training_crystals(pretrained.find(model, GRID_GENERATOR_FORMAT)) or [])


def _first(config: MaterialsTrainingConfig, data: MaterialsData) -> GridNetworks:
    """Return the first networks: those of a model, or untrained ones."""
    if config.start is None:
        return untrained(GridGeneratorConfig(), data, config.seed)
    return continued(load_grid_networks(pretrained.find(config.start, GRID_GENERATOR_FORMAT))[0], data)


def read_crystals(tables: tuple[Path, ...], validation: Path) -> tuple[MaterialsData, list[str]]:
    """Return reduced cells to learn from and to judge by, and the names of the former.

    Raises:
        InputError: if a table cannot be read.
    """
    config = GridGeneratorConfig()
    fields = config.vae.fields
    table = read_compact(validation)
    judged, kept = reduced_table(table.crystals, fields, config.most_points)
    judged_energies = _column(table.columns, _ENERGY, np.nan, kept)
    apart = {composition_key(crystal.numbers) for crystal in table.crystals}
    crystals, ids, given = [], list[str](), 0
    energies, groups, experimental = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    for path in tables:
        table = read_compact(path)
        found, kept = reduced_table(table.crystals, fields, config.most_points)
        own = np.array([composition_key(crystal.numbers) not in apart for crystal in found], dtype=bool)
        kept = kept[own]
        crystals += [crystal for crystal, used in zip(found, own, strict=True) if used]
        given += len(table)
        ids += [table.ids[row] for row in kept]
        energies.append(_column(table.columns, _ENERGY, np.nan, kept))
        groups.append(_column(table.columns, "space_group", 0, kept))
        # A draw stays in the bin of the energy of the crystal at which it begins, so that one is needed.
        experimental.append((_column(table.columns, "icsd", 1, kept) > 0) & np.isfinite(energies[-1]))
    if not crystals or not judged:
        lacking = "to learn from" if not crystals else "to judge by"
        raise InputError(
            f"there are no crystals {lacking}: {config.most_atoms} atoms in the primitive cell and "
            f"{config.most_points} points of its grid are the most, and formulas of the validation table are left out"
        )
    weights = balanced_weights(crystals, np.concatenate(groups))
    training = GridSet.make(crystals, fields, weights)
    _log.info(
        "%d crystals to learn from, %d to judge by; %d are too large or have a formula of those to judge by",
        *(len(training), len(judged), given - len(training)),
    )
    shown = GridSet.make(judged, fields)
    return MaterialsData(training, shown, np.concatenate(energies), judged_energies, np.concatenate(experimental)), ids


def _column(columns: Mapping[str, np.ndarray], name: str, missing: Any, rows: np.ndarray) -> np.ndarray:
    """Return some rows of a column, a constant where there is no such column."""
    return columns[name][rows] if name in columns else np.full(len(rows), missing)


def _told(name: str, steps: int) -> Callable[[int, Mapping[str, float]], None]:
    def tell(step: int, row: Mapping[str, float]) -> None:
        figures = ", ".join(f"{key} {value:.3g}" for key, value in row.items() if key not in {"points", "seconds"})
        _log.info("%s %d/%d: %s", name, step, steps, figures)

    return tell
