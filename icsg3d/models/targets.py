"""The properties that the package knows: units, sensible ranges, and the scale on which they are learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Transform = Literal["identity", "log10", "log1p"]


@dataclass(frozen=True)
class Property:
    """A property of a crystal.

    Attributes:
        name: As in data sets, for instance ``band_gap``.
        unit: As printed beside numbers; empty for pure numbers.
        description: A few words.
        low: Least value that makes sense.
        high: Greatest value that makes sense; more hints at another unit.
        transform: What is learned: the value, its decadic logarithm, or the natural logarithm of one plus it.
        floor: Least value there can be, at which predictions are cut off; None where there is no such limit.
    """

    name: str
    unit: str
    description: str
    low: float
    high: float
    transform: Transform = "identity"
    floor: float | None = None

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"low": (-math.inf, math.inf), "high": (-math.inf, math.inf)}

    @property
    def label(self) -> str:
        """Name and unit, as on an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


PROPERTIES = {
    each.name: each
    for each in (
        Property("formation_energy_per_atom", "eV/atom", "formation energy against the elements", -8, 10),
        Property("band_gap", "eV", "Kohn-Sham band gap (PBE)", 0, 20, floor=0),
        Property("bulk_modulus", "GPa", "Voigt-Reuss-Hill bulk modulus", 1e-3, 1000, "log10"),
        Property("shear_modulus", "GPa", "Voigt-Reuss-Hill shear modulus", 1e-3, 1000, "log10"),
        Property("poisson_ratio", "", "isotropic Poisson ratio", -1, 0.5),
        Property("dielectric_electronic", "", "mean electronic dielectric constant", 1, 1000, "log10", floor=1),
        Property("refractive_index", "", "root of the electronic dielectric constant", 1, 32, "log10", floor=1),
        Property("eij_max", "C/m^2", "largest longitudinal piezoelectric modulus", 0, 100, "log1p", floor=0),
    )
}
"""The properties by name, in the order in which they are shown."""


_SHORT_NAMES = {
    "energy": "formation_energy_per_atom",
    "e_form": "formation_energy_per_atom",
    "gap": "band_gap",
    "k": "bulk_modulus",
    "k_vrh": "bulk_modulus",
    "g": "shear_modulus",
    "g_vrh": "shear_modulus",
    "nu": "poisson_ratio",
    "n": "refractive_index",
    "epsilon": "dielectric_electronic",
    "piezo": "eij_max",
    "piezoelectric": "eij_max",
}
"""Usual names of properties, in small letters."""


def property_named(text: str, names: Iterable[str] | None = None) -> str | None:
    """Return the property that a name which is not quite right means; None if it may mean several or none.

    Small and capital letters, spaces and hyphens do not matter; usual short names and beginnings of one name count.

    Args:
        text: What was typed.
        names: Properties there are; by default all that the package knows.
    """
    names = list(PROPERTIES if names is None else names)
    plain = text.strip().lower().replace("-", "_").replace(" ", "_")
    meant = _SHORT_NAMES.get(plain, plain)
    if meant in names:
        return meant
    begun = [name for name in names if len(plain) > 2 and name.startswith(plain)]
    return begun[0] if len(begun) == 1 else None


def unknown_property(name: str) -> Property:
    """Return a property of which nothing is known but its name: no unit, no limits, learned as it is."""
    return Property(name, "", name.replace("_", " "), float("-inf"), float("inf"))
