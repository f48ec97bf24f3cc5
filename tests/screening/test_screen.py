from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.matching import Duplicates
from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.screening.constraints import Constraints
from icsg3d.screening.screen import Screening, screen, smallest_distance_ratio, space_group, usable, with_symmetry


def rock_salt(cation="Na", anion="Cl", edge=5.66):
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(Lattice.cubic(edge), [cation] * 4 + [anion] * 4, [*corners, *(corners + 0.5)])


def caesium_chloride(edge=3.4):
    return Structure(Lattice.cubic(edge), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


# Repeats


def test_the_first_of_equal_crystals_is_named():
    seen = Duplicates()
    assert seen.first_of(3, rock_salt()) is None
    assert seen.first_of(4, caesium_chloride()) is None
    assert seen.first_of(5, rock_salt()) == 3
    assert seen.first_of(6, caesium_chloride()) == 4
    assert seen.first_of(9, rock_salt()) == 3


def test_cell_origin_and_order_of_atoms_do_not_count():
    seen = Duplicates()
    seen.first_of(0, rock_salt())
    primitive = rock_salt().get_primitive_structure()
    moved = Structure(primitive.lattice, primitive.species[::-1], primitive.frac_coords[::-1] + 0.3)
    assert seen.first_of(1, moved) == 0


def test_other_elements_make_another_crystal():
    seen = Duplicates()
    assert seen.first_of(0, rock_salt()) is None
    assert seen.first_of(1, rock_salt("K")) is None
    assert seen.first_of(2, rock_salt("Cl", "Na")) == 0  # the same crystal with its origin moved


def test_a_repeat_is_not_remembered_itself():
    # Each is like the one before it, but the third is not like the first.
    matcher = StructureMatcher(scale=False, ltol=0.05, primitive_cell=False)
    edges = [5.0, 5.2, 5.4]
    fits = [matcher.fit(rock_salt(edge=a), rock_salt(edge=b)) for a, b in ((5.0, 5.2), (5.2, 5.4), (5.0, 5.4))]
    assert fits == [True, True, False]
    seen = Duplicates(matcher)
    assert [seen.first_of(i, rock_salt(edge=edge)) for i, edge in enumerate(edges)] == [None, 0, None]


def test_the_matcher_decides_what_is_the_same():
    strict = Duplicates(StructureMatcher(scale=False, ltol=0.01))
    loose = Duplicates()
    for seen, expected in ((strict, None), (loose, 0)):
        assert seen.first_of(0, rock_salt(edge=5.0)) is None
        assert seen.first_of(1, rock_salt(edge=6.0)) is expected


# Screening


def failed_on(structure, screening=None, **values):
    return screen([Candidate(0, structure, **values)], screening or Screening())[0].screening["failed_on"]


def test_a_sound_crystal_passes_everything():
    found = screen([Candidate(0, rock_salt(), in_training=False)], Screening(novel=True))[0]
    assert found.screening["passed"]
    assert found.screening["failed_on"] == []
    assert found.screening["space_group"] == "Fm-3m"
    assert found.screening["novel"] is True
    assert found.screening["charge_neutral"] is True


def test_distances_are_measured_by_the_atoms_radii():
    # Na 1.80 and Cl 1.00 angstrom; the shortest distance is half an edge.
    assert smallest_distance_ratio(rock_salt(edge=5.66)) == pytest.approx(2.83 / 2.80)
    assert failed_on(rock_salt(edge=2 * 0.59 * 2.80)) == ["distances"]
    assert failed_on(rock_salt(edge=2 * 0.61 * 2.80)) == []
    alone = Structure(Lattice.cubic(1.0), ["Na"], [[0, 0, 0]])  # its own image is what is near
    assert smallest_distance_ratio(alone) == pytest.approx(1.0 / 3.6)


def test_charges_that_cannot_balance():
    too_much_sodium = Structure(Lattice.cubic(4.2), ["Na", "Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0.5]])
    loose = Screening(distance_ratio=0.1)
    assert failed_on(too_much_sodium, loose) == ["charges"]
    assert failed_on(too_much_sodium, Screening(distance_ratio=0.1, charge_neutral=False)) == []


def test_repeats_known_compositions_and_doubts():
    twice = screen([Candidate(0, rock_salt()), Candidate(1, rock_salt(edge=5.7))], Screening())
    assert [each.screening["failed_on"] for each in twice] == [[], ["repeats"]]
    assert twice[1].screening["duplicate_of"] == 0
    assert failed_on(rock_salt(), Screening(novel=True), in_training=True) == ["known composition"]
    assert failed_on(rock_salt(), Screening(), in_training=True) == []
    doubt = {"formation_energy_per_atom_std": 0.2}
    assert failed_on(rock_salt(), predictions=doubt) == ["uncertain energy"]
    assert failed_on(rock_salt(), Screening(energy_std=None), predictions=doubt) == []
    assert failed_on(rock_salt(), predictions={"formation_energy_per_atom_std": float("nan")}) == ["uncertain energy"]


def test_elements_and_cells_without_a_minimum_never_pass():
    assert "single element" in failed_on(Structure(Lattice.cubic(4.0), ["Na"], [[0, 0, 0]]))
    candidate = Candidate(0, rock_salt(), screening={"scaled_by": None})
    assert screen([candidate], Screening())[0].screening["failed_on"] == ["no energy minimum"]
    assert screen([candidate], Screening(predictable=False))[0].screening["failed_on"] == []
    unknown = Candidate(0, rock_salt(), screening={"predicted": False})
    assert screen([unknown], Screening())[0].screening["failed_on"] == ["no prediction"]


def test_what_is_too_close_is_no_original():
    found = screen([Candidate(0, rock_salt(edge=2.0)), Candidate(1, rock_salt())], Screening())
    assert found[1].screening["duplicate_of"] is None


def test_what_fails_stands_in_no_good_crystals_way():
    doubtful = Candidate(0, rock_salt(edge=7.0), predictions={"formation_energy_per_atom_std": 0.5})
    flat = Candidate(1, rock_salt(edge=6.5), screening={"scaled_by": None})
    given = [doubtful, flat, Candidate(2, rock_salt()), Candidate(3, rock_salt(edge=6.2)), doubtful]
    found = screen(given, Screening())
    assert [c.screening["failed_on"] for c in found] == [
        ["uncertain energy"],
        ["no energy minimum"],
        [],
        ["repeats"],
        ["uncertain energy"],
    ]
    assert [c.screening["duplicate_of"] for c in found] == [None, None, None, 2, None]


def test_atoms_too_far_apart_to_compare_have_no_ratio():
    lonely = rock_salt(edge=40.0)
    assert smallest_distance_ratio(lonely) is None
    assert screen([Candidate(0, lonely)], Screening())[0].screening["distance_ratio"] is None


def test_draws_without_a_crystal_stay_in_the_list():
    found = screen([Candidate(0, None, "no atom was found")], Screening())
    assert found[0].screening == {"passed": False, "failed_on": ["no crystal"]}


def test_candidates_are_refined_and_the_given_ones_left_alone():
    distorted = caesium_chloride()
    distorted.translate_sites([1], [0.01, 0.005, 0])
    given = Candidate(0, distorted)
    assert space_group(distorted) != "Pm-3m"
    assert space_group(with_symmetry(given, 0.1).structure) == "Pm-3m"
    assert with_symmetry(given, 0.0).structure == distorted
    assert given.structure is distorted
    with pytest.raises(InputError, match="between 0 and 2 angstrom, got -1"):
        with_symmetry(given, -1)


@pytest.mark.parametrize("wrong", [{"distance_ratio": -0.1}, {"energy_std": 0.0}, {"energy_std": float("nan")}])
def test_criteria_that_mean_nothing_are_refused(wrong):
    with pytest.raises(InputError):
        Screening(**wrong)


def test_a_hull_below_the_range_asked_of_it_is_refused():
    asked = Constraints(ranges={"energy_above_hull": (0.5, 1.0)})
    message = (
        "the largest distance above the hull is -5 eV/atom, and the range of energy_above_hull begins at 0.5; "
        "leave one of the two out"
    )
    with pytest.raises(InputError, match=f"^{message}$"):
        Screening(above_hull=-5, constraints=asked)
    for both_can_be in (0.5, 2.0, None):
        assert Screening(above_hull=both_can_be, constraints=asked).constraints == asked
    assert Screening(above_hull=-5, constraints=Constraints(ranges={"band_gap": (0.5, 1.0)})).above_hull == -5


def test_atoms_too_close_for_a_prediction_are_screened_all_the_same():
    close = Candidate(0, rock_salt(edge=2.6))  # at 0.485 of the sum of the covalent radii
    assert usable(close).structure is not None
    assert with_symmetry(close, 0.1).structure is not None
    found = screen([close], Screening(constraints=Constraints(crystal_system="cubic")))[0]
    assert "distances" in found.screening["failed_on"]
    closer = usable(Candidate(0, rock_salt(edge=2.1)))  # at 0.39
    assert closer.structure is None
    assert "angstrom apart, and 1.07 is the least" in closer.reason
