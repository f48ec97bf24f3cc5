"""Training crystals as compact arrays in one compressed file, readable without pymatgen."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.arrays import CrystalArrays, CrystalBatch
from icsg3d.errors import InputError
from icsg3d.models.storage import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            msg = f"{path} is not a set of crystals written by icsg3d ({error}); give the data file it was made from"
            raise InputError(msg) from error
