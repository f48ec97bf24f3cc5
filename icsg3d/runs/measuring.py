"""Folders of evaluations: what was measured is kept row by row, figures and tables are written last."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from icsg3d.errors import Interrupted
from icsg3d.files import saving, write_atomically
from icsg3d.progress import track
from icsg3d.report.folders import REPORT_FILE
from icsg3d.report.page import write_report
from icsg3d.run_folders import PartialRows, run_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@contextmanager
def measuring(out: Path, name: str, settings: dict[str, Any], *, resume: bool) -> Iterator[PartialRows]:
    """Claim the folder of an evaluation, and keep finished rows until it has ended."""
    own = [f"{name}.json", f"{name}.csv", f"{name}.png", "figure_s2.png", f"{name}.partial.jsonl", REPORT_FILE]
    with run_folder(out, own, settings, holds=f"an evaluation: {name}", resume=resume, overwrite=not resume):
        partial = PartialRows(out / f"{name}.partial.jsonl", settings)
        partial.begin(resume=resume)
        try:
            yield partial
        except KeyboardInterrupt as stop:
            raise Interrupted(
                f"interrupted; what was finished is kept in {out}, repeat the command with --resume to finish"
            ) from stop
        partial.remove()
        write_report(out, slices=0)


def each_kept(numbers: Sequence[int], work: Callable[[int], Any], partial: PartialRows, text: str) -> list[Any]:
    """Return the row of each number; those that an earlier run has finished are taken from it."""
    missing = [number for number in numbers if number not in partial.rows]
    for number in track(missing, text, len(numbers), len(numbers) - len(missing)):
        partial.add(number, work(number))
    return [partial.rows[number] for number in numbers]


def write_results(out: Path, name: str, figures: dict[str, Any], table: str) -> None:
    """Write the table and the figures of an evaluation, ``NAME.csv`` and ``NAME.json``."""
    with saving(out):
        write_atomically(out / f"{name}.csv", table.encode())
    write_figures(out, name, figures)


def write_figures(out: Path, name: str, figures: dict[str, Any]) -> None:
    """Write ``NAME.json``, figures by name."""
    with saving(out):
        write_atomically(out / f"{name}.json", json.dumps(figures, indent=1).encode())
