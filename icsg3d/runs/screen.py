"""A run that judges crystals from anywhere, relaxing nothing: one ranked list."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from icsg3d.data import count_crystals, iter_tables
from icsg3d.data.sources import digest_of
from icsg3d.errors import InputError, Interrupted
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.sources import GivenCandidates
from icsg3d.processors import one_thread
from icsg3d.progress import task
from icsg3d.report.folders import CANDIDATE_FILES, CandidateFolder, is_archive, read_candidates
from icsg3d.report.page import write_report
from icsg3d.run_folders import run_folder
from icsg3d.runs.judged import Judged, Judging, check_result, judge_into
from icsg3d.runs.processes import team_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from icsg3d.generation.sources import Source
    from icsg3d.screening.pipeline import Judge

HOLDS = "screened candidates"
"""What a folder of such a run holds."""


@dataclass(frozen=True)
class Given:
    """Judging of crystals that are given; it can be sent to another process.

    Attributes:
        judging: What is asked for.
    """

    judging: Judging = field(default_factory=Judging)

    def begin(self, device: str = "cpu") -> tuple[Source, Judge]:
        """Return a source of nothing, as all is given, and the judge."""
        return GivenCandidates({}, 0), self.judging.judge(device=device)


def screen(
    crystals: Path | Sequence[Path],
    out: Path,
    judging: Judging | None = None,
    *,
    device: str = "cpu",
    jobs: int | None = 1,
    resume: bool = False,
    overwrite: bool = False,
    picture: bool = True,
) -> Judged:
    """Judge crystals as candidates: volume, energy, hull, charges, constraints; and rank them.

    Crystals are read chunk by chunk (:func:`icsg3d.data.iter_tables`), so that there may be any number of them.

    Args:
        crystals: Files or folders of crystals, or candidates of ``icsg3d generate``.
        out: Folder of the results.
        judging: What is asked for; with ``keep`` the best of all are kept.
        device: Where the networks run; several, separated by commas, have a process each.
        jobs: Processes, as of :func:`icsg3d.runs.generate.generate`.
        resume: Take up what an interrupted run left.
        overwrite: Replace what an earlier run left.
        picture: Whether to write ``report.html``.

    Raises:
        InputError: if an option or a crystal cannot be used, the folder holds another run, or nothing passes.
        Interrupted: on Ctrl-C.
    """
    judging = judging or Judging()
    devices = device.split(",")
    judge = judging.judge(device=devices[0])
    paths = _paths(crystals)
    given = _numbered(paths)
    first = list(itertools.islice(given, 1))  # bad data are told before anything is written
    settings = {"crystals": digest_of(paths)}
    with run_folder(out, CANDIDATE_FILES, settings, holds=HOLDS, resume=resume, overwrite=overwrite) as resumed:
        folder = CandidateFolder(out, settings, resume=resumed, cifs=False)
        count = _take_in(folder, itertools.chain(first, given), paths)
        source = GivenCandidates(folder.drawn, count)
        with team_of(Given(judging), jobs, devices, count) as team, one_thread():
            result, shortlist = judge_into(folder, source, judge, judging.keep, team=team, also=judging.also)
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


def _take_in(folder: CandidateFolder, given: Iterator[Candidate], paths: Sequence[Path]) -> int:
    """Put crystals into the folder as they are read, and return how many there are."""
    count = 0
    try:
        with task("reading crystals", total=count_crystals(paths)) as running:
            for candidate in given:
                if candidate.index not in folder.drawn:
                    folder.add(candidate)
                count += 1
                running.advance()
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"interrupted after {count} crystals were read; repeat the command with --resume to finish"
        ) from stop
    return count


def _numbered(paths: Sequence[Path]) -> Iterator[Candidate]:
    """Yield candidates numbered from 0: as they come, or by their own numbers where these are 0, 1, 2 ..."""
    if all(is_archive(path) for path in paths):
        candidates = [each for path in paths for each in read_candidates(path)]
        ordered = sorted(candidates, key=lambda each: each.index)
        if [each.index for each in ordered] == list(range(len(ordered))):
            yield from ordered
            return
    for number, candidate in enumerate(each for path in paths for each in _crystals(path)):
        yield dataclasses.replace(candidate, index=number)


def _crystals(path: Path) -> Iterator[Candidate]:
    if is_archive(path):
        yield from read_candidates(path)
        return
    for table in iter_tables(path):
        for structure, name in zip(table.structures, table.ids, strict=True):
            yield Candidate(0, structure, source=str(name))
        for name, reason in table.skipped.items():
            yield Candidate(0, None, reason, source=str(name))
