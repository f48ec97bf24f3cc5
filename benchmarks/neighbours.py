"""How many neighbours of known crystals differ from them and keep their anonymous formula, by noise level.

python -m benchmarks.neighbours --level 0.65 --draws 48
"""

from __future__ import annotations

import argparse

import numpy as np

from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure

BASES = ("SrTiO3", "CsPbI3", "Cu2MnAl", "NaCl", "MgO", "BaTiO3", "Fe2VAl", "LaAlO3", "GaAs", "KMgF3")


def main() -> None:
    """Print a line for each base, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--level", type=float, default=0.65)
    parser.add_argument("--draws", type=int, default=48)
    parser.add_argument("--model", default="cubic")
    given = parser.parse_args()
    generator = CrystalGenerator.from_pretrained(given.model)
    rows = []
    for formula in BASES:
        base = prototype_structure(formula).composition
        decoded = generator.sample_around(prototype_structure(formula), given.draws, given.level)
        found = [each.structure.composition for each in decoded if each.structure is not None]
        differ = sum(each.reduced_formula != base.reduced_formula for each in found)
        keep = sum(each.anonymized_formula == base.anonymized_formula for each in found)
        rows.append((len(found), differ, keep))
        formulas = len({each.reduced_formula for each in found})
        print(f"{formula}: {len(found)} crystals of {formulas} formulas, {differ} differ, {keep} keep the formula type")
    total = np.sum(rows, axis=0)
    print(f"all: {total[0]} crystals, {total[1]} differ, {total[2]} keep the formula type")


if __name__ == "__main__":
    main()
