"""``icsg3d compare-polymorphs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icsg3d.cli.console import progress_bar, report_skipped, say

if TYPE_CHECKING:
    from icsg3d.evaluation.polymorphs import Phase

_EXAMPLES = """
**Examples**

    icsg3d data fetch --formula SrTiO3,BaTiO3 --out known.json.gz

    icsg3d compare-polymorphs runs/validated/validation.json.gz known.json.gz --out runs/table_s2.csv
"""


def compare_polymorphs(
    candidates: Annotated[Path, typer.Argument(help="validation.json.gz of icsg3d validate, candidates, or crystals.")],
    polymorphs: Annotated[Path, typer.Argument(help="Known crystals: dataframe, file or folder.")],
    out: Annotated[Path, typer.Option(help="Table to write, .csv; one in Markdown is put beside it.")],
    energy_column: Annotated[
        str, typer.Option(help="Column of the known crystals with formation energies in eV/atom.")
    ] = "formation_energy_per_atom",
) -> None:
    """Compare candidates with known crystals of the same formula, edges and formation energies: Table S2.

    A row stands for one formula and one crystal system of known crystals, its errors for the mean over all pairs.
    """
    from icsg3d.data import load_structures
    from icsg3d.errors import InputError
    from icsg3d.evaluation.polymorphs import Phase, polymorph_table
    from icsg3d.files import write_atomically
    from icsg3d.report.validation import markdown_table

    if out.suffix != ".csv":
        raise InputError(f"the table is written as CSV; name a file that ends in .csv instead of {out.name}")
    found = _candidates(candidates)
    table = load_structures(polymorphs)
    report_skipped(table.skipped)
    if energy_column in table.frame:
        energies = [_number(value) for value in table.frame[energy_column]]
    else:
        energies = [None] * len(table)
        say(f"[yellow]{polymorphs} has no column {energy_column}: energies are not compared[/]")
    known = [Phase(*row) for row in zip(table.ids, table.structures, energies, strict=True)]
    with progress_bar() as bar:
        task = bar.add_task("comparing", total=len(found))
        rows = polymorph_table(found, known, lambda: bar.advance(task))
    if rows.empty:
        raise InputError(f"no formula of {candidates} is in {polymorphs}; give other known crystals")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, rows.to_csv(index=False, float_format="%.4f").encode())
    means = _means(rows)
    text = f"{markdown_table(rows)}\n\nAverages over the {len(rows)} rows: {means}.\n"
    write_atomically(out.with_suffix(".md"), text.encode())
    formulas = {phase.structure.composition.reduced_formula for phase in found}
    say(f"{rows['formula'].nunique()} of {len(formulas)} formulas are known; averages over {len(rows)} rows: {means}")


compare_polymorphs.__doc__ = (compare_polymorphs.__doc__ or "") + _EXAMPLES


def _candidates(path: Path) -> list[Phase]:
    """Return validated candidates as relaxed, with the engine's energies; others as they are."""
    from icsg3d.crystals.structures import read_json
    from icsg3d.evaluation.polymorphs import Phase
    from icsg3d.report.folders import read_candidates_or_crystals

    if path.is_file() and path.name.endswith((".json", ".json.gz")):
        content = read_json(path)
        if isinstance(content, dict) and "rows" in content:
            return _validated(content, path)
    energy = "formation_energy_per_atom"
    return [
        Phase(str(each.index), each.structure, each.predictions.get(energy))
        for each in read_candidates_or_crystals(path)
        if each.structure is not None
    ]


def _validated(content: dict[str, Any], path: Path) -> list[Phase]:
    from icsg3d.crystals.structures import structure_from_dict
    from icsg3d.errors import InputError
    from icsg3d.evaluation.polymorphs import Phase

    try:
        rows = [row for row in content["rows"] if row["state"] == "finished"]
        found = [
            Phase(
                str(row["candidate"]["index"]),
                structure_from_dict(row["relaxed"]),
                _number(row["formation_energy_per_atom"]),
            )
            for row in rows
        ]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no validation ({error!r}); give the validation.json.gz of icsg3d validate"
        ) from error
    left = len(content["rows"]) - len(found)
    if left:
        say(f"[yellow]{left} candidates of {path} did not finish and are left out[/]")
    if not found:
        raise InputError(f"no candidate of {path} finished, so there is nothing to compare; validate others")
    return found


def _number(value: Any) -> float | None:
    """Return a finite number, None for anything else."""
    import math

    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _means(rows: Any) -> str:
    from icsg3d.evaluation.relaxation import mean_of_known

    units = {"mae_a": "angstrom", "mae_b": "angstrom", "mae_c": "angstrom", "mae_e_form": "eV/atom"}
    values = {name: mean_of_known(rows[name].astype(float)) for name in units}
    return ", ".join(f"{name} {value:.3f} {units[name]}" for name, value in values.items() if value is not None)
