"""Density of the training crystals in latent space: a flow, and the covariance of all crystals together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.errors import InputError
from icsg3d.models.flow import FlowConfig, LatentFlow

if TYPE_CHECKING:
    from collections.abc import Mapping

_BATCH = 256
"""Draws that go through the flow at once. It is always exactly this many, as the last bits depend on the number."""


@dataclass(frozen=True)
class LatentDensity:
    """Where the training crystals lie in latent space.

    Attributes:
        flow: From normal noise to latent vectors.
        shares: Share of the training crystals in each bin of the condition, shape (bins,). The flow has one bin more,
            for recombined crystals, which is never drawn from.
        covariance_root: Lower triangular root of the covariance of all crystals, shape (latent, latent).
    """

    flow: LatentFlow
    shares: np.ndarray
    covariance_root: np.ndarray

    @classmethod
    def of(cls, flow: LatentFlow, latent: np.ndarray, bins: np.ndarray) -> LatentDensity:
        """Return the density of crystals to which a flow was fitted.

        Args:
            flow: Fitted to them.
            latent: Their latent means, shape (n, latent).
            bins: Condition bin of each, shape (n,), negative where unknown.
        """
        covariance = np.cov(latent, rowvar=False) + 1e-6 * np.eye(latent.shape[1])
        shares = np.bincount(bins[bins >= 0], minlength=flow.config.bins - 1) / len(bins)
        return cls(flow, shares, np.linalg.cholesky(covariance))

    def scale(self) -> np.ndarray:
        """Standard deviation of the training crystals along each dimension, shape (latent,)."""
        return np.linalg.norm(self.covariance_root, axis=1)

    def sample(self, n: int, condition: int, seed: int, guidance: float = 1.0, temperature: float = 1.0) -> np.ndarray:
        """Draw latent vectors.

        Args:
            n: Number of draws; the first of them do not depend on it.
            condition: Bin, negative for any.
            seed: Of the draws.
            guidance: How many times the difference that the condition makes is counted, where one is asked for.
            temperature: Standard deviation of the noise, where a condition is asked for.

        Returns:
            Shape (n, latent).

        Raises:
            InputError: if no training crystal was in the bin.
        """
        if condition >= 0 and self.shares[condition] <= 0:
            msg = f"no training crystal has an energy in bin {condition}; ask for another"
            raise InputError(msg)
        components = self.flow.config.components
        noise = np.array([random.standard_normal(components) for random in _generators(n, seed)])
        if condition >= 0:
            noise *= temperature
        bins = torch.full((_BATCH,), condition)
        parts = []
        for start in range(0, n, _BATCH):
            part = noise[start : start + _BATCH]
            padded = torch.zeros(_BATCH, components)
            padded[: len(part)] = torch.as_tensor(part)
            parts.append(self.flow.sample(padded, bins, guidance=guidance)[: len(part)].double().numpy())
        return np.concatenate(parts)

    def steps(self, n: int, seed: int) -> np.ndarray:
        """Draw steps with the covariance of the training crystals, shape (n, latent)."""
        size = len(self.covariance_root)
        return np.array([self.covariance_root @ random.standard_normal(size) for random in _generators(n, seed)])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the density as tensors for a weights file, the flow in 16 bits."""
        arrays = {"shares": self.shares, "covariance_root": self.covariance_root}
        own = {f"density.{name}": torch.as_tensor(value, dtype=torch.float32) for name, value in arrays.items()}
        learned = {name for name, _ in self.flow.named_parameters()}
        return own | {
            f"density.flow.{name}": tensor.half() if name in learned else tensor
            for name, tensor in self.flow.state_dict().items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> LatentDensity:
        """Return what :meth:`tensors` gave.

        Raises:
            InputError: if a tensor is missing or does not fit the others.
        """
        try:
            state = {n.removeprefix("density.flow."): t for n, t in tensors.items() if n.startswith("density.flow.")}
            blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
            components, latent = state["basis"].shape
            width, bins = state["first.bias"].shape[0], state["condition.weight"].shape[1]
            flow = LatentFlow(FlowConfig(latent, components, width, len(blocks), bins))
            flow.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True)
            shares = tensors["density.shares"].double().reshape(bins - 1).numpy()
            root = tensors["density.covariance_root"].double().reshape(latent, latent).numpy()
        except (KeyError, RuntimeError, ValueError, IndexError) as error:
            msg = f"the weights hold no latent density ({error}); train or copy the model again"
            raise InputError(msg) from error
        return cls(flow.eval(), shares, root)


def _generators(n: int, seed: int) -> list[np.random.Generator]:
    """Return a source of randomness for each draw, so that a draw depends on its number and the seed alone.

    Raises:
        InputError: if the seed is negative.
    """
    if seed < 0:
        msg = f"a seed is a whole number of 0 or more, got {seed}"
        raise InputError(msg)
    return [np.random.default_rng((seed, index)) for index in range(n)]
