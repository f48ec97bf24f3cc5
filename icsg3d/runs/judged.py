"""What ``generate`` and ``screen`` share: candidates judged as they come, into one ranked list."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from icsg3d.errors import InputError, Interrupted
from icsg3d.files import saving, write_atomically
from icsg3d.report.folders import JUDGING_FILE
from icsg3d.screening.constraints import Constraints
from icsg3d.screening.pipeline import Judge
from icsg3d.screening.screen import Screening
from icsg3d.screening.shortlist import Shortlist, fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from icsg3d.generation.candidates import Candidate
    from icsg3d.generation.sources import Source
    from icsg3d.report.folders import CandidateFolder

TOLD = ("band_gap",)
"""Properties that are predicted of what is kept, whatever is asked for."""

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
    """

    constraints: Constraints = field(default_factory=Constraints)
    keep: int | None = None
    above_hull: float | None = None
    novel: bool = False
    phases: Sequence[Path] = ()
    properties: Sequence[str] = ()
    scale_cells: bool = True

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            InputError: if it is below 1.
        """
        for name in ("phases", "properties"):  # lists, too
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.keep is not None and self.keep < 1:
            raise InputError(f"--keep is the number of candidates wanted, at least 1; got {self.keep}")

    @property
    def asks(self) -> bool:
        """Whether anything is asked of candidates beyond what every screening does."""
        wanted = self.keep is not None or self.above_hull is not None or self.novel
        return wanted or self.constraints != Constraints()

    def judge(self, base: Structure | None = None, device: str = "cpu") -> Judge:
        """Return the judge.

        Raises:
            InputError: as :meth:`icsg3d.screening.pipeline.Judge.load`.
        """
        asked = set(self.constraints.ranges)
        return Judge.load(
            Screening(constraints=self.constraints, above_hull=self.above_hull, novel=self.novel),
            scale_cells=self.scale_cells,
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
        candidates: All of them in the order of their rank: those kept, others that passed, those refused.
        kept: Best first.
        told: How many passed, and what refused the others, in a sentence.
    """

    folder: Path
    candidates: list[Candidate]
    kept: list[Candidate]
    told: str

    def __str__(self) -> str:
        """Return the counts in a sentence."""
        return f"{len(self.kept)} candidates kept: {self.told}"


def judge_into(folder: CandidateFolder, source: Source, shortlist: Shortlist) -> Judged:
    """Judge the candidates of a source until enough pass, and write the ranked list.

    Args:
        folder: Keeps each candidate as it comes, and holds those of an earlier run.
        source: Of the candidates.
        shortlist: Empty.

    Raises:
        Interrupted: on Ctrl-C; what there is has been written.
    """
    try:
        for candidate in fill(source, shortlist, folder.candidates):
            folder.add(candidate)
        shortlist.finish()
    except KeyboardInterrupt as stop:
        done = {each.index for each in shortlist.everyone()}
        rest = [each for each in folder.candidates if each.index not in done]
        folder.write_ranked([*shortlist.everyone(), *rest], shortlist.kept)
        raise Interrupted(
            f"interrupted after {len(folder.candidates)} of {source.limit} candidates, which are in {folder.folder}; "
            "repeat the command with --resume to finish"
        ) from stop
    found = Judged(folder.folder, list(shortlist.everyone()), shortlist.kept, shortlist.describe())
    folder.write_ranked(found.candidates, found.kept)
    record = {"judge": shortlist.judge.as_dict(), "keep": shortlist.keep, "result": shortlist.as_dict()}
    with saving(folder.folder):
        write_atomically(folder.folder / JUDGING_FILE, json.dumps(record, indent=1).encode())
    return found


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
    near = f"; {shortlist.nearest()}" if shortlist.nearest() else ""
    told = f"{near}; everything is in {found.folder}, {way_out}"
    if not found.kept and judging.asks:
        raise InputError(f"no candidate was kept: {found.told}{told}")
    if shortlist.keep is not None and len(found.kept) < shortlist.keep:
        _log.warning("only %d of %d candidates are kept%s", len(found.kept), shortlist.keep, told)
