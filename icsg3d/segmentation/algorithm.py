"""Atoms from species maps: Algorithm S1 of Court et al. 2020 (Supporting Information)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from icsg3d import elements
from icsg3d.arrays import CrystalArrays, CrystalBatch
from icsg3d.errors import InputError
from icsg3d.segmentation.components import Regions, label_regions
from icsg3d.segmentation.parameters import SegmentationParameters, Sites
from icsg3d.segmentation.refinement import refine_sites
from icsg3d.segmentation.splitting import split_regions

if TYPE_CHECKING:
    from icsg3d.voxels import VoxelConfig

_CHUNK_VOXELS = 2**20
"""Voxels handled at once; bounds the memory."""


def segment(
    species_map: Any,
    config: VoxelConfig,
    lattice: Any = None,
    params: SegmentationParameters | None = None,
    atom_mask: Any = None,
) -> Sites:
    """Find the atoms of one species map.

    Args:
        species_map: S(r), atomic numbers, 0 for background, shape (G, G, G), numpy or torch.
        config: What the grid is.
        lattice: Lattice vectors as rows, shape (3, 3), in angstrom. Without it, fragments and noise are told by
            their number of voxels alone and sites are plain centroids.
        params: By default the preset of the kind of grid, ``periodic`` or ``paper``.
        atom_mask: Probability of an atom, or S_B, shape (G, G, G); voxels below the threshold are background.

    Returns:
        Atoms, possibly none.

    Raises:
        InputError: if shapes or values do not fit.
    """
    species = _as_array(species_map)
    if species.ndim != 3:
        raise InputError(
            f"a species map has shape (G, G, G), got {species.shape}; segment_batch takes several at once"
        )
    lattices = None if lattice is None else _as_array(lattice)[None]
    mask = None if atom_mask is None else _as_array(atom_mask)[None]
    return segment_batch(species[None], config, lattices, params, mask)[0]


def segment_batch(
    species: Any,
    config: VoxelConfig,
    lattices: Any = None,
    params: SegmentationParameters | None = None,
    atom_mask: Any = None,
) -> list[Sites]:
    """Find the atoms of several species maps.

    Args:
        species: S(r), atomic numbers, 0 for background, shape (B, G, G, G), numpy or torch.
        config: What the grids are.
        lattices: Lattice vectors as rows, shape (B, 3, 3), in angstrom, see :func:`segment`.
        params: By default the preset of the kind of grid, ``periodic`` or ``paper``.
        atom_mask: Probability of an atom, or S_B, shape (B, G, G, G).

    Returns:
        Atoms of each map, in its order.

    Raises:
        InputError: if shapes or values do not fit.
    """
    params = params or SegmentationParameters.preset("periodic" if config.periodic else "paper")
    numbers, cells = _checked(species, config, lattices)
    if atom_mask is not None:
        mask = _as_array(atom_mask)
        if mask.shape != numbers.shape:
            raise InputError(f"the atom mask has shape {mask.shape}, its species map {numbers.shape}")
        numbers = np.where(mask >= params.mask_threshold, numbers, 0)
    size = max(1, _CHUNK_VOXELS // config.grid**3)
    sites: list[Sites] = []
    for start in range(0, len(numbers), size):
        rows = slice(start, start + size)
        sites += _segment_chunk(numbers[rows], config, None if cells is None else cells[rows], params)
    return sites


def _as_array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _checked(species: Any, config: VoxelConfig, lattices: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return species maps and lattices as arrays of the right shape and with sensible values."""
    numbers = _as_array(species)
    if numbers.ndim != 4 or numbers.shape[1:] != (config.grid,) * 3:
        raise InputError(
            f"species maps of this grid have shape (B, {config.grid}, {config.grid}, {config.grid}), "
            f"got {numbers.shape}"
        )
    if not np.issubdtype(numbers.dtype, np.integer):
        raise InputError(f"a species map holds integers, atomic numbers, got {numbers.dtype}")
    if numbers.size and (numbers.min() < 0 or numbers.max() > elements.MAX_NUMBER):
        raise InputError(
            f"a species map holds atomic numbers from 0 to {elements.MAX_NUMBER}, "
            f"got {numbers.min()} to {numbers.max()}"
        )
    if lattices is None:
        return numbers, None
    cells = _as_array(lattices).astype(float)
    if cells.shape != (len(numbers), 3, 3):
        raise InputError(
            f"{len(numbers)} species maps need lattices of shape ({len(numbers)}, 3, 3), got {cells.shape}"
        )
    if not np.isfinite(cells).all() or (np.abs(np.linalg.det(cells)) < 1e-6).any():  # noqa: PLR2004 (no volume)
        raise InputError("a lattice of a species map has no volume")
    return numbers, cells


def _segment_chunk(
    species: np.ndarray, config: VoxelConfig, cells: np.ndarray | None, params: SegmentationParameters
) -> list[Sites]:
    keys = species if params.per_species else (species > 0).astype(np.int8)
    regions = label_regions(keys, periodic=config.periodic)
    least = np.maximum(params.min_part * _ball_voxels(regions, species, config, cells), params.min_voxels)
    regions = split_regions(regions, least, config.grid, params)
    if cells is not None and params.merge_distance > 0:
        regions = _merge_fragments(regions, species, config, cells, params)
    regions = _without_noise(regions, species, config, cells, params)
    numbers = _majority(regions, species)
    frac = _fractional(regions, config)
    crystal = _crystal(regions, config)
    if cells is not None and params.refine_steps > 0 and len(regions):
        frac = _refined(regions, numbers, frac, crystal, species, config, cells, params)
    if config.periodic:
        frac = np.mod(frac, 1.0)
        frac[frac >= 1] = 0.0  # the remainder of a tiny negative number rounds to 1
    sizes = regions.sizes
    return [
        Sites(numbers[own], frac[own], sizes[own]) for own in (crystal == row for row in range(len(species)))
    ]


def _majority(regions: Regions, species: np.ndarray) -> np.ndarray:
    """Return the most frequent species of each region, shape (R,)."""
    votes = np.zeros((len(regions), elements.N_CLASSES), dtype=np.int64)
    np.add.at(votes, (regions.region, species.reshape(-1)[regions.flat]), 1)
    return votes.argmax(axis=1)


def _crystal(regions: Regions, config: VoxelConfig) -> np.ndarray:
    """Return the grid that each region lies in, shape (R,)."""
    return regions.flat[regions.starts] // config.grid**3


def _fractional(regions: Regions, config: VoxelConfig) -> np.ndarray:
    """Return the centroids in fractional coordinates of the cell, shape (R, 3)."""
    axis = config.axis()
    return axis[0] + regions.centroids() * (axis[1] - axis[0])


def _radii(numbers: np.ndarray, config: VoxelConfig) -> np.ndarray:
    return np.maximum(elements.ionic_radii()[numbers], config.min_radius)


def _merge_fragments(
    regions: Regions,
    species: np.ndarray,
    config: VoxelConfig,
    cells: np.ndarray,
    params: SegmentationParameters,
) -> Regions:
    """Join regions that lie nearer to each other than two atoms can."""
    crystal, frac = _crystal(regions, config), _fractional(regions, config)
    radii = _radii(_majority(regions, species), config)
    first, second = _pairs(crystal)
    between = frac[second] - frac[first]
    images = np.round(between) if config.periodic else np.zeros_like(between)
    distances = np.linalg.norm(np.einsum("pi,pij->pj", between - images, cells[crystal[first]]), axis=1)
    near = distances < params.merge_distance * np.maximum(radii[first], radii[second])
    if not near.any():
        return regions
    first, second, images = first[near], second[near], images[near]
    links = csr_matrix((np.ones(len(first)), (first, second)), shape=(len(regions),) * 2)
    group = connected_components(links, directed=False)[1]
    # Voxels follow their region into the image next to the first of the group.
    leader = np.full(len(regions), len(regions))
    np.minimum.at(leader, group, np.arange(len(regions)))
    moved = frac - frac[leader[group]]
    shift = np.round(moved).astype(int) if config.periodic else np.zeros(moved.shape, dtype=int)
    coords = regions.coords - (shift * config.grid)[regions.region]
    return regions.relabelled(group[regions.region], coords)


def _pairs(crystal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of regions of the same grid; ``crystal`` need not be sorted."""
    order = np.argsort(crystal, kind="stable")
    ends = np.searchsorted(crystal[order], crystal[order], side="right")
    counts = ends - np.arange(len(order)) - 1
    first = np.repeat(np.arange(len(order)), counts)
    second = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts) + first + 1
    return order[first], order[second]


def _ball_voxels(
    regions: Regions, species: np.ndarray, config: VoxelConfig, cells: np.ndarray | None
) -> np.ndarray:
    """Return the voxels of a free ball of the smallest species in each region, 0 without lattices, shape (R,)."""
    if cells is None or len(regions) == 0:
        return np.zeros(len(regions))
    radii = _radii(species.reshape(-1)[regions.flat], config)
    balls = 4 / 3 * np.pi * np.minimum.reduceat(radii, regions.starts) ** 3
    spacing = config.axis()[1] - config.axis()[0]
    return balls / (np.abs(np.linalg.det(cells)) * spacing**3)[_crystal(regions, config)]


def _without_noise(
    regions: Regions,
    species: np.ndarray,
    config: VoxelConfig,
    cells: np.ndarray | None,
    params: SegmentationParameters,
) -> Regions:
    """Drop regions with too few voxels for an atom."""
    least = np.maximum(params.min_fill * _ball_voxels(regions, species, config, cells), params.min_size)
    keep = regions.sizes >= least
    return regions if keep.all() else regions.take(keep)


def _refined(
    regions: Regions,
    numbers: np.ndarray,
    frac: np.ndarray,
    crystal: np.ndarray,
    species: np.ndarray,
    config: VoxelConfig,
    cells: np.ndarray,
    params: SegmentationParameters,
) -> np.ndarray:
    """Return fractional coordinates of all regions after refinement, shape (R, 3)."""
    order = np.argsort(crystal, kind="stable")
    rows, counts = np.unique(crystal[order], return_counts=True)
    splits = np.split(order, np.cumsum(counts)[:-1])
    found = [
        CrystalArrays(numbers[own], frac[own], cells[row]) for row, own in zip(rows, splits, strict=True)
    ]
    observed = np.zeros(species.size, dtype=np.int64)
    observed[regions.flat] = numbers[regions.region]
    batch = CrystalBatch.from_arrays(found)
    maps = torch.from_numpy(observed.reshape(species.shape)[rows])
    refined = refine_sites(batch, maps, config, params)[batch.mask].double().numpy()
    result = np.empty_like(frac)
    result[order] = refined
    return result
