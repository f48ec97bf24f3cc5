"""Element data that the array layer needs, as plain numpy tables indexed by atomic number.

The values are pymatgen's (``Element.average_ionic_radius``, ``atomic_radius``, ``X``, ``row``, ``group``), kept in
``elements.csv`` so that training runs where pymatgen is not installed; a test compares the two.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

import numpy as np

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
    with resources.files("icsg3d").joinpath("elements.csv").open() as file:
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
def chemistry_vectors() -> np.ndarray:
    """One-hot period and column of the long periodic table for each element, shape (95, 39); row 0 is zero."""
    vectors = np.zeros((N_CLASSES, N_PERIODS + N_COLUMNS), dtype=np.float32)
    for row in _rows():
        number = int(row["number"])
        vectors[number, int(row["period"]) - 1] = 1.0
        vectors[number, N_PERIODS + int(row["column"]) - 1] = 1.0
    vectors.flags.writeable = False
    return vectors
