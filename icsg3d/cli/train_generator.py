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

from icsg3d.cli.console import ResumeOption, all_seconds, check_accelerator, fail, progress_bar, report_skipped, say

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.data import CrystalTable
    from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork
    from icsg3d.training.data import CrystalSet


def generator(
    data: Annotated[list[Path], typer.Option(help="Crystals to learn from: dataframe, file or folder; repeatable.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, log and, in model/, the trained model.")],
    validation: Annotated[
        Path | None, typer.Option(help="Crystals to judge by. Without it, a twentieth of the formulas is kept apart.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="NAME|PATH", help="Generator whose weights are the first ones.")
    ] = None,
    condition_column: Annotated[
        str | None,
        typer.Option(
            help="Column with the energies per atom, in eV, that crystals can later be asked for by; else "
            "formation_energy_per_atom, if there is such a column."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Networks: periodic (default) or paper.")] = None,
    grid: Annotated[int | None, typer.Option(help="Points along each axis, if not the preset's.")] = None,
    latent: Annotated[
        int | None,
        typer.Option(
            min=1, max=4096, help="Dimensions of the latent space: 256, or those of --from, which can be widened."
        ),
    ] = None,
    unet_epochs: Annotated[
        int | None, typer.Option(min=0, help="Epochs of the U-Net on true grids: 2, or none with --from.")
    ] = None,
    vae_epochs: Annotated[
        int | None, typer.Option(min=0, help="Epochs of the autoencoder alone: 4, or none with --from.")
    ] = None,
    joint_epochs: Annotated[int, typer.Option(min=0, help="Epochs of both, end to end.")] = 60,
    batch_size: Annotated[int, typer.Option(min=2, help="Crystals of a step on each device.")] = 16,
    learning_rate: Annotated[float, typer.Option(min=1e-7, help="Highest learning rate.")] = 1e-3,
    substitute: Annotated[
        float, typer.Option(min=0, max=1, help="Share of crystals in which elements are exchanged at random.")
    ] = 0.5,
    balance: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Repeat crystals until each number of atoms has this share of the data."),
    ] = 0.0,
    distorted: Annotated[
        float, typer.Option(min=0, max=1, help="Distorted supercells to add, as a share of the training crystals.")
    ] = 0.0,
    variants: Annotated[
        float,
        typer.Option(
            min=0,
            max=2,
            help="Variants of 6 to 24 atoms to add, as a share of the training crystals: the symmetry of these, other "
            "coordinates and elements.",
        ),
    ] = 0.0,
    density_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps in which the density of the latent space is fitted at the end; else four for each crystal, "
            "but not more than 15,000.",
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help="How many times draws count the difference that the condition makes: 2, or that of --from; "
            "icsg3d evaluate condition tells which is best.",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Standard deviation of the noise that draws for a condition start from: 1, or that of --from; below 1 "
            "they follow the condition better and differ less.",
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs in which crystals are rebuilt no better.")
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

        icsg3d train generator --data my_crystals --from cubic --joint-epochs 10 --out runs/tuned

    Only the density of the latent space of a trained generator, fitted anew:

        icsg3d train generator --data crystals.json.gz --from cubic --joint-epochs 0 --out runs/refitted
    """
    from icsg3d.data import load_structures
    from icsg3d.errors import InputError
    from icsg3d.pretrained.packing import TrainingRecord, describe_file, pack_model

    try:
        from icsg3d.training.augment import Augmentation
        from icsg3d.training.flow import FlowOptions
        from icsg3d.training.generator import is_main_process, rebuilt_shares, train_generator
        from icsg3d.training.options import TrainingOptions
    except ImportError as error:
        raise InputError(f"training needs {error.name}; install it with pip install 'icsg3d[train]'") from error

    check_accelerator(accelerator)
    text = "" if notes is None else notes.read_text()
    first, sizes = _start(start, preset, grid, latent)
    options = TrainingOptions(
        unet_epochs=(2 if first is None else 0) if unet_epochs is None else unet_epochs,
        vae_epochs=(4 if first is None else 0) if vae_epochs is None else vae_epochs,
        joint_epochs=joint_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
        augmentation=Augmentation(substitute=substitute, translate=not sizes.voxels.periodic),
        distorted=distorted,
        variants=variants,
        balance=balance,
    )
    density = FlowOptions(steps=density_steps, seed=seed)
    if options.epochs < 1 and first is None:
        raise InputError("there is no epoch to train; give --unet-epochs, --vae-epochs, --joint-epochs, or --from")
    if options.epochs < 1 and latent is not None:
        raise InputError("without epochs the latent space stays as it is; leave out --latent, or give --joint-epochs")
    table = load_structures(data)
    report_skipped(table.skipped)
    judged = None if validation is None else load_structures(validation)
    if condition_column is not None and condition_column not in table.frame.columns:
        columns = ", ".join(map(str, table.frame.columns))
        raise InputError(f"{data[0]} has no column {condition_column!r} to take as condition, only {columns}")
    condition = condition_column or sizes.condition
    crystals, held_back = _sets(table, judged, condition, sizes)
    if len(crystals) < batch_size:
        raise InputError(f"{len(crystals)} crystals are fewer than one batch; give more, or a smaller --batch-size")
    config = _config(sizes, crystals, condition, learns=options.epochs > 0)
    say(f"{len(crystals)} crystals to learn from, {len(held_back)} to judge by, {len(config.elements)} elements")
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        network = train_generator(
            config,
            crystals,
            held_back,
            out,
            options,
            accelerator=accelerator,
            devices=devices,
            resume=resume,
            start=first,
        )
    except SystemExit:  # so Lightning ends a training that was interrupted at the keyboard
        all_seconds(out, time.monotonic() - started, resume=resume)
        fail(f"interrupted; {out} keeps the last whole epoch, repeat the command with --resume to go on", code=130)
    if not is_main_process():
        return
    network.config = dataclasses.replace(
        network.config,
        guidance=network.config.guidance if guidance is None else guidance,
        temperature=network.config.temperature if temperature is None else temperature,
    )
    seconds = all_seconds(out, time.monotonic() - started, resume=resume)
    tables = {"training": table} if judged is None else {"training": table, "validation": judged}
    roles = [(path, role, n) for role, t in tables.items() for path, n in zip(t.sources, t.source_sizes, strict=True)]
    record = TrainingRecord(
        command=shlex.join(["icsg3d", *(a for a in sys.argv[1:] if a != "--resume")]),
        data=[describe_file(*role) for role in roles],
        options=dataclasses.asdict(options) | {"density": dataclasses.asdict(density)},
        seconds=seconds,
        machine=f"{platform.machine()}, {accelerator}, {devices} device(s)",
        metrics=rebuilt_shares(network.cpu(), held_back),
    )
    with progress_bar() as bar:
        task = bar.add_task("fitting the latent density")
        pack_model(
            network.cpu(),
            crystals,
            out / "model",
            record,
            text,
            density=density,
            report=lambda done, total: bar.update(task, completed=done, total=total),
        )
    say(f"the model is in [bold]{out / 'model'}[/]: icsg3d generate --model {out / 'model'} ...")


def _start(
    start: str | None, preset: str | None, grid: int | None, latent: int | None
) -> tuple[GeneratorNetwork | None, GeneratorConfig]:
    """Return the network to start from, if any, and the sizes of the one to train."""
    from icsg3d import pretrained
    from icsg3d.errors import InputError
    from icsg3d.models.checkpoints import GENERATOR_FORMAT, load_network
    from icsg3d.models.generator import GeneratorConfig
    from icsg3d.training.widening import check_wider

    if start is None:
        try:
            sizes = GeneratorConfig.preset(preset or "periodic", grid=grid)  # type: ignore[arg-type]
        except ValueError as error:
            way_out = "--preset is periodic or paper, --grid a multiple of 4 or, for paper, of 16"
            raise InputError(f"{error}; {way_out}") from error
        return None, _with_latent(sizes, latent)
    if preset is not None or grid is not None:
        raise InputError("with --from the networks have the sizes they come with; leave out --preset, --grid")
    network = load_network(pretrained.find(start, GENERATOR_FORMAT))[0]
    if latent is not None:
        check_wider(network.config.vae, latent)
    return network, _with_latent(network.config, latent)


def _with_latent(sizes: GeneratorConfig, latent: int | None) -> GeneratorConfig:
    """Return sizes with so many latent dimensions, or as they are if it is not said how many."""
    vae = sizes.vae if latent is None else dataclasses.replace(sizes.vae, latent=latent)
    return dataclasses.replace(sizes, vae=vae)


def _config(sizes: GeneratorConfig, crystals: CrystalSet, condition: str, *, learns: bool) -> GeneratorConfig:
    """Return the sizes with elements and condition of the crystals, or those that a network has which learns no more.

    Raises:
        InputError: if the crystals do not fit the latter.
    """
    from icsg3d.crystals.elements import symbols
    from icsg3d.errors import InputError

    if learns:
        return dataclasses.replace(
            sizes, elements=crystals.elements, condition=condition, energy_edges=crystals.energy_edges()
        )
    unknown = sorted(set(crystals.elements) - set(sizes.elements))
    if unknown:
        names = ", ".join(symbols()[number] for number in unknown)
        raise InputError(f"without epochs the model learns no new elements, such as {names}; give --joint-epochs")
    if condition != sizes.condition:
        raise InputError(f"without epochs the condition stays {sizes.condition}; leave out --condition-column")
    return sizes


def _sets(
    table: CrystalTable, judged: CrystalTable | None, column: str, sizes: GeneratorConfig
) -> tuple[CrystalSet, CrystalSet]:
    """Return training and validation crystals; without the latter, split by a hash of the formula."""
    import numpy as np

    from icsg3d.crystals.structures import from_arrays
    from icsg3d.files import sha256

    everything = _crystal_set(table, column, sizes)
    if judged is not None:
        return everything, _crystal_set(judged, column, sizes)
    formulas = [from_arrays(crystal).composition.reduced_formula for crystal in everything.crystals]
    apart = np.array([int(sha256(formula.encode())[:8], 16) % 20 == 0 for formula in formulas])
    if apart.all() or not apart.any():
        apart[:] = False
        apart[:: max(2, len(apart) // 20)] = True
    return everything.subset(np.flatnonzero(~apart)), everything.subset(np.flatnonzero(apart))


def _crystal_set(table: CrystalTable, column: str, sizes: GeneratorConfig) -> CrystalSet:
    """Return what the networks can see of a table's crystals; what they cannot is named and left out."""
    import numpy as np
    import pandas as pd

    from icsg3d.errors import InputError
    from icsg3d.training.data import CrystalSet

    crystals, kept, skipped = [], [], {}
    for row, (name, structure) in enumerate(zip(table.ids, table.structures, strict=True)):
        try:
            crystals.append(_cell(structure, sizes))
            kept.append(row)
        except InputError as error:
            skipped[name] = str(error)
    report_skipped(skipped)
    if not crystals:
        raise InputError(f"{table.sources[0]} holds no crystal that can be learned from; give another file")
    energies = np.full(len(table), np.nan)
    if column in table.frame.columns:
        energies = pd.to_numeric(table.frame[column], errors="coerce").to_numpy(dtype=float)
    return CrystalSet(crystals, [table.ids[row] for row in kept], energies[kept])


def _cell(structure: Structure, sizes: GeneratorConfig) -> CrystalArrays:
    """Return the cell that the networks see of a crystal.

    Raises:
        InputError: if the crystal is none that can be drawn, or longer than the finished model will take.
    """
    import numpy as np

    from icsg3d.crystals.structures import network_cell
    from icsg3d.errors import InputError

    crystal, _ = network_cell(structure, primitive=sizes.voxels.periodic)
    longest = float(np.linalg.norm(crystal.lattice, axis=1).max())
    if longest > sizes.max_length:
        raise InputError(
            f"the cell that the networks see is {longest:.1f} angstrom long, and they take cells up to "
            f"{sizes.max_length:.1f} angstrom; give smaller crystals"
        )
    return crystal
