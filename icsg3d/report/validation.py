"""Tables S1 and S3 of validated candidates, as CSV, JSON, Markdown and HTML, and their picture."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from icsg3d.data.paper import paper_table
from icsg3d.evaluation.relaxation import mean_of_known
from icsg3d.files import write_atomically
from icsg3d.report.figures import save_figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from icsg3d.workflows.schemas import ValidationSummaryDoc

S3_COLUMNS = ("formula", "delta_e_form", "delta_bonds_percent", "delta_cell_percent", "flags", "state", "engine")
"""Columns of Table S3: the paper's, and why the compound is in it."""

_LEAST_CHANGE = 0.1
"""Percent that an axis of changes shows at least: rounding errors are no change."""

_STYLE = (
    "body{font-family:sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}"
    "th,td{border-bottom:1px solid #ccc;padding:.25em .7em;text-align:right}"
    "th:first-child,td:first-child{text-align:left}"
)


@dataclass(frozen=True)
class Averages:
    """Averages of a table over the rows that finished.

    Attributes:
        finished: Rows that finished.
        rows: All rows.
        delta_e_form: Mean in eV/atom; None without any.
        delta_bonds_percent: Mean in percent; None without any.
    """

    finished: int
    rows: int
    delta_e_form: float | None
    delta_bonds_percent: float | None


def averages(table: pd.DataFrame) -> Averages:
    """Return the averages of a Table S1 over its finished rows; in the paper's, those with a result."""
    finished = table[table["state"] == "finished"] if "state" in table else table[table["delta_e_form"].notna()]
    energy, bonds = (mean_of_known(finished[name].astype(float)) for name in ("delta_e_form", "delta_bonds_percent"))
    return Averages(len(finished), len(table), energy, bonds)


def table_s1(summary: ValidationSummaryDoc) -> pd.DataFrame:
    """Return Table S1: one row for each candidate, a row that did not finish with what there is and its state.

    Lattice parameters in angstrom are those of the cell that went to the engine; energies in eV/atom.
    """
    return summary.to_dataframe()


def table_s3(summary: ValidationSummaryDoc) -> pd.DataFrame:
    """Return Table S3: the candidates with delocalised electrons, which also stand in Table S1."""
    rows = [
        [
            row.candidate.formula_pretty,
            row.delta_e_form,
            row.delta_bonds_percent,
            row.delta_cell_percent,
            ", ".join(row.flags),
            row.state,
            row.engine.name,
        ]
        for row in summary.rows
        if row.flags
    ]
    return pd.DataFrame(rows, columns=list(S3_COLUMNS))


def write_tables(summary: ValidationSummaryDoc, folder: Path) -> list[str]:
    """Write ``table_s1`` as .csv, .json, .md and .html, ``table_s3.csv`` and ``validation.png``.

    Returns:
        The names of the files.
    """
    names = write_rows(summary, folder)
    draw_validation(summary, folder / "validation.png")
    return [*names, "validation.png"]


def write_rows(summary: ValidationSummaryDoc, folder: Path, left: int = 0) -> list[str]:
    """Write what :func:`write_tables` does but for the picture, also while candidates are still calculated.

    Args:
        summary: Of those that are done.
        folder: Where.
        left: How many are not; the tables that are more than rows say so.

    Returns:
        The names of the files.
    """
    first, third = table_s1(summary), table_s3(summary)
    sections = _sections(summary, first, third, left)
    contents = {
        "table_s1.csv": first.to_csv(index=False, float_format="%.4f"),
        "table_s3.csv": third.to_csv(index=False, float_format="%.4f"),
        "table_s1.json": json.dumps(_json(summary, first, third, left), indent=1, allow_nan=False) + "\n",
        "table_s1.md": "\n\n".join(_markdown(section) for section in sections) + "\n",
        "table_s1.html": _page(sections),
    }
    for name, text in contents.items():
        write_atomically(folder / name, text.encode())
    return list(contents)


def _json(summary: ValidationSummaryDoc, first: pd.DataFrame, third: pd.DataFrame, left: int) -> dict[str, Any]:
    rows = json.loads(first.to_json(orient="records", double_precision=6))
    for row, doc in zip(rows, summary.rows, strict=True):
        row |= {
            "candidate": doc.candidate.index,
            "above_hull_predicted_std": _known(doc.candidate.predictions.get("energy_above_hull_std")),
            "scaled_by": doc.candidate.screening.get("scaled_by"),
            "reason": doc.reason,
            "delta_cell_percent": doc.delta_cell_percent,
            "delta_volume_percent": doc.delta_volume_percent,
            "flags": doc.flags,
            "task_ids": doc.task_ids,
        }
    return {
        "rows": rows,
        "averages": vars(averages(first)),
        "averages_paper": vars(averages(paper_table("s1"))),
        "table_s3": json.loads(third.to_json(orient="records", double_precision=6)),
        "engine": summary.engine.model_dump(mode="json"),
        "screened_out": len(summary.screened_out),
    } | ({"left": left} if left else {})


def _known(value: float | None) -> float | None:
    """Return a number that JSON can hold, None where it is missing or NaN."""
    return value if value is not None and np.isfinite(value) else None


def _sections(
    summary: ValidationSummaryDoc, first: pd.DataFrame, third: pd.DataFrame, left: int
) -> list[tuple[str, list[str], pd.DataFrame | None]]:
    """Return headings, paragraphs and tables of the report."""
    versions = ", ".join(f"{name} {version}" for name, version in summary.engine.versions.items())
    correction = f", energies corrected by {summary.engine.correction}" if summary.engine.correction else ""
    paper = averages(paper_table("s1"))
    plain = averages(first.loc[np.array([not row.flags for row in summary.rows], dtype=bool)])
    resized = [row for row in summary.rows if row.candidate.screening.get("scaled_by") is not None]
    text = [
        f"Engine: {summary.engine.name} ({versions}){correction}.",
        _sentence("Averages", averages(first)),
        _sentence("Without the compounds of Table S3", plain),
        _sentence("The paper's Table S1", paper),
    ]
    if left:
        text.insert(0, f"{len(first)} of {len(first) + left} candidates so far.")
    if resized:
        text.append(
            f"{len(resized)} cells were brought to their equilibrium volume before they went to the engine "
            "(scaled_by in screening.csv): lattice parameters, predictions and bonds before the relaxation are theirs."
        )
    sections: list[tuple[str, list[str], pd.DataFrame | None]] = [("Table S1: validated candidates", text, first)]
    bad = [row for row in summary.rows if row.state != "finished" or row.reason]
    if bad:
        reasons = [[row.candidate.formula_pretty, row.candidate.index, row.state, row.reason] for row in bad]
        table = pd.DataFrame(reasons, columns=["formula", "candidate", "state", "reason"])
        sections.append(("Candidates that did not finish, and other remarks", [], table))
    if len(third):
        sections.append(("Table S3: compounds with delocalised electrons", [], third))
    return sections


def _sentence(what: str, found: Averages) -> str:
    energy = "-" if found.delta_e_form is None else f"{found.delta_e_form:.3f}"
    bonds = "-" if found.delta_bonds_percent is None else f"{found.delta_bonds_percent:.2f}"
    return f"{what}: |dE_f| {energy} eV/atom, |dBonds| {bonds} %, over {found.finished} finished rows of {found.rows}."


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of strings, numbers with two or three decimals, what is missing as a dash."""

    def text(value: Any) -> str:
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return "-"
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    return table.map(text)


def _markdown(section: tuple[str, list[str], pd.DataFrame | None]) -> str:
    title, paragraphs, table = section
    parts = [f"## {title}", *paragraphs]
    if table is not None:
        parts.append(markdown_table(table))
    return "\n\n".join(parts)


def markdown_table(table: pd.DataFrame) -> str:
    """Return a table in Markdown, what is missing as a dash."""
    shown = _shown(table)
    lines = [list(shown.columns), ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _page(sections: Sequence[tuple[str, list[str], pd.DataFrame | None]]) -> str:
    parts = []
    for title, paragraphs, table in sections:
        parts.append(f"<h2>{html.escape(title)}</h2>")
        parts += [f"<p>{html.escape(text)}</p>" for text in paragraphs]
        if table is not None:
            parts.append(_shown(table).to_html(index=False, border=0))
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>Validation of candidates</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def draw_validation(summary: ValidationSummaryDoc, path: Path) -> None:
    """Draw formation energies by engine and network beside each other, and how much each candidate relaxed.

    Args:
        summary: Of the validation.
        path: Of the PNG file.
    """
    rows = [row for row in summary.rows if row.state == "finished" and row.delta_e_form is not None]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    parity, bars = figure.subplots(1, 2, width_ratios=[1, 1.5])
    if rows:
        engine = np.array([row.formation_energy_per_atom for row in rows], dtype=float)
        network = np.array([row.predicted_formation_energy_per_atom for row in rows], dtype=float)
        low, high = min(engine.min(), network.min()) - 0.1, max(engine.max(), network.max()) + 0.1
        parity.plot([low, high], [low, high], color="black", lw=1)
        parity.plot(engine, network, "o", color="tab:blue", alpha=0.7)
        bonds = [row.delta_bonds_percent or 0.0 for row in rows]
        names = [f"{row.candidate.formula_pretty}" for row in rows]
        bars.bar(range(len(rows)), bonds, color="tab:orange")
        bars.set_xticks(range(len(rows)), names, rotation=90, fontsize=8)
    else:
        parity.text(0.5, 0.5, "no candidate finished", ha="center", va="center", transform=parity.transAxes)
    parity.set(
        xlabel=f"formation energy by {summary.engine.name} (eV/atom)",
        ylabel="by the graph network (eV/atom)",
        aspect="equal",
    )
    bars.set(ylabel="mean change of bonds on relaxation (%)", ylim=(0, max(bars.get_ylim()[1], _LEAST_CHANGE)))
    found = averages(table_s1(summary))
    figure.suptitle(_sentence("Averages", found), fontsize=11)
    save_figure(figure, path)
