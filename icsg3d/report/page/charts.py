"""Charts of the page, as SVG that takes its colours from the page's style sheet."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from markupsafe import Markup
from matplotlib.figure import Figure

from icsg3d import plot
from icsg3d.data.paper import paper_table
from icsg3d.plot.results import padded_range

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from icsg3d.generation.candidates import Candidate
    from icsg3d.report.page.contents import Contents
    from icsg3d.report.page.grids import LatentPoints

# Colours that stand for the page's own until the SVG is in the page.
_INK, _FIRST, _SECOND, _THIRD = "#010203", "#010205", "#010207", "#010209"
_VARIABLES = {_INK: "--ink", _FIRST: "--first", _SECOND: "--second", _THIRD: "--third"}
_STYLE: Any = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.facecolor": "none",
    "legend.edgecolor": "none",
    "axes.prop_cycle": cycler(color=[_FIRST, _SECOND, _THIRD]),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "icsg3d",
    "font.size": 10,
}


@dataclass(frozen=True)
class Chart:
    """A chart of the page.

    Attributes:
        key: Name for links.
        title: Above it.
        svg: Of the chart.
        caption: What it says, in words and numbers.
    """

    key: str
    title: str
    svg: Markup
    caption: str


def charts_of(contents: Contents, rows: Sequence[Mapping[str, Any]], latent: LatentPoints | None) -> list[Chart]:
    """Return the charts for which there is something to draw."""
    found = [_hull(rows), _energies(rows), None if latent is None else _latent(latent)]
    found += [_parity(rows, contents.engine), _elements(contents.candidates)]
    return [chart for chart in found if chart is not None]


def themed_svg(draw: Callable[[Figure], Any], size: tuple[float, float]) -> Markup:
    """Return a figure as SVG with variables of the style sheet for colours, and text as text.

    Args:
        draw: Draws into the figure.
        size: In inches.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    width, height = (round(72 * inches, 1) for inches in size)
    text = re.sub(r'width="[\d.]+pt"', "", text, count=1)
    text = re.sub(
        r'height="[\d.]+pt"', f'style="max-width: {width}pt; aspect-ratio: {width} / {height}"', text, count=1
    )
    return Markup(text)  # noqa: S704 (made by matplotlib, which escapes every text in it)


def _numbers(rows: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    return np.array([row[key] for row in rows if isinstance(row.get(key), int | float)], dtype=float)


def _hull(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    values = _numbers(rows, "energy_above_hull")
    if not len(values):
        return None
    svg = themed_svg(lambda figure: plot.hull_distances(values, figure.add_subplot()), (5.2, 3.4))
    caption = (
        f"{len(values)} candidates; lowest {values.min():.3f}, median {np.median(values):.3f} eV/atom; "
        f"{np.count_nonzero(values <= 0.1)} within 0.1 eV/atom of the hull."
    )
    return Chart("hull", "Energy above hull", svg, caption)


def _energies(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    values = _numbers(rows, "formation_energy_per_atom")
    if len(values) < 2 or len(_numbers(rows, "energy_above_hull")):
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.hist(values, bins=30, color="C0")
        axes.set(xlabel="predicted formation energy (eV/atom)", ylabel="candidates")

    caption = f"{len(values)} candidates; lowest {values.min():.3f}, median {np.median(values):.3f} eV/atom."
    return Chart("energies", "Formation energy", themed_svg(draw, (5.2, 3.4)), caption)


def _parity(rows: Sequence[Mapping[str, Any]], engine: str) -> Chart | None:
    pairs = [
        (row["computed_energy"], row["formation_energy_per_atom"], row.get("formation_energy_per_atom_std"))
        for row in rows
        if isinstance(row.get("computed_energy"), int | float)
        and isinstance(row.get("formation_energy_per_atom"), int | float)
    ]
    if not pairs:
        return None
    own, paper = np.array(pairs, dtype=float), paper_table("s1").dropna(subset=["e_form_dft", "e_form_cgcnn"])
    published = paper[["e_form_dft", "e_form_cgcnn"]].to_numpy(float)
    limits = padded_range(np.concatenate([own[:, :2].ravel(), published.ravel()]))

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        shared: dict[str, Any] = {"label": "E formation (eV/atom)", "limits": limits}
        spread, name = np.nan_to_num(own[:, 2]), engine.partition(" ")[0]
        plot.parity(own[:, 0], own[:, 1], left, uncertainties=spread, name=name, **shared)
        plot.parity(published[:, 0], published[:, 1], right, name="paper, Table S1 (DFT)", **shared)

    errors = [np.abs(each[:, 0] - each[:, 1]).mean() for each in (own, published)]
    caption = (
        f"Predicted by the graph network against computed. Here ({engine}): mean difference {errors[0]:.3f} "
        f"eV/atom over {len(own)} candidates. Table S1 of Court et al. 2020 (VASP): "
        f"{errors[1]:.3f} eV/atom over {len(published)}. "
        "Other crystals and another engine: the two are beside each other, not the same measurement."
    )
    return Chart("parity", "Predicted and computed energies", themed_svg(draw, (8.6, 4.3)), caption)


def _elements(candidates: Sequence[Candidate]) -> Chart | None:
    counts: Counter[str] = Counter()
    for candidate in candidates:
        if candidate.structure is not None:
            counts.update({element.symbol for element in candidate.structure.composition.elements})
    if not counts:
        return None
    svg = themed_svg(lambda figure: plot.periodic_table(counts, figure.add_subplot()), (9.0, 4.7))
    common = ", ".join(f"{symbol} ({count})" for symbol, count in counts.most_common(8))
    return Chart("elements", "Elements", svg, f"In how many candidates each element occurs. Most often: {common}.")


def _latent(points: LatentPoints) -> Chart:
    def draw(figure: Figure) -> None:
        plot.latent_map(
            points.candidates,
            points.reference,
            figure.add_subplot(),
            base=points.base,
            reference_name=points.reference_name,
        )

    count = len(points.candidates)
    caption = f"{count} candidates in the plane along which the small points spread most. {points.note}"
    return Chart("latent", "Latent space", themed_svg(draw, (5.6, 4.2)), caption)
