"""What ``generate`` and ``screen`` share: candidates judged as they come, into one ranked list."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from icsg3d.errors import InputError, Interrupted
from icsg3d.files import saving, write_atomically
from icsg3d.report.database import FORMATS, write_also
from icsg3d.report.folders import JUDGING_FILE, read_candidates
from icsg3d.report.tables import RESULT_FILE
from icsg3d.screening.constraints import Constraints
from icsg3d.screening.pipeline import Judge
from icsg3d.screening.screen import Screening
from icsg3d.screening.shortlist import Shortlist, fill

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from icsg3d.crystals.display import CrystalList
    from icsg3d.generation.candidates import Candidate
    from icsg3d.generation.sources import Source
    from icsg3d.report.folders import CandidateFolder
    from icsg3d.screening.batches import Team

TOLD = ("band_gap",)
"""Properties that are predicted of what is kept, whatever is asked for."""

_TABLES_AT_ONCE = 10_000
"""Candidates of an interrupted run whose tables are written before it ends."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judging:
    """What a run asks of candidates.

    Attributes:
        constraints: That every one has to meet.
        keep: How many are wanted; None for all that pass.
        above_hull: Largest energy above the hull in eV/atom; None for any.
        novel: Leave out known compositions.
        phases: Files of phases to add to the hull.
        properties: To predict of what is kept, beside the band gap and what the constraints ask for.
        scale_cells: Whether cells are brought to their equilibrium volumes.
        relax: Whether what passes is brought to the minimum of the predicted energy, and judged again there; None: what
            is drawn is, what is given is not.
        also: Formats to write what is kept in beside tables and CIFs: ``extxyz``, ``db`` (ASE database).
    """

    constraints: Constraints = field(default_factory=Constraints)
    keep: int | None = None
    above_hull: float | None = None
    novel: bool = False
    phases: Sequence[Path] = ()
    properties: Sequence[str] = ()
    scale_cells: bool = True
    relax: bool | None = None
    also: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the number and the formats.

        Raises:
            InputError: if it is below 1, or there is no such format.
        """
        unknown = sorted(set(self.also) - set(FORMATS))
        if unknown:
            raise InputError(f"there is no format {unknown[0]!r} for --also; give {' or '.join(FORMATS)}")
        for name in ("phases", "properties", "also"):  # also lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.keep is not None and self.keep < 1:
            raise InputError(f"--keep is the number of candidates wanted, at least 1; got {self.keep}")

    @property
    def asks(self) -> bool:
        """Whether anything is asked of candidates beyond what every screening does."""
        wanted = self.keep is not None or self.above_hull is not None or self.novel
        return wanted or self.constraints != Constraints()

    def relaxes(self, *, drawn: bool) -> bool:
        """Return whether candidates that are drawn, or those that are given, are relaxed."""
        return drawn if self.relax is None else self.relax

    def judge(self, base: Structure | None = None, device: str = "cpu", *, drawn: bool = False) -> Judge:
        """Return the judge.

        Args:
            base: Crystal that is no candidate itself.
            device: Where the networks run.
            drawn: Whether candidates are drawn, not given.

        Raises:
            InputError: as :meth:`icsg3d.screening.pipeline.Judge.load`.
        """
        asked = set(self.constraints.ranges)
        return Judge.load(
            Screening(constraints=self.constraints, above_hull=self.above_hull, novel=self.novel),
            scale_cells=self.scale_cells,
            relax=self.relaxes(drawn=drawn),
            phases=self.phases,
            told=[name for name in dict.fromkeys((*TOLD, *self.properties)) if name not in asked],
            base=base,
            device=device,
        )


@dataclass(frozen=True)
class Judged:
    """What came of a run.

    Attributes:
        folder: Of the results.
        count: How many candidates are kept.
        told: How many passed, and what refused the others, in a sentence.
    """

    folder: Path
    count: int
    told: str

    def __str__(self) -> str:
        """Return the counts in a sentence."""
        return f"{self.count} candidates kept: {self.told}"

    @cached_property
    def candidates(self) -> CrystalList[Candidate]:
        """The candidates in the order of their rank: those kept, then others up to 1,000 in all.

        ``candidates.parquet`` holds all of them.
        """
        return read_candidates(self.folder / RESULT_FILE)

    @property
    def kept(self) -> CrystalList[Candidate]:
        """Those that are kept, best first."""
        return self.candidates[: self.count]


def judge_into(
    folder: CandidateFolder,
    source: Source,
    judge: Judge,
    keep: int | None,
    *,
    enough: int | None = None,
    team: Team | None = None,
    also: Sequence[str] = (),
) -> tuple[Judged, Shortlist]:
    """Judge the candidates of a source until enough pass, and write the ranked list.

    Args:
        folder: Keeps each candidate as it comes, and holds those of an earlier run.
        source: Of the candidates.
        judge: Of them.
        keep: How many are wanted; None for all that pass.
        enough: How many different ones are to pass before the rest is left alone; None: the best of all are kept.
        team: What does the work; by default this process.
        also: More formats of what is kept (:func:`icsg3d.report.database.write_also`).

    Raises:
        Interrupted: on Ctrl-C; what there is has been written.
    """
    record = judge.as_dict()
    shortlist = Shortlist(judge, keep, enough=enough, book=folder.judged(record), told=folder.told())
    try:
        fill(source, shortlist, folder.drawn, team)
        shortlist.finish()
    except KeyboardInterrupt as stop:
        raise Interrupted(_write_interrupted(folder, source, shortlist)) from stop
    for lost in shortlist.lost:
        _log.warning("%d candidates could not be judged, from number %s", lost.count, lost)
    found = Judged(folder.folder, shortlist.count, shortlist.describe())
    folder.write_ranked(shortlist.everyone, found.count)
    write_also(shortlist.iter_kept, folder.folder, also)
    shortlist.told.clear()
    content = {"judge": record, "keep": keep, "result": shortlist.as_dict()}
    with saving(folder.folder):
        write_atomically(folder.folder / JUDGING_FILE, json.dumps(content, indent=1).encode())
    return found, shortlist


def _write_interrupted(folder: CandidateFolder, source: Source, shortlist: Shortlist) -> str:
    """Write tables of what there is, unless that takes long; return what to tell of an interrupted run."""
    if len(folder.drawn) <= _TABLES_AT_ONCE:
        judged = set(shortlist.numbers)

        def everyone() -> Iterator[Candidate]:
            yield from shortlist.everyone()
            yield from (folder.drawn[number] for number in folder.drawn if number not in judged)

        folder.write_ranked(everyone, shortlist.count)
    shortlist.told.clear()
    return (
        f"interrupted after {len(folder.drawn)} of {source.limit} candidates, which are in {folder.folder}; repeat the "
        "command with --resume to finish"
    )


def check_result(found: Judged, shortlist: Shortlist, judging: Judging, way_out: str) -> None:
    """Warn where fewer candidates passed than were asked for.

    Args:
        found: The result.
        shortlist: Behind it.
        judging: What was asked for.
        way_out: What may help.

    Raises:
        InputError: if something was asked for, and none passed.
    """
    if (found.count or not judging.asks) and (shortlist.keep is None or found.count >= shortlist.keep):
        return
    nearest = shortlist.nearest()
    told = f"{f'; {nearest}' if nearest else ''}; everything is in {found.folder}, {way_out}"
    if not found.count:
        raise InputError(f"no candidate was kept: {found.told}{told}")
    _log.warning("only %d of %d candidates are kept%s", found.count, shortlist.keep, told)
