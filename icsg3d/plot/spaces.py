"""Latent space in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icsg3d.errors import InputError
from icsg3d.plot.axes import given_or_new
from icsg3d.plot.labels import label_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes


@dataclass(frozen=True)
class PrincipalPlane:
    """The plane along which points spread most.

    Attributes:
        centre: Mean of the points, shape (d,).
        directions: Its two directions as rows, orthonormal, shape (2, d).
        shares: Share of the variance along each, shape (2,).
    """

    centre: np.ndarray
    directions: np.ndarray
    shares: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the coordinates of points in the plane, shape (n, 2)."""
        return (np.atleast_2d(points) - self.centre) @ self.directions.T


def principal_plane(points: np.ndarray) -> PrincipalPlane:
    """Return the plane of the first two principal components of points.

    Args:
        points: Shape (n, d).

    Raises:
        InputError: if there are fewer than three points or two dimensions.
    """
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or len(points) < 3 or points.shape[1] < 2:
        msg = f"a plane needs three points of two dimensions at least, got an array of shape {points.shape}"
        raise InputError(msg)
    centre = points.mean(0)
    _, singular, directions = np.linalg.svd(points - centre, full_matrices=False)
    variances = singular**2
    return PrincipalPlane(centre, directions[:2], variances[:2] / max(variances.sum(), 1e-300))


def latent_map(
    latent: np.ndarray,
    reference: np.ndarray,
    axes: Axes | None = None,
    *,
    base: np.ndarray | None = None,
    reference_name: str = "training crystals",
    labels: Sequence[str] = (),
) -> Axes:
    """Draw candidates in the principal plane of a reference, such as the latent vectors of training crystals.

    Args:
        latent: Of the candidates, shape (n, d).
        reference: Spans the plane, shape (m, d).
        axes: Where; new ones if None.
        base: Of the crystal they were drawn around, shape (1, d).
        reference_name: What the reference is.
        labels: Written beside the first candidates, where there is room.

    Raises:
        InputError: as :func:`principal_plane` does.
    """
    plane = principal_plane(reference)
    axes = given_or_new(axes)
    axes.plot(*plane.project(reference).T, ".", ms=3, alpha=0.5, color="C2", label=reference_name)
    points = plane.project(latent)
    axes.plot(*points.T, "o", ms=5, alpha=0.8, color="C0", label="candidates")
    if base is not None:
        axes.plot(*plane.project(base).T, "*", ms=14, color="C1", label="base")
    first, second = (f"component {k + 1} ({share:.0%} of the variance)" for k, share in enumerate(plane.shares))
    axes.set(xlabel=first, ylabel=second)
    axes.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    count = min(len(labels), len(points))
    label_points(axes, labels[:count], *points[:count].T)
    return axes
