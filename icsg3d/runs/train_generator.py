"""A complete training of a generator: from files of crystals to a packed model."""

from __future__ import annotations

import dataclasses
import logging
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field

from icsg3d import pretrained
from icsg3d.crystals.elements import symbols
from icsg3d.crystals.structures import from_arrays, network_cell
from icsg3d.data import load_structures
from icsg3d.data.targets import held_out
from icsg3d.errors import InputError, Interrupted
from icsg3d.files import locked, saving
from icsg3d.models.checkpoints import GENERATOR_FORMAT, load_network
from icsg3d.models.generator import GeneratorConfig
from icsg3d.pretrained import packing
from icsg3d.processors import Precision
from icsg3d.refusals import log_refused, usable
from icsg3d.runs.config import RunConfig
from icsg3d.training import generator as training
from icsg3d.training.augment import Augmentation
from icsg3d.training.data import CrystalSet
from icsg3d.training.flow import FlowOptions
from icsg3d.training.options import TrainingOptions
from icsg3d.training.resuming import all_seconds
from icsg3d.training.widening import check_wider

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.data import CrystalTable
    from icsg3d.models.generator import GeneratorNetwork

_log = logging.getLogger(__name__)

_ONE_OF = 20
"""Without validation crystals, one formula of so many is held out."""


class GeneratorTrainingConfig(RunConfig):
    """Options of :func:`train_generator`."""

    data: tuple[Path, ...] = Field(description="Crystals to learn from: dataframes, files or folders", min_length=1)
    validation: Path | None = Field(
        None, description="Crystals to judge by; without them, a twentieth of the formulas is held out"
    )
    start: str | None = Field(None, description="Generator whose weights are the first ones (--from)")
    condition_column: str | None = Field(
        None,
        description="Column with the energies per atom, in eV, that crystals can later be asked for by; "
        "formation_energy_per_atom if there is such a column",
    )
    preset: str | None = Field(None, description="Networks: periodic (default) or paper")
    grid: int | None = Field(None, description="Points along each axis, if not the preset's")
    latent: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Dimensions of the latent space: 256, or those of the start, which can be widened",
    )
    unet_epochs: int | None = Field(None, ge=0, description="Epochs of the U-Net on true grids: 2, or 0 with a start")
    vae_epochs: int | None = Field(None, ge=0, description="Epochs of the autoencoder alone: 4, or 0 with a start")
    joint_epochs: int = Field(60, ge=0, description="Epochs of both, end to end")
    batch_size: int = Field(16, ge=2, description="Crystals of a step on each device")
    learning_rate: float = Field(1e-3, ge=1e-7, description="Highest learning rate")
    substitute: float = Field(
        0.5, ge=0, le=1, description="Share of crystals in which elements are exchanged at random"
    )
    balance: float = Field(
        0.0, ge=0, le=0.5, description="Repeat crystals until each number of atoms has this share of the data"
    )
    distorted: float = Field(
        0.0, ge=0, le=1, description="Distorted supercells to add, as a share of the training crystals"
    )
    variants: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Symmetric variants of 6 to 24 atoms to add, as a share of the training crystals",
    )
    density_steps: int | None = Field(
        None,
        ge=1,
        description="Steps in which the density of the latent space is fitted; four for each crystal, at most 15,000",
    )
    guidance: float | None = Field(
        None,
        ge=0,
        le=100,
        description="Classifier-free guidance scale of draws for a condition: 2, or that of the start",
    )
    temperature: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Standard deviation of the noise that draws for a condition start from: 1, or that of the start",
    )
    patience: int | None = Field(
        None, ge=1, description="Stop after so many epochs in which crystals are rebuilt no better"
    )
    notes: Path | None = Field(None, description="Markdown to add to the model card: use, licences, citations")
    seed: int = Field(0, description="Of everything random")
    accelerator: str = Field("auto", description="cpu, gpu or auto (Lightning's)")
    devices: int = Field(1, ge=1, description="Devices that share each epoch")
    precision: Precision = Field(
        "auto", description="bfloat16, float32 or auto: bfloat16 where the processor multiplies it in hardware"
    )


@dataclass(frozen=True)
class _Sets:
    table: CrystalTable
    judged: CrystalTable | None
    training: CrystalSet
    validation: CrystalSet


def train_generator(
    config: GeneratorTrainingConfig, out: Path, *, command: str = "", resume: bool = False
) -> Path | None:
    """Train a generator: the U-Net first, the autoencoder second, then both end to end, and the latent density last.

    Args:
        config: What to train on, and how.
        out: Folder of checkpoints, log, ``config.yaml`` and, in ``model/``, the trained model.
        command: Command line that is recorded in the model card.
        resume: Take up an interrupted training.

    Returns:
        The folder of the model; None in the further processes of a training on several devices.

    Raises:
        InputError: if an option or the data cannot be used.
        Interrupted: on Ctrl-C; the last whole epoch is kept.
    """
    notes = "" if config.notes is None else config.notes.read_text()
    start, sizes = _start(config)
    options = _options(config, sizes, starts=start is not None)
    sets = _load(config, sizes)
    learned = _sizes(sizes, sets, config, learns=options.epochs > 0)
    _log.info(
        "%d crystals to learn from, %d to judge by, %d elements",
        len(sets.training),
        len(sets.validation),
        len(learned.elements),
    )
    with saving(out):
        out.mkdir(parents=True, exist_ok=True)
    if not training.is_main_process():
        training.train_generator(learned, sets.training, sets.validation, out, options, **_where(config), resume=resume)
        return None
    with locked(out), saving(out):
        if not resume:  # a --resume that is refused leaves the record as it was
            config.write(out)
        started = time.monotonic()
        try:
            network = training.train_generator(
                learned, sets.training, sets.validation, out, options, **_where(config), resume=resume, start=start
            )
        except SystemExit as stop:  # so Lightning ends a training that was interrupted at the keyboard
            all_seconds(out, time.monotonic() - started, resume=resume)
            raise Interrupted(
                f"interrupted; {out} keeps the last whole epoch, repeat the command with --resume to continue"
            ) from stop
        config.write(out)
        seconds = all_seconds(out, time.monotonic() - started, resume=resume)
        _pack(network.cpu(), sets, config, options, out, seconds, command, notes)
    return out / "model"


def _where(config: GeneratorTrainingConfig) -> dict[str, Any]:
    return {"accelerator": config.accelerator, "devices": config.devices, "precision": config.precision}


def _start(config: GeneratorTrainingConfig) -> tuple[GeneratorNetwork | None, GeneratorConfig]:
    """Return the network to start from, if any, and the sizes of the one to train."""
    if config.start is None:
        sizes = GeneratorConfig.preset(config.preset or "periodic", grid=config.grid)  # type: ignore[arg-type]
        return None, _with_latent(sizes, config.latent)
    if config.preset is not None or config.grid is not None:
        raise InputError("with --from the networks have the sizes they come with; leave out preset and grid")
    network = load_network(pretrained.find(config.start, GENERATOR_FORMAT))[0]
    if config.latent is not None:
        check_wider(network.config.vae, config.latent)
    return network, _with_latent(network.config, config.latent)


def _with_latent(sizes: GeneratorConfig, latent: int | None) -> GeneratorConfig:
    """Return sizes with so many latent dimensions, or as they are if it is not said how many."""
    vae = sizes.vae if latent is None else dataclasses.replace(sizes.vae, latent=latent)
    return dataclasses.replace(sizes, vae=vae)


def _options(config: GeneratorTrainingConfig, sizes: GeneratorConfig, *, starts: bool) -> TrainingOptions:
    options = TrainingOptions(
        unet_epochs=(0 if starts else 2) if config.unet_epochs is None else config.unet_epochs,
        vae_epochs=(0 if starts else 4) if config.vae_epochs is None else config.vae_epochs,
        joint_epochs=config.joint_epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        patience=config.patience,
        seed=config.seed,
        augmentation=Augmentation(substitute=config.substitute, translate=not sizes.voxels.periodic),
        distorted=config.distorted,
        variants=config.variants,
        balance=config.balance,
    )
    if options.epochs < 1 and not starts:
        raise InputError("there is no epoch to train; give unet_epochs, vae_epochs or joint_epochs, or --from")
    if options.epochs < 1 and config.latent is not None:
        raise InputError("without epochs the latent space stays as it is; leave out latent, or give joint_epochs")
    return options


def _load(config: GeneratorTrainingConfig, sizes: GeneratorConfig) -> _Sets:
    """Return training and validation crystals; without the latter, those of some formulas are held out."""
    table = load_structures(list(config.data))
    log_refused(_log, table.skipped)
    judged = None if config.validation is None else load_structures(config.validation)
    wanted = config.condition_column
    if wanted is not None and wanted not in table.frame.columns:
        columns = ", ".join(map(str, table.frame.columns))
        raise InputError(f"{config.data[0]} has no column {wanted!r} to take as condition, only {columns}")
    column = wanted or sizes.condition
    everything = _crystal_set(table, column, sizes)
    if judged is not None:
        sets = _Sets(table, judged, everything, _crystal_set(judged, column, sizes))
    else:
        formulas = [from_arrays(crystal).composition.reduced_formula for crystal in everything.crystals]
        apart = held_out(formulas, _ONE_OF)
        sets = _Sets(table, None, everything.subset(np.flatnonzero(~apart)), everything.subset(np.flatnonzero(apart)))
    if len(sets.training) < config.batch_size:
        raise InputError(f"{len(sets.training)} crystals are fewer than one batch; give more, or a smaller batch_size")
    return sets


def _crystal_set(table: CrystalTable, column: str, sizes: GeneratorConfig) -> CrystalSet:
    """Return what the networks can see of a table's crystals; what they cannot is named and left out."""
    cells = usable(table.structures, lambda structure: _cell(structure, sizes))
    log_refused(_log, {table.ids[row]: reason for row, reason in cells.refused.items()})
    if not cells.rows:
        raise InputError(f"{table.sources[0]} holds no crystal that can be learned from; give another file")
    energies = np.full(len(table), np.nan)
    if column in table.frame.columns:
        energies = pd.to_numeric(table.frame[column], errors="coerce").to_numpy(dtype=float)
    return CrystalSet(cells.results, [table.ids[row] for row in cells.rows], energies[cells.rows])


def _cell(structure: Structure, sizes: GeneratorConfig) -> CrystalArrays:
    """Return the cell that the networks see of a crystal.

    Raises:
        InputError: if the crystal is none that can be drawn, or longer than the finished model will take.
    """
    crystal, _ = network_cell(structure, primitive=sizes.voxels.periodic)
    longest = float(np.linalg.norm(crystal.lattice, axis=1).max())
    if longest > sizes.max_length:
        raise InputError(
            f"the cell that the networks see is {longest:.1f} angstrom long, and they take cells up to "
            f"{sizes.max_length:.1f} angstrom; give smaller crystals"
        )
    return crystal


def _sizes(sizes: GeneratorConfig, sets: _Sets, config: GeneratorTrainingConfig, *, learns: bool) -> GeneratorConfig:
    """Return the sizes with elements and condition of the crystals, or those that a network has which learns no more.

    Raises:
        InputError: if the crystals do not fit the latter.
    """
    column = config.condition_column or sizes.condition
    if learns:
        return dataclasses.replace(
            sizes, elements=sets.training.elements, condition=column, energy_edges=sets.training.energy_edges()
        )
    unknown = sorted(set(sets.training.elements) - set(sizes.elements))
    if unknown:
        names = ", ".join(symbols()[number] for number in unknown)
        raise InputError(f"without epochs the model learns no new elements, such as {names}; give joint_epochs")
    if column != sizes.condition:
        raise InputError(f"without epochs the condition stays {sizes.condition}; leave out --condition-column")
    return sizes


def _pack(
    network: GeneratorNetwork,
    sets: _Sets,
    config: GeneratorTrainingConfig,
    options: TrainingOptions,
    out: Path,
    seconds: float,
    command: str,
    notes: str,
) -> None:
    """Fit the latent density, judge, and write the model folder."""
    kept = network.config
    network.config = dataclasses.replace(
        kept,
        guidance=kept.guidance if config.guidance is None else config.guidance,
        temperature=kept.temperature if config.temperature is None else config.temperature,
    )
    density = FlowOptions(steps=config.density_steps, seed=config.seed)
    record = packing.TrainingRecord(
        command=command,
        data=_files(sets),
        options=dataclasses.asdict(options) | {"density": dataclasses.asdict(density)},
        seconds=seconds,
        machine=f"{platform.machine()}, {config.accelerator}, {config.devices} device(s)",
        metrics=training.rebuilt_shares(network, sets.validation),
    )
    packing.pack_model(network, sets.training, out / "model", record, notes, density=density)


def _files(sets: _Sets) -> Sequence[dict[str, object]]:
    """Return name, role, hash and size of each data file."""
    tables = {"training": sets.table} | ({} if sets.judged is None else {"validation": sets.judged})
    return [
        packing.describe_file(path, role, rows)
        for role, table in tables.items()
        for path, rows in zip(table.sources, table.source_sizes, strict=True)
    ]
