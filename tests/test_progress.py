"""The library reports its progress; nothing is shown unless somebody listens."""

from __future__ import annotations

import contextvars
import io
import re

import pytest
from rich.console import Console

from icsg3d import progress
from icsg3d.bars import Bars, bars
from icsg3d.errors import InputError
from icsg3d.progress import listening, task, track
from icsg3d.refusals import log_refused, usable


def test_items_pass_unchanged_and_unseen(capsys):
    assert list(track(iter("abc"), "spelling")) == ["a", "b", "c"]
    with task("nothing", total=3) as running:
        running.advance(2)
        running.update(done=1, total=5, text="something")
    assert capsys.readouterr() == ("", "")


def test_a_listener_is_told_each_step(watched):
    assert list(track("ab", "spelling")) == ["a", "b"]
    assert list(track(iter("cd"), "resumed", total=4, done=2)) == ["c", "d"]
    assert watched == {"spelling": [(0, 2), (1, 2), (2, 2)], "resumed": [(2, 4), (3, 4), (4, 4)]}


def test_an_item_counts_when_its_work_is_done(watched):
    steps = track("ab", "spelling")
    next(steps)
    assert watched["spelling"] == [(0, 2)]
    next(steps)
    assert watched["spelling"] == [(0, 2), (1, 2)]


def test_listening_ends_with_its_block(watched):
    other = type(watched)()
    with listening(other):
        list(track("a", "inner"))
    list(track("a", "outer"))
    assert list(other) == ["inner"]
    assert list(watched) == ["outer"]


def test_an_item_that_cannot_be_used_costs_itself_alone(caplog):
    def half(number):
        if number % 2:
            raise InputError(f"{number} is odd")
        return number // 2

    found = usable([4, 3, 8, 5], half)
    assert found == ([0, 2], [2, 4], {1: "3 is odd", 3: "5 is odd"})
    with pytest.raises(ZeroDivisionError):
        usable([1, 0], lambda number: 1 / number)


def test_refusals_are_named_up_to_a_point(caplog):
    import logging

    log_refused(logging.getLogger("icsg3d.tests"), {f"mp-{n}": f"reason {n}" for n in range(7)})
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "left out mp-0: reason 0"
    assert len(said) == 6
    assert said[-1] == "... and 2 more; 7 were left out"


@pytest.fixture
def console():
    """A terminal of 100 columns that writes into a text."""
    return Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None, highlight=False)


def last_line(console) -> str:
    """What stays of the bars on a terminal, without its control sequences."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()][-1]


def test_bars_end_full(console):
    with listening(Bars(console)):
        for item in track("abcde", "spelling [x]"):
            list(track(range(3), f"writing {item}"))
    assert last_line(console).startswith("spelling [x] ━")
    assert " 5/5 " in last_line(console)


def test_work_that_found_enough_ends_full_and_broken_off_work_does_not(console):
    with listening(Bars(console)), task("searching", total=100) as running:
        running.advance(7)
    assert " 7/7 " in last_line(console)

    def work():
        with listening(Bars(console)):
            list(track((7 // (7 - step) for step in range(100)), "failing", 100))

    with pytest.raises(ZeroDivisionError):
        work()
    assert " 7/100 " in last_line(console)


def test_bars_appear_after_two_seconds_unless_somebody_listens(console, monkeypatch, watched):
    clock = iter([0.0, 0.0, 1.9, 1.9, 10.0, 10.0, 11.9, 12.0, 12.1])
    monkeypatch.setattr("icsg3d.bars.time.monotonic", lambda: next(clock))
    with bars(console=console):
        list(track("ab", "heard by another"))
    assert list(watched) == ["heard by another"]

    def alone():
        with bars(console=console):
            list(track("a", "short"))
        assert console.file.getvalue() == ""
        with bars(console=console):
            list(track("ab", "long"))
        with bars(console=console, show=False):
            list(track("ab", "unseen"))

    # Nobody else listens there.
    context = contextvars.copy_context()
    context.run(progress._tracker.set, progress._unwatched)
    context.run(alone)
    assert last_line(console).startswith("long ━")
