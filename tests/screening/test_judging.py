"""Candidates against a hull by hand, and the order in which they come."""

from __future__ import annotations

import math

import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.generation.candidates import Candidate
from icsg3d.hull import Phase, ReferenceHull
from icsg3d.screening.judging import ABOVE_HULL, ENERGY, placed, ranked
from icsg3d.screening.screen import Screening, screen

HULL = ReferenceHull(
    [Phase("Na", 0.0), Phase("Cl2", 0.0), Phase("K", 0.0), Phase.of("NaCl", -2.0), Phase.of("KCl", -2.2)]
)


def rock_salt(cation="Na", edge=5.64, shift=0.0):
    positions = [[0, 0, 0], [0.5, 0.5, 0.5 + shift]]
    return Structure.from_spacegroup("Fm-3m" if not shift else "P1", Lattice.cubic(edge), [cation, "Cl"], positions)


def candidate(index, structure, energy, **values):
    return Candidate(index, structure, predictions={ENERGY: energy, f"{ENERGY}_std": 0.03}, **values)


def test_distance_decomposition_and_knowledge():
    found = placed([candidate(0, rock_salt(), -1.9)], HULL)[0]
    assert found.predictions[ABOVE_HULL] == pytest.approx(0.1)
    assert found.predictions[f"{ABOVE_HULL}_std"] == 0.03
    assert found.screening == {"decomposition": "1.00 NaCl", "known_phase": True}


def test_what_cannot_be_placed_stays_as_it_is():
    given = [
        Candidate(0, None, "no atom"),
        Candidate(1, rock_salt()),
        candidate(2, rock_salt("Rb"), -2.0),
        candidate(3, rock_salt(), math.nan),
    ]
    assert placed(given, HULL) == given


def test_order_is_screening_then_hull_then_energy_then_number():
    passed, failed = {"passed": True}, {"passed": False}
    given = [
        Candidate(0, None, predictions={ABOVE_HULL: -0.1}, screening=failed),
        Candidate(1, None, predictions={ABOVE_HULL: 0.2, ENERGY: -3.0}, screening=passed),
        Candidate(2, None, predictions={ABOVE_HULL: 0.1, ENERGY: -1.0}, screening=passed),
        Candidate(3, None, predictions={ENERGY: -9.0}, screening=passed),
        Candidate(4, None, predictions={ABOVE_HULL: 0.1, ENERGY: -2.0}, screening=passed),
        Candidate(5, None, predictions={ABOVE_HULL: 0.1, ENERGY: -2.0}, screening=passed),
        Candidate(6, None, predictions={ABOVE_HULL: math.nan}, screening=passed),
    ]
    assert [each.index for each in ranked(given)] == [4, 5, 2, 1, 3, 6, 0]


def test_of_repeats_the_best_is_kept_whatever_came_first():
    given = placed([candidate(0, rock_salt(edge=5.9), -1.5), candidate(1, rock_salt(), -1.95)], HULL)
    found = screen(given, Screening())
    assert [each.index for each in found] == [0, 1]
    assert [each.screening["failed_on"] for each in found] == [["repeats"], []]
    assert found[0].screening["duplicate_of"] == 1


def test_the_hull_can_be_a_limit():
    given = placed(
        [candidate(0, rock_salt(), -1.7), candidate(1, rock_salt("K"), -2.15), Candidate(2, rock_salt("Rb"))], HULL
    )
    found = screen(given, Screening(above_hull=0.1))
    assert [each.screening["failed_on"] for each in found] == [["hull"], [], ["hull"]]


def test_the_base_the_training_crystals_and_the_hulls_phases_are_known():
    new = placed([candidate(0, rock_salt("K"), -2.0, in_training=False, base="NaCl")], HULL)[0]
    cases = {
        "of the hull": new,
        "base": candidate(0, rock_salt("Rb"), -2.0, in_training=False, base="RbCl"),
        "trained on": candidate(0, rock_salt("Rb"), -2.0, in_training=True, base="NaCl"),
    }
    for case in cases.values():
        assert screen([case], Screening(novel=True))[0].screening["failed_on"] == ["known composition"]
    fresh = candidate(0, rock_salt("Rb"), -2.0, in_training=False, base="NaCl")
    assert screen([fresh], Screening(novel=True))[0].screening["novel"] is True
    assert screen([candidate(0, rock_salt("Rb"), -2.0)], Screening())[0].screening["novel"] is None
