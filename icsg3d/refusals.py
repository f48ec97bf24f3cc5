"""Many items of which some cannot be used: the others are used, and what was refused is named with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from icsg3d.errors import InputError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")
R = TypeVar("R")

_SHOWN = 5

_LONGEST = 200
"""Letters of a list of names."""


def listed(names: Iterable[object]) -> str:
    """Return names with commas between them, not more than a message can take: a stranger's file may have any."""
    text = ", ".join(map(str, names))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


class Usable(NamedTuple, Generic[R]):
    """Results of the items that could be used, and the reasons why the others could not.

    Attributes:
        rows: Places of the usable items among all, ascending.
        results: One for each of ``rows``.
        refused: Reasons by place.
    """

    rows: list[int]
    results: list[R]
    refused: dict[int, str]


def usable(items: Iterable[T], use: Callable[[T], R]) -> Usable[R]:
    """Apply a function to each item; an :class:`InputError` refuses that item alone.

    Args:
        items: What may or may not be usable.
        use: Returns the result for one item or raises :class:`InputError` with the reason.
    """
    rows, results, refused = [], [], {}
    for row, item in enumerate(items):
        try:
            results.append(use(item))
        except InputError as error:
            refused[row] = str(error)
        else:
            rows.append(row)
    return Usable(rows, results, refused)


class Told:
    """Warns of refused items among very many: of the first few by name as they come, and finally of their number.

    Args:
        log: Where to.

    Attributes:
        count: How many there were.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self.count = 0

    def refused(self, refused: Mapping[str, str]) -> None:
        """Tell what was left out and why, by name."""
        self._tell("left out %s: %s", refused)

    def noted(self, notes: Mapping[str, str]) -> None:
        """Tell what is to be known of some items, by name; empty texts say nothing."""
        self._tell("%s: %s", {name: note for name, note in notes.items() if note})

    def _tell(self, text: str, items: Mapping[str, str]) -> None:
        for name, reason in list(items.items())[: max(_SHOWN - self.count, 0)]:
            self._log.warning(text, name, reason)
        self.count += len(items)

    def end(self, text: str = "%d were left out") -> None:
        """Tell how many there were, if not all were told of."""
        if self.count > _SHOWN:
            self._log.warning(f"... and %d more; {text}", self.count - _SHOWN, self.count)


def log_refused(log: logging.Logger, refused: Mapping[str, str]) -> None:
    """Warn of what was left out and why: the first few by name, then how many there were."""
    told = Told(log)
    told.refused(refused)
    told.end()
