"""``icsg3d train generator``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icsg3d.cli.console import (
    AcceleratorOption,
    ConfigOption,
    PrecisionOption,
    ResumeOption,
    SeedOption,
    SetOption,
    StartOption,
    TrainingDataOption,
    bold,
    check_accelerator,
    escaped,
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
ValidationOption = Annotated[
    Path | None, typer.Option(help="Crystals to judge by. Without it, a twentieth of the formulas is held out.")
]
JointEpochsOption = Annotated[int | None, typer.Option(help="Epochs of both networks, end to end: 60.")]
DevicesOption = Annotated[int | None, typer.Option(help="Number of devices that share each epoch: 1.")]


def generator(
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, log and, in model/, the trained model.")],
    data: TrainingDataOption = None,
    validation: ValidationOption = None,
    start: StartOption = None,
    condition_column: ConditionOption = None,
    joint_epochs: JointEpochsOption = None,
    seed: SeedOption = None,
    accelerator: AcceleratorOption = None,
    devices: DevicesOption = None,
    precision: PrecisionOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train a generator: the U-Net first, the autoencoder second, then both end to end.

    All other options (sizes of the networks, learning rate ...) are in a configuration, which is written to config.yaml
    in --out with a word on each.

    **Examples**

        icsg3d train generator --data crystals.json.gz --out runs/my-model

        icsg3d train generator --config runs/my-model/config.yaml --set latent=512 --out runs/wider

        icsg3d train generator --data my_crystals --from cubic --joint-epochs 10 --out runs/tuned

    With --from and --joint-epochs 0 only the density of the latent space is fitted anew.
    """
    with needs("train", "training"):
        from icsg3d.runs.train_generator import GeneratorTrainingConfig, train_generator

    given: dict[str, Any] = {"data": data or None, "validation": validation, "start": start, "seed": seed}
    given |= {"condition_column": condition_column, "joint_epochs": joint_epochs}
    given |= {"accelerator": accelerator, "devices": devices, "precision": precision}
    chosen = GeneratorTrainingConfig.load(None if config is None else Path(config), set_ or [], given)
    check_accelerator(chosen.accelerator)
    if model := train_generator(chosen, out, command=this_command(), resume=resume):
        say(f"the model is in {bold(model)}: icsg3d generate --model {escaped(str(model))} ...")
