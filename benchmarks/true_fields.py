"""How exactly atoms are read from the true fields of crystals: what a generator's decoder could do at best.

python -m benchmarks.true_fields mp20_val.npz

Each crystal of a compact table is moved by a random translation in its reduced cell.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from icsg3d.bars import bars
from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.crystals.cells import reduced_cell
from icsg3d.crystals.comparison import site_distances
from icsg3d.crystals.elements import MAX_NUMBER
from icsg3d.data.compact_arrays import read_compact
from icsg3d.progress import track
from icsg3d.representation.fields import FieldConfig, nearest_atoms
from icsg3d.representation.sites import sites_of_targets


def main() -> None:
    """Draw fields, read, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="compact table (.npz)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    config, random = FieldConfig(), np.random.default_rng(0)
    crystals = read_compact(given.table).crystals
    right, errors, points = 0, list[np.ndarray](), list[int]()
    with bars():
        for crystal in track(crystals, "reading"):
            reduced = reduced_cell(crystal)
            moved = CrystalArrays(reduced.numbers, (reduced.frac_coords + random.random(3)) % 1, reduced.lattice)
            shape = config.shape(moved.lattice)
            points.append(int(np.prod(shape)))
            targets = nearest_atoms(CrystalBatch.from_arrays([moved], dtype=torch.float64), shape, config)
            found = sites_of_targets(targets, moved.lattice, shape, MAX_NUMBER)
            distances = site_distances(moved, CrystalArrays(found.numbers, found.frac_coords, moved.lattice))
            if distances is not None:
                right += 1
                errors.append(distances)
    size = np.array(points)
    print(f"{right} of {len(crystals)} with the right atoms, sites off by {np.concatenate(errors).mean():.2g} angstrom")
    shares = f"{(size <= 3000).mean():.1%} up to 3,000, {(size <= 6000).mean():.1%} up to 6,000"
    print(f"{size.mean():.0f} points on average, {shares}")


if __name__ == "__main__":
    main()
