"""Tables of crystals as compact arrays (``.npz``).

A compact table holds ``natoms`` (n,), ``Z`` (atoms,), ``frac`` (atoms, 3), ``lattice`` (n, 3, 3) in angstrom and
further columns of length n, such as ``ids``, ``space_group`` and properties; the atoms of a crystal are one slice. It
reads with numpy alone, so trainings need nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_NEEDED = ("natoms", "Z", "frac", "lattice")


def read_compact(path: Path) -> tuple[list[CrystalArrays], dict[str, np.ndarray]]:
    """Read a compact table.

    Returns:
        The crystals, and the columns of length n that stand beside them.

    Raises:
        InputError: if the file is missing, damaged, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        msg = f"there is no file {path}; give the path of a compact table of crystals"
        raise InputError(msg) from error
    except (OSError, ValueError, EOFError) as error:
        msg = f"{path} is no readable .npz ({error}); give an undamaged compact table of crystals"
        raise InputError(msg) from error
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        msg = f"{path} lacks {', '.join(missing)}; a compact table of crystals has {', '.join(_NEEDED)}"
        raise InputError(msg)
    ends = np.cumsum(arrays["natoms"])
    if len(arrays["Z"]) != ends[-1] or len(arrays["frac"]) != ends[-1] or len(arrays["lattice"]) != len(ends):
        msg = f"the arrays of {path} do not fit each other; give an undamaged compact table of crystals"
        raise InputError(msg)
    crystals = [
        CrystalArrays(arrays["Z"][start:end].astype(np.int64), arrays["frac"][start:end].astype(float), cell)
        for start, end, cell in zip(ends - arrays["natoms"], ends, arrays["lattice"].astype(float), strict=True)
    ]
    columns = {name: array for name, array in arrays.items() if name not in _NEEDED and len(array) == len(crystals)}
    return crystals, columns


def write_compact(path: Path, crystals: Iterable[CrystalArrays], columns: Mapping[str, np.ndarray]) -> None:
    """Write a compact table: coordinates and cells in 32 bits, columns as they are."""
    crystals = list(crystals)
    np.savez_compressed(
        path,
        natoms=np.array([len(crystal) for crystal in crystals], dtype=np.int16),
        Z=np.concatenate([crystal.numbers for crystal in crystals]).astype(np.uint8),
        frac=np.concatenate([crystal.frac_coords for crystal in crystals]).astype(np.float32),
        lattice=np.stack([crystal.lattice for crystal in crystals]).astype(np.float32),
        **cast("Any", columns),
    )
