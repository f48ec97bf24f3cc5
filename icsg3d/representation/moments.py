"""Radial functions and spherical harmonics of the vectors that join atoms, differentiable in the vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from icsg3d.errors import InputError

_NEAREST_CENTRE = 0.9
_FARTHEST_CENTRE = 0.87
"""Radial functions stand from 0.9 angstrom to this share of the cutoff."""

_HIGHEST_DEGREE = 4
"""Sites of cubic symmetry have no moments of degree 1 to 3; those of degree 4 tell bcc from fcc."""


@dataclass(frozen=True)
class EnvironmentConfig:
    """How an environment is described.

    Attributes:
        cutoff: Distance at which the envelope is zero, in angstrom.
        radial: Radial functions: Gaussians of the logarithm of the distance.
        degree: Highest degree of the spherical harmonics, 0 to 4.
    """

    cutoff: float = 6.0
    radial: int = 8
    degree: int = _HIGHEST_DEGREE

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "cutoff": (2, 20),
        "radial": (2, 256),
        "degree": (0, _HIGHEST_DEGREE),
    }

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: if one is out of range.
        """
        if not 2.0 <= self.cutoff <= 20.0 or self.radial < 2 or not 0 <= self.degree <= _HIGHEST_DEGREE:
            msg = (
                "environments need a cutoff of 2 to 20 angstrom, two radial functions, a degree of 0 to "
                f"{_HIGHEST_DEGREE}, got {self}"
            )
            raise InputError(msg)

    @property
    def harmonics(self) -> int:
        """Number of spherical harmonics."""
        return (self.degree + 1) ** 2


def radial_functions(distances: torch.Tensor, config: EnvironmentConfig) -> torch.Tensor:
    """Return Gaussians of the logarithm of the distance times the envelope (1 - (r/cutoff)^2)^3, shape (E, radial)."""
    steps = np.linspace(np.log(_NEAREST_CENTRE), np.log(_FARTHEST_CENTRE * config.cutoff), config.radial)
    width = 0.8 * (steps[1] - steps[0])
    inside = (1.0 - (distances / config.cutoff) ** 2).clamp(min=0.0) ** 3
    logs = distances.log()[:, None] - torch.as_tensor(steps, dtype=distances.dtype)
    return inside[:, None] * torch.exp(-0.5 * (logs / width) ** 2)


def spherical_harmonics(unit: torch.Tensor, degree: int) -> torch.Tensor:
    """Return real spherical harmonics up to a degree, scaled so that the squares of each degree add up to 1.

    Args:
        unit: Unit vectors, shape (E, 3).
        degree: Highest degree, up to 4.

    Returns:
        Shape (E, (degree + 1)^2).
    """
    x, y, z = unit.T
    parts = [torch.ones_like(x)]
    if degree > 0:
        parts += [x, y, z]
    if degree > 1:
        root = math.sqrt(3.0)
        parts += [root * x * y, root * y * z, 1.5 * z * z - 0.5, root * x * z, root / 2 * (x * x - y * y)]
    if degree > 2:
        a, b, c = math.sqrt(5.0 / 8.0), math.sqrt(15.0), math.sqrt(3.0 / 8.0)
        parts += [
            a * y * (3 * x * x - y * y),
            b * x * y * z,
            c * y * (5 * z * z - 1),
            0.5 * z * (5 * z * z - 3),
            c * x * (5 * z * z - 1),
            b / 2 * z * (x * x - y * y),
            a * x * (x * x - 3 * y * y),
        ]
    if degree > 3:
        a, b, c, d = math.sqrt(35.0) / 2, math.sqrt(35.0 / 8.0), math.sqrt(5.0) / 2, math.sqrt(5.0 / 8.0)
        parts += [
            a * x * y * (x * x - y * y),
            b * y * z * (3 * x * x - y * y),
            c * x * y * (7 * z * z - 1),
            d * y * z * (7 * z * z - 3),
            (35 * z**4 - 30 * z * z + 3) / 8,
            d * x * z * (7 * z * z - 3),
            c / 2 * (x * x - y * y) * (7 * z * z - 1),
            b * x * z * (x * x - 3 * y * y),
            a / 4 * (x * x * (x * x - 3 * y * y) - y * y * (3 * x * x - y * y)),
        ]
    return torch.stack(parts, dim=1)


def pair_moments(vectors: torch.Tensor, config: EnvironmentConfig) -> torch.Tensor:
    """Return what each vector adds to the moment of its pair, shape (E, harmonics, radial), float32.

    Args:
        vectors: From an atom to an image of another one, in angstrom, shape (E, 3).
        config: How an environment is described.
    """
    distances = vectors.norm(dim=1)
    radial = radial_functions(distances, config).float()
    harmonics = spherical_harmonics(vectors / distances[:, None], config.degree).float()
    return harmonics[:, :, None] * radial[:, None, :]
