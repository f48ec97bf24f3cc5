"""Signals and streams: whatever ends a command, it says so in a sentence or keeps quiet; what was finished stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

STARTING = 60
"""Seconds in which a command has begun to write."""


def begin(*arguments, **options):
    # A shell may have what it starts in the background ignore signals; the command is to hear them.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "signal.signal(signal.SIGHUP, signal.SIG_DFL); sys.argv[0] = 'icsg3d'; "
    command = [sys.executable, "-c", f"{code}from icsg3d.__main__ import main; main()", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


def test_a_signal_during_the_imports_ends_in_a_sentence():
    # The search for one of the command line's own modules is when it comes.
    code = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "icsg3d.cli.generate":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder())
from icsg3d.__main__ import main
main()
"""
    run = subprocess.run([sys.executable, "-c", code, "models"], capture_output=True, text=True, check=False)
    assert run.returncode == 143
    assert run.stderr == "Error: interrupted\n"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_that_can_be_resumed(tmp_path, tiny_model, number, code):
    out = tmp_path / "out"
    arguments = ("generate", "-n", 3000, "--model", tiny_model, "--no-picture", "--out", out)
    with begin(*arguments) as run:
        until = time.monotonic() + STARTING
        while not (out / "candidates.partial.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.05)
        run.send_signal(number)
        said = run.communicate()[1]
    assert run.returncode == code, said
    assert "Traceback" not in said
    assert "repeat the command with --resume" in " ".join(said.split())
    assert (out / "candidates.csv").exists()
    assert not (out / ".lock").exists()


def test_an_output_that_nobody_reads_ends_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    with begin("models", stdout=writing) as run:
        os.close(writing)
        said = run.communicate()[1]
    assert run.returncode == 141
    assert said == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_disk_behind_the_output_is_named():
    with open("/dev/full", "w") as full, begin("models", stdout=full) as run:  # noqa: PTH123
        said = run.communicate()[1]
    assert run.returncode == 2
    assert "No space left on device" in said
    assert "Traceback" not in said
