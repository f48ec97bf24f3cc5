"""Progress as bars, on the terminal and in notebooks: a listener of :mod:`icsg3d.progress`.

In a script or a notebook::

    with bars():
        found = predictor.predict(structures)
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from icsg3d.progress import listened_to, listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

_PATIENCE = 2.0
"""Seconds that work may take without a bar, where nobody waits for a command to answer."""


class Bars:
    """Tracker of the library's progress: a bar for each task, with counts and the time left, on standard error.

    Tasks within tasks share one display, and vanish when they have ended; the outermost stays, and is full unless its
    work was broken off.

    Args:
        console: Where; standard error by default.
        after: Seconds from the begin of the outermost task until bars appear.
    """

    def __init__(self, console: Console | None = None, *, after: float = 0.0) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console or Console(stderr=True, highlight=False),
        )
        self._after = after
        self._begun = 0.0
        self._depth = 0

    @contextmanager
    def __call__(self, text: str, total: int | None, done: int) -> Iterator[_Bar]:
        """Show a task while it runs."""
        if self._depth == 0:
            self._begun = time.monotonic()
        self._depth += 1
        number = self._bars.add_task(escape(text), total=total, completed=done)
        bar = _Bar(self, self._bars, number)
        try:
            self.show()
            yield bar
            # Work that found enough before its last step is done all the same.
            bar.update(total=int(self._bars.tasks[self._bars.task_ids.index(number)].completed))
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._bars.stop()
            self._bars.remove_task(number)

    def show(self) -> None:
        """Show the bars, once it is time."""
        if time.monotonic() - self._begun >= self._after:
            self._bars.start()


class _Bar:
    """A task of the library as a bar."""

    def __init__(self, tracker: Bars, bars: Progress, number: TaskID) -> None:
        self._tracker, self._bars, self._number = tracker, bars, number

    def advance(self, steps: int = 1) -> None:
        self._bars.advance(self._number, steps)
        self._tracker.show()

    def update(self, done: int | None = None, total: int | None = None, text: str | None = None) -> None:
        self._bars.update(self._number, completed=done, total=total, description=None if text is None else escape(text))
        self._tracker.show()


@contextmanager
def bars(*, show: bool = True, console: Console | None = None) -> Iterator[None]:
    """Show what takes more than two seconds within the ``with`` block as bars, unless somebody listens already.

    Args:
        show: False shows nothing.
        console: Where; standard error by default.
    """
    if not show or listened_to():
        yield
        return
    with listening(Bars(console, after=_PATIENCE)):
        yield
