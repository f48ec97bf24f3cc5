"""How many crystals of a compact table come back straight through a generator's networks, without a search.

python -m benchmarks.straight_through mp20_val.npz --model materials -n 256
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from icsg3d.crystals.structures import from_arrays
from icsg3d.data.compact_arrays import read_compact
from icsg3d.evaluation.reconstruction import compare, match_rates_by_size, summarise
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.refusals import usable


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
    generator = CrystalGenerator.from_pretrained(given.model)
    prepared = usable(structures, generator.prepare)
    print(f"refused: {len(prepared.refused)}")
    taken = [structures[row] for row in prepared.rows]
    decoded = generator.decode(generator.encode(taken))
    settings = [setting for _, setting in prepared.results]
    made = [each.in_setting(setting).structure for each, setting in zip(decoded, settings, strict=True)]
    results = [compare(true, found) for true, found in zip(taken, made, strict=True)]
    sizes = [len(arrays) for arrays, _ in prepared.results]
    for name, value in (summarise(results) | match_rates_by_size(results, sizes)).items():
        print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    main()
