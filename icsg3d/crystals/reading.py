"""Crystals from files of any format, within limits, without letting a file choose what is imported."""

from __future__ import annotations

import io
import json
import logging
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from pymatgen.core import Element, Lattice, Species, Structure

from icsg3d.crystals.cif import read_cif
from icsg3d.crystals.unpacking import DAMAGE, check_regular, unpacked
from icsg3d.errors import InputError
from icsg3d.limits import ATOMS, READING_SECONDS, within_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)

NOTES = "icsg3d_notes"
"""Key of :attr:`Structure.properties` under which stands what is to be known of how a crystal was read."""

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


def ending(path: Path) -> str:
    """Return the last ending of a file's name in lower case, that of a compression aside."""
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix in {".gz", ".bz2", ".xz"} else name.suffix


def is_json(path: Path) -> bool:
    """Whether a file is JSON by its name, ``.json`` or ``.mson`` in any case, compressed or not."""
    return ending(path) in {".json", ".mson"}


def read_json(path: Path) -> Any:
    """Read a JSON file, also one compressed with gzip, bzip2 or xz.

    Raises:
        InputError: if it is missing, damaged or no JSON.
    """
    try:
        return json_of(unpacked(path))
    except FileNotFoundError as error:
        msg = f"there is no file {path}; give the path of a data set or crystal file"
        raise InputError(msg) from error
    except InputError:
        raise
    except DAMAGE as error:
        msg = f"{path} cannot be read as JSON ({error}); give an undamaged file"
        raise InputError(msg) from error


_LONGEST_INTEGER = 300


def _integer(text: str) -> int | float:
    """Return an integer, and infinity for one that no floating-point number holds: Python refuses the very long."""
    if len(text) > _LONGEST_INTEGER:
        return float("-inf" if text.startswith("-") else "inf")
    return int(text)


def json_of(text: str | bytes) -> Any:
    """Return what JSON text says, without a limit on the length of an integer.

    Raises:
        ValueError: if it is no JSON.
        RecursionError: if it is nested too deeply.
    """
    return json.loads(text, parse_int=_integer)


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
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ArithmeticError) as error:
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


def noted(structure: Structure, *notes: str) -> Structure:
    """Return a structure that carries notes on how it was read; itself without any."""
    if notes:
        structure.properties[NOTES] = [*structure.properties.get(NOTES, ()), *notes]
    return structure


def notes_of(structure: Structure) -> tuple[str, ...]:
    """Return what is to be known of how a crystal was read, a clause each."""
    return tuple(map(str, structure.properties.get(NOTES, ())))


def read_structure(path: str | Path) -> Structure:
    """Read a crystal from any file that pymatgen or ASE reads, and warn of what is to be known of how it was read.

    Raises:
        InputError: as in :func:`read_quietly`.
    """
    structure = read_quietly(path)
    for note in notes_of(structure):
        _log.warning("%s: %s", path, note)
    return structure


def read_quietly(path: str | Path) -> Structure:
    """Read a crystal as :func:`read_structure` does, without a warning; :func:`notes_of` has the notes.

    Raises:
        InputError: if there is no such file, it is out of the limits, or none of the readers finds a crystal in it.
    """
    path = Path(path)
    try:
        present = path.exists() and not path.is_dir()
    except OSError:  # a name that is too long, for one
        present = False
    if not present:
        name = str(path) if len(str(path)) < 200 else f"{str(path)[:60]}..."
        msg = f"there is no file {name}; give the path of a CIF, POSCAR or other crystal file"
        raise InputError(msg)
    try:
        check_regular(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a file that can") from error
    if is_json(path):
        return _read_json_structure(path)
    with within_seconds(READING_SECONDS.value(), READING_SECONDS.refusal(f"reading {path} takes")):
        return _read_other(path)


def _read_other(path: Path) -> Structure:
    """Read a crystal from a file that is no JSON."""
    if ending(path) in {".yaml", ".yml"}:
        msg = f"{path} holds no crystal that is read: YAML may name code to run; give a CIF or POSCAR"
        raise InputError(msg)
    kind = _format(path)
    if kind == "cif":
        return _read_cif_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _check_announced(path, kind)
            return _read_with_pymatgen(path, kind)
        except InputError:
            raise
        except Exception as first:  # noqa: BLE001 (readers of foreign files raise whatever they like)
            return _by_ase_instead(path, first)


def _by_ase_instead(path: Path, first: Exception) -> Structure:
    try:
        atoms = _read_with_ase(path)
    except InputError:
        raise
    except Exception:  # noqa: BLE001
        reason = str(first).splitlines()[0] if str(first) else type(first).__name__
        msg = f"{path} holds no crystal that pymatgen or ASE can read ({reason}); give a CIF or POSCAR"
        raise InputError(msg) from first
    if atoms.cell.rank != 3:
        msg = f"{path} holds atoms without a cell; give a CIF or POSCAR, or extended XYZ with its Lattice"
        raise InputError(msg)
    try:
        return from_atoms(atoms)
    except InputError as error:
        raise InputError(f"{path} holds no crystal: {error}") from error


def _check_announced(path: Path, kind: str | None) -> None:
    """Refuse a file that announces more atoms than are taken, before a reader makes room for them.

    XYZ files begin with the number of atoms; in POSCARs it stands in the sixth or seventh line.
    """
    lines = unpacked(path)[:4096].splitlines()
    looked_at = lines[5:7] if kind == "poscar" else lines[:1] if kind is None else []
    for line in looked_at:
        words = line.split()
        if words and all(word.isdigit() for word in words):
            atoms = sum(int(word[:18]) for word in words)
            ATOMS.check(atoms, f"{path} announces {atoms} atoms,", "give the primitive cell")


def _read_cif_file(path: Path) -> Structure:
    try:
        text = io.StringIO(unpacked(path).decode("utf-8", "replace"), newline=None).read()
        return crystal_of_cif(text)
    except InputError as error:
        raise InputError(f"{path} holds no crystal that is read: {error}; give a CIF of one ordered crystal") from error
    except DAMAGE as error:
        raise InputError(f"{path} holds no crystal: it is damaged ({error}); fetch it again") from error


def crystal_of_cif(text: str) -> Structure:
    """Return the crystal of a CIF's text, with its notes.

    Raises:
        InputError: as in :func:`icsg3d.crystals.cif.read_cif`.
    """
    with within_seconds(READING_SECONDS.value(), READING_SECONDS.refusal("reading the CIF takes")):
        found = read_cif(text)
    return noted(found.structure, *found.notes)


def _read_json_structure(path: Path) -> Structure:
    content = read_json(path)
    if not isinstance(content, dict) or "sites" not in content:
        msg = f"{path} holds no crystal; give a CIF or POSCAR, or JSON of pymatgen's Structure.as_dict"
        raise InputError(msg)
    return structure_from_dict(content)


def _format(path: Path) -> str | None:
    """Return the format that :data:`_FORMATS` names.

    Never ask ``Structure.from_file``, which takes any name with ``.json`` or ``.yaml`` somewhere in it as such a file.
    """
    name = path.name.lower()
    return next((kind for pattern, kind in _FORMATS.items() if fnmatchcase(name, pattern)), None)


def _read_with_pymatgen(path: Path, kind: str | None) -> Structure:
    if kind is None:
        msg = "its name is of no format that pymatgen reads"
        raise ValueError(msg)
    if kind == "vasprun":
        from pymatgen.io.vasp import Vasprun

        return Structure.from_sites(Vasprun(path).final_structure)
    if kind == "abinit":
        from pymatgen.io.abinit.netcdf import structure_from_ncdata

        return structure_from_ncdata(str(path))
    text = io.StringIO(unpacked(path).decode("utf-8", "replace"), newline=None)  # with the line ends of any system
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


def from_atoms(atoms: Atoms) -> Structure:
    """Return the structure of ASE's atoms.

    Raises:
        InputError: if they have no cell.
    """
    from pymatgen.io.ase import AseAtomsAdaptor  # slow to import, and not needed where there are no Atoms

    if atoms.cell.rank != 3:
        msg = f"the Atoms object {atoms.get_chemical_formula()} has no cell; set one with atoms.set_cell"
        raise InputError(msg)
    try:
        structure = AseAtomsAdaptor.get_structure(atoms)
    except (ValueError, ArithmeticError) as error:  # numpy's LinAlgError is a ValueError
        msg = f"the cell or a position of {atoms.get_chemical_formula()} makes no sense ({error}); correct it"
        raise InputError(msg) from error
    if not isinstance(structure, Structure):
        msg = f"the Atoms object {atoms.get_chemical_formula()} is no crystal"
        raise InputError(msg)
    return structure
