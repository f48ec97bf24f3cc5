"""matminer featurizers: what the package's networks know of a crystal, as columns of a table.

All of them take pymatgen Structures (``ase.Atoms`` and paths too), run in batches, and behave as scikit-learn
transformers. Networks share the processor among themselves, so ``n_jobs`` changes nothing: no processes are started.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from matminer.featurizers.base import BaseFeaturizer
from rich.progress import track

from icsg3d.generator import CrystalGenerator
from icsg3d.predictor import PropertyPredictor, graph_of
from icsg3d.properties import PROPERTIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.graphs import GraphConfig
    from icsg3d.structures import Crystal

COURT = (
    "@article{court2020, author = {Court, Callum J. and Yildirim, Batuhan and Jain, Apoorv and Cole, Jacqueline M.}, "
    "title = {3-D Inorganic Crystal Structure Generation and Property Prediction via Representation Learning}, "
    "journal = {Journal of Chemical Information and Modeling}, volume = {60}, number = {10}, pages = {4518--4535}, "
    "year = {2020}, doi = {10.1021/acs.jcim.0c00464}}"
)
XIE = (
    "@article{xie2018, author = {Xie, Tian and Grossman, Jeffrey C.}, title = {Crystal Graph Convolutional Neural "
    "Networks for an Accurate and Interpretable Prediction of Material Properties}, journal = {Physical Review "
    "Letters}, volume = {120}, pages = {145301}, year = {2018}, doi = {10.1103/PhysRevLett.120.145301}}"
)

_BATCH = 256
"""Crystals between two steps of the progress bar."""


class NetworkFeaturizer(BaseFeaturizer):
    """What the featurizers share: batches, a fall-back item by item, and no networks in pickles."""

    _networks: ClassVar[tuple[str, ...]] = ()
    """Cached attributes that hold networks."""

    def batch(self, structures: Sequence[Crystal]) -> np.ndarray:
        """Return the features of some crystals, shape (n, features).

        Raises:
            InputError: if one of them cannot be featurized.
        """
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None, **fit_kwargs: Any) -> NetworkFeaturizer:  # noqa: ARG002
        """Return self: there is nothing to fit."""
        return self

    def featurize(self, structure: Crystal) -> list[float]:
        """Return the features of one crystal.

        Raises:
            InputError: if it cannot be featurized; the message says why.
        """
        return [float(value) for value in self.batch([structure])[0]]

    def featurize_many(
        self,
        entries: Any,
        ignore_errors: bool = False,  # noqa: FBT001, FBT002 (the signature is matminer's)
        return_errors: bool = False,  # noqa: FBT001, FBT002
        pbar: Any = True,  # noqa: FBT002
    ) -> list[list[Any]]:
        """Return the features of many crystals, in batches.

        A batch that fails is gone through item by item, so that the error names the crystal; with ``ignore_errors`` its
        row is NaN, and with ``return_errors`` a traceback follows the features.

        Raises:
            ValueError: if ``return_errors`` is asked for without ``ignore_errors``.
        """
        if return_errors and not ignore_errors:
            msg = "return_errors needs ignore_errors; set both"
            raise ValueError(msg)
        structures = _crystals(entries)
        rows: list[list[Any]] = []
        starts: Any = range(0, len(structures), _BATCH)
        if pbar and len(structures) > _BATCH:
            starts = track(starts, type(self).__name__)
        for start in starts:
            part = structures[start : start + _BATCH]
            try:
                found = [[float(value) for value in row] for row in self.batch(part)]
                rows += [[*row, np.nan] for row in found] if return_errors else found
            except Exception:  # noqa: BLE001 (whatever it is, it is raised again or reported by the wrapper)
                rows += [self.featurize_wrapper((each,), return_errors, ignore_errors) for each in part]
        return rows

    def implementors(self) -> list[str]:
        """Return who wrote it."""
        return ["The icsg3d developers"]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._networks}


def _crystals(entries: Any) -> list[Any]:
    """Return crystals of what matminer and scikit-learn hand over: lists, Series, frames, (n, 1) arrays, 1-tuples."""
    if isinstance(entries, pd.DataFrame):
        entries = entries.to_numpy()
    elif isinstance(entries, pd.Series):
        entries = entries.tolist()
    return [each[0] if isinstance(each, tuple | list | np.ndarray) else each for each in entries]


class LatentFeaturizer(NetworkFeaturizer):
    """Mean of a crystal's distribution in the latent space of the generator.

    Args:
        model: Shipped generator, or folder of a trained one.
        device: Where it runs.
    """

    _networks = ("generator",)

    def __init__(self, model: str = "cubic", device: str = "cpu") -> None:
        self.model = model
        self.device = device
        self.set_n_jobs(1)

    @classmethod
    def from_preset(cls, preset: str) -> LatentFeaturizer:
        """Return the featurizer of a preset: ``paper``, the crystals of the article (cubic AB, ABX3 and A2BC).

        Raises:
            ValueError: if there is no such preset.
        """
        _check_preset(preset)
        return cls("cubic")

    @cached_property
    def generator(self) -> CrystalGenerator:
        """The generator, loaded on first use."""
        return CrystalGenerator.from_pretrained(self.model, self.device)

    def batch(self, structures: Sequence[Crystal]) -> np.ndarray:
        """Return latent means, shape (n, latent)."""
        return self.generator.encode(list(structures))

    def feature_labels(self) -> list[str]:
        """Return ``latent_0``, ``latent_1``, ..."""
        return [f"latent_{number}" for number in range(self.generator.network.config.vae.latent)]

    def citations(self) -> list[str]:
        """Return BibTeX of the article."""
        return [COURT]


class CrystalGraphFeaturizer(NetworkFeaturizer):
    """Mean of a crystal's atoms after the convolutions of a property model's first network.

    Args:
        model: Property whose model is shipped, or folder of a trained one.
        device: Where it runs.
    """

    _networks = ("predictor",)

    def __init__(self, model: str = "formation_energy_per_atom", device: str = "cpu") -> None:
        self.model = model
        self.device = device
        self.set_n_jobs(1)

    @classmethod
    def from_preset(cls, preset: str) -> CrystalGraphFeaturizer:
        """Return the featurizer of a preset: ``paper``, the network of the formation energy.

        Raises:
            ValueError: if there is no such preset.
        """
        _check_preset(preset)
        return cls("formation_energy_per_atom")

    @cached_property
    def predictor(self) -> PropertyPredictor:
        """The property model, loaded on first use."""
        return PropertyPredictor.from_pretrained(self.model, self.device)

    def batch(self, structures: Sequence[Crystal]) -> np.ndarray:
        """Return pooled atoms, shape (n, width)."""
        config = self.predictor.model.config.network
        return self.predictor.embed_graphs([graph_of(each, config.graph) for each in structures])

    def feature_labels(self) -> list[str]:
        """Return ``graph_0``, ``graph_1``, ..."""
        return [f"graph_{number}" for number in range(self.predictor.model.config.network.width)]

    def citations(self) -> list[str]:
        """Return BibTeX of the article and of the network's origin."""
        return [COURT, XIE]


class PropertyFeaturizer(NetworkFeaturizer):
    """Predicted properties of a crystal, each with its standard uncertainty.

    Args:
        properties: Names of shipped properties or folders of trained models; all shipped ones by default.
        device: Where the networks run.
    """

    _networks = ("predictors",)

    def __init__(self, properties: Sequence[str] | None = None, device: str = "cpu") -> None:
        self.properties = properties
        self.device = device
        self.set_n_jobs(1)

    @classmethod
    def from_preset(cls, preset: str) -> PropertyFeaturizer:
        """Return the featurizer of a preset: ``paper``, the seven properties of the article.

        Raises:
            ValueError: if there is no such preset.
        """
        _check_preset(preset)
        return cls([name for name in PROPERTIES if name != "eij_max"])

    @cached_property
    def predictors(self) -> list[PropertyPredictor]:
        """The property models, loaded on first use."""
        names = PROPERTIES if self.properties is None else self.properties
        return [PropertyPredictor.from_pretrained(name, self.device) for name in names]

    def batch(self, structures: Sequence[Crystal]) -> np.ndarray:
        """Return values and uncertainties, shape (n, 2 x properties)."""
        made = {config: [graph_of(each, config) for each in structures] for config in self._graph_configs()}
        columns = []
        for predictor in self.predictors:
            found = predictor.predict_graphs(made[predictor.model.config.network.graph])
            columns += [found.values, found.stds]
        return np.stack(columns, axis=1)

    def _graph_configs(self) -> set[GraphConfig]:
        return {predictor.model.config.network.graph for predictor in self.predictors}

    def feature_labels(self) -> list[str]:
        """Return ``predicted_<property>`` and ``predicted_<property>_std`` of each property."""
        names = [predictor.property.name for predictor in self.predictors]
        return [label for name in names for label in (f"predicted_{name}", f"predicted_{name}_std")]

    def citations(self) -> list[str]:
        """Return BibTeX of the article and of the network's origin."""
        return [COURT, XIE]


def _check_preset(preset: str) -> None:
    if preset != "paper":
        msg = f"there is no preset {preset!r}; there is 'paper'"
        raise ValueError(msg)
