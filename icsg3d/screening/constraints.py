"""Constraints on candidates, each exact: what does not meet one is no candidate."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from monty.json import MSONable
from pymatgen.core import Composition

from icsg3d.crystals.bounds import LOOSE_DISTANCE_RATIO
from icsg3d.crystals.elements import symbols
from icsg3d.crystals.structures import to_arrays
from icsg3d.crystals.symmetry import space_group
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pymatgen.core import Structure

CrystalSystem = Literal["triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic"]

_LAST_GROUPS = {
    "triclinic": 2,
    "monoclinic": 15,
    "orthorhombic": 74,
    "tetragonal": 142,
    "trigonal": 167,
    "hexagonal": 194,
    "cubic": 230,
}
"""Number of the last space group of each crystal system (International Tables for Crystallography A)."""

_ANONYMOUS = re.compile(r"(?:[A-Z]\d*)+")
_SYMPREC = 0.01
_LONE = "a single element never passes screening"


@dataclass(frozen=True)
class Constraints(MSONable):
    """What every candidate has to meet; what is left out may be anything.

    Attributes:
        allowed: Symbols of the elements that may be there; empty for all.
        required: Symbols that must be there.
        excluded: Symbols that must not.
        formula: A formula (SrTiO3), or an anonymous one in capitals of which each stands for an element (ABX3).
        max_atoms: Most atoms of the primitive cell.
        min_atoms: Fewest.
        crystal_system: Such as ``cubic``.
        space_group: Number of the space group, within 0.01 angstrom.
        ranges: Lowest and highest value by the name of a predicted property; either may be infinite.
    """

    allowed: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    formula: str | None = None
    max_atoms: int | None = None
    min_atoms: int = 1
    crystal_system: CrystalSystem | None = None
    space_group: int | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the constraints, alone and against each other.

        Raises:
            InputError: if one makes no sense, or no crystal of several elements could meet all of them.
        """
        for name in ("allowed", "required", "excluded"):  # also lists, as in JSON
            object.__setattr__(self, name, frozenset(getattr(self, name)))
        self._check_elements()
        if self.formula is not None:
            self._check_formula(self.formula)
        self._check_choice()
        self._check_atoms()
        if self.crystal_system is not None and self.crystal_system not in get_args(CrystalSystem):
            msg = f"there is no crystal system {self.crystal_system!r}; there are {', '.join(get_args(CrystalSystem))}"
            raise InputError(msg)
        if self.space_group is not None and not 1 <= self.space_group <= 230:
            msg = f"space groups have the numbers 1 to 230, got {self.space_group}"
            raise InputError(msg)
        if self.space_group is not None and self.crystal_system not in (None, crystal_system(self.space_group)):
            msg = (
                f"space group {self.space_group} is {crystal_system(self.space_group)}, not {self.crystal_system}; "
                "leave one of the two out"
            )
            raise InputError(msg)
        for name, (low, high) in self.ranges.items():
            if math.isnan(low) or math.isnan(high) or low > high:
                msg = f"the range of {name} goes from {low:g} to {high:g}; give the lower end first, as in 1.2:1.8"
                raise InputError(msg)

    def _check_elements(self) -> None:
        unknown = sorted((self.allowed | self.required | self.excluded) - set(symbols()[1:]))
        if unknown:
            msg = f"{', '.join(unknown)} is no element up to plutonium; write symbols such as Sr"
            raise InputError(msg)
        torn = sorted(self.required & self.excluded)
        if torn:
            msg = f"{', '.join(torn)} is both required and excluded; leave out one of the two"
            raise InputError(msg)
        outside = sorted(self.required - self.allowed) if self.allowed else []
        if outside:
            msg = f"{', '.join(outside)} is required but not among the elements allowed; allow it"
            raise InputError(msg)
        if self.possible(symbols()[1:]) == frozenset():
            msg = "all elements that are allowed are excluded; allow others"
            raise InputError(msg)

    def _check_formula(self, formula: str) -> None:
        if not is_anonymous(formula):
            self._check_exact(formula)
        count = len(_counts(formula))
        if count == 1:
            msg = f"{formula} is a formula of one element, and {_LONE}; give one of two or more"
            raise InputError(msg)
        if len(self.required) > count:
            msg = (
                f"{formula} has {count} elements, and {len(self.required)} are required "
                f"({', '.join(sorted(self.required))}); require fewer, or leave the formula out"
            )
            raise InputError(msg)

    def _check_exact(self, formula: str) -> None:
        try:
            composition = Composition(formula)
        except ValueError as error:
            msg = f"{formula!r} is no formula ({error}); write SrTiO3, or ABX3 for any elements"
            raise InputError(msg) from error
        elements = {str(element) for element in composition.elements}
        if not elements:
            msg = f"{formula!r} is no formula, as nothing is in it; write SrTiO3, or ABX3 for any elements"
            raise InputError(msg)
        bad = sorted((elements & self.excluded) | (self.required - elements))
        bad += sorted(elements - self.allowed) if self.allowed else []
        if bad or not elements <= set(symbols()):
            msg = f"the formula {formula} does not go with what is said of {', '.join(bad) or 'its elements'}"
            raise InputError(msg)
        if any(abs(amount - round(amount)) > Composition.amount_tolerance for amount in composition.values()):
            msg = f"no crystal has the numbers of atoms of {formula}; write whole ones, as in LiCo2O4 for Li0.5CoO2"
            raise InputError(msg)

    def _check_choice(self) -> None:
        few = self._too_few(symbols()[1:])
        if few:
            msg = f"the elements that may be there are {few}; allow more elements"
            raise InputError(msg)

    def _too_few(self, elements: Collection[str]) -> str | None:
        """Return which of some elements may be there and why they are too few; None where they are enough."""
        left = self.possible(elements)
        count = 2 if self.formula is None else len(_counts(self.formula))
        if left is None or len(left) >= count:
            return None
        why = _LONE if self.formula is None else f"{self.formula} has {count} elements"
        return f"{'only ' if left else 'none'}{', '.join(sorted(left))}, and {why}"

    def _check_atoms(self) -> None:
        count = max(2, len(self.required))
        if self.max_atoms is not None and self.max_atoms < count:
            why = f"{count} elements are required ({', '.join(sorted(self.required))})" if count > 2 else _LONE
            msg = f"at most {self.max_atoms} atoms are asked for, and {why}; allow {count} or more"
            raise InputError(msg)
        if self.max_atoms is not None and self.min_atoms > self.max_atoms:
            msg = f"the number of atoms goes from {self.min_atoms} to {self.max_atoms}; give the lower end first"
            raise InputError(msg)
        if self.formula is None or self.max_atoms is None:
            return
        unit = sum(_counts(self.formula))
        if self.max_atoms // unit * unit < self.min_atoms:
            msg = (
                f"{self.formula} has {unit} atoms or a multiple of it, and {self.min_atoms} to {self.max_atoms} are "
                "asked for; leave one of the two out"
            )
            raise InputError(msg)

    @property
    def needed(self) -> frozenset[str]:
        """Symbols of the elements without which no candidate meets the constraints."""
        if self.formula is None or is_anonymous(self.formula):
            return self.required
        return self.required | {element.symbol for element in Composition(self.formula).elements}

    def check_known(self, elements: Collection[str], where: str) -> None:
        """Refuse constraints that can be met with no crystal of some elements.

        Args:
            elements: Symbols that are known.
            where: What knows them, such as ``the model cubic``.

        Raises:
            InputError: if an element that must be there, or all that may, are not among them, or too few that may are.
        """
        lacking = sorted(self.needed - set(elements))
        if not lacking and self.allowed and not self.allowed & set(elements):
            lacking = sorted(self.allowed)
        if lacking:
            msg = f"{where} knows no {', '.join(lacking)}, which the constraints ask for; ask for other elements"
            raise InputError(msg)
        few = self._too_few(elements)
        if few:
            msg = f"of the elements that may be there {where} knows {few}; allow more elements"
            raise InputError(msg)

    def possible(self, elements: Collection[str]) -> frozenset[str] | None:
        """Return those of some elements that a candidate may have; None where no element is ruled out."""
        if not (self.allowed or self.excluded):
            return None
        return frozenset(elements) & (self.allowed or frozenset(elements)) - self.excluded

    def as_dict(self) -> dict[str, Any]:
        """Return the constraints as what JSON can hold; open ends of ranges are None."""
        sets = {name: sorted(getattr(self, name)) for name in ("allowed", "required", "excluded")}
        ends = {name: [end if math.isfinite(end) else None for end in both] for name, both in self.ranges.items()}
        kind = {"@module": type(self).__module__, "@class": type(self).__name__}
        return {**kind, **vars(self), **sets, "ranges": ends}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Constraints:
        """Return the constraints of :meth:`as_dict`."""
        values = {name: value for name, value in d.items() if not name.startswith("@")}
        values["ranges"] = {
            name: (-math.inf if low is None else low, math.inf if high is None else high)
            for name, (low, high) in values.get("ranges", {}).items()
        }
        return cls(**values)

    def unmet(self, structure: Structure, values: Mapping[str, float]) -> list[str]:
        """Return the names of the constraints that a crystal does not meet.

        Args:
            structure: Ordered.
            values: Predicted properties by name; one that is asked for and missing or NaN is not met.
        """
        found = self.unmet_by_composition(structure.composition) + self.unmet_by_structure(structure)
        return found + self.unmet_by_values(values)

    def unmet_by_composition(self, composition: Composition) -> list[str]:
        """Return the names of the constraints on elements and formula that a composition does not meet."""
        composition = composition.remove_charges()
        elements = {element.symbol for element in composition.elements}
        checks = {
            "allowed elements": not self.allowed or elements <= self.allowed,
            "required elements": self.required <= elements,
            "excluded elements": not self.excluded & elements,
            "formula": self.formula is None or matches(composition, self.formula),
        }
        return [name for name, met in checks.items() if not met]

    def unmet_by_structure(self, structure: Structure) -> list[str]:
        """Return the names of the constraints on number of atoms and symmetry that a crystal does not meet."""
        checks = {}
        if self.max_atoms is not None or self.min_atoms > 1:
            count = len(structure.get_primitive_structure())
            checks["atoms"] = self.min_atoms <= count <= (count if self.max_atoms is None else self.max_atoms)
        if self.space_group is not None or self.crystal_system is not None:
            number = space_group(to_arrays(structure, LOOSE_DISTANCE_RATIO), _SYMPREC)[0] or 1
            checks["space group"] = self.space_group in (None, number)
            checks["crystal system"] = self.crystal_system in (None, crystal_system(number))
        return [name for name, met in checks.items() if not met]

    def unmet_by_values(self, values: Mapping[str, float]) -> list[str]:
        """Return the names of the properties that are not within their ranges."""
        return [name for name, (low, high) in self.ranges.items() if not low <= values.get(name, math.nan) <= high]


def crystal_system(space_group: int) -> str:
    """Return the crystal system of a space group's number."""
    return next(name for name, last in _LAST_GROUPS.items() if space_group <= last)


def is_anonymous(formula: str) -> bool:
    """Return whether a formula is made of different single capitals that cannot all be elements, as ABX3 and A2BB'X6.

    Formulas that could be both (such as BN) are taken for those of elements.
    """
    if not _ANONYMOUS.fullmatch(formula):
        return False
    letters = re.findall("[A-Z]", formula)
    if any(int(number) == 0 for number in re.findall(r"\d+", formula)):
        return False
    return len(set(letters)) == len(letters) and not set(letters) <= set(symbols())


def _counts(formula: str) -> list[int]:
    """Return the numbers of a formula, anonymous or of elements, without a common divisor, ascending."""
    if is_anonymous(formula):
        counts = [int(number or 1) for number in re.findall(r"[A-Z](\d*)", formula)]
    else:
        counts = [round(amount) for amount in Composition(formula).values()]
    divisor = math.gcd(*counts)
    return sorted(count // divisor for count in counts)


def matches(composition: Composition, formula: str) -> bool:
    """Return whether a composition is a formula, or has the numbers of an anonymous one in any order."""
    if not is_anonymous(formula):
        return composition.reduced_formula == Composition(formula).reduced_formula
    amounts = [round(amount) for amount in composition.values()]
    divisor = math.gcd(*amounts)
    return sorted(amount // divisor for amount in amounts) == _counts(formula)


def parse_range(text: str) -> tuple[float, float]:
    """Return the ends of a range such as ``1.2:1.8``, ``:0.1`` or ``2:``.

    Raises:
        InputError: if the text is none.
    """
    low, _, high = text.partition(":")
    msg = f"{text!r} is no range; write 1.2:1.8, or :0.1 and 2: where one end is open"
    if ":" not in text or not (low.strip() or high.strip()):
        raise InputError(msg)
    try:
        return float(low) if low.strip() else -math.inf, float(high) if high.strip() else math.inf
    except ValueError as error:
        raise InputError(msg) from error


def parse_elements(text: str | Iterable[str]) -> frozenset[str]:
    """Return the symbols of a text such as ``Pb,Cd`` or ``Pb Cd``."""
    parts = re.split(r"[\s,]+", text.strip()) if isinstance(text, str) else list(text)
    return frozenset(part for part in parts if part)
