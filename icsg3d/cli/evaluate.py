"""``icsg3d evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from icsg3d.cli import completion
from icsg3d.cli.console import DeviceOption, ModelOption, ProcessesOption, ResumeOption, bold, check_device, say
from icsg3d.defaults import GENERATOR

app = typer.Typer(no_args_is_help=True, help="Measure how well crystals are found, rebuilt and generated.")

SearcherOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|PATH", autocompletion=completion.properties, help="Property model that leads the search."
    ),
]
OtherJudgeOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|PATH", autocompletion=completion.properties, help="Another property model, which judges."
    ),
]


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
    from icsg3d.runs.evaluate import evaluate_segmentation

    options: dict[str, Any] = {
        "preset": preset,
        "grid": grid,
        "limit": limit,
        "primitive": primitive,
        "compare": compare,
    }
    _print(out, "segmentation", evaluate_segmentation(data, out, **options))


@app.command()
def reconstruction(
    data: Annotated[Path, typer.Option(help="Crystals, not among those the model was trained on.")],
    out: Annotated[Path, typer.Option(help="Folder of reconstruction.json, reconstruction.csv and .png.")],
    rebuilt: Annotated[
        Path | None, typer.Option(help="What icsg3d reconstruct made of the same data; else it is made here.")
    ] = None,
    model: ModelOption = GENERATOR,
    device: DeviceOption = "cpu",
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first crystals.")] = None,
    jobs: ProcessesOption = -1,
    resume: ResumeOption = False,
) -> None:
    """Encode crystals, decode them again, and compare: match rate, displacement, lattice and position errors.

    Rates are over all crystals; what cannot be encoded or decoded is a miss.

    **Examples**

        icsg3d evaluate reconstruction --data held_out.json.gz --model perovskites --out runs/rebuilt

        icsg3d evaluate reconstruction --data held_out.json.gz --rebuilt rebuilt.json.gz --out runs/rebuilt
    """
    from icsg3d.runs.evaluate import evaluate_reconstruction

    check_device(device)
    options: dict[str, Any] = {
        "rebuilt": rebuilt,
        "model": model,
        "device": device,
        "limit": limit,
        "jobs": jobs,
        "resume": resume,
    }
    _print(out, "reconstruction", evaluate_reconstruction(data, out, **options))


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
        list[Path] | None,
        typer.Option(help="Known crystals that compete with them, instead of the shipped hull; repeatable."),
    ] = None,
    model: ModelOption = "perovskites",
    seed: Annotated[int, typer.Option(help="Of the draws, and of the choice of 1,000 valid ones.")] = 0,
    device: DeviceOption = "cpu",
    jobs: ProcessesOption = -1,
    resume: ResumeOption = False,
) -> None:
    """Judge generated crystals: validity, coverage, distributions of density, elements and energy, uniqueness, novelty.

    **Examples**

        icsg3d evaluate generation --data held_out.json.gz --model perovskites --out runs/judged

        icsg3d evaluate generation --data held_out.json.gz --samples runs/mine/candidates.json.gz --out runs/judged
    """
    from icsg3d.runs.evaluate_generation import evaluate_generation

    check_device(device)
    options: dict[str, Any] = {"samples": samples, "training": training, "n": n, "cutoffs": cutoffs, "relax": stability}
    options |= {"phases": phases or [], "model": model, "seed": seed, "device": device, "jobs": jobs}
    _print(out, "generation", evaluate_generation(data, out, **options, resume=resume))


@app.command()
def condition(
    out: Annotated[Path, typer.Option(help="Folder of condition.json, condition.csv and .png.")],
    judge: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH", autocompletion=completion.properties, help="Property model of the energy in question."
        ),
    ],
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Draws for each bin.")] = 200,
    model: ModelOption = "perovskites",
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    device: DeviceOption = "cpu",
    resume: ResumeOption = False,
) -> None:
    """Ask for crystals of each of the ten bins of energy and have a property model judge the crystals.

    **Example**

        icsg3d evaluate condition --model perovskites --judge runs/judge/model --out runs/condition
    """
    from icsg3d.runs.evaluate import evaluate_condition

    check_device(device)
    options: dict[str, Any] = {"n": n, "model": model, "seed": seed, "device": device, "resume": resume}
    _print(out, "condition", evaluate_condition(out, judge, **options))


@app.command("property-search")
def property_search(
    data: Annotated[Path, typer.Option(help="Training crystals with a column of the property.")],
    out: Annotated[Path, typer.Option(help="Folder of property_search.json, .csv and .png.")],
    searcher: SearcherOption,
    judge: OtherJudgeOption,
    starts: Annotated[
        Path | None, typer.Option(help="Crystals to start from; without them, crystals of --data.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of starts, chosen at random.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Steps of each search.")] = 8,
    draws: Annotated[int, typer.Option(min=2, help="Crystals decoded in each step.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the choice of starts and of the draws.")] = 0,
    model: ModelOption = "perovskites",
    device: DeviceOption = "cpu",
    resume: ResumeOption = False,
) -> None:
    """Search latent space for low values and have the finds judged by a model that did not lead the search.

    **Example**

        icsg3d evaluate property-search --data perovskites.json.gz --searcher runs/heat/model
        --judge runs/judge/model --out runs/search
    """
    from icsg3d.runs.evaluate import evaluate_property_search

    check_device(device)
    options: dict[str, Any] = {"starts": starts, "count": count, "rounds": rounds, "draws": draws, "seed": seed}
    options |= {"model": model, "device": device, "resume": resume}
    figures = evaluate_property_search(data, out, searcher, judge, **options)
    _print(out, "property_search", figures)


def _print(out: Path, name: str, figures: dict[str, Any]) -> None:
    """Print figures and where they are."""
    from rich.console import Console
    from rich.table import Table

    printed = Table(name)
    printed.add_column("value")
    for key, value in figures.items():
        printed.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(printed)
    say(f"written to {bold(out)}")
