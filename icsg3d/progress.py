"""How far long work has come: the library reports here, and whoever shows it (the command line, a notebook) listens.

Nothing is shown unless somebody listens, as with ``logging``::

    with listening(my_tracker):
        generate(...)
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

T = TypeVar("T")


class Task(Protocol):
    """Work of which a part is done."""

    def advance(self, steps: int = 1) -> None:
        """Say that so many more steps are done."""

    def update(self, done: int | None = None, total: int | None = None, text: str | None = None) -> None:
        """Say how many steps are done, how many there are, or what is being done now."""


class Tracker(Protocol):
    """What shows tasks."""

    def __call__(self, text: str, total: int | None, done: int) -> AbstractContextManager[Task]:
        """Begin a task of ``total`` steps (None where nobody knows yet), of which ``done`` are behind it."""


class _Silent:
    """A task that nobody watches."""

    def advance(self, steps: int = 1) -> None:
        """Do nothing."""

    def update(self, done: int | None = None, total: int | None = None, text: str | None = None) -> None:
        """Do nothing."""


@contextmanager
def _unwatched(text: str, total: int | None, done: int) -> Iterator[Task]:
    del text, total, done
    yield _Silent()


_tracker: ContextVar[Tracker] = ContextVar("icsg3d_tracker", default=_unwatched)


@contextmanager
def listening(tracker: Tracker) -> Iterator[None]:
    """Let a tracker show the tasks that are begun within the ``with`` block."""
    token = _tracker.set(tracker)
    try:
        yield
    finally:
        _tracker.reset(token)


def listened_to() -> bool:
    """Whether a tracker shows tasks now."""
    return _tracker.get() is not _unwatched


def task(text: str, total: int | None = None, done: int = 0) -> AbstractContextManager[Task]:
    """Begin a task, to be advanced by hand.

    Args:
        text: What is being done, such as "relaxing with CHGNet".
        total: Number of steps; None where it is not known yet.
        done: Steps that an earlier run has done.
    """
    return _tracker.get()(text, total, done)


def track(items: Iterable[T], text: str, total: int | None = None, done: int = 0) -> Iterator[T]:
    """Yield items, each a step of a task.

    Args:
        items: What is worked on.
        text: What is being done.
        total: Number of steps, if ``items`` has no length.
        done: Steps that an earlier run has done; they count in ``total`` where that is given.
    """
    length = getattr(items, "__len__", None)
    if total is None and length is not None:
        total = done + length()
    with task(text, total, done) as running:
        for item in items:
            yield item
            running.advance()
