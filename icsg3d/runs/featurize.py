"""A run of the featurizers: from any crystals to a table of features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from icsg3d.data.tables import NUMBER_ENDINGS, check_ending
from icsg3d.errors import InputError
from icsg3d.progress import track
from icsg3d.refusals import usable
from icsg3d.runs.chunked import NumberTable, write_rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.data import CrystalTable
    from icsg3d.featurizers import NetworkFeaturizer

KINDS = ("graph", "latent", "property")
"""Kinds of featurizers."""

_BATCH = 64
"""Crystals between two steps of the progress bar."""


@dataclass(frozen=True)
class Featurized(NumberTable):
    """A table of features; its labels are their columns."""

    def __str__(self) -> str:
        """Return the counts in a sentence."""
        return f"{len(self.labels)} features of {self.count} crystals"


def featurize(
    data: Path | Sequence[Path],
    out: Path,
    featurizers: Sequence[str] = ("graph",),
    *,
    device: str = "cpu",
    resume: bool = False,
) -> Featurized:
    """Make features of crystals into a table, chunk by chunk, so that memory does not grow with their number.

    Args:
        data: One or several sources of crystals.
        out: Table to write, ``.csv`` or ``.parquet``: ``material_id``, ``formula`` and a column per feature.
        featurizers: ``graph``, ``latent`` and ``property``, each perhaps with the name or folder of a model, as in
            ``graph=band_gap`` (:mod:`icsg3d.featurizers`); their columns stand beside each other.
        device: Where the networks run.
        resume: Take up what an interrupted run left.

    Raises:
        InputError: if an option or the source cannot be used, or no crystal can be featurized. A crystal that one of
            the featurizers refuses is named and left out.
        Interrupted: on Ctrl-C; finished rows are kept.
    """
    out = Path(out)
    check_ending(out, NUMBER_ENDINGS)
    made = [featurizer_of(name, device) for name in featurizers]
    labels = [label for each in made for label in each.feature_labels()]
    if not labels or len(set(labels)) < len(labels):
        raise InputError(f"the same features are asked for twice, or none ({', '.join(featurizers)}); name each once")

    def work(table: CrystalTable) -> tuple[pd.DataFrame, dict[str, str]]:
        return _features(table, made, labels)

    key = {"features": labels, "models": [digest for each in made for digest in _digests(each)]}
    written = write_rows_of(data, out, key, work, "making features", "featurized", resume=resume)
    return Featurized(out, written.count, labels)


def featurizer_of(name: str, device: str = "cpu") -> NetworkFeaturizer:
    """Return the featurizer of a name: ``graph``, ``latent`` or ``property``, perhaps with ``=`` and a model.

    Raises:
        InputError: if there is no such kind.
    """
    from icsg3d.featurizers import CrystalGraphFeaturizer, LatentFeaturizer, PropertyFeaturizer

    kind, given, model = name.partition("=")
    if kind not in KINDS or (given and not model):
        raise InputError(
            f"there is no featurizer {name!r}; give {', '.join(KINDS)}, or one with a model: graph=band_gap"
        )
    if kind == "property":
        return PropertyFeaturizer([model] if model else None, device)
    made = CrystalGraphFeaturizer if kind == "graph" else LatentFeaturizer
    return made(model, device) if model else made(device=device)


def _digests(featurizer: NetworkFeaturizer) -> list[str]:
    """Return the hashes of a featurizer's weights."""
    from icsg3d.featurizers import CrystalGraphFeaturizer, LatentFeaturizer, PropertyFeaturizer

    if isinstance(featurizer, LatentFeaturizer):
        return [featurizer.generator.digest]
    if isinstance(featurizer, CrystalGraphFeaturizer):
        return [featurizer.predictor.digest]
    return [each.digest for each in featurizer.predictors] if isinstance(featurizer, PropertyFeaturizer) else []


def _features(
    table: CrystalTable, featurizers: Sequence[NetworkFeaturizer], labels: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the features of the crystals that all featurizers take, and the reasons of the others by name."""
    rows: list[list[float]] = []
    taken: list[int] = []
    refused: dict[str, str] = {}
    for start in track(range(0, len(table), _BATCH), "batches"):
        part = table.structures[start : start + _BATCH]
        found = usable(part, lambda structure: [each.prepare(structure) for each in featurizers])
        refused |= {table.ids[start + row]: reason for row, reason in found.refused.items()}
        if found.rows:
            blocks = [each.batch([one[n] for one in found.results]) for n, each in enumerate(featurizers)]
            rows += [[float(value) for block in blocks for value in block[row]] for row in range(len(found.rows))]
        taken += [start + row for row in found.rows]
    words = {
        "material_id": [table.ids[row] for row in taken],
        "formula": [table.structures[row].composition.reduced_formula for row in taken],
    }
    numbers = pd.DataFrame(rows, columns=list(labels), index=range(len(taken)), dtype=float)
    return pd.concat([pd.DataFrame(words, index=range(len(taken))), numbers], axis=1), refused
