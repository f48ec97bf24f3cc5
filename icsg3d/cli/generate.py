"""``icsg3d generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icsg3d.cli.console import (
    DeviceOption,
    JobsOption,
    ModelOption,
    OverwriteOption,
    ResumeOption,
    SymmetryOption,
    bold,
    check_devices,
    say,
)
from icsg3d.cli.constraints import judged
from icsg3d.cli.submitting import (
    ProjectOption,
    ShardSizeOption,
    SubmitOption,
    WorkerOption,
    check_submission,
    submission_of,
)
from icsg3d.defaults import GENERATOR

BaseOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|FORMULA",
        help="Crystal to start from: a file, or a formula such as NaCl, SrTiO3, TiNiSn or Cs2AgBiBr6. Without it, "
        "draws are free.",
    ),
]
DrawsOption = Annotated[
    int | None,
    typer.Option(
        "-n", "--n", help="Number of draws: 20. With --keep, until twice as many pass, at most 50 for each one kept."
    ),
]
ScaleOption = Annotated[
    float,
    typer.Option(
        help="Noise level around the base: near 0 the base itself, up to 1 further and further away. With --keep and "
        "no -n it rises by 0.1 every 250 draws from the 500th on, as a small crystal has few near neighbours."
    ),
]
ConditionOption = Annotated[
    float | None,
    typer.Option(
        help="Energy per atom to ask for, in eV (without a base). The model knows ten ranges and takes the one in "
        "which it lies, which is printed."
    ),
]


@judged
def generate(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    judging: Any,
    base: BaseOption = None,
    n: DrawsOption = None,
    by: Annotated[str, typer.Option(help="generator, or exchange: of elements on the base.")] = "generator",
    scale: ScaleOption = 0.65,
    condition: ConditionOption = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same crystals.")] = 0,
    model: ModelOption = GENERATOR,
    device: DeviceOption = "cpu",
    jobs: JobsOption = None,
    symmetry: SymmetryOption = 0.25,
    judge: Annotated[bool, typer.Option(help="Size, judge and rank what was drawn; else leave it as decoded.")] = True,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    picture: Annotated[bool, typer.Option(help="Draw the first crystals and their grids.")] = True,
    submit: SubmitOption = None,
    shard_size: ShardSizeOption = None,
    worker: WorkerOption = None,
    project: ProjectOption = None,
) -> None:
    """Design new crystals around a given one, or freely, and rank them; with --keep, until twice as many pass.

    Writes `candidates.csv` and `candidates.parquet` with a row for each draw in the order of rank; where it was refused
    the row says why. `candidates.json.gz` and `cifs/` hold those that are kept; `candidates.png` and `report.html` show
    them, `judging.json` tells the criteria.

    **Examples**

        icsg3d generate --base SrTiO3 -n 20 --out runs/strontium-titanate

        icsg3d generate --base CsPbI3 --exclude-elements Pb --formula ABX3 --band-gap 1.2:1.8 --keep 20 --out runs/pv

        icsg3d generate -n 100000 --elements Li,Na,K,F,Cl,Br,O,S --hull 0.05 --keep 500 --out runs/many

        icsg3d generate -n 1000000 --hull 0.05 --keep 1000 --submit fireworks --out runs/million

        icsg3d generate -n 1000 --condition -1.5 --no-judge --out runs/draws
    """
    from icsg3d.runs.generate import generate as run

    given: dict[str, Any] = {"n": n, "by": by, "scale": scale, "condition": condition, "seed": seed, "model": model}
    given |= {"device": device, "symmetry": symmetry, "judged": judge, "overwrite": overwrite}
    submission = submission_of(submit, shard_size, worker, project)
    if submission is not None:
        from icsg3d.runs.submit import submit_design

        check_submission(resume=resume)
        say(str(submit_design(out, submission, base, judging, **given)))
        return
    check_devices(device)
    found = run(out, base, judging, **given, jobs=jobs, picture=picture, resume=resume)
    say(f"{found}, in {bold(out)}")
