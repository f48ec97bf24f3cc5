from .equilibrium import energy_minimum, scale_cells, scaled
from .predictor import Predictions, PropertyPredictor, predict_table, shipped_properties

__all__ = [
    "Predictions",
    "PropertyPredictor",
    "energy_minimum",
    "predict_table",
    "scale_cells",
    "scaled",
    "shipped_properties",
]
