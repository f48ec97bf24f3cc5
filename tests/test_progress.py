"""The library reports its progress; nothing is shown unless somebody listens."""

from __future__ import annotations

import pytest

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
