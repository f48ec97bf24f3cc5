"""The results of a flow that a manager has, written as the run on this machine writes them."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobflow import OutputReference

from icsg3d.errors import InputError
from icsg3d.files import locked, saving, write_atomically
from icsg3d.report.folders import JUDGING_FILE, SUBMITTED_FILE, write_ranked
from icsg3d.report.page import write_report
from icsg3d.runs.judged import Judged
from icsg3d.runs.submit import NAMES
from icsg3d.runs.validate import Validated, log_states, write_results
from icsg3d.workflows.local import LocalRun
from icsg3d.workflows.schemas import SelectionDoc, ValidationSummaryDoc
from icsg3d.workflows.stores import common_store

if TYPE_CHECKING:
    from pathlib import Path

    from jobflow import JobStore

_TOGETHER = 1000
"""Shards that are asked for together."""

_SHOWN = 4
"""Reasons that a sentence names."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """A flow whose result is not there yet.

    Attributes:
        manager: Which has it.
        finished: How many shards, or jobs, have finished.
        shards: How many shards there are; 0 where it is not known how many jobs there will be.
    """

    manager: str
    finished: int
    shards: int

    def __str__(self) -> str:
        """Return how far it is in a sentence."""
        told = f"{self.finished} of {self.shards} shards" if self.shards else f"{self.finished} jobs"
        asked = "jf job list" if self.manager == "remote" else "lpad get_fws -d count -s FIZZLED"
        left = ", which are still to be merged" if self.shards and self.finished >= self.shards else ""
        return (
            f"the result is not there yet: {told} have finished{left}; {NAMES[self.manager]} tells of failures "
            f"({asked}), repeat icsg3d collect later"
        )


def collect(folder: Path) -> Waiting | Judged | Validated:
    """Write the results of a flow that was handed to a manager, if they are there.

    Args:
        folder: That of ``--out`` when it was handed over.

    Raises:
        InputError: if the folder holds no such record, or the store cannot be reached.
    """
    record = _record(folder)
    store = _store(record)
    found = _result(record, store)
    if found is None:
        shards = record["shards"]
        finished = _finished(store, shards) if shards else store.count({"hosts": record["flow"]})
        return Waiting(record["manager"], finished, len(shards))
    with locked(folder):
        if isinstance(found, SelectionDoc):
            return write_selection(folder, found)
        with saving(folder):
            write_results(LocalRun(found), folder)
        write_report(folder, slices=0)
    log_states(found)
    return Validated(folder, found)


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / SUBMITTED_FILE).read_bytes())
        for name in ("manager", "project", "flow", "result", "shards"):
            record[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds no run that was handed to a manager; name the --out of generate or validate with --submit"
        ) from error
    return record


def _store(record: dict[str, Any]) -> JobStore:
    """Return the store of the results: that of the jobflow settings, or of the project of jobflow-remote."""
    if record["manager"] != "remote":
        return common_store()
    try:
        from jobflow_remote import get_jobstore

        store = get_jobstore(record["project"])
    except ImportError as error:
        raise InputError(
            f"jobflow-remote cannot be imported ({error}); install it with pip install jobflow-remote"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"jobflow-remote has no project {record['project'] or 'to take'} ({reason}); set it up on this machine too"
        ) from error
    return common_store(store)


def _result(record: dict[str, Any], store: JobStore) -> SelectionDoc | ValidationSummaryDoc | None:
    """Return the document of the result; None if it is not there yet."""
    last = store.query_one({"uuid": record["result"]}, ["output"], sort={"index": -1})
    if last is None or last.get("output") is None:  # a job that replaced itself has no output of its own
        return None
    found = OutputReference(record["result"]).resolve(store)
    if not isinstance(found, SelectionDoc | ValidationSummaryDoc):
        raise InputError(f"the store holds something else than the result of {record['flow']}; submit it anew")
    return found


def _finished(store: JobStore, shards: list[str]) -> int:
    parts = (shards[first : first + _TOGETHER] for first in range(0, len(shards), _TOGETHER))
    return sum(store.count({"uuid": {"$in": part}}) for part in parts)


def write_selection(folder: Path, found: SelectionDoc) -> Judged:
    """Write what was selected as ``icsg3d generate`` writes what it keeps.

    Args:
        folder: Where.
        found: The best candidates, and what came of the others in numbers.

    Raises:
        InputError: if something cannot be written.
    """
    kept = found.candidates()
    write_ranked(folder, lambda: kept, len(kept))
    lost = [each.model_dump() for each in found.lost]
    result = {"judged": found.judged, "passed": found.passed, "kept": found.kept, "refused_for": found.refused_for}
    content = {"judge": found.judge, "keep": found.keep, "result": result | ({"lost": lost} if lost else {})}
    with saving(folder):
        text = json.dumps(content, indent=1, default=lambda each: each.as_dict())
        write_atomically(folder / JUDGING_FILE, text.encode())
    write_report(folder, slices=0)
    for each in found.lost:
        _log.warning("draws %d to %d could not be judged (%s)", each.first, each.last, each.reason)
    if found.keep is not None and found.kept < found.keep:
        _log.warning(
            "only %d of %d candidates are kept; relax a constraint, or allow more draws", found.kept, found.keep
        )
    return Judged(folder, found.kept, _described(found))


def _described(found: SelectionDoc) -> str:
    share = f" ({found.passed / found.judged:.0%})" if found.judged else ""
    told = f"{found.passed} of {found.judged} passed{share}, repeats counted"
    most = sorted(found.refused_for.items(), key=lambda each: -each[1])[:_SHOWN]
    return f"{told}; refused for {', '.join(f'{name} {count}' for name, count in most)}" if most else told
