"""Runs that measure: how well atoms are found, and crystals rebuilt, generated, asked for and searched for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from icsg3d.arguments import job_count, whole_number
from icsg3d.crystals.structures import structure_from_dict, to_arrays
from icsg3d.data import load_structures
from icsg3d.data.sources import digest_of
from icsg3d.defaults import GENERATOR
from icsg3d.errors import InputError
from icsg3d.evaluation import conditioning, reconstruction
from icsg3d.evaluation.property_search import SearchResult, search_from, success_rates
from icsg3d.evaluation.segmentation import run as segment_and_compare
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.progress import track
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.refusals import log_refused, usable
from icsg3d.report import evaluations as pictures
from icsg3d.runs.measuring import each_kept, measuring, write_results
from icsg3d.runs.reconstruct import rebuild_missing

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure

    from icsg3d.data import CrystalTable
    from icsg3d.run_folders import PartialRows

_log = logging.getLogger(__name__)


def evaluate_segmentation(
    data: Path,
    out: Path,
    *,
    preset: str = "periodic",
    grid: int | None = None,
    limit: int | None = None,
    primitive: bool = False,
    compare: bool = False,
) -> dict[str, Any]:
    """Find the atoms of true species maps (Algorithm S1) and draw Figure S2, true minus found atoms.

    Args:
        data: Any source of crystals.
        out: Folder of ``segmentation.json``, ``segmentation.csv`` and ``figure_s2.png``.
        preset: Of the grid: ``periodic`` or ``paper``.
        grid: Points along each axis, if not the preset's.
        limit: Take only so many crystals.
        primitive: Draw the primitive cells.
        compare: Run DBSCAN and K-means on the same maps.

    Returns:
        The figures of ``segmentation.json``.

    Raises:
        InputError: if an option or the source cannot be used.
    """
    table = load_structures(data).head(limit)
    drawable = usable(table.structures, to_arrays)
    log_refused(_log, table.skipped | {table.ids[row]: reason for row, reason in drawable.refused.items()})
    settings = {"data_sha256": table.digest(), "preset": preset, "grid": grid, "primitive": primitive}
    with measuring(out, "segmentation", settings, resume=False):
        report = segment_and_compare(
            [table.structures[row] for row in drawable.rows],
            [table.ids[row] for row in drawable.rows],
            out,
            preset=preset,
            grid=grid,
            primitive=primitive,
            compare=compare,
        )
    return report.as_dict()


def evaluate_reconstruction(
    data: Path,
    out: Path,
    *,
    rebuilt: Path | None = None,
    model: str = GENERATOR,
    device: str = "cpu",
    limit: int | None = None,
    jobs: int = 1,
    resume: bool = False,
) -> dict[str, Any]:
    """Encode crystals, decode them again, and compare; what cannot be encoded or decoded is a miss.

    Entries of the data that hold no crystal, or none that can be read, have nothing to be compared with: the figures
    tell their number (``unread``), and rates are over all others.

    Args:
        data: Crystals that the model was not trained on.
        out: Folder of ``reconstruction.json``, ``.csv`` and ``.png``.
        rebuilt: What :func:`icsg3d.runs.reconstruct` made of the same data; else it is made here.
        model: Shipped generator, or folder of a trained one.
        device: Where the networks run.
        limit: Take only so many crystals.
        jobs: Processes that rebuild, as of :func:`icsg3d.runs.reconstruct`, and that compare; -1 for one on each
            processor. The result is the same.
        resume: Take up what an interrupted run left.

    Returns:
        The figures of ``reconstruction.json``.

    Raises:
        InputError: if an option or a source cannot be used, or a process dies; rebuilt crystals are kept.
        Interrupted: on Ctrl-C; rebuilt crystals are kept.
    """
    jobs = job_count(jobs)
    crystals = load_structures(data).head(limit)
    log_refused(_log, crystals.skipped)
    generator = None if rebuilt is not None else CrystalGenerator.from_pretrained(model, device)
    settings = {"data_sha256": crystals.digest(), "limit": limit, "rebuilt": None if rebuilt is None else str(rebuilt)}
    settings |= {} if generator is None else generator.as_dict()
    with measuring(out, "reconstruction", settings, resume=resume) as partial:
        if generator is None:
            found = _matched(crystals, rebuilt, data)
        else:
            found = _rebuilt(generator, crystals, partial, jobs, device)
        pairs = zip(crystals.structures, found, strict=True)
        compared = Parallel(n_jobs=jobs, return_as="generator")(
            delayed(reconstruction.compare)(true, made) for true, made in pairs
        )
        results = list(track(compared, "comparing", len(found)))
        sizes = [reconstruction.primitive_size(structure) for structure in crystals.structures]
        figures = reconstruction.summarise(results) | reconstruction.match_rates_by_size(results, sizes)
        figures |= {"unread": len(crystals.skipped)}
        formulas = [structure.composition.reduced_formula for structure in crystals.structures]
        table = reconstruction.table(crystals.ids, formulas, results)
        write_results(out, "reconstruction", figures, table.to_csv(float_format="%.6g"))
        pictures.draw_reconstruction(table, out / "reconstruction.png")
    return figures


def _rebuilt(
    generator: CrystalGenerator, crystals: CrystalTable, partial: PartialRows, jobs: int, device: str
) -> list[Structure | None]:
    """Return what the generator makes of crystals; what an earlier run has finished is taken from it."""
    rebuild_missing(generator, crystals, partial, jobs, device)
    rows = [partial.rows[row] for row in range(len(crystals))]
    log_refused(_log, {name: reason for name, made, reason in rows if made is None})
    return [None if made is None else structure_from_dict(made) for _, made, _ in rows]


def _matched(crystals: CrystalTable, rebuilt: Path | None, data: Path) -> list[Structure | None]:
    """Return the rebuilt crystals of a file, by name."""
    made = load_structures(str(rebuilt))
    if len(set(made.ids)) < len(made) or len(set(crystals.ids)) < len(crystals):
        raise InputError(f"crystals of {data} share a name, and are compared by name; leave out --rebuilt")
    by_name = dict(zip(made.ids, made.structures, strict=True))
    if not set(crystals.ids) <= {*by_name, *made.skipped}:
        raise InputError(f"{rebuilt} lacks crystals of {data}; make it with icsg3d reconstruct from the same file")
    return [by_name.get(name) for name in crystals.ids]


def evaluate_condition(
    out: Path,
    judge: str,
    *,
    n: int = 200,
    model: str = "perovskites",
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
) -> dict[str, Any]:
    """Ask for crystals of each of the ten bins of energy and have a property model judge the crystals.

    Args:
        out: Folder of ``condition.json``, ``.csv`` and ``.png``.
        judge: Property model of the energy in question.
        n: Draws for each bin.
        model: Shipped generator, or folder of a trained one.
        seed: Of the draws.
        device: Where the networks run.
        resume: Take up what an interrupted run left.

    Returns:
        The figures of ``condition.json``.

    Raises:
        InputError: if the judge predicts another property than the model is asked by, or too few bins give crystals.
        Interrupted: on Ctrl-C; finished bins are kept.
    """
    generator = CrystalGenerator.from_pretrained(model, device)
    judged_by = PropertyPredictor.from_pretrained(judge, device)
    config = generator.config
    if judged_by.property.name != config.condition:
        raise InputError(f"{model} is asked by {config.condition}, but {judge} predicts {judged_by.property.name}")
    bins = conditioning.bin_centres(config.energy_edges)

    def judged(number: int) -> dict[str, Any]:
        return conditioning.judge_bin(generator, judged_by, bins[number], n, seed + number).as_dict()

    settings = {"n": n, "seed": seed, "judge": judged_by.digest} | generator.as_dict()
    with measuring(out, "condition", settings, resume=resume) as partial:
        found = each_kept(range(len(bins)), judged, partial, "bins")
        results = [conditioning.BinResult.from_dict(row, each, n) for each, row in zip(bins, found, strict=True)]
        figures = conditioning.summarise(results) | {"condition": config.condition, "judge": judged_by.digest}
        table = pictures.condition_table(results)
        write_results(out, "condition", figures, table.to_csv(index=False, float_format="%.6g"))
        pictures.draw_condition(results, judged_by.property.label, out / "condition.png")
    return figures


def evaluate_property_search(
    data: Path,
    out: Path,
    searcher: str,
    judge: str,
    *,
    starts: Path | None = None,
    count: int = 100,
    rounds: int = 8,
    draws: int = 64,
    seed: int = 0,
    model: str = "perovskites",
    device: str = "cpu",
    resume: bool = False,
) -> dict[str, Any]:
    """Search latent space for low values and have the finds judged by a model that did not lead the search.

    Args:
        data: Training crystals with a column of the property.
        out: Folder of ``property_search.json``, ``.csv`` and ``.png``.
        searcher: Property model that leads the search.
        judge: Another property model, which judges.
        starts: Crystals to start from; without them, crystals of ``data``.
        count: Number of starts, chosen at random.
        rounds: Steps of each search.
        draws: Crystals decoded in each step.
        seed: Of the choice of starts and of the draws.
        model: Shipped generator, or folder of a trained one.
        device: Where the networks run.
        resume: Take up what an interrupted run left.

    Returns:
        The figures of ``property_search.json``.

    Raises:
        InputError: if an option or a source cannot be used.
        Interrupted: on Ctrl-C; finished searches are kept.
    """
    generator = CrystalGenerator.from_pretrained(model, device)
    leading, judged_by = (PropertyPredictor.from_pretrained(name, device) for name in (searcher, judge))
    if leading.digest == judged_by.digest:
        raise InputError("the model that searches cannot judge itself; name another --judge")
    training = _known_values(load_structures(data), leading.property.name, judged_by, searcher, data)
    pool = load_structures(data if starts is None else starts).structures
    seed = whole_number(seed, "--seed", 0)
    chosen = np.random.default_rng(seed).permutation(len(pool))[:count]
    search = _Search(generator, leading, judged_by, float(training[np.isfinite(training)].min()), rounds, draws)
    settings = {"searcher": leading.digest, "judge": judged_by.digest, "count": count, "rounds": rounds}
    settings |= {"draws": draws, "seed": seed, "data_sha256": digest_of(data)} | generator.as_dict()
    settings |= {} if starts is None else {"starts_sha256": digest_of(starts)}
    with measuring(out, "property_search", settings, resume=resume) as partial:
        found = each_kept(
            range(len(chosen)), lambda number: search(pool[chosen[number]], seed + number), partial, "searching"
        )
        log_refused(_log, {f"start {row['start']}": row["failed"] for row in found if "failed" in row})
        results = [SearchResult.from_dict(row) for row in found if "failed" not in row]
        figures = success_rates(results, training) | {
            "starts_failed": len(chosen) - len(results),
            "property": leading.property.name,
            "searcher": leading.digest,
            "judge": judged_by.digest,
        }
        table = pictures.search_table(results)
        write_results(out, "property_search", figures, table.to_csv(index=False, float_format="%.6g"))
        pictures.draw_search(results, training, leading.property.label, out / "property_search.png")
    return figures


@dataclass(frozen=True)
class _Search:
    """A search for a low value from any start.

    Attributes:
        generator: Whose latent space is searched.
        leading: The model that leads the search.
        judge: The model that judges.
        target: Value to aim at.
        rounds: Steps.
        draws: Crystals decoded in each step.
    """

    generator: CrystalGenerator
    leading: PropertyPredictor
    judge: PropertyPredictor
    target: float
    rounds: int
    draws: int

    def __call__(self, start: Structure, seed: int) -> dict[str, Any]:
        """Return what came of a start, or why it failed."""
        try:
            return search_from(
                self.generator,
                self.leading,
                lambda structures: self.judge.predict(structures).values,
                start,
                self.target,
                rounds=self.rounds,
                draws=self.draws,
                seed=seed,
            ).as_dict()
        except InputError as error:
            return {"start": start.composition.reduced_formula, "failed": str(error)}


def _known_values(table: CrystalTable, name: str, judge: PropertyPredictor, searcher: str, data: Path) -> np.ndarray:
    if judge.property.name != name or name not in table.frame.columns:
        raise InputError(f"{searcher} predicts {name}; --judge must too, and {data} needs a column of that name")
    training = pd.to_numeric(table.frame[name], errors="coerce").to_numpy(float)
    if not np.isfinite(training).any():
        raise InputError(f"{data} has no number in its column {name}; give training crystals with values")
    return training
