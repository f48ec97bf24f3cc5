"""Prototypes of further stoichiometries: those of the AFLOW library that pymatgen ships, and two it lacks.

M. J. Mehl et al., Comput. Mater. Sci. 136, S1 (2017); D. Hicks et al., Comput. Mater. Sci. 161, S1 (2019).
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from itertools import permutations
from typing import TYPE_CHECKING, Any

from monty.serialization import loadfn
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.matching import Duplicates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymatgen.core import Element

AFLOW = {
    (1, 2): {
        "fluorite": "AB2_cF12_225_a_c",
        "rutile": "A2B_tP6_136_f_a",
        "cadmium iodide": "AB2_hP3_164_a_d",
        "molybdenite": "AB2_hP6_194_c_f",
        "pyrite": "AB2_cP12_205_a_c",
        "cuprite": "A2B_cP6_224_b_a",
        "cotunnite": "A2B_oP12_62_2c_c",
        "cubic Laves": "A2B_cF24_227_d_a",
        "aluminium diboride": "AB2_hP3_191_a_d",
        "molybdenum disilicide": "AB2_tI6_139_a_e",
    },
    (1, 3): {
        "rhenium trioxide": "A3B_cP4_221_d_a",
        "bismuth triiodide": "AB3_hR8_148_c_f",
        "aluminium trifluoride": "AB3_hR8_155_c_de",
        "copper-gold": "AB3_cP4_221_a_c",
        "bismuth trifluoride": "AB3_cF16_225_a_bc",
        "titanium trialuminide": "A3B_tI8_139_bd_a",
        "nickel-tin": "A3B_hP8_194_h_c",
        "sodium arsenide": "AB3_hP8_194_c_bf",
        "A15": "A3B_cP8_223_c_a",
    },
    (1, 1, 1): {
        "half-Heusler": "ABC_cF12_216_b_c_a",
        "matlockite": "ABC_tP6_129_c_a_c",
        "lithium boron carbide": "ABC_hP6_194_c_d_a",
        "ullmannite": "ABC_cP12_198_a_a_a",
    },
    (1, 2, 4): {
        "spinel": "A2BC4_cF56_227_d_a_e",
        "potassium nickel fluoride": "AB2C4_tI14_139_a_e_ce",
        "defect chalcopyrite": "A2BC4_tI14_82_bc_a_g",
    },
}
"""Labels in the AFLOW library by the names under which they are shown, by the numbers of the formula in order."""


@cache
def _library() -> Mapping[str, Structure]:
    """Return the crystals of the library by label."""
    path = resources.files("pymatgen.analysis.prototypes").joinpath("aflow_prototypes.json.gz")
    return {each["tags"]["aflow"]: each["snl"].structure for each in loadfn(str(path))}


def stoichiometries() -> list[tuple[int, ...]]:
    """Return the numbers of formulas that :func:`further_prototypes` knows, each in ascending order."""
    return [*AFLOW, (1, 2, 6), (1, 1, 2, 6)]


def further_prototypes(amounts: Mapping[Element, int]) -> dict[str, Structure]:
    """Return the primitive cells of the prototypes of a formula by name, with its elements on all sites they can take.

    Cells have the shape of the prototype's own crystal, and its size: scale them before use.

    Args:
        amounts: Numbers of the reduced formula, whose stoichiometry is one of :func:`stoichiometries`.
    """
    numbers = tuple(sorted(amounts.values()))
    if numbers in ((1, 2, 6), (1, 1, 2, 6)):
        return _halides(amounts)
    found = {}
    for name, label in AFLOW[numbers].items():
        parent = _library()[label].get_primitive_structure()
        there = {element: int(n) for element, n in parent.composition.reduced_composition.items()}
        duplicates, number = Duplicates(), 0
        for places in _assignments(there, amounts):
            copy = parent.copy()
            copy.replace_species(dict(places))
            if duplicates.first_of(number, copy) is None:
                number += 1
                found[name if number == 1 else f"{name}, arrangement {number}"] = copy
    return found


def _assignments(places: Mapping[Any, int], amounts: Mapping[Element, int]) -> list[dict[Any, Element]]:
    """Return all ways to put elements on places of a prototype that give the formula."""
    kinds = list(places)
    return [
        dict(zip(kinds, chosen, strict=True))
        for chosen in permutations(sorted(amounts, key=lambda element: element.Z))
        if all(amounts[element] == places[kind] for kind, element in zip(kinds, chosen, strict=True))
    ]


def _halides(amounts: Mapping[Element, int]) -> dict[str, Structure]:
    """Return the elpasolite (A2BB'X6, as K2NaAlF6) or the antifluorite (A2BX6, as K2PtCl6) of a formula."""
    by_number = sorted(amounts, key=lambda element: (amounts[element], element.Z))
    *ones, two, six = by_number
    edge = 10.0
    if len(ones) == 1:
        sites: list[list[float]] = [[0, 0, 0], [0.25] * 3, [0.24, 0, 0]]
        species = [ones[0], two, six]
        name = "potassium hexachloroplatinate"
    else:
        sites = [[0, 0, 0], [0.5] * 3, [0.25] * 3, [0.25, 0, 0]]
        species = [*ones, two, six]
        name = "elpasolite"
    cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), species, sites)
    return {name: cell.get_primitive_structure()}
