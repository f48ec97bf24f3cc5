"""``icsg3d generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icsg3d.cli.console import (
    DeviceOption,
    ModelOption,
    OverwriteOption,
    ResumeOption,
    SymmetryOption,
    check_device,
    say,
)


def generate(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    base: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FORMULA",
            help="Crystal to start from: a file, or an AB, ABX3 or A2BC formula. Without it, draws are free.",
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="Number of draws.")] = 20,
    scale: Annotated[
        float, typer.Option(help="Noise level around the base: near 0 the base itself, at 1 nothing is left of it.")
    ] = 0.65,
    condition: Annotated[
        float | None,
        typer.Option(
            help="Energy per atom to ask for, in eV (without a base). The model knows ten ranges and takes the one in "
            "which it lies, which is printed."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same crystals.")] = 0,
    model: ModelOption = "cubic",
    device: DeviceOption = "cpu",
    symmetry: SymmetryOption = 0.25,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    picture: Annotated[bool, typer.Option(help="Draw the first crystals and their grids.")] = True,
) -> None:
    """Design new crystals around a given one, or freely.

    Writes `candidates.json.gz`, `candidates.csv`, `cifs/` and `candidates.png`. Every draw has a row; where it gave no
    crystal the row says why.

    **Examples**

        icsg3d generate --base SrTiO3 -n 20 --out runs/strontium-titanate

        icsg3d generate --base my_crystal.cif -n 100 --scale 0.8 --seed 1 --out runs/wider

        icsg3d generate -n 1000 --condition -1.5 --out runs/stable
    """
    from icsg3d.runs.generate import generate as run

    check_device(device)
    options: dict[str, Any] = {
        "n": n,
        "scale": scale,
        "condition": condition,
        "seed": seed,
        "model": model,
        "device": device,
    }
    found = run(out, base, **options, symmetry=symmetry, resume=resume, overwrite=overwrite, picture=picture)
    say(f"{found}, in [bold]{out}[/]")
