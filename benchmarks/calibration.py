"""Errors and uncertainties of property models by how far a crystal is from what they learned.

python -m benchmarks.calibration --data DIR
python -m benchmarks.calibration --data DIR --models DIR --property band_gap

Crystals are those that ``benchmarks.reach`` judges by: of ``mp20_val.npz``, and of the formulas that are held out of
``mp_structures.npz`` and the older sets. A prototype is an anonymous formula with a space group and a number of atoms;
it is known where a crystal that may be learned has it. A pair of elements is new where no such crystal has both.
Uncertainties of crystals that the model's were fitted to are cross-fitted, as there.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pymatgen.core import Composition
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from rich.console import Console
from rich.table import Table

from benchmarks.reach import ENERGY, Judged, cross_fitted, judged_sets
from icsg3d.crystals.structures import from_arrays
from icsg3d.data.compact_arrays import CompactCrystals, read_compact, reduced_formula
from icsg3d.data.targets import is_held_out
from icsg3d.progress import track
from icsg3d.properties.predictor import PropertyPredictor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from icsg3d.crystals.arrays import CrystalArrays

SYMPREC = 0.1
"""Angstrom, as in the data sets."""

ANOTHER_SCALE = ("mp_perovskites", ENERGY)
"""A set whose values have other corrections, and so say nothing of errors."""

Prototype = tuple[str, int, int]
Pair = tuple[int, int]


def prototype(crystal: CrystalArrays, space_group: int) -> Prototype:
    """Return anonymous formula, space group and number of atoms."""
    return Composition(reduced_formula(crystal.numbers)).anonymized_formula, space_group, len(crystal)


def pairs(crystal: CrystalArrays) -> set[Pair]:
    """Return the pairs of different elements of a crystal."""
    return set(itertools.combinations(sorted({int(z) for z in crystal.numbers}), 2))


def learned(data: CompactCrystals, name: str) -> tuple[set[Prototype], set[Pair]]:
    """Return prototypes and pairs of elements of the crystals that a model of a property may have learned."""
    values, groups = data.column(name), data.columns["space_group"]
    known = [] if values is None else np.flatnonzero(np.isfinite(values))
    rows = [i for i in known if not is_held_out(data.formulas[i])]
    crystals = [data.crystal(int(i)) for i in rows]
    prototypes = {prototype(crystal, int(groups[i])) for i, crystal in zip(rows, crystals, strict=True)}
    return prototypes, {pair for crystal in crystals for pair in pairs(crystal)}


def space_groups(crystals: Iterable[CrystalArrays]) -> list[int]:
    """Return spglib's space groups, 0 where it finds none."""
    found = []
    for crystal in track(list(crystals), "space groups"):
        try:
            found.append(SpacegroupAnalyzer(from_arrays(crystal), symprec=SYMPREC).get_space_group_number())
        except (TypeError, ValueError):
            found.append(0)
    return found


def rows_of(predictor: PropertyPredictor, sets: list[Judged], data: CompactCrystals) -> list[dict[str, object]]:
    """Return mean absolute error and shares within one and two sigma for each degree of strangeness."""
    crystals = [crystal for each in sets for crystal in each.crystals]
    true = np.concatenate([each.values for each in sets])
    found = predictor.predict_possible([from_arrays(crystal) for crystal in crystals])
    factors = cross_fitted(predictor, sets)
    stds = found.stds * np.concatenate([factors.get(each.name, np.ones(len(each.values))) for each in sets])
    prototypes, known = learned(data, predictor.property.name)
    old = np.array([prototype(c, g) in prototypes for c, g in zip(crystals, space_groups(crystals), strict=True)])
    met = np.array([pairs(crystal) <= known for crystal in crystals])
    errors, good = np.abs(found.values - true), np.isfinite(found.values)
    groups = {
        "known prototype, known pairs": old & met,
        "new prototype, known pairs": ~old & met,
        "known prototype, a new pair": old & ~met,
        "new prototype, a new pair": ~old & ~met,
        "unlike all that was learned": found.unlike,
        "all": np.ones(len(crystals), dtype=bool),
    }
    return [
        {
            "property": predictor.property.name,
            "crystals that are": label,
            "number": int(part.sum()),
            "mae": float(errors[part].mean()),
            "mean sigma": float(stds[part].mean()),
            "one_sigma": float((errors <= stds)[part].mean()),
            "two_sigma": float((errors <= 2 * stds)[part].mean()),
        }
        for label, part in ((label, part & good) for label, part in groups.items())
        if part.any()
    ]


def main() -> None:
    """Judge the models and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--models", type=Path, help="folder of model folders, instead of the shipped ones")
    parser.add_argument("--property", nargs="+", default=[ENERGY, "band_gap"], help="which properties")
    parser.add_argument("--out", type=Path, help="JSON file of the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = read_compact(arguments.data / "mp_structures.npz")
    rows: list[dict[str, object]] = []
    for name in arguments.property:
        predictor = PropertyPredictor.from_pretrained(arguments.models / name if arguments.models else name)
        sets = judged_sets(arguments.data, data, name)
        rows += rows_of(predictor, [each for each in sets if (each.name, name) != ANOTHER_SCALE], data)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))
    table = Table(*rows[0], title="python -m benchmarks.calibration")
    for row in rows:
        table.add_row(*(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
