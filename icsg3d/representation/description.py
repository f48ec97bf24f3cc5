"""From a crystal to what a network takes of it, graph or environments, after a look at whether it can be one."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from vesin import NeighborList

from icsg3d.crystals.elements import covalent_radii, symbols
from icsg3d.errors import InputError
from icsg3d.representation.environments import EnvironmentConfig, Environments, EnvironmentSet, environments
from icsg3d.representation.graphs import CrystalGraph, GraphConfig, GraphSet, crystal_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.representation.environments import EnvironmentBatch
    from icsg3d.representation.graphs import GraphBatch

DescriptionConfig = GraphConfig | EnvironmentConfig
Description = CrystalGraph | Environments

LONGEST_VECTOR = 1_000.0
"""Angstrom; no cell that fits into memory has a longer one."""

LARGEST_VOLUME = 100_000.0
"""Cubic angstrom an atom; a single atom in a box of 46 angstrom has less."""

LEAST_DISTANCE = 0.4
"""Angstrom; the bond of H2, the shortest there is, has 0.74."""

_RADII_SHARE = 0.5
"""Share of the sum of two covalent radii that atoms are apart at the least."""


def describe(crystal: CrystalArrays, config: DescriptionConfig) -> Description:
    """Return what a network takes of a crystal.

    Raises:
        InputError: if no material can be such a crystal, or it does not fit the settings.
    """
    check_possible(crystal)
    return environments(crystal, config) if isinstance(config, EnvironmentConfig) else crystal_graph(crystal, config)


def check_possible(crystal: CrystalArrays) -> None:
    """Refuse what no material can be, before a network gives a confident number for it.

    Raises:
        InputError: if a number is not finite, the cell is absurdly large or flat, or atoms lie in one another.
    """
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac_coords).all()):
        raise InputError("coordinates or lattice vectors are not finite numbers; correct the file")
    longest = float(np.linalg.norm(crystal.lattice, axis=1).max())
    volume = float(abs(np.linalg.det(crystal.lattice))) / len(crystal)
    if longest > LONGEST_VECTOR or not 1.0 <= volume <= LARGEST_VOLUME:
        raise InputError(
            f"a cell with a vector of {longest:.4g} angstrom and {volume:.4g} cubic angstrom an atom is no crystal; "
            "check the unit of the lattice"
        )
    radii = np.nan_to_num(covalent_radii(), nan=0.0)[crystal.numbers]
    reach = max(LEAST_DISTANCE, 2 * _RADII_SHARE * float(radii.max()))
    first, second, distances = NeighborList(cutoff=reach, full_list=False).compute(
        points=crystal.frac_coords @ crystal.lattice, box=crystal.lattice, periodic=True, quantities="ijd"
    )
    limits = np.maximum(LEAST_DISTANCE, _RADII_SHARE * (radii[first] + radii[second]))
    if (distances < limits).any():
        worst = int((distances / limits).argmin())
        pair = " and ".join(symbols()[crystal.numbers[atom]] for atom in (first[worst], second[worst]))
        raise InputError(
            f"{pair} are {distances[worst]:.2f} angstrom apart, less than half the sum of their covalent radii or "
            f"{LEAST_DISTANCE:g} angstrom; no material is like that, check the coordinates"
        )


def described(made: Sequence[Description]) -> GraphSet | EnvironmentSet:
    """Put what was made of crystals one after another.

    Raises:
        ValueError: if there is nothing.
    """
    if made and isinstance(made[0], Environments):
        return EnvironmentSet.from_graphs(cast("Sequence[Environments]", made))
    return GraphSet.from_graphs(cast("Sequence[CrystalGraph]", made))


def batch_of(made: Sequence[Description]) -> GraphBatch | EnvironmentBatch:
    """Return a batch of what was made of crystals."""
    return described(made).batch(np.arange(len(made)))
