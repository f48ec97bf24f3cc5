"""``icsg3d validate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icsg3d.cli import completion
from icsg3d.cli.console import DeviceOption, OverwriteOption, ResumeOption, bold, check_device, needs, say
from icsg3d.cli.constraints import PhasesOption
from icsg3d.cli.submitting import ProjectOption, SubmitOption, WorkerOption, check_submission, submission_of

EngineOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|MODULE:MAKER",
        autocompletion=completion.engines,
        help="chgnet, gpaw, vasp, or an atomate2 maker that relaxes.",
    ),
]


def validate(
    candidates: Annotated[list[Path], typer.Argument(help="candidates.json.gz of icsg3d generate, or any crystals.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables.")],
    engine: EngineOption = "chgnet",
    top: Annotated[
        int, typer.Option(min=1, help="Candidates to validate, nearest to the hull of known phases first.")
    ] = 10,
    fixed: Annotated[bool, typer.Option("--fixed", help="Take the crystals as they are, relax nothing.")] = False,
    screen: Annotated[
        bool, typer.Option(help="Leave out what is too close, unbalanced, repeated or uncertain; elements never pass.")
    ] = True,
    scale_cells: Annotated[
        bool, typer.Option(help="First bring each cell to its predicted equilibrium volume.")
    ] = True,
    novel: Annotated[
        bool, typer.Option("--novel", help="Leave out compositions that the generator has learned as well.")
    ] = False,
    element: Annotated[
        list[Path] | None, typer.Option(help="Crystal of an element, as its reference; repeatable.")
    ] = None,
    phases: PhasesOption = None,
    shard_size: Annotated[
        int | None,
        typer.Option(min=1, help="Candidates of one job, which finish together: 1, with --submit 100."),
    ] = None,
    device: DeviceOption = "cpu",
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    submit: SubmitOption = None,
    worker: WorkerOption = None,
    project: ProjectOption = None,
) -> None:
    """Relax candidates with an engine and compare its formation energies with the predicted ones: Table S1.

    Writes `table_s1.csv`, `.json`, `.md` and `.html`, `table_s3.csv`, `screening.csv`, `validation.json.gz`,
    `validation.png` and the relaxed crystals. Every candidate that is calculated has a row as soon as it is finished;
    a failed one says why.

    **Examples**

        icsg3d validate runs/demo/candidates.json.gz --engine chgnet --top 10 --out runs/validated

        icsg3d validate runs/demo/candidates.json.gz --engine gpaw --top 2 --out runs/dft

        icsg3d validate cells.json.gz --engine gpaw --fixed --no-screen --out runs/cells

        icsg3d validate runs/million/candidates.json.gz --engine vasp --top 200 --submit remote --out runs/vasp

        icsg3d validate candidates.json.gz --engine my_package.makers:MyRelaxMaker --out runs/mine
    """
    with needs("workflows", "validation"):
        from icsg3d.runs.validate import validate as run

    options: dict[str, Any] = {"engine": engine, "top": top, "fixed": fixed, "screen": screen, "novel": novel}
    options |= {"scale_cells": scale_cells, "elements": element or [], "phases": phases or []}
    options |= {"device": device, "overwrite": overwrite}
    submission = submission_of(submit, shard_size or 100, worker, project)
    if submission is not None:
        from icsg3d.runs.submit import submit_validation

        check_submission(resume=resume)
        say(str(submit_validation(candidates, out, submission, **options)))
        return
    check_device(device)
    found = run(candidates, out, **options, shard_size=shard_size or 1, resume=resume)
    if found.summary.rows:
        say(f"{found} (Table S1 in {bold(out)})")
