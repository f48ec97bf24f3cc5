"""Base crystals from a formula: the prototype of its known ground state, or that of the lowest predicted energy."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Composition, Element, Structure

from icsg3d.crystals.elements import DEFAULT_ATOMIC_RADIUS, DEFAULT_IONIC_RADIUS
from icsg3d.crystals.structures import SYMPREC, cubic_structure, to_arrays
from icsg3d.crystals.symmetry import space_group
from icsg3d.errors import InputError
from icsg3d.generation.aflow import further_prototypes, stoichiometries
from icsg3d.hull.phases import composition_of
from icsg3d.hull.reference import ReferenceHull
from icsg3d.properties.equilibrium import scaled
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.sizing import CellSizer
from icsg3d.properties.volume import at_volume

if TYPE_CHECKING:
    from collections.abc import Mapping

_CORNER = [0.0, 0.0, 0.0]
_CENTRE = [0.5, 0.5, 0.5]
_QUARTER = [0.25, 0.25, 0.25]
_FACES = [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]

_FORMULA = re.compile(r"(?:[A-Z][a-z]?\d*)+")


def looks_like_formula(text: str) -> bool:
    """Return whether a text is made of element symbols and whole numbers only."""
    return bool(_FORMULA.fullmatch(text))


@dataclass(frozen=True)
class Prototype:
    """A crystal of a formula in its prototype.

    Attributes:
        name: Of the prototype, such as ``rock salt``.
        structure: At its equilibrium volume.
        energy: Predicted energy per atom in eV.
    """

    name: str
    structure: Structure
    energy: float


def prototype_structure(
    formula: str, predictor: PropertyPredictor | None = None, sizer: CellSizer | None = None
) -> Structure:
    """Return the crystal of :func:`best_prototype`."""
    return best_prototype(formula, predictor, sizer).structure


def best_prototype(
    formula: str, predictor: PropertyPredictor | None = None, sizer: CellSizer | None = None
) -> Prototype:
    """Return a formula in the prototype of its known ground state, or in that of the lowest predicted energy.

    Each of :func:`prototype_structures` is brought to its equilibrium volume; the one whose predicted energy is then
    lowest counts. Where the shipped hull has the formula in the space group of some of them, only these count, unless
    a predictor is given. A starting point, not a prediction: nothing but these prototypes is tried.

    Args:
        formula: Of any order and multiple: NaCl, Cl2Na2, SrTiO3, Cu2MnAl, Cs2AgBiBr6.
        predictor: Of an energy per atom in eV; the shipped ``formation_energy_per_atom`` if None.
        sizer: Estimates the volumes; if None :meth:`icsg3d.properties.sizing.CellSizer.best` or, where a predictor
            is given, its energy.

    Raises:
        InputError: if the text is no formula, has another stoichiometry, or none of its prototypes has a volume and an
            energy.
    """
    if sizer is None and predictor is not None:
        sizer = CellSizer(None, predictor)
    known = _ground_state(formula) if predictor is None else 0
    predictor = predictor or PropertyPredictor.from_pretrained("formation_energy_per_atom")
    sizer = sizer or CellSizer.best(predictor)
    rough = prototype_structures(formula)
    volumes = sizer.volumes([structure.get_primitive_structure() for structure in rough.values()]).values
    settled = {
        name: at_volume(structure, float(volume))
        for (name, structure), volume in zip(rough.items(), volumes, strict=True)
        if np.isfinite(volume)
    }
    energies = predictor.predict_possible(list(settled.values())).values if settled else np.array([])
    if not np.isfinite(energies).any():
        msg = f"no prototype of {formula} has a cell of lowest predicted energy; give the path of a crystal file"
        raise InputError(msg)
    alike = [known > 0 and space_group(to_arrays(each), SYMPREC)[0] == known for each in settled.values()]
    preferred = np.where(alike, energies, np.nan)
    best = int(np.nanargmin(preferred if np.isfinite(preferred).any() else energies))
    name, structure = list(settled.items())[best]
    return Prototype(name, structure, float(energies[best]))


def _ground_state(formula: str) -> int:
    """Return the number of the space group that a formula has on the shipped hull; 0 where it is not on it."""
    try:
        phase = ReferenceHull.shipped().phase(composition_of(formula).reduced_formula)
    except InputError:  # no formula, which is refused below in more words
        return 0
    return 0 if phase is None else phase.space_group


def prototype_structures(formula: str) -> dict[str, Structure]:
    """Return the prototypes of a formula by name; their sizes are rough.

    AB: rock salt, caesium chloride, zinc blende. ABX3: the cubic perovskite with either cation on the A site, the
    larger one first. A2BC: the full and the inverse Heusler crystal. These are conventional cells, sized by
    radii. AB2, AB3, ABC, AB2X4, A2BX6 and A2BB'X6: those of :func:`icsg3d.generation.aflow.further_prototypes`, which
    are primitive.

    Raises:
        InputError: if the text is no formula or has another stoichiometry.
    """
    way_out = (
        "give a formula of AB, AB2, AB3, ABC, ABX3, A2BC, AB2X4 or A2BX6, such as NaCl, SrTiO3 or Cu2MnAl, or the path "
        "of a crystal file"
    )
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
    amounts = tuple(sorted(int(amount) for amount in reduced.values()))
    if amounts in stoichiometries():
        return _roughly_sized(further_prototypes({e: int(reduced[e]) for e in _elements(reduced)}))
    build = {(1, 1): _binaries, (1, 1, 3): _perovskites, (1, 1, 2): _heuslers}.get(amounts)
    if build is None:
        msg = f"there is no prototype for {reduced.reduced_formula}; {way_out}"
        raise InputError(msg)
    return build(reduced)


def _roughly_sized(prototypes: Mapping[str, Structure]) -> dict[str, Structure]:
    """Return crystals scaled so that the two nearest atoms are as far apart as their radii say."""
    found = {}
    for name, structure in prototypes.items():
        first, second, _, distances = structure.get_neighbor_list(structure.lattice.abc[0])
        radii = np.array([_atomic_radius(Element(site.specie.symbol)) for site in structure])
        found[name] = scaled(structure, float((0.95 * (radii[first] + radii[second]) / distances).max()))
    return found


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


def _binaries(composition: Composition) -> dict[str, Structure]:
    one, other = pair = _by_electronegativity(composition)
    bond = sum(_atomic_radius(element) for element in pair)
    centred, tetrahedral = [(one, _CORNER), (other, _CENTRE)], [(one, _CORNER), (other, _QUARTER)]
    return {
        "rock salt": cubic_structure(2 * bond, centred, face_centred=True),
        "caesium chloride": cubic_structure(2 * bond / math.sqrt(3), centred),
        "zinc blende": cubic_structure(4 * bond / math.sqrt(3), tetrahedral, face_centred=True),
    }


def _perovskites(composition: Composition) -> dict[str, Structure]:
    anion = _most_frequent(composition)
    cations = [element for element in _by_electronegativity(composition) if element != anion]
    small, large = sorted(cations, key=lambda element: (_cation_radius(element), element.Z))
    return {"perovskite": _perovskite(large, small, anion), "exchanged perovskite": _perovskite(small, large, anion)}


def _perovskite(a: Element, b: Element, x: Element) -> Structure:
    radius = _anion_radius(x)
    length = max(2 * (_cation_radius(b) + radius), math.sqrt(2) * (_cation_radius(a) + radius))
    return cubic_structure(length, [(a, _CORNER), (b, _CENTRE), *((x, face) for face in _FACES)])


def _heuslers(composition: Composition) -> dict[str, Structure]:
    double = _most_frequent(composition)
    first, second = (e for e in _by_electronegativity(composition) if e != double)
    # in these intermetallics ionic radii would give a collapsed cell
    length = 4 / math.sqrt(3) * (_atomic_radius(double) + (_atomic_radius(first) + _atomic_radius(second)) / 2)
    quarters = [[quarter] * 3 for quarter in (0, 0.25, 0.5, 0.75)]
    full, inverse = [first, double, second, double], [double, double, second, first]
    return {
        name: cubic_structure(length, list(zip(species, quarters, strict=True)), face_centred=True)
        for name, species in (("full Heusler", full), ("inverse Heusler", inverse))
    }


def _atomic_radius(element: Element) -> float:
    return float(element.atomic_radius or DEFAULT_ATOMIC_RADIUS)
