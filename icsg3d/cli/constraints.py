"""Options of the commands that judge candidates."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icsg3d.cli import completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from icsg3d.runs.judged import Judging

_PANEL = "What candidates have to meet"
_PHASES = "CSV table or JSON entries of phases to add to the hull; repeatable."

PhasesOption = Annotated[list[Path] | None, typer.Option(help=_PHASES)]
"""Of commands that tell the distance from the hull without judging by it."""


def _option(kind: Any, help_: str, name: str | None = None, metavar: str | None = None, **more: Any) -> Any:
    names = () if name is None else (name,)
    return Annotated[kind, typer.Option(*names, help=help_, metavar=metavar, rich_help_panel=_PANEL, **more)]


_OPTIONS: dict[str, Any] = {
    "elements": _option(str | None, "Elements that may be there: Cs,Sn,I.", metavar="A,B"),
    "require_elements": _option(str | None, "Elements that must be there.", metavar="A,B"),
    "exclude_elements": _option(str | None, "Elements that must not.", metavar="A,B"),
    "formula": _option(str | None, "A formula, or ABX3, each letter of which stands for an element."),
    "atoms": _option(str | None, "Number of atoms of the primitive cell: 4:20, :8 or 5.", metavar="LOW:HIGH"),
    "space_group": _option(str | None, "Number or symbol: 221 or Pm-3m.", metavar="GROUP"),
    "crystal_system": _option(str | None, "Such as cubic.", metavar="NAME"),
    "band_gap": _option(str | None, "Predicted band gap in eV: 1.2:1.8.", metavar="LOW:HIGH"),
    "property_": _option(
        list[str] | None,
        "Range of any property: bulk_modulus=100:, or its name alone to have it predicted; repeatable.",
        "--property",
        "NAME[=LOW:HIGH]",
        autocompletion=completion.properties,
    ),
    "hull": _option(float | None, "Largest energy above the hull in eV/atom: 0.1.", metavar="EV"),
    "novel": _option(bool, "Leave out compositions of the training crystals and of the hull.", "--novel"),
    "keep": _option(int | None, "How many candidates to keep, the best first."),
    "phases": _option(list[Path] | None, _PHASES),
    "also": _option(
        list[str] | None,
        "Also write what is kept as extxyz (frames of extended XYZ) or db (ASE database); repeatable.",
        "--also",
        "FORMAT",
    ),
    "scale_cells": _option(bool, "Bring each cell to its equilibrium volume.", "--scale-cells/--no-scale-cells"),
    "relax": _option(
        bool | None,
        "Bring what passes to the minimum of the predicted energy, and judge it again there. By default generate does, "
        "screen does not.",
        "--relax/--no-relax",
    ),
}
_DEFAULTS = {"novel": False, "scale_cells": True}


def judged(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of judging, which it takes together as ``judging``, a ``Judging``."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        own = {name: given.pop(name) for name in _OPTIONS}
        command(**given, judging=_judging(own))

    signature = inspect.signature(command, eval_str=True)
    parameters = [each for name, each in signature.parameters.items() if name != "judging"]
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters += [
        inspect.Parameter(name, kind, default=_DEFAULTS.get(name), annotation=option)
        for name, option in _OPTIONS.items()
    ]
    shown = [each.replace(kind=kind) for each in parameters]
    wrapped.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in shown}
    return wrapped


def _judging(given: dict[str, Any]) -> Judging:
    from icsg3d.runs.judged import Judging
    from icsg3d.screening.options import constraints_of

    names = ("elements", "require_elements", "exclude_elements", "formula", "atoms", "space_group", "crystal_system")
    properties = given["property_"] or []
    if given["band_gap"] is not None:
        properties = [f"band_gap={given['band_gap']}", *properties]
    constraints, told = constraints_of({name: given[name] for name in names}, properties)
    return Judging(
        constraints,
        given["keep"],
        given["hull"],
        novel=given["novel"],
        phases=given["phases"] or [],
        properties=told,
        scale_cells=given["scale_cells"],
        relax=given["relax"],
        also=given["also"] or [],
    )
