"""A pymatgen transmuter: strain two crystals, go from each through latent space, keep oxides and fluorides.

python examples/03_transmuter_pipeline.py
"""

from __future__ import annotations

from pymatgen.alchemy.filters import ContainsSpecieFilter
from pymatgen.alchemy.materials import TransformedStructure
from pymatgen.alchemy.transmuters import StandardTransmuter
from pymatgen.transformations.standard_transformations import DeformStructureTransformation
from rich.console import Console
from rich.table import Table

from icsg3d.generation.prototypes import prototype_structure
from icsg3d.transformations import LatentSamplingTransformation

ENERGY = "formation_energy_per_atom"


def main() -> None:
    """Transmute, filter and print what pymatgen remembers."""
    starts = [TransformedStructure(prototype_structure(formula), []) for formula in ("SrTiO3", "KMgF3")]
    strain = DeformStructureTransformation([[1.01, 0, 0], [0, 1.01, 0], [0, 0, 1.01]])
    transmuter = StandardTransmuter(starts, [strain])
    transmuter.append_transformation(LatentSamplingTransformation(n_structures=8, seed=1), extend_collection=8)
    transmuter.apply_filter(ContainsSpecieFilter(["O", "F"], strict_compare=False, AND=False))

    table = Table("crystal", "E_f (eV/atom)", "distance", "model", title="Transmuted")
    for each in transmuter.transformed_structures:
        scores = next(s["output_parameters"] for s in each.history if ENERGY in s.get("output_parameters", {}))
        table.add_row(
            each.final_structure.composition.reduced_formula,
            f"{scores[ENERGY]:.2f}",
            f"{scores['latent_distance']:.2f}",
            f"{scores['model']} {scores['model_sha256'][:8]}",
        )
    Console().print(table)
    steps = [step["@class"] for step in transmuter.transformed_structures[0].history if "@class" in step]
    print("History of each:", " > ".join(steps))


if __name__ == "__main__":
    main()
