"""Noise of species maps that networks draw: specks, holes, and atoms in fragments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from icsg3d.crystals import elements
from icsg3d.representation.segmentation.components import Regions, label_regions

if TYPE_CHECKING:
    from icsg3d.representation.segmentation.parameters import SegmentationParameters
    from icsg3d.representation.voxels import VoxelConfig

_NEIGHBOURS = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])


def ball_voxels(regions: Regions, species: np.ndarray, config: VoxelConfig, cells: np.ndarray | None) -> np.ndarray:
    """Return the voxels of a free ball of each region's smallest species, 0 without lattices, shape (R,)."""
    if cells is None or len(regions) == 0:
        return np.zeros(len(regions))
    radii = _radii(species.reshape(-1)[regions.flat], config)
    balls = 4 / 3 * np.pi * np.minimum.reduceat(radii, regions.starts) ** 3
    spacing = config.axis()[1] - config.axis()[0]
    return balls / (np.abs(np.linalg.det(cells)) * spacing**3)[regions.crystals(species)]


def clean_map(
    species: np.ndarray, config: VoxelConfig, cells: np.ndarray | None, params: SegmentationParameters
) -> np.ndarray:
    """Return species maps without specks and holes.

    A speck takes what most of its neighbours have, so that inside an atom it leaves no hole, which erosion
    would widen until the atom falls apart.

    Args:
        species: Species maps, shape (B, G, G, G).
        config: The grid.
        cells: Lattices in angstrom, shape (B, 3, 3), if known.
        params: What is a speck and what is a hole.
    """
    regions = label_regions(species, periodic=config.periodic)
    least = np.maximum(params.min_fill * ball_voxels(regions, species, config, cells), params.min_size)
    small = regions.sizes < least
    labels = np.zeros(species.shape, dtype=np.int64)
    labels.reshape(-1)[regions.flat] = np.where(small, -1, np.arange(1, len(regions) + 1))[regions.region]
    _replace(labels, labels < 0, 1, config)
    if params.hole_neighbours <= len(_NEIGHBOURS):
        surrounded = np.zeros(species.shape, dtype=np.int8)
        for axis in (1, 2, 3):
            for step in (1, -1):
                surrounded += np.roll(labels > 0, step, axis)
        _replace(labels, (labels == 0) & (surrounded >= params.hole_neighbours), params.hole_neighbours, config)
    return np.append(0, species.reshape(-1)[regions.flat[regions.starts]])[labels]


def _replace(labels: np.ndarray, chosen: np.ndarray, least: int, config: VoxelConfig) -> None:
    """Give chosen voxels, in place, the label of most of their neighbours; 0 where fewer than ``least`` share it."""
    flat = np.flatnonzero(chosen)
    if len(flat):
        labels.reshape(-1)[flat] = _most_frequent(_around(labels, flat, config), least)


def merge_fragments(
    regions: Regions, species: np.ndarray, config: VoxelConfig, cells: np.ndarray, distance: float
) -> Regions:
    """Join regions that lie nearer to each other than two atoms can.

    Args:
        regions: Regions of one atom or less.
        species: Species maps, shape (B, G, G, G).
        config: The grid.
        cells: Lattices in angstrom, shape (B, 3, 3).
        distance: In radii of the larger of two atoms.
    """
    crystal, frac = regions.crystals(species), regions.fractional(config)
    radii = _radii(regions.majority(species), config)
    first, second = _pairs(crystal)
    between = frac[second] - frac[first]
    images = np.round(between) if config.periodic else np.zeros_like(between)
    lengths = np.linalg.norm(np.einsum("pi,pij->pj", between - images, cells[crystal[first]]), axis=1)
    near = lengths < distance * np.maximum(radii[first], radii[second])
    if not near.any():
        return regions
    links = csr_matrix((np.ones(near.sum()), (first[near], second[near])), shape=(len(regions),) * 2)
    group = connected_components(links, directed=False)[1]
    # Voxels follow their region into the image next to the first of the group.
    leader = np.full(len(regions), len(regions))
    np.minimum.at(leader, group, np.arange(len(regions)))
    moved = frac - frac[leader[group]]
    shift = np.round(moved).astype(int) if config.periodic else np.zeros(moved.shape, dtype=int)
    return regions.relabelled(group[regions.region], regions.coords - (shift * config.grid)[regions.region])


def _radii(numbers: np.ndarray, config: VoxelConfig) -> np.ndarray:
    return np.maximum(elements.ionic_radii()[numbers], config.min_radius)


def _around(maps: np.ndarray, flat: np.ndarray, config: VoxelConfig) -> np.ndarray:
    """Return the values of the six neighbours of voxels, 0 beyond the border of a box, shape (V, 6)."""
    crystal, *place = np.unravel_index(flat, maps.shape)
    places = np.stack(place, axis=1)[:, None] + _NEIGHBOURS
    wrapped = places % config.grid
    values = maps[crystal[:, None], wrapped[..., 0], wrapped[..., 1], wrapped[..., 2]]
    if not config.periodic:
        values[(places != wrapped).any(axis=2)] = 0
    return values


def _most_frequent(values: np.ndarray, least: int) -> np.ndarray:
    """Return the most frequent value of each row of shape (V, 6), 0 if it occurs less often than ``least``.

    Negative values do not count; of equally frequent values an atom goes before the background.
    """
    counts = (values[:, :, None] == values[:, None, :]).sum(axis=2) * (values >= 0)
    best = (2 * counts + (values > 0)).argmax(axis=1)[:, None]
    enough = np.take_along_axis(counts, best, axis=1) >= least
    return np.where(enough, np.take_along_axis(values, best, axis=1), 0)[:, 0]


def _pairs(crystal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of regions of the same grid; ``crystal`` need not be sorted."""
    order = np.argsort(crystal, kind="stable")
    ends = np.searchsorted(crystal[order], crystal[order], side="right")
    counts = ends - np.arange(len(order)) - 1
    first = np.repeat(np.arange(len(order)), counts)
    second = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts) + first + 1
    return order[first], order[second]
