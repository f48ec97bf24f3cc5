"""Search latent space around BaTiO3 for crystals with a band gap near 2 eV.

    python examples/05_optimize_a_property.py

Prints the best different crystals, prediction and uncertainty taken together, and writes
``runs/examples/05_search.png``: predicted gaps round by round.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table

from icsg3d import CrystalGenerator, PropertyPredictor
from icsg3d.bars import bars
from icsg3d.crystals.matching import Duplicates
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.generation.search import optimize_property

OUT = Path("runs/examples")
TARGET, ROUNDS = 2.0, 8


def main() -> None:
    """Search, print and draw."""
    generator = CrystalGenerator.from_pretrained("cubic")
    predictor = PropertyPredictor.from_pretrained("band_gap")
    with bars():
        visited = optimize_property(
            generator, predictor, prototype_structure("BaTiO3"), TARGET, rounds=ROUNDS, draws=48, seed=0
        )

    ranked = sorted(visited, key=lambda each: each.expected_miss(TARGET))
    seen = Duplicates()
    best = [each for number, each in enumerate(ranked) if seen.first_of(number, each.structure) is None][:10]
    table = Table("crystal", "gap (eV)", "±", "distance", "round", title=f"Expected nearest to {TARGET} eV")
    for each in best:
        row = (f"{each.value:.2f}", f"{each.std:.2f}", f"{each.latent_distance:.2f}", str(each.round))
        table.add_row(each.structure.composition.reduced_formula, *row)
    Console().print(table)

    OUT.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.boxplot([[each.value for each in visited if each.round == number] for number in range(ROUNDS)])
    axes.axhline(TARGET, color="tab:red", lw=1)
    axes.set(xlabel="round", ylabel="predicted band gap (eV)", title="Gaps of the crystals drawn in each round")
    figure.savefig(OUT / "05_search.png", dpi=130)


if __name__ == "__main__":
    main()
