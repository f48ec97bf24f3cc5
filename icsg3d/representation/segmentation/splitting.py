"""Regions that hold more than one atom, taken apart by erosion and watershed (Algorithm S1)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from icsg3d.representation.segmentation.components import Regions, label_regions
from icsg3d.representation.segmentation.convexity import convexity, is_convex

if TYPE_CHECKING:
    from icsg3d.representation.segmentation.parameters import SegmentationParameters

_UNIT_BALL = ndimage.generate_binary_structure(3, 1)


def split_regions(regions: Regions, least: np.ndarray, grid: int, params: SegmentationParameters) -> Regions:
    """Return regions of one atom each.

    Args:
        regions: Connected components.
        least: Voxels that a part of each region must have, shape (R,).
        grid: Points along each axis of the grid.
        params: Convexity, iterations and sizes.
    """
    suspect = regions.spans.copy()
    tested = ~suspect & (regions.sizes >= params.min_voxels)
    chosen = regions.take(tested)
    suspect[tested] = ~is_convex(chosen.coords, chosen.starts, params.min_convexity)
    if not suspect.any():
        return regions
    label, coords, used = regions.region.copy(), regions.coords.copy(), len(regions)
    starts, sizes = regions.starts, regions.sizes
    for row in np.flatnonzero(suspect):
        voxels = slice(starts[row], starts[row] + sizes[row])
        if regions.spans[row]:
            parts, coords[voxels] = _split_spanning(regions.coords[voxels], least[row], grid, params)
        else:
            parts = _split(regions.coords[voxels], least[row], params)
        label[voxels] = used + parts
        used += int(parts.max()) + 1
    return regions.relabelled(label, coords)


def _split(coords: np.ndarray, least: float, params: SegmentationParameters, iteration: int = 0) -> np.ndarray:
    """Split a region that is not convex.

    Eroding the foreground is dilating the background: what the unit ball leaves of the foreground holds the
    markers, and the rest is given to them by flooding the distance map. A binary image has no basins,
    flooding it would change nothing.

    Args:
        coords: Unwrapped grid coordinates, shape (V, 3).
        least: Voxels that a part must have.
        params: Convexity, iterations and sizes.
        iteration: Erosions so far.

    Returns:
        Part of each voxel, from 0, shape (V,).
    """
    whole = np.zeros(len(coords), dtype=int)
    low = coords.min(axis=0) - 1
    local = tuple((coords - low).T)
    foreground = np.zeros(coords.max(axis=0) - low + 2, dtype=bool)
    foreground[local] = True
    eroded = foreground
    for step in range(iteration + 1, params.max_iterations + 1):
        eroded = ndimage.binary_erosion(eroded, _UNIT_BALL)
        markers, count = ndimage.label(eroded, _UNIT_BALL)
        if count == 0 or (count == 1 and _is_atom(np.argwhere(eroded), params)):
            return whole
        if count > 1:
            parts = _flood(foreground, markers, least)[local]
            return whole if (parts == parts[0]).all() else _split_parts(coords, parts, least, params, step)
    return whole


def _is_atom(coords: np.ndarray, params: SegmentationParameters) -> bool:
    return len(coords) < params.min_voxels or convexity(coords) > params.min_convexity


def _split_parts(
    coords: np.ndarray, parts: np.ndarray, least: float, params: SegmentationParameters, step: int
) -> np.ndarray:
    """Split parts that are not convex further; returns the part of each voxel, from 0, shape (V,)."""
    result, used = np.zeros(len(coords), dtype=int), 0
    for part in np.unique(parts):
        own = parts == part
        further = np.zeros(int(own.sum()), dtype=int)
        if not _is_atom(coords[own], params):
            further = _split(coords[own], least, params, step)
        result[own] = used + further
        used += int(further.max()) + 1
    return result


def _flood(foreground: np.ndarray, markers: np.ndarray, least: float) -> np.ndarray:
    """Return the basin of each foreground voxel; those of fewer than ``least`` voxels go to others."""
    depth = -ndimage.distance_transform_edt(foreground)
    basins = watershed(depth, markers, mask=foreground)
    sizes = np.bincount(basins[foreground])
    small = np.flatnonzero((sizes > 0) & (sizes < least))
    kept = np.where(np.isin(markers, small), 0, markers)
    if len(small) == 0 or not kept.any():
        return basins
    basins = watershed(depth, kept, mask=foreground)
    basins[foreground & (basins == 0)] = kept.max()  # a speck that no marker reaches
    return basins


def _split_spanning(
    coords: np.ndarray, least: float, grid: int, params: SegmentationParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Split a region that reaches around the torus: a chain, net or block of atoms and their own images.

    It certainly is not one ball, so it is eroded until every piece can be unwrapped. The markers and their
    images then flood the grid and half of its neighbours on each side; a voxel that falls to an image of a
    marker moves to the marker by whole grids.

    Args:
        coords: Grid coordinates, shape (V, 3).
        least: Voxels that a part must have.
        grid: Points along each axis.
        params: Convexity, iterations and sizes.

    Returns:
        Part of each voxel, from 0, shape (V,), and its unwrapped coordinates, shape (V, 3).
    """
    torus = np.zeros((grid,) * 3, dtype=bool)
    torus[tuple(coords.T % grid)] = True
    markers = _torus_markers(torus)
    if len(markers) == 0:
        return np.zeros(len(coords), dtype=int), _around_circular_mean(coords, grid)
    parts, unwrapped = _flood_torus(torus, coords, markers)
    large = np.bincount(parts, minlength=len(markers)) >= least
    if large.any() and not large.all():
        markers = [marker for marker, kept in zip(markers, large, strict=True) if kept]
        parts, unwrapped = _flood_torus(torus, coords, markers)
    return _split_parts(unwrapped, parts, least, params, 0), unwrapped


def _flood_torus(torus: np.ndarray, coords: np.ndarray, markers: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the marker that floods each voxel, and the voxel's coordinates next to it, shape (V, 3)."""
    grid = len(torus)
    low, high = coords.min(axis=0), coords.max(axis=0)
    pad = np.where(high - low + 1 < grid, 1, grid // 2)
    cover = torus[np.ix_(*(np.arange(a - p, b + p + 1) % grid for a, b, p in zip(low, high, pad, strict=True)))]
    images, owner, shift = _stamp(markers, cover.shape, grid, pad - low)
    basins = watershed(-ndimage.distance_transform_edt(cover), images, mask=cover)
    basin = basins[tuple((coords + pad - low).T)]
    return owner[basin], coords - shift[basin] * grid


def _torus_markers(torus: np.ndarray) -> list[np.ndarray]:
    """Return the unwrapped voxels of what erosion leaves, each piece as soon as it does not span."""
    markers = []
    eroded = torus
    for _ in range(len(torus) // 2):
        eroded = ndimage.binary_erosion(np.pad(eroded, 1, mode="wrap"), _UNIT_BALL)[1:-1, 1:-1, 1:-1]
        pieces = label_regions(eroded[None].astype(np.int8), periodic=True)
        for row, start in enumerate(pieces.starts):
            if not pieces.spans[row]:
                markers.append(pieces.coords[start : start + pieces.sizes[row]])
        left = pieces.take(pieces.spans)
        if len(left) == 0:
            break
        eroded = np.zeros_like(torus)
        eroded.reshape(-1)[left.flat] = True
    return markers


def _stamp(
    markers: list[np.ndarray], shape: tuple[int, ...], grid: int, origin: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw markers and their periodic images with a label each.

    Args:
        markers: Unwrapped grid coordinates of each, shape (V, 3).
        shape: Shape of the picture.
        grid: Points along each axis of the torus.
        origin: Where the grid point (0, 0, 0) lies in the picture, shape (3,).

    Returns:
        Labels, of ``shape``; the marker of each label, shape (L,); and its translation in whole grids, shape
        (L, 3). Label 0 is the background.
    """
    images = np.zeros(shape, dtype=np.int32)
    owner: list[int] = [0]
    shifts: list[tuple[int, ...]] = [(0, 0, 0)]
    for index, marker in enumerate(markers):
        placed = marker + origin
        first = -(placed.max(axis=0) // grid)
        last = (np.array(shape) - 1 - placed.min(axis=0)) // grid
        for shift in itertools.product(*(range(a, b + 1) for a, b in zip(first, last, strict=True))):
            moved = placed + np.array(shift) * grid
            moved = moved[((moved >= 0) & (moved < shape)).all(axis=1)]
            images[tuple(moved.T)] = len(owner)
            owner.append(index)
            shifts.append(shift)
    return images, np.array(owner), np.array(shifts)


def _around_circular_mean(coords: np.ndarray, grid: int) -> np.ndarray:
    """Shift voxels by whole grids to within half a grid of their circular mean along each axis."""
    phase = np.exp(2j * np.pi * coords / grid).mean(axis=0)
    middle = np.round(np.angle(phase) / (2 * np.pi) * grid).astype(int)
    return (coords - middle + grid // 2) % grid + middle - grid // 2
