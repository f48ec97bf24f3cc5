"""Dataframes of crystals in matminer's JSON format, read without letting a file choose what is imported."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from monty.json import MontyEncoder

from icsg3d.crystals.structures import read_json, structure_from_dict
from icsg3d.errors import InputError
from icsg3d.files import write_atomically
from icsg3d.limits import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_KEYS = {"columns", "data", "index"}


@dataclass(frozen=True)
class BadCell:
    """What stands in a table for a crystal that cannot be read.

    Attributes:
        reason: Why not.
    """

    reason: str


def _decoded(value: Any, *, strict: bool) -> Any:
    """Return a cell of the table; of all encoded objects only structures are made, so no file picks a class."""
    if not isinstance(value, dict) or value.get("@class") != "Structure":
        return value
    try:
        return structure_from_dict(value)
    except InputError as error:
        if strict:
            raise
        return BadCell(str(error))


def check_names(names: Sequence[Any], path: Path) -> None:
    """Refuse a table in which two columns have one name.

    Raises:
        InputError: if so.
    """
    twice = [name for name, count in Counter(map(str, names)).items() if count > 1]
    if twice:
        msg = f"{path} has more than one column {twice[0]!r}; give each a name of its own"
        raise InputError(msg)


def _check_labels(content: dict[str, Any], path: Path) -> None:
    """Refuse names of rows or columns that are lists or objects, of which pandas makes levels of names.

    Raises:
        InputError: if there are any.
    """
    for kind in ("columns", "index"):
        names = content[kind]
        if not isinstance(names, list) or any(isinstance(name, list | dict) for name in names):
            msg = f"{path} is a damaged dataframe (its {kind} is no list of names); fetch or write it again"
            raise InputError(msg)


def read_frame(path: Path) -> pd.DataFrame:
    """Read a dataframe that matminer's ``store_dataframe_as_json`` or :func:`write_frame` wrote.

    Raises:
        InputError: if the file is no such dataframe.
    """
    return frame_from_json(read_json(path), path)


def frame_from_json(content: Any, path: Path, *, strict: bool = True) -> pd.DataFrame:
    """Return the dataframe of a JSON file's content, for which a list of objects such as candidates counts as well.

    Args:
        content: Of the file.
        path: Of the file, for messages.
        strict: Whether a crystal that cannot be read is an error; otherwise a :class:`BadCell` stands in its place.

    Raises:
        InputError: if the content is no dataframe in matminer's format.
    """
    data = content.get("data") if isinstance(content, dict) else content
    if isinstance(data, list):
        ROWS.check(len(data), f"{path} has", "split it")
    if isinstance(content, list) and content and all(isinstance(each, dict) for each in content):
        rows = [{k: _decoded(v, strict=strict) for k, v in each.items() if k[:1] != "@"} for each in content]
        return pd.DataFrame(rows)
    if not isinstance(content, dict) or set(content) != _KEYS:
        msg = f"{path} is no dataframe in matminer's format; write one with matminer's store_dataframe_as_json"
        raise InputError(msg)
    _check_labels(content, path)
    check_names(content["columns"], path)
    try:
        data = [[_decoded(value, strict=strict) for value in row] for row in content["data"]]
        return pd.DataFrame(data, index=content["index"], columns=content["columns"])
    except Exception as error:
        msg = f"{path} is a damaged dataframe ({type(error).__name__}: {error}); fetch or write it again"
        raise InputError(msg) from error


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a dataframe in matminer's format, compressed if the name ends in ``.gz``, whole or not at all."""
    text = json.dumps(frame.to_dict(orient="split"), cls=MontyEncoder).encode()
    write_atomically(path, gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
