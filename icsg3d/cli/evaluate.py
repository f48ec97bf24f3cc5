"""``icsg3d evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icsg3d.cli.console import report_skipped

app = typer.Typer(no_args_is_help=True, help="Measure how well crystals are found, rebuilt and generated.")


@app.callback()
def _group() -> None:
    """Keep `segmentation` a command of its own while it is the only one."""


@app.command()
def segmentation(
    data: Annotated[Path, typer.Option(help="Crystals: a matminer dataframe, a crystal file, or a folder.")],
    out: Annotated[Path, typer.Option(help="Folder of segmentation.json, segmentation.csv and figure_s2.png.")],
    preset: Annotated[str, typer.Option(help="Grid: periodic or paper.")] = "periodic",
    grid: Annotated[int | None, typer.Option(min=4, help="Points along each axis.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first crystals.")] = None,
    primitive: Annotated[bool, typer.Option("--primitive", help="Draw the primitive cells.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Run DBSCAN and K-means on the same maps.")] = False,
) -> None:
    """Find the atoms of true species maps (Algorithm S1) and draw Figure S2, true minus found atoms.

    **Example**

        icsg3d evaluate segmentation --data crystals.json.gz --out runs/segmentation --compare
    """
    from icsg3d.data import load_structures
    from icsg3d.evaluation.segmentation import run

    table = load_structures(data).head(limit)
    report_skipped(table.skipped)
    run(table.structures, table.ids, out, preset=preset, grid=grid, primitive=primitive, compare=compare)
