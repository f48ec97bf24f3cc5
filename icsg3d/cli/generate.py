"""``icsg3d generate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from icsg3d.cli.console import (
    DeviceOption,
    ModelOption,
    ResumeOption,
    SymmetryOption,
    check_device,
    fail,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from icsg3d.generation.candidates import Draws
    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.report.folders import CandidateFolder

_EXAMPLES = """
**Examples**

    icsg3d generate --base SrTiO3 -n 20 --out runs/strontium-titanate

    icsg3d generate --base my_crystal.cif -n 100 --scale 0.8 --seed 1 --out runs/wider

    icsg3d generate -n 1000 --condition -1.5 --out runs/stable
"""


def generate(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    base: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FORMULA",
            help="Crystal to start from: a file, or an AB, ABX3 or A2BC formula. Without it, any crystal may come.",
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", help="Number of draws.")] = 20,
    scale: Annotated[
        float, typer.Option(help="Noise level around the base: near 0 the base itself, at 1 nothing is left of it.")
    ] = 0.65,
    condition: Annotated[
        float | None,
        typer.Option(
            help="Energy per atom to ask for, in eV (without a base). The model knows ten ranges and takes the one in "
            "which it lies, which is printed."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same crystals.")] = 0,
    model: ModelOption = "cubic",
    device: DeviceOption = "cpu",
    symmetry: SymmetryOption = 0.25,
    resume: ResumeOption = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier run left in the folder.")
    ] = False,
    picture: Annotated[bool, typer.Option(help="Draw the first crystals and their grids.")] = True,
) -> None:
    """Design new crystals around a given one, or freely.

    Writes `candidates.json.gz`, `candidates.csv`, `cifs/` and `candidates.png`. Every draw has a row; where it gave no
    crystal the row says why.
    """
    from icsg3d.errors import InputError
    from icsg3d.generation.candidates import Draws
    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.report.folders import CandidateFolder

    if n < 1:
        raise InputError(f"-n must be at least 1, got {n}")
    if base is not None and condition is not None:
        raise InputError("--condition goes with free draws; leave out --base or --condition")
    check_device(device)
    structure = None if base is None else _base_structure(base)
    generator = CrystalGenerator.from_pretrained(model, device, symmetry)
    draws = Draws.make(generator, structure, n, scale=scale, condition=condition, seed=seed)
    if structure is not None:
        say(_told(structure))
    if condition is not None:
        say(_asked(generator, condition))
    settings = _settings(generator, draws)
    folder = CandidateFolder(out, settings, resume=resume, overwrite=overwrite)
    if len(folder.candidates) > n:
        raise InputError(f"{out} holds {len(folder.candidates)} draws already; ask for as many or more with -n")
    try:
        _run(generator, folder, draws)
    except KeyboardInterrupt:
        folder.write_tables()
        fail(
            f"interrupted after {len(folder.candidates)} of {n} draws, which are in {out}; repeat the command with "
            "--resume to go on",
            code=130,
        )
    folder.write_tables()
    _summarise(folder, n)
    if picture:
        from icsg3d.report.pictures import draw_candidates

        draw_candidates(generator, folder, draws.latent, condition)


generate.__doc__ = (generate.__doc__ or "") + _EXAMPLES


def _base_structure(base: str) -> Structure:
    from icsg3d.crystals.structures import read_structure
    from icsg3d.generation.prototypes import looks_like_formula, prototype_structure

    if Path(base).exists() or not looks_like_formula(base):
        return read_structure(base)
    return prototype_structure(base)


def _told(structure: Structure) -> str:
    """Return formula, space group and edges of the base, as a formula alone does not say what was started from."""
    from icsg3d.screening.screen import space_group

    edges = " x ".join(f"{edge:.2f}" for edge in structure.lattice.abc)
    symbol = space_group(structure, tolerance=0.1) or "no space group"
    return f"base: {structure.composition.reduced_formula}, {symbol}, {edges} angstrom"


def _asked(generator: CrystalGenerator, condition: float) -> str:
    """Return which energies count as the one asked for: the model knows ten ranges and no more."""
    config = generator.network.config
    low, high = config.energy_range(condition)
    edges = [f"above {low:.2f}"] if math.isfinite(low) else []
    edges += [f"up to {high:.2f}"] if math.isfinite(high) else []
    return (
        f"asking for {config.condition} {' and '.join(edges)} eV/atom, the range of {generator.name} with {condition:g}"
    )


def _settings(generator: CrystalGenerator, draws: Draws) -> dict[str, Any]:
    structure = draws.structure
    return {
        "base": "" if structure is None else structure.composition.reduced_formula,
        "base_structure": None if structure is None else structure.as_dict(),
        "scale": draws.scale,
        "condition": draws.condition,
        "seed": draws.seed,
        "symmetry_tolerance": generator.symmetry_tolerance,
    } | generator.as_dict()


def _run(generator: CrystalGenerator, folder: CandidateFolder, draws: Draws) -> None:
    from icsg3d.crystals.matching import Duplicates

    duplicates = Duplicates()
    for candidate in folder.candidates:
        if candidate.structure is not None and candidate.duplicate_of is None:
            duplicates.first_of(candidate.index, candidate.structure)
    done = len(folder.candidates)
    with progress_bar() as progress:
        task = progress.add_task("generating", total=len(draws.latent), completed=done)
        for candidate in draws.candidates(generator, start=done):
            if candidate.structure is not None:
                candidate.duplicate_of = duplicates.first_of(candidate.index, candidate.structure)
            folder.add(candidate)
            progress.advance(task)


def _summarise(folder: Any, n: int) -> None:
    from icsg3d.report.folders import unique_structures

    crystals = [c for c in folder.candidates if c.structure is not None]
    unique = unique_structures(folder.candidates)
    new = [c for c in unique if c.in_training is False]
    told = "" if any(c.in_training is None for c in unique) else f", {len(new)} of a composition not trained on"
    say(f"{n} draws: {len(crystals)} crystals, {len(unique)} of them different{told}, in [bold]{folder.folder}[/]")
