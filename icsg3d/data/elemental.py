"""Ground states of the elements, against which formation energies are measured."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

from pymatgen.core import Structure

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def elemental_ground_states() -> Mapping[str, Structure]:
    """Return the crystal of lowest energy of each of 88 elements, by symbol, as a symmetrised primitive cell.

    Source: the Materials Project (PBE), as collected by matcalc; the file says more. There is none for ytterbium.
    """
    table = json.loads((files("icsg3d.data") / "elemental_ground_states.json").read_text())["elements"]
    return MappingProxyType(
        {
            symbol: Structure(entry["lattice"], [symbol] * len(entry["frac_coords"]), entry["frac_coords"])
            for symbol, entry in table.items()
        }
    )
