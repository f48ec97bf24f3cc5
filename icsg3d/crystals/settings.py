"""Space groups by the names that files give them, in all settings that spglib knows.

Names are Hermann-Mauguin symbols with or without their setting (``R -3 c :H``, ``F d -3 m Z``, ``P 1 21/c 1``), Hall
symbols, and numbers. A name may leave several settings open: two origins, hexagonal or rhombohedral axes, cell choices.
Those that a cell's metric excludes are left out.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import spglib
from pymatgen.core import SymmOp

if TYPE_CHECKING:
    from collections.abc import Sequence

_HALL_NUMBERS = 530
_SUFFIX = re.compile(r"(?::\s*|\s+)(h|r|1|2|s|z|hs|rs|hr)$", re.IGNORECASE)
_CHOICES = {"s": "1", "z": "2", "1": "1", "2": "2", "h": "H", "r": "R", "hs": "H", "hr": "H", "rs": "R"}
"""Suffixes of names, also those of the ICSD (S and Z for the two origins), and spglib's choices."""

MONOCLINIC = (3, 15)
FIRST_CUBIC = 195

_METRIC = 0.02
"""Largest relative difference of two lengths, and of an angle's cosine, that count as equal."""


@dataclass(frozen=True)
class Setting:
    """One setting of a space group.

    Attributes:
        name: Symbol and choice, for messages.
        operations: All of them, those of centring included.
    """

    name: str
    operations: list[SymmOp]


@dataclass(frozen=True)
class _Entry:
    hall_number: int
    number: int
    names: frozenset[str]
    hall: str
    symbol: str
    choice: str


def _plain(name: str) -> str:
    return re.sub(r"[\s_]", "", name).lower()


@cache
def _entries() -> tuple[_Entry, ...]:
    entries = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for hall_number in range(1, _HALL_NUMBERS + 1):
            found = spglib.get_spacegroup_type(hall_number)
            if found is None:
                continue
            full, short = _plain(found.international_full), _plain(found.international_short)
            names = {full, _plain(found.international)}
            if MONOCLINIC[0] <= found.number <= MONOCLINIC[1]:  # spglib's short symbol is that of the standard setting
                names.add(_plain("".join(part for part in found.international_full.split() if part != "1")))
            else:
                names.add(short)
            if found.number >= FIRST_CUBIC:
                names.add(short.replace("-3", "3"))  # as before 1983, F m 3 m
            entries.append(
                _Entry(
                    hall_number,
                    found.number,
                    frozenset(names),
                    _plain(found.hall_symbol),
                    found.international_short,
                    found.choice,
                )
            )
    return tuple(entries)


def named_settings(names: Sequence[str], numbers: Sequence[str], parameters: tuple[float, ...]) -> list[Setting]:
    """Return the settings that names and numbers leave open and a cell does not exclude, the standard one first.

    Args:
        names: Hermann-Mauguin and Hall symbols.
        numbers: Of the International Tables, as text.
        parameters: a, b, c in angstrom and alpha, beta, gamma in degrees.
    """
    wanted = {int(each) for each in numbers if each.isdigit()}
    understood = False
    for name in names:
        found = _by_name(name)
        understood |= bool(found)
        found = [each for each in found if (not wanted or each.number in wanted) and _fits(each, parameters)]
        # Where a short symbol stands for two axes, P 21/a for b and c, b is meant, unless the angles say otherwise.
        found = [each for each in found if each.choice[:1] == "b"] or found
        if found:
            return [_setting(each) for each in found]
    if understood or (names and not wanted):
        return []
    found = [each for each in _entries() if each.number in wanted and _fits(each, parameters)]
    return [_setting(each) for each in _standard(found)]


def _standard(entries: Sequence[_Entry]) -> list[_Entry]:
    """Return the standard setting of a number with what it leaves open: origin, or hexagonal and rhombohedral axes."""
    if not entries:
        return []
    if entries[0].choice[:1] in {"1", "2", "H", "R"} and not entries[0].choice[1:]:
        return [each for each in entries if each.choice in {"1", "2", "H", "R"} and each.symbol == entries[0].symbol]
    # Unique axis b and cell choice 1 of the monoclinic ones come first in the list, as does abc of the orthorhombic.
    return [entries[0]]


def _by_name(name: str) -> list[_Entry]:
    suffix = _SUFFIX.search(name)
    symbols: list[tuple[str, str | None]] = [(name, None)]
    if suffix:
        symbols.append((name[: suffix.start()], _CHOICES[suffix.group(1).lower()]))
    for symbol, choice in symbols:
        plain = _plain(symbol)
        found = [each for each in _entries() if plain == each.hall]
        if not found:
            found = [each for each in _entries() if plain in each.names]
        if choice is not None:
            found = [each for each in found if each.choice[:1] == choice]
        if found:
            return found
    return []


def _fits(entry: _Entry, parameters: tuple[float, ...]) -> bool:  # noqa: PLR0911 (a line per crystal system)
    """Whether a cell has the metric of a setting."""
    a, b, c = parameters[:3]
    cosines = np.cos(np.radians(parameters[3:]))

    def same(*lengths: float) -> bool:
        return max(lengths) - min(lengths) <= _METRIC * max(lengths)

    def angles(*expected: float | None) -> bool:
        return all(e is None or abs(x - e) <= _METRIC for x, e in zip(cosines, expected, strict=True))

    if entry.number <= 2:
        return True
    if entry.number <= 15:
        axis = entry.choice.strip("-")[:1]
        return {"a": angles(None, 0, 0), "b": angles(0, None, 0), "c": angles(0, 0, None)}.get(axis, True)
    if entry.number <= 74:
        return angles(0, 0, 0)
    if entry.number <= 142:
        return angles(0, 0, 0) and same(a, b)
    if entry.choice == "R":
        return same(a, b, c) and max(cosines) - min(cosines) <= _METRIC
    if entry.number <= 194:
        return same(a, b) and angles(0, 0, -0.5)
    return angles(0, 0, 0) and same(a, b, c)


def _setting(entry: _Entry) -> Setting:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = spglib.get_symmetry_from_database(entry.hall_number)
    operations = [
        SymmOp.from_rotation_and_translation(rotation, translation)
        for rotation, translation in zip(found["rotations"], found["translations"], strict=True)  # type: ignore[index]
    ]
    named = {"1": "origin 1", "2": "origin 2", "H": "hexagonal axes", "R": "rhombohedral axes"}
    return Setting(f"{entry.symbol} ({named[entry.choice]})" if entry.choice in named else entry.symbol, operations)
