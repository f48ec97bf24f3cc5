"""A run of the generator: from a base, or freely, to a folder of candidates."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

from icsg3d.arguments import real_number, whole_number
from icsg3d.crystals.charges import charge_balance
from icsg3d.crystals.structures import as_structure
from icsg3d.defaults import GENERATOR
from icsg3d.errors import InputError, Interrupted
from icsg3d.generation.exchange import allowed_elements
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import best_prototype, looks_like_formula
from icsg3d.generation.sources import EXCHANGE, ElementExchanges, LatentDraws
from icsg3d.models.decoding import SYMMETRY_TOLERANCE
from icsg3d.models.density import SCALE
from icsg3d.processors import one_thread
from icsg3d.progress import track
from icsg3d.report.folders import CANDIDATE_FILES, CandidateFolder, read_candidates, unique_structures
from icsg3d.report.page import write_report
from icsg3d.report.pictures import draw_candidates, shown_first
from icsg3d.report.tables import RESULT_FILE
from icsg3d.run_folders import run_folder
from icsg3d.runs.judged import Judged, Judging, check_result, judge_into
from icsg3d.runs.processes import team_of
from icsg3d.screening.batches import BATCH
from icsg3d.screening.screen import space_group
from icsg3d.screening.shortlist import PASSING_PER_KEPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from icsg3d.crystals.display import CrystalList
    from icsg3d.crystals.structures import Crystal
    from icsg3d.generation.candidates import Candidate
    from icsg3d.generation.sources import Source
    from icsg3d.screening.pipeline import Judge

By = Literal["generator", "exchange"]

_DRAWS = 20
_DRAWS_PER_KEPT = 50
"""Draws for each candidate asked for, at most, unless another limit is given."""

_WAY_OUT = "relax a constraint, or allow more draws with -n, and repeat the command with --resume"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generated:
    """What came of a run without judging.

    Attributes:
        folder: Of the results.
    """

    folder: Path

    @cached_property
    def candidates(self) -> CrystalList[Candidate]:
        """One for each draw."""
        return read_candidates(self.folder / RESULT_FILE)

    def __str__(self) -> str:
        """Return the counts in a sentence."""
        crystals = [each for each in self.candidates if each.structure is not None]
        unique = unique_structures(self.candidates)
        new = [each for each in unique if each.in_training is False]
        told = ""
        if all(each.in_training is not None for each in unique):
            told = f", {len(new)} of a composition not trained on"
        return f"{len(self.candidates)} draws: {len(crystals)} crystals, {len(unique)} of them different{told}"


@dataclass(frozen=True)
class Design:
    """What is designed: where draws come from and what is asked of them. It can be sent to another process or machine.

    Attributes:
        n: Number of draws, at most.
        base: Crystal to start from; None for free draws.
        judging: What is asked for.
        by: Draws of the generator, or exchanges of elements on the base.
        scale: Noise level around the base.
        condition: Energy per atom to ask for in free draws, in eV.
        seed: Of the draws.
        model: Shipped generator, or folder of a trained one.
        symmetry: Draws are brought to the symmetry they have within this distance in angstrom.
        widening: Whether draws around the base go further away with their number (:class:`LatentDraws`).
    """

    n: int
    base: Structure | None = None
    judging: Judging = field(default_factory=Judging)
    by: By = "generator"
    scale: float = SCALE
    condition: float | None = None
    seed: int = 0
    model: str = GENERATOR
    symmetry: float = SYMMETRY_TOLERANCE
    widening: bool = False

    def begin(self, device: str = "cpu") -> tuple[Source, Judge]:
        """Return the source of the candidates and their judge.

        Raises:
            InputError: if a model is missing, or cannot give what is asked for.
        """
        judge = self.judging.judge(self.base, device, drawn=True)
        return self.source(judge, device), judge

    def source(self, judge: Judge | None, device: str = "cpu") -> Source:
        """Return the source of the candidates.

        Raises:
            InputError: as :meth:`begin`.
        """
        if self.by == "exchange" and self.base is not None and judge is not None:
            return _exchanges(self.base, self.n, judge)
        generator = CrystalGenerator.from_pretrained(self.model, device, self.symmetry)
        self.judging.constraints.check_known(generator.elements, f"the model {generator.name}")
        return LatentDraws(
            generator,
            self.base,
            self.n,
            scale=self.scale,
            condition=self.condition,
            seed=self.seed,
            within=self.judging.constraints.possible(generator.elements),
            widening=self.widening,
        )


class DesignOptions(TypedDict, total=False):
    """Where draws come from; what is not given is as in :class:`Design`."""

    by: By
    scale: float
    condition: float | None
    seed: int
    model: str
    symmetry: float


def generate(
    out: Path,
    base: Crystal | None = None,
    judging: Judging | None = None,
    *,
    n: int | None = None,
    by: By = "generator",
    scale: float = SCALE,
    condition: float | None = None,
    seed: int = 0,
    model: str = GENERATOR,
    device: str = "cpu",
    symmetry: float = SYMMETRY_TOLERANCE,
    judged: bool = True,
    jobs: int | None = 1,
    resume: bool = False,
    overwrite: bool = False,
    picture: bool = True,
) -> Generated | Judged:
    """Design new crystals around a given one, or freely, and rank them.

    Args:
        out: Folder of the results.
        base: Crystal to start from: a Structure, Atoms, a file or a formula; None for free draws.
        judging: What is asked for. With ``keep`` and without ``n``, crystals are drawn until twice as many different
            ones pass, of which the best are kept.
        n: Number of draws, of which the best are kept. By default 20, or as many as it takes for twice what is
            to be kept, at most 50 for each.
        by: Draws of the generator, or exchanges of elements on the base.
        scale: Noise level around the base: near 0 the base itself, up to 1 further and further away. Where draws are
            made until enough pass, it rises by 0.1 every 250 draws from the 500th on.
        condition: Energy per atom to ask for, in eV, without a base.
        seed: The same seed gives the same crystals.
        model: Shipped generator, or folder of a trained one.
        device: Where the networks run; several, separated by commas, have a process each.
        symmetry: Crystals are brought to the symmetry they have within this distance in angstrom; 0 for none.
        judged: Whether draws are judged; without it they are left as they were decoded, in their order.
        jobs: Processes that draw and judge side by side, each with its networks (some 0.8 GB of memory); None for one
            on each processor, but one for 256 draws at most. The result does not depend on it. A script that asks
            for more than one keeps its own work below ``if __name__ == "__main__":``.
        resume: Take up what an interrupted run left.
        overwrite: Replace what an earlier run left.
        picture: Whether to draw the first crystals and their grids, and to write ``report.html``.

    Raises:
        InputError: if an option or the base cannot be used, the folder holds another run, or nothing passes.
        Interrupted: on Ctrl-C, once the tables of what there is have been written.
    """
    judging = judging or Judging()
    enough = PASSING_PER_KEPT * judging.keep if n is None and judging.keep is not None else None
    options: DesignOptions = {"by": by, "scale": scale, "condition": condition, "seed": seed}
    options |= {"model": model, "symmetry": symmetry}
    design = design_of(base, judging, n, judged=judged, **options)
    design = dataclasses.replace(design, widening=enough is not None)
    out, devices = Path(out), device.split(",")
    judge = judging.judge(design.base, devices[0], drawn=True) if judged else None
    source = design.source(judge, devices[0])
    _tell(design, source)
    settings = settings_of(source, design.base)
    with run_folder(out, CANDIDATE_FILES, settings, holds="candidates", resume=resume, overwrite=overwrite) as resumed:
        folder = CandidateFolder(out, settings, resume=resumed, cifs=judge is None)
        if len(folder.drawn) > design.n:
            raise InputError(f"{out} holds {len(folder.drawn)} draws already; ask for as many or more with -n")
        if judge is None:
            decoded = _decoded(folder, source)
            _draw(folder, decoded.candidates, source, devices[0], picture=picture)
            return decoded
        with team_of(design, jobs, devices, design.n) as team, one_thread():
            found, shortlist = judge_into(
                folder, source, judge, judging.keep, enough=enough, team=team, also=judging.also
            )
        _draw(folder, found.kept or found.candidates, source, devices[0], picture=picture)
        check_result(found, shortlist, judging, _WAY_OUT)
    return found


def design_of(
    base: Crystal | None, judging: Judging, n: int | None, *, judged: bool = True, **options: Unpack[DesignOptions]
) -> Design:
    """Return what is designed by the arguments of :func:`generate`.

    Raises:
        InputError: if one cannot be used.
    """
    asked = Design(_limit(None if n is None else whole_number(n, "-n"), judging), None, judging, **options)
    condition = None if asked.condition is None else real_number(asked.condition, "--condition")
    seed, scale = whole_number(asked.seed, "--seed"), real_number(asked.scale, "--scale")
    _check(base, condition, asked.by, judging, judged=judged)
    structure = None if base is None else base_structure(base)
    return dataclasses.replace(asked, base=structure, condition=condition, seed=seed, scale=scale)


def _limit(n: int | None, judging: Judging) -> int:
    if n is None:
        return _DRAWS if judging.keep is None else _DRAWS_PER_KEPT * judging.keep
    if n < 1:
        raise InputError(f"-n must be at least 1, got {n}")
    if judging.keep is not None and n < judging.keep:
        raise InputError(f"{judging.keep} candidates cannot be kept of {n} draws; allow more with -n")
    return n


def _check(base: Crystal | None, condition: float | None, by: str, judging: Judging, *, judged: bool) -> None:
    if base is not None and condition is not None:
        raise InputError("--condition goes with free draws; leave out --base or --condition")
    if by not in get_args(By):
        raise InputError(f"candidates come by {' or '.join(get_args(By))}, not by {by!r}; give --by one of them")
    if by == "exchange" and base is None:
        raise InputError("elements are exchanged on a crystal; give one with --base")
    if not judged and (by == "exchange" or judging != Judging()):
        raise InputError("without judging nothing can be asked of candidates; leave out --no-judge or the constraints")


def _exchanges(base: Structure, n: int, judge: Judge) -> ElementExchanges:
    """Return exchanges of elements with those that the constraints allow."""
    constraints = judge.screening.constraints
    allowed = constraints.allowed or allowed_elements()
    if judge.hull is not None:
        allowed &= judge.hull.elements
    states = charge_balance(base.composition).means
    return ElementExchanges(base, n, states or None, allowed - constraints.excluded)


def base_structure(base: Crystal) -> Structure:
    """Return the crystal to start from: a crystal or file as it is, a formula as the prototype of least energy.

    Raises:
        InputError: if it is neither.
    """
    if isinstance(base, str) and looks_like_formula(base) and not Path(base).exists():
        found = best_prototype(base)
        found.structure.properties["prototype"] = found.name
        return found.structure
    return as_structure(base)


def _decoded(folder: CandidateFolder, source: Source) -> Generated:
    """Decode all draws and write their tables."""
    with one_thread():
        _decode(folder, source)
    folder.write_tables()
    return Generated(folder.folder)


def _decode(folder: CandidateFolder, source: Source) -> None:
    n, done = source.limit, len(folder.drawn)
    try:
        missing = folder.missing(n)
        parts = (missing[start : start + BATCH] for start in range(0, len(missing), BATCH))
        drawn = (candidate for part in parts for candidate in source.candidates(part))
        for candidate in track(drawn, "generating", total=n, done=done):
            folder.add(candidate)
    except KeyboardInterrupt as stop:
        folder.write_tables()
        raise Interrupted(
            f"interrupted after {len(folder.drawn)} of {n} draws, which are in {folder.folder}; repeat the "
            "command with --resume to finish"
        ) from stop


def _draw(
    folder: CandidateFolder, candidates: Sequence[Candidate], source: Source, device: str, *, picture: bool
) -> None:
    """Draw the first crystals, with their decoded grids where there are any, and write the page."""
    if not picture:
        return
    if not isinstance(source, LatentDraws):
        write_report(folder.folder, slices=0)
        return
    latent = {each.index: source.draws(each.index, 1).latent[0] for each in shown_first(candidates)}
    draw_candidates(source.generator, folder, candidates, latent, source.condition)
    write_report(folder.folder, device=device, generator=source.generator)


def _tell(design: Design, source: Source) -> None:
    """Log what is started from, or asked for."""
    if design.base is not None:
        _log.info(_described_base(design.base))
    if design.condition is not None and isinstance(source, LatentDraws):
        _log.info(_described_condition(source.generator, design.condition))


def _described_base(structure: Structure) -> str:
    """Return formula, prototype, space group and lattice parameters; a formula alone does not say what was taken."""
    lengths = " x ".join(f"{length:.2f}" for length in structure.lattice.abc)
    symbol = space_group(structure, tolerance=0.1) or "no space group"
    prototype = structure.properties.get("prototype")
    named = (
        f"{structure.composition.reduced_formula} ({prototype})" if prototype else structure.composition.reduced_formula
    )
    return f"base: {named}, {symbol}, {lengths} angstrom"


def _described_condition(generator: CrystalGenerator, condition: float) -> str:
    """Return which energies count as the one asked for: the model knows ten ranges and no more."""
    config = generator.config
    low, high = config.energy_range(condition)
    limits = [f"above {low:.2f}"] if math.isfinite(low) else []
    limits += [f"up to {high:.2f}"] if math.isfinite(high) else []
    return (
        f"asking for {config.condition} {' and '.join(limits)} eV/atom, the range of {generator.name} with "
        f"{condition:g}"
    )


def settings_of(source: Source, structure: Structure | None) -> dict[str, Any]:
    """Return what makes the draws what they are."""
    own: dict[str, Any] = {
        "base": "" if structure is None else structure.composition.reduced_formula,
        "base_structure": None if structure is None else structure.as_dict(),
    }
    if isinstance(source, ElementExchanges):
        return own | {"model": EXCHANGE, "elements": sorted(source.elements or ()), "states": source.states}
    if not isinstance(source, LatentDraws):
        return own
    own |= {name: getattr(source, name) for name in ("scale", "condition", "seed")}
    own |= {"within": source.within} if source.within else {}
    own |= {"widening": True} if source.widening else {}
    own |= {"symmetry_tolerance": source.generator.symmetry_tolerance}
    return own | source.generator.as_dict()
