"""``icsg3d compare-polymorphs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icsg3d.cli.console import say


def compare_polymorphs(
    candidates: Annotated[Path, typer.Argument(help="validation.json.gz of icsg3d validate, candidates, or crystals.")],
    polymorphs: Annotated[Path, typer.Argument(help="Known crystals: dataframe, file or folder.")],
    out: Annotated[Path, typer.Option(help="Table to write, .csv; one in Markdown is put beside it.")],
    energy_column: Annotated[
        str, typer.Option(help="Column of the known crystals with formation energies in eV/atom.")
    ] = "formation_energy_per_atom",
) -> None:
    """Compare candidates with known crystals of the same formula, lattice parameters and formation energies: Table S2.

    A row stands for one formula and one crystal system of known crystals, its errors for the mean over all pairs.

    **Examples**

        icsg3d data fetch --formula SrTiO3,BaTiO3 --out known.json.gz

        icsg3d compare-polymorphs runs/validated/validation.json.gz known.json.gz --out runs/table_s2.csv
    """
    from icsg3d.runs.compare_polymorphs import compare_polymorphs as run

    say(str(run(candidates, polymorphs, out, energy_column=energy_column)))
