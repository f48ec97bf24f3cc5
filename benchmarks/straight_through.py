"""How many crystals of a compact table come back straight through a generator's networks, without a search.

What the model refuses counts as a miss.

python -m benchmarks.straight_through mp20_val.npz --model materials -n 256
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icsg3d.crystals.structures import from_arrays
from icsg3d.data.compact_arrays import read_compact
from icsg3d.evaluation.reconstruction import compare, match_rates_by_size, primitive_size, summarise
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.refusals import usable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure


def straight_through(generator: CrystalGenerator, structures: Sequence[Structure]) -> list[Structure | None]:
    """Return what comes back of each crystal; None, a miss, for those that the model refuses (their number is told)."""
    prepared = usable(structures, generator.prepare)
    print(f"refused: {len(prepared.refused)}")
    made: list[Structure | None] = [None] * len(structures)
    if prepared.rows:
        decoded = generator.decode(generator.encode([structures[row] for row in prepared.rows]))
        for row, each, (_, setting) in zip(prepared.rows, decoded, prepared.results, strict=True):
            made[row] = each.in_setting(setting).structure
    return made


def main() -> None:
    """Encode, decode, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="compact table (.npz)")
    parser.add_argument("--model", default="materials")
    parser.add_argument("-n", type=int, default=256, help="crystals, drawn at random")
    given = parser.parse_args()
    table = read_compact(given.table)
    rows = np.random.default_rng(0).choice(len(table.crystals), given.n, replace=False)
    structures = [from_arrays(table.crystals[row]) for row in rows]
    made = straight_through(CrystalGenerator.from_pretrained(given.model), structures)
    results = [compare(true, found) for true, found in zip(structures, made, strict=True)]
    sizes = [primitive_size(structure) for structure in structures]
    for name, value in (summarise(results) | match_rates_by_size(results, sizes)).items():
        print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    main()
