"""Where the predicted energy of known crystals is lowest, as a factor of their lattice parameters; the truth is 1.

Run ``python -m benchmarks.scaling FILE [FILE ...]`` with data sets of relaxed crystals.
"""

from __future__ import annotations

import sys

import numpy as np

from icsg3d.data import load_structures
from icsg3d.properties.equilibrium import energy_minimum
from icsg3d.properties.predictor import PropertyPredictor

CRYSTALS = 150
ATOMS = 12


def main() -> None:
    predictor = PropertyPredictor.from_pretrained("formation_energy_per_atom")
    everything = []
    for path in sys.argv[1:]:
        table = load_structures(path)
        chosen = np.random.default_rng(0).permutation(len(table))[:CRYSTALS]
        crystals = [table.structures[row].get_primitive_structure() for row in chosen]
        factors = [energy_minimum(crystal, predictor) for crystal in crystals if len(crystal) <= ATOMS]
        everything += factors
        print(f"{path}: {_summary(factors)}")
    print(f"all: {_summary(everything)}")


def _summary(factors: list[float]) -> str:
    low, middle, high = np.quantile(factors, [0.05, 0.5, 0.95])
    return f"{len(factors)} crystals, median {middle:.4f}, 5 % {low:.4f}, 95 % {high:.4f}"


if __name__ == "__main__":
    main()
