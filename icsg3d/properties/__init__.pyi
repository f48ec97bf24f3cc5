from .equilibrium import energy_minimum, scale_cells, scaled
from .predictor import Predictions, PropertyPredictor, predict_table, shipped_properties
from .relaxing import Relaxed, relaxed
from .surface import EnergySurface, SurfacePoint
from .training import seen_in_training
from .volume import VolumePredictor, Volumes, at_volume

__all__ = [
    "EnergySurface",
    "Predictions",
    "PropertyPredictor",
    "Relaxed",
    "SurfacePoint",
    "VolumePredictor",
    "Volumes",
    "at_volume",
    "energy_minimum",
    "predict_table",
    "relaxed",
    "scale_cells",
    "scaled",
    "seen_in_training",
    "shipped_properties",
]
