from __future__ import annotations

import json
import math

import pytest
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import DummySpecies, Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.screening.constraints import Constraints
from icsg3d.screening.judging import ranked
from icsg3d.workflows.flows import CandidateValidationMaker, ScreeningFlowMaker
from icsg3d.workflows.formation import FormationEnergyMaker
from icsg3d.workflows.jobs import GenerateMaker, ScreenMaker, summary, validation
from icsg3d.workflows.local import run_flow
from icsg3d.workflows.schemas import CandidateDoc, CandidatesDoc, EngineDoc, ValidationSummaryDoc
from tests.workflows.emt_makers import CountingMaker, FailingMaker


@pytest.fixture
def screening() -> ScreenMaker:
    # EMT's metals are as good as any for a flow; the network's doubts about them do not matter here.
    return ScreenMaker(screening={"energy_std": None}, scale_cells=False)


@pytest.fixture
def flow_maker(emt, screening) -> ScreeningFlowMaker:
    return ScreeningFlowMaker(
        screen_maker=screening, validation_maker=CandidateValidationMaker(formation_energy_maker=emt)
    )


def outcome(maker, store, tmp_path, **arguments) -> ValidationSummaryDoc:
    return run_flow(maker.make(**arguments), store, tmp_path / "jobs").output


def test_candidates_are_validated_in_order_of_their_distance_from_the_hull(flow_maker, candidates, store, tmp_path):
    found = outcome(flow_maker, store, tmp_path, candidates=candidates)
    assert isinstance(found, ValidationSummaryDoc)
    assert found.finished == 3
    distances = [row.candidate.predictions["energy_above_hull"] for row in found.rows]
    assert distances == sorted(distances)
    assert {row.candidate.index for row in found.rows} == {0, 1, 2}
    for row in found.rows:
        difference = abs(row.formation_energy_per_atom - row.predicted_formation_energy_per_atom)
        assert row.delta_e_form == pytest.approx(difference)
        # Caesium chloride has one free length, so bonds, edges and the cube root of the volume change alike.
        edge = 100 * abs(row.relaxed.lattice.a / row.candidate.structure.lattice.a - 1)
        assert row.delta_bonds_percent == pytest.approx(edge, rel=1e-3)
        assert row.delta_cell_percent == pytest.approx(edge, rel=1e-3)
        assert row.engine.name == "emt"
        assert set(row.engine.versions) == {"icsg3d", "atomate2", "ase"}
    assert found.mean_delta_e_form == pytest.approx(sum(row.delta_e_form for row in found.rows) / 3)


def test_phases_of_the_screening_are_those_of_the_comparison(flow_maker, candidates, tmp_path):
    def phases(maker):
        (handed,) = [job for job in maker.make(candidates=candidates).jobs if job.name == "validate"]
        return handed.function_args[1].phases

    assert phases(flow_maker) == []
    flow_maker.screen_maker.phases = ["a.csv"]
    assert phases(flow_maker) == ["a.csv"]
    assert flow_maker.validation_maker.phases == []  # it is left as it was
    flow_maker.validation_maker.phases = ["b.csv"]
    assert phases(flow_maker) == ["b.csv"]


def test_only_the_best_are_validated_and_the_rest_is_named(flow_maker, candidates, store, tmp_path):
    flow_maker.top = 1
    found = outcome(flow_maker, store, tmp_path, candidates=candidates)
    assert len(found.rows) == 1
    assert len(found.screened_out) == 2
    flow_maker.top = 3
    everything = outcome(flow_maker, store, tmp_path, candidates=candidates)
    assert everything.rows[0].candidate.index == found.rows[0].candidate.index


@pytest.mark.slow
def test_shards_change_nothing(flow_maker, candidates, store, tmp_path):
    flow_maker.shard_size = 1
    one = outcome(flow_maker, store, tmp_path, candidates=candidates)
    names = [doc["name"] for doc in store.query({}, ["name"])]
    assert {"shard 1", "shard 2", "shard 3"} <= set(names)
    flow_maker.shard_size = 100
    together = outcome(flow_maker, store, tmp_path, candidates=candidates)
    assert [row.delta_e_form for row in one.rows] == [row.delta_e_form for row in together.rows]


def test_elements_are_computed_once_for_all_candidates(screening, candidates, store, tmp_path, monkeypatch):
    log = tmp_path / "count"
    monkeypatch.setenv("COUNT_FILE", str(log))
    energies = FormationEnergyMaker(relax_maker=CountingMaker(), static_maker=None, engine="counting", packages=[])
    maker = ScreeningFlowMaker(
        screen_maker=screening, validation_maker=CandidateValidationMaker(formation_energy_maker=energies)
    )
    twice = [*candidates, candidates[0].model_copy(update={"index": 7})]
    maker.screen_maker.screening["unique"] = False
    found = outcome(maker, store, tmp_path, candidates=twice)
    assert found.finished == 4
    assert sorted(log.read_text().split()) == sorted(["Cu", "Au", "Ni", "Al", "Pd", "Ag", "CuAu", "AlNi", "AgPd"])


def test_one_failure_is_one_row(screening, candidates, store, tmp_path):
    energies = FormationEnergyMaker(relax_maker=FailingMaker(), static_maker=None, engine="failing", packages=[])
    maker = ScreeningFlowMaker(
        screen_maker=screening, validation_maker=CandidateValidationMaker(formation_energy_maker=energies)
    )
    run = run_flow(maker.make(candidates=candidates), store, tmp_path / "jobs")
    states = {row.candidate.index: row.state for row in run.output.rows}
    assert states == {0: "finished", 1: "failed", 2: "finished"}
    bad = next(row for row in run.output.rows if row.state == "failed")
    assert bad.reason == "the relaxation gave no result"
    assert "nickel is not liked here" in run.failures[bad.task_ids["relax"]]
    assert run.output.finished == 2
    assert bad.delta_e_form is None


def test_an_element_without_reference_is_a_row_not_an_end(flow_maker, candidates, crystal, store, tmp_path):
    odd = CandidateDoc.from_candidate(Candidate(9, crystal("Yb", "Cu", 3.4)))
    found = outcome(flow_maker, store, tmp_path, candidates=[*candidates, odd])
    assert found.finished == 3
    bad = next(row for row in found.rows if row.candidate.index == 9)
    assert bad.state == "failed"
    assert "no crystal of the element Yb" in bad.reason
    assert "--element FILE" in bad.reason


def test_one_odd_crystal_is_left_out_with_the_reason(flow_maker, candidates, store, tmp_path):
    cell = Lattice.cubic(3.0)
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    odd = [
        Structure(cell, [{"Cu": 0.5, "Ag": 0.5}, "Au"], sites),
        Structure(cell, ["Og", "Au"], sites),
        Structure(cell, [DummySpecies("X"), "Au"], sites),
        Structure(cell, ["Fr", "At"], sites),
    ]
    more = [CandidateDoc.from_candidate(Candidate(10 + k, structure)) for k, structure in enumerate(odd)]
    found = outcome(flow_maker, store, tmp_path, candidates=[*candidates, *more])
    assert found.finished == 3
    reasons = {each.index: each.reason for each in found.screened_out}
    assert "disordered" in reasons[10]
    assert "Og" in reasons[11]
    assert "X" in reasons[12]
    assert "no crystal of the element At, Fr" in next(row for row in found.rows if row.candidate.index == 13).reason


def test_all_may_be_screened_out(flow_maker, crystal, store, tmp_path):
    too_close = CandidateDoc.from_candidate(Candidate(0, crystal("Cu", "Au", 1.3)))
    found = outcome(flow_maker, store, tmp_path, candidates=[too_close])
    assert (found.finished, found.rows, found.mean_delta_e_form) == (0, [], None)
    assert found.screened_out[0].screening["failed_on"] == ["distances", "no prediction"]


@pytest.mark.slow
@pytest.mark.parametrize("base", [None, "NaCl"])
def test_from_a_crystal_to_the_summary(base, emt, tiny_model, tmp_path, store):
    """Draws of an untrained generator: all the way through, whatever comes of them."""
    maker = ScreeningFlowMaker(
        generate_maker=GenerateMaker(model=str(tiny_model), scale=0.1),
        screen_maker=ScreenMaker(),
        validation_maker=CandidateValidationMaker(formation_energy_maker=emt),
        draws=5,
        shard_size=2,
        top=2,
    )
    structure = None if base is None else prototype_structure(base)
    run = run_flow(maker.make(structure), store, tmp_path / "jobs")
    assert not run.failures
    assert {each.candidate.base for each in run.output.rows} <= {base or ""}
    assert run.output.screened_out == []
    assert (run.output.drawn.count, run.output.drawn.judged) == (5, 5)
    drawn = [doc["output"] for doc in store.query({"name": {"$regex": "^draw and judge"}}, ["output"])]
    assert sorted((part["first"], part["count"]) for part in drawn) == [(0, 2), (2, 2), (4, 1)]


def test_shards_of_draws_are_the_draws(tiny_model):
    maker = GenerateMaker(model=str(tiny_model), seed=3)
    together = maker.make.original(maker, None, 4, 0).candidates
    later = maker.make.original(maker, None, 2, 2).candidates
    for a, b in zip(together[2:], later, strict=True):
        assert (a.index, a.reason) == (b.index, b.reason)
        assert (a.structure is None) == (b.structure is None)
        if a.structure is not None:
            assert a.structure.matches(b.structure)


@pytest.mark.parametrize(
    "maker",
    [
        ScreeningFlowMaker(),
        CandidateValidationMaker.from_force_field_name("CHGNet"),
        ScreenMaker(screening={"novel": True}),
        ScreenMaker(constraints=Constraints(excluded=frozenset({"Pb"}), ranges={"band_gap": (1.2, math.inf)})),
        GenerateMaker(seed=4),
    ],
)
def test_makers_travel_as_json(maker):
    text = json.dumps(maker, cls=MontyEncoder)
    again = json.loads(text, cls=MontyDecoder)
    assert json.dumps(again, cls=MontyEncoder, sort_keys=True) == json.dumps(maker, cls=MontyEncoder, sort_keys=True)
    assert type(again) is type(maker)


def test_flows_travel_as_json(flow_maker, candidates):
    flow = flow_maker.make(candidates=candidates)
    again = json.loads(json.dumps(flow, cls=MontyEncoder), cls=MontyDecoder)
    assert [job.name for job, _ in again.iterflow()] == [job.name for job, _ in flow.iterflow()]


def test_wrong_numbers_and_no_candidates_are_refused():
    for name in ("draws", "top", "shard_size"):
        with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
            ScreeningFlowMaker(**{name: 0})
    with pytest.raises(InputError, match="no candidates to validate"):
        ScreeningFlowMaker().make(candidates=[])
    twice = [CandidateDoc(index=1), CandidateDoc(index=1)]
    with pytest.raises(InputError, match="the same index"):
        ScreeningFlowMaker().make(candidates=twice)
    with pytest.raises(InputError, match="candidate 3 has no crystal"):
        CandidateValidationMaker().make(CandidateDoc(index=3, reason="no atom was found"))


def test_candidates_survive_their_document(candidates):
    for document in candidates:
        candidate = document.to_candidate()
        again = CandidateDoc.from_candidate(candidate)
        assert again.model_dump(exclude={"builder_meta"}) == document.model_dump(exclude={"builder_meta"})
    failed = Candidate(4, None, "no atom was found", base="NaCl", seed=1, scale=0.8)
    assert CandidateDoc.from_candidate(failed).to_candidate() == failed


def test_ranking_puts_what_passed_first():
    def candidate(index, energy, *, passed):
        predictions = {} if energy is None else {"formation_energy_per_atom": energy}
        return Candidate(index, None, predictions=predictions, screening={"passed": passed})

    given = [
        candidate(0, -3.0, passed=False),
        candidate(1, -1.0, passed=True),
        candidate(2, -2.0, passed=True),
        candidate(3, None, passed=True),
    ]
    assert [each.index for each in ranked(given)] == [2, 1, 3, 0]


def test_averages_leave_out_what_did_not_finish(candidates):
    engine = EngineDoc(name="none")
    rows = [validation(each, None, engine) for each in candidates]
    rows[0] = rows[0].model_copy(update={"state": "finished", "delta_e_form": 0.2, "delta_bonds_percent": None})
    rows[1] = rows[1].model_copy(update={"state": "finished", "delta_e_form": 0.4, "delta_bonds_percent": 3.0})
    rows[2] = rows[2].model_copy(update={"state": "unconverged", "delta_e_form": 9.0, "delta_bonds_percent": 90.0})
    found = summary(rows, engine)
    assert (found.finished, found.mean_delta_e_form, found.mean_delta_bonds_percent) == (2, pytest.approx(0.3), 3.0)


def test_constraints_are_those_of_every_other_way():
    salts = [prototype_structure(formula) for formula in ("NaCl", "MgO")]
    given = CandidatesDoc(candidates=[CandidateDoc.from_candidate(Candidate(k, s)) for k, s in enumerate(salts)])
    maker = ScreenMaker(constraints=Constraints(excluded=frozenset({"Na"})))
    found = maker.make.original(maker, [given]).candidates
    assert [each.formula_pretty for each in found] == ["MgO", "NaCl"]
    assert [each.screening["failed_on"] for each in found] == [[], ["excluded elements"]]
    twice = ScreenMaker(screening={"constraints": Constraints()})
    with pytest.raises(InputError, match="constraints are an argument of their own"):
        twice.make.original(twice, [given])


def test_an_unknown_criterion_is_named():
    maker = ScreenMaker(screening={"colour": "red"})
    with pytest.raises(InputError, match="there is no criterion 'colour'"):
        maker.make.original(maker, [])
