"""Crystals as arrays: atomic numbers (N,), fractional coordinates (N, 3), lattice (3, 3) in angstrom, rows a, b, c."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.crystals import elements
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class CrystalArrays:
    """One crystal.

    Attributes:
        numbers: Atomic numbers, shape (N,), integers from 1 to 94.
        frac_coords: Fractional coordinates, shape (N, 3).
        lattice: Lattice vectors as rows, shape (3, 3), in angstrom.
    """

    numbers: np.ndarray
    frac_coords: np.ndarray
    lattice: np.ndarray

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.numbers)


@dataclass(frozen=True)
class CrystalBatch:
    """Crystals of different size in padded tensors on one device.

    Attributes:
        numbers: Atomic numbers, shape (B, N), 0 where there is no atom.
        frac_coords: Fractional coordinates, shape (B, N, 3).
        lattice: Lattice vectors as rows, shape (B, 3, 3), in angstrom.
    """

    numbers: torch.Tensor
    frac_coords: torch.Tensor
    lattice: torch.Tensor

    @classmethod
    def from_arrays(
        cls,
        crystals: Sequence[CrystalArrays],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> CrystalBatch:
        """Pad crystals to the size of the largest of them.

        Raises:
            InputError: if ``crystals`` is empty.
        """
        if not crystals:
            msg = "a batch needs at least one crystal, got none"
            raise InputError(msg)
        size = max(len(crystal) for crystal in crystals)
        numbers = np.zeros((len(crystals), size), dtype=np.int64)
        frac_coords = np.zeros((len(crystals), size, 3))
        for row, crystal in enumerate(crystals):
            numbers[row, : len(crystal)] = crystal.numbers
            frac_coords[row, : len(crystal)] = crystal.frac_coords
        lattice = np.stack([crystal.lattice for crystal in crystals])
        return cls(
            torch.as_tensor(numbers, device=device),
            torch.as_tensor(frac_coords, dtype=dtype, device=device),
            torch.as_tensor(lattice, dtype=dtype, device=device),
        )

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.numbers)

    def __getitem__(self, index: slice | torch.Tensor) -> CrystalBatch:
        """Return the crystals of a slice or of an index tensor."""
        return CrystalBatch(self.numbers[index], self.frac_coords[index], self.lattice[index])

    def to(self, device: torch.device | str) -> CrystalBatch:
        """Return the batch on another device."""
        return CrystalBatch(self.numbers.to(device), self.frac_coords.to(device), self.lattice.to(device))

    @property
    def mask(self) -> torch.Tensor:
        """Where there is an atom, shape (B, N), boolean."""
        return self.numbers > 0

    def trimmed(self) -> CrystalBatch:
        """Return the batch without columns that are padding in every crystal."""
        size = int(self.mask.sum(1).max())
        return CrystalBatch(self.numbers[:, :size], self.frac_coords[:, :size], self.lattice)

    def arrays(self) -> list[CrystalArrays]:
        """Return the crystals one by one, without padding."""
        numbers, frac, lattice = (t.cpu().numpy() for t in (self.numbers, self.frac_coords, self.lattice))
        return [CrystalArrays(z[z > 0], f[z > 0], m) for z, f, m in zip(numbers, frac, lattice, strict=True)]


@cache
def _origin_rank(device: torch.device) -> torch.Tensor:
    """Return the rank of each element by electronegativity, in [0, 1); ties go to the lighter element."""
    order = np.lexsort((np.arange(elements.N_CLASSES), elements.electronegativities()))
    rank = np.empty(elements.N_CLASSES)
    rank[order] = np.arange(elements.N_CLASSES) / elements.N_CLASSES
    return torch.as_tensor(rank, device=device)


def canonical_origin(batch: CrystalBatch) -> torch.Tensor:
    """Return the position that the crystal's origin is moved to: an atom of the rarest element of the cell.

    Among equally rare elements the least electronegative one counts (the A site of most perovskites), and among its
    atoms the first. Where that element has one atom a cell, the choice depends on nothing but the crystal.

    Returns:
        Fractional coordinates, shape (B, 3).
    """
    numbers = batch.numbers
    counts = (numbers[:, :, None] == numbers[:, None, :]).sum(2)
    key = counts + _origin_rank(numbers.device)[numbers]
    chosen = key.masked_fill(~batch.mask, torch.inf).argmin(1)
    return batch.frac_coords[torch.arange(len(batch), device=numbers.device), chosen]


def centred(batch: CrystalBatch) -> CrystalBatch:
    """Return the batch with every crystal's canonical origin at zero, coordinates in [0, 1)."""
    shifted = batch.frac_coords - canonical_origin(batch)[:, None]
    return CrystalBatch(batch.numbers, wrap(shifted) * batch.mask[..., None], batch.lattice)


def wrap(frac_coords: torch.Tensor) -> torch.Tensor:
    """Return fractional coordinates in [0, 1), with values that round to 1 set to 0."""
    wrapped = frac_coords - torch.floor(frac_coords)
    return torch.where(wrapped > 1 - 1e-6, torch.zeros_like(wrapped), wrapped)


def wrapped(frac_coords: np.ndarray) -> np.ndarray:
    """Return fractional coordinates in [0, 1); the remainder of -1e-17 rounds to 1, and that of 1 is 0."""
    return frac_coords % 1.0 % 1.0


def lattice_parameters(lattice: torch.Tensor) -> torch.Tensor:
    """Return log lengths and cosines of the angles of lattices.

    Args:
        lattice: Lattice vectors as rows, shape (B, 3, 3), in angstrom.

    Returns:
        ln(a/angstrom), ln(b), ln(c), cos(alpha), cos(beta), cos(gamma), shape (B, 6).
    """
    lengths = lattice.norm(dim=-1)
    unit = lattice / lengths[..., None]
    cosines = torch.stack([(unit[:, i] * unit[:, j]).sum(-1) for i, j in ((1, 2), (0, 2), (0, 1))], dim=-1)
    return torch.cat([lengths.log(), cosines], dim=-1)


def lattice_from_parameters(parameters: torch.Tensor) -> torch.Tensor:
    """Return lattice vectors, a along x and b in the xy plane, from what :func:`lattice_parameters` gives.

    Args:
        parameters: Log lengths and cosines, shape (B, 6).

    Returns:
        Lattice vectors as rows, shape (B, 3, 3), in angstrom; NaN where the angles enclose no cell.
    """
    a, b, c = parameters[:, :3].exp().unbind(-1)
    cos_alpha, cos_beta, cos_gamma = parameters[:, 3:].unbind(-1)
    sin_gamma = (1 - cos_gamma**2).sqrt()
    c_y = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    c_z = (1 - cos_beta**2 - c_y**2).sqrt()
    zero = torch.zeros_like(a)
    rows = [
        torch.stack([a, zero, zero], -1),
        torch.stack([b * cos_gamma, b * sin_gamma, zero], -1),
        torch.stack([c * cos_beta, c * c_y, c * c_z], -1),
    ]
    return torch.stack(rows, dim=1)


def periodic_distances(first: np.ndarray, second: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Return distances between nearest images of sites, for cells whose vectors are not far from the shortest ones.

    Args:
        first: Fractional coordinates, shape (N, 3).
        second: Fractional coordinates, shape (M, 3).
        lattice: Lattice vectors as rows, shape (3, 3), in angstrom.

    Returns:
        Angstrom, shape (N, M).
    """
    offsets = first[:, None] - second[None]
    offsets = offsets - np.round(offsets)
    shifts = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return np.linalg.norm((offsets[:, :, None] + shifts) @ lattice, axis=-1).min(-1)
