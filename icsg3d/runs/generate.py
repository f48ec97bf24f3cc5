"""A run of the generator: from a base, or freely, to a folder of candidates."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icsg3d.crystals.structures import as_structure
from icsg3d.errors import InputError, Interrupted
from icsg3d.generation.candidates import Draws
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import looks_like_formula, prototype_structure
from icsg3d.models.decoding import SYMMETRY_TOLERANCE
from icsg3d.models.density import SCALE
from icsg3d.progress import track
from icsg3d.report.folders import CANDIDATE_FILES, CandidateFolder, unique_structures
from icsg3d.report.page import write_report
from icsg3d.report.pictures import draw_candidates
from icsg3d.run_folders import run_folder
from icsg3d.screening.screen import space_group

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from icsg3d.crystals.structures import Crystal
    from icsg3d.generation.candidates import Candidate

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generated:
    """What came of a run.

    Attributes:
        folder: Of the results.
        candidates: One for each draw.
    """

    folder: Path
    candidates: list[Candidate]

    def __str__(self) -> str:
        """Return the counts in a sentence."""
        crystals = [each for each in self.candidates if each.structure is not None]
        unique = unique_structures(self.candidates)
        new = [each for each in unique if each.in_training is False]
        told = ""
        if all(each.in_training is not None for each in unique):
            told = f", {len(new)} of a composition not trained on"
        return f"{len(self.candidates)} draws: {len(crystals)} crystals, {len(unique)} of them different{told}"


def generate(
    out: Path,
    base: Crystal | None = None,
    *,
    n: int = 20,
    scale: float = SCALE,
    condition: float | None = None,
    seed: int = 0,
    model: str = "cubic",
    device: str = "cpu",
    symmetry: float = SYMMETRY_TOLERANCE,
    resume: bool = False,
    overwrite: bool = False,
    picture: bool = True,
) -> Generated:
    """Design new crystals around a given one, or freely.

    Args:
        out: Folder of the results.
        base: Crystal to start from: a Structure, Atoms, a file or a formula; None for free draws.
        n: Number of draws.
        scale: Noise level around the base: near 0 the base itself, at 1 nothing is left of it.
        condition: Energy per atom to ask for, in eV, without a base.
        seed: The same seed gives the same crystals.
        model: Shipped generator, or folder of a trained one.
        device: Where the networks run.
        symmetry: Crystals are brought to the symmetry they have within this distance in angstrom; 0 for none.
        resume: Take up what an interrupted run left.
        overwrite: Replace what an earlier run left.
        picture: Whether to draw the first crystals and their grids, and to write ``report.html``.

    Raises:
        InputError: if an option or the base cannot be used, or the folder holds another run.
        Interrupted: on Ctrl-C, once the tables of what there is have been written.
    """
    if n < 1:
        raise InputError(f"-n must be at least 1, got {n}")
    if base is not None and condition is not None:
        raise InputError("--condition goes with free draws; leave out --base or --condition")
    structure = None if base is None else base_structure(base)
    generator = CrystalGenerator.from_pretrained(model, device, symmetry)
    draws = Draws.make(generator, structure, n, scale=scale, condition=condition, seed=seed)
    if structure is not None:
        _log.info(_described_base(structure))
    if condition is not None:
        _log.info(_described_condition(generator, condition))
    settings = _settings(generator, draws)
    with run_folder(
        out, CANDIDATE_FILES, settings, holds="candidates", resume=resume, overwrite=overwrite
    ) as resumed:
        folder = CandidateFolder(out, settings, resume=resumed)
        if len(folder.candidates) > n:
            raise InputError(f"{out} holds {len(folder.candidates)} draws already; ask for as many or more with -n")
        _decode(generator, folder, draws)
        folder.write_tables()
        if picture:
            draw_candidates(generator, folder, draws.latent, condition)
            write_report(out, device=device)
    return Generated(out, folder.candidates)


def base_structure(base: Crystal) -> Structure:
    """Return the crystal to start from: a crystal or file as it is, a formula as the prototype of least energy.

    Raises:
        InputError: if it is neither.
    """
    if isinstance(base, str) and looks_like_formula(base) and not Path(base).exists():
        return prototype_structure(base)
    return as_structure(base)


def _decode(generator: CrystalGenerator, folder: CandidateFolder, draws: Draws) -> None:
    n, done = len(draws.latent), len(folder.candidates)
    found = draws.candidates(generator, folder.missing(n))
    try:
        for candidate in track(found, "generating", total=n, done=done):
            folder.add(candidate)
    except KeyboardInterrupt as stop:
        folder.write_tables()
        raise Interrupted(
            f"interrupted after {len(folder.candidates)} of {n} draws, which are in {folder.folder}; repeat the "
            "command with --resume to finish"
        ) from stop


def _described_base(structure: Structure) -> str:
    """Return formula, space group and lattice parameters, as a formula alone does not say what was started from."""
    lengths = " x ".join(f"{length:.2f}" for length in structure.lattice.abc)
    symbol = space_group(structure, tolerance=0.1) or "no space group"
    return f"base: {structure.composition.reduced_formula}, {symbol}, {lengths} angstrom"


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


def _settings(generator: CrystalGenerator, draws: Draws) -> dict[str, Any]:
    structure = None if draws.base is None else draws.base.structure
    return {
        "base": "" if structure is None else structure.composition.reduced_formula,
        "base_structure": None if structure is None else structure.as_dict(),
        "scale": draws.scale,
        "condition": draws.condition,
        "seed": draws.seed,
        "symmetry_tolerance": generator.symmetry_tolerance,
    } | generator.as_dict()
