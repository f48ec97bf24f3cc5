"""Crystal graphs: atoms as nodes, their nearest neighbours as edges, in arrays and padded batches.

An atom's neighbours are its ``neighbours`` nearest within ``cutoff`` and, since a count that stops inside a shell of
equal distances would let the order of atoms decide, those up to ``shell`` beyond the last of them, with weights that
fall smoothly from 1 to 0. So a graph depends on the crystal alone, and changes continuously with it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from vesin import NeighborList

from icsg3d.crystals.elements import symbols
from icsg3d.errors import InputError
from icsg3d.limits import ATOMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from icsg3d.crystals.arrays import CrystalArrays

_FIRST_RADIUS = 5.0
"""Angstrom; enough for twelve neighbours in nearly every crystal, tried before the cutoff."""

_LEAST_WEIGHT = 1e-6
"""Edges of a smaller weight are left out."""


@dataclass(frozen=True)
class GraphConfig:
    """Which atoms are neighbours.

    Attributes:
        neighbours: Nearest neighbours of an atom that count in full.
        cutoff: Largest distance of a neighbour, in angstrom.
        shell: Distance beyond the last full neighbour at which the weight has fallen to 0, in angstrom.
    """

    neighbours: int = 12
    cutoff: float = 8.0
    shell: float = 0.1

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"neighbours": (1, 200), "cutoff": (0.5, 20), "shell": (0, 20)}

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: if one is not above zero, or the shell is wider than the cutoff.
        """
        if self.neighbours < 1 or not 0 < self.shell < self.cutoff:
            msg = f"a graph needs neighbours >= 1 and 0 < shell < cutoff, got {self}"
            raise InputError(msg)


@dataclass(frozen=True)
class CrystalGraph:
    """One crystal's graph; edges are sorted by their centre.

    Attributes:
        numbers: Atomic numbers, shape (N,).
        centres: Atom that an edge belongs to, shape (E,).
        neighbours: Atom that an edge comes from, shape (E,).
        distances: Lengths of the edges in angstrom, shape (E,).
        weights: Weights of the edges, in (0, 1], shape (E,).
    """

    numbers: np.ndarray
    centres: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.numbers)


def crystal_graph(crystal: CrystalArrays, config: GraphConfig | None = None) -> CrystalGraph:
    """Return the graph of a crystal.

    Raises:
        InputError: if an atom has no neighbour within the cutoff, or the crystal has more atoms than are
            taken (:data:`icsg3d.limits.ATOMS`).
    """
    config = config or GraphConfig()
    ATOMS.check(len(crystal), f"a crystal has {len(crystal)} atoms,", "give its primitive cell")
    for radius in sorted({min(_FIRST_RADIUS, config.cutoff), config.cutoff}):
        centres, neighbours, distances = _pairs(crystal, radius)
        counts = np.bincount(centres, minlength=len(crystal))
        starts = np.cumsum(counts) - counts
        if radius < config.cutoff and counts.min() < config.neighbours:
            continue
        last = np.full(len(crystal), config.cutoff)
        full = counts >= config.neighbours
        last[full] = distances[starts[full] + config.neighbours - 1]
        if radius == config.cutoff or last.max() + config.shell <= radius:
            break
    # Weights reach zero at the cutoff at the latest, so that no atom appears or vanishes at once there either.
    last = np.minimum(last, config.cutoff - config.shell)
    beyond = (distances - np.repeat(last, counts)) / config.shell
    weights = 0.5 + 0.5 * np.cos(np.pi * np.clip(beyond, 0.0, 1.0))
    kept = weights > _LEAST_WEIGHT
    counts = np.bincount(centres[kept], minlength=len(crystal))
    if counts.min() == 0:
        atom = int(counts.argmin())
        msg = (
            f"atom {atom} ({symbols()[crystal.numbers[atom]]}) has no neighbour within {config.cutoff:g} angstrom; "
            "a crystal graph needs one, so check the cell"
        )
        raise InputError(msg)
    return CrystalGraph(
        crystal.numbers.astype(np.int64),
        centres[kept].astype(np.int64),
        neighbours[kept].astype(np.int64),
        distances[kept].astype(np.float32),
        weights[kept].astype(np.float32),
    )


def _pairs(crystal: CrystalArrays, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centres, neighbours and distances of all pairs within a radius, sorted by centre and distance."""
    centres, neighbours, distances = NeighborList(cutoff=radius, full_list=True).compute(
        points=crystal.frac_coords @ crystal.lattice, box=crystal.lattice, periodic=True, quantities="ijd"
    )
    order = np.lexsort((distances, centres))
    return centres[order].astype(np.int64), neighbours[order].astype(np.int64), distances[order]


@dataclass(frozen=True)
class GraphBatch:
    """Graphs of different size in padded tensors.

    Attributes:
        numbers: Atomic numbers, shape (B, N), 0 where there is no atom.
        neighbours: Neighbours of each atom by their place in its crystal, shape (B, N, M).
        distances: Distances of the neighbours in angstrom, shape (B, N, M).
        weights: Weights of the neighbours, shape (B, N, M), 0 where there is none.
    """

    numbers: torch.Tensor
    neighbours: torch.Tensor
    distances: torch.Tensor
    weights: torch.Tensor

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.numbers)

    @property
    def node_mask(self) -> torch.Tensor:
        """Where there is an atom, shape (B, N), boolean."""
        return self.numbers > 0

    @property
    def neighbour_mask(self) -> torch.Tensor:
        """Where there is a neighbour, shape (B, N, M), boolean."""
        return self.weights > 0

    def to(self, device: torch.device | str) -> GraphBatch:
        """Return the batch on another device."""
        return GraphBatch(*(t.to(device) for t in (self.numbers, self.neighbours, self.distances, self.weights)))

    @classmethod
    def from_graphs(cls, graphs: Sequence[CrystalGraph], nodes: int | None = None) -> GraphBatch:
        """Pad graphs to the size of the largest, or to a given number of nodes.

        Raises:
            InputError: if there are no graphs, or one has more nodes than given.
        """
        return GraphSet.from_graphs(graphs).batch(np.arange(len(graphs)), nodes)


@dataclass(frozen=True)
class GraphSet:
    """Many graphs in flat arrays, from which batches are cut quickly.

    Attributes:
        numbers: Atomic numbers of all crystals, one after another.
        atoms: Number of atoms of each crystal, shape (crystals,).
        degrees: Number of neighbours of each atom.
        neighbours: As in :class:`CrystalGraph`, of all crystals.
        distances: As in :class:`CrystalGraph`, of all crystals.
        weights: As in :class:`CrystalGraph`, of all crystals.
    """

    numbers: np.ndarray
    atoms: np.ndarray
    degrees: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray
    weights: np.ndarray

    @classmethod
    def from_graphs(cls, graphs: Sequence[CrystalGraph]) -> GraphSet:
        """Put graphs one after another.

        Raises:
            InputError: if there are none.
        """
        if not graphs:
            msg = "a set of graphs needs at least one, got none"
            raise InputError(msg)
        return cls(
            np.concatenate([graph.numbers for graph in graphs]),
            np.array([len(graph) for graph in graphs]),
            np.concatenate([np.bincount(graph.centres, minlength=len(graph)) for graph in graphs]),
            np.concatenate([graph.neighbours for graph in graphs]),
            np.concatenate([graph.distances for graph in graphs]),
            np.concatenate([graph.weights for graph in graphs]),
        )

    @classmethod
    def joined(cls, sets: Sequence[GraphSet]) -> GraphSet:
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

    def subset(self, indices: np.ndarray) -> GraphSet:
        """Return the graphs at some indices."""
        rows = _ranges(self._first_atom[indices], self.atoms[indices])
        edges = _ranges(self._first_edge[rows], self.degrees[rows])
        return GraphSet(
            self.numbers[rows],
            self.atoms[indices],
            self.degrees[rows],
            self.neighbours[edges],
            self.distances[edges],
            self.weights[edges],
        )

    def batch(self, indices: np.ndarray, nodes: int | None = None) -> GraphBatch:
        """Return the graphs at some indices as a padded batch, of at least ``nodes`` nodes if given.

        Raises:
            InputError: if a crystal has more atoms than ``nodes``.
        """
        atoms = self.atoms[indices]
        size = int(atoms.max()) if nodes is None else nodes
        if atoms.max() > size:
            msg = f"a crystal of {atoms.max()} atoms does not fit into {size} nodes"
            raise InputError(msg)
        rows = _ranges(self._first_atom[indices], atoms)
        degrees = self.degrees[rows]
        edges = _ranges(self._first_edge[rows], degrees)
        at_node = (np.repeat(np.arange(len(indices)), atoms), _counting(atoms))
        at_edge = (*(np.repeat(place, degrees) for place in at_node), _counting(degrees))
        shape = (len(indices), size, int(degrees.max(initial=1)))
        return GraphBatch(
            _padded(shape[:2], at_node, self.numbers[rows]),
            _padded(shape, at_edge, self.neighbours[edges]),
            _padded(shape, at_edge, self.distances[edges]),
            _padded(shape, at_edge, self.weights[edges]),
        )

    def batches(self, size: int = 256) -> Iterator[GraphBatch]:
        """Yield all graphs in their order, in batches of at most ``size`` crystals."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))

    @cached_property
    def _first_atom(self) -> np.ndarray:
        return np.cumsum(self.atoms) - self.atoms

    @cached_property
    def _first_edge(self) -> np.ndarray:
        return np.cumsum(self.degrees) - self.degrees


def _counting(counts: np.ndarray) -> np.ndarray:
    """Return 0, 1, ... up to each count, one after another."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the consecutive numbers from each start, one after another."""
    return np.repeat(starts, counts) + _counting(counts)


def _padded(shape: tuple[int, ...], where: tuple[np.ndarray, ...], values: np.ndarray) -> torch.Tensor:
    padded = np.zeros(shape, dtype=values.dtype)
    padded[where] = values
    return torch.from_numpy(padded)
