"""Structures and Atoms to arrays and back, and the cell that the networks see."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from pymatgen.core import Element, IStructure, Lattice, Structure

from icsg3d.crystals.arrays import CrystalArrays, wrapped
from icsg3d.crystals.bounds import MIN_DISTANCE_RATIO, check_bounds
from icsg3d.crystals.elements import MAX_NUMBER, symbols
from icsg3d.crystals.reading import (
    crystal_of_cif,
    from_atoms,
    is_json,
    read_json,
    read_structure,
    structure_from_dict,
)
from icsg3d.crystals.taking import is_text, unwrapped
from icsg3d.errors import InputError

__all__ = [
    "SYMPREC",
    "CellSetting",
    "Crystal",
    "as_structure",
    "cubic_structure",
    "from_arrays",
    "is_json",
    "network_cell",
    "primitive_cell",
    "read_json",
    "read_structure",
    "structure_from_dict",
    "structure_from_text",
    "to_arrays",
]

Crystal = IStructure | Atoms | str | Path | Mapping[str, Any]
"""What stands for a crystal everywhere in the package: a Structure, ase.Atoms, the path or text of a file, or what
``as_dict`` gives. Entries and documents that hold a structure are taken as well (:mod:`icsg3d.crystals.taking`)."""

SYMPREC = 0.01
"""Angstrom; how far atoms may be off a pure translation of the cell for it to be taken as smaller than given."""


def as_structure(crystal: Crystal) -> Structure:
    """Return a Structure of whatever stands for a crystal.

    Raises:
        InputError: if it is none.
    """
    found = unwrapped(crystal)
    if isinstance(found, Structure):
        return found
    if isinstance(found, Atoms):
        return from_atoms(found)
    if isinstance(found, str) and is_text(found):
        return structure_from_text(found)
    if isinstance(found, str | Path):
        return read_structure(found)
    if isinstance(found, Mapping) and "sites" in found:
        return structure_from_dict(found)
    msg = f"expected a pymatgen Structure, ase.Atoms or the path of a file, got {type(crystal).__name__}"
    raise InputError(msg)


def structure_from_text(text: str) -> Structure:
    """Return the crystal of a text: a CIF, or JSON as pymatgen writes it.

    Raises:
        InputError: if it is neither, or damaged.
    """
    beginning = " ".join(text[:60].split())
    try:
        if text.lstrip().startswith("{"):
            content = json.loads(text)
            if "sites" in content or "structure" in content:
                return as_structure(content)
        elif "_cell_length_a" in text:
            return crystal_of_cif(text)
    except InputError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"the text {beginning!r}... holds no crystal ({reason}); give a CIF or its path") from error
    raise InputError(f"the text {beginning!r}... is neither CIF nor JSON of a crystal; give one, or the path of a file")


def to_arrays(structure: Structure, closest: float = MIN_DISTANCE_RATIO) -> CrystalArrays:
    """Return atomic numbers, fractional coordinates and lattice of an ordered structure.

    Args:
        structure: As it was given.
        closest: Least distance between two atoms as a share of the sum of their covalent radii.

    Raises:
        InputError: if sites are disordered or partly occupied, an element is beyond plutonium or no element at all, or
            it is out of the bounds of :func:`icsg3d.crystals.bounds.check_bounds`.
    """
    name = structure.composition.formula
    if not len(structure):
        msg = "the structure has no sites; give one with atoms"
        raise InputError(msg)
    for number, site in enumerate(structure):
        if not site.is_ordered:
            msg = (
                f"site {number} of {name} is disordered or partly occupied ({site.species_string}); "
                "order it first, for instance with pymatgen's OrderDisorderedStructureTransformation"
            )
            raise InputError(msg)
    numbers = np.array([getattr(site.specie, "Z", 0) for site in structure])
    if numbers.min() < 1 or numbers.max() > MAX_NUMBER:
        odd = structure[int(np.argmax((numbers < 1) | (numbers > MAX_NUMBER)))].species_string
        msg = f"{name} has {odd}, which is not among the elements H to {symbols()[MAX_NUMBER]}; replace it"
        raise InputError(msg)
    arrays = CrystalArrays(numbers, np.array(structure.frac_coords), np.array(structure.lattice.matrix))
    check_bounds(arrays, name, closest)
    return arrays


def from_arrays(crystal: CrystalArrays) -> Structure:
    """Return a Structure of arrays."""
    species = [symbols()[number] for number in crystal.numbers]
    return Structure(crystal.lattice, species, crystal.frac_coords, to_unit_cell=True)


_FACE_CENTRED = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))


def cubic_structure(
    length: float, atoms: Sequence[tuple[Element, Sequence[float]]], *, face_centred: bool = False
) -> Structure:
    """Return a cubic cell.

    pymatgen's ``Structure.from_spacegroup`` takes a second for the 192 operations of Fm-3m.

    Args:
        length: Of the cell in angstrom.
        atoms: Element and fractional coordinates of each atom.
        face_centred: Whether each atom stands for four, at the corner and the face centres of the cell.
    """
    points = np.array(_FACE_CENTRED if face_centred else _FACE_CENTRED[:1])
    sites = np.concatenate([points + np.array(place) for _, place in atoms])
    species = [element for element, _ in atoms for _ in points]
    return Structure(Lattice.cubic(length), species, sites, to_unit_cell=True)


@dataclass(frozen=True)
class CellSetting:
    """How a crystal was given, so that what is decoded can be given back alike.

    Attributes:
        transformation: Integer matrix that makes the given cell from the primitive one, shape (3, 3).
        origin: Where the origin that the networks chose lies in the primitive cell, fractional, shape (3,).
    """

    transformation: np.ndarray
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def apply(self, primitive: Structure) -> Structure:
        """Return the supercell in which the crystal was given, with its origin, in the standard orientation."""
        cell = primitive.copy()
        cell.translate_sites(list(range(len(cell))), self.origin)
        cell.make_supercell(self.transformation)
        lattice = Lattice.from_parameters(*cell.lattice.parameters)
        return Structure(lattice, cell.species, cell.frac_coords, to_unit_cell=True)


def primitive_cell(structure: Structure) -> tuple[CrystalArrays, CellSetting]:
    """Reduce a structure to its primitive Niggli cell, without moving an atom.

    Raises:
        InputError: as in :func:`to_arrays`.
    """
    given = to_arrays(structure)
    lattice, frac_coords, numbers = _without_translations(given)
    reduced = _niggli(lattice)
    frac_coords = frac_coords @ lattice @ np.linalg.inv(reduced)
    if np.linalg.det(reduced) < 0:
        reduced, frac_coords = -reduced, -frac_coords
    transformation = np.rint(given.lattice @ np.linalg.inv(reduced)).astype(int)
    return CrystalArrays(numbers, wrapped(frac_coords), reduced), CellSetting(transformation)


def network_cell(structure: Structure, *, primitive: bool) -> tuple[CrystalArrays, CellSetting]:
    """Return the cell that networks see: the primitive one or, for non-periodic grids, the one given.

    Raises:
        InputError: as in :func:`to_arrays`.
    """
    if primitive:
        return primitive_cell(structure)
    return to_arrays(structure), CellSetting(np.eye(3, dtype=int))


def _without_translations(given: CrystalArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lattice, coordinates and numbers of the smallest cell; the given one where spglib finds none."""
    cell: Any = (given.lattice, given.frac_coords, given.numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=SYMPREC)
    if found is None:
        return given.lattice, given.frac_coords, given.numbers
    lattice, frac_coords, numbers = found
    return np.asarray(lattice), np.asarray(frac_coords), np.asarray(numbers, dtype=np.int64)


def _niggli(lattice: np.ndarray) -> np.ndarray:
    vectors: Any = lattice
    reduced = spglib.niggli_reduce(vectors)
    return lattice if reduced is None else np.asarray(reduced)
