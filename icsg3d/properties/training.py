"""Which crystals the shipped property models may have learned from, as an honest test of features asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from icsg3d import pretrained
from icsg3d.crystals.structures import as_structure
from icsg3d.errors import InputError
from icsg3d.models.properties import PROPERTY_FORMAT
from icsg3d.properties.predictor import shipped_properties

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.crystals.structures import Crystal


def seen_in_training(structures: Sequence[Crystal], properties: Sequence[str | Path] | None = None) -> pd.DataFrame:
    """Return which crystals have a formula that a property model learned from.

    Formulas count, not crystals: a model that has learned one polymorph is no stranger to the others.

    Args:
        structures: Whatever stands for crystals.
        properties: Shipped properties or folders of trained models; all that are shipped by default.

    Returns:
        A row for each crystal and a boolean column for each model.

    Raises:
        InputError: if a crystal cannot be read, or a model is missing or does not list what it learned from.
    """
    formulas = np.array([as_structure(each).composition.reduced_formula for each in structures], dtype=object)
    found: dict[str, np.ndarray] = {}
    for name in shipped_properties() if properties is None else properties:
        folder = pretrained.find(name, PROPERTY_FORMAT)
        learned = pretrained.training_formulas(folder)
        if learned is None:
            msg = f"the model {folder} does not list its training crystals; nothing can be said of what it has seen"
            raise InputError(msg)
        found[Path(name).name] = np.array([formula in learned for formula in formulas], dtype=bool)
    return pd.DataFrame(found)
