"""Limits on what is read from files and from the network, each with an environment variable that sets another one."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Limit:
    """A number that input must not exceed.

    Attributes:
        variable: Environment variable that sets another one.
        default: What holds without it.
        unit: What is counted, in the plural.
    """

    variable: str
    default: int
    unit: str

    def value(self) -> int:
        """Return the limit that holds.

        Raises:
            InputError: if the environment variable is no number.
        """
        given = os.environ.get(self.variable, "")
        if given and not (given.isdecimal() and len(given) < 20):
            raise InputError(f"{self.variable} is a number of {self.unit}, not {given!r}; set it to one, or unset it")
        return int(given) if given else self.default

    def refusal(self, subject: str, way_out: str = "") -> InputError:
        """Return the error of something that is beyond the limit.

        Args:
            subject: What it is and does, such as "a.cif has".
            way_out: What to do instead of setting another limit, if there is something.
        """
        instead = f"{way_out}, or set" if way_out else "set"
        return InputError(
            f"{subject} more than the {self.value()} {self.unit} that are allowed; {instead} the environment variable "
            f"{self.variable} to a larger number"
        )

    def check(self, amount: int, subject: str, way_out: str = "") -> None:
        """Refuse an amount beyond the limit.

        Raises:
            InputError: if it is.
        """
        if amount > self.value():
            raise self.refusal(subject, way_out)


BYTES = Limit("ICSG3D_MAX_BYTES", 2**30, "bytes")
"""Of a file, unpacked."""

ROWS = Limit("ICSG3D_MAX_ROWS", 5_000_000, "rows")
"""Of a table, and materials of an answer from the network."""

ATOMS = Limit("ICSG3D_MAX_ATOMS", 10_000, "atoms")
"""Of one crystal; a network of crystal graphs then takes half a gigabyte and some seconds for it."""

READING_SECONDS = Limit("ICSG3D_MAX_SECONDS", 120, "seconds")
"""In which a crystal is read."""

FETCH_PAGES = Limit("ICSG3D_MAX_FETCH_PAGES", 10_000, "pages")
"""That a service is asked for in one fetch."""

FETCH_BYTES = Limit("ICSG3D_MAX_FETCH_BYTES", 2**36, "bytes")
"""That a service may send in one fetch."""

FETCH_SECONDS = Limit("ICSG3D_MAX_FETCH_SECONDS", 24 * 3600, "seconds")
"""That one fetch may take."""


class _Late(BaseException):
    """Time is up. No ``Exception``, which readers of foreign files catch and go on."""


@contextmanager
def within_seconds(seconds: float, refusal: InputError) -> Iterator[None]:
    """Raise an error if what is done within the ``with`` block takes longer.

    It rests on a timer of the operating system, which belongs to the main thread: in others, on Windows, or where
    somebody else uses it, nothing is interrupted.

    Args:
        seconds: How long it may take.
        refusal: Raised then.

    Raises:
        InputError: the refusal.
    """
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "setitimer")) or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise _Late

    earlier = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    except _Late:
        raise refusal from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
