from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from icsg3d.errors import InputError
from icsg3d.generation.decoded import DecodedCrystal, Located
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.generation.search import Visited, optimize_property

START = prototype_structure("NaCl")
DIRECTION = np.array([3.0, -1.0, 0.5, 0.0])


class Cloud:
    """A latent space whose neighbours are steps of its covariance."""

    root = np.diag([1.0, 2.0, 0.5, 1.0])
    fixed_cells = False

    def around(self, origin, cell, n, scale, seed, first=0):
        return origin + scale * np.random.default_rng((seed, first)).standard_normal((n, 4)) @ self.root.T

    def coordinates(self, latents):
        return np.asarray(latents) @ np.linalg.inv(self.root).T

    def at(self, coordinates, base):
        return coordinates @ self.root.T


class Straight:
    """A generator with four latent dimensions whose crystals tell where they come from."""

    space = Cloud()

    def __init__(self, failing=0.0):
        self.failing = failing
        self.decoded = []

    def placed(self, crystal):
        return Located(crystal, None, SimpleNamespace(apply=lambda structure: structure), np.zeros(4))

    def decode(self, latent):
        crystals = []
        for row, vector in enumerate(latent):
            self.decoded.append(vector)
            structure = START.copy()
            structure.properties["latent"] = vector
            failed = row < self.failing * len(latent)
            crystals.append(DecodedCrystal(None if failed else structure, "failed" if failed else "", vector))
        return crystals

    def latent_distance(self, latent, origin):
        return np.linalg.norm(np.asarray(latent) - origin, axis=-1)


class Linear:
    """A property that is linear in latent space."""

    def predict_possible(self, structures):
        values = np.array([structure.properties["latent"] @ DIRECTION for structure in structures])
        return SimpleNamespace(values=values, stds=np.full(len(values), 0.1))


def test_a_linear_property_is_brought_to_its_target():
    visited = optimize_property(Straight(), Linear(), START, 20.0, rounds=10, draws=16, scale=0.5)
    misses = [min(abs(each.value - 20.0) for each in visited if each.round == number) for number in (0, 4, 9)]
    assert misses[0] > 10
    assert max(misses[1:]) < 1.0
    last = np.mean([each.value for each in visited if each.round == 9])
    assert last == pytest.approx(20.0, abs=3.0)
    assert {each.round for each in visited} == set(range(10))
    assert all(each.latent_distance > 0 for each in visited)


def test_the_same_seed_gives_the_same_search():
    one, other, another = Straight(), Straight(), Straight()
    for space, seed in ((one, 1), (other, 1), (another, 2)):
        optimize_property(space, Linear(), START, 5.0, rounds=3, draws=4, seed=seed)
    np.testing.assert_array_equal(one.decoded, other.decoded)
    assert not np.allclose(one.decoded, another.decoded)


def test_failed_draws_are_passed_over():
    visited = optimize_property(Straight(failing=0.5), Linear(), START, 5.0, rounds=2, draws=8)
    assert len(visited) == 8
    with pytest.raises(InputError, match="none of 16 draws around NaCl gave a crystal"):
        optimize_property(Straight(failing=1.0), Linear(), START, 5.0, rounds=2, draws=8)


def test_a_doubtful_hit_is_expected_to_miss():
    sure, doubtful = Visited(START, 1.9, 0.2, 1.0, 0), Visited(START, 2.0, 4.0, 1.0, 0)
    assert sure.expected_miss(2.0) == pytest.approx(0.05**0.5)
    assert doubtful.expected_miss(2.0) == 4.0
    assert sure.expected_miss(1.9) == 0.2


def test_crystals_without_a_prediction_are_passed_over():
    class Choosy(Linear):
        def predict_possible(self, structures):
            found = super().predict_possible(structures)
            found.values[::2] = np.nan
            return found

    visited = optimize_property(Straight(), Choosy(), START, 5.0, rounds=2, draws=8)
    assert len(visited) == 8
    for each in visited:
        assert each.value == pytest.approx(each.structure.properties["latent"] @ DIRECTION)
        assert each.latent_distance == pytest.approx(np.linalg.norm(each.structure.properties["latent"]))


@pytest.mark.parametrize("bad", [{"rounds": 0}, {"draws": 1}, {"scale": 0.0}, {"scale": 1.1}, {"target": float("inf")}])
def test_numbers_out_of_range(bad):
    arguments = {"target": 1.0} | bad
    with pytest.raises(InputError, match=r"rounds must|draws must|the scale|the target"):
        optimize_property(Straight(), Linear(), START, **arguments)
