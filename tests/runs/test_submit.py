"""Runs that are handed to a manager, which a local run of the same flow stands in for, and collected."""

from __future__ import annotations

import csv
import json
import sys
from types import SimpleNamespace

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore

from icsg3d.errors import InputError
from icsg3d.report.folders import SUBMITTED_FILE
from icsg3d.runs import submit
from icsg3d.runs.collect import Waiting, collect
from icsg3d.runs.generate import Design, generate
from icsg3d.runs.judged import Judging
from icsg3d.runs.submit import Submission, submit_design, submit_validation
from icsg3d.workflows import stores
from icsg3d.workflows.jobs import GenerateMaker, ScreenMaker
from icsg3d.workflows.local import run_flow
from icsg3d.workflows.shards import ShardMaker
from icsg3d.workflows.stores import folder_store
from tests.screening.salts import Salts, as_rows, judge

DRAWS = 160
FIREWORKS = Submission("fireworks", shard_size=50)


class Manager(list):
    """Has the flows that were handed to it, and runs them when it is told to."""

    def __init__(self, store, folder):
        super().__init__()
        self.store, self.folder = store, folder

    def run(self):
        return [run_flow(flow, self.store, self.folder) for flow in self]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Let the jobflow settings name a store."""
    found = folder_store(tmp_path / "store")
    monkeypatch.setattr(stores, "SETTINGS", SimpleNamespace(JOB_STORE=found))
    return found


@pytest.fixture
def manager(store, tmp_path, monkeypatch):
    """Stand in for FireWorks."""
    pytest.importorskip("fireworks")
    monkeypatch.setattr("fireworks.fw_config.LAUNCHPAD_LOC", "my_launchpad.yaml")
    found = Manager(store, tmp_path / "jobs")
    monkeypatch.setattr(submit, "_hand_over", lambda flow, _: found.append(flow))
    return found


@pytest.fixture
def salts(monkeypatch):
    """Let all draws be of salts."""
    monkeypatch.setattr(GenerateMaker, "source", lambda _, __, limit, ___=None: Salts(limit))
    monkeypatch.setattr(ScreenMaker, "judge", lambda _, base=None, told=(): judge(base=base))
    monkeypatch.setattr(Design, "source", lambda self, *_: Salts(self.n))
    monkeypatch.setattr(Judging, "judge", lambda _, base=None, *__, **___: judge(base=base))


def rows_of(folder, kept):
    with (folder / "candidates.csv").open() as file:
        return [dict(row) for row in list(csv.DictReader(file))[:kept]]


@pytest.mark.slow
@pytest.mark.usefixtures("salts")
def test_what_is_collected_is_what_one_machine_writes(manager, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    judging = Judging(keep=6)
    local = generate(here, judging=judging, n=DRAWS, jobs=1, picture=False)
    said = str(submit_design(there, FIREWORKS, judging=judging, n=DRAWS))
    assert said.startswith("6 jobs are with FireWorks: start workers on the machines (rlaunch rapidfire")
    assert said.endswith(f"run icsg3d collect {there}")
    record = json.loads((there / SUBMITTED_FILE).read_bytes())
    assert (record["manager"], len(record["shards"]), record["flow"]) == ("fireworks", 4, manager[0].uuid)
    assert json.loads((there / "run.json").read_bytes())["holds"] == "candidates"
    assert "0 of 4 shards have finished" in str(collect(there))
    manager.run()
    found = collect(there)
    assert as_rows(found.candidates) == as_rows(local.kept)
    for one, other in zip(rows_of(here, 6), rows_of(there, 6), strict=True):
        assert one == dict.fromkeys(one, "") | other
    assert {file.name: file.read_bytes() for file in (here / "cifs").iterdir()} == {
        file.name: file.read_bytes() for file in (there / "cifs").iterdir()
    }
    first, second = (json.loads((folder / "judging.json").read_bytes()) for folder in (here, there))
    assert (first["judge"], first["keep"]) == (second["judge"], second["keep"])
    assert second["result"]["judged"] == DRAWS
    assert (there / "candidates.parquet").exists()
    assert "6 candidates kept" in str(found)
    assert "repeats counted" in str(found)
    again = collect(there)
    assert as_rows(again.candidates) == as_rows(local.kept)


@pytest.mark.slow
@pytest.mark.usefixtures("salts")
def test_collect_tells_how_far_it_is(manager, store, tmp_path, caplog):
    submit_design(tmp_path / "out", FIREWORKS, judging=Judging(keep=70), n=80)
    shards = [job for job, _ in manager[0].iterflow() if isinstance(job.maker, ShardMaker)]
    for each in shards[:1]:
        each.run(store)
    found = collect(tmp_path / "out")
    assert found == Waiting("fireworks", 1, 2)
    assert "1 of 2 shards have finished; FireWorks tells of failures (lpad get_fws" in str(found)
    for job, _ in manager[0].iterflow():
        job.run(store)
    collect(tmp_path / "out")
    assert "of 70 candidates are kept; relax a constraint" in caplog.text


@pytest.mark.slow
def test_the_shipped_model_gives_the_same_on_one_machine_and_many(manager, tmp_path):
    judging, options = Judging(keep=2), {"n": 12, "seed": 5, "base": "SrTiO3", "scale": 0.9}
    local = generate(tmp_path / "here", judging=judging, jobs=1, picture=False, **options)
    submit_design(tmp_path / "there", Submission("fireworks", 5), judging=judging, **options)
    assert not manager.run()[0].failures
    found = collect(tmp_path / "there")
    assert local.count
    assert as_rows(found.candidates) == as_rows(local.kept)
    first, second = (json.loads((tmp_path / name / "judging.json").read_bytes()) for name in ("here", "there"))
    assert first["judge"] == second["judge"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": None}, "a flow is made for a number of draws; give -n"),
        ({"by": "exchange"}, "leave out --by exchange"),
        ({"judged": False}, "leave out --by exchange and --no-judge"),
        ({"device": "cpu,cuda"}, "one device"),
        ({"judging": Judging(keep=30)}, "30 candidates cannot be kept of 20 draws"),
    ],
)
@pytest.mark.usefixtures("manager")
def test_what_cannot_be_handed_over_is_refused(given, message, tmp_path):
    with pytest.raises(InputError, match=message):
        submit_design(tmp_path / "out", FIREWORKS, **{"n": 20, **given})
    assert not (tmp_path / "out").exists()


def test_managers_that_are_missing_or_not_set_up_are_named(tmp_path, monkeypatch):
    pytest.importorskip("fireworks")
    with pytest.raises(InputError, match="no workflow manager 'slurm'; give --submit fireworks or remote"):
        Submission("slurm")
    with pytest.raises(InputError, match="go with --submit remote"):
        Submission("fireworks", worker="cluster")
    monkeypatch.setattr("fireworks.fw_config.LAUNCHPAD_LOC", None)
    with pytest.raises(InputError, match="FireWorks knows no LaunchPad; write"):
        submit_design(tmp_path / "out", FIREWORKS, n=20)
    monkeypatch.setattr("fireworks.fw_config.LAUNCHPAD_LOC", "my_launchpad.yaml")
    forgetful = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    monkeypatch.setattr(stores, "SETTINGS", SimpleNamespace(JOB_STORE=forgetful))
    with pytest.raises(InputError, match="jobflow knows no store that other machines reach"):
        submit_design(tmp_path / "out", FIREWORKS, n=20)
    bare = JobStore(folder_store(tmp_path / "store").docs_store)
    monkeypatch.setattr(stores, "SETTINGS", SimpleNamespace(JOB_STORE=bare))
    with pytest.raises(InputError, match="no additional store 'data'"):
        submit_design(tmp_path / "out", FIREWORKS, n=20)
    for name, manager in (("fireworks", "fireworks"), ("jobflow_remote", "remote")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InputError, match=f"install it with pip install {name.replace('_', '-')}"):
            submit_design(tmp_path / "out", Submission(manager), n=20)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("store", "salts")
def test_what_a_manager_does_not_take_leaves_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr("fireworks.fw_config.LAUNCHPAD_LOC", "my_launchpad.yaml")
    monkeypatch.setattr(submit, "_to_fireworks", lambda _: 1 / 0)
    with pytest.raises(InputError, match=r"FireWorks did not take the flow \(ZeroDivisionError: division by zero\)"):
        submit_design(tmp_path / "out", FIREWORKS, n=20)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("salts", "manager")
def test_a_folder_is_not_submitted_twice(tmp_path):
    submit_design(tmp_path / "out", FIREWORKS, n=DRAWS)
    with pytest.raises(InputError, match="holds candidates of an earlier run"):
        submit_design(tmp_path / "out", FIREWORKS, n=DRAWS)
    first = json.loads((tmp_path / "out" / SUBMITTED_FILE).read_bytes())
    submit_design(tmp_path / "out", FIREWORKS, n=DRAWS, overwrite=True)
    assert json.loads((tmp_path / "out" / SUBMITTED_FILE).read_bytes())["flow"] != first["flow"]


def test_jobs_that_a_database_does_not_take_are_refused(monkeypatch, salts, store, tmp_path):
    monkeypatch.setattr("fireworks.fw_config.LAUNCHPAD_LOC", "my_launchpad.yaml")
    monkeypatch.setattr(submit, "LARGEST", 500)
    with pytest.raises(InputError, match="MongoDB takes 16; give fewer candidates"):
        submit_design(tmp_path / "out", FIREWORKS, n=DRAWS)


@pytest.mark.usefixtures("salts")
def test_jobflow_remote_gets_the_flow_with_worker_and_project(store, tmp_path, monkeypatch):
    """The package itself is not asked for: what it is called with, and where results are looked for."""
    taken = []
    fake = SimpleNamespace(
        submit_flow=lambda flow, worker, project: taken.append((flow, worker, project)),
        get_jobstore=lambda project: {"icsg3d": store}[project],
    )
    monkeypatch.setitem(sys.modules, "jobflow_remote", fake)
    out = tmp_path / "out"
    said = str(submit_design(out, Submission("remote", 50, "cluster", "icsg3d"), judging=Judging(keep=3), n=DRAWS))
    assert "jobs are with jobflow-remote: see that its runner is on (jf runner start)" in said
    flow, worker, project = taken[0]
    assert (worker, project) == ("cluster", "icsg3d")
    assert [job.name.split(" ")[0] for job, _ in flow.iterflow()] == ["draw"] * 4 + ["merge", "select"]
    assert "jf job list" in str(collect(out))
    run_flow(flow, store, tmp_path / "jobs")
    assert len(collect(out).kept) == 3
    monkeypatch.setattr(fake, "get_jobstore", lambda _: 1 / 0)
    with pytest.raises(InputError, match="jobflow-remote has no project icsg3d"):
        collect(out)


def test_a_validation_is_handed_over_and_collected(manager, tmp_path):
    from ase.build import bulk
    from ase.io import write

    (tmp_path / "crystals").mkdir()
    write(tmp_path / "crystals" / "alloy.cif", bulk("CuAu", "cesiumchloride", a=3.05))
    options = {"engine": "tests.workflows.emt_makers:EmtStaticMaker", "fixed": False, "screen": False}
    out = tmp_path / "out"
    submit_validation(tmp_path / "crystals", out, FIREWORKS, **options)
    assert "0 jobs have finished" in str(collect(out))
    assert not manager.run()[0].failures
    found = collect(out)
    assert [row.candidate.formula_pretty for row in found.summary.rows] == ["CuAu"]
    assert {"table_s1.csv", "table_s3.csv", "screening.csv", "validation.json.gz"} <= {
        file.name for file in out.iterdir()
    }


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no run that was handed to a manager"):
        collect(tmp_path)
    (tmp_path / SUBMITTED_FILE).write_text("[]")
    with pytest.raises(InputError, match="name the --out of generate or validate with --submit"):
        collect(tmp_path)


def test_commands_hand_over_and_collect(command_line, manager, salts, tmp_path):
    out = tmp_path / "out"
    given = ("-n", 80, "--keep", 3, "--submit", "fireworks", "--shard-size", 40, "--out", out)
    code, said = command_line("generate", *given)
    assert (code, "4 jobs are with FireWorks" in said) == (0, True)
    code, said = command_line("collect", out)
    assert (code, "0 of 2 shards have finished" in said) == (0, True)
    manager.run()
    code, said = command_line("collect", out)
    assert (code, "3 candidates kept" in said) == (0, True)
    assert len(rows_of(out, None)) == 3


def test_options_that_do_not_go_together_are_refused(command_line, tmp_path):
    out = tmp_path / "out"
    for command in (("generate",), ("validate", tmp_path / "crystals")):
        code, said = command_line(*command, "--out", out, "--worker", "cluster")
        assert (code, "--worker and --project go with --submit remote" in said) == (2, True)
        code, said = command_line(*command, "--out", out, "--submit", "fireworks", "--resume")
        assert (code, "what a manager does is not resumed here" in said) == (2, True)
    code, said = command_line("collect", tmp_path)
    assert (code, "holds no run that was handed" in said) == (2, True)
