from __future__ import annotations

import pytest
import torch

from icsg3d.models.blocks import count_values
from icsg3d.models.unet import SegmentationUNet, SegmentationUNetConfig

SMALL = SegmentationUNetConfig(3, down=((4, 5), (6, 7)), bottom=(8, 9), up=((10, 11), (6, 6)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = SegmentationUNet(SMALL)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, 8, 8, 8))
    return network.eval()


@torch.no_grad()
def test_the_paper_size_is_that_of_the_reference():
    with torch.device("meta"):
        network = SegmentationUNet(SegmentationUNetConfig.paper())
        assert count_values(network) == 31_163_008
        found = network(torch.zeros(1, 4, 32, 32, 32))
        features = network.features(torch.zeros(1, 4, 32, 32, 32))
    assert found.species.shape == (1, 95, 32, 32, 32)
    assert found.atom.shape == (1, 32, 32, 32)
    assert [f.shape[1:3] for f in features] == [(64, 32), (128, 16), (256, 8), (512, 4)]


@torch.no_grad()
@pytest.mark.parametrize("grid", [4, 8, 12])
def test_shapes(network, grid):
    found = network(torch.zeros(2, 3, grid, grid, grid))
    assert found.species.shape == (2, 95, grid, grid, grid)
    assert found.atom.shape == (2, grid, grid, grid)


@torch.no_grad()
def test_features_are_those_of_the_way_down_and_the_bottom(network):
    grid = torch.randn(2, 3, 8, 8, 8)
    first, second, bottom = network.features(grid)
    assert first.shape == (2, 5, 8, 8, 8)
    assert second.shape == (2, 7, 4, 4, 4)
    assert bottom.shape == (2, 9, 2, 2, 2)
    assert torch.equal(first, network.down[0](grid))
    pooled = first.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).amax((-3, -2, -1))
    assert torch.equal(second, network.down[1](pooled))


@torch.no_grad()
def test_a_batch_equals_single_grids_in_evaluation(network):
    grids = torch.randn(3, 3, 8, 8, 8)
    together = network(grids)
    for index in range(3):
        alone = network(grids[index : index + 1])
        assert torch.allclose(together.species[index], alone.species[0], atol=1e-5)
        assert torch.allclose(together.atom[index], alone.atom[0], atol=1e-5)


@torch.no_grad()
def test_the_periodic_size_commutes_with_rolls_of_its_coarsest_voxel(network):
    grid = torch.randn(1, 3, 8, 8, 8)
    steps = (4, 0, 4)  # two poolings of 2
    rolled = network(grid.roll(steps, dims=(2, 3, 4)))
    assert torch.allclose(rolled.species, network(grid).species.roll(steps, dims=(2, 3, 4)), atol=1e-5)
    assert torch.allclose(rolled.atom, network(grid).atom.roll(steps, dims=(1, 2, 3)), atol=1e-5)


def test_skips_carry_what_pooling_loses():
    torch.manual_seed(1)
    network = SegmentationUNet(SMALL).eval()
    grid = torch.randn(1, 3, 8, 8, 8, requires_grad=True)
    with torch.no_grad():
        network.bottom[0][0].weight.zero_()  # nothing passes through the bottom
    network(grid).species[0, :, 3, 3, 3].sum().backward()
    assert grid.grad[0, :, 3, 3, 3].abs().sum() > 0


def test_every_parameter_learns():
    network = SegmentationUNet(SMALL)
    found = network(torch.randn(2, 3, 8, 8, 8))
    (found.species.square().mean() + found.atom.square().mean()).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None]
    assert idle == []
