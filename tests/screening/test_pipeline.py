"""The way from crystals to a ranked list, with a judge by hand: energies and gaps by formula, a hull of few phases."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from monty.json import MontyDecoder
from pymatgen.core import Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.sources import GivenCandidates
from icsg3d.hull import Phase, ReferenceHull
from icsg3d.properties.relaxing import Relaxed
from icsg3d.properties.volume import Volumes
from icsg3d.screening import pipeline
from icsg3d.screening import shortlist as shortlists
from icsg3d.screening.constraints import Constraints
from icsg3d.screening.pipeline import Judge
from icsg3d.screening.screen import Screening
from icsg3d.screening.shortlist import Shortlist, best_of, fill

HULL = ReferenceHull(
    [
        *(Phase(formula, 0.0) for formula in ("Na", "K", "Rb", "Cl2", "Br")),
        *(Phase.of(formula, energy) for formula, energy in (("NaCl", -2.0), ("KCl", -2.2), ("NaBr", -1.8))),
    ],
    "a test",
)
ENERGIES = {"NaCl": -1.95, "KCl": -2.05, "NaBr": -1.79, "RbCl": -2.3, "KBr": -1.9}
GAPS = {"NaCl": 5.0, "KCl": 5.2, "NaBr": 4.1, "RbCl": 5.1, "KBr": 4.4}
VOLUME = 22.0


def salt(cation="Na", anion="Cl", edge=5.64, kind="Fm-3m"):
    return Structure.from_spacegroup(kind, Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


class Known:
    """Predicts what a table says, and remembers of which formulas it was asked."""

    def __init__(self, name, table, std=0.03):
        self.property = SimpleNamespace(name=name)
        self.digest = f"digest of {name}"
        self.table, self.std, self.asked = table, std, []

    def predict_possible(self, crystals):
        formulas = [crystal.composition.reduced_formula for crystal in crystals]
        self.asked += formulas
        values = np.array([self.table.get(formula, np.nan) for formula in formulas])
        return SimpleNamespace(values=values, stds=np.full(len(values), self.std))


class OneVolume:
    """Knows one volume for all crystals but those of rubidium."""

    digest = "digest of volumes"

    def volumes(self, crystals):
        values = np.array([np.nan if "Rb" in crystal.formula else VOLUME for crystal in crystals])
        return Volumes(values, 0.01 * values, ((),) * len(values))


def judge(screening, **changes):
    given = {"energy": Known("formation_energy_per_atom", ENERGIES), "sizer": OneVolume(), "hull": HULL}
    return Judge(screening=screening, **(given | changes))


def candidates(*structures):
    return [Candidate(index, structure, base="NaBr") for index, structure in enumerate(structures)]


def failed_on(found):
    return {each.index: each.screening["failed_on"] for each in found}


# The judge


def test_cells_have_their_equilibrium_volume_energies_and_a_place():
    found = judge(Screening()).judge(candidates(salt(edge=5.0)))[0]
    assert found.structure.volume / len(found.structure) == pytest.approx(VOLUME)
    assert found.screening["scaled_by"] == pytest.approx((8 * VOLUME) ** (1 / 3) / 5.0, abs=1e-5)
    assert found.predictions["volume_per_atom_std"] == pytest.approx(0.22)
    assert found.predictions["energy_above_hull"] == pytest.approx(0.05)  # -1.95 against -2.0
    assert found.predictions["energy_above_hull_std"] == 0.03
    assert found.screening["oxidation_states"] == "Na(1+) Cl(1-)"
    assert found.screening["passed"]


def test_what_has_no_volume_or_energy_does_not_pass():
    found = judge(Screening()).assess(candidates(salt("Rb"), salt("Na", "Br"), salt("K", "Br"), None))
    assert failed_on(found) == {0: ["no energy minimum"], 1: [], 2: [], 3: ["no crystal"]}
    lost = judge(Screening(), energy=Known("formation_energy_per_atom", {})).assess(candidates(salt()))
    assert failed_on(lost) == {0: ["no prediction"]}


def test_wrong_elements_are_refused_before_anything_is_predicted():
    energy = Known("formation_energy_per_atom", ENERGIES)
    screening = Screening(constraints=Constraints(excluded=frozenset({"Br"}), formula="AX"))
    found = judge(screening, energy=energy).assess(candidates(salt(), salt("Na", "Br")))
    assert failed_on(found) == {0: [], 1: ["excluded elements"]}
    assert energy.asked == ["NaCl"]


def test_properties_are_predicted_of_what_meets_all_else():
    gap = Known("band_gap", GAPS, std=0.2)
    screening = Screening(above_hull=0.1, constraints=Constraints(ranges={"band_gap": (4.0, 5.0)}))
    given = candidates(salt(), salt("K"), salt("Na", "Br"))  # 0.05, 0.15 and 0.01 above the hull
    found = judge(screening, asked=(gap,)).assess(given)
    assert failed_on(found) == {0: [], 1: ["hull"], 2: []}
    assert gap.asked == ["NaCl", "NaBr"]
    assert (found[2].predictions["band_gap"], found[2].predictions["band_gap_std"]) == (4.1, 0.2)
    narrow = Screening(constraints=Constraints(ranges={"band_gap": (4.5, 5.0)}))
    assert failed_on(judge(narrow, asked=(gap,)).assess(given)) == {0: [], 1: ["band_gap"], 2: ["band_gap"]}


def compressed(crystal, _surface):
    """Descent that makes every cell of sodium 10 % smaller, and leads nowhere with potassium."""
    if "K" in crystal.formula:
        return None
    copy = crystal.copy()
    copy.scale_lattice(0.9 * crystal.volume)
    return Relaxed(copy, 0.12345)


def test_what_passes_is_judged_again_at_the_minimum_of_the_energy(monkeypatch):
    monkeypatch.setattr(pipeline, "relaxed", compressed)

    class Falling(Known):
        """An energy that is 0.1 eV lower in smaller cells."""

        def predict_possible(self, crystals):
            found = super().predict_possible(crystals)
            small = np.array([crystal.volume / len(crystal) < 0.95 * VOLUME for crystal in crystals])
            return SimpleNamespace(values=found.values - 0.1 * small, stds=found.stds)

    energy = Falling("formation_energy_per_atom", ENERGIES)
    screening = Screening(above_hull=0.1)
    given = candidates(salt(), salt("K"), salt("Na", "Br"))  # 0.05, 0.15 and 0.01 above the hull
    found = judge(screening, energy=energy, surface="any").assess(given)
    assert energy.asked == ["NaCl", "KCl", "NaBr", "NaCl", "NaBr"]  # what did not pass is not relaxed
    assert failed_on(found) == {0: [], 1: ["hull"], 2: []}
    assert [each.screening.get("moved_by") for each in found] == [0.1235, None, 0.1235]
    assert "moved_by" not in found[1].screening
    for each, above in ((found[0], -0.05), (found[2], -0.09)):
        assert each.predictions["energy_above_hull"] == pytest.approx(above)
        assert each.predictions["volume_per_atom"] == pytest.approx(0.9 * VOLUME)
        assert each.structure.volume / len(each.structure) == pytest.approx(0.9 * VOLUME)
    again = judge(screening).assess(found[:1])[0]  # as another command does that takes them
    assert again.structure.volume == pytest.approx(found[0].structure.volume)


def test_where_the_energy_leads_nowhere_a_crystal_stays(monkeypatch):
    monkeypatch.setattr(pipeline, "relaxed", compressed)
    found = judge(Screening(), surface="any").assess(candidates(salt("K")))[0]
    assert found.screening["moved_by"] is None
    assert found.screening["passed"]
    assert found.structure.volume / len(found.structure) == pytest.approx(VOLUME)


def test_energy_above_hull_and_volume_are_properties_like_others():
    constraints = Constraints(ranges={"energy_above_hull": (-math.inf, 0.02), "volume_per_atom": (20, 24)})
    found = judge(Screening(constraints=constraints)).assess(candidates(salt(), salt("Na", "Br")))
    assert failed_on(found) == {0: ["energy_above_hull"], 1: []}


def test_order_is_the_distance_from_the_hull_and_repeats_and_the_base_fall_out():
    given = candidates(salt("K"), salt(), salt(edge=5.7), salt("Na", "Br"))
    found = judge(Screening(), base=salt("Na", "Br")).judge(given)
    assert [each.formula for each in found] == ["NaCl", "KCl", "NaBr", "NaCl"]
    assert failed_on(found) == {1: [], 0: [], 2: ["repeats"], 3: ["the base"]}
    assert found[3].screening["duplicate_of"] == 1


def test_what_is_kept_is_told_more():
    told = judge(Screening(), told=(Known("band_gap", GAPS),)).tell(candidates(salt(), salt("K", kind="Pm-3m")))
    assert [each.predictions["band_gap"] for each in told] == [5.0, 5.2]
    assert [each.screening["prototype"] for each in told] == ["rock salt", "caesium chloride"]


@pytest.mark.parametrize(
    ("constraints", "options", "message"),
    [
        ({"ranges": {"bulky": (0, 1)}}, {}, "there is no model 'bulky'"),
        ({"ranges": {"gap": (0, 1), "band_gap": (0, 2)}}, {}, "given twice for one property"),
        ({"required": {"Xe"}}, {}, r"the hull \(Materials Project\) knows no Xe"),
        ({"formula": "XeF2"}, {}, "knows no Xe, which the constraints ask for"),
        ({"ranges": {"energy_above_hull": (0, 1)}}, {"hull": False}, "needs a hull"),
        ({}, {"phases": ["nonesuch.csv"]}, "there is no file nonesuch.csv"),
    ],
)
def test_what_nothing_can_tell_is_refused(constraints, options, message):
    with pytest.raises(InputError, match=message):
        Judge.load(Screening(constraints=Constraints(**constraints)), **options)


def test_short_names_of_properties_are_those_of_their_models():
    loaded = Judge.load(Screening(constraints=Constraints(ranges={"gap": (1.0, 2.0)})))
    assert loaded.screening.constraints.ranges == {"band_gap": (1.0, 2.0)}
    assert [each.property.name for each in loaded.asked] == ["band_gap"]
    record = json.loads(json.dumps(loaded.as_dict()))
    assert MontyDecoder().process_decoded(record["constraints"]) == loaded.screening.constraints
    assert record["hull"] == "Materials Project, 36246 phases"


# The list


class Counting(GivenCandidates):
    """Remembers which candidates it was asked for."""

    def __init__(self, given):
        super().__init__(given, len(given))
        self.asked = []

    def candidates(self, numbers):
        self.asked += numbers
        return super().candidates(numbers)


@pytest.fixture
def in_pairs(monkeypatch):
    monkeypatch.setattr(shortlists, "BATCH", 2)


GIVEN = candidates(salt("Rb"), salt("Na", "Br"), salt("Na", "Br", 5.8), salt("K"), salt(), None, salt("K", "Br"))


def filled(given=(), **options):
    source, found = Counting(GIVEN), Shortlist(judge(Screening()), **options)
    drawn = {each.index: each for each in given}
    fill(source, found, drawn)
    return source, found, drawn


@pytest.mark.usefixtures("in_pairs")
def test_candidates_are_drawn_until_enough_pass():
    source, found, new = filled(keep=2, enough=2)
    assert source.asked == [0, 1, 2, 3]
    assert list(new) == [0, 1, 2, 3]
    assert [(each.formula, each.screening["rank"]) for each in found.kept] == [("NaBr", 1), ("KCl", 2)]
    assert found.reasons() == {"no energy minimum": 1, "repeats": 1}
    assert found.describe() == "2 of 4 passed (50%); refused for no energy minimum 1, repeats 1"


@pytest.mark.usefixtures("in_pairs")
def test_of_twice_as_many_that_pass_the_better_half_is_kept():
    best = best_of(Counting(GIVEN), judge(Screening()), 1)
    assert [(each.formula, each.index) for each in best] == [("NaBr", 1)]
    source, found, _ = filled(keep=1, enough=1)
    assert source.asked == [0, 1]
    assert [(each.formula, each.index) for each in found.kept] == [("NaBr", 1)]


@pytest.mark.usefixtures("in_pairs")
def test_the_list_does_not_depend_on_what_was_there_already():
    whole = [each.as_dict() for each in filled(keep=3, enough=3)[1].everyone()]
    for count in range(7):
        source, found, _ = filled(GIVEN[:count], keep=3, enough=3)
        assert [each.as_dict() for each in found.everyone()] == whole
        assert source.asked == list(range(count, 6))


def test_of_given_crystals_the_best_of_all_are_kept():
    _, found, _ = filled(keep=2)
    assert [each.formula for each in found.kept] == ["KBr", "NaBr"]
    assert (len(found), found.passed, found.full) == (7, 4, False)
    everyone = list(found.everyone())
    assert [each.screening.get("rank") for each in everyone] == [1, 2, *[None] * 5]
    assert sorted(each.index for each in everyone) == list(range(7))
    assert found.as_dict()["kept"] == 2


def test_the_volume_of_a_cell_that_is_not_scaled_can_be_asked_for():
    wanted = Screening(constraints=Constraints(ranges={"volume_per_atom": (20, 30)}))
    found = judge(wanted, sizer=None).assess(candidates(salt(edge=6.0), salt(edge=7.0)))
    assert [each.predictions["volume_per_atom"] for each in found] == pytest.approx([6.0**3 / 8, 7.0**3 / 8])
    assert [each.screening["passed"] for each in found] == [True, False]


def test_what_an_earlier_screening_said_does_not_count():
    earlier = {"rank": 3, "passed": True, "prototype": "rock salt", "moved_by": 0.1}
    given = Candidate(0, salt(), screening=earlier, duplicate_of=7)
    found = judge(Screening(constraints=Constraints(excluded={"Cl"}))).assess([given])[0]
    assert found.screening == {"moved_by": 0.1, "passed": False, "failed_on": ["excluded elements"]}
    assert found.duplicate_of is None


@pytest.mark.usefixtures("in_pairs")
def test_candidates_that_were_judged_before_stay_where_their_batch_is_lost():
    before = judge(Screening()).assess(GIVEN[:3])

    class Broken(Counting):
        def candidates(self, numbers):
            raise RuntimeError(numbers)

    found = Shortlist(judge(Screening()), book={each.index: each for each in before})
    fill(Broken(GIVEN[:4]), found)
    assert list(found.numbers) == [0, 1, 2]
    assert [(each.first, each.last, each.count) for each in found.lost] == [(2, 3, 1)]


@pytest.mark.usefixtures("in_pairs")
def test_repeats_point_to_the_one_that_is_kept():
    energies = iter([-1.7, -1.75, -1.79])

    class Falling(Known):
        def predict_possible(self, crystals):
            return SimpleNamespace(
                values=np.array([next(energies) for _ in crystals]), stds=np.full(len(crystals), 0.03)
            )

    found = Shortlist(judge(Screening(), energy=Falling("formation_energy_per_atom", {})))
    for each in candidates(*[salt("Na", "Br", edge) for edge in (5.8, 5.9, 6.0)]):
        found.add([each])
    assert [each.index for each in found.kept] == [2]
    assert {each.index: each.duplicate_of for each in found.everyone()} == {2: None, 1: 2, 0: 2}


def test_the_nearest_is_named_with_what_it_lacks():
    screening = Screening(above_hull=0.001, constraints=Constraints(excluded=frozenset({"K", "Rb"})))
    found = Shortlist(judge(screening))
    found.add(GIVEN)
    assert found.kept == []
    assert found.nearest() == "the nearest was NaBr, refused for hull (0.01)"
    assert Shortlist(judge(screening)).describe() == "0 of 0 passed"


def test_of_those_that_miss_a_range_the_nearest_is_the_one_that_misses_it_least():
    screening = Screening(constraints=Constraints(ranges={"band_gap": (6.0, 7.0)}))
    found = Shortlist(judge(screening, asked=(Known("band_gap", GAPS),)))
    found.add(candidates(salt("Na", "Br"), salt(), salt("K"), salt("Na", "O")))
    assert found.nearest() == "the nearest was KCl, refused for band_gap (5.2)"
