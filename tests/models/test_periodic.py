"""Layers on periodic grids against torch's own convolutions with circular padding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from icsg3d.models import periodic
from icsg3d.models.periodic import Coarser, Finer, PeriodicConv, ResidualBlock


def reference(conv):
    """torch's convolution with the same weights, on (B, X, Y, Z, C)."""
    inputs, outputs = conv.weight.shape[0] // 27, conv.weight.shape[1]
    own = nn.Conv3d(inputs, outputs, 3, padding=1, padding_mode="circular", dtype=torch.float64)
    with torch.no_grad():
        own.weight.copy_(conv.weight.view(3, 3, 3, inputs, outputs).permute(4, 3, 0, 1, 2))
        own.bias.copy_(conv.bias)
    return lambda x: own(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)


@pytest.mark.parametrize("few_points", [0, 10_000], ids=["library", "gathered"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (4, 4, 8), (1, 2, 3)])
def test_convolution_is_circular_with_its_gradients(monkeypatch, few_points, shape):
    monkeypatch.setattr(periodic, "_FEW_POINTS", few_points)
    torch.manual_seed(0)
    conv = PeriodicConv(3, 5).double()
    nn.init.normal_(conv.bias)
    x = torch.randn(2, *shape, 3, dtype=torch.float64, requires_grad=True)
    found, expected = conv(x), reference(conv)(x)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(found)
    for own, other in zip(
        torch.autograd.grad(found, [x], direction), torch.autograd.grad(expected, [x], direction), strict=True
    ):
        torch.testing.assert_close(own, other)
    assert torch.autograd.gradcheck(lambda w, b: _with(conv, x.detach(), w, b), [conv.weight, conv.bias])


def _with(conv, x, weight, bias):
    return torch.func.functional_call(conv, {"weight": weight, "bias": bias}, (x,))


def test_rolls_commute_with_a_block():
    torch.manual_seed(1)
    block = ResidualBlock(8, 4)
    nn.init.normal_(block.modulation.weight)
    x, embedding = torch.randn(2, 4, 6, 5, 8), torch.randn(2, 4)
    rolled = block(x.roll((1, -2, 3), (1, 2, 3)), embedding)
    torch.testing.assert_close(rolled, block(x, embedding).roll((1, -2, 3), (1, 2, 3)), atol=1e-5, rtol=1e-5)


def test_finer_undoes_coarser_for_orthogonal_weights():
    coarser, finer = Coarser(2, 16), Finer(16, 2)
    with torch.no_grad():
        coarser.dense.weight.copy_(torch.linalg.qr(torch.randn(16, 16))[0])
        finer.dense.weight.copy_(coarser.dense.weight.T)
        finer.dense.bias.copy_(-finer.dense.weight @ coarser.dense.bias)
    x = torch.randn(2, 4, 2, 6, 2)
    torch.testing.assert_close(finer(coarser(x)), x, atol=1e-5, rtol=1e-5)


def test_half_precision_is_near():
    torch.manual_seed(2)
    block = ResidualBlock(32, 8)
    x, embedding = torch.randn(2, 4, 4, 4, 32), torch.randn(2, 8)
    half = block(x.bfloat16(), embedding.bfloat16()).float()
    assert (half - block(x, embedding)).abs().max() < 0.05
