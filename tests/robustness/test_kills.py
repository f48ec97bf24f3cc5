"""A few kills of running commands; ``make kill N=100`` makes many of all."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("icsg3d_kill", Path(__file__).with_name("kill.py"))
kill = importlib.util.module_from_spec(_SPEC)
sys.modules["icsg3d_kill"] = kill
_SPEC.loader.exec_module(kill)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    kill.write_inputs(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reconstruct", "validate", "data fetch"])
def test_a_run_that_is_killed_and_resumed_ends_as_one_left_alone(name, inputs, tmp_path):
    with kill.materials_project() as address:
        found = kill.kill_often(name, 2, 0, tmp_path, inputs, address)
    assert not found.wrong
    assert found.kills == 2


def test_a_lost_row_is_seen(tmp_path, inputs, monkeypatch):
    """A run that forgets its rows when it is resumed must fail here."""

    class Forgetful(kill.Run):
        def start(self, *, resume):
            if resume:
                for path in self.folder.rglob("*.partial.jsonl"):
                    path.unlink()
            return super().start(resume=resume)

        def files(self):
            return {} if self.folder.name == "whole" else {"out.json.gz": None}

    monkeypatch.setattr(kill, "Run", Forgetful)
    monkeypatch.setattr(kill, "SIGNALS", (kill.signal.SIGKILL,))
    with kill.materials_project() as address:
        found = kill.kill_often("data fetch", 4, 0, tmp_path, inputs, address)
    assert found.wrong
