"""Energies of the elements that the package ships, so that no validation waits for them."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from icsg3d.data.elemental import elemental_ground_states

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icsg3d.workflows.schemas import EngineDoc

TABLE = "elements.json"
"""Made by ``examples/make_element_energies.py``."""

_AROUND = frozenset({"icsg3d", "atomate2", "torch"})
"""Packages of which the settings say all that matters."""


def key_of(engine: EngineDoc) -> dict[str, Any]:
    """Return what the energy of an element depends on: the model's version, how it is relaxed, and the crystals.

    Args:
        engine: Of the energies.
    """
    return {
        "name": engine.name,
        "versions": {package: version for package, version in engine.versions.items() if package not in _AROUND},
        "settings": _digest(engine.settings),
        "crystals": _digest({symbol: each.as_dict() for symbol, each in elemental_ground_states().items()}),
    }


def shipped_energies(engine: EngineDoc) -> Mapping[str, float]:
    """Return the energies of elements in eV/atom that the package ships for an engine; none for another version of it.

    Args:
        engine: Of the energies.
    """
    table = _table()
    if engine.name != table["engine"]["name"] or key_of(engine) != table["engine"]:
        return {}
    energies: dict[str, float] = table["energies"]
    return energies


@cache
def _table() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((files("icsg3d.workflows") / TABLE).read_text(encoding="utf-8"))
    return content


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(_rounded(content), sort_keys=True).encode()).hexdigest()[:16]


def _rounded(value: Any) -> Any:
    """Return a value without versions of packages, and numbers to six decimals, which are the same everywhere."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items() if name != "@version"}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return round(float(value), 6) + 0.0 if isinstance(value, float) else value
