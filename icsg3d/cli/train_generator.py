"""``icsg3d train generator``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icsg3d.cli import completion
from icsg3d.cli.console import (
    AcceleratorOption,
    ConfigOption,
    PrecisionOption,
    ResumeOption,
    SeedOption,
    SetOption,
    TrainingDataOption,
    check_accelerator,
    needs,
    say,
    this_command,
)

ConditionOption = Annotated[
    str | None,
    typer.Option(
        help="Column with the energies per atom, in eV, that crystals can later be asked for by; else "
        "formation_energy_per_atom, if there is such a column."
    ),
]


def generator(
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, log and, in model/, the trained model.")],
    data: TrainingDataOption = None,
    validation: Annotated[
        Path | None, typer.Option(help="Crystals to judge by. Without it, a twentieth of the formulas is held out.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NAME|PATH",
            autocompletion=completion.generators,
            help="Generator whose weights are the first ones.",
        ),
    ] = None,
    condition_column: ConditionOption = None,
    joint_epochs: Annotated[int | None, typer.Option(help="Epochs of both networks, end to end: 60.")] = None,
    seed: SeedOption = None,
    accelerator: AcceleratorOption = None,
    devices: Annotated[int | None, typer.Option(help="Number of devices that share each epoch: 1.")] = None,
    precision: PrecisionOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train a generator: the U-Net first, the autoencoder second, then both end to end.

    All other options (sizes of the networks, learning rate, augmentation, guidance ...) stand in a configuration; the
    one that was used is written to config.yaml in --out, with a word on each.

    **Examples**

        icsg3d train generator --data crystals.json.gz --out runs/my-model

        icsg3d train generator --config runs/my-model/config.yaml --set latent=512 --out runs/wider

        icsg3d train generator --data my_crystals --from cubic --joint-epochs 10 --out runs/tuned

    Only the density of the latent space of a trained generator, fitted anew:

        icsg3d train generator --data crystals.json.gz --from cubic --joint-epochs 0 --out runs/refitted
    """
    with needs("train", "training"):
        from icsg3d.runs.train_generator import GeneratorTrainingConfig, train_generator

    given: dict[str, Any] = {"data": data or None, "validation": validation, "start": start, "precision": precision}
    given |= {"condition_column": condition_column, "joint_epochs": joint_epochs, "seed": seed}
    given |= {"accelerator": accelerator, "devices": devices}
    chosen = GeneratorTrainingConfig.load(None if config is None else Path(config), set_ or [], given)
    check_accelerator(chosen.accelerator)
    model = train_generator(chosen, out, command=this_command(), resume=resume)
    if model is not None:
        say(f"the model is in [bold]{model}[/]: icsg3d generate --model {model} ...")
