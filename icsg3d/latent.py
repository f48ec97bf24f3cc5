"""Density of the training crystals in latent space: a Gaussian mixture, with a weight per condition bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.mixture import GaussianMixture

from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class LatentDensity:
    """Mixture of K Gaussians with diagonal covariances, and the covariance of all training crystals together.

    Attributes:
        means: Shape (K, latent).
        scales: Standard deviations, shape (K, latent).
        weights: Share of each Gaussian among the crystals of each condition bin and, in the last row, among all;
            shape (bins + 1, K).
        covariance_root: Lower triangular root of the covariance of all crystals, shape (latent, latent).
    """

    means: np.ndarray
    scales: np.ndarray
    weights: np.ndarray
    covariance_root: np.ndarray

    @classmethod
    def fit(
        cls, latent: np.ndarray, bins: np.ndarray, n_bins: int, components: int = 128, seed: int = 0
    ) -> LatentDensity:
        """Fit the density of latent means.

        Args:
            latent: Shape (n, latent).
            bins: Condition bin of each crystal, shape (n,), negative where unknown.
            n_bins: Number of bins.
            components: Number of Gaussians, at most a tenth of the crystals.
            seed: Of the fit.
        """
        count = max(1, min(components, len(latent) // 10))
        mixture = GaussianMixture(count, covariance_type="diag", random_state=seed, reg_covar=1e-4).fit(latent)
        shares = mixture.predict_proba(latent)
        weights = [shares[bins == b].mean(0) if (bins == b).any() else np.zeros(count) for b in range(n_bins)]
        covariance = np.cov(latent, rowvar=False) + 1e-6 * np.eye(latent.shape[1])
        return cls(
            mixture.means_,
            np.sqrt(mixture.covariances_),
            np.stack([*weights, mixture.weights_]),
            np.linalg.cholesky(covariance),
        )

    def scale(self) -> np.ndarray:
        """Standard deviation of the training crystals along each dimension, shape (latent,)."""
        return np.linalg.norm(self.covariance_root, axis=1)

    def sample(self, n: int, condition: int, seed: int) -> np.ndarray:
        """Draw latent vectors.

        Args:
            n: Number of draws; the first of them do not depend on it.
            condition: Bin, negative for any.
            seed: Of the draws.

        Returns:
            Shape (n, latent).

        Raises:
            InputError: if no training crystal was in the bin.
        """
        weights = self.weights[condition if condition >= 0 else -1]
        if weights.sum() <= 0:
            msg = f"no training crystal has a formation energy in bin {condition}; ask for another energy"
            raise InputError(msg)
        cumulative = np.cumsum(weights / weights.sum())
        rows = []
        for random in _generators(n, seed):
            component = min(int(np.searchsorted(cumulative, random.random(), side="right")), len(weights) - 1)
            rows.append(self.means[component] + self.scales[component] * random.standard_normal(self.means.shape[1]))
        return np.array(rows)

    def steps(self, n: int, seed: int) -> np.ndarray:
        """Draw steps with the covariance of the training crystals, shape (n, latent)."""
        size = len(self.covariance_root)
        return np.array([self.covariance_root @ random.standard_normal(size) for random in _generators(n, seed)])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the density as tensors for a weights file."""
        return {f"density.{name}": torch.as_tensor(value, dtype=torch.float32) for name, value in vars(self).items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> LatentDensity:
        """Return what :meth:`tensors` gave.

        Raises:
            InputError: if a tensor is missing.
        """
        try:
            values = {name: tensors[f"density.{name}"].double().numpy() for name in cls.__annotations__}
        except KeyError as error:
            msg = f"the weights lack {error}; train or copy the model again"
            raise InputError(msg) from error
        return cls(**values)


def _generators(n: int, seed: int) -> list[np.random.Generator]:
    """Return a source of randomness for each draw, so that a draw depends on its number and the seed alone."""
    return [np.random.default_rng((seed, index)) for index in range(n)]
