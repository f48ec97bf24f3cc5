"""Candidates as an ASE database, with what is known of them as key-value pairs."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.db import connect
from ase.db.core import check
from ase.io.extxyz import write_xyz
from monty.json import MontyEncoder
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.data.ase_database import MORE_KEY
from icsg3d.errors import InputError
from icsg3d.files import replacing, saving

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from icsg3d.generation.candidates import Candidate

FORMATS = ("extxyz", "db")
"""What candidates can be written as beside tables and CIFs: frames of extended XYZ, an ASE database."""


def write_candidates(candidates: Iterable[Candidate], path: Path) -> int:
    """Write candidates that have a structure into a new ASE database.

    Each row carries, as key-value pairs, where the candidate came from, its predictions and those results of its
    screening that are numbers, words or truth values. What ASE refuses as a pair, such as the formula ``NaN``, which it
    takes for a number, is together in one more pair, as JSON; :func:`~icsg3d.data.ase_database.iter_ase_database` reads
    it back.

    Args:
        candidates: What is written.
        path: Of the database, ``.db``; it must not exist.

    Returns:
        The number of rows.

    Raises:
        InputError: if the file exists, or its name does not end in ``.db``.
    """
    if path.suffix != ".db":
        msg = f"{path} does not end in .db, the ending of ASE databases; name the file so"
        raise InputError(msg)
    if path.exists():
        msg = f"{path} exists; name another file, or remove it"
        raise InputError(msg)
    partial = path.with_name(f".{path.stem}.part.db")
    partial.unlink(missing_ok=True)
    count = 0
    try:
        with connect(partial) as database:
            for candidate in candidates:
                if candidate.structure is not None:
                    atoms = AseAtomsAdaptor.get_atoms(candidate.structure, msonable=False)
                    database.write(atoms, key_value_pairs=_pairs(candidate))
                    count += 1
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def write_frames(candidates: Iterable[Candidate], path: Path) -> int:
    """Write candidates that have a structure as frames of extended XYZ, with what is known of each in its second line.

    Args:
        candidates: What is written, one after the other.
        path: Of the file, which is replaced.

    Returns:
        The number of frames.

    Raises:
        InputError: if it cannot be written.
    """
    count = 0
    with saving(path), replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n", write_through=True)
        for candidate in candidates:
            if candidate.structure is not None:
                atoms = AseAtomsAdaptor.get_atoms(candidate.structure, msonable=False)
                atoms.info = _pairs(candidate)
                write_xyz(text, [atoms])
                count += 1
        text.detach()
    return count


def write_also(candidates: Callable[[], Iterable[Candidate]], folder: Path, formats: Collection[str]) -> None:
    """Write candidates in more formats, ``candidates.extxyz`` and ``candidates.db``; earlier ones are replaced.

    Args:
        candidates: Returns them, one after the other.
        folder: Where.
        formats: Some of :data:`FORMATS`.

    Raises:
        InputError: if a file cannot be written.
    """
    if "extxyz" in formats:
        write_frames(candidates(), folder / "candidates.extxyz")
    if "db" in formats:
        path = folder / "candidates.db"
        with saving(path):
            path.unlink(missing_ok=True)
            write_candidates(candidates(), path)


def _pairs(candidate: Candidate) -> dict[str, Any]:
    values = {"material_id": f"candidate-{candidate.index}", **vars(candidate)} | candidate.predictions
    values |= candidate.screening
    kinds = (bool, int, float, str, np.integer, np.floating, np.bool_)
    known = {name: value for name, value in values.items() if isinstance(value, kinds) and value != ""}
    pairs = {name: value for name, value in known.items() if _is_pair(name, value)}
    more = {name: value for name, value in known.items() if name not in pairs}
    return pairs | {MORE_KEY: json.dumps(more, cls=MontyEncoder)} if more else pairs


def _is_pair(name: str, value: Any) -> bool:
    """Whether ASE takes a key and value; text that reads as a number or truth value it refuses, and its own keys."""
    try:
        check({name: value})
    except ValueError:
        return False
    return True
