"""Relax draws with CHGNet and say how many are stable, unique and novel at once (S.U.N.), nothing filtered.

python -m benchmarks.sun --model materials -n 200 --seed 0 --out runs/sun.json

With candidates that ``icsg3d generate`` has ranked, the first of those that passed:

python -m benchmarks.sun --candidates runs/ranked/candidates.json.gz --first 50 --out runs/first.json

Every draw is scaled to its equilibrium volume and brought to the minimum of the predicted energy, as ``icsg3d
generate`` does, then relaxed with CHGNet. Its formation energy by CHGNet, on the Materials Project's corrected scale,
is placed against the shipped hull. Stable is a draw at most 0.1 (or 0) eV/atom above the hull, unique one that
pymatgen's StructureMatcher takes for no earlier draw, novel one whose formula neither a training crystal of the model
nor the hull has. Where a model holds its training crystals, a draw of a known formula is new in structure if
StructureMatcher takes it for none of them; one of a formula that only the hull has is not. A draw that does not decode
or whose relaxation fails is a miss; one that has not converged after 200 steps counts with the energy it has.
Displacements are root mean squares over the atoms, of the crystal that CHGNet has relaxed against the one it began
with. Attempts are how often a draw was made until its atoms were what they should be.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher

from icsg3d.crystals.structures import from_arrays
from icsg3d.data.compact_arrays import reduced_formula
from icsg3d.evaluation.generation import repeats
from icsg3d.evaluation.stability import ChgnetEnergies, above_reference_hull
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.grid_space import GridSpace
from icsg3d.hull import ReferenceHull
from icsg3d.progress import track
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.relaxing import relaxed
from icsg3d.properties.surface import EnergySurface
from icsg3d.properties.volume import VolumePredictor
from icsg3d.report.folders import read_candidates

if TYPE_CHECKING:
    from pymatgen.core import Structure

LEVELS = (0.1, 0.0)


def training_crystals(generator: CrystalGenerator, formulas: set[str]) -> dict[str, list[Structure]]:
    """Return the training crystals of some formulas, of a model that holds them."""
    found: dict[str, list[Structure]] = {}
    if isinstance(generator.space, GridSpace):
        known = generator.space.networks.known
        for row in range(len(known)):
            crystal = known.crystal(row)
            formula = reduced_formula(crystal.numbers)
            if formula in formulas:
                found.setdefault(formula, []).append(from_arrays(crystal))
    return found


def is_new(structure: Structure, learned: dict[str, list[Structure]], known: set[str]) -> bool:
    """Return whether a crystal is none of those that were learned, and not of a formula of which no more is known."""
    formula = structure.composition.reduced_formula
    if formula not in learned:
        return formula not in known
    return not any(StructureMatcher().fit(structure, other) for other in learned[formula])


def displacement(before: Structure, after: Structure) -> float:
    """Return the root mean square displacement in angstrom, the volumes made equal; NaN where they do not match."""
    copy = before.copy()
    copy.scale_lattice(after.volume)
    found = StructureMatcher(0.5, 0.7, 20, primitive_cell=False, scale=False).get_rms_dist(copy, after)
    return float("nan") if found is None else float(found[0]) * (after.volume / len(after)) ** (1 / 3)


def at_minimum(structure: Structure | None) -> Structure | None:
    """Return a crystal at the minimum of the predicted energy; where there is none, as it is."""
    found = None if structure is None else relaxed(structure, surface())
    return structure if found is None else found.structure


@cache
def surface() -> EnergySurface:
    """Return the predicted energy."""
    return EnergySurface(PropertyPredictor.from_pretrained("formation_energy_per_atom").model)


def main() -> None:
    """Draw, relax, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="materials")
    parser.add_argument("-n", type=int, default=200, help="draws, without --candidates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--candidates", type=Path, help="candidates.json.gz of icsg3d generate")
    parser.add_argument("--first", type=int, default=50, help="so many of the candidates that passed")
    parser.add_argument(
        "--relax",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="bring draws to the minimum of the predicted energy first, as icsg3d generate does",
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file of rows and figures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator = CrystalGenerator.from_pretrained(given.model)
    started = time.perf_counter()
    attempts: list[int] = []
    if given.candidates is None:
        decoded = generator.sample(given.n, seed=given.seed)
        draws = [each.structure for each in decoded]
        attempts = [getattr(each.latent, "attempts", 1) for each in decoded]
    else:
        ranked = read_candidates(given.candidates)
        draws = [each.structure for each in ranked if each.screening.get("passed")][: given.first]
    n, seconds = len(draws), time.perf_counter() - started
    kept = [row for row, each in enumerate(draws) if each is not None]
    scaled = [draws[row] for row in kept]
    if given.candidates is None:  # candidates are at the minimum of the predicted energy
        scaled = VolumePredictor.from_pretrained().settle(scaled)
        if given.relax:
            scaled = [at_minimum(each) for each in track(scaled, "relaxing by the predicted energy")]
    repeated = repeats([draws[row] for row in kept], jobs=1)[:, 0]
    hull, energies = ReferenceHull.shipped(), ChgnetEnergies()
    known = {*hull.formulas, *(generator.training_formulas() or ())}
    learned = training_crystals(generator, {draws[row].composition.reduced_formula for row in kept})
    references: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    for row, structure, repeat in zip(kept, scaled, repeated, strict=True):
        formula = draws[row].composition.reduced_formula
        found: dict[str, Any] = {"draw": row, "formula": formula, "novel": formula not in known, "unique": not repeat}
        found["new_structure"] = is_new(draws[row], learned, known)
        after, energy = (None, float("nan")) if structure is None else energies.relax(structure)
        if structure is not None and after is not None:
            found["above_hull"] = above_reference_hull(after, energy, hull, references, energies)
            found["volume_change"] = after.volume / structure.volume - 1
            found["displacement"] = displacement(structure, after)
        rows.append(found)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({"rows": rows, "figures": figures(rows, n, seconds, attempts)}, indent=1))
    print(json.dumps(figures(rows, n, seconds, attempts), indent=1))


def figures(rows: list[dict[str, Any]], n: int, seconds: float, attempts: list[int]) -> dict[str, float]:
    """Return shares of all draws."""
    above = np.array([row.get("above_hull", np.nan) for row in rows])
    new = np.array([row["novel"] and row["unique"] for row in rows])
    new_structure = np.array([row["new_structure"] and row["unique"] for row in rows])
    found: dict[str, float] = {
        "draws": n,
        "judged": int(np.isfinite(above).sum()),
        "unique": sum(r["unique"] for r in rows) / n,
    }
    found["novel"] = sum(row["novel"] for row in rows) / n
    for level in LEVELS:
        found[f"within_{level:g}"] = float((above <= level).sum() / n)
        found[f"sun_{level:g}"] = float(((above <= level) & new).sum() / n)
        found[f"sun_by_structure_{level:g}"] = float(((above <= level) & new_structure).sum() / n)
    moved = np.array([row.get("displacement", np.nan) for row in rows])
    changed = np.abs([row.get("volume_change", np.nan) for row in rows])
    found |= {"mean_displacement": float(np.nanmean(moved)), "median_displacement": float(np.nanmedian(moved))}
    found["median_volume_change"] = float(np.nanmedian(changed))
    found["formulas"] = len({row["formula"] for row in rows})
    found |= {"attempts": float(np.mean(attempts))} if attempts else {}
    return found | {"draws_a_second": n / seconds}


if __name__ == "__main__":
    main()
