"""A run of the property networks: from any crystals to a table of predictions."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pymatgen.core import Composition

from icsg3d.data import load_structures
from icsg3d.errors import InputError, Interrupted
from icsg3d.files import locked, saving, write_atomically
from icsg3d.hull import ReferenceHull
from icsg3d.progress import task
from icsg3d.properties.predictor import PropertyPredictor, predict_table, shipped_properties
from icsg3d.refusals import log_refused
from icsg3d.run_folders import PartialRows
from icsg3d.screening.judging import ABOVE_HULL, ENERGY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.data import CrystalTable

_CHUNK = 2048
"""Crystals that are predicted together and kept together when a run is interrupted."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predicted:
    """What came of a run.

    Attributes:
        out: The table that was written.
        frame: The table: a row per crystal, as :func:`icsg3d.properties.predictor.predict_table` gives it.
        labels: What was predicted, with units.
    """

    out: Path
    frame: pd.DataFrame
    labels: list[str]

    def __str__(self) -> str:
        """Return the counts in a sentence."""
        return f"{', '.join(self.labels)} of {len(self.frame)} crystals"


def predict(
    data: Path | Sequence[Path],
    out: Path,
    properties: Sequence[str] | None = None,
    *,
    device: str = "cpu",
    resume: bool = False,
) -> Predicted:
    """Predict properties of crystals, each with its standard uncertainty, into a CSV table.

    Args:
        data: One or several sources of crystals.
        out: Table to write, ``.csv``.
        properties: Shipped properties or folders of trained models; all that are shipped without any, or with ``all``.
        device: Where the networks run.
        resume: Take up what an interrupted run left.

    Raises:
        InputError: if an option or the source cannot be used, or no crystal can be predicted.
        Interrupted: on Ctrl-C; finished rows are kept.
    """
    out = Path(out)
    if out.suffix != ".csv":
        raise InputError(f"the table is written as CSV; name a file that ends in .csv instead of {out.name}")
    predictors = _predictors(None if properties and "all" in properties else properties, device)
    table = load_structures(data)
    log_refused(_log, table.skipped)
    with saving(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out):
        partial = PartialRows(out.with_name(f".{out.name}.partial.jsonl"), _key(table, predictors))
        partial.begin(resume=resume)
        try:
            frame, skipped = _predict(table, predictors, partial)
        except KeyboardInterrupt as stop:
            raise Interrupted(
                f"interrupted; what was finished is kept, repeat the command with --resume to finish {out}"
            ) from stop
        log_refused(_log, skipped)
        if frame.empty:
            source = ", ".join(map(str, table.sources))
            partial.remove()
            raise InputError(f"none of the {len(table)} crystals in {source} could be predicted; see the reasons above")
        frame = with_hull(frame)
        with saving(out):
            write_atomically(out, frame.to_csv(index=False, float_format="%.6g").encode())
        partial.remove()
    guessed = int((frame["unseen_elements"] != "").sum())
    if guessed:
        _log.warning("%d crystals hold elements that a model never saw: see the column unseen_elements", guessed)
    return Predicted(out, frame, [predictor.property.label for predictor in predictors])


def with_hull(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of predictions with distances from the shipped hull beside the formation energies, if it has them.

    Args:
        frame: With ``formula`` and perhaps ``formation_energy_per_atom`` and its ``_std`` (eV/atom).

    Returns:
        A copy with ``energy_above_hull`` and ``energy_above_hull_std`` after them (eV/atom, NaN where the hull lacks an
        element).
    """
    if ENERGY not in frame:
        return frame
    found = ReferenceHull.shipped().place_all(
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


def _key(table: CrystalTable, predictors: Sequence[PropertyPredictor]) -> dict[str, object]:
    """Return what a finished row depends on."""
    return {
        "data_sha256": table.digest(),
        "models": [predictor.digest for predictor in predictors],
    }


def _predict(
    table: CrystalTable, predictors: Sequence[PropertyPredictor], partial: PartialRows
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return predictions and refusals, chunk by chunk, those of an earlier run taken as they are."""
    starts = range(0, len(table), _CHUNK)
    missing = [start for start in starts if start not in partial.rows]
    with task(
        "predicting", total=len(table), done=sum(len(table.ids[s : s + _CHUNK]) for s in partial.rows)
    ) as running:
        for start in missing:
            rows = slice(start, start + _CHUNK)
            frame, skipped = predict_table(table.structures[rows], predictors, table.ids[rows])
            partial.add(start, {"frame": frame.to_dict(orient="list"), "skipped": skipped})
            running.advance(len(table.ids[rows]))
    parts = [partial.rows[start] for start in starts]
    frames = [pd.DataFrame(part["frame"]) for part in parts if part["frame"]["material_id"]]
    skipped = {name: reason for part in parts for name, reason in part["skipped"].items()}
    if not frames:
        return pd.DataFrame(), skipped
    joined = pd.concat(frames, ignore_index=True)
    return joined.fillna({"notes": ""}) if "notes" in joined else joined, skipped
