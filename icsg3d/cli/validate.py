"""``icsg3d validate``."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icsg3d.cli.console import DeviceOption, ResumeOption, check_device, escaped, fail, progress_bar, say

if TYPE_CHECKING:
    from jobflow import Flow

    from icsg3d.generation.candidates import Candidate
    from icsg3d.workflows.formation import FormationEnergyMaker
    from icsg3d.workflows.local import LocalRun
    from icsg3d.workflows.schemas import ValidationSummaryDoc

_RESULT_FILE = "validation.json.gz"
_RELAXED_FOLDER = "relaxed"
_OWN = (
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
)

_NO_SCREENING = {
    "distance_ratio": 0.0,
    "charge_neutral": False,
    "unique": False,
    "predictable": False,
    "energy_std": None,
}

_EXAMPLES = """
**Examples**

    icsg3d validate runs/demo/candidates.json.gz --engine chgnet --top 10 --out runs/validated

    icsg3d validate runs/demo/candidates.json.gz --engine gpaw --top 2 --out runs/dft

    icsg3d validate cells.json.gz --engine gpaw --fixed --no-screen --out runs/cells

    icsg3d validate candidates.json.gz --engine my_package.makers:MyRelaxMaker --out runs/mine
"""


def validate(
    candidates: Annotated[list[Path], typer.Argument(help="candidates.json.gz of icsg3d generate, or any crystals.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables.")],
    engine: Annotated[
        str, typer.Option(metavar="NAME|MODULE:MAKER", help="chgnet, gpaw, vasp, or an atomate2 maker that relaxes.")
    ] = "chgnet",
    top: Annotated[int, typer.Option(min=1, help="Candidates to validate, lowest predicted energy first.")] = 10,
    fixed: Annotated[bool, typer.Option("--fixed", help="Take the crystals as they are, relax nothing.")] = False,
    screen: Annotated[
        bool, typer.Option(help="Leave out what is too close, unbalanced, repeated or uncertain; elements never pass.")
    ] = True,
    scale_cells: Annotated[
        bool, typer.Option(help="First scale each cell to where the predicted energy is lowest.")
    ] = True,
    novel: Annotated[
        bool, typer.Option("--novel", help="Leave out compositions that the generator has learned, too.")
    ] = False,
    element: Annotated[
        list[Path] | None, typer.Option(help="Crystal of an element, as its reference; repeatable.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Candidates of one job.")] = 100,
    device: DeviceOption = "cpu",
    resume: ResumeOption = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier run left in the folder.")
    ] = False,
) -> None:
    """Relax candidates with an engine and compare its formation energies with the predicted ones: Table S1.

    Writes `table_s1.csv`, `.json`, `.md` and `.html`, `table_s3.csv`, `screening.csv`, `validation.json.gz`,
    `validation.png` and the relaxed crystals. Every candidate that is calculated has a row; a failed one says why.
    """
    from icsg3d.errors import InputError
    from icsg3d.report.folders import claim_folder

    check_device(device)
    found = _read(candidates)
    try:
        from icsg3d.workflows.flows import CandidateValidationMaker, ScreeningFlowMaker
        from icsg3d.workflows.jobs import ScreenMaker
        from icsg3d.workflows.schemas import CandidateDoc
    except ImportError as error:
        msg = f"validation needs atomate2 ({error}); install it with pip install 'icsg3d[workflows]'"
        raise InputError(msg) from error
    energies = _engine(engine, element or [], fixed=fixed)
    screening = ScreenMaker(
        screening={"novel": novel} | ({} if screen else _NO_SCREENING),
        scale_cells=scale_cells and not fixed,
        symmetry_tolerance=0.0 if fixed else 0.1,
        device=device,
    )
    maker = ScreeningFlowMaker(
        screen_maker=screening,
        validation_maker=CandidateValidationMaker(formation_energy_maker=energies),
        top=top,
        shard_size=shard_size,
    )
    flow = maker.make(candidates=[CandidateDoc.from_candidate(candidate) for candidate in found])
    settings = {
        "candidates": _digest([candidate.as_dict() for candidate in found]),
        "elements": _digest({symbol: crystal.as_dict() for symbol, crystal in energies.elements.items()}),
        "engine": energies.document().settings,
        "correction": energies.correction,
        "top": top,
        "screening": screening.screening,
        "scale_cells": screening.scale_cells,
    }
    claim_folder(out, _OWN, settings, holds="a validation", resume=resume, overwrite=overwrite)
    try:
        run = _run(flow, maker.validation_maker.name, out, min(top, len(found)))
    except KeyboardInterrupt:
        fail(f"interrupted; what was calculated is kept, repeat the command with --resume to go on in {out}", code=130)
    if run.output is None:
        reasons = "; ".join(dict.fromkeys(run.failures.values())) or "no job says why"
        raise InputError(f"the validation gave no summary ({reasons}); what was calculated is kept in {out}")
    _write(run, out)


validate.__doc__ = (validate.__doc__ or "") + _EXAMPLES


def _read(paths: list[Path]) -> list[Candidate]:
    """Return the candidates of all files, numbered anew where several files or a file itself repeat a number."""
    import dataclasses

    from icsg3d.report.folders import read_candidates_or_crystals

    together = [candidate for path in paths for candidate in read_candidates_or_crystals(path)]
    if len({candidate.index for candidate in together}) == len(together):
        return together
    return [dataclasses.replace(candidate, index=index) for index, candidate in enumerate(together)]


def _digest(content: Any) -> str:
    from monty.json import MontyEncoder

    text = json.dumps(content, cls=MontyEncoder, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _engine(name: str, element_files: list[Path], *, fixed: bool) -> FormationEnergyMaker:
    import dataclasses

    from icsg3d.crystals.structures import read_structure
    from icsg3d.errors import InputError
    from icsg3d.workflows.engines import engine_named

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


def _run(flow: Flow, name: str, out: Path, count: int) -> LocalRun:
    from icsg3d.workflows.local import run_flow
    from icsg3d.workflows.stores import chosen_store

    store = chosen_store(out / "store")
    with progress_bar() as progress:
        task = progress.add_task("validating", total=count)
        run = run_flow(
            flow,
            store,
            out / "jobs",
            started=lambda job: progress.update(task, description=job),
            finished=lambda job: progress.advance(task, int(job.startswith(f"{name} ") and "#" in job)),
        )
        progress.update(task, description="validated")
    return run


def _write(run: LocalRun, out: Path) -> None:
    from monty.json import jsanitize

    from icsg3d.files import write_atomically
    from icsg3d.report.folders import write_cif
    from icsg3d.report.validation import averages, table_s1, write_tables

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
    _say(summary, averages(table_s1(summary)), out)


def _write_screening(summary: ValidationSummaryDoc, out: Path) -> None:
    import pandas as pd

    from icsg3d.files import write_atomically

    everyone = [row.candidate for row in summary.rows] + summary.screened_out
    table = pd.DataFrame([candidate.to_candidate().row() for candidate in everyone])
    table["validated"] = [True] * len(summary.rows) + [False] * len(summary.screened_out)
    write_atomically(out / "screening.csv", table.to_csv(index=False).encode())


def _say(summary: ValidationSummaryDoc, found: Any, out: Path) -> None:
    if summary.screened_out:
        # The first reason alone, so that the numbers add up; the table has them all.
        counts = Counter(
            (candidate.screening.get("failed_on") or ["rank below --top"])[0] for candidate in summary.screened_out
        )
        reasons = ", ".join(f"{count} for {name}" for name, count in counts.items())
        say(f"[yellow]{len(summary.screened_out)} candidates were not validated: {reasons} (screening.csv)[/]")
    if not summary.rows:
        say("[yellow]no candidate is left to validate; draw more, or take them as they are with --no-screen[/]")
        return
    for row in summary.rows:
        if row.state != "finished" or row.reason:
            say(f"[yellow]{row.candidate.formula_pretty} #{row.candidate.index} {row.state}: {escaped(row.reason)}[/]")
    means = [
        f"mean {label} {value:.3g} {unit}"
        for label, value, unit in (
            ("|dE_f|", found.delta_e_form, "eV/atom"),
            ("|dBonds|", found.delta_bonds_percent, "%"),
        )
        if value is not None
    ]
    say(f"{found.finished} of {found.rows} candidates finished; {', '.join(means)} (Table S1 in [bold]{out}[/])")
