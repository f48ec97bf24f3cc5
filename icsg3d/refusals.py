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


def log_refused(log: logging.Logger, refused: Mapping[str, str]) -> None:
    """Warn of what was left out and why: the first few by name, then how many there were."""
    for name, reason in list(refused.items())[:_SHOWN]:
        log.warning("left out %s: %s", name, reason)
    if len(refused) > _SHOWN:
        log.warning("... and %d more; %d were left out", len(refused) - _SHOWN, len(refused))


def log_noted(log: logging.Logger, notes: Mapping[str, str]) -> None:
    """Warn of what is to be known of some items, by name: the first few, then how many there were; none if empty."""
    noted = {name: note for name, note in notes.items() if note}
    for name, note in list(noted.items())[:_SHOWN]:
        log.warning("%s: %s", name, note)
    if len(noted) > _SHOWN:
        log.warning("... and %d more; of %d crystals there is something to be known", len(noted) - _SHOWN, len(noted))
