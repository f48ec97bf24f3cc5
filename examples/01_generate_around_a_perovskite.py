"""New crystals around SrTiO3, ranked by their predicted formation energy.

    python examples/01_generate_around_a_perovskite.py

Prints a table and writes ``runs/examples/01_candidates.png``: predicted energy against distance from the start.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from pymatgen.core import Structure
from rich.console import Console
from rich.table import Table

from icsg3d import plot
from icsg3d.transformations import LatentSamplingTransformation

HERE = Path(__file__).parent
OUT = Path("runs/examples")
ENERGY = "formation_energy_per_atom"


def main() -> None:
    """Generate, rank, print and draw."""
    start = Structure.from_file(HERE / "SrTiO3.cif")
    transformation = LatentSamplingTransformation(n_structures=20, scale=0.8, seed=0, rank_by=ENERGY)
    ranked = transformation.apply_transformation(start, return_ranked_list=True)

    table = Table("crystal", "a (Å)", "E_f (eV/atom)", "±", "distance", title="Around SrTiO3")
    for entry in ranked[:10]:
        structure = entry["structure"]
        numbers = (structure.lattice.a, entry[ENERGY], entry[f"{ENERGY}_std"], entry["latent_distance"])
        table.add_row(structure.composition.reduced_formula, *(f"{number:.2f}" for number in numbers))
    Console().print(table)

    OUT.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    distances, energies, errors = zip(
        *((e["latent_distance"], e[ENERGY], e[f"{ENERGY}_std"]) for e in ranked), strict=True
    )
    axes.errorbar(distances, energies, yerr=errors, fmt="o", ms=4, lw=0.8)
    axes.set(xlabel="distance in latent space (standard deviations)", ylabel="predicted formation energy (eV/atom)")
    formulas = [entry["structure"].composition.reduced_formula for entry in ranked]
    plot.label_points(axes, formulas, distances, energies)
    figure.savefig(OUT / "01_candidates.png", dpi=130)


if __name__ == "__main__":
    main()
