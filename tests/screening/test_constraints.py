"""Constraints hold exactly, and those that cannot be met are refused at once."""

from __future__ import annotations

import math
import re

import pytest
from pymatgen.core import Composition, Lattice, Structure

from icsg3d.crystals.elements import symbols
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
LONE = "a single element never passes screening"


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
        (Constraints(min_atoms=3), ["atoms"]),
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
        (
            {"formula": "AX", "required": frozenset({"Pb", "I", "Cs"})},
            r"AX has 2 elements, and 3 are required \(Cs, I, Pb\); require fewer, or leave the formula out",
        ),
        ({"formula": "perovskite"}, "'perovskite' is no formula"),
        ({"formula": "X0Y0"}, "'X0Y0' is no formula"),
        ({"max_atoms": 0}, "at most 0 atoms are asked for"),
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


@pytest.mark.parametrize(
    ("arguments", "message", "way_out"),
    [
        (
            {"formula": "ABX3", "allowed": {"Sr", "O"}},
            "the elements that may be there are only O, Sr, and ABX3 has 3 elements; allow more elements",
            {"allowed": {"Sr", "O", "Ti"}},
        ),
        (
            {"formula": "ABX3", "allowed": {"Sr", "O", "Ti"}, "excluded": {"Ti"}},
            "the elements that may be there are only O, Sr, and ABX3 has 3 elements; allow more elements",
            {"excluded": {"Ba"}},
        ),
        (
            {"formula": "ABX3", "excluded": set(symbols()[1:]) - {"Sr", "O"}},
            "the elements that may be there are only O, Sr, and ABX3 has 3 elements; allow more elements",
            {"formula": "AX"},
        ),
        (
            {"formula": "AX", "required": {"Sr", "Ti", "O"}},
            "AX has 2 elements, and 3 are required (O, Sr, Ti); require fewer, or leave the formula out",
            {"formula": None},
        ),
        (
            {"allowed": {"Cu"}},
            f"the elements that may be there are only Cu, and {LONE}; allow more elements",
            {"allowed": {"Cu", "Zn"}},
        ),
        (
            {"allowed": {"Cu", "Zn"}, "excluded": {"Zn"}},
            f"the elements that may be there are only Cu, and {LONE}; allow more elements",
            {"excluded": set()},
        ),
        (
            {"excluded": set(symbols()[1:])},
            "all elements that are allowed are excluded; allow others",
            {"excluded": set(symbols()[3:])},
        ),
        *(
            (
                {"formula": formula},
                f"{formula} is a formula of one element, and {LONE}; give one of two or more",
                {"formula": other},
            )
            for formula, other in (("Cu", "CuO"), ("Cu4", "Cu3Zn"), ("A2", "A2X"))
        ),
        (
            {"formula": "Li0.5CoO2"},
            "no crystal has the numbers of atoms of Li0.5CoO2; write whole ones, as in LiCo2O4 for Li0.5CoO2",
            {"formula": "(Li0.29Co0.71)100O200"},
        ),
        (
            {"max_atoms": 1},
            f"at most 1 atoms are asked for, and {LONE}; allow 2 or more",
            {"max_atoms": 2},
        ),
        (
            {"max_atoms": 2, "required": {"Sr", "Ti", "O"}},
            "at most 2 atoms are asked for, and 3 elements are required (O, Sr, Ti); allow 3 or more",
            {"max_atoms": 3},
        ),
        (
            {"formula": "SrTiO3", "min_atoms": 6, "max_atoms": 9},
            "SrTiO3 has 5 atoms or a multiple of it, and 6 to 9 are asked for; leave one of the two out",
            {"max_atoms": 10},
        ),
    ],
)
def test_what_no_compound_meets_is_refused_and_its_way_out_is_not(arguments, message, way_out):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        Constraints(**arguments)
    assert Constraints(**arguments | way_out) != Constraints()


@pytest.mark.parametrize(
    ("arguments", "known", "message"),
    [
        ({"allowed": {"Na", "Xe"}}, {"Na", "Cl"}, f"only Na, and {LONE}"),
        ({"excluded": {"Na", "Cl"}}, {"Na", "Cl"}, f"none, and {LONE}"),
        ({"allowed": {"Na", "Cl", "Xe"}, "formula": "ABX3"}, {"Na", "Cl"}, "only Cl, Na, and ABX3 has 3 elements"),
    ],
)
def test_too_few_known_elements_are_refused(arguments, known, message):
    asked = Constraints(**arguments)
    whole = f"^of the elements that may be there the model spied knows {message}; allow more elements$"
    with pytest.raises(InputError, match=whole):
        asked.check_known(known, "the model spied")
    asked.check_known(known | {"Xe", "K"}, "the model spied")


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
    assert Constraints(allowed={"Li", "Na", "O"}, excluded={"O"}).possible(known) == {"Li", "Na"}
