"""Tables with a column of CIF texts, the layout of the CDVAE benchmarks."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from icsg3d.crystals.reading import DAMAGE, crystal_of_cif, unpacked
from icsg3d.data.frames import BadCell, check_names
from icsg3d.errors import InputError
from icsg3d.limits import ROWS
from icsg3d.refusals import listed

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure


def read_cif_table(path: Path) -> pd.DataFrame:
    """Read a CSV table with a column ``cif`` as a dataframe with a column ``structure`` instead.

    A text that is no CIF leaves a :class:`~icsg3d.data.frames.BadCell` with the reason. In columns of words only an
    empty cell is missing.

    Raises:
        InputError: if the file is missing, is no table, or has no such column.
    """
    try:
        frame = _read_csv(path)
    except FileNotFoundError as error:
        msg = f"there is no file {path}; give the path of a data set or crystal file"
        raise InputError(msg) from error
    except InputError:
        raise
    except DAMAGE as error:
        msg = f"{path} cannot be read as a CSV table ({' '.join(str(error).split())}); give an undamaged file"
        raise InputError(msg) from error
    if "cif" not in frame.columns:
        msg = f"{path} has no column 'cif', only {listed(frame.columns)}; name the column of CIF texts so"
        raise InputError(msg)
    ROWS.check(len(frame), f"{path} has", "split it")
    structures = [_structure(text) for text in frame["cif"]]
    columns = frame.drop(columns=[name for name in ("cif", "Unnamed: 0") if name in frame.columns])
    return columns.assign(structure=structures)


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a table in which NaN and InF are no values among numbers, and formulas like any others among words."""
    data = unpacked(path)
    header = pd.read_csv(io.BytesIO(data), header=None, nrows=1, dtype=str).iloc[0]
    check_names(header.dropna().tolist(), path)
    frame = pd.read_csv(io.BytesIO(data))
    as_written = pd.read_csv(io.BytesIO(data), keep_default_na=False, na_values=[""])
    words = [name for name in frame if name != "cif" and not any(map(_is_number, frame[name].dropna()))]
    return frame.assign(**{name: as_written[name] for name in words})


def _is_number(value: Any) -> bool:
    return not isinstance(value, str) and math.isfinite(value)


def _structure(text: Any) -> Structure | BadCell:
    if not isinstance(text, str):
        return BadCell("the row has no CIF")
    try:
        return crystal_of_cif(text)
    except InputError as error:
        return BadCell(f"the CIF cannot be read ({error})")
