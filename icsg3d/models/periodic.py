"""Layers on periodic grids, channels last: tensors are (B, X, Y, Z, C), one grid shape a batch.

Written for processors whose matrix units take bfloat16: channels stay last, so every convolution is a dense product and
nothing is rearranged; neighbours across the cell's faces come by index, not by copies of padded grids.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from icsg3d.representation.fields import GridShape

_FEW_POINTS = 128
"""Grids of up to so many points are convolved as one product over gathered neighbours, larger ones by the library's
convolution, which is slow on small grids; the result is the same."""


@lru_cache(maxsize=512)
def neighbour_index(shape: GridShape) -> torch.Tensor:
    """Return the numbers of the 27 neighbours of each point of a periodic grid, itself among them, (points * 27,)."""
    axes = [(torch.arange(n)[:, None] + torch.arange(-1, 2)) % n for n in shape]
    x, y, z = (axis.view([*(n if i == j else 1 for j, n in enumerate(shape)), *(3 if i == j else 1 for j in range(3))])
               for i, (axis, n) in enumerate(zip(axes, shape, strict=True)))  # fmt: skip
    return ((x * shape[1] + y) * shape[2] + z).reshape(-1)


@lru_cache(maxsize=512)
def padding_index(shape: GridShape) -> torch.Tensor:
    """Return the numbers of the points of a periodic grid with one more on each side, (points of that grid,)."""
    x, y, z = (torch.arange(-1, n + 1) % n for n in shape)
    return ((x[:, None, None] * shape[1] + y[:, None]) * shape[2] + z).reshape(-1)


def _gather(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return rows of points, (B, K, C), of a grid (B, X, Y, Z, C)."""
    return x.flatten(1, 3).index_select(1, index.to(x.device))


class _GatheredConvolution(torch.autograd.Function):
    """Product of gathered neighbours and weights; the gradient of the input is the same with turned weights."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        shape = x.shape[1:4]
        columns = _gather(x, neighbour_index(tuple(shape))).view(-1, 27 * x.shape[-1])
        ctx.save_for_backward(columns, weight)
        return torch.addmm(bias, columns, weight).view(len(x), *shape, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        columns, weight = ctx.saved_tensors
        grad = gradients[0]
        shape = tuple(grad.shape[1:4])
        rows = grad.reshape(-1, grad.shape[-1])
        grad_weight = columns.T @ rows
        around = _gather(grad.contiguous(), neighbour_index(shape)).view(-1, 27 * grad.shape[-1])
        turned = weight.view(27, -1, weight.shape[1]).flip(0).transpose(1, 2).flatten(0, 1)
        return (around @ turned).view(len(grad), *shape, -1), grad_weight, rows.sum(0)


class _Padding(torch.autograd.Function):
    """One more point on each side of a periodic grid."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        shape = tuple(x.shape[1:4])
        return _gather(x, padding_index(shape)).view(len(x), *(n + 2 for n in shape), -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        grad = gradients[0].clone(memory_format=torch.contiguous_format)
        for axis in (1, 2, 3):
            size = grad.shape[axis]
            grad.select(axis, size - 2).add_(grad.select(axis, 0))
            grad.select(axis, 1).add_(grad.select(axis, size - 1))
            grad = grad.narrow(axis, 1, size - 2)
        return grad.contiguous()


class PeriodicConv(nn.Module):
    """Convolution over the 27 nearest points of a periodic grid of any shape.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(27 * inputs, outputs) / math.sqrt(27 * inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, X, Y, Z, inputs) to (B, X, Y, Z, outputs)."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if math.prod(x.shape[1:4]) <= _FEW_POINTS:
            return _GatheredConvolution.apply(x, weight, bias)
        kernel = weight.view(3, 3, 3, -1, weight.shape[1]).permute(4, 3, 0, 1, 2)
        kernel = kernel.contiguous(memory_format=torch.channels_last_3d)
        return F.conv3d(_Padding.apply(x).permute(0, 4, 1, 2, 3), kernel, bias).permute(0, 2, 3, 4, 1)


class Dense(nn.Linear):
    """A linear layer on the last axis, in the precision of what comes in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class Mixing(Dense):
    """A linear layer between features inside of a network, as a convolution is one between points."""


class Coarser(nn.Module):
    """Eight neighbouring points become one with more channels; grids have an even number of points along each axis."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = Mixing(8 * inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, X, Y, Z, inputs) to (B, X/2, Y/2, Z/2, outputs)."""
        b, p, q, r, c = x.shape
        cells = x.view(b, p // 2, 2, q // 2, 2, r // 2, 2, c).permute(0, 1, 3, 5, 2, 4, 6, 7)
        return self.dense(cells.reshape(b, p // 2, q // 2, r // 2, 8 * c))


class Finer(nn.Module):
    """Each point becomes eight: the counterpart of :class:`Coarser`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = Mixing(inputs, 8 * outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, X, Y, Z, inputs) to (B, 2X, 2Y, 2Z, outputs)."""
        b, p, q, r, _ = x.shape
        cells = self.dense(x).view(b, p, q, r, 2, 2, 2, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return cells.reshape(b, 2 * p, 2 * q, 2 * r, -1)


class ResidualBlock(nn.Module):
    """Two convolutions added to what came in, scaled and shifted by an embedding of the crystal's cell.

    Args:
        channels: Of the grid.
        embedding: Size of the embedding.
    """

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.modulation = Dense(embedding, 2 * channels)
        self.first = PeriodicConv(channels, channels)
        self.second = PeriodicConv(channels, channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Map (B, X, Y, Z, channels) with embeddings (B, embedding) to the same shape."""
        scale, shift = self.modulation(embedding)[:, None, None, None].chunk(2, dim=-1)
        hidden = torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)
        return x + self.second(F.silu(self.first(F.silu(hidden))))
