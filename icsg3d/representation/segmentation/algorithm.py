"""Atoms from species maps: Algorithm S1 of Court et al. 2020 (Supporting Information)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from icsg3d.crystals import elements
from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.errors import InputError
from icsg3d.representation.segmentation.cleaning import ball_voxels, clean_map, merge_fragments
from icsg3d.representation.segmentation.components import Regions, label_regions
from icsg3d.representation.segmentation.parameters import SegmentationParameters, Sites
from icsg3d.representation.segmentation.refinement import is_too_flat, refine_sites
from icsg3d.representation.segmentation.splitting import split_regions

if TYPE_CHECKING:
    from icsg3d.representation.voxels import VoxelConfig

_CHUNK_VOXELS = 2**20
"""Voxels handled at once; bounds the memory."""

_CHUNK_CRYSTALS = 16
"""Crystals refined at once, padded to the largest of them."""


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
        lattice: Lattice vectors as rows, shape (3, 3), in angstrom. Without it, fragments and noise are told
            by their number of voxels alone and sites are plain centroids.
        params: By default the preset of the kind of grid, ``periodic`` or ``paper``.
        atom_mask: Probability of an atom, or S_B, shape (G, G, G); voxels below the threshold are background.

    Returns:
        Atoms, possibly none.

    Raises:
        InputError: if shapes or values do not fit.
    """
    species = _as_array(species_map)
    if species.ndim != 3:
        raise InputError(f"a species map has shape (G, G, G), got {species.shape}; segment_batch takes several at once")
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
    if not np.isfinite(cells).all() or (np.abs(np.linalg.det(cells)) < 1e-6).any():
        raise InputError("a lattice of a species map has no volume")
    return numbers, cells


def _segment_chunk(
    species: np.ndarray, config: VoxelConfig, cells: np.ndarray | None, params: SegmentationParameters
) -> list[Sites]:
    species = clean_map(species, config, cells, params)
    keys = species if params.per_species else (species > 0).astype(np.int8)
    regions = label_regions(keys, periodic=config.periodic)
    least = np.maximum(params.min_part * ball_voxels(regions, species, config, cells), params.min_voxels)
    regions = split_regions(regions, least, config.grid, params)
    if cells is not None and params.merge_distance > 0:
        regions = merge_fragments(regions, species, config, cells, params.merge_distance)
    numbers, crystal, frac = regions.majority(species), regions.crystals(species), regions.fractional(config)
    if cells is not None and params.refine_steps > 0 and len(regions):
        frac = _refined(regions, CrystalArrays(numbers, frac, cells), species, config, params)
    if config.periodic:
        frac = np.mod(frac, 1.0)
        frac[frac >= 1] = 0.0  # the remainder of a tiny negative number rounds to 1
    sizes = regions.sizes
    return [Sites(numbers[own], frac[own], sizes[own]) for own in (crystal == row for row in range(len(species)))]


def _refined(
    regions: Regions,
    found: CrystalArrays,
    species: np.ndarray,
    config: VoxelConfig,
    params: SegmentationParameters,
) -> np.ndarray:
    """Return the fractional coordinates of all regions after refinement, shape (R, 3).

    Args:
        regions: One region for each atom.
        found: Numbers and coordinates of the atoms of all crystals, and all lattices, shape (B, 3, 3).
        species: Species maps, shape (B, G, G, G).
        config: The grid.
        params: Number and bounds of the corrections.
    """
    observed = np.zeros(species.size, dtype=np.int64)
    observed[regions.flat] = found.numbers[regions.region]
    maps = torch.from_numpy(observed.reshape(species.shape))
    crystal = regions.crystals(species)
    counts = np.bincount(crystal, minlength=len(species))
    order = np.argsort(crystal, kind="stable")
    atoms = np.split(order, np.cumsum(counts)[:-1])
    # Crystals of similar size go together, so that a map full of noise does not pad all the others.
    refinable = (counts > 0) & ~is_too_flat(found.lattice)
    by_size = np.flatnonzero(refinable)[np.argsort(counts[refinable], kind="stable")]
    result = found.frac_coords.copy()
    for start in range(0, len(by_size), _CHUNK_CRYSTALS):
        rows = by_size[start : start + _CHUNK_CRYSTALS]
        crystals = [
            CrystalArrays(found.numbers[atoms[row]], found.frac_coords[atoms[row]], found.lattice[row]) for row in rows
        ]
        batch = CrystalBatch.from_arrays(crystals)
        refined = refine_sites(batch, maps[rows], config, params)[batch.mask]
        result[np.concatenate([atoms[row] for row in rows])] = refined.numpy()
    return result
