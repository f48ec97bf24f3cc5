from __future__ import annotations

import numpy as np
import pytest

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.errors import InputError
from icsg3d.representation.description import check_possible, describe, described
from icsg3d.representation.environments import EnvironmentConfig, Environments, EnvironmentSet
from icsg3d.representation.graphs import CrystalGraph, GraphConfig, GraphSet


def pair(distance, edge=10.0, numbers=(11, 17)):
    return CrystalArrays(np.array(numbers), np.array([[0, 0, 0], [distance / edge, 0, 0]]), edge * np.eye(3))


def test_a_configuration_decides_what_is_made():
    graph, environment = describe(pair(2.5), GraphConfig()), describe(pair(2.5), EnvironmentConfig())
    assert isinstance(graph, CrystalGraph)
    assert isinstance(environment, Environments)
    assert isinstance(described([graph]), GraphSet)
    assert isinstance(described([environment]), EnvironmentSet)


def test_atoms_may_come_as_near_as_half_the_sum_of_their_radii():
    # Na has 1.66 and Cl 1.02 angstrom: half the sum is 1.34
    check_possible(pair(1.35))
    with pytest.raises(InputError, match=r"Na and Cl are 1\.33 angstrom apart"):
        check_possible(pair(1.33))


def test_hydrogen_may_not_come_nearer_than_the_least_distance():
    check_possible(pair(0.41, numbers=(1, 1)))  # half the sum of the radii is 0.31
    with pytest.raises(InputError, match=r"0\.39"):
        check_possible(pair(0.39, numbers=(1, 1)))


def test_an_atom_and_its_own_image_count():
    crystal = CrystalArrays(np.array([55]), np.zeros((1, 3)), np.diag([2.0, 9, 9]))
    with pytest.raises(InputError, match="Cs and Cs"):
        check_possible(crystal)


@pytest.mark.parametrize(
    ("lattice", "message"),
    [
        (1e6 * np.eye(3), "check the unit"),
        (np.diag([0.01, 5, 5]), "check the unit"),
        (np.diag([5, 5, np.nan]), "not finite"),
    ],
)
def test_cells_that_no_material_has_are_refused(lattice, message):
    with pytest.raises(InputError, match=message):
        check_possible(CrystalArrays(np.array([14]), np.zeros((1, 3)), lattice))
    with pytest.raises(InputError, match="not finite"):
        check_possible(CrystalArrays(np.array([14]), np.full((1, 3), np.inf), 5 * np.eye(3)))
