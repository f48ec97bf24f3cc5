"""CIF files, read as they are or not at all.

pymatgen's parser does the work. Around it stands what a crystallographer would look at: sites that stand for hydrogens,
symmetry that is named but not listed, atoms that symmetry puts beside themselves, and the sum formula. What was taken
with a pinch of salt comes back as notes, what cannot be the crystal that is meant is refused.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Composition, Element, Structure
from pymatgen.io.cif import CifParser, str2float

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.bounds import check_bounds
from icsg3d.crystals.elements import MAX_NUMBER
from icsg3d.crystals.settings import named_settings
from icsg3d.errors import InputError
from icsg3d.limits import READING_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import SymmOp
    from pymatgen.io.cif import CifBlock

MERGE_TOLERANCE = 0.25
"""Angstrom; full atoms of one element that are nearer than this are one atom, its coordinates rounded or refined a
little off a special position."""

FORMULA_TOLERANCE = 0.02
"""Largest difference of a share of atoms, relative to the stated one, for two formulas to agree."""

_WORK = 2.5e6
"""Pairs of sites times operations that pymatgen compares in a second."""

_OPERATIONS = re.compile(r"_(symmetry_equiv_pos_as_xyz|space_group_symop(_magn)?[_.]operation[_.]?xyz)_?$")
_NAMES = re.compile(r"_(symmetry_|)space_group_name_(h[-_]m(_alt|_full)?|hall)_?$", re.IGNORECASE)
_NUMBERS = re.compile(r"_(space_group_it_number|symmetry_int_tables_number)_?$", re.IGNORECASE)
_UNKNOWN = {"", ".", "?"}
_IMPLICIT = re.compile(r"(Wat|wat|O-H|OH|Oh|NH|Hw|Ow)")


@dataclass(frozen=True)
class CifCrystal:
    """A crystal and what is to be known of how it was read.

    Attributes:
        structure: The crystal.
        notes: A clause each, without the name of the file.
    """

    structure: Structure
    notes: tuple[str, ...] = ()


class _Parser(CifParser):
    """pymatgen's parser with the symmetry that it is told, and a list of the blocks that hold atoms."""

    operations: list[SymmOp] | None = None

    def _sanitize_data(self, data: CifBlock) -> CifBlock:
        """Replace numbers of hydrogens that are not known, and labels that are missing: pymatgen needs both."""
        if "_atom_site_label" not in data.data and "_atom_site_type_symbol" in data.data:
            data.data["_atom_site_label"] = list(data.data["_atom_site_type_symbol"])
        hydrogens = data.data.get("_atom_site_attached_hydrogens")
        if hydrogens:
            values = [hydrogens] if isinstance(hydrogens, str) else hydrogens
            data.data["_atom_site_attached_hydrogens"] = ["0" if each in _UNKNOWN else each for each in values]
        return super()._sanitize_data(data)

    def get_symops(self, data: CifBlock) -> list[SymmOp]:
        return super().get_symops(data) if self.operations is None else self.operations


def read_cif(text: str) -> CifCrystal:
    """Read the first crystal of a CIF.

    Args:
        text: Of the file.

    Raises:
        InputError: if there is no crystal in it, or another than is meant would come out; the message is a clause
            without the name of the file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _read(text.removeprefix("\ufeff"))
        except InputError:
            raise
        except Exception as error:
            reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
            raise InputError(f"the CIF cannot be read ({reason})") from error


def _read(text: str) -> CifCrystal:
    parser = _Parser.from_str(text)
    cif: Any = parser._cif  # type: ignore[attr-defined]  # noqa: SLF001 (pymatgen has no public name for it)
    blocks = [block for block in cif.data.values() if "_atom_site_fract_x" in block.data]
    if not blocks:
        raise InputError("the CIF lists no atoms with fractional coordinates")
    block, notes = blocks[0], []
    if len(blocks) > 1:
        notes.append(f"the file holds {len(blocks)} crystals, and the first of them ({block.header}) was taken")
    notes += _mended(block)
    _check_work(block)
    structure, found = _in_its_symmetry(parser, block)
    return CifCrystal(structure, tuple(notes + found))


def _column(block: CifBlock, name: str) -> list[str]:
    values = block.data.get(name, [])
    return [values] if isinstance(values, str) else list(values)


def _values(block: CifBlock, pattern: re.Pattern[str]) -> list[str]:
    """Return what is stated under names that match, unknown values left out."""
    found = [_text(value) for key, value in block.data.items() if pattern.match(key)]
    return [value for value in found if value not in _UNKNOWN]


def _text(value: Any) -> str:
    return str(value[0] if isinstance(value, list) and value else value or "").strip().strip("'\"").strip()


def _mended(block: CifBlock) -> list[str]:
    """Bring a block's sites into the form that pymatgen reads rightly, and say what is to be known of it."""
    data, notes = block.data, []
    if "_atom_site_label" not in data:
        raise InputError("the CIF names neither labels nor types of its atoms")
    notes += _without_dummies(data)
    if "_atom_site_occupancy" in data:
        # By the dictionary of CIF, the default of an occupancy is 1; pymatgen takes a dot for 0.
        occupancies = _column(block, "_atom_site_occupancy")
        data["_atom_site_occupancy"] = ["1" if each in _UNKNOWN else each for each in occupancies]
        if "?" in occupancies:
            notes.append("occupancies that are not known were taken as 1")
    if "_atom_site_attached_hydrogens" in data:
        attached = _column(block, "_atom_site_attached_hydrogens")
        if any(each not in _UNKNOWN and str2float(each) != 0 for each in attached):
            notes.append("it has hydrogens without places of their own, which are missing")
        del data["_atom_site_attached_hydrogens"]
    if "_atom_site_type_symbol" not in data:
        notes += _labels(_column(block, "_atom_site_label"))
    return notes


def _without_dummies(data: dict[str, Any]) -> list[str]:
    """Leave out sites that are marked as dummies, the centres of rings and the like."""
    flags, labels = data.get("_atom_site_calc_flag"), data["_atom_site_label"]
    if not isinstance(flags, list) or not isinstance(labels, list):
        return []
    dummies = [row for row, flag in enumerate(flags) if flag.lower().startswith("dum")]
    if not dummies:
        return []
    names = ", ".join(labels[row] for row in dummies)
    for key, values in data.items():
        if key.startswith("_atom_site_") and isinstance(values, list) and len(values) == len(flags):
            data[key] = [value for row, value in enumerate(values) if row not in dummies]
    return [f"the dummies {names} were left out"]


def _labels(labels: Sequence[str]) -> list[str]:
    """Check labels that alone say which elements there are.

    Raises:
        InputError: if one stands for a group with hydrogens, or for no element.
    """
    doubtful = []
    for label in labels:
        letters = re.match(r"[A-Za-z]*", label)
        word = letters.group() if letters else ""
        if _IMPLICIT.match(label):
            raise InputError(
                f"the label {label} stands for a group with hydrogens that have no places of their own; give the "
                "types of the atoms (_atom_site_type_symbol), and the hydrogens"
            )
        if not Element.is_valid_symbol(word.title()) or len(word) > 2:
            doubtful.append(label)
    return [f"elements were guessed from the labels {', '.join(doubtful)}"] if doubtful else []


def _check_work(block: CifBlock) -> None:
    sites = len(_column(block, "_atom_site_label"))
    listed = max((len(v) for k, v in block.data.items() if _OPERATIONS.match(k) and isinstance(v, list)), default=1)
    if sites**2 * listed > READING_SECONDS.value() * _WORK:
        subject = f"reading {sites} atoms and {listed} operations of symmetry takes"
        raise READING_SECONDS.refusal(subject, "give a POSCAR")


def _in_its_symmetry(parser: _Parser, block: CifBlock) -> tuple[Structure, list[str]]:
    """Return the crystal with the symmetry that is listed or named, and what is to be known of it.

    Raises:
        InputError: if a name of the symmetry is not understood, or leaves a choice that nothing decides.
    """
    if any(_OPERATIONS.match(key) and value not in (None, "", []) for key, value in block.data.items()):
        return _checked(_parsed(parser, block), block, [])
    names, numbers = _values(block, _NAMES), _values(block, _NUMBERS)
    if not names and not numbers:
        structure, notes = _checked(_parsed(parser, block), block, [])
        if not _formula_agrees(structure, block):
            raise InputError(
                f"no symmetry is given, and without any it is {structure.composition.formula}, while its sum formula "
                f"is {_stated(block)}; state the space group"
            )
        number_stated = _atoms_stated(block)
        if number_stated is None:
            notes = ["no symmetry is given, so P1 was taken", *notes]
        return structure, notes
    return _best_setting(parser, block, names, numbers)


def _best_setting(
    parser: _Parser, block: CifBlock, names: Sequence[str], numbers: Sequence[str]
) -> tuple[Structure, list[str]]:
    """Return the crystal in the one setting of its space group in which it makes sense."""
    lattice = parser.get_lattice(block)
    settings = named_settings(names, numbers, lattice.parameters)  # type: ignore[union-attr]
    if not settings:
        stated = ", ".join([*names, *numbers])
        raise InputError(
            f"its space group ({stated}) is not understood for its cell; list the operations "
            "(_space_group_symop_operation_xyz)"
        )
    default = _pymatgens(parser, block)
    good: list[tuple[str, Structure, list[str]]] = []
    reasons = []
    # Where pymatgen's choice is one of them and makes sense, it is the crystal that always came out.
    settings = sorted(settings, key=lambda each: not _same_operations(default, each.operations))
    if len(settings) == 1:
        parser.operations = default if _same_operations(default, settings[0].operations) else settings[0].operations
        return _checked(_parsed(parser, block), block, [])
    for setting in settings:
        parser.operations = default if _same_operations(default, setting.operations) else setting.operations
        try:
            structure, notes = _checked(_parsed(parser, block), block, [])
            _check_sense(structure, block)
        except InputError as error:
            reasons.append(str(error))
            continue
        finally:
            parser.operations = None
        good.append((setting.name, structure, notes))
    if not good:
        raise InputError(reasons[0])
    _, structure, notes = good[0]
    others = [name for name, other, _ in good[1:] if not _same_crystal(structure, other)]
    if others:
        raise InputError(
            f"its space group leaves a choice of {good[0][0]} and {' and '.join(others)}, which give different "
            "crystals; list the operations (_space_group_symop_operation_xyz)"
        )
    if len(settings) > 1 and reasons:
        notes = [*notes, f"of the settings of its space group, {good[0][0]} was taken, where it makes sense"]
    return structure, notes


def _pymatgens(parser: _Parser, block: CifBlock) -> list[SymmOp]:
    """Return the operations that pymatgen would take; it falls back to P1 where it understands nothing."""
    parser.operations = None
    return parser.get_symops(block)


def _same_operations(first: Sequence[SymmOp], second: Sequence[SymmOp]) -> bool:
    return _keys(first) == _keys(second)


def _keys(operations: Sequence[SymmOp]) -> set[tuple[int, ...]]:
    return {
        (*np.rint(op.rotation_matrix).astype(int).ravel(), *np.rint(op.translation_vector * 24).astype(int) % 24)
        for op in operations
    }


def _same_crystal(one: Structure, other: Structure) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    if len(one) != len(other):
        return False
    return bool(
        StructureMatcher(scale=False, primitive_cell=False, ltol=0.01, stol=0.05, angle_tol=0.5).fit(one, other)
    )


def _parsed(parser: _Parser, block: CifBlock) -> Structure:
    structure = parser._get_structure(block, False, False, check_occu=True)  # noqa: FBT003, SLF001 (pymatgen's)
    if structure is None:
        raise InputError("the CIF lists no atoms that are there")
    return structure


def _checked(structure: Structure, block: CifBlock, notes: list[str]) -> tuple[Structure, list[str]]:
    """Merge atoms that are one, and compare the formula with that stated."""
    merged, count = merged_sites(structure)
    if count:
        notes = [
            *notes,
            f"{count} atoms within {MERGE_TOLERANCE:g} angstrom of another of their element were merged with it",
        ]
        if not _formula_agrees(merged, block):
            raise InputError(
                f"atoms lie upon each other, and merged they are {merged.composition.formula} while the sum formula "
                f"is {_stated(block)}; correct the coordinates or the space group"
            )
    if not _formula_agrees(merged, block):
        notes = [*notes, f"it is {merged.composition.formula}, while its sum formula is {_stated(block)}"]
    return merged, notes


def _check_sense(structure: Structure, block: CifBlock) -> None:
    """Refuse a crystal whose symmetry was only named if formula, number of atoms or distances speak against it."""
    if not _formula_agrees(structure, block):
        raise InputError(f"it is {structure.composition.formula}, while its sum formula is {_stated(block)}")
    stated = _atoms_stated(block)
    if stated is not None and structure.is_ordered and abs(len(structure) - stated) > 0.01 * stated:
        raise InputError(f"its cell has {len(structure)} atoms, and {stated:g} by what the file states")
    if structure.is_ordered:
        numbers = np.array([getattr(site.specie, "Z", 0) for site in structure])
        if numbers.min() > 0 and numbers.max() <= MAX_NUMBER:
            crystal = CrystalArrays(numbers, structure.frac_coords, structure.lattice.matrix)
            check_bounds(crystal, structure.composition.formula)


def _stated(block: CifBlock) -> str:
    return _text(block.data.get("_chemical_formula_sum"))


def _composition(block: CifBlock) -> Composition | None:
    """Return the stated sum formula; None where there is none, or none that can be read."""
    try:
        composition = Composition(_stated(block).replace(",", " "))
    except Exception:  # noqa: BLE001 (the formula may be any text)
        return None
    return composition if composition.num_atoms > 0 else None


def _amounts(composition: Composition) -> dict[int, float]:
    """Return the share of each atomic number, deuterium and tritium being hydrogen."""
    amounts: dict[int, float] = {}
    for specie, amount in composition.items():
        number = int(getattr(specie, "Z", 0))
        amounts[number] = amounts.get(number, 0.0) + amount / composition.num_atoms
    return amounts


def _formula_agrees(structure: Structure, block: CifBlock) -> bool:
    """Whether a crystal has the stated sum formula; it has where none is stated."""
    stated = _composition(block)
    if stated is None:
        return True
    found, expected = _amounts(structure.composition), _amounts(stated)
    if set(found) != set(expected):
        return False
    return all(abs(found[number] - share) <= FORMULA_TOLERANCE * share for number, share in expected.items())


def _atoms_stated(block: CifBlock) -> float | None:
    """Return how many atoms the cell has by multiplicities of sites, or by the formula and Z; None if unknown."""
    multiplicities = _column(block, "_atom_site_symmetry_multiplicity") or _column(
        block, "_atom_site_site_symmetry_multiplicity"
    )
    if multiplicities and all(each.isdigit() for each in multiplicities):
        return float(sum(map(int, multiplicities)))
    units, stated = _text(block.data.get("_cell_formula_units_Z")), _composition(block)
    return int(units) * stated.num_atoms if units.isdigit() and int(units) and stated is not None else None


def merged_sites(structure: Structure, tolerance: float = MERGE_TOLERANCE) -> tuple[Structure, int]:
    """Return a structure in which full atoms of one species nearer than a tolerance are one, at their mean.

    Args:
        structure: As it was read.
        tolerance: Angstrom.

    Returns:
        The structure, itself if nothing is to be merged, and how many atoms fewer it has.
    """
    first, second, images, _ = structure.get_neighbor_list(tolerance)
    whole = np.array([site.is_ordered for site in structure])
    joined = [
        (one, other, image)
        for one, other, image in zip(first.tolist(), second.tolist(), images, strict=True)
        if one != other and whole[one] and whole[other] and structure[one].specie == structure[other].specie
    ]
    if not joined:
        return structure, 0
    partners: dict[int, list[tuple[int, np.ndarray]]] = {}
    for one, other, image in joined:
        partners.setdefault(one, []).append((other, image))
    kept, taken = [], set()
    frac_coords = structure.frac_coords.copy()
    for site in range(len(structure)):
        if site in taken:
            continue
        members = [(other, image) for other, image in partners.get(site, []) if other not in taken]
        taken.update([site, *(other for other, _ in members)])
        places = [structure.frac_coords[site], *(structure.frac_coords[other] + image for other, image in members)]
        frac_coords[site] = np.mean(places, axis=0) if members else structure.frac_coords[site]
        kept.append(site)
    merged = Structure(
        structure.lattice,
        [structure[site].species for site in kept],
        frac_coords[kept],
        site_properties={key: [values[site] for site in kept] for key, values in structure.site_properties.items()},
        labels=[structure.labels[site] for site in kept],
    )
    return merged, len(structure) - len(kept)
