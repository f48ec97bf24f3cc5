from __future__ import annotations

import numpy as np

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.representation.description import describe, described
from icsg3d.representation.environments import Environments, EnvironmentSet
from icsg3d.representation.graphs import CrystalGraph, GraphConfig, GraphSet
from icsg3d.representation.moments import EnvironmentConfig


def pair(distance, edge=10.0, numbers=(11, 17)):
    return CrystalArrays(np.array(numbers), np.array([[0, 0, 0], [distance / edge, 0, 0]]), edge * np.eye(3))


def test_a_configuration_decides_what_is_made():
    graph, environment = describe(pair(2.5), GraphConfig()), describe(pair(2.5), EnvironmentConfig())
    assert isinstance(graph, CrystalGraph)
    assert isinstance(environment, Environments)
    assert isinstance(described([graph]), GraphSet)
    assert isinstance(described([environment]), EnvironmentSet)
