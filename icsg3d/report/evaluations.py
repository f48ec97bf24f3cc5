"""Tables and pictures of evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from icsg3d.report.figures import save_figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from pymatgen.core import Structure

    from icsg3d.evaluation.conditioning import BinResult
    from icsg3d.evaluation.generation import Energies, GenerationReport
    from icsg3d.evaluation.property_search import SearchResult

_ERRORS = {
    "rms": "r.m.s. displacement / (V/N)$^{1/3}$",
    "length_error": "error of a, b, c (Å)",
    "position_error_true": "true site to nearest found (Å)",
    "position_error_found": "found site to nearest true (Å)",
}

_LEAST = 1e-5
"""Smaller errors are drawn as this one."""


def draw_reconstruction(rows: pd.DataFrame, path: Path) -> None:
    """Draw how errors of rebuilt crystals are distributed.

    Args:
        rows: As :func:`icsg3d.evaluation.reconstruction.table` gives.
        path: Of the PNG file.
    """
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(_ERRORS)), _ERRORS.items(), strict=True):
        values = rows[name].dropna().to_numpy(float)
        if len(values):
            axes.hist(np.maximum(values, _LEAST), bins=list(np.logspace(np.log10(_LEAST), 1, 49)), color="tab:blue")
            axes.axvline(max(values.mean(), _LEAST), color="black", lw=1)
            axes.set_title(f"mean {values.mean():.4f}", fontsize=10)
        axes.set(xscale="log", xlabel=label, xlim=(_LEAST / 2, 20))
    shares = ", ".join(f"{rows[c].mean():.2%} {t}" for c, t in (("matched", "match"), ("species_right", "all species")))
    figure.suptitle(f"{len(rows)} crystals: {shares}", fontsize=11)
    save_figure(figure, path)


def generation_table(generated: Sequence[Structure], result: GenerationReport) -> pd.DataFrame:
    """Return one row for each generated crystal: what is valid, what repeats.

    Whether it repeats a training crystal is empty where these were not given, as is the predicted energy of what is not
    valid or no network took.
    """
    unknown = result.figures["novel"] is None
    energies = result.energies
    return pd.DataFrame(
        {
            "formula": [structure.composition.reduced_formula for structure in generated],
            "density": [float(structure.density) for structure in generated],
            "formation_energy_per_atom": None if energies is None else energies.generated,
            "structure_valid": [each.structure for each in result.valid],
            "composition_valid": [each.composition for each in result.valid],
            "composition_valid_strict": [each.composition_strict for each in result.valid],
            "fingerprint": [each is not None for each in result.prints],
            "repeats_earlier": result.repeated[:, 0],
            "repeats_training": None if unknown else result.repeated[:, 1],
        }
    )


def draw_generation(
    generated: Sequence[Structure], real: Sequence[Structure], path: Path, energies: Energies | None = None
) -> None:
    """Draw densities, lattice parameters and numbers of elements of generated beside those of real crystals.

    Args:
        generated: Crystals.
        real: What they are compared with.
        path: Of the PNG file.
        energies: Of both, which are drawn too.
    """
    count = 3 if energies is None else 4
    figure = Figure(figsize=(11 * count / 3, 3.6), layout="constrained")
    density, lengths, counts, *others = figure.subplots(1, count)
    sets = {"real": (real, "tab:gray"), "generated": (generated, "tab:blue")}
    highest = float(np.quantile([s.density for s in [*real, *generated]], 0.999))
    longest = float(np.quantile([max(s.lattice.abc) for s in [*real, *generated]], 0.999))
    for name, (crystals, colour) in sets.items():
        if not crystals:  # a model that decodes nothing
            continue
        style = {"label": name, "color": colour, "alpha": 0.6, "density": True}
        density.hist([s.density for s in crystals], bins=list(np.linspace(0, highest, 50)), **style)
        lengths.hist([a for s in crystals for a in s.lattice.abc], bins=list(np.linspace(0, longest, 50)), **style)
        counts.hist([len(s.composition) for s in crystals], bins=list(np.arange(0.5, 8)), **style)
    density.set(xlabel="density (g/cm³)", ylabel="share per unit")
    lengths.set(xlabel="a, b, c (Å)")
    counts.set(xlabel="number of elements")
    # Fixed: finding the best place takes long for many points.
    density.legend(loc="upper right")
    if energies is not None:
        _draw_energies(others[0], energies)
    figure.suptitle(f"{len(generated)} generated and {len(real)} real crystals", fontsize=11)
    save_figure(figure, path)


def _draw_energies(axes: Axes, energies: Energies) -> None:
    sets = {"real": (energies.real, "tab:gray"), "generated": (energies.generated, "tab:blue")}
    known = {name: values[np.isfinite(values)] for name, (values, _) in sets.items()}
    everything = np.concatenate(list(known.values()))
    if len(everything):
        lowest, highest = np.quantile(everything, [0.001, 0.999])
        bins = list(np.linspace(lowest, max(highest, lowest + 0.1), 50))
        for name, values in known.items():
            if len(values):
                axes.hist(values, bins=bins, label=name, color=sets[name][1], alpha=0.6, density=True)
    axes.set(xlabel="predicted formation energy (eV/atom), valid crystals")


def condition_table(results: Sequence[BinResult]) -> pd.DataFrame:
    """Return one row for each crystal: the bin, the energy that was asked for, and the judged one."""
    return pd.DataFrame(
        {"bin": number, "asked": each.asked, "formula": crystal.composition.reduced_formula, "judged": float(value)}
        for number, each in enumerate(results, start=1)
        for crystal, value in zip(each.structures, each.values, strict=True)
    )


def draw_condition(results: Sequence[BinResult], label: str, path: Path) -> None:
    """Draw the judged energies of crystals beside the bins that were asked for.

    Args:
        results: One for each bin.
        label: Of the axis.
        path: Of the PNG file.
    """
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    shown = [(number, result) for number, result in enumerate(results, start=1) if len(result.values)]
    axes.boxplot([r.values for _, r in shown], positions=[n for n, _ in shown], widths=0.6, showfliers=False)
    random = np.random.default_rng(0)
    for number, result in shown:
        jitter = number + random.uniform(-0.25, 0.25, len(result.values))
        axes.plot(jitter, result.values, ".", ms=2, alpha=0.4, color="tab:blue")
    lowest, highest = axes.get_ylim()
    for number, result in enumerate(results, start=1):
        low, high = max(result.low, lowest), min(result.high, highest)
        axes.fill_between([number - 0.45, number + 0.45], low, high, color="tab:orange", alpha=0.25, lw=0)
    axes.set(xlabel="bin asked for (orange: its range)", ylabel=f"{label}, by the judge", ylim=(lowest, highest))
    axes.set_xticks(range(1, len(results) + 1), [str(n) for n in range(1, len(results) + 1)])
    save_figure(figure, path)


def search_table(results: Sequence[SearchResult]) -> pd.DataFrame:
    """Return one row for each crystal that was found, the best of a start first, with its two values."""
    return pd.DataFrame(
        {
            "start": each.start,
            "rank": rank,
            "formula": crystal.composition.reduced_formula,
            "searched": searched,
            "judged": judged,
        }
        for each in results
        for rank, (crystal, searched, judged) in enumerate(
            zip(each.structures, each.searched, each.judged, strict=True)
        )
    )


def draw_search(results: Sequence[SearchResult], training: np.ndarray, label: str, path: Path) -> None:
    """Draw the judged values of the best finds beside those of the training crystals.

    Args:
        results: One for each start.
        training: Values of the training crystals.
        label: Of the axis.
        path: Of the PNG file.
    """
    known = training[np.isfinite(training)]
    best = np.array([result.judged.min() for result in results])
    first = np.array([result.judged[0] for result in results])
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    bins = list(np.histogram_bin_edges(np.concatenate([known, best, first]), 60))
    for values, name, colour in (
        (known, "training crystals", "tab:gray"),
        (first, "first choice of the search", "tab:orange"),
        (best, "best of ten", "tab:blue"),
    ):
        axes.hist(values, bins=bins, density=True, alpha=0.6, color=colour, label=name)
    axes.axvline(np.quantile(known, 0.05), color="black", lw=1, ls="--", label="lowest 5 %")
    axes.set(xlabel=f"{label}, by the judge", ylabel="share per unit")
    axes.legend(fontsize=9, loc="upper right")
    save_figure(figure, path)
