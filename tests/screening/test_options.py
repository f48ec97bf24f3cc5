"""Constraints from the texts of a command line."""

from __future__ import annotations

import math

import pytest

from icsg3d.errors import InputError
from icsg3d.screening.constraints import Constraints
from icsg3d.screening.options import constraints_of
from icsg3d.testing import check_round_trip


def test_texts_become_constraints():
    texts = {
        "elements": "Cs,Sn I",
        "exclude_elements": "Pb",
        "formula": "ABX3",
        "atoms": "4:20",
        "space_group": "Pm-3m",
    }
    found, told = constraints_of(texts | {"require_elements": None}, ["band_gap=1.2:1.8", "bulk_modulus", "g=:50"])
    assert found == Constraints(
        allowed=frozenset({"Cs", "Sn", "I"}),
        excluded=frozenset({"Pb"}),
        formula="ABX3",
        min_atoms=4,
        max_atoms=20,
        space_group=221,
        ranges={"band_gap": (1.2, 1.8), "g": (-math.inf, 50.0)},
    )
    assert told == ["bulk_modulus"]
    assert check_round_trip(found) == found
    assert constraints_of({}) == (Constraints(), [])


@pytest.mark.parametrize(
    ("text", "ends"), [("5", (5, 5)), (":8", (1, 8)), ("3:", (3, None)), ("4:20", (4, 20)), (None, (1, None))]
)
def test_numbers_of_atoms(text, ends):
    found, _ = constraints_of({"atoms": text})
    assert (found.min_atoms, found.max_atoms) == ends


@pytest.mark.parametrize(("text", "number"), [("225", 225), ("Fm-3m", 225), ("P6_3/mmc", 194), ("R-3m", 166)])
def test_space_groups_by_number_and_symbol(text, number):
    assert constraints_of({"space_group": text})[0].space_group == number


@pytest.mark.parametrize(
    ("texts", "properties", "message"),
    [
        ({"atoms": "20:4"}, [], "goes from 20 to 4; give the lower end first"),
        ({"atoms": "4.5:6"}, [], "no range of whole numbers of atoms"),
        ({"atoms": "many"}, [], "is no range"),
        ({"space_group": "Pm3mm"}, [], "no space group 'Pm3mm'"),
        ({"space_group": "0"}, [], "1 to 230, got 0"),
        ({"elements": "Cs,Xy"}, [], "Xy is no element"),
        ({"formula": "ABX3", "atoms": "6:9"}, [], "ABX3 has 5 atoms or a multiple of it, and 6 to 9 are asked for"),
        ({"formula": "SrTiO3", "atoms": ":4"}, [], "SrTiO3 has 5 atoms"),
        ({}, ["band_gap=1.8:1.2"], "band_gap goes from 1.8 to 1.2"),
        ({}, ["band_gap=wide"], "'wide' is no range"),
        ({}, ["=1:2"], "names no property"),
        ({}, ["band_gap=1:2", "band_gap=1:3"], "given twice"),
    ],
)
def test_texts_that_are_nothing_of_the_kind_are_refused(texts, properties, message):
    with pytest.raises(InputError, match=message):
        constraints_of(texts, properties)
