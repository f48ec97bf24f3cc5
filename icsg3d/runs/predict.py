"""A run of the property networks: from any crystals to a table of predictions."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Composition

from icsg3d.data.tables import NUMBER_ENDINGS, check_ending
from icsg3d.errors import InputError
from icsg3d.hull import ReferenceHull
from icsg3d.properties.predictor import PropertyPredictor, predict_table, shipped_properties
from icsg3d.runs.chunked import NumberTable, write_rows_of
from icsg3d.screening.judging import ABOVE_HULL, ENERGY

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from icsg3d.data import CrystalTable

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predicted(NumberTable):
    """A table of predictions; its labels are the properties with units."""

    def __str__(self) -> str:
        """Return the counts in a sentence."""
        return f"{', '.join(self.labels)} of {self.count} crystals"


def predict(
    data: Path | Sequence[Path],
    out: Path,
    properties: Sequence[str] | None = None,
    *,
    phases: Sequence[Path] = (),
    device: str = "cpu",
    resume: bool = False,
) -> Predicted:
    """Predict properties of crystals, each with its standard uncertainty, into a table.

    Crystals are read, predicted and written chunk by chunk (:func:`icsg3d.data.iter_tables`), so that memory does not
    grow with their number.

    Args:
        data: One or several sources of crystals.
        out: Table to write, ``.csv`` or ``.parquet``.
        properties: Shipped properties or folders of trained models; all that are shipped without any, or with ``all``.
        phases: Files of phases to add to the hull that the distances are from.
        device: Where the networks run.
        resume: Take up what an interrupted run left.

    Raises:
        InputError: if an option or the source cannot be used, or no crystal can be predicted.
        Interrupted: on Ctrl-C; finished rows are kept.
    """
    out = Path(out)
    check_ending(out, NUMBER_ENDINGS)
    hull = ReferenceHull.shipped().with_files(phases) if phases else None
    predictors = _predictors(None if properties and "all" in properties else properties, device)
    if phases and all(predictor.property.name != ENERGY for predictor in predictors):
        raise InputError(
            f"phases of a hull go with the formation energy; add --property {ENERGY}, or leave out --phases"
        )

    def work(table: CrystalTable) -> tuple[pd.DataFrame, dict[str, str]]:
        frame, skipped = predict_table(table.structures, predictors, table.ids)
        return with_hull(frame, hull), skipped

    key = {"models": [predictor.digest for predictor in predictors]} | ({} if hull is None else {"hull": hull.digest})
    written = write_rows_of(data, out, key, work, "predicting", "predicted", resume=resume)
    guessed = written.told.get("unseen_elements", 0)
    if guessed:
        _log.warning("%d crystals hold elements that a model never saw: see the column unseen_elements", guessed)
    return Predicted(out, written.count, [predictor.property.label for predictor in predictors])


def with_hull(frame: pd.DataFrame, hull: ReferenceHull | None = None) -> pd.DataFrame:
    """Return a table of predictions with distances from a hull beside the formation energies, if it has them.

    Args:
        frame: With ``formula`` and perhaps ``formation_energy_per_atom`` and its ``_std`` (eV/atom).
        hull: Of known phases; by default the shipped one.

    Returns:
        A copy with ``energy_above_hull`` and ``energy_above_hull_std`` after them (eV/atom, NaN where the hull lacks an
        element).
    """
    if ENERGY not in frame:
        return frame
    found = (ReferenceHull.shipped() if hull is None else hull).place_all(
        [Composition(formula) for formula in frame["formula"]],
        frame[ENERGY].to_list(),
        frame[f"{ENERGY}_std"].to_list(),
    )
    placed = frame.copy()
    place = int(np.flatnonzero(placed.columns == f"{ENERGY}_std")[0]) + 1
    distances = {
        ABOVE_HULL: [math.nan if each is None else each.energy_above_hull for each in found],
        f"{ABOVE_HULL}_std": [math.nan if each is None else each.std for each in found],
    }
    for offset, (name, values) in enumerate(distances.items()):
        placed.insert(place + offset, name, values)
    return placed


def _predictors(properties: Sequence[str] | None, device: str) -> list[PropertyPredictor]:
    names = properties or shipped_properties()
    if not names:
        raise InputError("this installation has no property models; name the folder of one with --property")
    predictors = [PropertyPredictor.from_pretrained(name, device) for name in names]
    found = [predictor.property.name for predictor in predictors]
    if len(set(found)) < len(found):
        raise InputError(f"a property is asked for twice ({', '.join(found)}); name each once")
    return predictors
