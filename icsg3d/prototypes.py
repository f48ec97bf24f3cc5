"""Base crystals from a formula: the prototype that its stoichiometry suggests, with an edge from ionic radii.

No network and no database: a starting point for the generator, not a prediction.
"""

from __future__ import annotations

import math
import re
import warnings

from pymatgen.core import Composition, Element, Lattice, Structure

from icsg3d.elements import DEFAULT_ATOMIC_RADIUS, DEFAULT_IONIC_RADIUS
from icsg3d.errors import InputError

_FORMULA = re.compile(r"(?:[A-Z][a-z]?\d*)+")


def looks_like_formula(text: str) -> bool:
    """Return whether a text is made of element symbols and whole numbers only."""
    return bool(_FORMULA.fullmatch(text))


def prototype_structure(formula: str) -> Structure:
    """Return the conventional cell of the prototype of an AB, ABX3 or A2BC formula.

    AB becomes rock salt, or caesium chloride where the radius ratio exceeds 0.732; ABX3 the cubic perovskite with the
    larger cation on the A site; A2BC the full Heusler crystal.

    Raises:
        InputError: if the text is no formula or has another stoichiometry.
    """
    way_out = "give an AB, ABX3 or A2BC formula such as NaCl, SrTiO3 or Cu2MnAl, or the path of a crystal file"
    if not looks_like_formula(formula):
        msg = f"{formula!r} is neither a file nor a formula; {way_out}"
        raise InputError(msg)
    try:
        composition = Composition(formula)
    except ValueError as error:
        msg = f"{formula!r} is no formula ({error}); {way_out}"
        raise InputError(msg) from error
    unknown = [element for element in composition.elements if not isinstance(element, Element)]
    if unknown:
        msg = f"{formula!r} has {unknown[0]}, which is no element; {way_out}"
        raise InputError(msg)
    # Not pymatgen's reduced formula, which keeps O2, Cl2 and the like together: LiO is AB.
    reduced = composition / math.gcd(*(int(amount) for amount in composition.values()))
    amounts = sorted(reduced.values())
    build = {(1, 1): _binary, (1, 1, 3): _perovskite, (1, 1, 2): _heusler}.get(tuple(int(a) for a in amounts))
    if build is None:
        msg = f"there is no prototype for {reduced.reduced_formula}; {way_out}"
        raise InputError(msg)
    return build(reduced)


def _cation_radius(element: Element) -> float:
    """Return the mean radius of the positive ions of an element in angstrom."""
    return float(element.average_cationic_radius or element.atomic_radius or DEFAULT_IONIC_RADIUS)


def _anion_radius(element: Element) -> float:
    """Return the mean radius of the negative ions of an element in angstrom; the atomic radius where it has none."""
    return float(element.average_anionic_radius or element.atomic_radius or DEFAULT_IONIC_RADIUS)


def _elements(composition: Composition) -> list[Element]:
    return [element for element in composition.elements if isinstance(element, Element)]


def _most_frequent(composition: Composition) -> Element:
    return max(_elements(composition), key=lambda element: composition[element])


def _by_electronegativity(composition: Composition) -> list[Element]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases have none
        return sorted(_elements(composition), key=lambda element: (element.X, element.Z))


def _binary(composition: Composition) -> Structure:
    cation, anion = _by_electronegativity(composition)
    small, large = sorted((_cation_radius(cation), _anion_radius(anion)))
    bond = small + large
    if small / large > math.sqrt(3) - 1:  # Pauling's rule for eightfold coordination
        return Structure.from_spacegroup(
            "Pm-3m", Lattice.cubic(2 * bond / math.sqrt(3)), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
        )
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(2 * bond), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def _perovskite(composition: Composition) -> Structure:
    anion = _most_frequent(composition)
    cations = [element for element in _by_electronegativity(composition) if element != anion]
    small, large = sorted(cations, key=lambda element: (_cation_radius(element), element.Z))
    radius = _anion_radius(anion)
    edge = max(2 * (_cation_radius(small) + radius), math.sqrt(2) * (_cation_radius(large) + radius))
    return Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(edge), [large, small, anion], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    )


def _heusler(composition: Composition) -> Structure:
    double = _most_frequent(composition)
    first, second = (e for e in _by_electronegativity(composition) if e != double)
    bond = _metallic_radius(double) + (_metallic_radius(first) + _metallic_radius(second)) / 2
    return Structure.from_spacegroup(
        "Fm-3m",
        Lattice.cubic(4 * bond / math.sqrt(3)),
        [double, first, second],
        [[0.25, 0.25, 0.25], [0, 0, 0], [0.5, 0.5, 0.5]],
    )


def _metallic_radius(element: Element) -> float:
    """Return the atomic radius in angstrom: in these intermetallics ionic radii would give a collapsed cell."""
    return float(element.atomic_radius or DEFAULT_ATOMIC_RADIUS)
