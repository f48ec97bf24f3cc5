"""How signals end a run: Ctrl-C, SIGTERM and SIGHUP raise one exception, wherever the program is, and none is lost."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a run; Windows lacks one of them."""

_AGAIN = 0.05
"""Seconds after which a signal that came to nothing is sent once more."""


class Stopped(KeyboardInterrupt):
    """A signal that ends the run.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


def exit_code(stop: BaseException | None) -> int:
    """Return 128 and the number of the signal that a run was ended by; Ctrl-C is signal 2."""
    while stop is not None:
        if isinstance(stop, Stopped):
            return 128 + stop.number
        stop = stop.__cause__
    return 128 + signal.SIGINT


@contextmanager
def stopping() -> Iterator[None]:
    """Raise :class:`Stopped` within the ``with`` block when a signal asks the program to end.

    Python itself loses an interruption at times: in the middle of an import it may come out as another error, which is
    taken for what it was, and where an object is being removed it is only printed, so that the signal is sent again.
    What a shell has told the program to ignore stays ignored.
    """
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        raise Stopped(number)

    def send_again(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, Stopped):
            number = lost.exc_value.number
            threading.Timer(_AGAIN, signal.raise_signal, (number,)).start()
        else:
            reported(lost)

    earlier = {number: signal.getsignal(number) for number in _ENDING}
    reported, sys.unraisablehook = sys.unraisablehook, send_again
    try:
        for number in _ENDING:
            if earlier[number] != signal.SIG_IGN:
                signal.signal(number, stop)
        yield
    except Exception as error:
        if received:
            raise Stopped(received[0]) from error
        raise
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        sys.unraisablehook = reported
