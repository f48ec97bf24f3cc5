"""``icsg3d screen``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icsg3d.cli.console import DeviceOption, JobsOption, OverwriteOption, ResumeOption, bold, check_devices, say
from icsg3d.cli.constraints import judged


@judged
def screen(
    crystals: Annotated[list[Path], typer.Argument(help="Files or folders of crystals, or candidates.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    judging: Any,
    device: DeviceOption = "cpu",
    jobs: JobsOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    picture: Annotated[bool, typer.Option(help="Write report.html.")] = True,
) -> None:
    """Judge crystals from anywhere as candidates and rank them, relaxing nothing.

    Each cell is brought to its equilibrium volume; formation energy, energy above the hull of known phases, oxidation
    states and symmetry follow. Writes `candidates.csv` and `candidates.parquet` with a row for each crystal, in the
    order of rank; where it was refused the row says why. `candidates.json.gz` and `cifs/` hold those that are kept,
    `report.html` shows them, `judging.json` tells the criteria. Crystals are read chunk by chunk.

    **Examples**

        icsg3d screen my_crystals/ --out runs/screened

        icsg3d screen generated.json.gz --hull 0.1 --band-gap 1.2:1.8 --exclude-elements Pb,Cd --keep 20 --out runs/pv
    """
    from icsg3d.runs.screen import screen as run

    check_devices(device)
    found = run(crystals, out, judging, device=device, jobs=jobs, resume=resume, overwrite=overwrite, picture=picture)
    say(f"{found}, in {bold(out)}")
