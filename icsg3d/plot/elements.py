"""The periodic table, coloured."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.patches import Rectangle
from pymatgen.core import Element

from icsg3d.crystals.elements import symbols
from icsg3d.errors import InputError
from icsg3d.plot.axes import given_or_new

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

_F_BLOCK_GAP = 0.35


@cache
def place(symbol: str) -> tuple[float, float]:
    """Return column and row of an element in the table of eighteen groups, the f-block below."""
    element = Element(symbol)
    if element.is_lanthanoid or element.is_actinoid:
        first = 57 if element.is_lanthanoid else 89
        return 3.0 + element.Z - first, (8 if element.is_lanthanoid else 9) + _F_BLOCK_GAP
    return float(element.group), float(element.row)


def periodic_table(
    values: Mapping[str, float], axes: Axes | None = None, *, cmap: str = "viridis", form: str = "{:g}"
) -> Axes:
    """Draw the periodic table with a number under each element, coloured by it.

    Args:
        values: Numbers by element symbol, such as in how many candidates each occurs; others stay empty.
        axes: Where; new ones if None.
        cmap: Colours, from the lowest to the highest number.
        form: How a number is written.

    Raises:
        InputError: if a symbol is no element up to plutonium.
    """
    table = [symbol for symbol in symbols() if symbol]
    unknown = sorted(set(values) - set(table))
    if unknown:
        msg = f"{', '.join(unknown)} is no element that icsg3d knows; give symbols up to Pu"
        raise InputError(msg)
    axes = given_or_new(axes, (9, 4.6))
    colours = mpl.colormaps[cmap]
    scale = mpl.colors.Normalize(min([0.0, *values.values()]), max([1.0, *values.values()]))
    for symbol in table:
        column, row = place(symbol)
        value = values.get(symbol)
        colour: Any = "none" if value is None else colours(scale(value))
        axes.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, facecolor=colour, edgecolor="0.6", lw=0.5))
        ink = None if value is None else _ink(colour)
        weight = "normal" if value is None else "bold"
        shown: dict[str, Any] = {"ha": "center", "va": "center"} | ({} if ink is None else {"color": ink})
        axes.text(column, row - (0 if value is None else 0.16), symbol, fontsize=8, fontweight=weight, **shown)
        if value is not None:
            axes.text(column, row + 0.24, form.format(value), fontsize=6.5, **shown)
    axes.set(xlim=(0.4, 18.6), ylim=(9.9 + _F_BLOCK_GAP, 0.4))
    axes.set_aspect("equal")
    axes.set_axis_off()
    return axes


def _ink(colour: tuple[float, float, float, float]) -> str:
    """Return black or white, whichever is easier to read on a colour (relative luminance of WCAG)."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return "black" if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 else "white"
