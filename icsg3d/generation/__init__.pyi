from .candidates import Candidate, Draws
from .decoded import DecodedCrystal
from .generator import CrystalGenerator
from .inversion import inverted_latents
from .prototypes import Prototype, best_prototype, prototype_structure, prototype_structures
from .search import Visited, optimize_property
from .sources import ElementExchanges, GivenCandidates, LatentDraws, Source

__all__ = [
    "Candidate",
    "CrystalGenerator",
    "DecodedCrystal",
    "Draws",
    "ElementExchanges",
    "GivenCandidates",
    "LatentDraws",
    "Prototype",
    "Source",
    "Visited",
    "best_prototype",
    "inverted_latents",
    "optimize_property",
    "prototype_structure",
    "prototype_structures",
]
