"""Draws in shards: the flow gives what one process gives, in documents of bounded size, and names what failed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from monty.json import MontyDecoder, MontyEncoder

from icsg3d.errors import InputError
from icsg3d.screening.constraints import Constraints
from icsg3d.screening.shortlist import Shortlist, fill
from icsg3d.workflows.flows import CandidateValidationMaker, ScreeningFlowMaker
from icsg3d.workflows.jobs import GenerateMaker, ScreenMaker
from icsg3d.workflows.local import run_flow
from icsg3d.workflows.schemas import PACKED, SelectionDoc, ShardDoc
from icsg3d.workflows.shards import DesignFlowMaker, MergeMaker, SelectMaker, ShardMaker
from tests.screening.salts import Salts, as_rows, judge, salt

DRAWS = 160
BASE = salt("Na", "Cl", "rock salt", 20.0)


@pytest.fixture
def salts(monkeypatch):
    """Let makers draw and judge salts; return the numbers that cannot be drawn, to be added to."""
    bad = []
    monkeypatch.setattr(GenerateMaker, "source", lambda _, __, limit, ___=None: Salts(limit, tuple(bad)))
    monkeypatch.setattr(ScreenMaker, "judge", lambda _, base=None, told=(): judge(base=base))
    return bad


def locally(keep, base=None):
    found = Shortlist(judge(base=base), keep)
    fill(Salts(DRAWS), found)
    found.finish()
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("salts")
@pytest.mark.parametrize("shards", [1, 7, 40])
@pytest.mark.parametrize(("keep", "base"), [(6, BASE), (None, None)])
def test_the_flow_gives_what_one_process_gives(shards, keep, base, store, tmp_path):
    size = -(-DRAWS // shards)
    flow = DesignFlowMaker(keep=keep, shard_size=size, fan_in=3).make(base, DRAWS)
    names = [job.name for job, _ in flow.iterflow()]
    assert sum(name.startswith("draw and judge") for name in names) == shards
    run = run_flow(flow, store, tmp_path / "jobs")
    assert not run.failures
    expected = locally(keep, base)
    found = run.output
    assert isinstance(found, SelectionDoc)
    assert as_rows(found.candidates()) == as_rows(expected.kept)
    assert (found.count, found.judged, found.kept, found.lost) == (DRAWS, DRAWS, expected.count, [])
    told = json.dumps(found.judge, default=lambda each: each.as_dict())
    assert json.loads(told) == json.loads(json.dumps(expected.judge.as_dict()))
    own = {name: number for name, number in expected.reasons().items() if name not in ("repeats", "the base")}
    assert found.refused_for == own


@pytest.mark.slow
@pytest.mark.usefixtures("salts")
def test_candidates_are_objects_of_their_own(store, tmp_path):
    run_flow(DesignFlowMaker(keep=None, shard_size=150).make(None, DRAWS), store, tmp_path / "jobs")
    documents = list(store.docs_store.query())
    assert max(len(json.dumps(each, default=str)) for each in documents) < 4000
    objects = list(store.additional_stores["data"].query())
    packed = [each["data"].count("\n") + 1 for each in objects if isinstance(each["data"], str)]
    assert max(packed) <= PACKED
    assert sum(isinstance(each["data"], list) for each in objects) >= 1


def test_a_shard_that_fails_is_named_and_the_others_count(salts, store, tmp_path):
    def draw(_, __, limit, ___=None):
        if limit == 80:
            raise RuntimeError
        return Salts(limit, tuple(salts))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GenerateMaker, "source", draw)
        salts.append(130)
        run = run_flow(DesignFlowMaker(keep=5, shard_size=40).make(None, DRAWS), store, tmp_path / "jobs")
    assert len(run.failures) == 1
    found = run.output
    assert (found.count, found.judged, found.lost_count) == (DRAWS, 80, 80)
    assert [(each.first, each.last, each.reason) for each in found.lost] == [
        (40, 79, "the job gave no result"),
        (120, 159, "RuntimeError: number 130 cannot be drawn"),
    ]
    assert found.kept == 5


@pytest.mark.usefixtures("salts")
def test_nothing_may_pass_and_everything_may_fail(store, tmp_path, monkeypatch):
    monkeypatch.setattr(GenerateMaker, "source", lambda *_: 1 / 0)
    run = run_flow(DesignFlowMaker(keep=5, shard_size=100).make(None, DRAWS), store, tmp_path / "jobs")
    assert (run.output.kept, run.output.lost_count, run.output.candidates()) == (0, DRAWS, [])
    assert (run.output.lost[0].first, run.output.lost[0].last) == (0, DRAWS - 1)


@pytest.mark.slow
@pytest.mark.usefixtures("salts")
def test_what_is_drawn_for_a_validation_is_counted(emt, store, tmp_path):
    maker = ScreeningFlowMaker(
        validation_maker=CandidateValidationMaker(formation_energy_maker=emt), draws=DRAWS, shard_size=50, top=2
    )
    found = run_flow(maker.make(), store, tmp_path / "jobs").output
    assert [row.candidate.index for row in found.rows] == [each.index for each in locally(2).kept]
    assert found.screened_out == []
    assert found.drawn.judged == DRAWS
    assert found.drawn.refused_for["no crystal"] > 3
    assert "were screened out" in found._repr_html_()


def test_documents_survive_json():
    shard = ShardDoc(count=3, judged=3, passed=0, parts=[])
    again = ShardDoc.model_validate(json.loads(shard.model_dump_json()))
    assert again.to_part() == shard.to_part()
    assert ShardDoc.from_part(again.to_part()) == shard


@pytest.mark.parametrize(
    "maker", [DesignFlowMaker(keep=None), ShardMaker(keep=3), MergeMaker(keep=2), SelectMaker(told=["band_gap"])]
)
def test_makers_travel_as_json(maker):
    again = json.loads(json.dumps(maker, cls=MontyEncoder), cls=MontyDecoder)
    assert again == maker


def test_wrong_arguments_are_refused_when_make_is_called():
    for kind in (DesignFlowMaker, ShardMaker, MergeMaker, SelectMaker):
        with pytest.raises(InputError, match="keep must be at least 1, got 0"):
            kind(keep=0)
    with pytest.raises(InputError, match="fan_in must be at least 2"):
        DesignFlowMaker(fan_in=1)
    with pytest.raises(InputError, match="draws must be at least 1"):
        DesignFlowMaker().make(draws=0)
    with pytest.raises(InputError, match="there is no criterion 'colour'"):
        DesignFlowMaker(screen_maker=ScreenMaker(screening={"colour": "red"})).make()
    with pytest.raises(InputError, match="the base is one crystal"):
        DesignFlowMaker().make(3)
    with pytest.raises(InputError, match="count must be at least 1"):
        ShardMaker().make(count=0)
    with pytest.raises(InputError, match="structure is one crystal"):
        SelectMaker().make(ShardDoc(count=1, judged=1, passed=0, parts=[]), 7)
    with pytest.raises(InputError, match="each part has a range"):
        MergeMaker().make([], [])


def test_draws_are_led_by_the_constraints_as_in_one_process(monkeypatch):
    led = []

    class Spy:
        def __init__(self, generator, structure, limit, *, within, **_):
            led.append((structure, limit, within))

    generator = SimpleNamespace(elements=("Li", "Na", "O", "F"), name="spied")
    monkeypatch.setattr("icsg3d.workflows.jobs.LatentDraws", Spy)
    monkeypatch.setattr("icsg3d.generation.generator.CrystalGenerator.from_pretrained", lambda *_: generator)
    maker = GenerateMaker()
    maker.source(None, 7, Constraints(excluded={"F", "Cl"}))
    maker.source(None, 8)
    assert led == [(None, 7, {"Li", "Na", "O"}), (None, 8, None)]
    with pytest.raises(InputError, match="the model spied knows no Cs"):
        maker.source(None, 7, Constraints(required={"Cs"}))
