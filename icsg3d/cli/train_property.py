"""``icsg3d train property`` and ``icsg3d train import-cgcnn``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icsg3d.cli import completion
from icsg3d.cli.console import (
    AcceleratorOption,
    ConfigOption,
    ResumeOption,
    SeedOption,
    SetOption,
    TrainingDataOption,
    bold,
    check_accelerator,
    escaped,
    needs,
    say,
    this_command,
)

OtherScaleOption = Annotated[
    list[Path] | None,
    typer.Option(help="Crystals whose values have other references: a constant per element is learned; repeatable."),
]
TeacherOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Crystals with pseudo-labels of another model: as --other-scale, but not in the last epochs; repeatable."
    ),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="NAME|PATH", autocompletion=completion.properties, help="Property model to start from."
    ),
]
HeldOutOption = Annotated[
    Path | None, typer.Option(help="Crystals to judge by. Without it, a tenth of the formulas is held out.")
]


def property_(
    out: Annotated[Path, typer.Option(help="Folder of checkpoints, log and, in model/, the trained model.")],
    data: TrainingDataOption = None,
    target: Annotated[str | None, typer.Option(help="Column of the property.")] = None,
    other_scale: OtherScaleOption = None,
    teacher: TeacherOption = None,
    start: StartOption = None,
    held_out: HeldOutOption = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each network: 100.")] = None,
    members: Annotated[int | None, typer.Option(help="Networks of the ensemble: 4.")] = None,
    seed: SeedOption = None,
    jobs: Annotated[int | None, typer.Option(help="Networks trained at the same time: 1.")] = None,
    accelerator: AcceleratorOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train a property model from scratch, or from the networks of another one.

    All other options (size of the networks, learning rate, kind of transfer ...) are in a configuration, which is
    written to config.yaml in --out with a word on each.

    **Examples**

        icsg3d train property --data crystals.json.gz --target formation_energy_per_atom --out runs/energy

        icsg3d train property --data gaps.json.gz --target band_gap --from formation_energy_per_atom --out runs/gap

        icsg3d train property --config runs/gap/config.yaml --set transfer=paper --out runs/by-the-paper
    """
    with needs("train", "training"):
        from icsg3d.runs.train_property import PropertyTrainingConfig, train_property

    given: dict[str, Any] = {"data": data or None, "target": target, "start": start, "held_out": held_out}
    given |= {"other_scale": other_scale or None, "teacher": teacher or None, "accelerator": accelerator}
    given |= {"epochs": epochs, "members": members, "seed": seed, "jobs": jobs}
    chosen = PropertyTrainingConfig.load(None if config is None else Path(config), set_ or [], given)
    check_accelerator(chosen.accelerator)
    trained = train_property(chosen, out, command=this_command(), resume=resume)
    picture = escaped(str(trained.picture))
    say(f"{trained}; the model is in {bold(trained.folder)}, predicted against true values in {picture}")


def import_cgcnn(
    weights: Annotated[Path, typer.Argument(help="Checkpoint of the official CGCNN (.pth.tar).")],
    atom_init: Annotated[Path, typer.Option(help="The atom_init.json it was trained with.")],
    target: Annotated[str, typer.Option(help="Property it predicts, such as formation_energy_per_atom.")],
    out: Annotated[Path, typer.Option(help="Folder of the converted model.")],
) -> None:
    """Convert a checkpoint of the official CGCNN (Xie and Grossman) into a property model.

    The file is a pickle; it is read with a loader that makes tensors and numbers and refuses everything else.

    **Example**

        icsg3d train import-cgcnn bulk-moduli.pth.tar --atom-init atom_init.json --target bulk_modulus --out runs/cgcnn
    """
    from icsg3d.models.cgcnn import read_cgcnn
    from icsg3d.models.properties import save_property_model
    from icsg3d.models.targets import PROPERTIES, unknown_property

    model = read_cgcnn(weights, atom_init, PROPERTIES.get(target) or unknown_property(target))
    save_property_model(model, out)
    say(f"the model is in {bold(out)}: icsg3d predict --property {escaped(str(out))} --data ...")
