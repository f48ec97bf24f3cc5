"""From one perovskite to another along a straight line in latent space.

    python examples/04_interpolate.py

Writes ``runs/examples/04_path.png``: lattice constant and predicted formation energy along the path.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from icsg3d import PropertyPredictor, plot
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.transformations import LatentInterpolationTransformation

OUT = Path("runs/examples")
POINTS = 17


def main() -> None:
    """Interpolate, predict and draw."""
    start, end = prototype_structure("CaTiO3"), prototype_structure("BaZrO3")
    path = LatentInterpolationTransformation(end, n_structures=POINTS).apply_transformation(
        start, return_ranked_list=True
    )
    structures = [entry["structure"] for entry in path]
    shares = [entry["path_fraction"] for entry in path]
    found = PropertyPredictor.from_pretrained("formation_energy_per_atom").predict(structures)

    OUT.mkdir(parents=True, exist_ok=True)
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
    upper.plot(shares, [structure.volume ** (1 / 3) for structure in structures], "o-")
    upper.set(ylabel="cube root of the cell's volume (Å)", title="CaTiO3 to BaZrO3")
    # Points that decode to no crystal are gaps.
    values, stds, formulas = np.full(POINTS, np.nan), np.full(POINTS, np.nan), [""] * POINTS
    for share, structure, value, std in zip(shares, structures, found.values, found.stds, strict=True):
        step = round(share * (POINTS - 1))
        values[step], stds[step], formulas[step] = value, std, structure.composition.reduced_formula
        print(f"{share:.2f}  {formulas[step]:<10} {structure.lattice.a:.3f} Å  {value:.2f} eV/atom")
    plot.property_path(values, lower, uncertainties=stds, formulas=formulas)
    figure.savefig(OUT / "04_path.png", dpi=130)


if __name__ == "__main__":
    main()
