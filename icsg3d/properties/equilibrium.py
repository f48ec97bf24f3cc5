"""Cells at the volume of lowest predicted energy, which a decoded lattice misses by some percent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icsg3d.errors import InputError
from icsg3d.progress import track
from icsg3d.properties.predictor import graph_of
from icsg3d.refusals import usable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from icsg3d.properties.predictor import PropertyPredictor

COARSE = tuple(float(factor) for factor in np.linspace(0.8, 1.2, 11))
"""Factors of the cell lengths that are tried first."""

SHORTFALL = 1.004
"""By how much the lattice parameters of 200 crystals of ``mp20_val`` are longer than at the minimum (median)."""

_FINE = np.linspace(-0.04, 0.04, 9)


def energy_minimum(structure: Structure, predictor: PropertyPredictor) -> float:
    """Return the factor of the cell lengths, about 0.8 to 1.2, at which the predicted energy per atom is lowest.

    The factors of :data:`COARSE` are tried, then those around the best of them, and a parabola goes through the best of
    these and its neighbours. One that the network cannot take, as atoms are too far apart, does not count.

    Args:
        structure: The crystal.
        predictor: Of an energy per atom.

    Raises:
        InputError: if there is no minimum between the factors.
    """
    best = COARSE[int(np.argmin(_energies(structure, predictor, COARSE)))]
    factors = best + _FINE
    values = _energies(structure, predictor, factors)
    lowest = int(np.argmin(values))
    around = values[max(lowest - 1, 0) : lowest + 2]
    if len(around) < 3 or not np.isfinite(around).all():
        formula = structure.composition.reduced_formula
        msg = (
            f"the predicted energy of {formula} has no minimum within 20 % of its cell lengths; its cell makes no sense"
        )
        raise InputError(msg)
    before, here, after = around
    step = factors[1] - factors[0]
    return float(factors[lowest] + 0.5 * step * (before - after) / (before - 2 * here + after))


def scaled(structure: Structure, factor: float) -> Structure:
    """Return a copy of a crystal with its cell vectors multiplied by a factor."""
    copy = structure.copy()
    copy.scale_lattice(structure.volume * factor**3)
    return copy


def scale_cells(structures: Sequence[Structure], predictor: PropertyPredictor) -> list[float | None]:
    """Return for each crystal :data:`SHORTFALL` times the factor of :func:`energy_minimum`, None where there is none.

    Args:
        structures: The crystals.
        predictor: Of an energy per atom.
    """
    found = usable(track(structures, "scaling cells"), lambda structure: energy_minimum(structure, predictor))
    factors: list[float | None] = [None] * len(structures)
    for row, factor in zip(found.rows, found.results, strict=True):
        factors[row] = SHORTFALL * factor
    return factors


def _energies(structure: Structure, predictor: PropertyPredictor, factors: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the predicted energies at the factors, infinite where there is none."""
    energies = np.full(len(factors), np.inf)
    graphs = usable(
        factors, lambda factor: graph_of(scaled(structure, float(factor)), predictor.model.config.network.graph)
    )
    if graphs.rows:
        energies[graphs.rows] = predictor.predict_graphs(graphs.results).values
    return energies
