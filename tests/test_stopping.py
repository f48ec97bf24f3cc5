from __future__ import annotations

import signal
import sys
import time

import pytest

from icsg3d.stopping import Stopped, exit_code, stopping


@pytest.fixture(autouse=True)
def heard():
    """What runs in the background may have been told to ignore signals; here they are heard."""
    earlier = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGTERM)}
    earlier[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_raises_one_exception_and_handlers_are_put_back(number):
    before = signal.getsignal(number), sys.unraisablehook
    with pytest.raises(Stopped) as stop, stopping():
        signal.raise_signal(number)
    assert exit_code(stop.value) == 128 + number
    assert (signal.getsignal(number), sys.unraisablehook) == before


def test_an_error_that_a_signal_became_is_taken_for_the_signal():
    def imports():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise TypeError("expected a message argument") from None

    with pytest.raises(Stopped) as stop, stopping():
        imports()
    assert exit_code(stop.value) == 143
    assert isinstance(stop.value.__cause__, TypeError)


def test_errors_without_a_signal_pass():
    with pytest.raises(ZeroDivisionError), stopping():
        1 / 0  # noqa: B018


def test_a_signal_that_is_lost_where_an_object_is_removed_comes_again(capsys):
    class Removed:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def goes_on():
        Removed()
        for _ in range(500):
            time.sleep(0.01)

    with pytest.raises(Stopped) as stop, stopping():
        goes_on()
    assert exit_code(stop.value) == 130
    assert capsys.readouterr().err == ""


def test_what_a_shell_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_a_signal_the_code_is_that_of_ctrl_c():
    assert exit_code(KeyboardInterrupt()) == 130
