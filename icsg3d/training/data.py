"""Training crystals and graphs as compact arrays in one compressed file, readable without pymatgen."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.errors import InputError
from icsg3d.files import write_atomically
from icsg3d.representation.environments import EnvironmentSet
from icsg3d.representation.graphs import GraphSet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


_NO_NPZ = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for a file that is no ``.npz`` of the expected content."""


_LARGEST_SEED = 2**53 - 1
"""What any reader of a record's JSON takes exactly, and what fits torch's 64 bits a thousandfold."""


def check_seed(seed: int) -> None:
    """Refuse a seed that numpy or torch would stumble over, perhaps hours later.

    Raises:
        InputError: if it is negative or absurdly large.
    """
    if not 0 <= seed <= _LARGEST_SEED:
        raise InputError(f"a seed is a whole number of 0 or more, up to {_LARGEST_SEED}, got {seed}; give another one")


def seed_of(*numbers: int) -> int:
    """Return a seed that depends on all of the given numbers, such as the user's seed and the step.

    They are mixed, not put side by side: large ones would be out of torch's range, and of a seed for its random numbers
    on a CPU only the last 32 bits count.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Indices(Dataset[int]):
    """The numbers below ``size``: crystals stay where they are, only their indices are shuffled and batched."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        """Return the number of indices."""
        return self.size

    def __getitem__(self, index: int) -> int:
        """Return the index itself."""
        return index


@dataclass(frozen=True)
class PropertySet:
    """Crystal graphs with the values of one property.

    Attributes:
        graphs: Of the crystals.
        values: Of the property in its unit, shape (n,).
        ids: A name of each crystal.
        formulas: Reduced formula of each crystal.
        scales: Zero of each value, shape (n,): 0 for the property's own, others for values against other references,
            which differ by a constant per element.
    """

    graphs: GraphSet | EnvironmentSet
    values: np.ndarray
    ids: Sequence[str]
    formulas: Sequence[str]
    scales: np.ndarray

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.values)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(int(z) for z in np.unique(self.graphs.numbers))

    def subset(self, keep: np.ndarray) -> PropertySet:
        """Return the crystals of the given indices."""
        ids, formulas = ([names[i] for i in keep] for names in (self.ids, self.formulas))
        return PropertySet(self.graphs.subset(keep), self.values[keep], ids, formulas, self.scales[keep])

    @classmethod
    def joined(cls, sets: Sequence[PropertySet]) -> PropertySet:
        """Put sets one after another."""
        return cls(
            cast("Any", type(sets[0].graphs)).joined([each.graphs for each in sets]),
            np.concatenate([each.values for each in sets]),
            [name for each in sets for name in each.ids],
            [formula for each in sets for formula in each.formulas],
            np.concatenate([each.scales for each in sets]),
        )


def save_graphs(graphs: GraphSet | EnvironmentSet, path: Path) -> None:
    """Write graphs to an ``.npz`` file."""
    buffer = io.BytesIO()
    np.savez(buffer, **{field.name: getattr(graphs, field.name) for field in fields(graphs)})
    write_atomically(path, buffer.getvalue())


def load_graphs(path: Path) -> GraphSet | EnvironmentSet:
    """Read what :func:`save_graphs` wrote.

    Raises:
        InputError: if the file is missing or is something else.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            kind = EnvironmentSet if "moments" in file.files else GraphSet
            return kind(**{field.name: file[field.name] for field in fields(kind)})
    except _NO_NPZ as error:
        msg = f"{path} holds no crystal graphs written by icsg3d ({error}); delete it, it will be made again"
        raise InputError(msg) from error


@dataclass(frozen=True)
class CrystalSet:
    """Crystals with their names and, where known, formation energies.

    Attributes:
        crystals: Primitive cells.
        ids: A name of each.
        energies: Formation energies in eV/atom, shape (n,), NaN where unknown.
    """

    crystals: Sequence[CrystalArrays]
    ids: Sequence[str]
    energies: np.ndarray

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.crystals)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(int(z) for z in np.unique(np.concatenate([c.numbers for c in self.crystals])))

    def subset(self, keep: Sequence[int] | np.ndarray) -> CrystalSet:
        """Return the crystals of the given indices."""
        return CrystalSet([self.crystals[i] for i in keep], [self.ids[i] for i in keep], self.energies[list(keep)])

    def balanced(self, least: float) -> CrystalSet:
        """Return the set with rare sizes repeated.

        Args:
            least: Share that the crystals of each number of atoms shall have of the set as it is.
        """
        sizes = np.array([len(crystal) for crystal in self.crystals])
        rows = [np.arange(len(self))]
        for size in np.unique(sizes):
            own = np.flatnonzero(sizes == size)
            rows += [own] * (math.ceil(least * len(self) / len(own) - 1e-9) - 1)
        return self.subset(np.concatenate(rows))

    def with_unlabelled(self, crystals: Sequence[CrystalArrays]) -> CrystalSet:
        """Return the set with further crystals, of which neither name nor energy is known."""
        unknown = np.full(len(crystals), np.nan)
        return CrystalSet(
            [*self.crystals, *crystals], [*self.ids, *[""] * len(crystals)], np.append(self.energies, unknown)
        )

    def energy_edges(self, bins: int = 10) -> tuple[float, ...]:
        """Return the inner edges of quantile bins of the known energies, or none if there are too few."""
        known = self.energies[np.isfinite(self.energies)]
        if len(known) < 10 * bins:
            return ()
        return tuple(float(edge) for edge in np.quantile(known, np.arange(1, bins) / bins))

    def batch(self, device: torch.device | str = "cpu") -> CrystalBatch:
        """Return all crystals as one padded batch."""
        return CrystalBatch.from_arrays(self.crystals, device=device)

    def save(self, path: Path) -> None:
        """Write to an ``.npz`` file."""
        batch = self.batch()
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            numbers=batch.numbers.numpy().astype(np.int8),
            frac_coords=batch.frac_coords.numpy(),
            lattice=batch.lattice.numpy(),
            ids=np.asarray(self.ids, dtype=np.str_),
            energies=self.energies,
        )
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> CrystalSet:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: if the file is missing or is something else.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                batch = CrystalBatch(
                    torch.as_tensor(file["numbers"].astype(np.int64)),
                    torch.as_tensor(file["frac_coords"], dtype=torch.float32),
                    torch.as_tensor(file["lattice"], dtype=torch.float32),
                )
                return cls(batch.arrays(), [str(i) for i in file["ids"]], file["energies"].astype(float))
        except _NO_NPZ as error:
            msg = f"{path} is not a set of crystals written by icsg3d ({error}); give the data file it was made from"
            raise InputError(msg) from error
