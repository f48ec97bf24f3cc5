"""``icsg3d data``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icsg3d.cli import completion
from icsg3d.cli.console import bold, escaped, say
from icsg3d.refusals import log_refused

if TYPE_CHECKING:
    from icsg3d.data.description import Description

_log = logging.getLogger(__name__)

app = typer.Typer(no_args_is_help=True, help="Get crystals to work with, and see what they are.")

_SHOWN = 12
"""Elements and formulas that are listed."""

FormulaOption = Annotated[
    str | None, typer.Option(metavar="LIST", help="Formulas: SrTiO3,BaTiO3; anonymous: ABX3; wild cards: '*TiO3'")
]
CountOption = Annotated[str | None, typer.Option(metavar="N|N-M", help="Number of different elements: 3 or 2-4.")]
HullOption = Annotated[float | None, typer.Option(help="Upper limit of the energy above hull, eV/atom.")]
HavingOption = Annotated[
    str | None, typer.Option(metavar="LIST", help="Columns that must have values: bulk_modulus,eij_max")
]


@app.command()
def fetch(
    out: Annotated[Path, typer.Option(help="Dataframe to write, .json.gz or .json.")],
    ids: Annotated[str | None, typer.Option(metavar="LIST", help="Materials: mp-149,mp-5229")] = None,
    formula: FormulaOption = None,
    chemsys: Annotated[str | None, typer.Option(metavar="LIST", help="Chemical systems: Li-Fe-O")] = None,
    elements: Annotated[str | None, typer.Option(metavar="LIST", help="Elements that must be there: Ti,O")] = None,
    exclude_elements: Annotated[str | None, typer.Option(metavar="LIST", help="Elements that must not.")] = None,
    crystal_system: Annotated[str | None, typer.Option(help="cubic, tetragonal, ... triclinic.")] = None,
    space_group: Annotated[int | None, typer.Option(help="International number, 1 to 230.")] = None,
    elements_count: CountOption = None,
    max_sites: Annotated[int | None, typer.Option(help="Most atoms in the cell.")] = None,
    max_energy_above_hull: HullOption = None,
    having: HavingOption = None,
    gnome: Annotated[bool, typer.Option("--gnome", help="Materials of GNoME too: not for commercial use.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask again and replace what --out holds.")] = False,
) -> None:
    """Fetch crystals and properties from the Materials Project.

    The key is taken from the environment variable MP_API_KEY, else from pymatgen's settings. Repeat the command to
    resume an interrupted fetch; a finished one is read from disk.

    **Examples**

        icsg3d data fetch --formula ABX3 --crystal-system cubic --out perovskites.json.gz

        icsg3d data fetch --ids mp-149,mp-5229 --out two.json.gz

        icsg3d data fetch --elements-count 3 --elements O --having bulk_modulus --out oxides.json.gz
    """
    from icsg3d.data.materials_project import MaterialsProjectQuery, fetch_materials_project

    asked: dict[str, Any] = {"ids": _listed(ids), "formula": _listed(formula), "chemsys": _listed(chemsys)}
    asked |= {"elements": _listed(elements), "exclude_elements": _listed(exclude_elements), "having": _listed(having)}
    asked |= {"crystal_system": crystal_system.lower() if crystal_system else None, "space_group": space_group}
    asked |= {"elements_count": _span(elements_count), "max_sites": max_sites, "gnome": gnome}
    query = MaterialsProjectQuery(**asked, max_energy_above_hull=max_energy_above_hull)
    frame = fetch_materials_project(query, out, refresh=refresh)
    log_refused(_log, frame.attrs["skipped"])
    counts = ", ".join(f"{name} {frame[name].notna().sum()}" for name in frame.columns[4:] if frame[name].notna().any())
    say(f"{len(frame)} crystals are in {bold(out)}; with values: {escaped(counts) or 'none'}")


@app.command()
def describe(
    data: Annotated[list[Path], typer.Argument(help="Crystals: file, folder, database or data set of matminer.")],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            autocompletion=completion.generators,
            help="Generator: say which crystals it would refuse, and why.",
        ),
    ] = None,
) -> None:
    """Say what a source of crystals holds: counts, elements, ranges, duplicates, and what cannot be used.

    **Example**

        icsg3d data describe crystals.json.gz --model cubic
    """
    from icsg3d.crystals.structures import to_arrays
    from icsg3d.data import load_structures
    from icsg3d.data.description import describe as described
    from icsg3d.generation.generator import CrystalGenerator

    accept = to_arrays if model is None else CrystalGenerator.from_pretrained(model).prepare
    _print(described(load_structures(data), accept), model)


def _print(found: Description, model: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(
        f"{found.crystals} crystals of {found.formulas} formulas, {len(found.elements)} elements; "
        f"{len(found.duplicates)} repeat an earlier one"
    )
    for title, counts in (("Elements", found.elements), ("Anonymous formulas", found.anonymous)):
        shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:_SHOWN])
        more = f", and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
        console.print(f"{title}: {shown}{more}", soft_wrap=True)
    ranges = Table("", "minimum", "5 %", "median", "95 %", "maximum", "missing")
    for name, values in found.ranges.items():
        ranges.add_row(escaped(name), *(f"{value:.5g}" for value in values), str(found.missing.get(name, "")))
    console.print(ranges)
    if found.refused:
        taker = "any model" if model is None else f"the model {escaped(str(model))}"
        say(f"[yellow]{len(found.refused)} crystals would not be taken by {taker}[/]")
        log_refused(_log, found.refused)
    if found.skipped:
        say(f"[yellow]{len(found.skipped)} entries hold no crystal[/]")
        log_refused(_log, found.skipped)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _span(text: str | None) -> int | tuple[int, int] | None:
    """Return what ``3`` or ``2-4`` says.

    Raises:
        InputError: if it is neither.
    """
    from icsg3d.errors import InputError

    if text is None:
        return None
    parts = text.split("-")
    if len(parts) > 2 or not all(part.strip().isdecimal() and len(part) < 9 for part in parts):
        raise InputError(f"--elements-count is {text!r}; give a number such as 3, or two such as 2-4")
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))
