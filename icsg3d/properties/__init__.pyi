from .equilibrium import energy_minimum, scale_cells, scaled
from .predictor import Predictions, PropertyPredictor, predict_table, shipped_properties
from .training import seen_in_training
from .volume import VolumePredictor, Volumes, at_volume

__all__ = [
    "Predictions",
    "PropertyPredictor",
    "VolumePredictor",
    "Volumes",
    "at_volume",
    "energy_minimum",
    "predict_table",
    "scale_cells",
    "scaled",
    "seen_in_training",
    "shipped_properties",
]
