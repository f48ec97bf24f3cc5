from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from icsg3d.models.blocks import ConvBlock, convolution, count_values, one_hot_condition


def settled(block):
    """The block in evaluation mode, with batch-norm statistics that are not those it starts with."""
    with torch.no_grad():
        for module in block.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.normal_()
                module.bias.normal_()
    return block.eval()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_a_periodic_convolution_worked_out_by_hand():
    conv = convolution(1, 1, periodic=True)
    grid = torch.randn(1, 1, 4, 4, 4)
    found = conv(grid)[0, 0]
    weight, bias = conv.weight[0, 0], conv.bias[0]
    for place in ((0, 0, 0), (3, 1, 2), (3, 3, 3)):
        expected = bias.item()
        for shift in itertools.product((-1, 0, 1), repeat=3):
            source = tuple((p + s) % 4 for p, s in zip(place, shift, strict=True))
            expected += weight[tuple(s + 1 for s in shift)].item() * grid[0, 0][source].item()
        assert found[place].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("activation_first", [False, True])
def test_periodic_blocks_commute_with_rolls(activation_first):
    block = settled(ConvBlock(3, 5, periodic=True, activation_first=activation_first))
    grid = torch.randn(2, 3, 6, 6, 6)
    rolled = block(grid.roll((1, 5, 2), dims=(2, 3, 4)))
    assert torch.allclose(rolled, block(grid).roll((1, 5, 2), dims=(2, 3, 4)), atol=1e-5)


def test_blocks_without_periodicity_do_not_wrap_around():
    block = settled(ConvBlock(1, 2, periodic=False))
    grid = torch.randn(1, 1, 6, 6, 6)
    changed = grid.clone()
    changed[:, :, 0] += 1
    difference = (block(grid) - block(changed)).abs().amax((0, 1, 3, 4))
    assert (difference[:2] > 0).all()
    assert not difference[2:].any()
    wrapping = settled(ConvBlock(1, 2, periodic=True))
    difference = (wrapping(grid) - wrapping(changed)).abs().amax((0, 1, 3, 4))
    assert difference[5] > 0
    assert not difference[2:5].any()


def test_the_order_of_activation_and_normalisation():
    grid = torch.randn(1, 2, 4, 4, 4)
    last = settled(ConvBlock(2, 3, periodic=True))
    conv, norm, _ = last
    plain = norm(conv(grid))
    assert torch.allclose(last(grid), torch.where(plain > 0, plain, 0.3 * plain))
    first = settled(ConvBlock(2, 3, periodic=True, activation_first=True))
    conv, _, norm = first
    assert torch.allclose(first(grid), norm(conv(grid).clamp(min=0)))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("periodic", [True, False])
def test_convolutions_keep_the_size(kernel, periodic):
    conv = convolution(2, 7, periodic=periodic, kernel=kernel)
    assert conv(torch.zeros(1, 2, 5, 6, 7)).shape == (1, 7, 5, 6, 7)


def test_conditions_are_one_hot_and_unknown_ones_are_zero():
    rows = one_hot_condition(torch.tensor([0, 3, -1, 2]), 4)
    assert rows.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert rows.dtype == torch.float32


def test_values_are_counted_as_keras_does():
    # 5 x 3 x 27 weights and 5 biases, scale and shift, mean and variance; not the number of batches.
    assert count_values(ConvBlock(3, 5, periodic=True)) == 5 * 3 * 27 + 5 + 2 * 5 + 2 * 5
    assert count_values(nn.Linear(7, 2)) == 16
