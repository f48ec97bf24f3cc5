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
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from vesin import NeighborList

from icsg3d.errors import InputError
from icsg3d.limits import ATOMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from icsg3d.crystals.arrays import CrystalArrays

_DENSE_ATOMS = 256
"""Up to so many atoms a crystal's moments are one matrix; beyond, only pairs within the cutoff are stored."""

_NEAREST_CENTRE = 0.9
_FARTHEST_CENTRE = 0.87
"""Radial functions stand from 0.9 angstrom to this share of the cutoff."""

_HIGHEST_DEGREE = 4
"""Sites of cubic symmetry have no moments of degree 1 to 3; those of degree 4 tell bcc from fcc."""


@dataclass(frozen=True)
class EnvironmentConfig:
    """How an environment is described.

    Attributes:
        cutoff: Distance at which the envelope is zero, in angstrom.
        radial: Radial functions: Gaussians of the logarithm of the distance.
        degree: Highest degree of the spherical harmonics, 0 to 4.
    """

    cutoff: float = 6.0
    radial: int = 8
    degree: int = _HIGHEST_DEGREE

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "cutoff": (2, 20),
        "radial": (2, 256),
        "degree": (0, _HIGHEST_DEGREE),
    }

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: if one is out of range.
        """
        if not 2.0 <= self.cutoff <= 20.0 or self.radial < 2 or not 0 <= self.degree <= _HIGHEST_DEGREE:
            msg = (
                "environments need a cutoff of 2 to 20 angstrom, two radial functions, a degree of 0 to "
                f"{_HIGHEST_DEGREE}, got {self}"
            )
            raise InputError(msg)

    @property
    def harmonics(self) -> int:
        """Number of spherical harmonics."""
        return (self.degree + 1) ** 2


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


def radial_functions(distances: np.ndarray, config: EnvironmentConfig) -> np.ndarray:
    """Return Gaussians of the logarithm of the distance times the envelope (1 - (r/cutoff)^2)^3, shape (E, radial)."""
    steps = np.linspace(np.log(_NEAREST_CENTRE), np.log(_FARTHEST_CENTRE * config.cutoff), config.radial)
    width = 0.8 * (steps[1] - steps[0])
    inside = np.clip(1.0 - (distances / config.cutoff) ** 2, 0.0, None) ** 3
    return inside[:, None] * np.exp(-0.5 * ((np.log(distances)[:, None] - steps) / width) ** 2)


def spherical_harmonics(unit: np.ndarray, degree: int) -> np.ndarray:
    """Return real spherical harmonics up to a degree, scaled so that the squares of each degree add up to 1.

    Args:
        unit: Unit vectors, shape (E, 3).
        degree: Highest degree, up to 4.

    Returns:
        Shape (E, (degree + 1)^2).
    """
    x, y, z = unit.T
    parts = [np.ones_like(x)]
    if degree > 0:
        parts += [x, y, z]
    if degree > 1:
        root = np.sqrt(3.0)
        parts += [root * x * y, root * y * z, 1.5 * z * z - 0.5, root * x * z, root / 2 * (x * x - y * y)]
    if degree > 2:
        a, b, c = np.sqrt(5.0 / 8.0), np.sqrt(15.0), np.sqrt(3.0 / 8.0)
        parts += [
            a * y * (3 * x * x - y * y),
            b * x * y * z,
            c * y * (5 * z * z - 1),
            0.5 * z * (5 * z * z - 3),
            c * x * (5 * z * z - 1),
            b / 2 * z * (x * x - y * y),
            a * x * (x * x - 3 * y * y),
        ]
    if degree > 3:
        a, b, c, d = np.sqrt(35.0) / 2, np.sqrt(35.0 / 8.0), np.sqrt(5.0) / 2, np.sqrt(5.0 / 8.0)
        parts += [
            a * x * y * (x * x - y * y),
            b * y * z * (3 * x * x - y * y),
            c * x * y * (7 * z * z - 1),
            d * y * z * (7 * z * z - 3),
            (35 * z**4 - 30 * z * z + 3) / 8,
            d * x * z * (7 * z * z - 3),
            c / 2 * (x * x - y * y) * (7 * z * z - 1),
            b * x * z * (x * x - 3 * y * y),
            a / 4 * (x * x * (x * x - 3 * y * y) - y * y * (3 * x * x - y * y)),
        ]
    return np.stack(parts, axis=1)


def environments(crystal: CrystalArrays, config: EnvironmentConfig | None = None) -> Environments:
    """Return the environments of a crystal.

    Raises:
        InputError: if the crystal has more atoms than are taken (:data:`icsg3d.limits.ATOMS`).
    """
    config = config or EnvironmentConfig()
    atoms = len(crystal)
    ATOMS.check(atoms, f"a crystal has {atoms} atoms,", "give its primitive cell")
    centres, neighbours, distances, vectors = NeighborList(cutoff=config.cutoff, full_list=True).compute(
        points=crystal.frac_coords @ crystal.lattice, box=crystal.lattice, periodic=True, quantities="ijdD"
    )
    pairs = centres.astype(np.int64) * atoms + neighbours.astype(np.int64)
    order = np.argsort(pairs, kind="stable")
    kinds, first = np.unique(pairs[order], return_index=True)
    numbers = crystal.numbers.astype(np.int64)
    if not len(kinds):
        return Environments(numbers, kinds, kinds, np.zeros((0, config.harmonics, config.radial), dtype=np.float32))
    radial = radial_functions(distances[order], config).astype(np.float32)
    harmonics = spherical_harmonics(vectors[order] / distances[order, None], config.degree).astype(np.float32)
    moments = np.add.reduceat(harmonics[:, :, None] * radial[:, None, :], first, axis=0)
    return Environments(numbers, kinds // atoms, kinds % atoms, moments)


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
