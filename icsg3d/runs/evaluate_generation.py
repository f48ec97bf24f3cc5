"""A run that measures how much generated crystals are like real ones, and how many are stable, unique and new."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icsg3d.arguments import job_count
from icsg3d.crystals.structures import structure_from_dict
from icsg3d.data import load_structures
from icsg3d.errors import InputError
from icsg3d.evaluation import generation as judging
from icsg3d.evaluation.fingerprints import fingerprints, kept_fingerprints
from icsg3d.evaluation.stability import ChgnetEnergies, stability
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.hull import ReferenceHull
from icsg3d.models.decoding import BATCH
from icsg3d.progress import task, track
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.volume import VolumePredictor
from icsg3d.refusals import log_refused
from icsg3d.report import evaluations as pictures
from icsg3d.runs.measuring import measuring, write_figures, write_results
from icsg3d.screening.judging import ENERGY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from icsg3d.data.sources import CrystalTable
    from icsg3d.run_folders import PartialRows

_log = logging.getLogger(__name__)


def evaluate_generation(
    data: Path,
    out: Path,
    *,
    samples: Path | None = None,
    training: Path | None = None,
    n: int = 10_000,
    cutoffs: str = "perovskites",
    relax: int = 0,
    phases: Sequence[Path] = (),
    model: str = "perovskites",
    seed: int = 0,
    device: str = "cpu",
    jobs: int = -1,
    resume: bool = False,
) -> dict[str, Any]:
    """Judge generated crystals: validity, coverage, distributions of density, elements and energy, uniqueness, novelty.

    Args:
        data: Real crystals to compare with, not those the model was trained on.
        out: Folder of ``generation.json``, ``.csv`` and ``.png``.
        samples: Generated crystals; else they are made here.
        training: What the model was trained on, to tell what is new.
        n: Crystals to generate without ``samples``.
        cutoffs: Of the coverage: a key of :data:`icsg3d.evaluation.generation.CUTOFFS`.
        relax: Valid, different crystals to relax with CHGNet, for the share that is stable.
        phases: Known crystals that compete with them, beside the elements; without any, the shipped hull of the
            Materials Project.
        model: Shipped generator, or folder of a trained one.
        seed: Of the draws, and of the choice of 1,000 valid ones.
        device: Where the networks run.
        jobs: Processes; -1 for one for each core.
        resume: Take up what an interrupted run left.

    Returns:
        The figures of ``generation.json``.

    Raises:
        InputError: if an option or a source cannot be used, or no generated crystal is valid and some were to be
            relaxed.
        Interrupted: on Ctrl-C; draws are kept.
    """
    if cutoffs not in judging.CUTOFFS:
        raise InputError(f"there are no cutoffs {cutoffs!r}; give one of {', '.join(judging.CUTOFFS)}")
    jobs = job_count(jobs)
    real = load_structures(data)
    log_refused(_log, real.skipped)
    known = None if training is None else load_structures(training).structures
    # What the relaxations lack is to be known before hours of work.
    relaxations = _Relaxations.of(relax, phases) if relax else None
    generator = None if samples is not None else CrystalGenerator.from_pretrained(model, device)
    predictor = PropertyPredictor.from_pretrained(ENERGY, device)
    given = {"samples": None if samples is None else str(samples), "n": n, "seed": seed}
    settings = {"data_sha256": real.digest()} | given | ({} if generator is None else generator.as_dict())
    with measuring(out, "generation", settings, resume=resume) as partial:
        made = _read(samples) if generator is None else _drawn(generator, n, seed, partial)
        result = _judged(made, real, known, judging.CUTOFFS[cutoffs], predictor, jobs, seed)
        rows = pictures.generation_table(made.crystals, result)
        write_results(out, "generation", result.figures, rows.to_csv(index=False, float_format="%.6g"))
        pictures.draw_generation(made.crystals, real.structures, out / "generation.png", result.energies)
        if relaxations is None:
            return result.figures
        figures = result.figures | relaxations.figures(made, result, generator, out, compared=known is not None)
        write_figures(out, "generation", figures)
    return figures


@dataclass(frozen=True)
class _Made:
    """Generated crystals.

    Attributes:
        crystals: What draws gave.
        draws: How many draws were made, those that gave no crystal with them.
    """

    crystals: list[Structure]
    draws: int


def _read(samples: Path | None) -> _Made:
    table = load_structures(str(samples))
    return _Made(table.structures, len(table) + len(table.skipped))


def _drawn(generator: CrystalGenerator, n: int, seed: int, partial: PartialRows) -> _Made:
    """Return the crystals of free draws, in their order; those that an earlier run has made are taken from it.

    Those of a model whose draws keep the cell of another crystal are brought to their equilibrium volumes, as every
    candidate is.
    """
    missing = [number for number in range(n) if number not in partial.rows]
    settle = VolumePredictor.from_pretrained().settle if missing and generator.space.fixed_cells else list
    with task("generating", n, n - len(missing)) as running:
        for start, numbers in itertools.groupby(missing, lambda number: number - number % BATCH):
            latents = generator.latent_sample(min(BATCH, n - start), seed=seed, first=start)
            wanted = list(numbers)
            made = [each.structure for each in generator.decode([latents[number - start] for number in wanted])]
            scaled = iter(settle([each for each in made if each is not None]))
            for number, structure in zip(wanted, made, strict=True):
                settled = None if structure is None else next(scaled) or structure
                partial.add(number, None if settled is None else settled.as_dict())
                running.advance()
    rows = (partial.rows[number] for number in range(n))
    return _Made([structure_from_dict(row) for row in rows if row is not None], n)


def _judged(
    made: _Made,
    real: CrystalTable,
    known: Sequence[Structure] | None,
    cutoffs: judging.Cutoffs,
    predictor: PropertyPredictor,
    jobs: int,
    seed: int,
) -> judging.GenerationReport:
    """Compare generated crystals with real ones, and with known ones where there are any."""
    title = "fingerprints of generated crystals"
    prints = list(track(fingerprints(made.crystals, jobs), title, len(made.crystals)))
    kept = kept_fingerprints(real.structures, real.digest(), jobs, "fingerprints of real crystals")
    _log.info("looking for repeats")
    result = judging.report(
        made.draws,
        made.crystals,
        prints,
        real.structures,
        kept,
        cutoffs=cutoffs,
        training=known,
        predictor=predictor,
        jobs=jobs,
        seed=seed,
    )
    _tell(result.figures)
    return result


def _tell(figures: dict[str, Any]) -> None:
    """Warn of crystals whose energy is unknown."""
    for name, which in (("energy_left_out", "valid generated"), ("energy_left_out_real", "real")):
        if figures[name]:
            _log.warning(
                "%d %s crystals are left out of wdist_energy: the network cannot take them", figures[name], which
            )


@dataclass(frozen=True)
class _Relaxations:
    """What tells which generated crystals are stable.

    Attributes:
        limit: Valid, different crystals to relax, at most.
        competing: Known crystals that compete with them.
        hull: The hull that does so instead.
        energies: What relaxes.
    """

    limit: int
    competing: list[Structure]
    hull: ReferenceHull | None
    energies: ChgnetEnergies

    @classmethod
    def of(cls, limit: int, phases: Sequence[Path]) -> _Relaxations:
        """Return the relaxations with CHGNet, against phases of files, or without any against the shipped hull."""
        competing = load_structures(list(phases)).structures if phases else []
        return cls(limit, competing, None if phases else ReferenceHull.shipped(), ChgnetEnergies())

    def figures(
        self,
        made: _Made,
        result: judging.GenerationReport,
        generator: CrystalGenerator | None,
        out: Path,
        *,
        compared: bool,
    ) -> dict[str, Any]:
        """Return the figures of :func:`icsg3d.evaluation.stability.stability`.

        Args:
            made: Generated crystals.
            result: How they were judged.
            generator: That made them; None for crystals of a file.
            out: Folder of the other figures, which are there already.
            compared: Whether they were compared with the training crystals.

        Raises:
            InputError: if no crystal is valid.
        """
        judged = zip(result.valid, result.repeated, strict=True)
        rows = [row for row, (valid, repeated) in enumerate(judged) if valid.both and not repeated[0]][: self.limit]
        if not rows:
            raise InputError(f"no generated crystal is valid, so --stability has none to relax; all else is in {out}")
        formulas = None if generator is None else generator.training_formulas()
        new = _new(made.crystals, result, self.hull, formulas, compared=compared)
        share = made.draws / len(made.crystals)  # draws for each crystal
        return stability(
            [made.crystals[row] for row in rows],
            self.competing,
            self.energies,
            self.hull,
            None if new is None else [new[row] for row in rows],
            (rows[-1] + 1) * share,
        )


def _new(
    crystals: Sequence[Structure],
    result: judging.GenerationReport,
    hull: ReferenceHull | None,
    formulas: frozenset[str] | None,
    *,
    compared: bool,
) -> list[bool] | None:
    """Return which crystals are new: none of the training crystals, and of no formula of the hull.

    Where the crystals were not compared with those of the training, its formulas count; None where these are not known
    either.
    """
    if not compared and formulas is None:
        return None
    own = frozenset() if compared else formulas or frozenset()
    known = own | (frozenset() if hull is None else frozenset(hull.formulas))
    return [
        not repeated[1] and structure.composition.reduced_formula not in known
        for structure, repeated in zip(crystals, result.repeated, strict=True)
    ]
