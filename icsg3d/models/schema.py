"""Whether values from a file are what a configuration's fields say: kinds, names among few, and ranges.

A dataclass says what its numbers may be in a class variable ``RANGES``, from names of fields to least and greatest
value; for tuples they hold for each entry. What has no range of its own is held within :data:`WIDEST`.
"""

from __future__ import annotations

import dataclasses
import types
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDEST = (-1e6, 1e6)
"""Least and greatest value of a number of which nothing else is known."""

_MOST_ENTRIES = 10_000
"""Of a tuple."""


def check_fields(cls: type, values: Mapping[str, Any]) -> None:
    """Check the values of a dataclass before it is made of them.

    Args:
        cls: The dataclass.
        values: Of its fields, lists as tuples, inner dataclasses made.

    Raises:
        KeyError: if a name is missing or unknown.
        ValueError: if a value is not of the kind that the field has, or out of range.
    """
    names = {field.name for field in dataclasses.fields(cls)}
    if set(values) != names:
        raise KeyError(f"{cls.__name__} wants {sorted(names)}, found {sorted(map(str, values))}")
    ranges: Mapping[str, tuple[float, float]] = getattr(cls, "RANGES", {})
    for name, hint in get_type_hints(cls).items():
        if name in names:
            reason = _misfit(values[name], hint, ranges.get(name, WIDEST))
            if reason:
                raise ValueError(f"{name} of {cls.__name__} {reason}")


def _misfit(value: Any, hint: Any, limits: tuple[float, float]) -> str:
    """Return what is wrong with a value, empty where nothing is."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        reasons = [_misfit(value, argument, limits) for argument in arguments]
        return "" if "" in reasons else reasons[0]
    if origin is Literal:
        return "" if value in arguments else f"is one of {', '.join(map(repr, arguments))}, got {_short(value)}"
    if origin is tuple:
        return _tuple_misfit(value, arguments, limits)
    if hint in {int, float}:
        return _number_misfit(value, hint, limits)
    if isinstance(hint, type) and not isinstance(value, hint):
        return f"is of the kind {hint.__name__}, got {_short(value)}"
    return ""


def _tuple_misfit(value: Any, arguments: tuple[Any, ...], limits: tuple[float, float]) -> str:
    if not isinstance(value, tuple) or len(value) > _MOST_ENTRIES:
        return f"is a list of at most {_MOST_ENTRIES} entries, got {_short(value)}"
    each = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
    if len(value) != len(each):
        return f"has {len(each)} entries, got {_short(value)}"
    return next(filter(None, (_misfit(one, kind, limits) for one, kind in zip(value, each, strict=True))), "")


def _number_misfit(value: Any, kind: type, limits: tuple[float, float]) -> str:
    low, high = limits
    if isinstance(value, bool) or not isinstance(value, int | float if kind is float else int):
        return f"is a {'whole number' if kind is int else 'number'}, got {_short(value)}"
    return "" if low <= value <= high else f"lies from {low:g} to {high:g}, got {_short(value)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
