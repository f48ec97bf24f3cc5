"""``icsg3d train generator``."""

from __future__ import annotations

import dataclasses
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icsg3d.cli.console import ResumeOption, all_seconds, check_accelerator, fail, report_skipped, say

if TYPE_CHECKING:
    from icsg3d.data import CrystalTable
    from icsg3d.training.data import CrystalSet

_ENERGY = "formation_energy_per_atom"


def generator(
    data: Annotated[list[Path], typer.Option(help="Crystals to learn from: dataframe, file or folder; repeatable.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, log and, in model/, the trained model.")],
    validation: Annotated[
        Path | None, typer.Option(help="Crystals to judge by. Without it, a twentieth of the formulas is kept apart.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Networks: periodic or paper.")] = "periodic",
    grid: Annotated[int | None, typer.Option(help="Points along each axis, if not the preset's.")] = None,
    unet_epochs: Annotated[int, typer.Option(min=0, help="Epochs of the U-Net on true grids.")] = 2,
    vae_epochs: Annotated[int, typer.Option(min=0, help="Epochs of the autoencoder alone.")] = 4,
    joint_epochs: Annotated[int, typer.Option(min=0, help="Epochs of both, end to end.")] = 60,
    batch_size: Annotated[int, typer.Option(min=2, help="Crystals of a step on each device.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    substitute: Annotated[
        float, typer.Option(min=0, max=1, help="Share of crystals in which elements are exchanged at random.")
    ] = 0.5,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs without a better share of rebuilt crystals.")
    ] = None,
    notes: Annotated[
        Path | None, typer.Option(help="Markdown to add to the model card: use, licences, citations.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu or auto (Lightning's).")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Number of devices that share each epoch.")] = 1,
    resume: ResumeOption = False,
) -> None:
    """Train a generator: the U-Net first, the autoencoder second, then both end to end.

    **Examples**

        icsg3d train generator --data crystals.json.gz --out runs/my-model

        icsg3d train generator --data crystals.json.gz --out runs/my-model --resume
    """
    from icsg3d.data import load_structures
    from icsg3d.errors import InputError
    from icsg3d.models.generator import GeneratorConfig
    from icsg3d.pretrained.packing import TrainingRecord, describe_file, pack_model

    try:
        from icsg3d.training.augment import Augmentation
        from icsg3d.training.generator import TrainingOptions, is_main_process, rebuilt_shares, train_generator
    except ImportError as error:
        raise InputError(f"training needs {error.name}; install it with pip install 'icsg3d[train]'") from error

    check_accelerator(accelerator)
    text = "" if notes is None else notes.read_text()
    options = TrainingOptions(
        unet_epochs=unet_epochs,
        vae_epochs=vae_epochs,
        joint_epochs=joint_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
        augmentation=Augmentation(substitute=substitute, translate=preset == "paper"),
    )
    if options.epochs < 1:
        raise InputError("there is no epoch to train; give --unet-epochs, --vae-epochs or --joint-epochs")
    table = load_structures(data)
    report_skipped(table.skipped)
    judged = None if validation is None else load_structures(validation)
    crystals, held_back = _sets(table, judged, preset)
    if len(crystals) < batch_size:
        raise InputError(f"{len(crystals)} crystals are fewer than one batch; give more, or a smaller --batch-size")
    config = dataclasses.replace(
        GeneratorConfig.preset(preset, grid=grid),  # type: ignore[arg-type]
        elements=crystals.elements,
        energy_edges=crystals.energy_edges(),
    )
    say(f"{len(crystals)} crystals to learn from, {len(held_back)} to judge by, {len(config.elements)} elements")
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        network = train_generator(
            config, crystals, held_back, out, options, accelerator=accelerator, devices=devices, resume=resume
        )
    except SystemExit:  # so Lightning ends a training that was interrupted at the keyboard
        all_seconds(out, time.monotonic() - started, resume=resume)
        fail(f"interrupted; {out} keeps the last whole epoch, repeat the command with --resume to go on", code=130)
    if not is_main_process():
        return
    seconds = all_seconds(out, time.monotonic() - started, resume=resume)
    roles = [(path, "training", len(table)) for path in table.sources]
    if judged is not None:
        roles += [(path, "validation", len(judged)) for path in judged.sources]
    record = TrainingRecord(
        command=shlex.join(["icsg3d", *(a for a in sys.argv[1:] if a != "--resume")]),
        data=[describe_file(*role) for role in roles],
        options=dataclasses.asdict(options),
        seconds=seconds,
        machine=f"{platform.machine()}, {accelerator}, {devices} device(s)",
        metrics=rebuilt_shares(network.cpu(), held_back),
    )
    pack_model(network.cpu(), crystals, out / "model", record, text)
    say(f"the model is in [bold]{out / 'model'}[/]: icsg3d generate --model {out / 'model'} ...")


def _sets(table: CrystalTable, judged: CrystalTable | None, preset: str) -> tuple[CrystalSet, CrystalSet]:
    """Return training and validation crystals; without the latter, split by a hash of the formula."""
    import numpy as np

    from icsg3d.models.storage import sha256
    from icsg3d.structures import from_arrays

    everything = _crystal_set(table, preset)
    if judged is not None:
        return everything, _crystal_set(judged, preset)
    formulas = [from_arrays(crystal).composition.reduced_formula for crystal in everything.crystals]
    apart = np.array([int(sha256(formula.encode())[:8], 16) % 20 == 0 for formula in formulas])
    if apart.all() or not apart.any():
        apart[:] = False
        apart[:: max(2, len(apart) // 20)] = True
    return everything.subset(np.flatnonzero(~apart)), everything.subset(np.flatnonzero(apart))


def _crystal_set(table: CrystalTable, preset: str) -> CrystalSet:
    """Return what the networks can see of a table's crystals; what they cannot is named and left out."""
    import numpy as np
    import pandas as pd

    from icsg3d.errors import InputError
    from icsg3d.structures import network_cell
    from icsg3d.training.data import CrystalSet

    crystals, kept, skipped = [], [], {}
    for row, (name, structure) in enumerate(zip(table.ids, table.structures, strict=True)):
        try:
            crystals.append(network_cell(structure, primitive=preset != "paper")[0])
            kept.append(row)
        except InputError as error:
            skipped[name] = str(error)
    report_skipped(skipped)
    if not crystals:
        raise InputError(f"{table.sources[0]} holds no crystal that can be learned from; give another file")
    energies = np.full(len(table), np.nan)
    if _ENERGY in table.frame.columns:
        energies = pd.to_numeric(table.frame[_ENERGY], errors="coerce").to_numpy(dtype=float)
    return CrystalSet(crystals, [table.ids[row] for row in kept], energies[kept])
