"""Figures of numbers: distances from the hull, predicted beside computed values, properties along a path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icsg3d.errors import InputError
from icsg3d.plot.axes import given_or_new
from icsg3d.plot.labels import label_points

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

_NEAR_HULL = 0.1
"""eV/atom; up to here the field calls a crystal near the hull."""


def hull_distances(values: Sequence[float] | np.ndarray, axes: Axes | None = None, *, bins: int = 30) -> Axes:
    """Draw how energies above the hull are distributed, with lines at 0 and 0.1 eV/atom.

    Args:
        values: Energies above the hull in eV/atom, shape (n,); NaN is left out and counted in the title.
        axes: Where; new ones if None.
        bins: Bars of the histogram.

    Raises:
        InputError: if no value is finite.
    """
    given = np.asarray(values, dtype=float)
    known = given[np.isfinite(given)]
    if not len(known):
        msg = "no energy above the hull is known, so there is nothing to draw; screen the candidates first"
        raise InputError(msg)
    axes = given_or_new(axes)
    axes.hist(known, bins=bins, color="C0")
    axes.axvline(0.0, color="C1", ls="-", lw=1.2, label="on the hull")
    axes.axvline(_NEAR_HULL, color="C1", ls="--", lw=1.2, label=f"{_NEAR_HULL:g} eV/atom above")
    title = f"{np.count_nonzero(known <= _NEAR_HULL)} of {len(known)} within {_NEAR_HULL:g} eV/atom"
    if len(known) < len(given):
        title += f"; {len(given) - len(known)} unknown"
    axes.set(xlabel="energy above hull (eV/atom)", ylabel="candidates", title=title)
    axes.legend(fontsize="small")
    return axes


def parity(
    computed: Sequence[float] | np.ndarray,
    predicted: Sequence[float] | np.ndarray,
    axes: Axes | None = None,
    *,
    uncertainties: Sequence[float] | np.ndarray | None = None,
    label: str = "formation energy (eV/atom)",
    name: str = "",
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw predicted against computed values and the line on which they are equal.

    Args:
        computed: True values, shape (n,).
        predicted: Predicted values, shape (n,).
        axes: Where; new ones if None.
        uncertainties: Of the predictions, shape (n,).
        label: Quantity and unit.
        name: Of the set, for the title.
        limits: Range of both axes; that of the values if None.

    Raises:
        InputError: if the arrays differ in length, or no pair is finite.
    """
    true, found = np.asarray(computed, dtype=float), np.asarray(predicted, dtype=float)
    if true.shape != found.shape:
        msg = f"parity compares as many values, got {len(true)} computed and {len(found)} predicted ones"
        raise InputError(msg)
    known = np.isfinite(true) & np.isfinite(found)
    if not known.any():
        msg = "no candidate has both a predicted and a computed value, so there is nothing to compare"
        raise InputError(msg)
    axes = given_or_new(axes, (4, 4))
    low, high = limits or padded_range(np.concatenate([true[known], found[known]]))
    axes.plot([low, high], [low, high], color="C1", lw=1.2)
    spread = None if uncertainties is None else np.asarray(uncertainties, dtype=float)[known]
    axes.errorbar(true[known], found[known], yerr=spread, fmt="o", ms=4, lw=0.8, alpha=0.7, color="C0")
    error = np.abs(true[known] - found[known]).mean()
    title = f"mean |difference| {error:.3g}, n = {known.sum()}"
    axes.set(xlabel=f"computed {label}", ylabel=f"predicted {label}", xlim=(low, high), ylim=(low, high))
    axes.set_title(f"{name}\n{title}" if name else title, parse_math=False)
    axes.set_aspect("equal")
    return axes


def padded_range(values: np.ndarray) -> tuple[float, float]:
    """Return the range of values, five hundredths wider on either side."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.1
    return low - margin, high + margin


def property_path(
    values: Sequence[float | None] | np.ndarray,
    axes: Axes | None = None,
    *,
    uncertainties: Sequence[float] | np.ndarray | None = None,
    label: str = "predicted formation energy (eV/atom)",
    formulas: Sequence[str] = (),
) -> Axes:
    """Draw a property along an interpolation in latent space; a step without a crystal leaves a gap.

    Args:
        values: Of the steps at equal distances, shape (n,); None or NaN where a step gave no crystal.
        axes: Where; new ones if None.
        uncertainties: Of the values, shape (n,).
        label: Quantity and unit.
        formulas: Of the steps, written at the points at which the formula changes, where there is room.

    Raises:
        InputError: if there are fewer than two steps.
    """
    heights = np.asarray(values, dtype=float)
    if len(heights) < 2:
        msg = f"a path has at least 2 steps, its ends; got {len(heights)}"
        raise InputError(msg)
    axes = given_or_new(axes)
    shares = np.linspace(0, 1, len(heights))
    axes.plot(shares, heights, "o-", color="C0", ms=4)
    if uncertainties is not None:
        spread = np.asarray(uncertainties, dtype=float)
        axes.fill_between(shares, heights - spread, heights + spread, color="C0", alpha=0.2, lw=0)
    axes.margins(x=0.08, y=0.18)
    axes.set(xlabel="share of the way", ylabel=label)
    new = [
        step
        for step, formula in enumerate(formulas)
        if np.isfinite(heights[step]) and (step == 0 or formula != formulas[step - 1])
    ]
    label_points(axes, [formulas[step] for step in new], shares[new], heights[new], fontsize=8)
    return axes


def atom_counts(
    differences: Mapping[int, int], axes: Axes | None = None, *, name: str = "Algorithm S1", reach: int = 3
) -> Axes:
    """Draw Figure S2 of Court et al. 2020: crystals by true minus found number of atoms.

    Args:
        differences: Crystals by difference, such as ``SegmentationReport.count_difference``.
        axes: Where; new ones if None.
        name: Of the method.
        reach: Differences that are shown at least, on either side.

    Raises:
        InputError: if there is no crystal.
    """
    total = sum(differences.values())
    if not total:
        msg = "no crystal was segmented, so there is nothing to draw"
        raise InputError(msg)
    axes = given_or_new(axes, (3.6, 3.2))
    axes.bar(list(differences), [100 * count / total for count in differences.values()], width=0.8, color="C0")
    axes.set(title=f"{name}: {100 * differences.get(0, 0) / total:.1f} % right", xlabel="true minus found atoms")
    axes.set(ylabel=f"share of {total} crystals (%)")
    axes.set_xlim(min(-reach, *differences) - 0.7, max(reach, *differences) + 0.7)
    return axes


def learning_curve(curve: Mapping[str, Sequence[float] | np.ndarray], axes: Axes | None = None) -> Axes:
    """Draw the loss of a training by step, and where it is known, the loss or the share rebuilt of validation crystals.

    Args:
        curve: Columns ``step`` and ``loss``, and if there are any ``validation_loss`` or ``validation_rebuilt``, NaN in
            rows without one; such as a ``curve.csv`` of ``icsg3d train materials``.
        axes: Where; new ones if None.

    Raises:
        InputError: if a column is missing or there is no row.
    """
    if not {"step", "loss"} <= set(curve) or not len(curve["step"]):
        msg = "a learning curve has the columns step and loss and at least one row"
        raise InputError(msg)
    axes = given_or_new(axes)
    steps = np.asarray(curve["step"], dtype=float)
    axes.plot(steps, np.asarray(curve["loss"], dtype=float), color="C0", lw=1, alpha=0.6, label="training loss")
    axes.set(xlabel="step", ylabel="loss")
    for name, label in (("validation_loss", "validation loss"), ("validation_rebuilt", "validation crystals rebuilt")):
        values = np.asarray(curve[name], dtype=float) if name in curve else np.empty(0)
        known = np.isfinite(values)
        if not known.any():
            continue
        other = axes if name == "validation_loss" else axes.twinx()
        other.plot(steps[known], values[known], "o-", color="C1", ms=4, label=label)
        if other is not axes:
            other.set(ylabel=label, ylim=(0, 1))
            other.yaxis.label.set_color("C1")
    axes.legend(fontsize="small", loc="lower left")
    return axes
