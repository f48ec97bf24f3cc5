"""Ground states of the elements, against which formation energies are measured."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pymatgen.core import Structure

from icsg3d.crystals.structures import from_arrays, primitive_cell
from icsg3d.crystals.symmetry import symmetrised

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROUNDING = 1e-3
"""Angstrom; the file's numbers have six decimals, and engines that use symmetry want it exact."""


@cache
def elemental_ground_states() -> Mapping[str, Structure]:
    """Return the crystal of lowest energy of each of 88 elements, by symbol, as an exactly symmetric Niggli cell.

    A compact cell and exact symmetry are what makes an element cheap: of the k-points of yttrium's given cell GPAW
    found 205 to differ.

    Source: the Materials Project (PBE), as collected by matcalc; the file says more. There is none for ytterbium.
    """
    table = json.loads((files("icsg3d.data") / "elemental_ground_states.json").read_text())["elements"]
    return MappingProxyType({symbol: _crystal(symbol, entry) for symbol, entry in table.items()})


def _crystal(symbol: str, entry: Mapping[str, Any]) -> Structure:
    given = Structure(entry["lattice"], [symbol] * len(entry["frac_coords"]), entry["frac_coords"])
    cell, _ = primitive_cell(given)
    return from_arrays(symmetrised(cell, _ROUNDING))
