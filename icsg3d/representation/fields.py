"""Fields of atoms on the grid of any cell: crystals to what the latent-grid networks take, and what they should give.

A cell's grid has a multiple of four points along each axis, about half an angstrom apart. Crystals of one grid shape
make a batch. Fields are drawn by scattering from each atom onto the points around it, so every periodic image is right
by itself, and the cost grows with the number of atoms, not with atoms times points. Grids are channels last:
(B, X, Y, Z, C).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    import numpy as np

    from icsg3d.crystals.arrays import CrystalBatch

GridShape = tuple[int, int, int]
"""Points of a grid along the three axes."""


@dataclass(frozen=True)
class FieldConfig:
    """How crystals become fields.

    Attributes:
        spacing: Distance aimed at between grid points, in angstrom.
        block: Points along the edge of a block; a grid has a whole number of blocks along each axis.
        sigma: Standard deviation of an atom's Gaussian, in angstrom.
        reach: Distance beyond which an atom's Gaussian is not drawn, in angstrom.
    """

    spacing: float = 0.5
    block: int = 4
    sigma: float = 0.45
    reach: float = 1.3

    def shape(self, lattice: np.ndarray | torch.Tensor) -> GridShape:
        """Return the shape of the grid of a cell: along each axis the multiple of a block with the nearest spacing.

        Nearest on a logarithmic scale, so that a spacing is at most the square root of two off along an axis of one
        block or more.

        Args:
            lattice: Lattice vectors as rows, shape (3, 3), in angstrom.
        """
        lengths = [math.sqrt(sum(float(x) ** 2 for x in row)) for row in lattice]
        return tuple(self._points(length) for length in lengths)  # type: ignore[return-value]

    def _points(self, length: float) -> int:
        blocks = length / (self.spacing * self.block)
        below = max(1, math.floor(blocks))
        return self.block * (below if blocks * blocks <= below * (below + 1) else below + 1)

    def blocks(self, shape: GridShape) -> GridShape:
        """Return how many blocks a grid has along each axis."""
        return tuple(points // self.block for points in shape)  # type: ignore[return-value]


def steps(lattice: torch.Tensor, shape: GridShape) -> torch.Tensor:
    """Return the vectors from a grid point to the next along each axis, as rows, shape (B, 3, 3), in angstrom."""
    return lattice / torch.tensor(shape, dtype=lattice.dtype, device=lattice.device)[:, None]


def step_metric(lattice: torch.Tensor, shape: GridShape, spacing: float) -> torch.Tensor:
    """Return the metric of a voxel's step: logarithms of the three lengths over ``spacing`` and the three cosines.

    All that a network must know of a cell beside its grid's shape: turning the crystal changes nothing.

    Returns:
        ln |a|, ln |b|, ln |c|, cos(b, c), cos(a, c), cos(a, b), shape (B, 6).
    """
    vectors = steps(lattice, shape)
    lengths = vectors.norm(dim=-1)
    unit = vectors / lengths[..., None]
    cosines = torch.stack([(unit[:, i] * unit[:, j]).sum(-1) for i, j in ((1, 2), (0, 2), (0, 1))], dim=-1)
    return torch.cat([(lengths / spacing).log(), cosines], dim=-1)


class Pairs(NamedTuple):
    """Pairs of an atom and a grid point within reach of it, an entry for each periodic image.

    Attributes:
        crystal: Row of the crystal in the batch, shape (P,).
        atom: Column of the atom in the batch, shape (P,).
        point: Number of the grid point in the flattened batch of grids, shape (P,).
        offset: From the point to the atom, in steps of the grid, shape (P, 3).
        squared: Squared distance in square angstrom, shape (P,).
    """

    crystal: torch.Tensor
    atom: torch.Tensor
    point: torch.Tensor
    offset: torch.Tensor
    squared: torch.Tensor


def pairs_within(batch: CrystalBatch, shape: GridShape, reach: float) -> Pairs:
    """Return all pairs of atoms and grid points at most ``reach`` angstrom apart.

    Candidates are the points of a box around each atom, as wide as the flattest cell of the batch needs.
    """
    device = batch.numbers.device
    vectors = steps(batch.lattice, shape)
    heights = 1 / torch.linalg.inv(vectors).norm(dim=1)
    widths = (reach / heights.amin(0)).ceil().int().tolist()
    box = torch.cartesian_prod(*[torch.arange(-width, width + 1, device=device) for width in widths])
    crystal, atom = batch.mask.nonzero(as_tuple=True)
    points = torch.tensor(shape, device=device)
    position = batch.frac_coords[crystal, atom] * points
    nearest = position.round()
    offset = (position - nearest)[:, None] - box
    cartesian = torch.einsum("nsi,nij->nsj", offset, vectors[crystal])
    squared = cartesian.square().sum(-1)
    row, place = (squared <= reach * reach).nonzero(as_tuple=True)
    index = (nearest.long()[row] + box[place]) % points
    flat = (index[:, 0] * shape[1] + index[:, 1]) * shape[2] + index[:, 2]
    flat = flat + crystal[row] * math.prod(shape)
    return Pairs(crystal[row], atom[row], flat, offset[row, place], squared[row, place])


def draw(batch: CrystalBatch, shape: GridShape, config: FieldConfig, features: torch.Tensor) -> torch.Tensor:
    """Return the sum of the atoms' Gaussians, each with its features, shape (B, X, Y, Z, C).

    Args:
        batch: Crystals whose grid has this shape.
        shape: Of the grid.
        config: Width and reach of the Gaussians.
        features: Of the atoms, shape (B, N, C); gradients pass through them.
    """
    pairs = pairs_within(batch, shape, config.reach)
    height = torch.exp(pairs.squared / (-2 * config.sigma**2))
    grid = features.new_zeros(len(batch) * math.prod(shape), features.shape[-1])
    grid = grid.index_add(0, pairs.point, features[pairs.crystal, pairs.atom] * height[:, None].to(features.dtype))
    return grid.view(len(batch), *shape, -1)


class Targets(NamedTuple):
    """What a decoder should give at grid points.

    Attributes:
        height: Gaussian of the nearest atom, 1 at it, 0 where none is within reach; shape (B * points,).
        point: Numbers of the grid points within reach of an atom, shape (Q,), ascending.
        offset: From each of these points to its nearest atom, in steps of the grid, shape (Q, 3).
        number: Atomic number of that atom, shape (Q,).
        crystal: Row of its crystal in the batch, shape (Q,).
    """

    height: torch.Tensor
    point: torch.Tensor
    offset: torch.Tensor
    number: torch.Tensor
    crystal: torch.Tensor


def nearest_atoms(batch: CrystalBatch, shape: GridShape, config: FieldConfig) -> Targets:
    """Return for each grid point where its nearest atom is, which element it is of, and how near it is."""
    pairs = pairs_within(batch, shape, config.reach)
    size = len(batch) * math.prod(shape)
    # Positive floats sort as their bits do: distance and pair travel in one integer, of which the least is kept.
    order = torch.arange(len(pairs.point), device=pairs.point.device)
    key = (pairs.squared.float().view(torch.int32).long() << 32) | order
    none = torch.iinfo(torch.int64).max
    least = torch.full((size,), none, device=key.device).scatter_reduce(0, pairs.point, key, "amin")
    point = (least != none).nonzero()[:, 0]
    chosen = least[point] & 0xFFFFFFFF
    height = torch.zeros(size, dtype=pairs.squared.dtype, device=key.device)
    height[point] = torch.exp(pairs.squared[chosen] / (-2 * config.sigma**2))
    crystal = pairs.crystal[chosen]
    return Targets(height, point, pairs.offset[chosen], batch.numbers[crystal, pairs.atom[chosen]], crystal)
