"""Flows on this machine, one job after the other, with progress, and without stopping at a job that fails."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobflow import run_locally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jobflow import Flow, JobStore

_STARTED = re.compile(r"Starting job - (?P<name>.*) \((?P<uuid>[^,()]+)(?:, \d+)?\)$")
_FINISHED = re.compile(r"Finished job - (?P<name>.*) \((?P<uuid>[^,()]+)(?:, \d+)?\)$")
_FAILED = re.compile(r"(?P<name>.*) failed with exception:\n(?P<trace>.*)", re.DOTALL)

_LONGEST = 300
"""Characters of a reason that are shown."""


@dataclass
class LocalRun:
    """What came of a flow.

    Attributes:
        output: Of the flow; None where the job that makes it failed.
        failures: Reasons of jobs that failed, by uuid.
    """

    output: Any
    failures: dict[str, str] = field(default_factory=dict)


class _Listener(logging.Handler):
    """Reads from jobflow's log, its only word on single jobs, which began, ended or failed, and why."""

    def __init__(self, started: Callable[[str], None], finished: Callable[[str, str], None]) -> None:
        super().__init__(logging.INFO)
        self._started, self._finished = started, finished
        self._current = ""
        self._stdout = sys.stdout  # that of the caller, which the jobs do not get
        self.failures: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.redirect_stdout(self._stdout):
            self._tell(record.getMessage())

    def _tell(self, text: str) -> None:
        if found := _STARTED.match(text):
            self._current = found["uuid"]
            self._started(found["name"])
        elif found := _FINISHED.match(text):
            self._finished(found["name"], found["uuid"])
        elif found := _FAILED.match(text):
            self.failures[self._current] = f"{found['name']}: {_cause(found['trace'])}"


def _cause(trace: str) -> str:
    """Return the exception of a traceback in one line: what follows its last frame, which is indented."""
    lines = trace.strip().splitlines()
    last = max((number for number, line in enumerate(lines) if line.startswith("  ")), default=-1)
    text = " ".join(" ".join(lines[last + 1 :] or lines[-1:]).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


@contextlib.contextmanager
def _listening(listener: _Listener) -> Iterator[None]:
    logger = logging.getLogger("jobflow")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagate


def run_flow(
    flow: Flow,
    store: JobStore,
    folder: Path,
    started: Callable[[str], None] = lambda _: None,
    finished: Callable[[str, str], None] = lambda *_: None,
) -> LocalRun:
    """Run a flow here. What it calculated is in the store, so that running it again takes up where it stopped.

    Args:
        flow: What to run.
        store: Where results are kept.
        folder: In which each job gets a folder of its own.
        started: Called with the name of each job that begins.
        finished: Called with the name and the uuid of each job that ends well, once its output is in the store.
    """
    listener = _Listener(started, finished)
    folder.mkdir(parents=True, exist_ok=True)
    with _listening(listener), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # force fields and spglib's callers are talkative
        run_locally(flow, log=False, store=store, create_folders=True, root_dir=folder)
    return LocalRun(_output(flow, store), listener.failures)


def _output(flow: Flow, store: JobStore) -> Any:
    try:
        return flow.output.resolve(store)
    except ValueError:  # the job has no output: it failed, or what it stands on did
        return None
