"""Crystals from ASE databases."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from icsg3d.crystals.structures import as_structure
from icsg3d.data.frames import BadCell
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MORE_KEY = "icsg3d_more"
"""Key of a JSON text of what ASE refuses as key-value pairs.

The data of a row also hold it, but looking there means decoding all data of databases of any origin.
"""


def iter_ase_database(path: Path, size: int) -> Iterator[pd.DataFrame]:
    """Read an ASE database as dataframes of so many rows: ``structure`` and a column per key, by the number of the row.

    The key ``material_id`` is the name of a crystal where there is one. Atoms without a cell leave a
    :class:`~icsg3d.data.frames.BadCell` with the reason.

    Raises:
        InputError: if the file is no ASE database.
    """
    last = 0
    while rows := _rows(path, last, size):
        yield pd.DataFrame(list(rows.values()), index=list(rows))
        last = max(rows)
    if not last:
        yield pd.DataFrame(columns=["structure"])


def count_ase_database(path: Path) -> int:
    """Return the number of rows of an ASE database.

    Raises:
        InputError: if the file is none.
    """
    with _opened(path) as database:
        return int(database.count())


def _rows(path: Path, last: int, size: int) -> dict[int, dict[str, Any]]:
    """Return the rows after the last one, by number."""
    rows: dict[int, dict[str, Any]] = {}
    with _opened(path) as database:
        # By numbers, as ASE fetches all rows of a selection at once.
        for row in database.select(f"id>{last}", sort="id", limit=size):
            pairs = dict(row.key_value_pairs)
            more = json.loads(pairs.pop(MORE_KEY, "{}"))
            name = {"material_id": str(pairs.pop("material_id"))} if "material_id" in pairs else {}
            rows[row.id] = {**name, "structure": _structure(row), **pairs, **more}
    return rows


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from ase.db import connect  # takes a tenth of a second, which commands without a database can do without

    try:
        with connect(path) as database:
            yield database
    except (OSError, sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is no ASE database that can be read ({error}); write one with ase.db.connect"
        raise InputError(msg) from error


def _structure(row: Any) -> Any:
    try:
        return as_structure(row.toatoms())
    except InputError as error:
        return BadCell(str(error))
