from __future__ import annotations

import math

import numpy as np
import pytest

from icsg3d.arguments import real_number, whole_number
from icsg3d.errors import InputError


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_whole_numbers_of_any_kind_are_taken(value):
    found = whole_number(value, "n", 1)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize("value", [2.0, None, "2", True, np.float32(2), [2], math.nan])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(InputError, match="n is a whole number, got"):
        whole_number(value, "n", 1)


def test_numbers_below_the_least_are_named():
    with pytest.raises(InputError, match="n must be at least 1, got 0"):
        whole_number(0, "n", 1)


@pytest.mark.parametrize("value", [-1, -1.0, np.float32(-1), np.int64(-1)])
def test_numbers_of_any_kind_are_taken(value):
    assert real_number(value, "x") == -1.0
    assert type(real_number(value, "x")) is float


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "1", True, 1j])
def test_what_is_no_number_is_named(value):
    with pytest.raises(InputError, match="x is a finite number, got"):
        real_number(value, "x")
