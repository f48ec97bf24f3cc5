"""Compact arrays: many crystals with their properties in one ``.npz`` file, readable with numpy alone.

Arrays of the file: ``ids`` (n,), ``natoms`` (n,), ``Z`` (atoms,), ``frac`` (atoms, 3), ``lattice`` (n, 3, 3) in
angstrom with the vectors as rows, and any number of columns of length n, NaN where nothing is known. The atoms of a
crystal are the slice between the cumulated ``natoms``.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.elements import N_CLASSES, symbols
from icsg3d.errors import InputError
from icsg3d.files import write_atomically
from icsg3d.limits import BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

_STRUCTURE = ("ids", "natoms", "Z", "frac", "lattice")
_NO_NPZ = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)

_K, _G, _N = "log10_bulk_modulus", "log10_shear_modulus", "refractive_index"

_DERIVED: dict[str, tuple[tuple[str, ...], Callable[..., np.ndarray]]] = {
    "bulk_modulus": ((_K,), lambda k: 10.0**k),
    "shear_modulus": ((_G,), lambda g: 10.0**g),
    "poisson_ratio": ((_K, _G), lambda k, g: (3 * 10.0**k - 2 * 10.0**g) / (6 * 10.0**k + 2 * 10.0**g)),
    "dielectric_electronic": ((_N,), np.square),
}
"""Properties that follow from columns, by name: the columns, and how."""


@dataclass(frozen=True)
class CompactCrystals:
    """Crystals in flat arrays.

    Attributes:
        ids: Name of each crystal.
        atoms: Number of atoms of each, shape (n,).
        numbers: Atomic numbers of all crystals, one after another.
        frac_coords: Their fractional coordinates, shape (atoms, 3).
        lattices: Lattice vectors as rows, angstrom, shape (n, 3, 3).
        columns: Further columns by name, each of shape (n,).
    """

    ids: list[str]
    atoms: np.ndarray
    numbers: np.ndarray
    frac_coords: np.ndarray
    lattices: np.ndarray
    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.ids)

    @classmethod
    def of(
        cls, ids: Sequence[str], crystals: Sequence[CrystalArrays], columns: Mapping[str, np.ndarray]
    ) -> CompactCrystals:
        """Put crystals one after another.

        Raises:
            InputError: if names, crystals and columns are of different number, or there are none.
        """
        if not crystals or len(ids) != len(crystals) or any(len(each) != len(crystals) for each in columns.values()):
            msg = f"{len(crystals)} crystals need as many names and values, and at least one; got {len(ids)} names"
            raise InputError(msg)
        return cls(
            list(ids),
            np.array([len(crystal) for crystal in crystals]),
            np.concatenate([crystal.numbers for crystal in crystals]),
            np.concatenate([crystal.frac_coords for crystal in crystals]),
            np.stack([crystal.lattice for crystal in crystals]),
            columns,
        )

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum(self.atoms) - self.atoms

    def crystal(self, row: int | np.integer[Any]) -> CrystalArrays:
        """Return one crystal."""
        part = slice(self._starts[row], self._starts[row] + self.atoms[row])
        return CrystalArrays(self.numbers[part], self.frac_coords[part], self.lattices[row])

    @property
    def crystals(self) -> list[CrystalArrays]:
        """All crystals, one after the other."""
        return [self.crystal(row) for row in range(len(self))]

    @cached_property
    def formulas(self) -> list[str]:
        """Reduced formulas, as pymatgen writes them."""
        return [reduced_formula(self.crystal(row).numbers) for row in range(len(self))]

    def column(self, name: str) -> np.ndarray | None:
        """Return a property in its unit, from other columns where it has none of its own; None if it cannot be had.

        Moduli are powers of ten of their logarithms, the isotropic Poisson ratio follows from both of them, and the
        electronic dielectric constant is the square of the refractive index.
        """
        if name in self.columns:
            return self.columns[name]
        needed, made = _DERIVED.get(name, ((), np.array))
        return made(*(self.columns[each] for each in needed)) if needed and set(needed) <= set(self.columns) else None


def composition_key(numbers: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the atomic numbers of atoms, ascending, with their counts in lowest terms: a formula without pymatgen."""
    kinds, counts = np.unique(numbers, return_counts=True)
    return tuple(zip(kinds.tolist(), (counts // np.gcd.reduce(counts)).tolist(), strict=True))


def reduced_formula(numbers: np.ndarray) -> str:
    """Return the reduced formula of atoms, written as pymatgen does but for polyatomic anions.

    Elements stand in the order of their electronegativity; formulas of one crystal are equal to those of another
    exactly if their compositions are.
    """
    return _formula(composition_key(numbers))


@lru_cache(maxsize=2**18)
def _formula(key: tuple[tuple[int, int], ...]) -> str:
    from pymatgen.core import Composition

    return Composition({symbols()[number]: count for number, count in key}).reduced_formula


def read_compact(path: Path) -> CompactCrystals:
    """Read compact arrays.

    Raises:
        InputError: if the file is missing, is something else, or its arrays do not fit together.
    """
    return next(iter_compact(path, None))


def iter_compact(path: Path, size: int | None) -> Iterator[CompactCrystals]:
    """Read compact arrays, so many crystals at a time, all of them without a number.

    Raises:
        InputError: as in :func:`read_compact`.
    """
    with _opened(path) as arrays:
        columns = [name for name, array in arrays.items() if name not in _STRUCTURE and _is_column(array, arrays)]
        atoms = arrays["natoms"].take(len(arrays["natoms"])).astype(np.int64)
        _check(arrays, atoms, path)
        for start in range(0, len(atoms), size or len(atoms)):
            part = atoms[start : start + (size or len(atoms))]
            numbers = arrays["Z"].take(int(part.sum())).astype(np.int64)
            if numbers.min() < 1 or numbers.max() >= N_CLASSES:
                raise InputError(f"{path} has atomic numbers outside 1 to {N_CLASSES - 1}; correct Z")
            yield CompactCrystals(
                [str(name) for name in arrays["ids"].take(len(part))],
                part,
                numbers,
                arrays["frac"].take(len(numbers)).astype(float),
                arrays["lattice"].take(len(part)).astype(float),
                {name: arrays[name].take(len(part)).astype(float) for name in columns},
            )


def count_compact(path: Path) -> int:
    """Return the number of crystals.

    Raises:
        InputError: as in :func:`read_compact`.
    """
    with _opened(path) as arrays:
        return len(arrays["natoms"])


class _Array:
    """An array of a file, of which rows are taken one after another."""

    def __init__(self, file: IO[bytes]) -> None:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            msg = f"an array is of the version {version}"
            raise ValueError(msg)
        self.shape, fortran, self.dtype = read(file)
        if self.dtype.hasobject:
            msg = "an array holds objects, which are not unpickled"
            raise ValueError(msg)
        self._order: Literal["C", "F"] = "F" if fortran and len(self.shape) > 1 else "C"
        self._file, self._taken = file, 0
        self._all: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.shape[0]) if self.shape else 0

    def take(self, rows: int) -> np.ndarray:
        """Return the next rows.

        Raises:
            ValueError: if the file ends before.
        """
        if self._order == "F":
            if self._all is None:
                self._all = self._read(self.shape)
            self._taken += rows
            return self._all[self._taken - rows : self._taken]
        return self._read((rows, *self.shape[1:]))

    def _read(self, shape: tuple[int, ...]) -> np.ndarray:
        wanted = math.prod(shape) * self.dtype.itemsize
        BYTES.check(wanted, "an array has", "split it")
        data = self._file.read(wanted)
        if len(data) < wanted:
            msg = "an array ends too early"
            raise ValueError(msg)
        return np.frombuffer(data, self.dtype).reshape(shape, order=self._order)


@contextmanager
def _opened(path: Path) -> Iterator[dict[str, _Array]]:
    """Open all arrays of a file at their first rows."""
    try:
        with ExitStack() as stack:
            packed = stack.enter_context(zipfile.ZipFile(path))
            names = [name for name in packed.namelist() if name.endswith(".npy")]
            yield {name[: -len(".npy")]: _Array(stack.enter_context(packed.open(name))) for name in names}
    except _NO_NPZ as error:
        msg = f"{path} holds no compact arrays ({error}); give a file with {', '.join(_STRUCTURE)}"
        raise InputError(msg) from error


def _is_column(array: _Array, arrays: Mapping[str, _Array]) -> bool:
    return array.shape == arrays["ids"].shape and array.dtype.kind in "fiu"


def _check(arrays: Mapping[str, _Array], atoms: np.ndarray, path: Path) -> None:
    total, n = int(atoms.sum()), len(arrays["ids"])
    shapes = tuple(arrays[name].shape for name in ("natoms", "Z", "frac", "lattice"))
    if n == 0 or shapes != ((n,), (total,), (total, 3), (n, 3, 3)) or atoms.min() < 1:
        msg = f"the arrays of {path} do not fit together (natoms add up to {total}); write the file again"
        raise InputError(msg)


def write_compact(crystals: CompactCrystals, path: Path) -> None:
    """Write compact arrays, compressed."""
    columns: dict[str, Any] = {name: values.astype(np.float32) for name, values in crystals.columns.items()}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        ids=np.asarray(crystals.ids, dtype=np.str_),
        natoms=crystals.atoms.astype(np.int16),
        Z=crystals.numbers.astype(np.uint8),
        frac=crystals.frac_coords.astype(np.float32),
        lattice=crystals.lattices.astype(np.float32),
        **columns,
    )
    write_atomically(path, buffer.getvalue())
