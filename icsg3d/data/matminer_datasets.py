"""Data sets by the names that matminer knows."""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING

from icsg3d.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def is_dataset_name(name: str) -> bool:
    """Whether matminer, if it is installed, has a data set of this name. Loads nothing."""
    if not name.isidentifier() or find_spec("matminer") is None:
        return False
    listed = files("matminer").joinpath("datasets", "dataset_metadata.json")
    return listed.is_file() and name in json.loads(listed.read_text(encoding="utf-8"))


def read_dataset(name: str) -> pd.DataFrame:
    """Return a data set of matminer, which downloads it if it is not on the disk and checks its hash.

    If no column is called ``structure`` and just one holds crystals, that one is renamed.

    Raises:
        InputError: if it cannot be loaded.
    """
    from matminer.datasets import load_dataset
    from pymatgen.core import Structure

    try:
        frame = load_dataset(name, pbar=False)
    except Exception as error:
        msg = f"matminer cannot load its data set {name} ({error}); check the connection, or give a file"
        raise InputError(msg) from error
    crystals = [column for column in frame.columns if isinstance(frame[column].iloc[0], Structure)]
    if "structure" not in frame.columns and len(crystals) == 1:
        frame = frame.rename(columns={crystals[0]: "structure"})
    return frame
