from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from icsg3d.errors import InputError
from icsg3d.models.blocks import count_values
from icsg3d.models.vae import CrystalVAE, CrystalVAEConfig, DenseBlock, Posterior, coarse_map, spread_map

SMALL = CrystalVAEConfig(
    grid=8,
    channels=3,
    filters=(4, 6, 8),
    depths=(1, 2, 1),
    bottleneck=5,
    hidden=24,
    decoder_hidden=(20,),
    dense_blocks=1,
    latent=12,
    bins=4,
)
PAPER_LIKE = dataclasses.replace(
    CrystalVAEConfig.paper(), grid=16, filters=(3, 4, 5, 6), bottleneck=2, hidden=7, latent=9
)


def settled(config):
    """A network in evaluation mode whose batch norms have seen data."""
    torch.manual_seed(0)
    network = CrystalVAE(config)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            grid = torch.rand(4, config.channels, *(config.grid,) * 3)
            bins = torch.tensor([0, 1, 2, -1])
            network.decode(network.encode(grid, bins, torch.rand(4, 6)).mean, bins)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return settled(SMALL)


@pytest.fixture
def grids():
    return torch.rand(3, 3, 8, 8, 8, generator=torch.Generator().manual_seed(3))


BINS = torch.tensor([0, 3, -1])
LATTICES = torch.tensor([[1.4, 1.4, 1.4, 0, 0, 0], [1.2, 1.3, 1.5, 0.5, 0.5, 0.5], [1.0, 1.8, 1.1, 0.1, -0.2, 0.3]])


# Size


def test_the_paper_size_is_that_of_the_reference():
    with torch.device("meta"):
        network = CrystalVAE(CrystalVAEConfig.paper())
    assert count_values(network.encoder) == 451_412
    assert count_values(network.decoder) == 375_428
    assert count_values(network) == 451_412 + 375_428
    assert network.lattice_head is None


@torch.no_grad()
def test_shapes_of_the_paper_size():
    with torch.device("meta"):
        network = CrystalVAE(CrystalVAEConfig.paper()).eval()
        bins = torch.zeros(2, dtype=torch.int64)
        posterior = network.encode(torch.zeros(2, 4, 32, 32, 32), bins)
        grid, lattice = network.decode(posterior.mean, bins)
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 256)
    assert grid.shape == (2, 4, 32, 32, 32)
    assert lattice is None


@torch.no_grad()
def test_shapes(network, grids):
    posterior = network.encode(grids, BINS, LATTICES)
    assert posterior.mean.shape == posterior.log_variance.shape == (3, 12)
    grid, lattice = network.decode(posterior.mean, BINS)
    assert grid.shape == grids.shape
    assert lattice.shape == (3, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": 10}, "grid of 10 points cannot be halved"),
        ({"grid": 6, "filters": (4, 6), "depths": (1, 1)}, "grid of 6 points has no coarse map"),
        ({"depths": (1, 2)}, "differ in the number of levels"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_the_paper_pools_its_last_level_too_and_so_halves_once_more():
    dataclasses.replace(SMALL, grid=12)
    with pytest.raises(InputError, match="24 points cannot be halved for 4 levels; take a multiple of 16"):
        dataclasses.replace(PAPER_LIKE, grid=24)
    coarse = 3 * 4**3
    assert CrystalVAE(SMALL).encoder.dense[0].in_features == 8 * 2**3 + coarse + 6
    assert CrystalVAE(PAPER_LIKE).encoder.dense[0].in_features == 2 * 1


@pytest.mark.parametrize("config", [SMALL, PAPER_LIKE], ids=["periodic", "paper"])
@pytest.mark.parametrize(
    "switch", ["periodic", "pool_last", "bottleneck_conv", "shortcut", "lattice_head", "rectified"]
)
def test_a_mixture_of_the_two_architectures_is_refused(config, switch):
    other = not getattr(config, switch)
    with pytest.raises(InputError, match=f"no autoencoder with .*{switch}={other}.*'periodic'.*'paper'"):
        dataclasses.replace(config, **{switch: other})


@pytest.mark.parametrize("changes", [{"decoder_hidden": (7,)}, {"dense_blocks": 1}])
def test_the_paper_has_no_further_dense_layers(changes):
    with pytest.raises(InputError, match="has no decoder_hidden and no dense_blocks"):
        dataclasses.replace(PAPER_LIKE, **changes)


def test_a_configuration_names_its_architecture():
    assert (SMALL.architecture, PAPER_LIKE.architecture) == ("periodic", "paper")


def test_the_first_level_has_as_many_channels_as_grid_and_condition():
    assert CrystalVAE(SMALL).encoder.levels[0][0][0].in_channels == 3 + 4
    assert CrystalVAE(SMALL).decoder.dense[0].in_features == 12 + 4


# What they compute


@torch.no_grad()
@pytest.mark.parametrize("config", [SMALL, PAPER_LIKE], ids=["periodic", "paper"])
def test_a_batch_equals_single_crystals_in_evaluation(config):
    network = settled(config)
    grids = torch.rand(3, config.channels, *(config.grid,) * 3)
    posterior = network.encode(grids, BINS, LATTICES)
    grid, lattice = network.decode(posterior.mean, BINS)
    for i in range(3):
        one = slice(i, i + 1)
        alone = network.encode(grids[one], BINS[one], LATTICES[one])
        assert torch.allclose(alone.mean[0], posterior.mean[i], atol=1e-5)
        assert torch.allclose(alone.log_variance[0], posterior.log_variance[i], atol=1e-5)
        decoded, parameters = network.decode(posterior.mean[one], BINS[one])
        assert torch.allclose(decoded[0], grid[i], atol=1e-5)
        assert (parameters is None) == (lattice is None)
        if lattice is not None:
            assert torch.allclose(parameters[0], lattice[i], atol=1e-5)


@torch.no_grad()
def test_grid_condition_and_lattice_all_count(network, grids):
    mean = network.encode(grids, BINS, LATTICES).mean
    assert (network.encode(grids.flip(0), BINS, LATTICES).mean - mean)[0].abs().max() > 1e-4
    assert (network.encode(grids, BINS.roll(1), LATTICES).mean - mean).abs().amax(1).min() > 1e-4
    assert (network.encode(grids, BINS, LATTICES + 1).mean - mean).abs().amax(1).min() > 1e-4
    decoded, lattice = network.decode(mean, BINS)
    other, same = network.decode(mean, BINS.roll(1))
    assert (other - decoded).abs().amax((1, 2, 3, 4)).min() > 1e-4
    assert torch.equal(same, lattice)  # the lattice is read from the latent vector alone


@torch.no_grad()
def test_all_unknown_conditions_are_alike(network, grids):
    some = network.encode(grids, torch.tensor([-1, -1, -1]), LATTICES).mean
    others = network.encode(grids, torch.tensor([-7, -2, -1]), LATTICES).mean
    assert torch.equal(some, others)


@torch.no_grad()
def test_lattices_are_scaled_by_their_spread_both_ways(grids):
    network = settled(SMALL)
    plain = network.encode(grids, BINS, LATTICES).mean
    raw = network.decode(plain, BINS)[1]
    mean, scale = torch.arange(6.0), torch.arange(1.0, 7.0)
    network.lattice_mean.copy_(mean)
    network.lattice_scale.copy_(scale)
    assert torch.allclose(network.encode(grids, BINS, LATTICES * scale + mean).mean, plain, atol=1e-4)
    assert torch.allclose(network.decode(plain, BINS)[1], raw * scale + mean, atol=1e-5)
    assert {"lattice_mean", "lattice_scale"} <= set(network.state_dict())


@torch.no_grad()
def test_the_paper_size_gives_no_negative_values_and_takes_no_lattice():
    network = settled(PAPER_LIKE)
    latent = torch.randn(4, 9)
    grid, _ = network.decode(latent, torch.full((4,), -1))
    assert grid.min() == 0
    assert grid.max() > 0
    grids = torch.rand(3, 4, 16, 16, 16)
    assert torch.equal(network.encode(grids, BINS, LATTICES).mean, network.encode(grids, BINS).mean)


def test_the_periodic_architecture_asks_for_the_lattice(network, grids):
    with pytest.raises(InputError, match="give it as lattice"):
        network.encode(grids, BINS)


@torch.no_grad()
def test_the_log_variance_is_kept_in_bounds(grids):
    network = settled(SMALL)
    network.encoder.log_variance.bias.copy_(torch.tensor([100.0, -100.0] * 6))
    log_variance = network.encode(grids, BINS, LATTICES).log_variance
    assert (log_variance[:, ::2] == 6).all()
    assert (log_variance[:, 1::2] == -12).all()


def test_samples_are_mean_and_standard_deviation_times_noise():
    posterior = Posterior(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 2 * math.log(3)]]))
    assert posterior.sample(torch.tensor([[0.5, -2.0]]))[0].tolist() == pytest.approx([1.5, -4.0])


def test_a_dense_block_adds_to_what_comes_in():
    block = DenseBlock(4)
    with torch.no_grad():
        block.layers[-1].weight.zero_()
        block.layers[-1].bias.fill_(0.5)
    x = torch.randn(3, 4)
    assert torch.allclose(block(x), x + 0.5)


def test_every_parameter_learns(grids):
    network = CrystalVAE(SMALL)
    posterior = network.encode(grids, BINS, LATTICES)
    grid, lattice = network.decode(posterior.sample(torch.randn(3, 12)), BINS)
    (grid.square().mean() + lattice.square().mean()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


# The coarse map


@pytest.mark.parametrize("size", [4, 8, 12, 16])
def test_the_coarse_map_holds_means_around_quarters_of_the_cell(size):
    grid = torch.rand(2, 3, size, size, size, dtype=torch.float64)
    found, block = coarse_map(grid), size // 4
    assert found.shape == (2, 3, 4, 4, 4)
    for corner in ((0, 0, 0), (1, 2, 3), (0, 3, 1)):
        indices = [[(k * block - block // 2 + step) % size for step in range(block)] for k in corner]
        part = grid[:, :, indices[0]][:, :, :, indices[1]][..., indices[2]]
        assert torch.allclose(found[(..., *corner)], part.mean((2, 3, 4)))
        assert all(k * block in points for k, points in zip(corner, indices, strict=True))


@pytest.mark.parametrize("size", [4, 8, 12])
def test_a_spread_map_has_the_coarse_map_it_was_made_of(size):
    coarse = torch.rand(2, 3, 4, 4, 4)
    spread = spread_map(coarse, size)
    assert spread.shape == (2, 3, size, size, size)
    assert torch.allclose(coarse_map(spread), coarse, atol=1e-6)
    step = size // 4
    assert torch.equal(spread[..., ::step, ::step, ::step], coarse)


@torch.no_grad()
@pytest.mark.parametrize(("config", "same"), [(SMALL, False), (PAPER_LIKE, True)], ids=["periodic", "paper"])
def test_only_the_periodic_architecture_sees_a_grid_past_the_convolutions(config, same):
    network = settled(config)
    for level in network.encoder.levels:
        level[-1][0].weight.zero_()  # nothing passes through the convolutions
    grids = torch.rand(3, config.channels, *(config.grid,) * 3)
    means = [network.encode(each, BINS, LATTICES).mean for each in (grids, grids.flip(2))]
    assert torch.equal(*means) == same
