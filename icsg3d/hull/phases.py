"""Phases of a convex hull: compositions with formation energies, from tables and from pymatgen's entries."""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from pymatgen.analysis.phase_diagram import PDEntry
from pymatgen.core import Composition, Element

from icsg3d.crystals.structures import is_json, read_json
from icsg3d.crystals.unpacking import unpacked
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pymatgen.core.entries import Entry

    from icsg3d.hull.systems import Symbols

_SYMBOL = re.compile("[A-Z][a-z]?")

TABLE = "materials_project.csv.gz"
"""Phases on the hulls of the Materials Project, shipped beside this module (docs/screening.md says how it is made)."""

ENERGY_COLUMN = "formation_energy_per_atom"

_LARGEST_ENERGY = 20.0
"""eV/atom; formation energies beyond it are total energies or energies per cell."""


class Phase(NamedTuple):
    """A competing phase; :meth:`of` checks what it is given.

    Attributes:
        formula: Reduced formula, as pymatgen writes it.
        energy: Formation energy against the elements in eV/atom.
        space_group: Number of its space group; 0 where unknown.
    """

    formula: str
    energy: float
    space_group: int = 0

    @classmethod
    def of(cls, formula: str, energy: float, space_group: int = 0) -> Phase:
        """Return the phase of any formula of elements, such as O3TiSr.

        Raises:
            InputError: if the formula is none, or the energy is not finite or not one against the elements.
        """
        reduced = composition_of(formula).reduced_formula
        if not (math.isfinite(energy) and abs(energy) <= _LARGEST_ENERGY):
            msg = (
                f"{formula} has {energy} eV/atom, which is no formation energy against the elements; "
                f"give one between {-_LARGEST_ENERGY:g} and {_LARGEST_ENERGY:g} eV/atom"
            )
            raise InputError(msg)
        return cls(reduced, float(energy), space_group)


def symbols_of(formula: str) -> Symbols:
    """Return the symbols of the elements of a reduced formula."""
    return frozenset(_SYMBOL.findall(formula))


def composition_of(formula: str | Mapping[str, float]) -> Composition:
    """Return the composition of a formula, or of amounts by symbol.

    Raises:
        InputError: if it is none, or has something that is no element.
    """
    try:
        composition = Composition(formula)
    except (ValueError, TypeError) as error:
        msg = f"{formula!r} is no formula ({error}); write it like SrTiO3"
        raise InputError(msg) from error
    if not composition or not all(isinstance(element, Element) for element in composition.elements):
        msg = f"{formula!r} is no formula of elements; write it like SrTiO3"
        raise InputError(msg)
    return composition


def read_phases(path: Path) -> list[Phase]:
    """Read phases from a table, or from a JSON file of pymatgen's entries.

    A table is CSV, also compressed with gzip, with the columns ``formula`` and ``formation_energy_per_atom`` and, if
    known, ``space_group``, a number. A JSON file (``.json``, also compressed) is a list of what the ``as_dict`` of
    ``ComputedEntry`` or one of its subclasses gives, those of the elements among them (:func:`phases_from_entries`).

    Raises:
        InputError: if there is no such file, it is none of the two, a value is no number, or there is no phase.
    """
    phases = _read_entries(path) if is_json(path) else _read_table(path)
    if not phases:
        msg = f"{path} has no phase; give at least one"
        raise InputError(msg)
    return phases


def _read_entries(path: Path) -> list[Phase]:
    content = read_json(path)
    try:
        entries = [
            PDEntry(composition_of(each["composition"]), float(each["energy"]) + float(each.get("correction") or 0))
            for each in content
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{path} is no list of pymatgen's entries ({type(error).__name__}: {error}); write their as_dict as JSON"
        raise InputError(msg) from error
    return phases_from_entries(entries)


def _read_table(path: Path) -> list[Phase]:
    try:
        text = unpacked(path).decode()
    except FileNotFoundError as error:
        msg = f"there is no file {path}; give a CSV table with the columns formula and {ENERGY_COLUMN}"
        raise InputError(msg) from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        msg = f"{path} cannot be read as a table ({error}); give an undamaged CSV file"
        raise InputError(msg) from error
    rows = csv.DictReader(io.StringIO(text))
    try:
        return _phases_of(rows, path)
    except csv.Error as error:
        msg = f"{path} cannot be read as a table ({error}); give an undamaged CSV file"
        raise InputError(msg) from error


def _phases_of(rows: csv.DictReader[str], path: Path) -> list[Phase]:
    missing = {"formula", ENERGY_COLUMN} - set(rows.fieldnames or ())
    if missing:
        msg = f"{path} has no column {', '.join(sorted(missing))}; a table of phases has formula and {ENERGY_COLUMN}"
        raise InputError(msg)
    phases = []
    for line, row in enumerate(rows, start=2):
        try:
            phases.append(Phase.of(row["formula"], float(row[ENERGY_COLUMN]), int(row.get("space_group") or 0)))
        except (ValueError, TypeError) as error:  # InputError is also a ValueError
            msg = f"line {line} of {path} is no phase: {error}"
            raise InputError(msg) from error
    return phases


def shipped_phases() -> list[Phase]:
    """Return the phases of the Materials Project that come with the package.

    Raises:
        InputError: if the table is damaged.
    """
    try:
        data = resources.files("icsg3d.hull").joinpath(TABLE).read_bytes()
        rows = csv.reader(io.StringIO(gzip.decompress(data).decode()))
        next(rows)
        return [Phase(formula, float(energy), int(group)) for formula, energy, group in rows]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        msg = f"the table of the hull, {TABLE}, is damaged ({error}); install icsg3d again"
        raise InputError(msg) from error


def write_phases(phases: Iterable[Phase]) -> bytes:
    """Return the compressed table that :func:`read_phases` reads, the same bytes for the same phases."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("formula", ENERGY_COLUMN, "space_group"))
    writer.writerows((p.formula, f"{p.energy:.4f}", p.space_group) for p in phases)
    return gzip.compress(text.getvalue().encode(), mtime=0)


def phases_from_entries(entries: Sequence[Entry]) -> list[Phase]:
    """Return the phases of pymatgen's entries, such as those of the Materials Project.

    Formation energies are against the lowest entry of each element among those given, so that corrections of the
    entries count and their scale is their own.

    Raises:
        InputError: if there is no entry of an element that another one holds.
    """
    references: dict[Element, float] = {}
    for entry in entries:
        if len(entry.composition.elements) == 1:
            element = Element(entry.composition.elements[0].symbol)
            references[element] = min(entry.energy_per_atom, references.get(element, math.inf))
    phases = []
    for entry in entries:
        composition = entry.composition.remove_charges()
        lacking = sorted(element.symbol for element in set(composition.elements) - set(references))
        if lacking:
            msg = (
                f"there is no entry of {', '.join(lacking)} alone, against which the formation energy of "
                f"{composition.reduced_formula} could be taken; add the entries of the elements"
            )
            raise InputError(msg)
        elements = sum(composition.get_atomic_fraction(e) * references[Element(e.symbol)] for e in composition.elements)
        phases.append(Phase.of(composition.reduced_formula, entry.energy_per_atom - elements))
    return phases
