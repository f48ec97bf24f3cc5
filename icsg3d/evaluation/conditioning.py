"""Whether crystals that were asked for by energy have it, as judged by a property model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr

from icsg3d.crystals.structures import structure_from_dict
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Structure

    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.properties.predictor import PropertyPredictor


@dataclass(frozen=True)
class BinResult:
    """Crystals drawn for one bin of the condition.

    Attributes:
        low: Lower edge in eV/atom, minus infinity for the first.
        high: Upper edge, infinity for the last.
        asked: Energy that was asked for.
        draws: Number of draws.
        structures: Those that gave crystals.
        values: Their energies by the judge.
    """

    low: float
    high: float
    asked: float
    draws: int
    structures: list[Structure]
    values: np.ndarray

    @classmethod
    def from_dict(cls, row: Mapping[str, Any], limits: tuple[float, float, float], draws: int) -> BinResult:
        """Return the result that :meth:`as_dict` gave, of a bin of :func:`bin_centres`."""
        return cls(*limits, draws, list(map(structure_from_dict, row["structures"])), np.array(row["values"]))

    def as_dict(self) -> dict[str, Any]:
        """Return crystals and energies as JSON has them."""
        return {"structures": [each.as_dict() for each in self.structures], "values": self.values.tolist()}


def bin_centres(edges: Sequence[float]) -> list[tuple[float, float, float]]:
    """Return lower edge, upper edge and an energy within, for each bin; half a neighbour's width beyond the last edges.

    Raises:
        InputError: if there are no edges.
    """
    if len(edges) < 2:
        msg = "the model has no condition; train one with --condition-column"
        raise InputError(msg)
    lows, highs = [-np.inf, *edges], [*edges, np.inf]
    first = edges[0] - (edges[1] - edges[0]) / 2
    last = edges[-1] + (edges[-1] - edges[-2]) / 2
    inner = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    return list(zip(lows, highs, [first, *inner, last], strict=True))


def draw_bin(generator: CrystalGenerator, asked: float, n: int, seed: int) -> list[Structure]:
    """Draw crystals for an energy; draws that gave none are missing."""
    decoded = generator.iter_decode(generator.latent_sample(n, asked, seed), asked)
    return [each.structure for each in decoded if each.structure is not None]


def judge_bin(
    generator: CrystalGenerator, judge: PropertyPredictor, limits: tuple[float, float, float], n: int, seed: int
) -> BinResult:
    """Draw crystals for a bin of :func:`bin_centres` and judge them; those that cannot be judged are missing."""
    structures = draw_bin(generator, limits[2], n, seed)
    values = judge.predict_possible(structures).values
    good = np.flatnonzero(np.isfinite(values))
    return BinResult(*limits, n, [structures[row] for row in good], values[good])


def summarise(results: Sequence[BinResult]) -> dict[str, Any]:
    """Return the figures of ``condition.json``.

    ``rank_correlation`` is Spearman's, of the number of the bin and the judged energy, over all crystals;
    ``in_bin`` the share of crystals whose judged energy lies in the bin asked for, ``near_bin`` in it or a neighbour.

    Raises:
        InputError: if fewer than two bins gave crystals.
    """
    if sum(len(result.values) > 0 for result in results) < 2:
        msg = "crystals came for fewer than two bins, so that there is nothing to correlate; draw more with -n"
        raise InputError(msg)
    numbers = np.concatenate([np.full(len(result.values), number) for number, result in enumerate(results)])
    values = np.concatenate([result.values for result in results])
    found = np.searchsorted([result.high for result in results[:-1]], values, side="right")
    return {
        "bins": len(results),
        "draws": sum(result.draws for result in results),
        "decoded": len(values) / sum(result.draws for result in results),
        "rank_correlation": float(spearmanr(numbers, values).statistic),
        "in_bin": float((found == numbers).mean()),
        "near_bin": float((np.abs(found - numbers) <= 1).mean()),
        "medians": [float(np.median(result.values)) if len(result.values) else None for result in results],
    }
