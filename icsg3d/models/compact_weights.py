"""Weights in fewer bits than they are learned in: 16, or 8 for matrices, with a scale for each group of 64 numbers.

Eight bits halve a model's file once more. A number is then off by some 1/254 of the greatest one of its group, which is
less than what a training leaves undecided: the shipped generators rebuild as many crystals as in 16 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

Bits = Literal[8, 16, 32]
"""Bits of a stored weight."""

GENERATOR_BITS: Bits = 8
"""Those of generators."""

Network = TypeVar("Network", bound=nn.Module)

_GROUP = 64
_LARGEST = 127

_SCALES = "@scales"
"""Ends the name of the tensor that holds the scales of another, in bfloat16: 127 times one is then exact in float32, so
that what was rounded once is rounded to itself."""


def stored(name: str, tensor: torch.Tensor, bits: Bits) -> dict[str, torch.Tensor]:
    """Return a tensor of weights as it is stored, by name.

    Args:
        name: Of the tensor.
        tensor: Of any shape. Vectors and scalars, of which there are few, take at least 16 bits.
        bits: Of a number.
    """
    if bits == 8 and tensor.ndim > 1:
        whole, scales = _grouped(tensor)
        return {name: whole, name + _SCALES: scales}
    return {name: tensor if bits == 32 else tensor.half()}


def restored(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors with those of eight bits as float32, and without their scales.

    Raises:
        ValueError: if there are not as many scales as groups.
    """
    found = {}
    for name, tensor in tensors.items():
        scales = tensors.get(name + _SCALES)
        if scales is not None:
            found[name] = _ungrouped(name, tensor, scales)
        elif not name.endswith(_SCALES):
            found[name] = tensor
    return found


def round_weights(network: Network, bits: Bits) -> Network:
    """Round the weights of a network in place, so that it does what it will do when it is read again."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(restored(stored("", parameter, bits))[""].float())
    return network


def _grouped(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return whole numbers from -127 to 127 in the shape of a tensor, and the scale of each group of its numbers."""
    groups = _groups(tensor.detach().float())
    scales = (groups.abs().amax(1) / _LARGEST).bfloat16()
    units = scales.float().clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    whole = (groups / units).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
    return whole.flatten()[: tensor.numel()].view(tensor.shape), scales


def _ungrouped(name: str, whole: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    if whole.dtype != torch.int8 or scales.shape != (-(-whole.numel() // _GROUP),):
        raise ValueError(f"the scales of the weights {name} do not fit them")
    numbers = _groups(whole.float()) * scales.float()[:, None]
    return numbers.flatten()[: whole.numel()].view(whole.shape)


def _groups(tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers of a tensor in rows of one group each, the last filled with zeros."""
    flat = tensor.flatten()
    return torch.cat([flat, flat.new_zeros(-len(flat) % _GROUP)]).view(-1, _GROUP)
