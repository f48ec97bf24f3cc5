from __future__ import annotations

import numpy as np
import pytest
import torch

from icsg3d.errors import InputError
from icsg3d.models.compact_weights import round_weights
from icsg3d.models.density import LatentDensity
from icsg3d.models.flow import FlowConfig, LatentFlow

SIZE, COMPONENTS, BINS = 4, 3, 3


def crystals(count=60):
    """Latent vectors of crystals: a third in bin 0, half of them in bin 1, bin 2 empty, a sixth unknown."""
    random = np.random.default_rng(0)
    latent = random.normal(size=(count, SIZE)) @ np.diag([3.0, 2, 1, 0.5]) + np.array([1.0, 2, 3, 4])
    return latent, np.tile([0, 1, 0, 1, 1, -1], count // 6)


def density_of(flow):
    latent, bins = crystals()
    with torch.no_grad():
        flow.set_components(torch.as_tensor(latent, dtype=torch.float32))
    return LatentDensity.of(round_weights(flow, 8).eval(), latent, bins)


@pytest.fixture(scope="module")
def density():
    """A density with a flow whose weights are random and nowhere zero."""
    torch.manual_seed(0)
    flow = LatentFlow(FlowConfig(SIZE, COMPONENTS, width=16, blocks=2, bins=BINS + 1))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return density_of(flow)


class Shifted(LatentFlow):
    """A flow that moves the noise along the first component: by 1 without a bin, by 10 and more in the bins."""

    def forward(self, x, time, condition):
        shift = torch.zeros_like(x)
        shift[:, 0] = torch.where(condition < 0, 1, 10 + condition)
        return shift


@pytest.fixture(scope="module")
def shifted():
    return density_of(Shifted(FlowConfig(SIZE, COMPONENTS, width=4, blocks=1, bins=BINS + 1)))


# What is known of the crystals


def test_shares_are_those_of_all_crystals_known_or_not(density):
    assert density.shares == pytest.approx([1 / 3, 1 / 2, 0])


def test_without_energies_no_bin_has_a_share(density):
    latent, bins = crystals()
    found = LatentDensity.of(density.flow, latent, np.full_like(bins, -1))
    assert found.shares.tolist() == [0, 0, 0]
    assert np.array_equal(found.sample(3, -1, 0), density.sample(3, -1, 0))


def test_the_root_is_that_of_the_covariance(density):
    latent, _ = crystals()
    root = density.covariance_root
    assert root @ root.T == pytest.approx(np.cov(latent.T), abs=1e-5)
    assert np.allclose(root, np.tril(root))
    assert density.scale() == pytest.approx(latent.std(0, ddof=1), rel=1e-5)


def test_crystals_that_differ_along_few_axes_have_a_root_all_the_same(density):
    latent, bins = crystals()
    latent[:, 1] = 5.0
    found = LatentDensity.of(density.flow, latent, bins)
    assert found.scale()[1] == pytest.approx(1e-3, rel=1e-3)


# Draws


@pytest.mark.parametrize(
    "draw",
    [
        lambda d, n, seed: d.sample(n, -1, seed),
        lambda d, n, seed: d.sample(n, 1, seed),
        lambda d, n, seed: d.around(np.array([2.0, 1, 3, 5]), n, 0.5, 3, seed),
    ],
    ids=["sample", "sample of a bin", "around"],
)
def test_draws_depend_on_their_number_and_the_seed_alone(density, draw):
    many = draw(density, 300, 7)  # more than go through the flow at once
    assert many.shape == (300, SIZE)
    assert many.dtype == np.float64
    for count in (1, 3, 256, 257):
        assert np.array_equal(draw(density, count, 7), many[:count])
    torch.manual_seed(5)
    assert np.array_equal(draw(density, 300, 7), many)
    assert not np.isclose(draw(density, 300, 8), many, atol=1e-7).any(axis=1).all()
    assert len(np.unique(many, axis=0)) == 300


def test_draws_leave_the_global_randomness_alone(density):
    state = torch.random.get_rng_state()
    density.sample(3, -1, 0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_noise_is_cooled_where_a_condition_is_asked_for(shifted):
    straight = shifted.sample(50, 1, 0) - shifted.sample(50, 1, 0, temperature=0.0)  # to the noise, from its middle
    assert np.abs(straight).max() > 1
    cooled = shifted.sample(50, 1, 0, temperature=0.4) - shifted.sample(50, 1, 0, temperature=0.0)
    assert cooled == pytest.approx(0.4 * straight, abs=1e-5)
    assert np.array_equal(shifted.sample(50, -1, 0, temperature=0.4), shifted.sample(50, -1, 0))


def test_draws_go_from_normal_noise_along_the_flow(shifted):
    latent, _ = crystals()
    drawn = shifted.sample(4000, -1, 0)
    # Without a flow their covariance is that of the components, three of four; the flow shifts them along the first.
    variances, axes = np.linalg.eigh(np.cov(latent.T, bias=True))
    expected = axes[:, 1:] * variances[1:] @ axes[:, 1:].T
    assert np.cov(drawn.T) == pytest.approx(expected, abs=0.4)
    shift = drawn.mean(0) - latent.mean(0)
    assert np.abs(shift @ axes[:, 3]) == pytest.approx(np.sqrt(variances[3]), rel=0.1)
    assert np.abs(shift @ axes[:, :3]).max() < 0.15


@pytest.mark.parametrize(("condition", "expected"), [(-1, 1), (-5, 1), (0, 10), (1, 11)])
def test_the_condition_reaches_the_flow_and_counts_several_times(shifted, condition, expected):
    away = shifted.sample(5, condition, 3, guidance=2.5) - shifted.sample(5, -1, 3, guidance=7.0)
    along = shifted.flow.basis[0].double().numpy() * 2.5 * (expected - 1)
    assert away == pytest.approx(np.tile(along, (5, 1)), rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("condition", [-2, -5])
def test_any_negative_condition_is_none(density, condition):
    assert np.array_equal(density.sample(5, condition, 0), density.sample(5, -1, 0))


def test_a_bin_without_crystals_is_named(density):
    with pytest.raises(InputError, match="bin 2; ask for another"):
        density.sample(1, 2, 0)


def test_the_bin_of_recombined_crystals_cannot_be_asked_for(density):
    assert density.flow.config.bins == len(density.shares) + 1
    with pytest.raises((IndexError, InputError)):
        density.sample(1, BINS, 0)


# Neighbours and paths


@pytest.fixture
def origin():
    return np.array([2.0, 1.0, 3.5, 4.2])


def test_without_noise_neighbours_are_the_vector_itself(density, origin):
    assert density.around(origin, 3, 0.0, 7) == pytest.approx(np.tile(origin, (3, 1)), abs=1e-5)


def test_with_nothing_but_noise_neighbours_are_free_draws(density, origin):
    assert density.around(origin, 3, 1.0, 7) == pytest.approx(density.sample(3, -1, 7), abs=1e-5)


def test_neighbours_mix_the_vector_with_noise_and_go_the_rest_of_the_way(shifted, origin):
    # This flow moves by 1 along the first component in all its time, so by 0.4 in the last 0.4 of it.
    noise = np.array([np.random.default_rng((7, 2, n)).standard_normal(COMPONENTS) for n in range(5)])
    inside = shifted.white(origin[None])
    expected = 0.4 * noise + 0.6 * inside + np.array([0.4, 0, 0])
    found = shifted.around(origin, 5, 0.4, 7, 2)
    assert shifted.white(found) == pytest.approx(expected, abs=1e-4)
    # Outside of the components 0.6 of the vector's own part is left.
    outside = origin - shifted.coloured(inside)[0]
    assert found - shifted.coloured(shifted.white(found)) == pytest.approx(np.tile(0.6 * outside, (5, 1)), abs=1e-4)


def test_every_seed_of_neighbours_counts(density, origin):
    first = density.around(origin, 2, 0.5, 1, 2)
    for seeds in ((1, 3), (2, 2), (1,)):
        assert not np.isclose(first, density.around(origin, 2, 0.5, *seeds)).all(axis=1).any()


@pytest.mark.parametrize("level", [-0.1, 1.1, float("nan")])
def test_noise_levels_are_shares(density, origin, level):
    with pytest.raises(InputError, match="from 0 to 1, got"):
        density.around(origin, 1, level, 0)


def test_white_coordinates_have_unit_covariance_and_lead_back(density):
    latent, _ = crystals()
    white = density.white(latent)
    assert np.cov(white.T, bias=True) == pytest.approx(np.eye(COMPONENTS), abs=1e-4)
    assert density.white(density.coloured(white)) == pytest.approx(white, abs=1e-5)


def test_paths_have_exact_ends_and_pass_through_the_arc(shifted, origin):
    other = np.array([0.0, 3.0, 2.5, 3.0])
    path = shifted.path(origin, other, 5)
    assert path.shape == (5, SIZE)
    assert path[0] == pytest.approx(origin, abs=1e-4)
    assert path[-1] == pytest.approx(other, abs=1e-4)
    # The noise of a vector lies 1 back along the first component; halfway between two, its direction is the middle one,
    # and its length the mean of the lengths.
    first, last = (shifted.white(each[None])[0] - [1, 0, 0] for each in (origin, other))
    lengths = np.linalg.norm(first), np.linalg.norm(last)
    middle = first / lengths[0] + last / lengths[1]
    expected = middle / np.linalg.norm(middle) * np.mean(lengths) + [1, 0, 0]
    assert shifted.white(path[2:3])[0] == pytest.approx(expected, abs=1e-3)


def test_paths_of_a_curved_flow_have_exact_ends(density, origin):
    other = np.array([0.0, 3.0, 2.5, 3.0])
    path = density.path(origin, other, 3)
    assert path[[0, -1]] == pytest.approx(np.stack([origin, other]), abs=1e-4)
    assert density.path(origin, origin, 3) == pytest.approx(np.tile(origin, (3, 1)), abs=1e-4)


# On disk


@pytest.mark.parametrize("bits", [8, 32])
def test_densities_come_back_from_tensors(density, bits):
    tensors = density.tensors(bits)
    assert {"density.shares", "density.covariance_root", "density.flow.mean", "density.flow.basis"} < set(tensors)
    back = LatentDensity.from_tensors(tensors | {"other": torch.zeros(1)})
    assert back.flow.config == density.flow.config
    assert not back.flow.training
    assert back.shares == pytest.approx(density.shares, rel=1e-6)
    assert back.covariance_root == pytest.approx(density.covariance_root, rel=1e-6, abs=1e-7)
    for condition in (-1, 0, 1):
        assert np.array_equal(back.sample(5, condition, 0), density.sample(5, condition, 0))
    origin = np.array([2.0, 1.0, 3.5, 4.2])
    assert np.array_equal(back.around(origin, 5, 0.5, 0), density.around(origin, 5, 0.5, 0))
    again = back.tensors(bits)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


def test_weights_are_stored_in_few_bits_and_statistics_are_not(density):
    tensors = density.tensors(8)
    learned = {f"density.flow.{name}": p.ndim for name, p in density.flow.named_parameters()}
    found = {name: tensors[name].dtype for name in learned}
    assert found == {name: torch.int8 if axes > 1 else torch.float16 for name, axes in learned.items()}
    others = {name: t for name, t in tensors.items() if name.removesuffix("@scales") not in learned}
    assert {tensor.dtype for tensor in others.values()} == {torch.float32}


@pytest.mark.parametrize(
    "name", ["shares", "covariance_root", "flow.basis", "flow.mean", "flow.first.bias", "flow.blocks.1.second.weight"]
)
def test_a_missing_tensor_is_named(density, name):
    tensors = density.tensors()
    del tensors[f"density.{name}"]
    with pytest.raises(InputError, match=r"(?s)hold no latent density .*" + name.removeprefix("flow.")) as error:
        LatentDensity.from_tensors(tensors)
    assert "train or copy the model again" in str(error.value)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("shares", (BINS + 1,)),
        ("shares", (1,)),
        ("covariance_root", (SIZE - 1, SIZE - 1)),
        ("covariance_root", (SIZE,)),
        ("flow.mean", (SIZE + 1,)),
        ("flow.basis", (COMPONENTS,)),
        ("flow.basis", (COMPONENTS, SIZE + 1)),
        ("flow.basis", (COMPONENTS + 1, SIZE)),
        ("flow.first.bias", ()),
        ("flow.first.bias", (8,)),
        ("flow.condition.weight", (64,)),
        ("flow.last.weight", (COMPONENTS, 8)),
        ("flow.blocks.7.second.bias", (16,)),
        ("flow.other", (1,)),
    ],
)
def test_tensors_that_do_not_fit_the_others_are_refused(density, name, shape):
    with pytest.raises(InputError, match="hold no latent density"):
        LatentDensity.from_tensors(density.tensors() | {f"density.{name}": torch.zeros(shape)})


def test_nothing_at_all_is_no_density():
    with pytest.raises(InputError, match="hold no latent density"):
        LatentDensity.from_tensors({})
