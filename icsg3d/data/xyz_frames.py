"""Crystals from XYZ files of many frames."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from icsg3d.crystals.reading import from_atoms
from icsg3d.crystals.unpacking import DAMAGE, in_pieces
from icsg3d.data.frames import BadCell
from icsg3d.errors import InputError
from icsg3d.limits import ATOMS, READING_SECONDS, ROWS, within_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def has_frames(path: Path) -> bool:
    """Whether something follows the first frame of an XYZ file; not if that frame is missing or damaged."""
    seen = 0
    try:
        for _ in zip(range(2), _frames(path, 1), strict=False):
            seen += 1
    except (InputError, *DAMAGE):
        return seen > 0
    return seen > 1


def iter_xyz(path: Path, size: int) -> Iterator[pd.DataFrame]:
    """Read an extended XYZ file of many frames as dataframes of so many rows, the number of the frame as the index.

    What a frame says of itself in its second line are columns, ``material_id`` its name. A frame that is no crystal
    leaves a :class:`~icsg3d.data.frames.BadCell` with the reason.

    Raises:
        InputError: if the file is damaged or beyond the limits.
    """
    rows: list[dict[str, Any]] = []
    first = 0
    try:
        for frame in _frames(path, size):
            ROWS.check(first + len(rows) + 1, f"{path} has", "split it")
            rows.append(_row(frame))
            if len(rows) == size:
                yield pd.DataFrame(rows, index=range(first, first + size))
                first += size
                rows = []
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{path} cannot be read as XYZ ({error}); give an undamaged file") from error
    if rows:
        yield pd.DataFrame(rows, index=range(first, first + len(rows)))


def _frames(path: Path, size: int) -> Iterator[bytes | BadCell]:
    """Yield the lines of each frame; of one with too many atoms the reason why it is not taken."""
    number = 0
    with in_pieces(path) as (file, pieces):
        for frame, head in enumerate(file):
            if frame % size == 0:
                pieces.begin()
            number += 1
            if not head.strip():
                if file.read(1 << 16).strip():
                    raise ValueError(f"line {number} is empty, where a frame should begin")
                return
            if not head.strip().isdigit():
                raise ValueError(f"line {number} should be the number of atoms of a frame")
            atoms = int(head.strip()[:18])
            if atoms > ATOMS.value():
                for _ in range(atoms + 1):
                    if not file.readline():
                        break
                    pieces.begin()
                yield BadCell(str(ATOMS.refusal(f"the frame announces {atoms} atoms,", "give the primitive cell")))
            else:
                lines = [file.readline() for _ in range(atoms + 1)]
                if not lines[-1]:
                    yield BadCell("the frame ends before its last atom")
                    return
                yield b"".join([head, *lines])
            number += atoms + 1


def _row(frame: bytes | BadCell) -> dict[str, Any]:
    if isinstance(frame, BadCell):
        return {"structure": frame}
    from ase.io import read  # with all its formats, a tenth of a second

    try:
        refusal = READING_SECONDS.refusal("reading the frame takes")
        with warnings.catch_warnings(), within_seconds(READING_SECONDS.value(), refusal):
            warnings.simplefilter("ignore")
            atoms: Any = read(io.StringIO(frame.decode()), format="extxyz")
        info = {str(name): _plain(value) for name, value in atoms.info.items()}
        columns = {name: value for name, value in info.items() if isinstance(value, str | int | float)}
        if "material_id" in columns:
            columns["material_id"] = str(columns["material_id"])
        return columns | {"structure": from_atoms(atoms)}
    except InputError as error:
        return {"structure": BadCell(str(error))}
    except Exception as error:  # noqa: BLE001 (readers of foreign files raise whatever they like)
        return {"structure": BadCell(f"the frame cannot be read ({' '.join(str(error).split())[:200]})")}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
