"""Crystals from ASE databases."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pandas as pd
from ase.db import connect

from icsg3d.crystals.structures import as_structure
from icsg3d.data.frames import BadCell
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

MORE_KEY = "icsg3d_more"
"""Key of a JSON text of what ASE refuses as key-value pairs.

The data of a row would hold it, too, but to look there for it means to decode all data of databases of any origin.
"""


def read_ase_database(path: Path) -> pd.DataFrame:
    """Read an ASE database as a dataframe: ``structure`` and a column per key, the number of the row as the index.

    The key ``material_id`` is the name of a crystal where there is one. Atoms without a cell leave a
    :class:`~icsg3d.data.frames.BadCell` with the reason.

    Raises:
        InputError: if the file is no ASE database.
    """
    rows: dict[int, dict[str, Any]] = {}
    try:
        with connect(path) as database:
            for row in database.select():
                pairs = dict(row.key_value_pairs)
                more = json.loads(pairs.pop(MORE_KEY, "{}"))
                name = {"material_id": str(pairs.pop("material_id"))} if "material_id" in pairs else {}
                rows[row.id] = {**name, "structure": _structure(row), **pairs, **more}
    except (OSError, sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is no ASE database that can be read ({error}); write one with ase.db.connect"
        raise InputError(msg) from error
    return pd.DataFrame(list(rows.values()), index=list(rows), columns=None if rows else ["structure"])


def _structure(row: Any) -> Any:
    try:
        return as_structure(row.toatoms())
    except InputError as error:
        return BadCell(str(error))
