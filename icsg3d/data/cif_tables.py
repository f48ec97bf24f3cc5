"""Tables with a column of CIF texts, the layout of the CDVAE benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from icsg3d.crystals.reading import crystal_of_cif
from icsg3d.crystals.unpacking import DAMAGE, Pieces, in_pieces
from icsg3d.data.frames import BadCell, check_names
from icsg3d.errors import InputError
from icsg3d.limits import ROWS
from icsg3d.refusals import listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from pymatgen.core import Structure


def iter_cif_table(path: Path, size: int) -> Iterator[pd.DataFrame]:
    """Read a CSV table with a column ``cif`` as dataframes of so many rows with a column ``structure`` instead.

    A text that is no CIF leaves a :class:`~icsg3d.data.frames.BadCell` with the reason. In columns of words only an
    empty cell is missing. The table is gone through once before, so that a column is of one kind in all of them.

    Raises:
        InputError: if the file is missing, is no table, or has no such column.
    """
    try:
        names, kinds = _kinds(path, size)
        words = [name for name in names if name not in kinds]
        with in_pieces(path) as one, in_pieces(path) as other:
            numbers = _chunks(one, size, dtype={name: kind for name, kind in kinds.items() if kind})
            texts = _chunks(other, size, dtype=dict.fromkeys(words, str), keep_default_na=False, na_values=[""])
            for frame, as_written in zip(numbers, texts, strict=True):
                found = frame.assign(**{name: as_written[name] for name in words})
                columns = found.drop(columns=[name for name in ("cif", "Unnamed: 0") if name in names])
                structures = [_structure(text) for text in frame["cif"]]
                yield columns.assign(structure=pd.Series(structures, index=frame.index, dtype=object))
    except FileNotFoundError as error:
        msg = f"there is no file {path}; give the path of a data set or crystal file"
        raise InputError(msg) from error
    except InputError:
        raise
    except DAMAGE as error:
        msg = f"{path} cannot be read as a CSV table ({' '.join(str(error).split())}); give an undamaged file"
        raise InputError(msg) from error


def _chunks(opened: tuple[BinaryIO, Pieces], size: int, **options: Any) -> Iterator[pd.DataFrame]:
    file, pieces = opened
    with pd.read_csv(file, chunksize=size, low_memory=False, **options) as chunks:
        for chunk in chunks:
            pieces.begin()
            yield chunk


def _kinds(path: Path, size: int) -> tuple[list[str], dict[str, Any]]:
    """Return the columns of a table, and the types of those of numbers: None where pandas is to find it.

    NaN and InF are no values among numbers, and formulas like any others among words.
    """
    with in_pieces(path) as (file, _):
        header = pd.read_csv(file, header=None, nrows=1, dtype=str).iloc[0]
    check_names(header.dropna().tolist(), path)
    rows = 0
    names: list[str] = []
    found: dict[str, set[str]] = {}
    with in_pieces(path) as opened:
        for frame in _chunks(opened, size):
            names = list(frame)
            if "cif" not in names:
                msg = f"{path} has no column 'cif', only {listed(names)}; name the column of CIF texts so"
                raise InputError(msg)
            rows += len(frame)
            ROWS.check(rows, f"{path} has", "split it")
            for name in names:
                found.setdefault(name, set()).update(_kinds_of(frame[name]))
    return names, {name: _type(kinds) for name, kinds in found.items() if name == "cif" or _are_numbers(kinds)}


def _kinds_of(column: pd.Series) -> set[str]:
    """Return the kinds of a column's values: the letter of numpy's type, ``missing``, and ``finite`` for numbers."""
    there = column.dropna()
    kinds = {"missing"} if len(there) < len(column) else set()
    if len(there):
        numbers = [not isinstance(value, str) for value in there] if column.dtype == object else []
        mixed = bool(numbers) and all(numbers)  # truths among which some are missing
        kinds.add("b" if mixed else column.dtype.kind)
        if mixed or (column.dtype != object and np.isfinite(there).any()):
            kinds.add("finite")
    return kinds


def _are_numbers(kinds: set[str]) -> bool:
    return "finite" in kinds and "O" not in kinds and not ("b" in kinds and kinds & set("iuf"))


def _type(kinds: set[str]) -> Any:
    if kinds & set("buO") or not kinds & set("if"):
        return None
    return "int64" if "f" not in kinds and "missing" not in kinds else "float64"


def _structure(text: Any) -> Structure | BadCell:
    if not isinstance(text, str):
        return BadCell("the row has no CIF")
    try:
        return crystal_of_cif(text)
    except InputError as error:
        return BadCell(f"the CIF cannot be read ({error})")
