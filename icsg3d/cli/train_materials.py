"""``icsg3d train materials``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icsg3d.cli.console import (
    ConfigOption,
    PrecisionOption,
    ResumeOption,
    SeedOption,
    SetOption,
    StartOption,
    bold,
    escaped,
    needs,
    say,
)


def materials(
    out: Annotated[Path, typer.Option(help="Folder of states, learning curves and, in model/, the trained model.")],
    data: Annotated[
        list[Path] | None, typer.Option(help="Compact table (.npz) of crystals to learn from; repeatable.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Compact table to judge by; crystals of its formulas are not learned from.")
    ] = None,
    start: StartOption = None,
    autoencoder_steps: Annotated[int | None, typer.Option(help="Steps of the autoencoder in all: 30,000.")] = None,
    density_steps: Annotated[int | None, typer.Option(help="Steps of the density in all: 30,000.")] = None,
    seed: SeedOption = None,
    precision: PrecisionOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train a generator for crystals of any cell: the autoencoder first, then the density of its latent grids.

    With --resume both continue from what --out holds, also to more steps than were asked for before.

    **Examples**

        icsg3d train materials --data mp_structures.npz --validation mp20_val.npz --out runs/materials

        icsg3d train materials --data mp_structures.npz --validation mp20_val.npz --from materials --out runs/more
    """
    with needs("train", "training"):
        from icsg3d.runs.train_materials import MaterialsTrainingConfig, train_materials

    given: dict[str, Any] = {"data": data or None, "validation": validation, "start": start, "seed": seed}
    given |= {"autoencoder_steps": autoencoder_steps, "density_steps": density_steps, "precision": precision}
    chosen = MaterialsTrainingConfig.load(None if config is None else Path(config), set_ or [], given)
    model = train_materials(chosen, out, resume=resume)
    say(f"the model is in {bold(model)}: icsg3d generate --model {escaped(str(model))} ...")
