from __future__ import annotations

import numpy as np
import pytest
import torch

from icsg3d.errors import InputError
from icsg3d.latent import LatentDensity

# Two clusters far apart in the first dimension; the crystals of bin 0 lie in the left one, those of bin 1 in the right
# one, bin 2 is empty and a fifth of the energies is unknown.
CENTRES = np.array([[-10.0, 1.0, 0.0], [10.0, -1.0, 5.0]])
SPREADS = np.array([[0.5, 1.0, 2.0], [1.0, 0.25, 0.5]])


def clusters(count=400):
    random = np.random.default_rng(0)
    which = np.arange(count) % 4 == 0  # a quarter on the right
    latent = CENTRES[which.astype(int)] + SPREADS[which.astype(int)] * random.normal(size=(count, 3))
    bins = np.where(np.arange(count) % 5 == 0, -1, which.astype(int))
    return latent, bins


@pytest.fixture(scope="module")
def density():
    return LatentDensity.fit(*clusters(), n_bins=3, components=2)


def test_the_fit_finds_clusters_and_their_share_in_each_bin(density):
    left = int(np.argmin(density.means[:, 0]))
    assert density.means[left] == pytest.approx(CENTRES[0], abs=0.4)
    assert density.means[1 - left] == pytest.approx(CENTRES[1], abs=0.4)
    assert density.scales[left] == pytest.approx(SPREADS[0], rel=0.2)
    assert density.scales[1 - left] == pytest.approx(SPREADS[1], rel=0.2)
    assert density.weights.shape == (4, 2)
    assert density.weights[0, left] == pytest.approx(1, abs=1e-6)
    assert density.weights[1, 1 - left] == pytest.approx(1, abs=1e-6)
    assert not density.weights[2].any()
    assert density.weights[3, left] == pytest.approx(0.75, abs=1e-3)


def test_the_root_is_that_of_the_covariance(density):
    latent, _ = clusters()
    root = density.covariance_root
    assert root @ root.T == pytest.approx(np.cov(latent.T), abs=1e-5)
    assert np.allclose(root, np.tril(root))
    assert density.scale() == pytest.approx(latent.std(0, ddof=1), rel=1e-5)


def test_there_are_at_most_a_tenth_as_many_gaussians_as_crystals():
    latent, bins = clusters(56)
    assert LatentDensity.fit(latent, bins, 3).means.shape == (5, 3)
    assert LatentDensity.fit(latent, bins, 3, components=3).means.shape == (3, 3)
    few = LatentDensity.fit(latent[:6], bins[:6], 3)
    assert few.means.shape == (1, 3)
    assert np.isfinite(few.sample(3, -1, 0)).all()


def test_the_fit_depends_on_its_seed_alone():
    latent, bins = clusters()
    np.random.seed(5)  # noqa: NPY002 (a fit must not depend on it)
    one = LatentDensity.fit(latent, bins, 3, components=8, seed=1)
    np.random.seed(6)  # noqa: NPY002
    other = LatentDensity.fit(latent, bins, 3, components=8, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


# Draws


@pytest.mark.parametrize("draw", [lambda d, n, seed: d.sample(n, -1, seed), lambda d, n, seed: d.steps(n, seed)])
def test_draws_depend_on_their_number_and_the_seed_alone(density, draw):
    many = draw(density, 40, 7)
    assert many.shape == (40, 3)
    assert np.array_equal(draw(density, 3, 7), many[:3])
    assert np.array_equal(draw(density, 40, 7), many)
    assert not np.isclose(draw(density, 40, 8), many).any()
    assert len(np.unique(many, axis=0)) == 40


def test_samples_have_the_distribution_of_the_crystals(density):
    latent, _ = clusters()
    drawn = density.sample(4000, -1, 0)
    left = drawn[:, 0] < 0
    assert left.mean() == pytest.approx(0.75, abs=0.03)
    assert drawn[left].mean(0) == pytest.approx(latent[latent[:, 0] < 0].mean(0), abs=0.15)
    assert drawn[left].std(0) == pytest.approx(SPREADS[0], rel=0.15)
    assert drawn[~left].std(0) == pytest.approx(SPREADS[1], rel=0.15)


@pytest.mark.parametrize(("condition", "sign"), [(0, -1), (1, 1)])
def test_a_condition_draws_from_the_crystals_of_its_bin(density, condition, sign):
    assert (np.sign(density.sample(200, condition, 3)[:, 0]) == sign).all()


def test_the_weights_of_a_bin_are_shares(density):
    mixed = LatentDensity(density.means, density.scales, np.array([[0.6, 0.2], [0.5, 0.5]]), density.covariance_root)
    first = np.abs(mixed.sample(3000, 0, 0) - density.means[0])[:, 0] < 8
    assert first.mean() == pytest.approx(0.75, abs=0.03)  # 0.6 of 0.8


@pytest.mark.parametrize("condition", [-1, -5])
def test_any_negative_condition_is_none(density, condition):
    assert np.array_equal(density.sample(5, condition, 0), density.sample(5, -1, 0))


def test_a_bin_without_crystals_is_named(density):
    with pytest.raises(InputError, match="bin 2; ask for another energy"):
        density.sample(1, 2, 0)


def test_steps_have_the_covariance_of_the_crystals(density):
    latent, _ = clusters()
    steps = density.steps(6000, 0)
    expected = np.cov(latent.T)
    assert steps.mean(0) == pytest.approx(np.zeros(3), abs=0.4)
    assert np.cov(steps.T) == pytest.approx(expected, rel=0.1, abs=0.4)


# On disk


def test_densities_come_back_from_tensors(density):
    tensors = density.tensors()
    assert set(tensors) == {f"density.{name}" for name in ("means", "scales", "weights", "covariance_root")}
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    back = LatentDensity.from_tensors(tensors | {"other": torch.zeros(1)})
    for name, value in vars(density).items():
        assert getattr(back, name) == pytest.approx(value, rel=1e-6, abs=1e-6)
    assert back.sample(5, 0, 0) == pytest.approx(density.sample(5, 0, 0), abs=1e-4)


@pytest.mark.parametrize("name", ["means", "scales", "weights", "covariance_root"])
def test_a_missing_tensor_is_named(density, name):
    tensors = density.tensors()
    del tensors[f"density.{name}"]
    with pytest.raises(InputError, match=f"density.{name}"):
        LatentDensity.from_tensors(tensors)
