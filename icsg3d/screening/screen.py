"""Screening of candidates: distances, charges, repeats, novelty; and whether crystals repeat each other."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from icsg3d.crystals import symmetry
from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.bounds import LOOSE_DISTANCE_RATIO
from icsg3d.crystals.charges import charge_balance
from icsg3d.crystals.display import CrystalList
from icsg3d.crystals.structures import from_arrays, to_arrays
from icsg3d.crystals.symmetry import symmetrised
from icsg3d.errors import InputError
from icsg3d.progress import track
from icsg3d.screening.constraints import Constraints
from icsg3d.screening.judging import ABOVE_HULL, merit
from icsg3d.screening.repeats import BASE, Repeats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from icsg3d.generation.candidates import Candidate


THE_BASE = "the base"
REPEATS = "repeats"
"""What repeats fail on."""

_KEPT = frozenset({"scaled_by", "moved_by"})
"""What an earlier screening tells of the crystal itself."""


@dataclass(frozen=True)
class Screening:
    """What a candidate must meet before an expensive calculation.

    Elements never pass, as their formation energy is that of a polymorph.

    Attributes:
        distance_ratio: Smallest allowed ratio of a distance and the sum of the two atoms' radii (pymatgen's
            ``atomic_radius``). The 12,197 crystals of four public sets lie above 0.64.
        charge_neutral: Ask for usual oxidation states that add up to nothing
            (:func:`icsg3d.crystals.charges.charge_balance`; metals pass).
        unique: Leave out crystals that repeat a better one: nearer to the hull or, where that is not known, of lower
            predicted energy, or earlier.
        novel: Leave out known compositions: the base's, those that the generator was trained on, those of the hull.
        predictable: Leave out crystals that the network of the formation energy cannot take, or for whose cell
            :func:`icsg3d.properties.equilibrium.scale_cells` found no minimum of it.
        energy_std: Largest allowed uncertainty of the predicted formation energy in eV/atom; None for any.
        above_hull: Largest allowed distance above the hull in eV/atom; None for any. What was not placed does not pass.
        constraints: What else is asked for.
    """

    distance_ratio: float = 0.6
    charge_neutral: bool = True
    unique: bool = True
    novel: bool = False
    predictable: bool = True
    energy_std: float | None = 0.1
    above_hull: float | None = None
    constraints: Constraints = field(default_factory=Constraints)

    def __post_init__(self) -> None:
        """Check the numbers, alone and against the constraints.

        Raises:
            InputError: if one cannot be, or the distance above the hull is outside the range asked of it.
        """
        if not 0 <= self.distance_ratio < 2:
            msg = f"the ratio of distances and radii must be between 0 and 2, got {self.distance_ratio}"
            raise InputError(msg)
        if self.energy_std is not None and not self.energy_std > 0:
            msg = f"the largest uncertainty of the energy must be above 0 eV/atom, got {self.energy_std}"
            raise InputError(msg)
        if self.above_hull is not None and math.isnan(self.above_hull):
            msg = "the largest distance above the hull is a number in eV/atom, got nan"
            raise InputError(msg)
        lowest = self.constraints.ranges.get(ABOVE_HULL, (-math.inf, math.inf))[0]
        if self.above_hull is not None and self.above_hull < lowest:
            msg = (
                f"the largest distance above the hull is {self.above_hull:g} eV/atom, and the range of {ABOVE_HULL} "
                f"begins at {lowest:g}; leave one of the two out"
            )
            raise InputError(msg)


def unscreened(candidate: Candidate) -> Candidate:
    """Return a candidate without what an earlier screening said, but what it tells of the crystal itself."""
    kept = {name: value for name, value in candidate.screening.items() if name in _KEPT}
    return dataclasses.replace(candidate, screening=kept, duplicate_of=None)


def usable(candidate: Candidate) -> Candidate:
    """Return a candidate, without its crystal but with the reason where that is disordered or has odd elements."""
    if candidate.structure is None:
        return candidate
    try:
        to_arrays(candidate.structure, LOOSE_DISTANCE_RATIO)
    except InputError as error:
        return dataclasses.replace(candidate, structure=None, reason=str(error))
    return candidate


def with_symmetry(candidate: Candidate, tolerance: float) -> Candidate:
    """Return a candidate brought to the symmetry that its crystal has within a tolerance in angstrom; 0 for none.

    Raises:
        InputError: if the tolerance is negative or too large to mean anything.
    """
    if not 0 <= tolerance < 2:
        msg = f"the tolerance of symmetry must be between 0 and 2 angstrom, got {tolerance}"
        raise InputError(msg)
    if candidate.structure is None or tolerance == 0:
        return candidate
    structure = from_arrays(symmetrised(to_arrays(candidate.structure, LOOSE_DISTANCE_RATIO), tolerance))
    return dataclasses.replace(candidate, structure=structure)


def screen(candidates: Sequence[Candidate], screening: Screening) -> CrystalList[Candidate]:
    """Return the candidates with the results of screening, none left out.

    Args:
        candidates: As generated, with their predictions; they are left as they are.
        screening: What is asked for.

    Returns:
        Copies in the order given with ``screening`` holding ``space_group``, ``distance_ratio``, ``charge_neutral``,
        ``oxidation_states``, ``duplicate_of``, ``novel``, ``passed`` and ``failed_on``, the names of what was not met.
    """
    return without_repeats([checked(each, screening) for each in track(candidates, "screening")], screening)


def checked(candidate: Candidate, screening: Screening) -> Candidate:
    """Return a candidate with the results of :func:`screen` for it alone: all but whether it repeats another."""
    structure = candidate.structure
    if structure is None:
        failed = {"passed": False, "failed_on": ["no crystal"]}
        return dataclasses.replace(candidate, screening=candidate.screening | failed)
    ratio = smallest_distance_ratio(structure)
    charges = charge_balance(structure.composition)
    neutral = charges.passes if screening.charge_neutral else None
    novel = _novel(candidate)
    unmet = [
        name
        for name, bad in (
            ("single element", len(structure.composition.elements) == 1),
            ("distances", ratio is not None and ratio < screening.distance_ratio),
            ("no prediction", screening.predictable and candidate.screening.get("predicted") is False),
            ("no energy minimum", screening.predictable and candidate.screening.get("scaled_by", 1.0) is None),
            ("charges", neutral is False),
            ("known composition", screening.novel and novel is False),
            ("uncertain energy", screening.energy_std is not None and not _std(candidate) <= screening.energy_std),
            ("hull", screening.above_hull is not None and not merit(candidate)[0] <= screening.above_hull),
        )
        if bad
    ] + screening.constraints.unmet(structure, candidate.predictions)
    results: dict[str, Any] = {
        "space_group": space_group(structure),
        "distance_ratio": None if ratio is None else round(ratio, 4),
        "charge_neutral": neutral,
        "oxidation_states": charges.describe(),
        "duplicate_of": None,
        "novel": novel,
        "passed": not unmet,
        "failed_on": unmet,
    }
    return dataclasses.replace(candidate, screening=candidate.screening | results)


def without_repeats(
    candidates: Sequence[Candidate], screening: Screening, base: Structure | None = None
) -> CrystalList[Candidate]:
    """Return candidates of which those that repeat a better one do not pass any more, none left out.

    Only those that pass are compared: what fails must not stand in a good one's way.

    Args:
        candidates: As :func:`checked` returns them.
        screening: Says whether repeats pass.
        base: Crystal that is no candidate either; what repeats it fails on ``the base``.
    """
    passed = [row for row, each in enumerate(candidates) if each.screening.get("passed")]
    repeats = Repeats(lambda row: cast("Structure", candidates[row].structure), base)
    for row in passed:
        structure = candidates[row].structure
        if structure is not None:
            repeats.add((*merit(candidates[row])[:2], row), structure, candidates[row].screening["space_group"])
    marked = list(candidates)
    for row in passed:
        if candidates[row].structure is not None:
            repeated = repeats.repeated_by(row)
            other = repeated if repeated in (None, BASE) else candidates[repeated].index
            marked[row] = pointed(candidates[row], other, screening)
    return CrystalList(marked)


def pointed(candidate: Candidate, repeated: int | None, screening: Screening) -> Candidate:
    """Return a candidate that passed with the number of the better one that it repeats; such a one passes no more.

    Args:
        candidate: As :func:`checked` returns it.
        repeated: Number of the other, :data:`~icsg3d.screening.repeats.BASE`, or None.
        screening: Says whether repeats pass.
    """
    found: dict[str, Any] = {"duplicate_of": None if repeated == BASE else repeated}
    if repeated == BASE or (screening.unique and repeated is not None):
        unmet = [*candidate.screening["failed_on"], THE_BASE if repeated == BASE else REPEATS]
        found |= {"passed": False, "failed_on": unmet}
    return dataclasses.replace(candidate, screening=candidate.screening | found)


def _novel(candidate: Candidate) -> bool | None:
    """Return whether a composition is not the base's, trained on or on the hull; None where that is not known."""
    signs = (candidate.in_training, candidate.screening.get("known_phase"))
    if candidate.formula == candidate.base or any(signs):
        return False
    return None if all(sign is None for sign in signs) else True


def _std(candidate: Candidate) -> float:
    """Return the uncertainty of the predicted formation energy; 0 where none was predicted."""
    return candidate.predictions.get("formation_energy_per_atom_std", 0.0)


def smallest_distance_ratio(structure: Structure) -> float | None:
    """Return the smallest ratio of a distance between atoms, images counted, and the sum of their atomic radii.

    None where no two atoms are nearer than twice the largest radius.
    """
    radii = np.array([_radius(site.specie) for site in structure])
    centres, points, _, distances = structure.get_neighbor_list(2 * float(radii.max()))
    if not len(distances):
        return None
    return float((distances / (radii[centres] + radii[points])).min())


def _radius(specie: Any) -> float:
    """Return an atom's radius in angstrom; pymatgen has none for francium, astatine and some noble gases."""
    return float(specie.atomic_radius or specie.atomic_radius_calculated or 1.5)


def space_group(structure: Structure, tolerance: float = 0.01) -> str:
    """Return the international symbol of the space group within a tolerance in angstrom."""
    numbers = np.array([site.specie.Z for site in structure])
    return symmetry.space_group(CrystalArrays(numbers, structure.frac_coords, structure.lattice.matrix), tolerance)[1]
