"""Constraints hold exactly, and those that cannot be met are refused at once."""

from __future__ import annotations

import math

import pytest
from pymatgen.core import Composition, Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.screening.constraints import (
    Constraints,
    crystal_system,
    is_anonymous,
    matches,
    parse_elements,
    parse_range,
)

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TETRAGONAL = Structure.from_spacegroup("P4/mmm", Lattice.tetragonal(4, 4.3), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("constraints", "unmet"),
    [
        (Constraints(), []),
        (Constraints(allowed=frozenset({"Na", "Cl", "K"})), []),
        (Constraints(allowed=frozenset({"Na", "K"})), ["allowed elements"]),
        (Constraints(required=frozenset({"Na"})), []),
        (Constraints(required=frozenset({"K"})), ["required elements"]),
        (Constraints(excluded=frozenset({"Cl"})), ["excluded elements"]),
        (Constraints(formula="ClNa"), []),
        (Constraints(formula="AX"), []),
        (Constraints(formula="AX2"), ["formula"]),
        (Constraints(formula="KCl"), ["formula"]),
        (Constraints(max_atoms=2), []),
        (Constraints(max_atoms=1), ["atoms"]),
        (Constraints(space_group=225), []),
        (Constraints(space_group=221), ["space group"]),
        (Constraints(crystal_system="tetragonal"), ["crystal system"]),
        (Constraints(ranges={"band_gap": (1.2, 1.8)}), []),
        (Constraints(ranges={"band_gap": (1.6, math.inf)}), ["band_gap"]),
        (Constraints(ranges={"bulk_modulus": (0, 100)}), ["bulk_modulus"]),
    ],
)
def test_each_alone(constraints, unmet):
    assert constraints.unmet(SALT, {"band_gap": 1.5}) == unmet


def test_several_at_once():
    found = Constraints(excluded=frozenset({"Na"}), crystal_system="cubic", ranges={"band_gap": (0, 1)})
    assert found.unmet(TETRAGONAL, {"band_gap": math.nan}) == ["excluded elements", "crystal system", "band_gap"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"allowed": frozenset({"Xx"})}, "Xx is no element"),
        ({"required": frozenset({"Pb"}), "excluded": frozenset({"Pb"})}, "Pb is both required and excluded"),
        ({"required": frozenset({"Pb"}), "allowed": frozenset({"Sn"})}, "Pb is required but not among"),
        ({"allowed": frozenset({"Sn"}), "excluded": frozenset({"Sn"})}, "all elements that are allowed are excluded"),
        ({"formula": "CsPbI3", "excluded": frozenset({"Pb"})}, "CsPbI3 does not go with what is said of Pb"),
        ({"formula": "CsSnI3", "required": frozenset({"Pb"})}, "does not go with what is said of Pb"),
        ({"formula": "AX", "required": frozenset({"Pb", "I", "Cs"})}, "AX has 2 elements, and 3 are required"),
        ({"formula": "perovskite"}, "'perovskite' is no formula"),
        ({"formula": "X0Y0"}, "'X0Y0' is no formula"),
        ({"max_atoms": 0}, "at least 1 atom"),
        ({"space_group": 231}, "1 to 230, got 231"),
        ({"crystal_system": "round"}, "no crystal system 'round'"),
        ({"space_group": 221, "crystal_system": "hexagonal"}, "space group 221 is cubic, not hexagonal"),
        ({"ranges": {"band_gap": (1.8, 1.2)}}, "band_gap goes from 1.8 to 1.2; give the lower end first"),
        ({"ranges": {"band_gap": (math.nan, 1.2)}}, "goes from nan"),
    ],
)
def test_contradictions_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Constraints(**arguments)


def test_crystal_systems_begin_and_end_where_the_tables_say():
    assert [crystal_system(n) for n in (1, 2, 3, 15, 16, 74, 75)] == [
        *["triclinic"] * 2,
        *["monoclinic"] * 2,
        *["orthorhombic"] * 2,
        "tetragonal",
    ]
    assert [crystal_system(n) for n in (142, 143, 167, 168, 194, 195, 230)] == [
        "tetragonal",
        *["trigonal"] * 2,
        *["hexagonal"] * 2,
        *["cubic"] * 2,
    ]


def test_anonymous_formulas():
    assert [is_anonymous(f) for f in ("ABX3", "AX", "A2BX6", "ABCX6", "BN", "SrTiO3", "KCl", "AAX")] == [
        *[True] * 4,
        *[False] * 4,
    ]
    assert matches(Composition("Cs2AgBiBr6"), "A2BCX6")
    assert matches(Composition("Sr2Ti2O6"), "ABX3")
    assert not matches(Composition("SrTiO2F"), "ABX3")


def test_texts():
    assert parse_range("1.2:1.8") == (1.2, 1.8)
    assert parse_range(":0.1") == (-math.inf, 0.1)
    assert parse_range("2:") == (2.0, math.inf)
    for bad in ("1.2", ":", "a:b", ""):
        with pytest.raises(InputError, match="is no range; write"):
            parse_range(bad)
    assert parse_elements("Pb, Cd,Hg") == {"Pb", "Cd", "Hg"}
    assert parse_elements("") == frozenset()


def test_possible_elements():
    known = ("Li", "Na", "O", "F")
    assert Constraints().possible(known) is None
    assert Constraints(allowed={"Li", "O", "Cs"}).possible(known) == {"Li", "O"}
    assert Constraints(excluded={"F", "Cs"}).possible(known) == {"Li", "Na", "O"}
    assert Constraints(allowed={"Li", "O"}, excluded={"O"}).possible(known) == {"Li"}
