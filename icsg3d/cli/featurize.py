"""``icsg3d featurize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icsg3d.cli import completion
from icsg3d.cli.console import DeviceOption, ResumeOption, bold, check_device, needs, say


def featurize(
    data: Annotated[list[Path], typer.Option(help="Crystals: table, database, crystal file or folder; repeatable.")],
    out: Annotated[Path, typer.Option(help="Table to write, .csv or .parquet.")],
    featurizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[=MODEL]",
            autocompletion=completion.featurizers,
            help="graph (the default), latent or property; with = and a model for its own; repeatable.",
        ),
    ] = None,
    device: DeviceOption = "cpu",
    resume: ResumeOption = False,
) -> None:
    """Make features of crystals, of any number of them in flat memory.

    Writes a row per crystal with `material_id`, `formula` and the features; crystals that are refused are named and
    left out. Needs the extra `matminer`.

    **Examples**

        icsg3d featurize --data crystals.parquet --out features.parquet

        icsg3d featurize --data folder_of_cifs --featurizer graph=band_gap --featurizer property --out features.csv
    """
    with needs("matminer", "featurize"):
        from icsg3d.runs.featurize import featurize as run

        check_device(device)
        found = run(data, out, featurizer or ["graph"], device=device, resume=resume)
    say(f"{found} are in {bold(out)}")
