"""The screening flow as a FireWorks workflow, run by FireWorks on its embedded stand-in for MongoDB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_fireworks_runs_the_flow_and_a_failure_sinks_nothing(tmp_path):
    server = tmp_path / "launchpad.json"
    server.write_text("{}")
    environment = os.environ | {"MONGOMOCK_SERVERSTORE_FILE": str(server), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    last = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert last, done.stderr[-2000:]
    # Of the candidates one is known and one is made by a job; the single formation energy is of what a job made.
    # One relaxation is marked as failed in FireWorks, where it can be rerun; both candidates have a row.
    assert last == ["RESULT 1 [('AlNi', 'failed'), ('CuAu', 'finished')] CuAu finished"]
