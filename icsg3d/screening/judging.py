"""Candidates placed against the hull of known phases, and the order in which they deserve a calculation."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from icsg3d.errors import InputError
from icsg3d.progress import track

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.generation.candidates import Candidate
    from icsg3d.hull.reference import ReferenceHull

ENERGY = "formation_energy_per_atom"
ABOVE_HULL = "energy_above_hull"


def placed(candidates: Sequence[Candidate], hull: ReferenceHull) -> list[Candidate]:
    """Return candidates with their distance from a hull, by their predicted formation energies.

    Those without a crystal or an energy, and those with elements that the hull lacks, come back as they are.

    Args:
        candidates: With predictions of the formation energy; they are left as they are.
        hull: Of known phases.

    Returns:
        Copies with ``energy_above_hull`` and ``energy_above_hull_std`` (eV/atom) among the predictions, and
        ``decomposition`` (phases with their shares of the atoms) and ``known_phase`` (whether the hull has one of the
        composition) in ``screening``.
    """
    return [_placed(candidate, hull) for candidate in track(candidates, "placing against the hull")]


def _placed(candidate: Candidate, hull: ReferenceHull) -> Candidate:
    energy = candidate.predictions.get(ENERGY, math.nan)
    if candidate.structure is None or not math.isfinite(energy):
        return candidate
    std = candidate.predictions.get(f"{ENERGY}_std", math.nan)
    try:
        position = hull.place(candidate.structure.composition, energy, std)
    except InputError:
        return candidate
    return dataclasses.replace(
        candidate,
        predictions=candidate.predictions | {ABOVE_HULL: position.energy_above_hull, f"{ABOVE_HULL}_std": std},
        screening=candidate.screening | {"decomposition": position.describe(), "known_phase": position.known},
    )


def merit(candidate: Candidate) -> tuple[float, float, int]:
    """Return what candidates are ordered by, least first: distance from the hull, formation energy, number.

    What is not known counts as infinite.
    """
    values = (candidate.predictions.get(name, math.inf) for name in (ABOVE_HULL, ENERGY))
    above, energy = (value if math.isfinite(value) else math.inf for value in values)
    return above, energy, candidate.index


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates, first those that passed the screening, each part by :func:`merit`."""
    return sorted(candidates, key=lambda each: (not each.screening.get("passed"), *merit(each)))
