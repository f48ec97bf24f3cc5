"""Density of the training crystals in latent space: a flow, and the covariance of all crystals together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.arguments import whole_number
from icsg3d.errors import InputError
from icsg3d.models.compact_weights import restored, stored
from icsg3d.models.flow import FlowConfig, LatentFlow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from icsg3d.models.compact_weights import Bits

SCALE = 0.65
"""Noise level of neighbours at which most differ from the base and keep its anonymous formula (docs/generator.md)."""

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

    def sample(
        self, n: int, condition: int, seed: int, guidance: float = 1.0, temperature: float = 1.0, first: int = 0
    ) -> np.ndarray:
        """Draw latent vectors.

        Args:
            n: Number of draws; the first of them do not depend on it.
            condition: Bin, negative for any.
            seed: Of the draws.
            guidance: How many times the difference that the condition makes is counted, where one is asked for.
            temperature: Standard deviation of the noise, where a condition is asked for.
            first: Number of the first draw.

        Returns:
            Shape (n, latent).

        Raises:
            InputError: if no training crystal was in the bin.
        """
        if condition >= 0 and self.shares[condition] <= 0:
            msg = f"no training crystal has an energy in bin {condition}; ask for another"
            raise InputError(msg)
        noise = self._noise(n, (seed,), first)
        if condition >= 0:
            noise *= temperature
        return self._carried(noise, condition, guidance, 0.0)

    def around(self, origin: np.ndarray, n: int, level: float, *seeds: int, first: int = 0) -> np.ndarray:
        """Draw neighbours of a latent vector: it is mixed with noise, and the flow carries the mixture on from there.

        At level 0 they are the vector itself, at level 1 free draws. So neighbours stay where crystals are.

        Args:
            origin: The vector, shape (latent,).
            n: Number of draws; the first of them do not depend on it.
            level: Share of noise in the mixture, 0 to 1.
            seeds: Whole numbers of 0 or more; the same ones give the same noise.
            first: Number of the first draw.

        Returns:
            Shape (n, latent).

        Raises:
            InputError: if a seed is negative or the level is not between 0 and 1.
        """
        if not 0 <= level <= 1:
            msg = f"the noise level is a number from 0 to 1, got {level}"
            raise InputError(msg)
        vector = torch.as_tensor(origin, dtype=torch.float32)[None]
        inside = self.flow.components(vector)
        # What the components do not hold stays with the vector's own share.
        outside = (vector - self.flow.mean - inside @ self.flow.basis).double().numpy()
        mixed = level * self._noise(n, seeds, first) + (1 - level) * inside.double().numpy()
        return self._carried(mixed, -1, 1.0, 1 - level) + (1 - level) * outside

    def path(self, first: np.ndarray, last: np.ndarray, steps: int) -> np.ndarray:
        """Return points from one latent vector to another, on an arc in the noise of the flow and carried along it.

        Both ends are exact: by how much the flow misses them on its way back is added in proportion.

        Args:
            first: Shape (latent,).
            last: Shape (latent,).
            steps: Number of points with both ends.

        Returns:
            Shape (steps, latent).
        """
        ends = torch.as_tensor(np.stack([first, last]), dtype=torch.float32)
        noise = self.flow.noise(ends).double().numpy()
        missed = np.stack([first, last]) - self._carried(noise, -1, 1.0, 0.0)
        shares = np.linspace(0, 1, steps)[:, None]
        carried = self._carried(arc(noise[0], noise[1], shares), -1, 1.0, 0.0)
        return carried + (1 - shares) * missed[0] + shares * missed[1]

    def white(self, latent: np.ndarray) -> np.ndarray:
        """Return coordinates in which the training crystals have unit covariance, (n, components), of (n, latent)."""
        return self.flow.components(torch.as_tensor(latent, dtype=torch.float32)).double().numpy()

    def coloured(self, white: np.ndarray) -> np.ndarray:
        """Return latent vectors, (n, latent), of coordinates, (n, components); the inverse of :meth:`white`."""
        return self.flow.mean.double().numpy() + white @ self.flow.basis.double().numpy()

    def _noise(self, n: int, seeds: Sequence[int], first: int = 0) -> np.ndarray:
        """Return normal noise, shape (n, components), each row from the seeds and its number alone."""
        randoms = _generators(n, seeds, first)
        return np.array([random.standard_normal(self.flow.config.components) for random in randoms])

    def _carried(self, points: np.ndarray, condition: int, guidance: float, start: float) -> np.ndarray:
        """Return the latent vectors to which the flow carries points, shape (n, components), from a time on."""
        bins = torch.full((_BATCH,), condition)
        parts = []
        for first in range(0, len(points), _BATCH):
            part = points[first : first + _BATCH]
            padded = torch.zeros(_BATCH, self.flow.config.components)
            padded[: len(part)] = torch.as_tensor(part)
            carried = self.flow.sample(padded, bins, guidance=guidance, start=start)
            parts.append(carried[: len(part)].double().numpy())
        return np.concatenate(parts)

    def tensors(self, bits: Bits = 32) -> dict[str, torch.Tensor]:
        """Return the density as tensors for a weights file, the weights of the flow in so many bits."""
        arrays = {"shares": self.shares, "covariance_root": self.covariance_root}
        own = {f"density.{name}": torch.as_tensor(value, dtype=torch.float32) for name, value in arrays.items()}
        learned = {name for name, _ in self.flow.named_parameters()}
        for name, tensor in self.flow.state_dict().items():
            own |= stored(f"density.flow.{name}", tensor, bits if name in learned else 32)
        return own

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> LatentDensity:
        """Return what :meth:`tensors` gave.

        Raises:
            InputError: if a tensor is missing or does not fit the others.
        """
        try:
            tensors = restored(tensors)
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


def arc(first: np.ndarray, last: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return points on the arc between two vectors, whose length goes evenly from the one's to the other's.

    Normal noise of many dimensions lies near a sphere, which a straight line would leave (T. White 2016,
    arXiv:1609.04468).
    """
    lengths = np.linalg.norm(first), np.linalg.norm(last)
    units = first / max(lengths[0], 1e-12), last / max(lengths[1], 1e-12)
    angle = float(np.arccos(np.clip(units[0] @ units[1], -1, 1)))
    if angle < 1e-6 or np.pi - angle < 1e-6:
        return (1 - shares) * first + shares * last
    directions = (np.sin((1 - shares) * angle) * units[0] + np.sin(shares * angle) * units[1]) / np.sin(angle)
    return ((1 - shares) * lengths[0] + shares * lengths[1]) * directions


def _generators(n: int, seeds: Sequence[int], first: int) -> list[np.random.Generator]:
    """Return a source of randomness for each draw, so that a draw depends on its number and the seeds alone.

    Raises:
        InputError: if a seed is negative.
    """
    seeds = [whole_number(seed, "a seed") for seed in seeds]
    if min(seeds) < 0:
        msg = f"a seed is a whole number of 0 or more, got {min(seeds)}"
        raise InputError(msg)
    return [np.random.default_rng((*seeds, index)) for index in range(first, first + n)]
