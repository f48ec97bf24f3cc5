"""How well the shipped hull gives published distances, and how fast it is.

python -m benchmarks.hull ../shared/data/mp20_val.npz
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from pymatgen.core import Composition

from icsg3d.crystals.elements import symbols
from icsg3d.hull import ReferenceHull


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="compact arrays with formation energies and distances from the hull")
    given = parser.parse_args()
    with np.load(given.data, allow_pickle=False) as file:
        counts, numbers = file["natoms"].astype(int), file["Z"]
        energies, published = file["formation_energy_per_atom"].astype(float), file["e_above_hull"].astype(float)
    ends, names, compositions = np.cumsum(counts), symbols(), []
    for count, end in zip(counts, ends, strict=True):
        species, amounts = np.unique(numbers[end - count : end], return_counts=True)
        compositions.append(Composition({names[z]: int(n) for z, n in zip(species, amounts, strict=True)}))
    hull = ReferenceHull.shipped()
    order = np.random.default_rng(0).permutation(len(compositions))
    errors, started = [], time.perf_counter()
    for place, row in enumerate(order):
        position = hull.place(compositions[row], energies[row])
        errors.append(abs(max(position.energy_above_hull, 0.0) - published[row]))
        if place == 999:
            print(f"the first 1,000: {time.perf_counter() - started:.1f} s")
    mean, median, high = np.mean(errors), np.median(errors), np.quantile(errors, 0.95)
    print(f"{len(errors)} crystals, eV per atom:", end=" ")
    print(f"mean {mean:.4f}, median {median:.4f}, 95 % {high:.4f}, max {max(errors):.2f}")


if __name__ == "__main__":
    main()
