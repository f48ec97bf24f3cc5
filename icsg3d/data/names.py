"""Names of crystals, different where the source leaves the choice."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Names:
    """The names that are taken.

    A source's own names are kept even if they repeat. What stands in for a name, or names what was left out, is
    numbered if it is taken already, as in ``mp-1 (2)``. Eight bytes of a hash are kept of each name, and the names
    themselves only of those that repeat: memory hardly grows with the number of crystals.
    """

    def __init__(self) -> None:
        self._hashes = np.empty(0, dtype=np.uint64)
        self._recent: set[int] = set()
        self._repeated: dict[str, int] = {}

    def of(
        self, ids: Sequence[str], named: Sequence[bool], skipped: Iterable[tuple[str, str]]
    ) -> tuple[list[str], dict[str, str]]:
        """Return the name of each crystal of some more, and the reasons for what was left out, by name.

        Args:
            ids: Name of each crystal.
            named: Whether the source has that name; otherwise it is made different from those that are taken.
            skipped: Name of each entry that was left out, and the reason.
        """
        for name, count in Counter(name for name, own in zip(ids, named, strict=True) if own).items():
            known = name in self
            if known or count > 1:
                self._repeated[name] = self._repeated.get(name, int(known)) + count
            self._recent.add(_hash(name))
        found = [name if own else self._free(name) for name, own in zip(ids, named, strict=True)]
        reasons = {self._free(name): reason for name, reason in skipped}
        new = np.sort(np.fromiter(self._recent, np.uint64, len(self._recent)))
        self._hashes = np.insert(self._hashes, np.searchsorted(self._hashes, new), new)
        self._recent = set()
        return found, reasons

    def __contains__(self, name: str) -> bool:
        """Whether a name is taken."""
        value = _hash(name)
        if value in self._recent:
            return True
        place = np.searchsorted(self._hashes, np.uint64(value))
        return bool(place < len(self._hashes) and self._hashes[place] == value)

    def _free(self, name: str) -> str:
        """Take a name, numbered if it is taken already."""
        free = name
        while free in self:
            self._repeated[name] = self._repeated.get(name, 1) + 1
            free = f"{name} ({self._repeated[name]})"
        self._recent.add(_hash(free))
        return free


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
