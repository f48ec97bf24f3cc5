"""``icsg3d predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icsg3d.cli import completion
from icsg3d.cli.console import DeviceOption, ResumeOption, bold, check_device, say
from icsg3d.cli.constraints import PhasesOption


def predict(
    data: Annotated[list[Path], typer.Option(help="Crystals: table, database, crystal file or folder; repeatable.")],
    out: Annotated[Path, typer.Option(help="Table to write, .csv or .parquet.")],
    property_: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            metavar="NAME|PATH",
            autocompletion=completion.properties,
            help="Shipped property or folder of a trained model; repeatable, or all.",
        ),
    ] = None,
    phases: PhasesOption = None,
    device: DeviceOption = "cpu",
    resume: ResumeOption = False,
) -> None:
    """Predict properties of crystals, each with its standard uncertainty.

    **Examples**

        icsg3d predict --data SrTiO3.cif --out srtio3.csv

        icsg3d predict --data million.parquet --property formation_energy_per_atom --out energies.parquet

        icsg3d predict --data crystals.json.gz --property band_gap --property bulk_modulus --out predicted.csv
    """
    from icsg3d.runs.predict import predict as run

    check_device(device)
    found = run(data, out, property_, phases=phases or [], device=device, resume=resume)
    say(f"{found} are in {bold(out)}")
