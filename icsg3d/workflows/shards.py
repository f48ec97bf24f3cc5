"""Draws in shards that run anywhere: each is judged where it was drawn, and only what may be among the best travels.

Shards are merged ten by ten, level by level, and of what is left one job selects the best. The result is that of one
process that judges all draws (:mod:`icsg3d.screening.merging`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Job, Maker, OutputReference, job

from icsg3d.arguments import several, whole_number
from icsg3d.errors import InputError
from icsg3d.processors import one_thread
from icsg3d.screening.batches import LostDraws
from icsg3d.screening.merging import Unpacked, judge_part, merge_parts
from icsg3d.screening.shortlist import Shortlist
from icsg3d.workflows.calculations import tolerant
from icsg3d.workflows.jobs import GenerateMaker, ScreenMaker
from icsg3d.workflows.schemas import SelectionDoc, ShardDoc
from icsg3d.workflows.taking import a_count, a_crystal_or_none, a_list, a_start, taking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.crystals.structures import Crystal

_NOTHING = "the job gave no result"

Range = tuple[int, int]
"""First and last number of some draws."""


def _kept(keep: int | None) -> int | None:
    return None if keep is None else whole_number(keep, "keep", 1)


@dataclass
class ShardMaker(Maker):
    """Draws of a generator that are judged at once; what may be among the best of all draws is kept.

    The document has counts, and the candidates that may be among the best in parts of up to 100, each of them an object
    of its own in the additional store ``data``. With crystals of 20 atoms such an object has some 310 kB; the document
    itself has less than 40 kB and 0.2 kB for each part.

    Args:
        name: Of the job.
        generate_maker: Draws candidates.
        screen_maker: Judges them.
        keep: How many candidates are wanted of all draws; None for all that pass.
    """

    name: str = "draw and judge"
    generate_maker: GenerateMaker = field(default_factory=GenerateMaker)
    screen_maker: ScreenMaker = field(default_factory=ScreenMaker)
    keep: int | None = None

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            InputError: if it is below 1.
        """
        self.keep = _kept(self.keep)

    @taking(structure=a_crystal_or_none, count=a_count, start=a_start)
    @job(data="candidates", output_schema=ShardDoc)
    def make(self, structure: Crystal | None = None, count: int = 1000, start: int = 0) -> ShardDoc:
        """Return what came of the draws ``start`` to ``start + count - 1``; each depends on its number alone.

        Draws that fail are tried again, and named with the reason if they fail again.

        Args:
            structure: Where to start: whatever stands for a crystal, or a reference to one; None to draw freely.
            count: Number of draws.
            start: Number of the first.

        Raises:
            InputError: if the model cannot take the crystal, or something is asked for that nothing can tell.
        """
        judge = self.screen_maker.judge(structure)  # type: ignore[arg-type] # a Structure by now
        source = self.generate_maker.source(structure, start + count, judge.screening.constraints)
        with one_thread():
            part = judge_part(source, judge, range(start, start + count), self.keep)
        return ShardDoc.from_part(part)


@dataclass
class MergeMaker(Maker):
    """Several documents of draws as one.

    Its objects in the store are those of :class:`ShardMaker`. It takes what may be among the best of its parts into
    memory: ten parts with 10,000 candidates of 20 atoms each take some 0.9 GB.

    Args:
        name: Of the job.
        keep: How many candidates are wanted of all draws; None for all that pass.
    """

    name: str = "merge"
    keep: int | None = None

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            InputError: if it is below 1.
        """
        self.keep = _kept(self.keep)

    @taking(parts=a_list, ranges=a_list)
    def make(self, parts: list[Any], ranges: list[Range]) -> Job:
        """Return the job; its output is a :class:`~icsg3d.workflows.schemas.ShardDoc`.

        It runs also where parts are missing, which are named with their numbers.

        Args:
            parts: Documents of draws, or references to them.
            ranges: First and last number of the draws of each.

        Raises:
            InputError: if there are no parts, or not as many as ranges.
        """
        if not parts or len(parts) != len(ranges):
            raise InputError(f"each part has a range of draws, got {len(parts)} and {len(ranges)}; give both")
        new = tolerant(merge_shards(self, parts, ranges))
        new.name = self.name
        return new


@job(data="candidates", output_schema=ShardDoc)
def merge_shards(maker: MergeMaker, parts: list[ShardDoc | None], ranges: list[Range]) -> ShardDoc:
    """Return several documents of draws as one.

    Args:
        maker: Says how many candidates are wanted.
        parts: The documents; None where a job gave none.
        ranges: First and last number of the draws of each.
    """
    found = [
        LostDraws(first, last, _NOTHING) if part is None else ShardDoc.model_validate(part).to_part()
        for part, (first, last) in zip(parts, ranges, strict=True)
    ]
    return ShardDoc.from_part(merge_parts(found, maker.keep))


@dataclass
class SelectMaker(Maker):
    """The list of the best of all draws.

    Those that are kept lie in parts of up to 100 in the additional store ``data``, with crystals of 20 atoms some
    510 kB each.

    Args:
        name: Of the job.
        screen_maker: As of the shards.
        keep: How many candidates are wanted; None for all that pass.
        told: Properties to predict of those that are kept, beside those that constraints ask for.
    """

    name: str = "select"
    screen_maker: ScreenMaker = field(default_factory=ScreenMaker)
    keep: int | None = None
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check number and names.

        Raises:
            InputError: if the number is below 1, or the names are no list.
        """
        self.keep = _kept(self.keep)
        self.told = several(self.told, "properties that are told")

    @taking(structure=a_crystal_or_none)
    @job(data="candidates", output_schema=SelectionDoc)
    def make(self, merged: ShardDoc, structure: Crystal | None = None) -> SelectionDoc:
        """Return the best candidates with their rank and all that is told of them.

        Args:
            merged: What came of all draws.
            structure: What was drawn around.

        Raises:
            InputError: if a model is missing.
        """
        part = ShardDoc.model_validate(merged).to_part()
        judge = self.screen_maker.judge(structure, self.told)  # type: ignore[arg-type] # a Structure by now
        book = Unpacked(part.contenders)
        shortlist = Shortlist(judge, self.keep, book=book)
        with one_thread():
            shortlist.enter(book)
            shortlist.finish()
        return SelectionDoc.of(part, shortlist.kept, self.keep, judge.as_dict())


@dataclass
class DesignFlowMaker(Maker):
    """From a crystal, or freely, to the best of many draws, in shards that a manager can spread over machines.

    The result is that of ``icsg3d generate -n DRAWS --keep KEEP``, however many shards there are and wherever they run.

    Args:
        name: Of the flow.
        generate_maker: Draws candidates.
        screen_maker: Judges them.
        keep: How many candidates are wanted; None for all that pass.
        told: Properties to predict of those that are kept, beside those that constraints ask for.
        shard_size: Draws of one job.
        fan_in: Documents that one job merges.
    """

    name: str = "icsg3d design"
    generate_maker: GenerateMaker = field(default_factory=GenerateMaker)
    screen_maker: ScreenMaker = field(default_factory=ScreenMaker)
    keep: int | None = 100
    told: list[str] = field(default_factory=lambda: ["band_gap"])
    shard_size: int = 1000
    fan_in: int = 10

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: if one is too small.
        """
        self.keep = _kept(self.keep)
        self.told = several(self.told, "properties that are told")
        self.shard_size = whole_number(self.shard_size, "shard_size", 1)
        self.fan_in = whole_number(self.fan_in, "fan_in", 2)

    def make(self, structure: Crystal | OutputReference | None = None, draws: int = 1000) -> Flow:
        """Return the flow; its output is a :class:`~icsg3d.workflows.schemas.SelectionDoc`.

        Args:
            structure: Crystal to draw around, or a reference to one; None to draw freely.
            draws: How many, in all.

        Raises:
            InputError: if the base is no crystal, there is no draw, or a criterion is none.
        """
        base = a_crystal_or_none(structure, "the base")
        draws = whole_number(draws, "draws", 1)
        self.screen_maker.criteria()
        shards = []
        maker = ShardMaker(generate_maker=self.generate_maker, screen_maker=self.screen_maker, keep=self.keep)
        for start in range(0, draws, self.shard_size):
            shard = maker.make(base, min(self.shard_size, draws - start), start)
            shard.name = f"{maker.name} {start} to {min(start + self.shard_size, draws) - 1}"
            shards.append(shard)
        ranges = [(start, min(start + self.shard_size, draws) - 1) for start in range(0, draws, self.shard_size)]
        merges = self._merges(shards, ranges)
        select = SelectMaker(screen_maker=self.screen_maker, keep=self.keep, told=self.told)
        selected = select.make(merges[-1].output, base)
        return Flow([*shards, *merges, selected], output=selected.output, name=self.name)

    def _merges(self, shards: Sequence[Job], ranges: Sequence[Range]) -> list[Job]:
        """Return the jobs that merge, level by level, the last of them all that there is."""
        maker = MergeMaker(keep=self.keep)
        found: list[Job] = []
        level, spans = list(shards), list(ranges)
        while not found or len(level) > 1:
            groups = [slice(first, first + self.fan_in) for first in range(0, len(level), self.fan_in)]
            level = [maker.make([each.output for each in level[group]], spans[group]) for group in groups]
            spans = [(spans[group][0][0], spans[group][-1][1]) for group in groups]
            for merge, (first, last) in zip(level, spans, strict=True):
                merge.name = f"{maker.name} {first} to {last}"
            found += level
        return found
