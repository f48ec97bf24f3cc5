"""What is left out among very many is told as it comes: the first few by name, in the end how many."""

from __future__ import annotations

import logging

import pytest

from icsg3d.refusals import Told, log_refused

LOG = logging.getLogger("icsg3d.test")


@pytest.mark.parametrize("parts", [[7], [3, 4], [1] * 7, [5, 2]])
def test_the_first_five_are_named_whatever_they_come_in(caplog, parts):
    told, number = Told(LOG), 0
    for count in parts:
        told.refused({f"mp-{number + n}": "it is none" for n in range(count)})
        number += count
    told.end()
    expected = [f"left out mp-{n}: it is none" for n in range(5)] + ["... and 2 more; 7 were left out"]
    assert [record.getMessage() for record in caplog.records] == expected
    assert told.count == 7


def test_five_are_named_and_no_more_said(caplog):
    log_refused(LOG, {f"mp-{n}": "no" for n in range(5)})
    assert len(caplog.records) == 5


def test_empty_notes_say_nothing(caplog):
    told = Told(LOG)
    told.noted({"a": "", "b": "it is old", "c": ""})
    told.end("of %d crystals there is something to be known")
    assert [record.getMessage() for record in caplog.records] == ["b: it is old"]
    assert told.count == 1
