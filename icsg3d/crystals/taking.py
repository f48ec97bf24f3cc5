"""What stands for a crystal on the Python side, and how to come to the crystal in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase import Atoms
from pymatgen.core import IStructure, Structure

_HOLDERS = ("structure", "final_structure")
"""Where entries, documents, decoded crystals and histories of transformations hold the crystal."""

_DEEPEST = 4
"""Holders within holders."""


def unwrapped(crystal: Any) -> Any:
    """Return the Structure, Atoms, mapping, text or path that something holds, or the thing itself.

    ``IStructure`` becomes ``Structure``; ``ComputedStructureEntry``, ``TransformedStructure``, documents of emmet,
    candidates and the dictionaries of all these give the crystal in them.
    """
    for _ in range(_DEEPEST):
        if isinstance(crystal, Structure | Atoms | str | Path):
            return crystal
        if isinstance(crystal, IStructure):
            return Structure.from_sites(list(crystal))
        inner = _held(crystal)
        if inner is None:
            return crystal
        crystal = inner
    return crystal


def _held(crystal: Any) -> Any:
    if isinstance(crystal, Mapping):
        return None if "sites" in crystal else crystal.get("structure")
    return next((found for name in _HOLDERS if (found := getattr(crystal, name, None)) is not None), None)


def is_one_crystal(given: Any) -> bool:
    """Whether something stands for one crystal rather than for several, such as a list or a column of a table."""
    if isinstance(given, IStructure | Atoms | str | Path | Mapping):
        return True
    return not hasattr(given, "iloc") and _held(given) is not None  # a dataframe has columns as attributes


def is_text(crystal: str) -> bool:
    """Whether a string is the content of a file rather than the path of one: it has several lines, or is JSON."""
    return "\n" in crystal.strip() or crystal.lstrip().startswith("{")
