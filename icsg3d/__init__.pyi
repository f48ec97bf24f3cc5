from .crystals.matching import Duplicates
from .crystals.structures import read_structure
from .data.sources import CrystalTable, load_structures
from .errors import InputError
from .generation.candidates import Candidate
from .generation.decoded import DecodedCrystal
from .generation.generator import CrystalGenerator
from .properties.predictor import Predictions, PropertyPredictor
from .representation.segmentation import segment
from .representation.voxels import VoxelConfig, voxelize
from .screening.screen import Screening, screen

__all__ = [
    "Candidate",
    "CrystalGenerator",
    "CrystalTable",
    "DecodedCrystal",
    "Duplicates",
    "InputError",
    "Predictions",
    "PropertyPredictor",
    "Screening",
    "VoxelConfig",
    "__version__",
    "load_structures",
    "read_structure",
    "screen",
    "segment",
    "voxelize",
]

__version__: str
