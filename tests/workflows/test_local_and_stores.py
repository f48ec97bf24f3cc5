from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from jobflow import SETTINGS, Flow, JobStore, job
from maggma.stores import JSONStore, MemoryStore

from icsg3d.errors import InputError
from icsg3d.workflows.local import run_flow
from icsg3d.workflows.stores import chosen_store, folder_store

ROOT = Path(__file__).parents[2]


@job
def double(value):
    return 2 * value


@job
def noisy():
    sys.stdout.write("a network will run on cpu")


@job
def broken(value):
    msg = f"cannot take {value}"
    raise ValueError(msg)


def test_a_store_in_a_folder_outlives_the_process(tmp_path):
    first = double(21)
    run_flow(Flow([first], output=first.output), folder_store(tmp_path / "store"), tmp_path / "jobs")
    code = (
        "import sys; from pathlib import Path; from icsg3d.workflows.stores import folder_store; "
        "print(folder_store(Path(sys.argv[1])).get_output(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store"), first.uuid]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "42"


def test_a_store_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = folder_store(Path("relative"))
    new = double(1)
    found = run_flow(Flow([new], output=new.output), store, tmp_path / "jobs")  # jobs run in folders of their own
    assert found.output == 2
    assert (tmp_path / "relative").is_dir()
    assert not list((tmp_path / "jobs").rglob("*.db"))


def test_a_store_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        folder_store(tmp_path / "file" / "store")


def test_the_settings_of_jobflow_win(tmp_path, monkeypatch):
    assert "monty" in chosen_store(tmp_path / "own").docs_store.name
    path = tmp_path / "mine.json"
    mine = JobStore(JSONStore(str(path), read_only=False), additional_stores={"data": MemoryStore()})
    monkeypatch.setattr(SETTINGS, "JOB_STORE", mine)
    assert chosen_store(tmp_path / "unused") is mine
    assert not (tmp_path / "unused").exists()


def test_settings_that_lead_nowhere_are_refused(tmp_path, monkeypatch):
    class Away(MemoryStore):
        def connect(self, *_, **__):
            msg = "nobody is there"
            raise ConnectionError(msg)

    monkeypatch.setattr(SETTINGS, "JOB_STORE", JobStore(Away()))
    with pytest.raises(InputError, match=r"cannot be reached.*nobody is there"):
        chosen_store(tmp_path)


def test_failures_are_told_and_the_rest_goes_on(store, tmp_path):
    good, bad = double(2), broken(3)
    started, finished = [], []

    def ended(*job):
        finished.append((*job, store.get_output(job[1])))

    run = run_flow(Flow([bad, good], output=good.output), store, tmp_path, started.append, ended)
    assert run.output == 4
    assert run.failures == {bad.uuid: "broken: ValueError: cannot take 3"}
    assert started == ["broken", "double"]
    assert finished == [("double", good.uuid, 4)]
    alone = broken(1)
    assert run_flow(Flow([alone], output=alone.output), store, tmp_path).output is None


def test_callbacks_may_print_and_jobs_are_quiet(store, tmp_path, capsys):
    new = noisy()
    run_flow(Flow([new], output=new.output), store, tmp_path, started=print)
    assert capsys.readouterr().out == "noisy\n"


def validate_command(candidates, out, *more):
    arguments = [str(candidates), "--engine", "tests.workflows.emt_makers:CountingMaker", "--out", str(out)]
    arguments += ["--no-screen", "--no-scale-cells", *more]
    return [sys.executable, "-c", "from icsg3d.__main__ import main; main()", "validate", *arguments]


@pytest.mark.slow
def test_a_killed_validation_goes_on_where_it_was(tmp_path, crystal):
    """Kill a real process in the middle of its calculations, start it again, and count what was calculated."""
    crystals = tmp_path / "crystals"
    crystals.mkdir()
    for first, second, edge in (("Cu", "Au", 3.05), ("Ni", "Al", 2.9), ("Pd", "Ag", 3.1)):
        crystal(first, second, edge).to(str(crystals / f"{first}{second}.cif"))
    log, out = tmp_path / "count", tmp_path / "out"
    environment = os.environ | {"COUNT_FILE": str(log), "COUNT_SECONDS": "0.8", "PYTHONPATH": str(ROOT)}
    command = validate_command(crystals, out)
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 120
        while not (log.exists() and len(log.read_text().split()) >= 8):  # six elements, one candidate, the next
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = log.read_text().split()
    rows = pd.read_csv(out / "table_s1.csv")
    assert rows["formula"].tolist() == [before[6]]
    assert rows["state"].tolist() == ["finished"]

    environment["COUNT_SECONDS"] = "0"
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--resume" in done.stderr
    subprocess.run([*command, "--resume"], env=environment, cwd=ROOT, check=True, capture_output=True)
    after = log.read_text().split()
    everything = ["Cu", "Au", "Ni", "Al", "Pd", "Ag", "CuAu", "AlNi", "AgPd"]
    # What was being calculated when the process died is calculated again, and nothing else.
    assert sorted(after) == sorted([*everything, before[-1]])
    rows = json.loads(gzip.decompress((out / "validation.json.gz").read_bytes()))["rows"]
    assert [row["state"] for row in rows] == ["finished"] * 3
