"""``icsg3d reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from icsg3d.cli.console import (
    DeviceOption,
    ModelOption,
    ProcessesOption,
    ResumeOption,
    SymmetryOption,
    bold,
    check_device,
    say,
)
from icsg3d.defaults import GENERATOR


def reconstruct(
    data: Annotated[Path, typer.Option(help="Crystals: table, database, crystal file or folder.")],
    out: Annotated[Path, typer.Option(help="Table to write: .json, .json.gz, .jsonl, .jsonl.gz or .parquet.")],
    model: ModelOption = GENERATOR,
    device: DeviceOption = "cpu",
    symmetry: SymmetryOption = 0.25,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first crystals.")] = None,
    jobs: ProcessesOption = -1,
    resume: ResumeOption = False,
) -> None:
    """Encode crystals and decode them again.

    Writes a dataframe in matminer's format, JSON lines or Parquet with the columns `material_id`, `structure` (null
    where the crystal could not be encoded or decoded) and `reason`.

    **Examples**

        icsg3d reconstruct --data crystals.json.gz --out rebuilt.json.gz

        icsg3d reconstruct --data folder_of_cifs --out rebuilt.json.gz --model runs/my-model/model
    """
    from icsg3d.runs.reconstruct import reconstruct as run

    check_device(device)
    made = run(data, out, model=model, device=device, symmetry=symmetry, limit=limit, jobs=jobs, resume=resume)
    say(f"{made}, in {bold(out)}; icsg3d evaluate reconstruction --rebuilt says how like them they are")
