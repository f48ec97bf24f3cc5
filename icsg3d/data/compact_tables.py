"""Compact tables of crystals (``.npz``) as dataframes of structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from icsg3d.crystals.compact import read_compact
from icsg3d.crystals.structures import from_arrays

if TYPE_CHECKING:
    from pathlib import Path


def read_compact_table(path: Path) -> pd.DataFrame:
    """Read a compact table; its ``ids``, if it has any, become ``material_id``.

    Raises:
        InputError: if the file is damaged or no such table.
    """
    crystals, columns = read_compact(path)
    frame = pd.DataFrame({name: list(values) for name, values in columns.items() if values.ndim == 1})
    frame = frame.rename(columns={"ids": "material_id"})
    frame["structure"] = [from_arrays(crystal) for crystal in crystals]
    return frame
