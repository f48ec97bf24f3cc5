"""Connected components of labelled grids, in a box or on a torus, for a whole batch at once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from icsg3d.crystals.elements import N_CLASSES

if TYPE_CHECKING:
    from icsg3d.representation.voxels import VoxelConfig


@dataclass(frozen=True)
class Regions:
    """Voxels of a batch of grids, each in one region.

    Attributes:
        flat: Index of each voxel in the flattened batch of grids, shape (V,).
        region: Region of each voxel, from 0 to R - 1, ascending, shape (V,).
        coords: Grid coordinates of each voxel, shape (V, 3), integers. On a torus they are unwrapped: the
            region hangs together without a seam and may lie partly outside 0 to G - 1.
        spans: Whether a region occupies every layer of the grid along some axis of a torus and so cannot be
            unwrapped, shape (R,).
    """

    flat: np.ndarray
    region: np.ndarray
    coords: np.ndarray
    spans: np.ndarray

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.spans)

    @property
    def sizes(self) -> np.ndarray:
        """Voxels of each region, shape (R,)."""
        return np.bincount(self.region, minlength=len(self))

    @property
    def starts(self) -> np.ndarray:
        """First voxel of each region, shape (R,)."""
        return np.searchsorted(self.region, np.arange(len(self)))

    def centroids(self) -> np.ndarray:
        """Return the mean of the unwrapped coordinates of each region, shape (R, 3), in grid spacings."""
        sums = [np.bincount(self.region, self.coords[:, axis], len(self)) for axis in range(3)]
        return np.stack(sums, axis=1) / np.maximum(self.sizes, 1)[:, None]

    def fractional(self, config: VoxelConfig) -> np.ndarray:
        """Return the centroids in fractional coordinates of the cell, shape (R, 3)."""
        axis = config.axis()
        return axis[0] + self.centroids() * (axis[1] - axis[0])

    def crystals(self, species: np.ndarray) -> np.ndarray:
        """Return the grid of the batch, of shape (B, G, G, G), that each region lies in, shape (R,)."""
        return self.flat[self.starts] // species[0].size

    def majority(self, species: np.ndarray) -> np.ndarray:
        """Return the most frequent species of each region, shape (R,), from maps of shape (B, G, G, G)."""
        votes = np.bincount(self.region * N_CLASSES + species.reshape(-1)[self.flat], minlength=len(self) * N_CLASSES)
        return votes.reshape(len(self), N_CLASSES).argmax(axis=1)

    def relabelled(self, region: np.ndarray, coords: np.ndarray | None = None) -> Regions:
        """Return the voxels in other regions, none of which spans; voxels with a negative label are left out.

        Args:
            region: New label of each voxel, shape (V,), any integers.
            coords: New unwrapped coordinates, shape (V, 3); by default they stay.
        """
        coords = self.coords if coords is None else coords
        order = np.argsort(region, kind="stable")
        order = order[np.searchsorted(region[order], 0) :]
        values, labels = np.unique(region[order], return_inverse=True)
        return Regions(self.flat[order], labels, coords[order], np.zeros(len(values), dtype=bool))

    def take(self, keep: np.ndarray) -> Regions:
        """Return the regions of a boolean mask, shape (R,)."""
        kept = keep[self.region]
        label = np.cumsum(keep) - 1
        chosen = dataclasses.replace(self, spans=self.spans[keep])
        return dataclasses.replace(
            chosen, flat=self.flat[kept], region=label[self.region[kept]], coords=self.coords[kept]
        )


def label_regions(keys: np.ndarray, *, periodic: bool) -> Regions:
    """Return the connected components of equal, non-zero keys; voxels are neighbours if they share a face.

    Args:
        keys: Integers, 0 for background, shape (B, G, G, G).
        periodic: Whether the opposite faces of a grid are neighbours.
    """
    flat = np.flatnonzero(keys)
    position = np.full(keys.size, -1, dtype=np.int32)
    position[flat] = np.arange(len(flat), dtype=np.int32)
    rows, columns = _edges(keys, position.reshape(keys.shape), periodic=periodic)
    links = csr_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(len(flat), len(flat)))
    count, region = connected_components(links, directed=False)
    order = np.argsort(region, kind="stable")
    flat, region = flat[order], region[order]
    coords = np.stack(np.unravel_index(flat, keys.shape)[1:], axis=1)
    spans = np.zeros(count, dtype=bool)
    if periodic:
        coords, spans = _unwrap(coords, region, count, keys.shape[-1])
    return Regions(flat, region, coords, spans)


def _edges(keys: np.ndarray, position: np.ndarray, *, periodic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of neighbouring voxels with equal keys as positions among the foreground voxels."""
    rows, columns = [], []
    for axis in (1, 2, 3):
        ahead, ahead_position = np.roll(keys, -1, axis), np.roll(position, -1, axis)
        linked = (keys == ahead) & (keys != 0)
        if not periodic:
            linked[(slice(None),) * axis + (-1,)] = False
        rows.append(position[linked])
        columns.append(ahead_position[linked])
    return np.concatenate(rows), np.concatenate(columns)


def _unwrap(coords: np.ndarray, region: np.ndarray, count: int, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Shift voxels by whole grids so that no region with a free layer along each axis crosses the seam.

    The layers that a connected region occupies along an axis are one interval on a circle; it is counted from
    its beginning.
    """
    occupied = np.zeros((count, 3, grid), dtype=bool)
    occupied[region[:, None], np.arange(3), coords] = True
    full = occupied.all(axis=-1)
    begin = (occupied & ~np.roll(occupied, 1, axis=-1)).argmax(axis=-1)[region]
    return (coords - begin) % grid + begin, np.asarray(full.any(axis=-1))
