"""Chemical systems: sets of element symbols, and those inside them."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Symbols = frozenset[str]


def subsystems(symbols: Symbols) -> Iterator[Symbols]:
    """Yield the chemical systems within one, the elements first and itself last."""
    ordered = sorted(symbols)
    for size in range(1, len(ordered) + 1):
        yield from map(frozenset, combinations(ordered, size))
