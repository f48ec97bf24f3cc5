"""A run that judges crystals from anywhere, relaxing nothing: one ranked list."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monty.json import MontyEncoder

from icsg3d.errors import InputError
from icsg3d.generation.sources import GivenCandidates
from icsg3d.report.folders import CANDIDATE_FILES, CandidateFolder, read_candidates_or_crystals
from icsg3d.report.page import write_report
from icsg3d.run_folders import run_folder
from icsg3d.runs.judged import Judged, Judging, check_result, judge_into

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.generation.candidates import Candidate

HOLDS = "screened candidates"
"""What a folder of such a run holds."""


def screen(
    crystals: Path | Sequence[Path],
    out: Path,
    judging: Judging | None = None,
    *,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    picture: bool = True,
) -> Judged:
    """Judge crystals as candidates: volume, energy, hull, charges, constraints; and rank them.

    Args:
        crystals: Files or folders of crystals, or candidates of ``icsg3d generate``.
        out: Folder of the results.
        judging: What is asked for; with ``keep`` the best of all are kept.
        device: Where the networks run.
        resume: Take up what an interrupted run left.
        overwrite: Replace what an earlier run left.
        picture: Whether to write ``report.html``.

    Raises:
        InputError: if an option or a crystal cannot be used, the folder holds another run, or nothing passes.
        Interrupted: on Ctrl-C.
    """
    judging = judging or Judging()
    judge = judging.judge(device=device)
    found = _numbered([each for path in _paths(crystals) for each in read_candidates_or_crystals(path)])
    settings = {"crystals": _digest(found)}
    with run_folder(out, CANDIDATE_FILES, settings, holds=HOLDS, resume=resume, overwrite=overwrite) as resumed:
        folder = CandidateFolder(out, settings, resume=resumed, cifs=False)
        result, shortlist = judge_into(folder, GivenCandidates(found), judge, judging.keep, stops=False)
        if picture:
            write_report(out, slices=0)
        check_result(result, shortlist, judging, "relax a constraint and repeat the command with --resume")
    return result


def _paths(crystals: Path | Sequence[Path]) -> list[Path]:
    paths = [crystals] if isinstance(crystals, Path) else list(crystals)
    if not paths:
        msg = "there are no crystals to screen; name a file or folder"
        raise InputError(msg)
    return paths


def _numbered(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates in the order of their numbers, numbered anew where these are not 0, 1, 2 ..."""
    ordered = sorted(candidates, key=lambda each: each.index)
    if [each.index for each in ordered] == list(range(len(ordered))):
        return ordered
    return [dataclasses.replace(each, index=index) for index, each in enumerate(candidates)]


def _digest(candidates: Sequence[Candidate]) -> str:
    content: Any = [candidate.as_dict() for candidate in candidates]
    return hashlib.sha256(json.dumps(content, cls=MontyEncoder, sort_keys=True).encode()).hexdigest()
