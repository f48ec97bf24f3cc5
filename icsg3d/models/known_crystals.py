"""The training crystals of a latent-grid generator, compactly: where its draws begin."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.crystals.arrays import CrystalArrays, lattice_from_parameters, lattice_parameters
from icsg3d.crystals.elements import MAX_NUMBER
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PREFIX = "known."
_STEPS = 2**16
"""Into so many parts a cell vector is divided: sites are kept to 0.0003 angstrom in a cell of 20 angstrom."""


@dataclass(frozen=True)
class KnownCrystals:
    """Training crystals with what is known of each.

    Attributes:
        parameters: Log lengths and cosines of the angles, shape (n, 6), float32.
        atoms: Number of atoms, shape (n,), uint8.
        bins: Bin of the energy, shape (n,), int8, negative where unknown.
        begins: Whether draws may begin at a crystal, shape (n,), uint8; all do where none is marked.
        numbers: Atomic numbers of one crystal after the other, shape (total,), uint8.
        sites: Fractional coordinates in steps of 2^-16, shape (total, 3), uint16.
    """

    parameters: np.ndarray
    atoms: np.ndarray
    bins: np.ndarray
    begins: np.ndarray
    numbers: np.ndarray
    sites: np.ndarray

    @classmethod
    def of(cls, crystals: Sequence[CrystalArrays], bins: np.ndarray, begins: np.ndarray | None = None) -> KnownCrystals:
        """Collect crystals in reduced cells with their bins.

        Args:
            crystals: In reduced cells.
            bins: Of their energies, shape (n,).
            begins: At which of them draws may begin, shape (n,); None for all.
        """
        lattices = torch.as_tensor(np.stack([crystal.lattice for crystal in crystals]), dtype=torch.float32)
        frac_coords = np.concatenate([crystal.frac_coords for crystal in crystals])
        return cls(
            lattice_parameters(lattices).numpy(),
            np.array([len(crystal) for crystal in crystals], dtype=np.uint8),
            bins.astype(np.int8),
            (np.ones(len(crystals)) if begins is None else begins).astype(np.uint8),
            np.concatenate([crystal.numbers for crystal in crystals]).astype(np.uint8),
            (np.rint(frac_coords * _STEPS).astype(np.int64) % _STEPS).astype(np.uint16),
        )

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.atoms)

    def rows(self, bins: int, elements: frozenset[int], within: frozenset[int] = frozenset()) -> np.ndarray:
        """Return the rows of crystals at which draws for a bin (any, where negative) and a set of elements begin.

        Those whose elements are the given ones count; where there are none, those that have as many elements.

        Args:
            bins: Of the energy.
            elements: Atomic numbers; none for any.
            within: Atomic numbers of the elements that a crystal may have, if ``elements`` is empty; none for any.
                Compounds count, or elements where there are no compounds.

        Raises:
            InputError: if no crystal is in the bin, or has allowed elements alone.
        """
        fits = self.begins.astype(bool) if self.begins.any() else np.ones(len(self), dtype=bool)
        fits &= self.bins == bins if bins >= 0 else True
        if not fits.any():
            msg = f"no training crystal has an energy in bin {bins}; ask for another"
            raise InputError(msg)
        if not elements:
            return np.flatnonzero(self._within(fits, within) if within else fits)
        asked = _flags(elements)
        same = fits & ~(self._present ^ asked).any(1)
        alike = fits & (self._present.sum(1) == len(elements))
        return np.flatnonzero(same if same.any() else alike if alike.any() else fits)

    def _within(self, fits: np.ndarray, allowed: frozenset[int]) -> np.ndarray:
        found = fits & ~(self._present & ~_flags(allowed)).any(1)
        compounds = found & (self._present.sum(1) > 1)
        found = compounds if compounds.any() else found
        if not found.any():
            msg = "no training crystal has the allowed elements alone; allow more of them, or name another --model"
            raise InputError(msg)
        return found

    def crystal(self, row: int | np.integer) -> CrystalArrays:
        """Return one crystal in its reduced cell, the first vector along x."""
        lattice = lattice_from_parameters(torch.as_tensor(self.parameters[row : row + 1]).double())[0].numpy()
        part = slice(self._starts[row], self._starts[row] + int(self.atoms[row]))
        return CrystalArrays(self.numbers[part].astype(np.int64), self.sites[part] / _STEPS, lattice)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the crystals as tensors for a weights file."""
        arrays = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {f"{_PREFIX}{name}": torch.as_tensor(array) for name, array in arrays.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> KnownCrystals:
        """Return what :meth:`tensors` gave.

        Raises:
            KeyError: if one is missing.
            InputError: if they do not fit together.
        """
        found = cls(**{each.name: tensors[f"{_PREFIX}{each.name}"].numpy() for each in dataclasses.fields(cls)})
        n, total = len(found), int(found.atoms.astype(np.int64).sum())
        shapes = {"parameters": (n, 6), "bins": (n,), "begins": (n,), "numbers": (total,), "sites": (total, 3)}
        wrong = [name for name, shape in shapes.items() if getattr(found, name).shape != shape]
        if wrong or not 1 <= found.numbers.min() <= found.numbers.max() <= MAX_NUMBER:
            msg = f"the known crystals of the model do not fit together ({', '.join(wrong) or 'atomic numbers'})"
            raise InputError(msg)
        return found

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum(self.atoms.astype(np.int64)) - self.atoms

    @cached_property
    def _present(self) -> np.ndarray:
        """Which elements are in which crystal, shape (n, 94)."""
        present = np.zeros((len(self), MAX_NUMBER), dtype=bool)
        present[np.repeat(np.arange(len(self)), self.atoms), self.numbers.astype(np.int64) - 1] = True
        return present


def _flags(numbers: frozenset[int]) -> np.ndarray:
    """Return which elements are among some, shape (94,), of their atomic numbers."""
    flags = np.zeros(MAX_NUMBER, dtype=bool)
    flags[np.array(sorted(numbers)) - 1] = True
    return flags
