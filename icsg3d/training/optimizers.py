"""Optimizers of the latent-grid networks, and their states as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from icsg3d.models.periodic import Mixing, PeriodicConv
from icsg3d.processors import has_bfloat16

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_ORTHOGONALISATION = 3
"""Iterations of Newton and Schulz in a step of Muon; its usual five cost a quarter of the whole step on a processor."""

_SMALLEST = 8
"""Matrices with a shorter side than this are left to AdamW."""

_LONGEST = 10.0
"""Longest gradient of all parameters together."""


class SinglePrecisionMuon(torch.optim.Muon):
    """Muon that multiplies in float32, with Nesterov's momentum and steps scaled as by ``match_rms_adamw``.

    The one of torch multiplies in bfloat16 on every processor. Without the units for it that takes seconds a step, more
    than the network itself.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step."""
        if closure is not None:
            raise NotImplementedError("a step takes no closure; call backward before it")
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - group["momentum"])
                direction = matrix.grad.lerp(momentum, group["momentum"])
                size = 0.2 * max(matrix.shape) ** 0.5
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(orthogonalised(direction, group["ns_steps"]), alpha=-group["lr"] * size)
        return None


def orthogonalised(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    """Return a matrix with its singular vectors and singular values near 1.

    Source: Jordan et al. 2024, whose odd polynomial of degree five lifts small singular values fast.

    Args:
        matrix: Of any shape.
        steps: How often the polynomial is applied; three bring values above 0.03 of the norm to 0.6 to 1.3.
    """
    first, third, fifth = 3.4445, -4.775, 2.0315
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), wide, beta=first)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def matrix_optimizers(network: nn.Module, learning_rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Return Muon for convolutions and mixing layers inside of a network and AdamW for the rest.

    Muon (Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982) takes steps of equal size along all directions of a
    matrix; scaled as here, one learning rate serves both. What leads into a network and out of it is left to AdamW: in
    a layer of classes, steps of equal size would move classes that a batch does not have as far as those that it has.
    """
    layers = [part for part in network.modules() if isinstance(part, PeriodicConv | Mixing)]
    inner = {id(layer.weight) for layer in layers if min(layer.weight.shape) >= _SMALLEST}
    matrices = [p for p in network.parameters() if id(p) in inner]
    others = [p for p in network.parameters() if id(p) not in inner]
    muon = torch.optim.Muon if has_bfloat16(next(network.parameters()).device.type) else SinglePrecisionMuon
    return [
        muon(
            matrices,
            learning_rate,
            weight_decay=weight_decay,
            ns_steps=_ORTHOGONALISATION,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(others, learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay),
    ]


def take_step(optimizers: Sequence[torch.optim.Optimizer], loss: torch.Tensor, rate: float) -> None:
    """Take a step down the gradient of a loss with a learning rate, gradients bounded."""
    for each in optimizers:
        each.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for each in optimizers for group in each.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, _LONGEST)
    for each in optimizers:
        for group in each.param_groups:
            group["lr"] = rate
        each.step()


def state_tensors(
    networks: Mapping[str, nn.Module], optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, torch.Tensor]:
    """Return all that a training needs to continue, as named tensors: weights and the states of the optimizers."""
    tensors = {f"{name}.{key}": t for name, network in networks.items() for key, t in network.state_dict().items()}
    for number, each in enumerate(optimizers):
        for index, state in each.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{number}.{index}.{name}"] = torch.as_tensor(value)
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def load_state_tensors(
    networks: Mapping[str, nn.Module],
    optimizers: Sequence[torch.optim.Optimizer],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Take up what :func:`state_tensors` gave."""
    for name, network in networks.items():
        own = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
        network.load_state_dict(own, strict=True)
    for number, each in enumerate(optimizers):
        states: dict[int, dict[str, Any]] = {}
        for key, tensor in tensors.items():
            kind, *place = key.split(".")
            if kind == "optimizer" and int(place[0]) == number:
                states.setdefault(int(place[1]), {})[place[2]] = tensor
        each.load_state_dict({"state": states, "param_groups": each.state_dict()["param_groups"]})
