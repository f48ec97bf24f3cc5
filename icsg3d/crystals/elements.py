"""Element data that the array layer needs, as plain numpy tables indexed by atomic number.

The values are pymatgen's (``Element.average_ionic_radius``, ``atomic_radius``, ``X``, ``row``, ``group``), kept in
``elements.csv`` so that training runs where pymatgen is not installed; a test compares the two.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NUMBER = 94
"""Heaviest element known to the package (plutonium)."""

N_CLASSES = MAX_NUMBER + 1
"""Classes of a species map: background (0) and the elements 1 to 94."""

N_PERIODS = 7
N_COLUMNS = 32
"""Columns of the long periodic table: s-block 1-2, f-block 3-16, group 3 as 17, groups 4-18 as 18-32."""

DEFAULT_IONIC_RADIUS = 1.2
"""Angstrom; for the elements pymatgen has no ionic radius of."""

DEFAULT_ATOMIC_RADIUS = 1.5
"""Angstrom; for the elements pymatgen has no atomic radius of."""


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with resources.files("icsg3d.crystals").joinpath("elements.csv").open() as file:
        return tuple(csv.DictReader(file))


def _column(name: str, missing: float) -> np.ndarray:
    values = np.full(N_CLASSES, missing)
    for row in _rows():
        if row[name]:
            values[int(row["number"])] = float(row[name])
    values.flags.writeable = False
    return values


@cache
def symbols() -> tuple[str, ...]:
    """Element symbols by atomic number; the entry 0 is an empty string."""
    return ("", *(row["symbol"] for row in _rows()))


@cache
def ionic_radii() -> np.ndarray:
    """Mean ionic radii in angstrom, shape (95,); 1.2 where pymatgen has none."""
    return _column("ionic_radius", DEFAULT_IONIC_RADIUS)


@cache
def atomic_radii() -> np.ndarray:
    """Atomic radii in angstrom, shape (95,); 1.5 where pymatgen has none."""
    return _column("atomic_radius", DEFAULT_ATOMIC_RADIUS)


@cache
def electronegativities() -> np.ndarray:
    """Pauling electronegativities, shape (95,); 5, above all others, where there is none."""
    return _column("electronegativity", 5.0)


@cache
def covalent_radii() -> np.ndarray:
    """Covalent radii in angstrom (Cordero et al. 2008), shape (95,); 1.5 where pymatgen has none."""
    return _column("covalent_radius", 1.5)


@cache
def chemistry_vectors() -> np.ndarray:
    """One-hot period and column of the long periodic table for each element, shape (95, 39); row 0 is zero."""
    vectors = np.zeros((N_CLASSES, N_PERIODS + N_COLUMNS), dtype=np.float32)
    for row in _rows():
        number = int(row["number"])
        vectors[number, int(row["period"]) - 1] = 1.0
        vectors[number, N_PERIODS + int(row["column"]) - 1] = 1.0
    vectors.flags.writeable = False
    return vectors


@dataclass(frozen=True)
class _Bins:
    """Equal bins of a property, one-hot; what lies outside goes to the first or last, what is unknown to none."""

    column: str
    low: float
    high: float
    count: int
    logarithm: bool = False
    scale: float = 1.0

    def one_hot(self) -> np.ndarray:
        values = _column(self.column, np.nan) * self.scale
        if self.logarithm:
            values = np.log(values)
        known = np.isfinite(values)
        place = np.floor((values[known] - self.low) / (self.high - self.low) * self.count).astype(int)
        vectors = np.zeros((N_CLASSES, self.count), dtype=np.float32)
        vectors[np.flatnonzero(known), np.clip(place, 0, self.count - 1)] = 1.0
        return vectors


_BLOCKS = "spdf"
_MAX_VALENCE = 12
_N_GROUPS = 18


def _valence_electrons(row: Mapping[str, str]) -> int:
    """Return the number of outer electrons: s and p of the main groups, s and d of the others, 2 in the f-block."""
    if row["block"] == "f" or row["symbol"] == "He":
        return 2
    return int(row["group"]) - 10 if row["block"] == "p" else int(row["group"])


def _one_hot(places: list[int], count: int) -> np.ndarray:
    """Return one-hot vectors of the elements 1 to 94, shape (95, count)."""
    vectors = np.zeros((N_CLASSES, count), dtype=np.float32)
    vectors[np.arange(1, N_CLASSES), places] = 1.0
    return vectors


@cache
def graph_features() -> np.ndarray:
    """Node features of crystal graphs, those of Xie and Grossman (Phys. Rev. Lett. 120, 145301, 2018), shape (95, 92).

    One-hot blocks, in this order and with these bins:

    ====================================  =====  =======================================
    property                              bins   edges
    ====================================  =====  =======================================
    group (f-block 0, then 1 to 18)       19     one a group
    period                                7      one a period
    Pauling electronegativity             10     0.5 to 4.0, step 0.35
    covalent radius (pm)                  10     25 to 250, step 22.5
    valence electrons                     12     1 to 12
    first ionisation energy (log of eV)   10     1.3 to 3.3, step 0.2
    electron affinity (eV)                10     -3.0 to 3.7, step 0.67
    block                                 4      s, p, d, f
    molar volume (log of cm^3/mol)        10     1.5 to 4.3, step 0.28
    ====================================  =====  =======================================

    Values are pymatgen's (covalent radii: its ``CovalentRadius``, from Cordero et al. 2008). Where pymatgen has none
    (the electronegativity of He, Ne and Ar, the molar volume of At and Fr), that block is zero, as in the published
    file. Row 0 is zero.
    """
    parts = [
        _one_hot([0 if row["block"] == "f" else int(row["group"]) for row in _rows()], _N_GROUPS + 1),
        _one_hot([int(row["period"]) - 1 for row in _rows()], N_PERIODS),
        _Bins("electronegativity", 0.5, 4.0, 10).one_hot(),
        _Bins("covalent_radius", 25, 250, 10, scale=100).one_hot(),
        _one_hot([_valence_electrons(row) - 1 for row in _rows()], _MAX_VALENCE),
        _Bins("ionization_energy", 1.3, 3.3, 10, logarithm=True).one_hot(),
        _Bins("electron_affinity", -3.0, 3.7, 10).one_hot(),
        _one_hot([_BLOCKS.index(row["block"]) for row in _rows()], len(_BLOCKS)),
        _Bins("molar_volume", 1.5, 4.3, 10, logarithm=True).one_hot(),
    ]
    vectors = np.concatenate(parts, axis=1)
    vectors[0] = 0.0
    vectors.flags.writeable = False
    return vectors
