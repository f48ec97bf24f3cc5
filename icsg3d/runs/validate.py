"""A run that relaxes candidates with an engine and compares its energies with the predicted ones: Table S1."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import logging
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jobflow import OutputReference
from monty.json import MontyEncoder, jsanitize

from icsg3d.crystals.structures import read_structure
from icsg3d.errors import InputError, Interrupted
from icsg3d.files import saving, write_atomically
from icsg3d.hull import read_phases
from icsg3d.progress import task
from icsg3d.report.folders import REPORT_FILE, SUBMITTED_FILE, read_candidates_or_crystals, write_cif
from icsg3d.report.page import write_report
from icsg3d.report.validation import averages, table_s1, write_rows, write_tables
from icsg3d.run_folders import run_folder
from icsg3d.workflows.engines import engine_named
from icsg3d.workflows.flows import CandidateValidationMaker, ScreeningFlowMaker
from icsg3d.workflows.jobs import ScreenMaker
from icsg3d.workflows.jobs import summary as summary_of
from icsg3d.workflows.local import run_flow
from icsg3d.workflows.schemas import CandidateDoc, CandidatesDoc, ValidationDoc, ValidationSummaryDoc
from icsg3d.workflows.stores import chosen_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import Flow

    from icsg3d.generation.candidates import Candidate
    from icsg3d.hull import Phase
    from icsg3d.workflows.formation import FormationEnergyMaker
    from icsg3d.workflows.local import LocalRun

_RESULT_FILE = "validation.json.gz"
_RELAXED_FOLDER = "relaxed"
OWN = (
    "store",
    "jobs",
    "table_s1.csv",
    "table_s1.json",
    "table_s1.md",
    "table_s1.html",
    "table_s3.csv",
    "screening.csv",
    "validation.png",
    _RESULT_FILE,
    _RELAXED_FOLDER,
    REPORT_FILE,
    SUBMITTED_FILE,
)

HOLDS = "a validation"
"""What a folder of such a run holds."""

_NO_SCREENING = {
    "distance_ratio": 0.0,
    "charge_neutral": False,
    "unique": False,
    "predictable": False,
    "energy_std": None,
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validated:
    """What came of a run.

    Attributes:
        folder: Of the results.
        summary: The validated candidates, and those that were screened out.
    """

    folder: Path
    summary: ValidationSummaryDoc

    def __str__(self) -> str:
        """Return counts and mean errors in a sentence."""
        found = averages(table_s1(self.summary))
        means = [
            f"mean {label} {value:.3g} {unit}"
            for label, value, unit in (
                ("|dE_f|", found.delta_e_form, "eV/atom"),
                ("|dBonds|", found.delta_bonds_percent, "%"),
            )
            if value is not None
        ]
        return f"{found.finished} of {found.rows} candidates finished; {', '.join(means)}"


def validate(
    candidates: Path | Sequence[Path],
    out: Path,
    *,
    engine: str = "chgnet",
    top: int = 10,
    fixed: bool = False,
    screen: bool = True,
    scale_cells: bool = True,
    novel: bool = False,
    elements: Sequence[Path] = (),
    phases: Sequence[Path] = (),
    shard_size: int = 1,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
) -> Validated:
    """Relax candidates with an engine and compare its formation energies with the predicted ones.

    The tables of the folder hold each row as soon as it is finished.

    Args:
        candidates: Files of candidates, or any crystals.
        out: Folder of the results.
        engine: ``chgnet``, ``gpaw``, ``vasp``, or ``module:Maker`` of an atomate2 maker that relaxes.
        top: Candidates to validate, nearest to the hull of known phases first.
        fixed: Take the crystals as they are, relax nothing.
        screen: Leave out what is too close, unbalanced, repeated or uncertain.
        scale_cells: First bring each cell to its predicted equilibrium volume.
        novel: Also leave out compositions that the generator has learned.
        elements: Crystals of elements, as their references.
        phases: Files of phases to add to the hull.
        shard_size: Candidates of one job. Their rows are written together, as their calculations go step by step.
        device: Where the networks run.
        resume: Take up what an interrupted run left.
        overwrite: Replace what an earlier run left.

    Raises:
        InputError: if an option or a crystal cannot be used, or no job gave a summary.
        Interrupted: on Ctrl-C; finished calculations are kept.
    """
    ways = {"fixed": fixed, "screen": screen, "scale": scale_cells, "novel": novel}
    planned = plan(candidates, engine, top, elements, shard_size, device, phases=phases, **ways)
    maker, count = planned.maker, min(top, planned.count)
    with run_folder(out, OWN, planned.settings, holds=HOLDS, resume=resume, overwrite=overwrite):
        run = _summarised(planned.flow, maker, out, count)
        with saving(out):
            write_results(run, out)
        write_report(out, slices=0)
    log_states(run.output)
    return Validated(out, run.output)


@dataclass(frozen=True)
class Plan:
    """What a validation does.

    Attributes:
        maker: Of the flow.
        flow: From the candidates to the summary.
        count: How many candidates there are.
        settings: What makes the run what it is.
    """

    maker: ScreeningFlowMaker
    flow: Flow
    count: int
    settings: dict[str, Any]


def plan(
    candidates: Path | Sequence[Path],
    engine: str,
    top: int,
    elements: Sequence[Path],
    shard_size: int,
    device: str,
    *,
    phases: Sequence[Path] = (),
    fixed: bool,
    screen: bool,
    scale: bool,
    novel: bool,
) -> Plan:
    """Return what a validation does; arguments as of :func:`validate`, ``scale`` for ``scale_cells``.

    Raises:
        InputError: if an option or a crystal cannot be used.
    """
    found = _read([candidates] if isinstance(candidates, Path) else candidates)
    energies = _engine(engine, elements, fixed=fixed)
    added = [phase for path in phases for phase in read_phases(Path(path))]
    files = [str(Path(path).resolve()) for path in phases]  # jobs run in folders of their own
    maker = ScreeningFlowMaker(
        screen_maker=ScreenMaker(
            screening={"novel": novel} | ({} if screen else _NO_SCREENING),
            scale_cells=scale and not fixed,
            symmetry_tolerance=0.0 if fixed else 0.1,
            device=device,
            phases=files,
        ),
        validation_maker=CandidateValidationMaker(formation_energy_maker=energies),
        top=top,
        shard_size=shard_size,
    )
    flow = maker.make(candidates=[CandidateDoc.from_candidate(candidate) for candidate in found])
    return Plan(maker, flow, len(found), _settings(found, energies, maker, added))


def _read(paths: Sequence[Path]) -> list[Candidate]:
    """Return the candidates of all files, numbered anew where several files or a file itself repeat a number."""
    together = [candidate for path in paths for candidate in read_candidates_or_crystals(path)]
    if len({candidate.index for candidate in together}) == len(together):
        return together
    return [dataclasses.replace(candidate, index=index) for index, candidate in enumerate(together)]


def _engine(name: str, element_files: Sequence[Path], *, fixed: bool) -> FormationEnergyMaker:
    if ":" in name:  # a maker may stand in a file of the working folder, as with python -m
        sys.path.insert(0, str(Path.cwd()))
    maker = engine_named(name)
    for path in element_files:
        structure = read_structure(path)
        if len(structure.composition) != 1:
            raise InputError(f"{path} holds {structure.formula}, not an element; give the crystal of one")
        maker.elements[structure.composition.elements[0].symbol] = structure
    if not fixed:
        return maker
    if maker.static_maker is None:
        raise InputError(f"the engine {name} can only relax; leave out --fixed, or name an engine with a static maker")
    return dataclasses.replace(maker, relax_maker=None)


def _settings(
    found: Sequence[Candidate], energies: FormationEnergyMaker, maker: ScreeningFlowMaker, phases: Sequence[Phase]
) -> dict[str, Any]:
    settings = {
        "candidates": _digest([candidate.as_dict() for candidate in found]),
        "elements": _digest({symbol: crystal.as_dict() for symbol, crystal in energies.elements.items()}),
        "engine": energies.document().settings,
        "correction": energies.correction,
        "top": maker.top,
        "screening": maker.screen_maker.screening,
        "scale_cells": maker.screen_maker.scale_cells,
    }
    return settings | ({"phases": _digest(sorted(phases))} if phases else {})


def _digest(content: Any) -> str:
    text = json.dumps(content, cls=MontyEncoder, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _summarised(flow: Flow, maker: ScreeningFlowMaker, out: Path, count: int) -> LocalRun:
    """Run a flow to its summary.

    Raises:
        InputError: if no job gave a summary.
        Interrupted: on Ctrl-C.
    """
    try:
        run = _run(flow, maker, out, count)
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"interrupted; what was calculated is kept, repeat the command with --resume to finish {out}"
        ) from stop
    if run.output is None:
        reasons = "; ".join(dict.fromkeys(run.failures.values())) or "no job says why"
        raise InputError(f"the validation gave no summary ({reasons}); what was calculated is kept in {out}")
    return run


def _run(flow: Flow, maker: ScreeningFlowMaker, out: Path, count: int) -> LocalRun:
    store = chosen_store(out / "store")
    screening = next(job for job in flow.jobs if job.name == maker.screen_maker.name)
    prefix = f"{maker.validation_maker.name} "
    here = out.absolute()  # jobs run in folders of their own
    rows = _RowsSoFar(here)
    with task("validating", total=count) as running:

        def finished(job: str, uuid: str) -> None:
            if uuid == screening.uuid:  # before the first relaxation begins
                rows.chosen = _write_screened(screening.output.resolve(store), maker.top, here)
            if job.startswith(prefix) and "#" in job:
                rows.add(OutputReference(uuid).resolve(store))
                running.advance()
                _log.info("%s is finished", job.removeprefix(prefix))

        run = run_flow(flow, store, out / "jobs", started=lambda job: running.update(text=job), finished=finished)
        running.update(text="validated")
    return run


class _RowsSoFar:
    """The tables of a run while it goes on: a run that is killed leaves the rows that were finished.

    Args:
        folder: Of the run.

    Attributes:
        chosen: Indices of the candidates that are validated, in the order of their rows.
    """

    def __init__(self, folder: Path) -> None:
        self.chosen: list[int] = []
        self._folder = folder
        self._rows: list[ValidationDoc] = []
        table = folder / "table_s1.csv"
        # A resumed run goes through what it has anew; until it is as far, the tables of the earlier one tell more.
        self._there = len(table.read_bytes().splitlines()) - 1 if table.is_file() else 0

    def add(self, row: ValidationDoc) -> None:
        """Write the tables with a row that is finished; what cannot be written now is tried again with the next."""
        self._rows.append(row)
        if len(self._rows) < self._there:
            return
        self._rows.sort(key=lambda each: self.chosen.index(each.candidate.index))
        left = len(self.chosen) - len(self._rows)
        try:
            write_rows(summary_of(self._rows, row.engine), self._folder, left)
        except OSError as error:  # not the fault of the candidate
            _log.warning("%s: the tables cannot be written yet (%s)", self._folder, error.strerror or error)


def _write_screened(screened: CandidatesDoc, top: int, out: Path) -> list[int]:
    """Write ``screening.csv`` of what is going to be validated, and of what is not; return the indices of the first."""
    passed = [each for each in screened.candidates if each.screening.get("passed")]
    rest = [each for each in screened.candidates if not each.screening.get("passed")]
    _write_table([*passed, *rest], min(top, len(passed)), out)
    return [each.index for each in passed[:top]]


def write_results(run: LocalRun, out: Path) -> None:
    """Write tables, documents and relaxed crystals of what was validated."""
    summary: ValidationSummaryDoc = run.output
    for row in summary.rows:
        causes = [run.failures[job] for job in row.task_ids.values() if job in run.failures]
        if causes:
            row.reason = f"{row.reason} ({'; '.join(causes)})"
    document = json.dumps(jsanitize(summary, strict=True, enum_values=True)).encode()
    write_atomically(out / _RESULT_FILE, gzip.compress(document, mtime=0))
    _write_screening(summary, out)
    relaxed = out / _RELAXED_FOLDER
    relaxed.mkdir(exist_ok=True)
    for row in summary.rows:
        if row.relaxed is not None:
            write_cif(relaxed, row.candidate.index, row.relaxed)
    write_tables(summary, out)


def _write_screening(summary: ValidationSummaryDoc, out: Path) -> None:
    everyone = [row.candidate for row in summary.rows] + summary.screened_out
    _write_table(everyone, len(summary.rows), out)


def _write_table(everyone: Sequence[CandidateDoc], validated: int, out: Path) -> None:
    table = pd.DataFrame([candidate.to_candidate().row() for candidate in everyone])
    table["validated"] = [row < validated for row in range(len(everyone))]
    write_atomically(out / "screening.csv", table.to_csv(index=False).encode())


def log_states(summary: ValidationSummaryDoc) -> None:
    """Log what was not validated, and what did not finish."""
    if summary.screened_out:
        # The first reason alone, so that the numbers add up; the table has them all.
        counts = Counter(
            (candidate.screening.get("failed_on") or ["rank below --top"])[0] for candidate in summary.screened_out
        )
        reasons = ", ".join(f"{count} for {name}" for name, count in counts.items())
        _log.warning("%d candidates were not validated: %s (screening.csv)", len(summary.screened_out), reasons)
    if not summary.rows:
        _log.warning("no candidate is left to validate; draw more, or take them as they are with --no-screen")
    for row in summary.rows:
        if row.state != "finished" or row.reason:
            name = f"{row.candidate.formula_pretty} #{row.candidate.index}"
            _log.warning("%s %s: %s", name, row.state, row.reason)
