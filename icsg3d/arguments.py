"""What callers give, such as numbers of Python's kinds or numpy's, checked before anything is made of it."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING, Any

from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def whole_number(value: Any, name: str, least: float = -math.inf) -> int:
    """Return a whole number, of Python's kind or numpy's.

    Args:
        value: What was given.
        name: How the argument is called in messages.
        least: Least value.

    Raises:
        InputError: if it is none, or less than that.
    """
    try:
        number = operator.index(None if isinstance(value, bool) else value)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"{name} is a whole number, got {value!r}; give one") from error
    if number < least:
        raise InputError(f"{name} must be at least {least}, got {number}")
    return number


def job_count(value: Any) -> int:
    """Return a number of processes as joblib takes it: 1 or more, or -1 for one on each processor.

    Raises:
        InputError: if it is none.
    """
    number = whole_number(value, "--jobs", -1)
    if number == 0:
        raise InputError("--jobs is the number of processes, 1 or more, or -1 for one on each processor; got 0")
    return number


def real_number(value: Any, name: str) -> float:
    """Return a finite number as a float.

    Raises:
        InputError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"{name} is a finite number, got {value!r}; give one")
    return float(value)


def noise_level(value: Any) -> float:
    """Return a noise level of draws as a float.

    Raises:
        InputError: if it is no number above 0 and up to 1.
    """
    level = real_number(value, "the scale, a noise level above 0 and up to 1,")
    if not 0 < level <= 1:
        raise InputError(f"the scale is a noise level above 0 and up to 1, got {level:g}")
    return level


def several(values: Any, name: str) -> list[Any]:
    """Return a list of what is given.

    Args:
        values: Of any kind that can be gone through, but no text.
        name: What is in it, in the plural.

    Raises:
        InputError: if it is none.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"{name} are given as a list, got {type(values).__name__}; put them in one")
    return list(values)


def ranked_list(entries: Sequence[dict[str, Any]], wanted: Any) -> Any:
    """Return what pymatgen's ``return_ranked_list`` asks for.

    Args:
        entries: Best first, each with its ``structure``.
        wanted: False for the best structure alone, True for all entries, or how many.

    Raises:
        InputError: if it is something else.
    """
    return entries[0]["structure"] if wanted is False else first_ones(entries, wanted)


def first_ones(entries: Sequence[dict[str, Any]], wanted: Any) -> list[dict[str, Any]]:
    """Return all entries for True, else so many.

    Raises:
        InputError: if it is something else.
    """
    # `True` first: int(True) would be one.
    return list(entries) if wanted is True else list(entries[: whole_number(wanted, "return_ranked_list", 1)])
