"""Flows as FireWorks workflows, run by FireWorks on its embedded stand-in for MongoDB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from icsg3d.screening.shortlist import Shortlist
from tests.screening.salts import drawn, judge

pytest.importorskip("fireworks")
pytest.importorskip("mongomock_persistence")

ROOT = Path(__file__).parents[2]

# In a process of its own: FireWorks takes its settings when it is imported, and changes the working folder.
PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from fireworks import FWorker, LaunchPad
from fireworks.core.rocket_launcher import rapidfire
from jobflow import Flow
from jobflow.managers.fireworks import flow_to_workflow
from pymatgen.core import Lattice, Structure
from icsg3d.generation.candidates import Candidate
from icsg3d.workflows.flows import CandidateValidationMaker, ScreeningFlowMaker
from icsg3d.workflows.formation import FormationEnergyMaker
from icsg3d.workflows.jobs import ScreenMaker
from icsg3d.workflows.schemas import CandidateDoc
from icsg3d.workflows.stores import folder_store
from tests.workflows.emt_makers import FailingMaker, handed_on

crystals = [Structure(Lattice.cubic(a), [x, y], [[0, 0, 0], [0.5, 0.5, 0.5]])
            for x, y, a in (("Cu", "Au", 3.05), ("Ni", "Al", 2.9))]
energies = FormationEnergyMaker(relax_maker=FailingMaker(), static_maker=None, engine="failing", packages=[])
maker = ScreeningFlowMaker(
    screen_maker=ScreenMaker(screening={"energy_std": None}, scale_cells=False),
    validation_maker=CandidateValidationMaker(formation_energy_maker=energies),
    shard_size=1,
)
known, made = CandidateDoc.from_candidate(Candidate(0, crystals[0])), handed_on(crystals[1])
chosen = handed_on(crystals[0])
single = energies.make(chosen.output)
whole = maker.make(candidates=[known, made.output])
flow = Flow([made, chosen, single, whole], output={"rows": whole.output, "single": single.output})
store = folder_store(Path("store"))
launchpad = LaunchPad()
launchpad.reset("", require_password=False)
launchpad.add_wf(flow_to_workflow(flow, store))
rapidfire(launchpad, FWorker(), nlaunches=0, sleep_time=0, strm_lvl="CRITICAL")
states = sorted(launchpad.get_fw_by_id(number).state for number in launchpad.get_fw_ids())
rows = whole.output.resolve(store).rows
energy = single.output.resolve(store)
print("RESULT", {state: states.count(state) for state in set(states)}.get("FIZZLED"),
      sorted((row.candidate.formula_pretty, row.state) for row in rows), energy.formula_pretty, energy.state)
"""

# A design from the command line, but for its draws: handed over, run by a worker, collected. No document may be larger
# than MongoDB takes; of each kind the largest is told. One shard fails, another has a draw that cannot be made.
DESIGN = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import bson, mongomock.collection
from maggma.stores import MontyStore
LARGEST = {}
def watch(kind, name):
    original = getattr(kind, name)
    def checked(self, data, *rest, **named):
        for each in data if isinstance(data, list) else [data]:
            size = len(bson.encode(each))
            if size > 16 * 2**20:
                raise ValueError(f"a document of {size} bytes is larger than MongoDB takes")
            where = self.collection_name if isinstance(self, MontyStore) else self.name
            LARGEST[where] = max(size, LARGEST.get(where, 0))
        return original(self, data, *rest, **named)
    setattr(kind, name, checked)
watch(mongomock.collection.Collection, "insert_one")
watch(mongomock.collection.Collection, "_insert")
watch(MontyStore, "update")
for name in ("replace_one", "find_one_and_replace", "find_one_and_update", "update_one"):
    def after(self, *given, original=getattr(mongomock.collection.Collection, name), **named):
        done = original(self, *given, **named)
        for each in self._store.documents:
            size = len(bson.encode(each))
            if size > 16 * 2**20:
                raise ValueError(f"a document of {size} bytes is larger than MongoDB takes")
            LARGEST[self.name] = max(size, LARGEST.get(self.name, 0))
        return done
    setattr(mongomock.collection.Collection, name, after)
from fireworks import FWorker, LaunchPad
from fireworks.core.rocket_launcher import rapidfire
from icsg3d.runs.collect import collect
from icsg3d.runs.generate import Design
from icsg3d.runs.judged import Judging
from icsg3d.runs.submit import Submission, submit_design
from icsg3d.workflows.jobs import GenerateMaker, ScreenMaker
from tests.screening.salts import Salts, judge
def draws(_, structure, limit, ___=None):
    if limit == 80:
        raise RuntimeError("this machine is no good")
    return Salts(limit, bad=(130,))
GenerateMaker.source = draws
ScreenMaker.judge = lambda _, base=None, told=(): judge(base=base)
Design.source = lambda self, *_: Salts(self.n)
Judging.judge = lambda _, base=None, *__, **___: judge(base=base)
launchpad = LaunchPad.auto_load()
LaunchPad.auto_load = staticmethod(lambda: launchpad)  # the stand-in lives in this process
launchpad.reset("", require_password=False)
out = Path("out").resolve()
submit_design(out, Submission("fireworks", shard_size=40), judging=Judging(keep=5), n=160)
rapidfire(launchpad, FWorker(), nlaunches=1, sleep_time=0, strm_lvl="CRITICAL")
before = str(collect(out))
rapidfire(launchpad, FWorker(), nlaunches=0, sleep_time=0, strm_lvl="CRITICAL")
found = collect(out)
states = [launchpad.get_fw_by_id(number).state for number in launchpad.get_fw_ids()]
import json
result = json.loads((out / "judging.json").read_bytes())["result"]
numbers = [each.index for each in found.candidates]
sys.stderr.write(f"{LARGEST}\\n")
print("RESULT", json.dumps([before.split(":")[1].split(" have")[0].strip(), sorted(states), numbers, result, LARGEST]))
"""


def program(text, tmp_path, environment):
    """Run a program in a process of its own and return what it prints last."""
    server = tmp_path / "launchpad.json"
    server.write_text("{}")
    environment = os.environ | {"MONGOMOCK_SERVERSTORE_FILE": str(server), "PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    last = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert last, done.stderr[-2000:]
    return last[0].removeprefix("RESULT ")


@pytest.mark.slow
def test_fireworks_runs_a_design_in_small_documents_and_names_what_failed(tmp_path):
    (tmp_path / "my_launchpad.yaml").write_text("{host: localhost, port: 27017, name: fireworks}")
    (tmp_path / "jobflow.yaml").write_text(
        "JOB_STORE:\n"
        f"  docs_store: {{type: MontyStore, collection_name: outputs, database_path: {tmp_path / 'store'}}}\n"
        "  additional_stores:\n"
        f"    data: {{type: MontyStore, collection_name: data, database_path: {tmp_path / 'store'}}}\n"
    )
    (tmp_path / "store").mkdir()
    told = program(DESIGN, tmp_path, {"JOBFLOW_CONFIG_FILE": str(tmp_path / "jobflow.yaml")})
    before, states, numbers, result, largest = json.loads(told)
    assert before in {"1 of 4 shards", "0 of 4 shards"}  # the worker may begin with the one that fails
    assert states == ["COMPLETED"] * 5 + ["FIZZLED"]
    assert [(each["first"], each["last"], each["reason"]) for each in result["lost"]] == [
        (40, 79, "the job gave no result"),
        (120, 159, "RuntimeError: number 130 cannot be drawn"),
    ]
    assert (result["judged"], result["kept"]) == (80, 5)
    there = Shortlist(judge(), 5)
    there.add([drawn(number) for number in (*range(40), *range(80, 120))])
    assert numbers == [each.index for each in there.kept]
    assert {"fireworks", "launches", "workflows", "outputs", "data"} <= set(largest)
    assert max(largest.values()) < 100_000


@pytest.mark.slow
def test_fireworks_runs_the_flow_and_a_failure_sinks_nothing(tmp_path):
    # Of the candidates one is known and one is made by a job; the single formation energy is of what a job made.
    # One relaxation is marked as failed in FireWorks, where it can be rerun; both candidates have a row.
    assert program(PROGRAM, tmp_path, {}) == "1 [('AlNi', 'failed'), ('CuAu', 'finished')] CuAu finished"
