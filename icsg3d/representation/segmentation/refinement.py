"""Sub-voxel correction of sites by analysis and synthesis.

The centroid of a ball drawn on a coarse grid and cut by its neighbours is off by up to a few hundredths of an
angstrom. Sites are therefore drawn again with the rule that made the map, and each is moved by the difference
between the centroid that was observed and the one that its own drawing has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.crystals.arrays import CrystalBatch
from icsg3d.representation.voxels import VoxelConfig, species_radii, squared_distances

if TYPE_CHECKING:
    from icsg3d.representation.segmentation.parameters import SegmentationParameters

_CHUNK_PAIRS = 2**19
"""Voxel-atom pairs handled at once: what stays in a processor's cache."""

_MOST_CELLS = 16
"""Cells that a nearest image may lie away; the flattest crystals of the data sets reach 10."""

_FAR = 1e9
"""Square angstrom; added to the distance of an atom that must not own a voxel."""

_STEEP = 1e12
"""Turns a squared distance beyond an atom's reach, however small the excess, into ``_FAR``."""


def is_too_flat(lattices: np.ndarray) -> np.ndarray:
    """Return which cells have so many near images that distances on their torus would cost too much, shape (B,).

    Networks that have learned little decode such cells; crystals fill a cell.

    Args:
        lattices: Lattice vectors as rows, shape (B, 3, 3), in angstrom.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(lattices), axis=1)
    half_way = 0.5 * np.linalg.norm(lattices, axis=2).sum(axis=1)
    return (half_way > _MOST_CELLS * heights.min(axis=1)).astype(bool)


def refine_sites(
    batch: CrystalBatch, observed: torch.Tensor, config: VoxelConfig, params: SegmentationParameters
) -> torch.Tensor:
    """Return corrected fractional coordinates.

    Args:
        batch: Found atoms and lattices, on the CPU.
        observed: Species map without noise: at each voxel the species of the region it belongs to, else 0,
            integers, shape (B, G, G, G).
        config: The grid.
        params: Number and bounds of the corrections.

    Returns:
        Shape (B, N, 3), not wrapped.
    """
    pairs = batch.numbers.shape[1] * config.grid**3
    size = max(1, _CHUNK_PAIRS // max(pairs, 1))
    parts = [
        _refine_chunk(batch[start : start + size], observed[start : start + size].flatten(1), config, params)
        for start in range(0, len(batch), size)
    ]
    return torch.cat(parts)


def _refine_chunk(
    batch: CrystalBatch, observed: torch.Tensor, config: VoxelConfig, params: SegmentationParameters
) -> torch.Tensor:
    spacing = float(config.axis()[1] - config.axis()[0])
    reach = species_radii(batch.numbers, config, batch.lattice.dtype).masked_fill(~batch.mask, -1.0)
    reach = (reach * reach.abs())[..., None]
    own = (batch.numbers[..., None] == observed[:, None]) & batch.mask[..., None]
    foreign = (~own).to(reach.dtype)
    first, frac = batch.frac_coords, batch.frac_coords
    for _ in range(params.refine_steps):
        squared = squared_distances(CrystalBatch(batch.numbers, frac, batch.lattice), config).flatten(2)
        # What is seen: each voxel of a species belongs to the nearest atom of that species.
        seen = _mean_offset(torch.add(squared, foreign, alpha=_FAR), frac, config)
        # What is drawn: each voxel within reach of an atom belongs to the nearest of these.
        beyond = squared.sub(reach).mul_(_STEEP).clamp_(0, _FAR)
        drawn = _mean_offset(squared.add_(beyond), frac, config)
        # A mean of nothing is not a number and moves nothing.
        step = torch.nan_to_num(seen - drawn, nan=0.0).clamp(-params.max_step * spacing, params.max_step * spacing)
        frac = first + (frac + step - first).clamp(-params.max_shift * spacing, params.max_shift * spacing)
    return frac


def _mean_offset(squared: torch.Tensor, frac: torch.Tensor, config: VoxelConfig) -> torch.Tensor:
    """Return the mean offset of each atom's voxels from the atom, NaN if it has none.

    Args:
        squared: Squared distances, at least ``_FAR`` where an atom must not own a voxel, shape (B, N, G^3),
            float32.
        frac: Fractional coordinates of the atoms, shape (B, N, 3).
        config: The grid.

    Returns:
        Fractional, shape (B, N, 3).
    """
    which = _nearest(squared)
    crystal, voxel = (which >= 0).nonzero(as_tuple=True)
    owner = crystal * frac.shape[1] + which[crystal, voxel]
    axis = torch.as_tensor(config.axis(), dtype=frac.dtype)
    offset = torch.cartesian_prod(axis, axis, axis)[voxel] - frac.reshape(-1, 3)[owner]
    if config.periodic:
        offset -= offset.round()
    sums = torch.zeros(frac.shape, dtype=frac.dtype).reshape(-1, 3).index_add_(0, owner, offset)
    counts = torch.bincount(owner, minlength=len(sums))
    return (sums / counts[:, None]).reshape(frac.shape)


def _nearest(squared: torch.Tensor) -> torch.Tensor:
    """Return the atom with the smallest squared distance, -1 if none is below ``_FAR``, shape (B, G^3).

    torch takes minima along an axis 30 times faster without their index. Positive floats sort as their bits
    do, so the index travels in the last bits, where it costs 1e-5 of the distance.
    """
    bits = (squared.shape[1] - 1).bit_length()
    index = torch.arange(squared.shape[1], dtype=torch.int32)[:, None]
    packed = (squared.view(torch.int32) >> bits << bits).bitwise_or_(index).amin(dim=1)
    far = int(torch.tensor(_FAR, dtype=torch.float32).view(torch.int32)) >> bits << bits
    return torch.where(packed < far, packed & ((1 << bits) - 1), -1).long()
