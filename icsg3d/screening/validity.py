"""Whether a crystal makes sense: distances, volume, and charges that can balance.

The criteria are those of the CDVAE benchmark (Xie et al. 2021, arXiv:2110.06197, section 5.2).
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from icsg3d.errors import InputError
from icsg3d.models.decoding import MIN_DISTANCE, MIN_VOLUME

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

BENCHMARK_STATES = "smact14"
"""The oxidation states that SMACT had when the benchmark was made; its present default asks for more evidence."""


def structure_valid(structure: Structure) -> bool:
    """Return whether all distances between sites are above 0.5 angstrom and the volume is at least 0.1 angstrom^3."""
    distances = structure.distance_matrix + 1e3 * np.eye(len(structure))
    shortest = min(float(distances.min()), *structure.lattice.abc)
    return bool(shortest > MIN_DISTANCE and structure.volume >= MIN_VOLUME)


def composition_valid(composition: Composition, states: str | None = BENCHMARK_STATES) -> bool:
    """Return whether SMACT finds oxidation states that add up to nothing, anions being the more electronegative.

    Single elements and alloys of metals alone count as valid.

    Args:
        composition: What the crystal is made of.
        states: SMACT's name of a set of oxidation states; None for its present default.

    Raises:
        InputError: if SMACT is not installed.
    """
    formula, _ = composition.get_integer_formula_and_factor()
    return _formula_valid(formula, states)


@cache
def _formula_valid(formula: str, states: str | None) -> bool:
    try:
        from smact.screening import smact_validity
    except ImportError as error:
        msg = "the validity of compositions needs smact; install it with pip install 'icsg3d[evaluate]'"
        raise InputError(msg) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(smact_validity(formula, oxidation_states_set=states))
