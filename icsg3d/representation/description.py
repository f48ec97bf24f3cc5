"""From a crystal to what a network takes of it, graph or environments."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from icsg3d.crystals.bounds import MIN_DISTANCE_RATIO, check_bounds
from icsg3d.representation.environments import Environments, EnvironmentSet, environments
from icsg3d.representation.graphs import CrystalGraph, GraphConfig, GraphSet, crystal_graph
from icsg3d.representation.moments import EnvironmentConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.representation.environments import EnvironmentBatch
    from icsg3d.representation.graphs import GraphBatch

DescriptionConfig = GraphConfig | EnvironmentConfig
Description = CrystalGraph | Environments


def describe(crystal: CrystalArrays, config: DescriptionConfig, closest: float = MIN_DISTANCE_RATIO) -> Description:
    """Return what a network takes of a crystal.

    Args:
        crystal: A cell.
        config: What the network takes.
        closest: Least distance between two atoms as a share of the sum of their covalent radii.

    Raises:
        InputError: if no material can be such a crystal, or it does not fit the settings.
    """
    check_bounds(crystal, "the crystal", closest)
    return environments(crystal, config) if isinstance(config, EnvironmentConfig) else crystal_graph(crystal, config)


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
