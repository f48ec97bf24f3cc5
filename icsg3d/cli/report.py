"""``icsg3d report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icsg3d.cli.console import DeviceOption, bold, check_device, say


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of generate, screen, validate or evaluate.")],
    slices: Annotated[
        int, typer.Option(min=0, max=32, help="Candidates whose decoded grids are shown; 0 loads no generator.")
    ] = 12,
    device: DeviceOption = "cpu",
) -> None:
    """Make the page of a folder of results, `report.html`: crystals that turn, tables, charts.

    It is one file that opens in any browser, without a network. A run that has not finished gives a page of what there
    is so far.

    **Example**

        icsg3d report runs/demo
    """
    from icsg3d.report.page import write_report

    check_device(device)
    say(f"open {bold(write_report(folder, slices=slices, device=device))} in a browser")
