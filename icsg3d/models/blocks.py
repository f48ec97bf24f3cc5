"""Convolution blocks shared by the networks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn


def convolution(inputs: int, outputs: int, *, periodic: bool, kernel: int = 3) -> nn.Conv3d:
    """Return a size-keeping 3-D convolution, with circular padding on a periodic grid."""
    mode: Literal["circular", "zeros"] = "circular" if periodic and kernel > 1 else "zeros"
    return nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, padding_mode=mode)


class ConvBlock(nn.Sequential):
    """Convolution, batch normalisation and LeakyReLU, in the order of the VAE.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        periodic: Whether the grid is a torus.
        activation_first: Activate before normalising (ReLU), the order of the segmentation U-Net.
    """

    def __init__(self, inputs: int, outputs: int, *, periodic: bool, activation_first: bool = False) -> None:
        conv, norm = convolution(inputs, outputs, periodic=periodic), nn.BatchNorm3d(outputs)
        super().__init__(*((conv, nn.ReLU(), norm) if activation_first else (conv, norm, nn.LeakyReLU(0.3))))


def one_hot_condition(condition: torch.Tensor, bins: int) -> torch.Tensor:
    """Return condition bins as one-hot rows; a negative bin, "not known", is a row of zeros.

    Args:
        condition: Bin of each crystal, shape (B,), int64, negative where unknown.
        bins: Number of bins.

    Returns:
        Shape (B, bins), float32.
    """
    known = (condition >= 0)[:, None]
    return nn.functional.one_hot(condition.clamp(min=0), bins).float() * known


def count_values(module: nn.Module) -> int:
    """Return the number of trainable parameters plus batch-norm means and variances, as Keras counts them."""
    statistics = sum(
        buffer.numel() for name, buffer in module.named_buffers() if name.endswith(("running_mean", "running_var"))
    )
    return sum(p.numel() for p in module.parameters()) + statistics
