"""A run that measures how much generated crystals are like real ones, and how many are stable, unique and new."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from icsg3d.crystals.structures import structure_from_dict
from icsg3d.data import load_structures
from icsg3d.errors import InputError
from icsg3d.evaluation import generation as judging
from icsg3d.evaluation.fingerprints import fingerprints
from icsg3d.evaluation.stability import ChgnetEnergies, stability
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.hull import ReferenceHull
from icsg3d.progress import track
from icsg3d.refusals import log_refused
from icsg3d.report import evaluations as pictures
from icsg3d.runs.measuring import measuring, write_figures, write_results

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymatgen.core import Structure

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
    """Judge generated crystals: validity, coverage, distributions of density and elements, uniqueness, novelty.

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
    real = load_structures(data)
    log_refused(_log, real.skipped)
    known = None if training is None else load_structures(training).structures
    # What the relaxations lack is to be known before hours of work.
    competing = load_structures(list(phases)).structures if relax and phases else []
    energies = ChgnetEnergies() if relax else None
    generator = None if samples is not None else CrystalGenerator.from_pretrained(model, device)
    settings = {
        "data_sha256": real.digest(),
        "samples": None if samples is None else str(samples),
        "n": n,
        "seed": seed,
    }
    settings |= {} if generator is None else generator.as_dict()
    with measuring(out, "generation", settings, resume=resume) as partial:
        if generator is None:
            table = load_structures(str(samples))
            generated, draws = table.structures, len(table) + len(table.skipped)
        else:
            generated, draws = _drawn(generator, n, seed, partial), n
        prints = [
            list(track(fingerprints(group, jobs), f"fingerprints of {name} crystals", len(group)))
            for group, name in ((generated, "generated"), (real.structures, "real"))
        ]
        _log.info("looking for repeats")
        result = judging.report(
            draws,
            generated,
            prints[0],
            real.structures,
            prints[1],
            cutoffs=judging.CUTOFFS[cutoffs],
            training=known,
            jobs=jobs,
            seed=seed,
        )
        rows = pictures.generation_table(generated, result)
        write_results(out, "generation", result.figures, rows.to_csv(index=False, float_format="%.6g"))
        pictures.draw_generation(generated, real.structures, out / "generation.png")
        if energies is None:
            return result.figures
        judged = zip(result.valid, result.repeated, strict=True)
        good = [row for row, (valid, repeated) in enumerate(judged) if valid.both and not repeated[0]][:relax]
        if not good:
            raise InputError(f"no generated crystal is valid, so --stability has none to relax; all else is in {out}")
        hull = None if phases else ReferenceHull.shipped()
        new = _new(generated, result, hull, generator, known is not None)
        chosen = [generated[row] for row in good]
        share = draws / len(generated)  # draws for each crystal
        figures = result.figures | stability(
            chosen,
            competing,
            energies,
            hull,
            None if new is None else [new[row] for row in good],
            (good[-1] + 1) * share,
        )
        write_figures(out, "generation", figures)
    return figures


def _new(
    generated: Sequence[Structure],
    result: judging.GenerationReport,
    hull: ReferenceHull | None,
    generator: CrystalGenerator | None,
    compared: bool,  # noqa: FBT001 (one caller)
) -> list[bool] | None:
    """Return which crystals are new: none of the training crystals, and of no formula of the hull.

    Where training crystals were not given, their formulas count; None where these are not known either.
    """
    formulas = None if generator is None else generator.training_formulas()
    if not compared and formulas is None:
        return None
    own = frozenset() if compared else formulas or frozenset()
    known = own | (frozenset() if hull is None else frozenset(hull.formulas))
    return [
        not repeated[1] and structure.composition.reduced_formula not in known
        for structure, repeated in zip(generated, result.repeated, strict=True)
    ]


def _drawn(generator: CrystalGenerator, n: int, seed: int, partial: PartialRows) -> list[Structure]:
    """Return the crystals of free draws, in their order; those that an earlier run has made are taken from it."""
    latent = generator.latent_sample(n, seed=seed)
    missing = [number for number in range(n) if number not in partial.rows]
    decoded = generator.iter_decode(latent[missing]) if missing else iter(())
    for number, made in zip(missing, track(decoded, "generating", n, n - len(missing)), strict=True):
        partial.add(number, None if made.structure is None else made.structure.as_dict())
    return [structure_from_dict(row) for row in (partial.rows[number] for number in range(n)) if row is not None]
