"""A design by jobflow-remote: its own runner and a worker on this machine, with a stand-in for its MongoDB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from icsg3d.screening.shortlist import Shortlist
from tests.screening.salts import drawn, judge

pytest.importorskip("jobflow_remote")
pytest.importorskip("mongomock")

ROOT = Path(__file__).parents[2]

PROJECT = """
name: icsg3d
base_dir: {here}/base
runner: {{delay_checkout: 1, delay_check_run_status: 1, delay_advance_status: 1}}
workers:
  here:
    type: local
    scheduler_type: shell
    work_dir: {here}/work
    pre_run: export PYTHONPATH={root}
queue:
  store: {{type: MongoStore, host: localhost, database: icsg3d, collection_name: jobs}}
jobstore:
  docs_store: {{type: MontyStore, database_path: {here}/store, collection_name: outputs}}
  additional_stores:
    data: {{type: MontyStore, database_path: {here}/store, collection_name: data}}
"""

# The queue lies in mongomock, which lacks indexes; results lie in files. Jobs run in processes of their own.
PROGRAM = """
import json, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import maggma.stores.mongolike, mongomock, pymongo
from mongomock.store import ServerStore
shared = ServerStore()
pymongo.MongoClient = maggma.stores.mongolike.MongoClient = lambda *_, **__: mongomock.MongoClient(_store=shared)
from jobflow_remote import JobController
from jobflow_remote.jobs.runner import Runner
JobController.build_indexes = lambda *_, **__: None
controller = JobController.from_project_name("icsg3d")
controller.reset()
from icsg3d.runs import submit
from icsg3d.runs.collect import collect
from icsg3d.workflows.shards import DesignFlowMaker
from tests.workflows.salt_makers import SaltMaker, SaltScreenMaker
maker = DesignFlowMaker(
    generate_maker=SaltMaker(fails=80), screen_maker=SaltScreenMaker(), keep=5, shard_size=40
)
out = Path("out").resolve()
out.mkdir()
submit._submit(maker.make(None, 160), out, submit.Submission("remote", 40, "here", "icsg3d"), "design")
Runner(project_name="icsg3d").run_all_jobs(max_seconds=300)
states = sorted(each.state.name for each in controller.get_jobs_info())
found = collect(out)
result = json.loads((out / "judging.json").read_bytes())["result"]
print("RESULT", json.dumps([states, [each.index for each in found.candidates], result]))
"""


@pytest.mark.slow
def test_jobflow_remote_runs_a_design_and_names_what_failed(tmp_path):
    for name in ("projects", "work", "store"):
        (tmp_path / name).mkdir()
    (tmp_path / "projects" / "icsg3d.yaml").write_text(PROJECT.format(here=tmp_path, root=ROOT))
    environment = os.environ | {"JFREMOTE_PROJECTS_FOLDER": str(tmp_path / "projects"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    last = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert last, done.stderr[-2000:]
    states, numbers, result = json.loads(last[0].removeprefix("RESULT "))
    assert states == ["COMPLETED"] * 5 + ["FAILED"]
    assert result["lost"] == [{"first": 40, "last": 79, "reason": "the job gave no result"}]
    assert (result["judged"], result["kept"]) == (120, 5)
    there = Shortlist(judge(), 5)
    there.add([drawn(number) for number in (*range(40), *range(80, 160))])
    assert numbers == [each.index for each in there.kept]
