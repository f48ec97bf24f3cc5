"""Candidates as an ASE database, with what is known of them as key-value pairs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.db import connect
from ase.db.core import check
from monty.json import MontyEncoder
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.data.ase_database import MORE_KEY
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from icsg3d.generation.candidates import Candidate


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
        msg = f"{path} does not end in .db, by which ASE knows its databases; name the file so"
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
