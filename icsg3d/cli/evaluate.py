"""``icsg3d evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icsg3d.cli.console import DeviceOption, ModelOption, check_device, progress_bar, report_skipped, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pymatgen.core import Structure

    from icsg3d.generation.generator import CrystalGenerator

app = typer.Typer(no_args_is_help=True, help="Measure how well crystals are found, rebuilt and generated.")

JobsOption = Annotated[int, typer.Option(help="Processes; -1 for one for each core.")]


@app.command()
def segmentation(
    data: Annotated[Path, typer.Option(help="Crystals: a matminer dataframe, a crystal file, or a folder.")],
    out: Annotated[Path, typer.Option(help="Folder of segmentation.json, segmentation.csv and figure_s2.png.")],
    preset: Annotated[str, typer.Option(help="Grid: periodic or paper.")] = "periodic",
    grid: Annotated[int | None, typer.Option(min=4, help="Points along each axis.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first crystals.")] = None,
    primitive: Annotated[bool, typer.Option("--primitive", help="Draw the primitive cells.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Run DBSCAN and K-means on the same maps.")] = False,
) -> None:
    """Find the atoms of true species maps (Algorithm S1) and draw Figure S2, true minus found atoms.

    **Example**

        icsg3d evaluate segmentation --data crystals.json.gz --out runs/segmentation --compare
    """
    from icsg3d.data import load_structures
    from icsg3d.evaluation.segmentation import drawable, run

    table = load_structures(data).head(limit)
    rows, refused = drawable(table.structures, table.ids)
    report_skipped(table.skipped | refused)
    crystals, names = [table.structures[row] for row in rows], [table.ids[row] for row in rows]
    report = run(crystals, names, out, preset=preset, grid=grid, primitive=primitive, compare=compare)
    _print(out, "segmentation", report.as_dict())


@app.command()
def reconstruction(
    data: Annotated[Path, typer.Option(help="Crystals, not among those the model was trained on.")],
    out: Annotated[Path, typer.Option(help="Folder of reconstruction.json, reconstruction.csv and .png.")],
    rebuilt: Annotated[
        Path | None, typer.Option(help="What icsg3d reconstruct made of the same data; else it is made here.")
    ] = None,
    model: ModelOption = "cubic",
    device: DeviceOption = "cpu",
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first crystals.")] = None,
    jobs: JobsOption = -1,
) -> None:
    """Encode crystals, decode them again, and compare: match rate, displacement, lattice and position errors.

    Rates are over all crystals; what cannot be encoded or decoded is a miss.

    **Examples**

        icsg3d evaluate reconstruction --data held_back.json.gz --model perovskites --out runs/rebuilt

        icsg3d evaluate reconstruction --data held_back.json.gz --rebuilt rebuilt.json.gz --out runs/rebuilt
    """
    from joblib import Parallel, delayed

    from icsg3d.data import load_structures
    from icsg3d.errors import InputError
    from icsg3d.evaluation.reconstruction import compare, summarise, table
    from icsg3d.report.evaluations import draw_reconstruction

    check_device(device)
    crystals = load_structures(data).head(limit)
    report_skipped(crystals.skipped)
    if rebuilt is None:
        found = _rebuilt(crystals.structures, model, device)
    else:
        made = load_structures(rebuilt)
        if len(set(made.ids)) < len(made) or len(set(crystals.ids)) < len(crystals):
            raise InputError(f"crystals of {data} share a name, by which they are compared; leave out --rebuilt")
        by_name = dict(zip(made.ids, made.structures, strict=True))
        if not set(crystals.ids) <= {*by_name, *made.skipped}:
            raise InputError(f"{rebuilt} lacks crystals of {data}; make it with icsg3d reconstruct from the same file")
        found = [by_name.get(name) for name in crystals.ids]
    pairs = zip(crystals.structures, found, strict=True)
    results = list(
        _tracked(
            Parallel(n_jobs=jobs, return_as="generator")(delayed(compare)(true, made) for true, made in pairs),
            "comparing",
            len(found),
        )
    )
    figures = summarise(results)
    rows = table(crystals.ids, [s.composition.reduced_formula for s in crystals.structures], results)
    _write(out, "reconstruction", figures, rows.to_csv(float_format="%.6g"))
    draw_reconstruction(rows, out / "reconstruction.png")


@app.command()
def generation(
    data: Annotated[Path, typer.Option(help="Real crystals to compare with, not those the model was trained on.")],
    out: Annotated[Path, typer.Option(help="Folder of generation.json, generation.csv and .png.")],
    samples: Annotated[
        Path | None, typer.Option(help="Generated crystals, such as candidates.json.gz; else they are made here.")
    ] = None,
    training: Annotated[Path | None, typer.Option(help="What the model was trained on, to tell what is new.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Crystals to generate without --samples.")] = 10_000,
    cutoffs: Annotated[str, typer.Option(help="Of coverage: perovskites or mp20.")] = "perovskites",
    stability: Annotated[
        int, typer.Option(min=0, help="Valid, different crystals to relax with CHGNet, for the share that is stable.")
    ] = 0,
    phases: Annotated[
        list[Path] | None, typer.Option(help="Known crystals that compete with them, beside the elements; repeatable.")
    ] = None,
    model: ModelOption = "perovskites",
    seed: Annotated[int, typer.Option(help="Of the draws, and of the choice of 1,000 valid ones.")] = 0,
    device: DeviceOption = "cpu",
    jobs: JobsOption = -1,
) -> None:
    """Judge generated crystals: validity, coverage, distributions of density and elements, uniqueness, novelty.

    **Examples**

        icsg3d evaluate generation --data held_back.json.gz --model perovskites --out runs/judged

        icsg3d evaluate generation --data held_back.json.gz --samples runs/mine/candidates.json.gz --out runs/judged
    """
    from icsg3d.data import load_structures
    from icsg3d.errors import InputError
    from icsg3d.evaluation.fingerprints import fingerprints
    from icsg3d.evaluation.generation import CUTOFFS, report
    from icsg3d.report.evaluations import draw_generation, generation_table

    if cutoffs not in CUTOFFS:
        raise InputError(f"there are no cutoffs {cutoffs!r}; give one of {', '.join(CUTOFFS)}")
    check_device(device)
    real = load_structures(data)
    report_skipped(real.skipped)
    known = None if training is None else load_structures(training).structures
    place = _placing(phases) if stability else None  # what it lacks is to be known before hours of work
    if samples is None:
        generated, draws = _generated(n, seed, model, device), n
    else:
        table = load_structures(samples)
        generated, draws = table.structures, len(table) + len(table.skipped)
    prints = [
        list(_tracked(fingerprints(group, jobs), text, len(group)))
        for group, text in ((generated, "fingerprints of generated crystals"), (real.structures, "of real crystals"))
    ]
    say("looking for repeats")
    result = report(
        draws,
        generated,
        prints[0],
        real.structures,
        prints[1],
        cutoffs=CUTOFFS[cutoffs],
        training=known,
        jobs=jobs,
        seed=seed,
    )
    rows = generation_table(generated, result)
    _write(out, "generation", result.figures, rows.to_csv(index=False, float_format="%.6g"))
    draw_generation(generated, real.structures, out / "generation.png")
    if place is not None:
        good = [s for s, v, r in zip(generated, result.valid, result.repeated, strict=True) if v.both and not r[0]]
        if not good:
            raise InputError(f"no generated crystal is valid, so --stability has none to relax; all else is in {out}")
        placed = place(good[:stability])
        _write_figures(out, "generation", result.figures | placed)
        _print(out, "stability", placed)


@app.command()
def condition(
    out: Annotated[Path, typer.Option(help="Folder of condition.json, condition.csv and .png.")],
    judge: Annotated[str, typer.Option(metavar="NAME|PATH", help="Property model of the energy in question.")],
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Draws for each bin.")] = 200,
    model: ModelOption = "perovskites",
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    device: DeviceOption = "cpu",
) -> None:
    """Ask for crystals of each of the ten bins of energy and have a property model judge what comes.

    **Example**

        icsg3d evaluate condition --model perovskites --judge runs/judge/model --out runs/condition
    """
    import numpy as np
    import pandas as pd

    from icsg3d.errors import InputError
    from icsg3d.evaluation.conditioning import BinResult, bin_centres, draw_bin, summarise
    from icsg3d.properties.predictor import PropertyPredictor
    from icsg3d.report.evaluations import draw_condition

    check_device(device)
    generator, judging = _generator(model, device), PropertyPredictor.from_pretrained(judge, device)
    config = generator.network.config
    if judging.property.name != config.condition:
        raise InputError(f"{model} is asked by {config.condition}, but {judge} predicts {judging.property.name}")
    bins = bin_centres(config.energy_edges)
    results = []
    for number, (low, high, asked) in enumerate(_tracked(bins, "bins", len(bins))):
        structures = draw_bin(generator, asked, n, seed + number)
        values = judging.predict_possible(structures).values
        structures = [structure for structure, value in zip(structures, values, strict=True) if np.isfinite(value)]
        results.append(BinResult(low, high, asked, n, structures, values[np.isfinite(values)]))
    rows = [
        {"bin": number, "asked": r.asked, "formula": s.composition.reduced_formula, "judged": float(v)}
        for number, r in enumerate(results, start=1)
        for s, v in zip(r.structures, r.values, strict=True)
    ]
    figures = summarise(results) | {"condition": config.condition, "judge": judging.digest}
    _write(out, "condition", figures, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))
    draw_condition(results, judging.property.label, out / "condition.png")


@app.command("property-search")
def property_search(
    data: Annotated[Path, typer.Option(help="Training crystals with a column of the property.")],
    out: Annotated[Path, typer.Option(help="Folder of property_search.json, .csv and .png.")],
    searcher: Annotated[str, typer.Option(metavar="NAME|PATH", help="Property model that leads the search.")],
    judge: Annotated[str, typer.Option(metavar="NAME|PATH", help="Another property model, which judges.")],
    starts: Annotated[
        Path | None, typer.Option(help="Crystals to start from; without them, crystals of --data.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of starts, chosen at random.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Steps of each search.")] = 8,
    draws: Annotated[int, typer.Option(min=2, help="Crystals decoded in each step.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the choice of starts and of the draws.")] = 0,
    model: ModelOption = "perovskites",
    device: DeviceOption = "cpu",
) -> None:
    """Search latent space for low values and have the finds judged by a model that did not lead the search.

    **Example**

        icsg3d evaluate property-search --data perovskites.json.gz --searcher runs/heat/model
        --judge runs/judge/model --out runs/search
    """
    import numpy as np
    import pandas as pd

    from icsg3d.data import load_structures
    from icsg3d.errors import InputError
    from icsg3d.evaluation.property_search import search_from, success_rates
    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.properties.predictor import PropertyPredictor
    from icsg3d.report.evaluations import draw_search

    check_device(device)
    generator = CrystalGenerator.from_pretrained(model, device)
    leading, judging = (PropertyPredictor.from_pretrained(name, device) for name in (searcher, judge))
    if leading.digest == judging.digest:
        raise InputError("the model that searches cannot judge itself; name another --judge")
    name = leading.property.name
    table = load_structures(data)
    if judging.property.name != name or name not in table.frame.columns:
        raise InputError(f"{searcher} predicts {name}; --judge must too, and {data} needs a column of that name")
    training = pd.to_numeric(table.frame[name], errors="coerce").to_numpy(float)
    if not np.isfinite(training).any():
        raise InputError(f"{data} has no number in its column {name}; give training crystals with values")
    pool = table.structures if starts is None else load_structures(starts).structures
    chosen = np.random.default_rng(seed).permutation(len(pool))[:count]
    target = float(training[np.isfinite(training)].min())

    def judged(structures: list[Structure]) -> np.ndarray:
        return judging.predict(structures).values

    results = []
    for number, i in enumerate(_tracked(chosen, "searching", len(chosen))):
        try:
            results.append(
                search_from(generator, leading, judged, pool[i], target, rounds=rounds, draws=draws, seed=seed + number)
            )
        except InputError as error:
            report_skipped({f"start {pool[i].composition.reduced_formula}": str(error)})
    figures = success_rates(results, training) | {
        "starts_failed": len(chosen) - len(results),
        "property": name,
        "searcher": leading.digest,
        "judge": judging.digest,
    }
    rows = [
        {"start": r.start, "rank": rank, "formula": s.composition.reduced_formula, "searched": a, "judged": b}
        for r in results
        for rank, (s, a, b) in enumerate(zip(r.structures, r.searched, r.judged, strict=True))
    ]
    _write(out, "property_search", figures, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))
    draw_search(results, training, leading.property.label, out / "property_search.png")


def _tracked(items: Iterable[Any], text: str, total: int) -> Iterable[Any]:
    """Yield items under a progress bar."""
    with progress_bar() as bar:
        task = bar.add_task(text, total=total)
        for item in items:
            yield item
            bar.advance(task)


def _rebuilt(structures: list[Structure], model: str, device: str) -> list[Structure | None]:
    """Encode and decode crystals; None where that fails."""
    from icsg3d.errors import InputError

    generator = _generator(model, device)
    found: list[Structure | None] = [None] * len(structures)
    good = []
    for index, structure in enumerate(structures):
        try:
            generator.prepare(structure)
            good.append(index)
        except InputError as error:
            report_skipped({structure.composition.reduced_formula: str(error)})
    starts = range(0, len(good), 32)
    for start in _tracked(starts, "rebuilding (32 at a time)", len(starts)):
        rows = good[start : start + 32]
        for row, decoded in zip(rows, generator.reconstruct([structures[i] for i in rows]), strict=True):
            found[row] = decoded.structure
    return found


def _generated(n: int, seed: int, model: str, device: str) -> list[Structure]:
    """Draw crystals from a model; draws that gave none are missing."""
    generator = _generator(model, device)
    decoded = generator.iter_decode(generator.latent_sample(n, seed=seed))
    return [each.structure for each in _tracked(decoded, "generating", n) if each.structure is not None]


def _placing(phases: list[Path] | None) -> Callable[[list[Structure]], dict[str, Any]]:
    """Read known phases, load CHGNet, and return what relaxes crystals under a progress bar: their stability."""
    from icsg3d.data import load_structures
    from icsg3d.evaluation.stability import ChgnetEnergies, stability

    known = load_structures(phases).structures if phases else []
    energies = ChgnetEnergies()

    def place(samples: list[Structure]) -> dict[str, Any]:
        with progress_bar() as bar:
            task = bar.add_task("relaxing with CHGNet", total=len(samples))
            return stability(samples, known, energies, lambda: bar.advance(task))

    return place


def _generator(model: str, device: str) -> CrystalGenerator:
    from icsg3d.generation.generator import CrystalGenerator

    return CrystalGenerator.from_pretrained(model, device)


def _write(out: Path, name: str, figures: dict[str, Any], table: str) -> None:
    """Write figures and table and print the figures."""
    from icsg3d.files import write_atomically

    out.mkdir(parents=True, exist_ok=True)
    _write_figures(out, name, figures)
    write_atomically(out / f"{name}.csv", table.encode())
    _print(out, name, figures)


def _write_figures(out: Path, name: str, figures: dict[str, Any]) -> None:
    from icsg3d.files import write_atomically

    write_atomically(out / f"{name}.json", json.dumps(figures, indent=1).encode())


def _print(out: Path, name: str, figures: dict[str, Any]) -> None:
    """Print figures and where they are."""
    from rich.console import Console
    from rich.table import Table

    printed = Table(name)
    printed.add_column("value")
    for key, value in figures.items():
        printed.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(printed)
    say(f"written to [bold]{out}[/]")
