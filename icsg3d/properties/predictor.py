"""Properties of crystals from shipped or trained models: numbers with units and uncertainties."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch

from icsg3d.arguments import several
from icsg3d.crystals.display import html_table
from icsg3d.crystals.elements import symbols
from icsg3d.crystals.reading import notes_of
from icsg3d.crystals.structures import as_structure, to_arrays
from icsg3d.crystals.taking import is_one_crystal
from icsg3d.errors import InputError
from icsg3d.models.properties import PROPERTY_FORMAT, load_property_model
from icsg3d.pretrained import available, find
from icsg3d.processors import inference_precision, torch_device
from icsg3d.progress import track
from icsg3d.refusals import usable
from icsg3d.representation.description import batch_of, describe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from icsg3d.crystals.structures import Crystal
    from icsg3d.models.properties import PropertyModel
    from icsg3d.models.targets import Property
    from icsg3d.representation.description import Description, DescriptionConfig

_SHOWN = 20
"""Rows that a notebook shows."""

_ATOMS = 2048
"""Atoms of a batch, at most, unless one crystal has more: so memory is bounded whatever the crystals' sizes."""


@dataclass(frozen=True)
class Predictions:
    """Values of one property.

    Attributes:
        property: Which, and its unit.
        values: In that unit, shape (n,).
        stds: Standard uncertainties in the same unit, shape (n,): about 70 % of held-out errors are smaller.
        unseen: Elements of each crystal that the model never saw; where there are any, the number is a guess.
        unlike: Which crystals lie farther from all training crystals than nearly all that were held out, shape (n,).
    """

    property: Property
    values: np.ndarray
    stds: np.ndarray
    unseen: tuple[tuple[str, ...], ...]
    unlike: np.ndarray

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.values)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each crystal: the value, its uncertainty ``<property>_std``, and what makes it a guess."""
        name = self.property.name
        columns = {name: self.values, f"{name}_std": self.stds}
        unseen = [" ".join(elements) for elements in self.unseen]
        return pd.DataFrame(columns | {"unseen_elements": unseen, "unlike_training": self.unlike})

    def _repr_html_(self) -> str:
        unit = f" ({self.property.unit})" if self.property.unit else ""
        rows = self.to_dataframe().head(_SHOWN).to_dict("records")
        more = f"<p>... and {len(self) - _SHOWN} more</p>" if len(self) > _SHOWN else ""
        return f"<p>{escape(self.property.name + unit)} of {len(self)} crystals</p>{html_table(rows)}{more}"


class PropertyPredictor:
    """A property model that takes crystals.

    It computes in double precision where the device has it and rounds to single, so that a number does not depend on
    what is predicted with it, nor on the number of threads (:func:`icsg3d.processors.inference_precision`).

    Args:
        model: The networks, which are moved to the device and that precision.
        digest: SHA-256 of the weights, for provenance.
        device: Where the networks run.
    """

    def __init__(self, model: PropertyModel, digest: str = "", device: torch.device | str = "cpu") -> None:
        self.device = torch_device(device)
        self.model = model.to(self.device, inference_precision(self.device)).eval()
        self.digest = digest

    @classmethod
    def from_pretrained(cls, model: str | Path, device: torch.device | str = "cpu") -> PropertyPredictor:
        """Load a model.

        Args:
            model: Name of a property whose model is shipped, or folder of a trained one.
            device: Where the networks run.

        Raises:
            InputError: if there is no such model, or its files are damaged.
        """
        return cls(*load_property_model(find(model, PROPERTY_FORMAT)), device)

    @property
    def property(self) -> Property:
        """What is predicted, and its unit."""
        return self.model.config.property

    def predict(self, crystals: Crystal | Sequence[Crystal]) -> Predictions:
        """Predict the property of crystals.

        Args:
            crystals: One or several of whatever stands for a crystal: a Structure, ase.Atoms, a path, an entry ...

        Raises:
            InputError: if a crystal cannot be read, is disordered, is none that a material can be, or is too large.
        """
        given: Any = [crystals] if is_one_crystal(crystals) else several(crystals, "crystals")
        return self.predict_graphs([graph_of(each, self.model.config.network.graph) for each in given])

    def predict_possible(self, crystals: Sequence[Crystal]) -> Predictions:
        """Predict the property of crystals as :meth:`predict` does, NaN for those that the networks cannot take."""
        graphs = usable(crystals, lambda crystal: graph_of(crystal, self.model.config.network.graph))
        found = self.predict_graphs(graphs.results)
        values, stds = np.full((2, len(crystals)), np.nan)
        values[graphs.rows], stds[graphs.rows] = found.values, found.stds
        unseen = dict(zip(graphs.rows, found.unseen, strict=True))
        unlike = np.zeros(len(crystals), dtype=bool)
        unlike[graphs.rows] = found.unlike
        return Predictions(
            self.property, values, stds, tuple(unseen.get(row, ()) for row in range(len(crystals))), unlike
        )

    def best_first(self, crystals: Sequence[Crystal], *, maximize: bool = False) -> list[tuple[int, float, float]]:
        """Return crystals by their places, each with its value and uncertainty, the least (or greatest) value first.

        Those that the networks cannot take are left out.
        """
        found = self.predict_possible(crystals)
        rows = [(row, float(found.values[row]), float(found.stds[row])) for row in range(len(crystals))]
        known = [each for each in rows if math.isfinite(each[1])]
        return sorted(known, key=lambda each: -each[1] if maximize else each[1])

    def predict_graphs(self, graphs: Sequence[Description]) -> Predictions:
        """Predict the property of crystals whose graphs are made.

        Args:
            graphs: Made with the graph settings of the model.
        """
        values, stds, unlike = np.empty(len(graphs)), np.empty(len(graphs)), np.zeros(len(graphs), dtype=bool)
        for rows in batches_of(graphs):
            with torch.no_grad():
                value, std, far = self.model.assess(batch_of([graphs[row] for row in rows]).to(self.device))
            values[rows], stds[rows] = (tensor.float().cpu().numpy() for tensor in (value, std))
            unlike[rows] = far.cpu().numpy()
        known = set(self.model.config.elements)
        unseen = tuple(
            tuple(symbols()[number] for number in np.unique(graph.numbers) if int(number) not in known)
            for graph in graphs
        )
        return Predictions(self.property, values, stds, unseen, unlike)

    def embed_graphs(self, graphs: Sequence[Description]) -> np.ndarray:
        """Return the pooled atoms of crystals after the convolutions of the first network, shape (n, width)."""
        embedded = np.empty((len(graphs), self.model.config.network.pooled))
        for rows in batches_of(graphs):
            batch = batch_of([graphs[row] for row in rows]).to(self.device)
            with torch.no_grad():
                embedded[rows] = cast("Any", self.model.members[0]).embed(batch).float().cpu().numpy()
        return embedded


def graph_of(crystal: Crystal, config: DescriptionConfig) -> Description:
    """Return the graph of whatever stands for a crystal.

    Raises:
        InputError: if it is none, is disordered, is none that a material can be, or is too large.
    """
    structure = as_structure(crystal)
    try:
        return describe(to_arrays(structure), config)
    except InputError as error:
        formula = structure.composition.reduced_formula
        raise InputError(f"{formula}: {error}") from error


def batches_of(graphs: Sequence[Description]) -> list[np.ndarray]:
    """Return indices of crystals of like size, at most ``_ATOMS`` atoms together counting padding."""
    sizes = np.array([len(graph) for graph in graphs], dtype=int)
    batches: list[list[int]] = []
    for row in np.argsort(sizes, kind="stable"):
        if not batches or (len(batches[-1]) + 1) * sizes[row] > _ATOMS:
            batches.append([])
        batches[-1].append(int(row))
    return [np.array(rows) for rows in batches]


def predict_table(
    structures: Sequence[Crystal],
    predictors: Sequence[PropertyPredictor],
    ids: Sequence[str],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Predict several properties of crystals, making each graph once.

    Args:
        structures: The crystals.
        predictors: Of the properties.
        ids: A name of each crystal.

    Returns:
        A row per crystal with ``material_id``, ``formula``, a column per property and one ``<property>_std``, and
        ``unseen_elements`` where a model never saw an element, and ``unlike_training`` where a crystal is unlike all
        that a model learned; where something is to be known of how a crystal was read, a column ``notes``; and the
        reasons why crystals were left out, by name.
    """
    configs = list(dict.fromkeys(predictor.model.config.network.graph for predictor in predictors))
    graphs = usable(
        track(structures, "making graphs"), lambda crystal: [graph_of(crystal, config) for config in configs]
    )
    rows, skipped = graphs.rows, {ids[row]: reason for row, reason in graphs.refused.items()}
    made = {config: [each[place] for each in graphs.results] for place, config in enumerate(configs)}
    taken = [as_structure(structures[row]) for row in rows]
    formulas = [structure.composition.reduced_formula for structure in taken]
    columns: dict[str, object] = {"material_id": [ids[row] for row in rows], "formula": formulas}
    unseen: list[set[str]] = [set() for _ in rows]
    unlike = np.zeros(len(rows), dtype=bool)
    for predictor in track(predictors, "predicting"):
        found = predictor.predict_graphs(made[predictor.model.config.network.graph])
        columns[predictor.property.name] = found.values
        columns[f"{predictor.property.name}_std"] = found.stds
        for elements, new in zip(unseen, found.unseen, strict=True):
            elements.update(new)
        unlike |= found.unlike
    columns["unseen_elements"] = [" ".join(sorted(elements)) for elements in unseen]
    columns["unlike_training"] = unlike
    notes = ["; ".join(notes_of(structure)) for structure in taken]
    if any(notes):
        columns["notes"] = notes
    return pd.DataFrame(columns), skipped


def shipped_properties() -> list[str]:
    """Return the names of the properties whose models are shipped."""
    return available(PROPERTY_FORMAT)
