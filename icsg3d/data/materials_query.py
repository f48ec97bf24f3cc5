"""What the Materials Project is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from pymatgen.core import Composition, DummySpecies, Element

from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

CRYSTAL_SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
HAVING = {
    "formation_energy_per_atom": "thermo",
    "energy_above_hull": "thermo",
    "band_gap": "electronic_structure",
    "bulk_modulus": "elasticity",
    "shear_modulus": "elasticity",
    "poisson_ratio": "elasticity",
    "dielectric_electronic": "dielectric",
    "refractive_index": "dielectric",
    "eij_max": "piezoelectric",
}
"""What the Materials Project calls the calculation that a property comes from."""
MATERIAL_ID = re.compile(r"[a-z]{1,10}-[a-z0-9]{1,20}")
_SYSTEM = re.compile(r"[A-Za-z*]+(-[A-Za-z*]+)*")
IDS_AT_ONCE = 200
"""Names in one request, whose address must not become too long."""
_GNOME = "gnome_r2scan_statics"


@dataclass(frozen=True)
class MaterialsProjectQuery:
    """What the Materials Project is asked for; everything that is given must hold.

    Attributes:
        ids: Names of materials, such as ``mp-149``.
        formula: Formulas (``SrTiO3``), one with wild cards (``*TiO3``), or anonymous ones with letters that are no
            elements (``ABX3``, which stands for all with such numbers of atoms).
        chemsys: Chemical systems, such as ``Li-Fe-O`` or ``Si-*``.
        elements: Elements that must be there.
        exclude_elements: Elements that must not.
        crystal_system: One of :data:`CRYSTAL_SYSTEMS`.
        space_group: International number.
        elements_count: Number of different elements, or the least and the greatest.
        max_sites: Most atoms in the cell.
        max_energy_above_hull: In eV/atom.
        having: Columns that must have a value, such as ``bulk_modulus``.
        gnome: Whether materials of GNoME come too, which may not be used commercially.

    Raises:
        InputError: if nothing is asked for, or something that there is not.
    """

    ids: tuple[str, ...] = ()
    formula: tuple[str, ...] = ()
    chemsys: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    exclude_elements: tuple[str, ...] = ()
    crystal_system: str | None = None
    space_group: int | None = None
    elements_count: int | tuple[int, int] | None = None
    max_sites: int | None = None
    max_energy_above_hull: float | None = None
    having: tuple[str, ...] = ()
    gnome: bool = False

    def __post_init__(self) -> None:
        """Check what is asked for."""
        if not any(getattr(self, each.name) not in {(), None} for each in fields(self) if each.name != "gnome"):
            msg = "the query asks for everything; narrow it, for instance to a formula or a crystal system"
            raise InputError(msg)
        _check_all(self.ids, MATERIAL_ID.fullmatch, "name of a material, such as mp-149")
        _check_all(self.chemsys, _SYSTEM.fullmatch, "system, such as Li-Fe-O")
        _check_all((*self.elements, *self.exclude_elements), Element.is_valid_symbol, "element")
        _check_all(self.having, HAVING.__contains__, f"column with a property; there are {', '.join(HAVING)}")
        systems = () if self.crystal_system is None else (self.crystal_system,)
        _check_all(systems, CRYSTAL_SYSTEMS.__contains__, f"crystal system; there are {', '.join(CRYSTAL_SYSTEMS)}")
        _check_formulas(self.formula)
        _check_number("space_group", self.space_group, 1, 230)
        least, most = self._counts()
        _check_number("elements_count", least, 1, most or 100)
        _check_number("elements_count", most, least or 1, 100)
        _check_number("max_sites", self.max_sites, 1, 100_000)
        _check_number("max_energy_above_hull", self.max_energy_above_hull, 0, 100)

    def __str__(self) -> str:
        """Say in a line what is asked for."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        texts = {
            name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            for name, value in given.items()
            if value not in {(), None, False}
        }
        return ", ".join(f"{name}={text if len(text) < 80 else text[:80] + '...'}" for name, text in texts.items())

    def parameters(self) -> list[dict[str, str]]:
        """Return the parameters of the requests, several where there are too many names for one."""
        least, most = self._counts()
        values = {
            "formula": ",".join(self.formula),
            "chemsys": ",".join(self.chemsys),
            "elements": ",".join(self.elements),
            "exclude_elements": ",".join(self.exclude_elements),
            "crystal_system": (self.crystal_system or "").capitalize(),
            "spacegroup_number": self.space_group,
            "nelements_min": least,
            "nelements_max": most,
            "nsites_max": self.max_sites,
            "energy_above_hull_max": self.max_energy_above_hull,
            "has_props": ",".join(sorted({HAVING[name] for name in self.having})),
            "batch_id_not_eq": "" if self.gnome else _GNOME,
            "deprecated": "false",
        }
        common = {name: str(value) for name, value in values.items() if value not in {"", None}}
        names = sorted(set(self.ids))
        groups = [names[start : start + IDS_AT_ONCE] for start in range(0, len(names), IDS_AT_ONCE)]
        return [{**common, "material_ids": ",".join(group)} for group in groups] or [common]

    def _counts(self) -> tuple[int | None, int | None]:
        if isinstance(self.elements_count, tuple):
            return self.elements_count
        return self.elements_count, self.elements_count


def _check_all(values: tuple[str, ...], good: Callable[[str], object], kind: str) -> None:
    for value in values:
        if not good(value):
            msg = f"{value!r} is no {kind}"
            raise InputError(msg)


def _check_number(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        msg = f"{name} is {value}; give a number from {low} to {high}"
        raise InputError(msg)


def _check_formulas(formulas: tuple[str, ...]) -> None:
    """Check formulas as the service understands them: any anonymous one of several makes it take all as anonymous."""
    kinds = {_formula_kind(formula) for formula in formulas}
    if len(kinds) > 1 or (kinds == {"wild"} and len(formulas) > 1):
        msg = f"{', '.join(formulas)} cannot be asked for at once; give real, anonymous or one wild-card formula alone"
        raise InputError(msg)


def _formula_kind(formula: str) -> str:
    way_out = "give one such as SrTiO3, ABX3 or *TiO3"
    if not re.fullmatch(r"[A-Za-z0-9().*]{1,100}", formula):
        msg = f"{formula!r} is no formula; {way_out}"
        raise InputError(msg)
    if "*" in formula:
        return "wild"
    try:
        composition = Composition(formula)
    except ValueError as error:
        msg = f"{formula!r} is no formula ({error}); {way_out}"
        raise InputError(msg) from error
    return "anonymous" if any(isinstance(each, DummySpecies) for each in composition) else "real"
