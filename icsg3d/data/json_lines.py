"""Crystals from JSON lines: a row of a table on each line of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from icsg3d.crystals.reading import json_of
from icsg3d.crystals.unpacking import DAMAGE, in_pieces
from icsg3d.data.frames import BadCell
from icsg3d.data.parts import crystal_of_cell
from icsg3d.errors import InputError
from icsg3d.limits import ROWS
from icsg3d.refusals import listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def iter_json_lines(path: Path, size: int) -> Iterator[pd.DataFrame]:
    """Read JSON lines as dataframes of so many rows, the number of the line (from 0) as the index.

    A line is a dictionary with ``structure`` (what pymatgen's ``as_dict`` gives) or ``cif`` (text) and perhaps
    ``material_id`` and other columns, or such a ``structure`` alone. A line that is none leaves a
    :class:`~icsg3d.data.frames.BadCell` with the reason.

    Raises:
        InputError: if the file is missing or damaged, or beyond the limits.
    """
    rows: dict[int, dict[str, Any]] = {}
    none = True
    try:
        with in_pieces(path) as (file, pieces):
            for number, line in enumerate(file):
                ROWS.check(number + 1, f"{path} has", "split it")
                if line.strip():
                    rows[number] = _row(line)
                if len(rows) == size:
                    yield pd.DataFrame(list(rows.values()), index=list(rows))
                    rows, none = {}, False
                    pieces.begin()
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}; give the path of a data set or crystal file") from error
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{path} cannot be read as JSON lines ({error}); give an undamaged file") from error
    if rows or none:
        yield pd.DataFrame(list(rows.values()), index=list(rows), columns=None if rows else ["structure"])


def _row(line: bytes) -> dict[str, Any]:
    try:
        content = json_of(line)
    except (ValueError, RecursionError) as error:
        return {"structure": BadCell(f"the line cannot be read as JSON ({error})")}
    if not isinstance(content, dict):
        return {"structure": BadCell(f"the line is a {type(content).__name__}, not a dictionary with 'structure'")}
    if "sites" in content:
        return {"structure": crystal_of_cell(content)}
    row = {name: value for name, value in content.items() if not name.startswith("@")}
    if "structure" not in row and "cif" not in row:
        reason = f"the line has no key 'structure' or 'cif', only {listed(row) or 'none at all'}"
        return {"structure": BadCell(reason), **row}
    cell = row.pop("cif", None)
    return row | {"structure": crystal_of_cell(row.get("structure", cell))}
