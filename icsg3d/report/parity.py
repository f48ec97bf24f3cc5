"""Predicted against true values, with their uncertainties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure

from icsg3d.report.figures import save_figure

if TYPE_CHECKING:
    from pathlib import Path

    from icsg3d.models.properties import PropertyModel
    from icsg3d.training.data import PropertySet


def draw_parity(model: PropertyModel, crystals: PropertySet, path: Path) -> None:
    """Draw a model's predictions for crystals against their true values, and how often sigma holds.

    Args:
        model: The model.
        crystals: Which it did not learn from.
        path: Of the PNG file.
    """
    with torch.no_grad():
        parts = [model(batch) for batch in crystals.graphs.batches()]
    values, sigma = (torch.cat(column).double().numpy() for column in zip(*parts, strict=True))
    true, kind = crystals.values, model.config.property
    logarithmic = kind.transform == "log10"
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.errorbar(true, values, yerr=sigma, fmt="o", ms=3, lw=0.6, alpha=0.5, color="tab:blue", ecolor="tab:gray")
    ends = np.array([min(true.min(), values.min()), max(true.max(), values.max())])
    left.plot(ends, ends, color="black", lw=1)
    if logarithmic:
        left.set(xscale="log", yscale="log")
    unit = f" ({kind.unit})" if kind.unit else ""
    left.set(xlabel=f"true {kind.name}{unit}", ylabel=f"predicted {kind.name}{unit}")
    error = f"{np.abs(values - true).mean():.3g} {kind.unit}".strip()
    left.set_title(f"mean absolute error {error}, {len(true)} held-out crystals")
    ratios = np.sort(np.abs(values - true) / np.maximum(sigma, 1e-12))
    right.plot(ratios, np.arange(1, len(ratios) + 1) / len(ratios), color="tab:blue")
    for multiple, expected in ((1, 0.6827), (2, 0.9545)):
        right.axvline(multiple, color="tab:gray", lw=0.6)
        right.axhline(expected, color="tab:gray", lw=0.6)
    right.set(xlim=(0, 4), ylim=(0, 1), xlabel="error / predicted uncertainty", ylabel="share of crystals")
    right.set_title("gray: normal distribution at one and two sigma")
    save_figure(figure, path)
