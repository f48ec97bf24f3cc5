"""How crystals and lists of results show themselves in a notebook: a small picture, a table."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any, Protocol, Self, SupportsIndex, TypeVar, overload

import numpy as np
from ase.data.colors import jmol_colors

from icsg3d.crystals.elements import atomic_radii, symbols

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from pymatgen.core import Structure

_TURN, _TILT = 0.42, 0.28
"""Radians; from where a cell is looked at: about the vertical, and from above."""

_NEAR_FACE = 0.06
"""Of an edge: decoded atoms lie a little off the faces."""

_LEGIBLE = 7.0
"""Pixels; the radius from which an atom bears its symbol."""

_SHOWN = 20
"""Rows of a list that a notebook shows."""


class Row(Protocol):
    """What a list can show: something with a crystal that is a row of a table."""

    @property
    def structure(self) -> Structure | None:
        """The crystal; None where there is none."""

    def row(self) -> dict[str, Any]:
        """Return values by name."""


R = TypeVar("R", bound=Row)


class CrystalList(list[R]):
    """A list of results with crystals that a notebook shows as a table, and that turns into a dataframe."""

    @overload
    def __getitem__(self, key: SupportsIndex) -> R: ...
    @overload
    def __getitem__(self, key: slice) -> Self: ...
    def __getitem__(self, key: SupportsIndex | slice) -> R | Self:
        """Return a result, or a list of the same kind of several."""
        found = super().__getitem__(key)
        return type(self)(found) if isinstance(key, slice) else found  # type: ignore[arg-type, return-value]

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each result, with a column ``structure``, as matminer takes it."""
        import pandas as pd

        frame = pd.DataFrame([each.row() for each in self])
        frame["structure"] = pd.Series([each.structure for each in self], index=frame.index, dtype=object)
        return frame

    def _repr_html_(self) -> str:
        rows = [{"": Markup(crystal_svg(each.structure, 64)), **each.row()} for each in self[:_SHOWN]]
        more = f"<p>... and {len(self) - _SHOWN} more</p>" if len(self) > _SHOWN else ""
        return f"<p>{len(self)} results</p>{html_table(rows)}{more}"


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as an HTML table, every text escaped; columns that no row has a value of are left out."""
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if value not in (None, "")))
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    lines = ("".join(f"<td>{_cell(row.get(name))}</td>" for name in names) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html_card(structure: Structure | None, values: Mapping[str, Any]) -> str:
    """Return a crystal's picture with what is known of it beside it."""
    known = {name: value for name, value in values.items() if value not in (None, "")}
    lines = "".join(
        f"<tr><th style='text-align:left'>{escape(name.replace('_', ' '))}</th><td>{_cell(value)}</td></tr>"
        for name, value in known.items()
    )
    style = "display:flex;gap:1em;align-items:center;flex-wrap:wrap"
    return f"<div style='{style}'>{crystal_svg(structure, 180)}<table><tbody>{lines}</tbody></table></div>"


def _cell(value: Any) -> str:
    if isinstance(value, Markup):
        return value
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None else escape(str(value))


def crystal_svg(structure: Structure | None, size: int = 180) -> str:
    """Return a picture of a unit cell with the atoms in it and on its faces as SVG; without a crystal, nothing.

    Args:
        structure: The crystal.
        size: Of the picture, in pixels.
    """
    if structure is None:
        return ""
    numbers, coords = atoms_with_faces(structure)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    matrix = structure.lattice.matrix
    centre = np.full(3, 0.5) @ matrix
    places, frame = (_seen(points @ matrix - centre) for points in (coords, corners))
    scale = size / (2 * float(np.linalg.norm(corners @ matrix - centre, axis=1).max()) + 1.2)
    edges = [(a, b) for a in range(8) for b in range(8) if b > a and (corners[b] - corners[a]).sum() == 1]
    edges = [(a, b) for a, b in edges if (corners[b] >= corners[a]).all()]
    lines = "".join(_line(*(size / 2 + scale * frame[[a, b], :2]).ravel().tolist()) for a, b in edges)
    spots = size / 2 + scale * places[:, :2]
    order = np.argsort(-places[:, 2], kind="stable")
    balls = "".join(_ball(int(numbers[i]), float(spots[i, 0]), float(spots[i, 1]), scale) for i in order)
    label = escape(f"unit cell of {structure.composition.reduced_formula}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{lines}{balls}</svg>"
    )


def atoms_with_faces(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Return the atoms of a cell, those near a face also on the opposite one.

    Returns:
        Atomic numbers, of a disordered site that of the commonest element, shape (n,), and fractional coordinates,
        shape (n, 3).
    """
    numbers = [max(site.species.items(), key=lambda pair: pair[1])[0].Z for site in structure]
    kinds, coords = np.array(numbers, dtype=int), structure.frac_coords % 1.0
    coords = np.where(coords > 1 - _NEAR_FACE, coords - 1, coords)
    for axis in range(3):
        near = coords[:, axis] < _NEAR_FACE
        kinds, coords = np.concatenate([kinds, kinds[near]]), np.concatenate([coords, coords[near] + np.eye(3)[axis]])
    return kinds, coords


def _seen(points: np.ndarray) -> np.ndarray:
    """Return positions to the right, downwards and away from the eye, shape (n, 3), third axis of the crystal up."""
    x, y, z = points.T
    right, depth = x * np.cos(_TURN) - y * np.sin(_TURN), x * np.sin(_TURN) + y * np.cos(_TURN)
    up = z * np.cos(_TILT) + depth * np.sin(_TILT)
    return np.stack([right, -up, depth * np.cos(_TILT) - z * np.sin(_TILT)], axis=1)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#888"/>'


def _ball(number: int, x: float, y: float, scale: float) -> str:
    radius = scale * (0.28 + 0.22 * float(atomic_radii()[min(number, len(atomic_radii()) - 1)]))
    red, green, blue = (round(255 * part) for part in jmol_colors[min(number, len(jmol_colors) - 1)])
    ball = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="rgb({red},{green},{blue})" stroke="#333"/>'
    if radius < _LEGIBLE or number >= len(symbols()):
        return ball
    ink = "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else "#fff"
    font = (
        f'font-size="{min(13, radius):.0f}" font-family="sans-serif" text-anchor="middle" dominant-baseline="central"'
    )
    return f'{ball}<text x="{x:.1f}" y="{y:.1f}" fill="{ink}" {font}>{symbols()[number]}</text>'
