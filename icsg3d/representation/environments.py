"""Atomic environments: for each pair of atoms of a cell, moments of the vectors that join their images.

All neighbours within a cutoff count, with an envelope that falls to zero there with two derivatives, so that nothing
jumps where an atom enters or leaves, and an atom without a neighbour has an empty environment. The moment of a pair is
the sum, over the periodic images of its second atom, of radial functions times spherical harmonics of the joining
vector. A network whose messages are linear in an atom's features needs nothing else of the geometry, however many
images there are (the density trick of the atomic cluster expansion, Drautz, Phys. Rev. B 99, 014104, 2019).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from vesin import NeighborList

from icsg3d.errors import InputError
from icsg3d.limits import ATOMS
from icsg3d.representation.moments import EnvironmentConfig, pair_moments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from icsg3d.crystals.arrays import CrystalArrays

_DENSE_ATOMS = 256
"""Up to so many atoms a crystal's moments are one matrix; beyond, only pairs within the cutoff are stored."""


@dataclass(frozen=True)
class Environments:
    """The environments of one crystal; pairs are sorted by their centre.

    Attributes:
        numbers: Atomic numbers, shape (N,).
        centres: First atom of each pair, shape (P,).
        neighbours: Second atom of each pair, shape (P,).
        moments: Of each pair, shape (P, harmonics, radial).
    """

    numbers: np.ndarray
    centres: np.ndarray
    neighbours: np.ndarray
    moments: np.ndarray

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.numbers)


def environments(crystal: CrystalArrays, config: EnvironmentConfig | None = None) -> Environments:
    """Return the environments of a crystal.

    Raises:
        InputError: if the crystal has more atoms than are taken (:data:`icsg3d.limits.ATOMS`).
    """
    config = config or EnvironmentConfig()
    atoms = len(crystal)
    ATOMS.check(atoms, f"a crystal has {atoms} atoms,", "give its primitive cell")
    centres, neighbours, vectors = joining_vectors(crystal.frac_coords @ crystal.lattice, crystal.lattice, config)
    pairs = centres * atoms + neighbours
    order = np.argsort(pairs, kind="stable")
    kinds, first = np.unique(pairs[order], return_index=True)
    numbers = crystal.numbers.astype(np.int64)
    if not len(kinds):
        return Environments(numbers, kinds, kinds, np.zeros((0, config.harmonics, config.radial), dtype=np.float32))
    each = pair_moments(torch.from_numpy(vectors[order]), config).numpy()
    return Environments(numbers, kinds // atoms, kinds % atoms, np.add.reduceat(each, first, axis=0))


def joining_vectors(
    positions: np.ndarray, lattice: np.ndarray, config: EnvironmentConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first and second atom, each of shape (E,), and the vector in angstrom, shape (E, 3), of all neighbours.

    Args:
        positions: Of the atoms in angstrom, shape (N, 3).
        lattice: Lattice vectors as rows, shape (3, 3), in angstrom.
        config: How an environment is described.
    """
    centres, neighbours, vectors = NeighborList(cutoff=config.cutoff, full_list=True).compute(
        points=positions, box=lattice, periodic=True, quantities="ijD"
    )
    return centres.astype(np.int64), neighbours.astype(np.int64), vectors


@dataclass(frozen=True)
class Block:
    """Crystals of the same number of atoms in a batch, their atoms one after another.

    Attributes:
        crystals: How many there are.
        atoms: Of each of them.
        scalar: Moments of degree 0 as matrices, shape (crystals, atoms, atoms x radial); empty if pairs are stored.
        tensor: Moments of higher degree, shape (crystals, atoms x (harmonics - 1), atoms x radial).
        centres: First atom of each stored pair.
        neighbours: Second atom of each stored pair.
        moments: Of each stored pair, shape (P, harmonics, radial).
    """

    crystals: int
    atoms: int
    scalar: torch.Tensor
    tensor: torch.Tensor
    centres: torch.Tensor
    neighbours: torch.Tensor
    moments: torch.Tensor

    @classmethod
    def of_pairs(cls, atoms: int, centres: torch.Tensor, neighbours: torch.Tensor, moments: torch.Tensor) -> Block:
        """Return the block of one crystal, differentiable in the moments of its pairs, which may be there repeatedly.

        Args:
            atoms: Of the crystal.
            centres: First atom of each pair, shape (P,).
            neighbours: Second atom of each pair, shape (P,).
            moments: Of each pair, shape (P, harmonics, radial).
        """
        none, (_, harmonics, radial) = moments.new_zeros(0), moments.shape
        if atoms > _DENSE_ATOMS:
            return cls(1, atoms, none, none, centres, neighbours, moments)
        all_pairs = moments.new_zeros(atoms * atoms, harmonics, radial)
        dense = all_pairs.index_add(0, centres * atoms + neighbours, moments).view(atoms, atoms, harmonics, radial)
        scalar = dense[:, :, 0].reshape(1, atoms, atoms * radial)
        tensor = dense[:, :, 1:].transpose(1, 2).reshape(1, atoms * (harmonics - 1), atoms * radial)
        return cls(1, atoms, scalar, tensor, none, none, none)

    def to(self, device: torch.device | str) -> Block:
        """Return the block on another device."""
        tensors = (self.scalar, self.tensor, self.centres, self.neighbours, self.moments)
        return Block(self.crystals, self.atoms, *(tensor.to(device) for tensor in tensors))

    def gather(self, scalars: torch.Tensor, tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add up the neighbours of each atom.

        Args:
            scalars: Radial features of each atom for degree 0, shape (R, radial, C).
            tensors: The same for higher degrees, shape (R, radial, D).

        Returns:
            Shapes (R, C) and (R, harmonics - 1, D).
        """
        rows = self.crystals * self.atoms
        if self.scalar.numel():
            size = (self.crystals, -1)
            first = torch.bmm(self.scalar.to(scalars.dtype), scalars.reshape(*size, scalars.shape[2]))
            second = torch.bmm(self.tensor.to(tensors.dtype), tensors.reshape(*size, tensors.shape[2]))
            return first.reshape(rows, -1), second.reshape(rows, -1, tensors.shape[2])
        first = scalars.new_zeros(rows, scalars.shape[2])
        second = tensors.new_zeros(rows, self.moments.shape[1] - 1, tensors.shape[2])
        for start in range(0, len(self.centres), 1 << 14):
            part = slice(start, start + (1 << 14))
            moments, centres, others = self.moments[part].to(scalars.dtype), self.centres[part], self.neighbours[part]
            first = first.index_add(0, centres, torch.bmm(moments[:, :1], scalars[others]).squeeze(1))
            second = second.index_add(0, centres, torch.bmm(moments[:, 1:], tensors[others]))
        return first, second


@dataclass(frozen=True)
class EnvironmentBatch:
    """Crystals of a batch, sorted by their number of atoms.

    Attributes:
        numbers: Atomic numbers of all atoms, shape (R,).
        crystals: Crystal of each atom, by its place in the sorted order, shape (R,).
        places: Sorted place of each crystal of the request, shape (B,).
        blocks: Crystals of each number of atoms.
    """

    numbers: torch.Tensor
    crystals: torch.Tensor
    places: torch.Tensor
    blocks: tuple[Block, ...]

    @classmethod
    def of_pairs(
        cls, numbers: torch.Tensor, centres: torch.Tensor, neighbours: torch.Tensor, moments: torch.Tensor
    ) -> EnvironmentBatch:
        """Return the batch of one crystal of atomic numbers (N,), the other arguments as in :meth:`Block.of_pairs`."""
        block = Block.of_pairs(len(numbers), centres, neighbours, moments)
        return cls(numbers, torch.zeros_like(numbers), numbers.new_zeros(1), (block,))

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.places)

    def to(self, device: torch.device | str) -> EnvironmentBatch:
        """Return the batch on another device."""
        return EnvironmentBatch(
            self.numbers.to(device),
            self.crystals.to(device),
            self.places.to(device),
            tuple(block.to(device) for block in self.blocks),
        )

    def gather(self, scalars: torch.Tensor, tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add up the neighbours of each atom, as :meth:`Block.gather` does, over all blocks."""
        rows = [block.crystals * block.atoms for block in self.blocks]
        parts = zip(self.blocks, scalars.split(rows), tensors.split(rows), strict=True)
        found = [block.gather(first, second) for block, first, second in parts]
        return torch.cat([first for first, _ in found]), torch.cat([second for _, second in found])

    def mean(self, atoms: torch.Tensor) -> torch.Tensor:
        """Average the atoms of each crystal, in the order of the request: (R, F) to (B, F)."""
        total = atoms.new_zeros(len(self), atoms.shape[1]).index_add(0, self.crystals, atoms)
        counts = torch.bincount(self.crystals, minlength=len(self))[:, None]
        return (total / counts)[self.places]


@dataclass(frozen=True)
class EnvironmentSet:
    """Environments of many crystals in flat arrays, from which batches are cut quickly.

    Attributes:
        numbers: Atomic numbers of all crystals, one after another.
        atoms: Number of atoms of each crystal, shape (crystals,).
        degrees: Number of pairs of each atom.
        neighbours: Second atom of each pair, by its place in its crystal.
        moments: Of each pair, shape (pairs, harmonics, radial), float32 or float16.
    """

    numbers: np.ndarray
    atoms: np.ndarray
    degrees: np.ndarray
    neighbours: np.ndarray
    moments: np.ndarray

    @classmethod
    def from_graphs(cls, made: Sequence[Environments]) -> EnvironmentSet:
        """Put environments one after another.

        Raises:
            InputError: if there are none.
        """
        if not made:
            msg = "a set of environments needs at least one, got none"
            raise InputError(msg)
        return cls(
            np.concatenate([each.numbers for each in made]),
            np.array([len(each) for each in made]),
            np.concatenate([np.bincount(each.centres, minlength=len(each)) for each in made]),
            np.concatenate([each.neighbours for each in made]).astype(np.int32),
            np.concatenate([each.moments for each in made]),
        )

    @classmethod
    def joined(cls, sets: Sequence[EnvironmentSet]) -> EnvironmentSet:
        """Put sets one after another."""
        return cls(*(np.concatenate([getattr(each, field.name) for each in sets]) for field in fields(cls)))

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.atoms)

    def shares(self, classes: int) -> np.ndarray:
        """Return the share of each atomic number among a crystal's atoms, shape (crystals, classes)."""
        counts = np.zeros((len(self), classes), dtype=np.float32)
        np.add.at(counts, (np.repeat(np.arange(len(self)), self.atoms), self.numbers), 1.0)
        return counts / self.atoms[:, None].astype(np.float32)

    def subset(self, indices: np.ndarray) -> EnvironmentSet:
        """Return the crystals at some indices."""
        rows = _ranges(self._first_atom[indices], self.atoms[indices])
        pairs = _ranges(self._first_pair[rows], self.degrees[rows])
        return EnvironmentSet(
            self.numbers[rows], self.atoms[indices], self.degrees[rows], self.neighbours[pairs], self.moments[pairs]
        )

    def batch(self, indices: np.ndarray) -> EnvironmentBatch:
        """Return the crystals at some indices as a batch."""
        order = np.argsort(self.atoms[indices], kind="stable")
        chosen = indices[order]
        places = np.empty(len(order), dtype=np.int64)
        places[order] = np.arange(len(order))
        atoms = self.atoms[chosen]
        blocks = [self._block(chosen[atoms == size], int(size)) for size in np.unique(atoms)]
        return EnvironmentBatch(
            torch.from_numpy(self.numbers[_ranges(self._first_atom[chosen], atoms)]),
            torch.from_numpy(np.repeat(np.arange(len(chosen)), atoms)),
            torch.from_numpy(places),
            tuple(blocks),
        )

    def _block(self, chosen: np.ndarray, size: int) -> Block:
        rows = _ranges(self._first_atom[chosen], self.atoms[chosen])
        degrees = self.degrees[rows]
        pairs = _ranges(self._first_pair[rows], degrees)
        centres, neighbours = np.repeat(np.arange(len(rows)), degrees), self.neighbours[pairs].astype(np.int64)
        _, harmonics, radial = self.moments.shape
        moments, none = self.moments[pairs], torch.zeros(0)
        if size > _DENSE_ATOMS:
            others = neighbours + centres // size * size
            parts = (torch.from_numpy(centres), torch.from_numpy(others), torch.from_numpy(moments))
            return Block(len(chosen), size, none, none, *parts)
        scalar = np.zeros((len(chosen), size, size, radial), dtype=moments.dtype)
        tensor = np.zeros((len(chosen), size, harmonics - 1, size, radial), dtype=moments.dtype)
        crystal, centre = centres // size, centres % size
        scalar[crystal, centre, neighbours] = moments[:, 0]
        tensor[crystal, centre, :, neighbours] = moments[:, 1:]
        return Block(
            len(chosen),
            size,
            torch.from_numpy(scalar).view(len(chosen), size, size * radial),
            torch.from_numpy(tensor).view(len(chosen), size * (harmonics - 1), size * radial),
            none,
            none,
            none,
        )

    def batches(self, size: int = 256) -> Iterator[EnvironmentBatch]:
        """Yield all crystals in their order, in batches of at most ``size``."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))

    @cached_property
    def _first_atom(self) -> np.ndarray:
        return np.cumsum(self.atoms) - self.atoms

    @cached_property
    def _first_pair(self) -> np.ndarray:
        return np.cumsum(self.degrees) - self.degrees


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the consecutive numbers from each start, one after another."""
    return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
