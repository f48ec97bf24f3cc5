"""Constraints from texts, as a command line gives them."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, cast

from pymatgen.symmetry.groups import SpaceGroup

from icsg3d.errors import InputError
from icsg3d.screening.constraints import Constraints, parse_elements, parse_range

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from icsg3d.screening.constraints import CrystalSystem


def constraints_of(texts: Mapping[str, str | None], properties: Sequence[str] = ()) -> tuple[Constraints, list[str]]:
    """Return constraints, and the properties that are asked for without a range.

    Args:
        texts: By name: ``elements``, ``require_elements`` and ``exclude_elements`` (``Pb,Cd``), ``formula`` (``ABX3``),
            ``atoms`` (``4:20``), ``space_group`` (``221``, ``Pm-3m``) and ``crystal_system``; None for none.
        properties: Such as ``band_gap=1.2:1.8``, or a name alone.

    Raises:
        InputError: if a text is nothing of the kind, or the constraints make no sense together.
    """
    given = {name: text for name, text in texts.items() if text is not None}
    low, high = _atoms(given.get("atoms"))
    ranges: dict[str, tuple[float, float]] = {}
    told = []
    for text in properties:
        name, equals, ends = text.partition("=")
        if not name.strip():
            msg = f"{text!r} names no property; write bulk_modulus=100:200"
            raise InputError(msg)
        if name.strip() in ranges:
            msg = f"the range of {name.strip()} is given twice; give it once"
            raise InputError(msg)
        if equals:
            ranges[name.strip()] = parse_range(ends)
        else:
            told.append(name.strip())
    constraints = Constraints(
        allowed=parse_elements(given.get("elements", "")),
        required=parse_elements(given.get("require_elements", "")),
        excluded=parse_elements(given.get("exclude_elements", "")),
        formula=given.get("formula"),
        max_atoms=high,
        min_atoms=low,
        crystal_system=cast("CrystalSystem | None", given.get("crystal_system")),
        space_group=_space_group(given.get("space_group")),
        ranges=ranges,
    )
    return constraints, told


def _atoms(text: str | None) -> tuple[int, int | None]:
    """Return the fewest and the most atoms."""
    if text is None:
        return 1, None
    low, high = parse_range(text if ":" in text else f"{text}:{text}")
    ends = [end for end in (low, high) if math.isfinite(end)]
    if any(end != round(end) for end in ends):
        msg = f"{text!r} is no range of whole numbers of atoms; write 4:20"
        raise InputError(msg)
    return (max(1, round(low)) if math.isfinite(low) else 1), (round(high) if math.isfinite(high) else None)


def _space_group(text: str | None) -> int | None:
    if text is None or text.strip().isdigit():
        return None if text is None else int(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(SpaceGroup(text.strip()).int_number)
    except ValueError as error:
        msg = f"there is no space group {text!r}; give its number, or its symbol such as Pm-3m"
        raise InputError(msg) from error
