"""Oxidation states for VASP: pymatgen's input sets choose magnetic moments by species with a charge.

Manganese starts with 5 Bohr magnetons, but Mn3+ with 4 and Mn4+ with 3, and the minimum that is found depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobflow import Maker
from pymatgen.core import Element

from icsg3d.crystals.charges import charge_balance

if TYPE_CHECKING:
    from pymatgen.core import Structure


def runs_vasp(maker: Any) -> bool:
    """Return whether a maker, or one among its arguments, is of atomate2's for VASP."""
    if any(each.__module__.startswith("atomate2.vasp.") for each in type(maker).__mro__):
        return True
    return any(runs_vasp(each) for each in vars(maker).values() if isinstance(each, Maker))


def with_oxidation_states(structure: Structure) -> Structure:
    """Return a crystal with the oxidation state of each site, as :func:`icsg3d.crystals.charges.charge_balance` has it.

    A crystal is returned as it is where sites have states or are disordered, where charges balance with none or rare
    ones, and where an element is in two of them (mixed valence), as nothing tells which site has which.

    Args:
        structure: The crystal, which is left as it is.
    """
    if not structure.is_ordered or not all(isinstance(site.specie, Element) for site in structure):
        return structure
    found = charge_balance(structure.composition)
    if found.kind != "ionic" or any(len(set(states)) > 1 for states in found.states.values()):
        return structure
    whole: dict[str, float] = {symbol: states[0] for symbol, states in found.states.items()}
    return structure.copy().add_oxidation_state_by_element(whole)
