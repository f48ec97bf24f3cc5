"""Prototypes of further stoichiometries: those of the AFLOW library that pymatgen ships, and two it lacks.

M. J. Mehl et al., Comput. Mater. Sci. 136, S1 (2017); D. Hicks et al., Comput. Mater. Sci. 161, S1 (2019).
"""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from importlib import resources
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Element, Structure

from icsg3d.crystals.matching import Duplicates
from icsg3d.crystals.structures import cubic_structure, to_arrays
from icsg3d.crystals.symmetry import space_group

if TYPE_CHECKING:
    from collections.abc import Mapping

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

_CUBIC = {
    "AB_cF8_225_a_b": "rock salt",
    "AB_cP2_221_b_a": "caesium chloride",
    "AB_cF8_216_c_a": "zinc blende",
    "AB3C_cP5_221_a_c_b": "perovskite",
    "AB2C_cF16_225_a_c_b": "full Heusler",
}
"""The same for the prototypes of :mod:`icsg3d.generation.prototypes`."""


_SYMPREC = 0.01
_MATCHER = StructureMatcher()


@cache
def _entries() -> Mapping[str, Mapping[str, Any]]:
    """Return the library by label, crystals as dictionaries: decoding all of them takes seconds."""
    # The package that it lies in decodes all of it when it is imported.
    path = resources.files("pymatgen.analysis") / "prototypes" / "aflow_prototypes.json.gz"
    return {each["tags"]["aflow"]: each for each in json.loads(gzip.decompress(path.read_bytes()))}


@cache
def _crystal(label: str) -> Structure:
    """Return the primitive cell of a crystal of the library."""
    return Structure.from_dict(_entries()[label]["snl"]).get_primitive_structure()


@cache
def _names() -> Mapping[str, str]:
    """Return the names of the library's crystals by label: ours, else a mineral's, else the label itself."""
    ours = {label: name for group in AFLOW.values() for name, label in group.items()}
    minerals = {label: each["tags"]["mineral"] for label, each in _entries().items()}
    return {label: _CUBIC.get(label) or ours.get(label) or minerals[label] or label for label in _entries()}


def prototype_name(structure: Structure | None) -> str:
    """Return the name of the prototype of a crystal, its elements apart; empty where none of the library fits.

    A crystal that was distorted to a lower space group has lost its prototype. Names are those of the package, else the
    mineral that the AFLOW library names, else AFLOW's label.
    """
    if structure is None:
        return ""
    primitive = structure.get_primitive_structure()
    composition = primitive.composition.remove_charges().reduced_composition
    parts = sorted(int(amount) for amount in composition.values()), str(space_group(to_arrays(primitive), _SYMPREC)[0])
    for label, name in _names().items():
        formula, _, group, *_ = label.split("_")
        numbers = sorted(int(number or 1) for number in re.findall(r"[A-Z](\d*)", formula))
        if (numbers, group) == parts and _fits(_crystal(label), primitive):
            return name
    return next((name for name, known in _more_halides(tuple(parts[0])) if _fits(known, primitive)), "")


def _fits(prototype: Structure, primitive: Structure) -> bool:
    alike = prototype.composition.anonymized_formula == primitive.composition.anonymized_formula
    return alike and len(prototype) == len(primitive) and bool(_MATCHER.fit_anonymous(prototype, primitive))


@cache
def _more_halides(numbers: tuple[int, ...]) -> list[tuple[str, Structure]]:
    """Return the prototypes of a formula's numbers, ascending, that the library lacks."""
    examples = {(1, 2, 6): "K2PtCl6", (1, 1, 2, 6): "K2NaAlF6"}
    if numbers not in examples:
        return []
    composition = Composition(examples[numbers])
    return list(_halides({Element(str(element)): int(n) for element, n in composition.items()}).items())


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
        parent = _crystal(label)
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
    cations = [(ones[0], (0.0, 0.0, 0.0)), (two, (0.25, 0.25, 0.25)), (two, (0.75, 0.75, 0.75))]
    if len(ones) == 1:
        name, distance = "potassium hexachloroplatinate", 0.24
    else:
        name, distance = "elpasolite", 0.25
        cations.append((ones[1], (0.5, 0.5, 0.5)))
    anions = [(six, tuple(sign * distance * axis)) for axis in np.eye(3) for sign in (1, -1)]
    cell = cubic_structure(10.0, cations + anions, face_centred=True)
    return {name: cell.get_primitive_structure()}
