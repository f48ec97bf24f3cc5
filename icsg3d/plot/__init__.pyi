from .crystals import candidates, density_slice, species_slice, structure
from .elements import periodic_table
from .labels import label_points
from .results import atom_counts, hull_distances, learning_curve, parity, property_path
from .spaces import latent_map, principal_plane

__all__ = [
    "atom_counts",
    "candidates",
    "density_slice",
    "hull_distances",
    "label_points",
    "latent_map",
    "learning_curve",
    "parity",
    "periodic_table",
    "principal_plane",
    "property_path",
    "species_slice",
    "structure",
]
