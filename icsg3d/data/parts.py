"""Parts of sources of crystals: some rows of a table, or some files of a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from pymatgen.core import Structure

from icsg3d.crystals.reading import crystal_of_cif, json_of, structure_from_dict
from icsg3d.data.frames import BadCell
from icsg3d.errors import InputError
from icsg3d.refusals import listed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Part:
    """Some entries of one source.

    Attributes:
        ids: Name of each crystal.
        named: Whether the source has that name; otherwise it is the number of a row.
        structures: The crystals.
        frame: The other columns, one row per crystal.
        skipped: Name of each entry that was left out, and the reason.
        sources: The files it was read from.
    """

    ids: list[str]
    named: list[bool]
    structures: list[Structure]
    frame: pd.DataFrame
    skipped: list[tuple[str, str]]
    sources: tuple[Path, ...]

    def __len__(self) -> int:
        """Return the number of entries, those that were left out among them."""
        return len(self.ids) + len(self.skipped)


def part_of_frame(frame: pd.DataFrame, path: Path) -> Part:
    """Return the crystals of a dataframe's column ``structure``, and why there are none in some rows.

    Raises:
        InputError: if there is no such column.
    """
    if "structure" not in frame.columns:
        msg = f"{path} has no column 'structure', only {listed(frame.columns)}; name the column of crystals so"
        raise InputError(msg)
    nothing = pd.Series(None, index=frame.index, dtype=object)
    ids = frame.get("material_id", nothing)
    named = ids.notna()
    names = ids.astype(object).where(named, pd.Series(frame.index, frame.index)).map(str)
    good = frame["structure"].map(lambda value: isinstance(value, Structure)).astype(bool)
    bad = zip(names[~good], frame["structure"][~good], frame.get("reason", nothing)[~good], strict=True)
    skipped = [(name, _reason(cell, known)) for name, cell, known in bad]
    kept = frame[good]
    rest = kept.drop(columns="structure").reset_index(drop=True)
    return Part(list(names[good]), list(named[good]), list(kept["structure"]), rest, skipped, (path,))


def _reason(cell: Any, known: Any) -> str:
    if isinstance(cell, BadCell):
        return cell.reason
    return known if isinstance(known, str) and known else "the row has no structure"


def crystal_of_cell(cell: Any) -> Any:
    """Return the crystal that a cell of a table describes: a dictionary of pymatgen's, that as JSON text, or a CIF.

    Returns:
        The crystal; a :class:`~icsg3d.data.frames.BadCell` with the reason where there is none; None for an empty cell.
    """
    if cell is None or (isinstance(cell, float) and cell != cell):  # noqa: PLR0124 (NaN stands for nothing)
        return None
    try:
        if isinstance(cell, bytes):
            cell = cell.decode()
        if isinstance(cell, str) and cell.lstrip().startswith("{"):
            cell = json_of(cell)
        if isinstance(cell, str):
            return crystal_of_cif(cell)
        if isinstance(cell, dict):
            return structure_from_dict(cell)
    except InputError as error:
        return BadCell(str(error) if isinstance(cell, dict) else f"the CIF cannot be read ({error})")
    except (UnicodeDecodeError, json.JSONDecodeError, ValueError, RecursionError) as error:
        return BadCell(f"the entry cannot be read as JSON ({error}); write json.dumps(structure.as_dict())")
    return BadCell("the entry is no crystal; write the dictionary of pymatgen's Structure.as_dict, or a CIF")


def joined(parts: Sequence[Part]) -> pd.DataFrame:
    """Return the columns of several parts below each other."""
    return pd.concat([part.frame for part in parts], ignore_index=True)
