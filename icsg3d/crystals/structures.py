"""Structures, Atoms and files to arrays and back, and the cell that the networks see."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import warnings
import zlib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import spglib
from ase import Atoms
from pymatgen.core import Element, Lattice, Species, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.crystals.arrays import CrystalArrays, wrapped
from icsg3d.crystals.elements import MAX_NUMBER, symbols
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

Crystal = Structure | Atoms | str | Path
"""What stands for a crystal everywhere in the package: a Structure, ase.Atoms, or the path of a file."""

SYMPREC = 0.01
"""Angstrom; how far atoms may be off a pure translation of the cell for it to be taken as smaller than given."""

_PACKED = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\x00": lzma.decompress}
"""First bytes of compressed files, and what unpacks them."""

_FORMATS = {
    "*.cif*": "cif",
    "*.mcif*": "cif",
    "*poscar*": "poscar",
    "*contcar*": "poscar",
    "*.vasp": "poscar",
    "chgcar*": "poscar",  # which begin with a POSCAR
    "locpot*": "poscar",
    "vasprun*.xml*": "vasprun",
    "*.cssr*": "cssr",
    "*.xsf*": "xsf",
    "input*.xml": "exciting",
    "*rndstr.in*": "mcsqs",
    "*lat.in*": "mcsqs",
    "*bestsqs*": "mcsqs",
    "ctrl*": "lmto",
    "*.res": "res",
    "*.config*": "pwmat",
    "*.pwmat*": "pwmat",
    "*.nc": "abinit",
}
"""Formats that pymatgen reads, by names in lower case; the first that matches holds.

JSON and YAML are left out on purpose: there, pymatgen lets the file name classes to import and call.
"""


def _ending(path: Path) -> str:
    """Return the last ending of a file's name in lower case, that of a compression aside."""
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix in {".gz", ".bz2", ".xz"} else name.suffix


def is_json(path: Path) -> bool:
    """Whether a file is JSON by its name, ``.json`` or ``.mson`` in any case, compressed or not."""
    return _ending(path) in {".json", ".mson"}


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return next((unpack(data) for first, unpack in _PACKED.items() if data.startswith(first)), data)


def read_json(path: Path) -> Any:
    """Read a JSON file, also one compressed with gzip, bzip2 or xz.

    Raises:
        InputError: if it is missing, damaged or no JSON.
    """
    try:
        return json.loads(_unpacked(path))
    except FileNotFoundError as error:
        msg = f"there is no file {path}; give the path of a data set or crystal file"
        raise InputError(msg) from error
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, RecursionError) as error:
        msg = f"{path} cannot be read as JSON ({error}); give an undamaged file"
        raise InputError(msg) from error


def structure_from_dict(values: Mapping[str, Any]) -> Structure:
    """Return the structure that pymatgen's ``as_dict`` described: cell, species and coordinates, no properties.

    pymatgen's own ``from_dict`` lets site properties name classes to import and call; files of unknown origin must not.

    Raises:
        InputError: if something is missing or of the wrong kind.
    """
    try:
        species = [{_specie(entry): _number(entry["occu"]) for entry in site["species"]} for site in values["sites"]]
        frac_coords = np.array([site["abc"] for site in values["sites"]], dtype=float)
        lattice = Lattice(np.array(values["lattice"]["matrix"], dtype=float))
        return Structure(lattice, species, frac_coords.reshape(-1, 3))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"an entry is no crystal ({type(error).__name__}: {error}); write it with pymatgen's Structure.as_dict"
        raise InputError(msg) from error


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{value!r} is no number"
        raise TypeError(msg)
    return value


def _specie(entry: Mapping[str, Any]) -> Element | Species:
    charge = entry.get("oxidation_state")
    return Element(entry["element"]) if charge is None else Species(entry["element"], float(charge))


def read_structure(path: str | Path) -> Structure:
    """Read a crystal from any file that pymatgen or, failing that, ASE reads.

    Raises:
        InputError: if there is no such file or none of the two finds a crystal in it.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"there is no file {path}; give the path of a CIF, POSCAR or other crystal file"
        raise InputError(msg)
    if is_json(path):
        return _read_json_structure(path)
    if _ending(path) in {".yaml", ".yml"}:
        msg = f"{path} holds no crystal that is read: YAML may name code to run; give a CIF or POSCAR"
        raise InputError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _read_with_pymatgen(path)
        except Exception as first:  # noqa: BLE001 (readers of foreign files raise whatever they like)
            try:
                atoms = _read_with_ase(path)
            except Exception:  # noqa: BLE001
                reason = str(first).splitlines()[0] if str(first) else type(first).__name__
                msg = f"{path} holds no crystal that pymatgen or ASE can read ({reason}); give a CIF or POSCAR"
                raise InputError(msg) from first
    if atoms.cell.rank != 3:
        msg = f"{path} holds atoms without a cell; give a CIF or POSCAR, or extended XYZ with its Lattice"
        raise InputError(msg)
    return _from_atoms(atoms)


def _read_json_structure(path: Path) -> Structure:
    content = read_json(path)
    if not isinstance(content, dict) or "sites" not in content:
        msg = f"{path} holds no crystal; give a CIF or POSCAR, or JSON of pymatgen's Structure.as_dict"
        raise InputError(msg)
    return structure_from_dict(content)


def _read_with_pymatgen(path: Path) -> Structure:
    """Read a file in the format that :data:`_FORMATS` names.

    Never with ``Structure.from_file``, which takes any name with ``.json`` or ``.yaml`` somewhere in it as such a file.
    """
    name = path.name.lower()
    kind: Any = next((kind for pattern, kind in _FORMATS.items() if fnmatchcase(name, pattern)), None)
    if kind is None:
        msg = "its name is of no format that pymatgen reads"
        raise ValueError(msg)
    if kind == "vasprun":
        from pymatgen.io.vasp import Vasprun

        return Structure.from_sites(Vasprun(path).final_structure)
    if kind == "abinit":
        from pymatgen.io.abinit.netcdf import structure_from_ncdata

        return structure_from_ncdata(str(path))
    text = io.StringIO(_unpacked(path).decode("utf-8", "replace"), newline=None)  # with the line ends of any system
    return _parse(text.read(), kind)


def _parse(text: str, kind: Any) -> Structure:
    if kind == "exciting":
        from pymatgen.io.exciting import ExcitingInput

        return Structure.from_sites(ExcitingInput.from_str(text).structure)
    if kind == "lmto":
        from pymatgen.io.lmto import LMTOCtrl

        return Structure.from_sites(LMTOCtrl.from_str(text).structure)
    return Structure.from_str(text, fmt=kind)


def _read_with_ase(path: Path) -> Atoms:
    """Read a file in the format that ASE finds by its name and first bytes; none of them imports what a file names."""
    from ase.io import read

    # A whole path, for ASE takes names that begin with postgres or mysql as addresses of databases.
    atoms = read(path.absolute(), do_not_split_by_at_sign=True)
    if not isinstance(atoms, Atoms):
        msg = f"{path} holds several crystals"
        raise TypeError(msg)
    return atoms


def _from_atoms(atoms: Atoms) -> Structure:
    if atoms.cell.rank != 3:
        msg = f"the Atoms object {atoms.get_chemical_formula()} has no cell; set one with atoms.set_cell"
        raise InputError(msg)
    structure = AseAtomsAdaptor.get_structure(atoms)
    if not isinstance(structure, Structure):
        msg = f"the Atoms object {atoms.get_chemical_formula()} is no crystal"
        raise InputError(msg)
    return structure


def as_structure(crystal: Crystal) -> Structure:
    """Return a Structure of whatever stands for a crystal.

    Raises:
        InputError: if it is none.
    """
    if isinstance(crystal, Structure):
        return crystal
    if isinstance(crystal, Atoms):
        return _from_atoms(crystal)
    if isinstance(crystal, str | Path):
        return read_structure(crystal)
    msg = f"expected a pymatgen Structure, ase.Atoms or the path of a file, got {type(crystal).__name__}"
    raise InputError(msg)


def to_arrays(structure: Structure) -> CrystalArrays:
    """Return atomic numbers, fractional coordinates and lattice of an ordered structure.

    Raises:
        InputError: if sites are disordered or partly occupied, an element is beyond plutonium or no element at all, or
            a number is not finite.
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
    lattice = np.array(structure.lattice.matrix)
    if not (np.isfinite(lattice).all() and np.isfinite(structure.frac_coords).all()):
        msg = f"{name} has a coordinate or lattice vector that is not a number; correct the file"
        raise InputError(msg)
    if abs(np.linalg.det(lattice)) < 1e-3:
        msg = f"the cell of {name} has no volume; correct its lattice vectors"
        raise InputError(msg)
    return CrystalArrays(numbers, np.array(structure.frac_coords), lattice)


def from_arrays(crystal: CrystalArrays) -> Structure:
    """Return a Structure of arrays."""
    species = [symbols()[number] for number in crystal.numbers]
    return Structure(crystal.lattice, species, crystal.frac_coords, to_unit_cell=True)


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
