"""``icsg3d collect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icsg3d.cli.console import bold, needs, say


def collect(
    folder: Annotated[Path, typer.Argument(help="Folder of icsg3d generate or validate with --submit.")],
) -> None:
    """Write the results of what was handed to a workflow manager, or tell how far it is.

    Writes what `generate` or `validate` writes on one machine: of `generate` the candidates that are kept, with their
    rank, tables and CIFs; what was refused is counted in `judging.json`.

    **Examples**

        icsg3d generate -n 1000000 --hull 0.05 --keep 1000 --submit fireworks --out runs/million

        icsg3d collect runs/million
    """
    with needs("workflows", "collecting"):
        from icsg3d.runs.collect import collect as run

    say(f"{run(folder)} ({bold(folder)})")
