from .candidates import Candidate, Draws
from .generator import CrystalGenerator, DecodedCrystal
from .inversion import refined_latents
from .prototypes import prototype_structure, prototype_structures
from .search import Visited, optimize_property

__all__ = [
    "Candidate",
    "CrystalGenerator",
    "DecodedCrystal",
    "Draws",
    "Visited",
    "optimize_property",
    "prototype_structure",
    "prototype_structures",
    "refined_latents",
]
