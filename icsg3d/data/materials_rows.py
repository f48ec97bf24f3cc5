"""Answers of the Materials Project as rows of a dataframe."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from icsg3d.crystals.structures import structure_from_dict
from icsg3d.data.materials_query import MATERIAL_ID
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymatgen.core import Structure

PROPERTY_FIELDS = {
    "formation_energy_per_atom": ("formation_energy_per_atom",),
    "energy_above_hull": ("energy_above_hull",),
    "band_gap": ("band_gap",),
    "bulk_modulus": ("bulk_modulus", "vrh"),
    "shear_modulus": ("shear_modulus", "vrh"),
    "poisson_ratio": ("homogeneous_poisson",),
    "dielectric_electronic": ("e_electronic",),
    "refractive_index": ("n",),
    "eij_max": ("e_ij_max",),
}
"""Columns of properties, and where the Materials Project has them."""
COLUMNS = ("material_id", "formula", "structure", "space_group_number", *PROPERTY_FIELDS)
"""Columns of the dataframe."""
FIELDS = ("material_id", "structure", "symmetry", *dict.fromkeys(path[0] for path in PROPERTY_FIELDS.values()))
"""What is asked for of each material."""


@dataclass(frozen=True)
class Page:
    """One answer.

    Attributes:
        total: How many materials the whole query has.
        count: How many of them the answer had, damaged ones included.
        rows: The undamaged ones.
        skipped: Why the others were left out, by name.
    """

    total: int
    count: int
    rows: list[dict[str, Any]]
    skipped: dict[str, str]


def read_page(content: Mapping[str, Any], place: str, most: int) -> Page:
    """Return what an answer holds; damaged materials are named and left out.

    Args:
        content: The answer.
        place: By which materials without a name are named.
        most: How many materials were asked for.

    Raises:
        InputError: if it is no answer of the Materials Project.
    """
    documents, meta = content.get("data"), content.get("meta")
    total = meta.get("total_doc") if isinstance(meta, dict) else None
    if not isinstance(documents, list) or type(total) is not int or not 0 <= len(documents) <= min(total, most):
        msg = "the answer is malformed: not the list of materials asked for, with their number; check MP_API_ENDPOINT"
        raise InputError(msg)
    rows, skipped = [], {}
    for number, document in enumerate(documents):
        try:
            rows.append(_row(document))
        except Exception as error:  # noqa: BLE001 (whatever a stranger's document makes pymatgen raise)
            skipped[_name(document) or f"document {place}.{number}"] = _reason(error)
    return Page(total, len(documents), rows, skipped)


def _name(document: Any) -> str | None:
    name = document.get("material_id") if isinstance(document, dict) else None
    return name if isinstance(name, str) and MATERIAL_ID.fullmatch(name) else None


def _reason(error: Exception) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in str(error))
    return f"its document is malformed: {text[:200] or type(error).__name__}"


def _row(document: Any) -> dict[str, Any]:
    name = _name(document)
    if name is None:
        msg = "it has no name such as mp-149"
        raise ValueError(msg)
    structure = _structure(document.get("structure"))
    found = {column: _number(document, path) for column, path in PROPERTY_FIELDS.items()}
    formula = structure.composition.reduced_formula
    return dict(zip(COLUMNS, (name, formula, structure, _space_group(document)), strict=False)) | found


def _structure(encoded: Any) -> Structure:
    if not isinstance(encoded, dict):
        msg = "it has no structure"
        raise TypeError(msg)
    structure = structure_from_dict(encoded)
    numbers = [*np.ravel(structure.lattice.matrix), *np.ravel(structure.frac_coords)]
    if not len(structure) or not np.isfinite(numbers).all() or structure.volume < 1e-3:
        msg = "its structure has no atoms, no volume, or a coordinate that is not a number"
        raise ValueError(msg)
    return structure


def _number(document: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    """Return a number that may be missing.

    Raises:
        ValueError: if there is something else in its place.
    """
    value: Any = document
    for name in path:
        if not isinstance(value, dict):
            msg = f"{path[0]} has no {name}"
            raise TypeError(msg)
        value = value.get(name)
        if value is None:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        msg = f"{'.'.join(path)} is {value!r}, no number"
        raise ValueError(msg)
    return float(value)


def _space_group(document: Mapping[str, Any]) -> int | None:
    value = _number(document, ("symmetry", "number"))
    if value is None:
        return None
    if value not in range(1, 231):
        msg = f"symmetry.number is {value}, no space group"
        raise ValueError(msg)
    return int(value)


def encoded_page(page: Page) -> dict[str, Any]:
    """Return a page as plain values, to be kept in a partial file."""
    rows = [{**row, "structure": row["structure"].as_dict()} for row in page.rows]
    return asdict(Page(page.total, page.count, rows, page.skipped))


def decoded_page(content: Mapping[str, Any]) -> Page:
    """Return the page that :func:`encoded_page` made plain."""
    rows = [
        {**dict.fromkeys(COLUMNS), **row, "structure": structure_from_dict(row["structure"])} for row in content["rows"]
    ]
    skipped = {str(name): str(reason) for name, reason in content["skipped"].items()}
    return Page(int(content["total"]), int(content["count"]), rows, skipped)
