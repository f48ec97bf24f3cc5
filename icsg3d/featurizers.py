"""matminer featurizers: what the package's networks know of a crystal, as columns of a table.

All of them take pymatgen Structures (``ase.Atoms`` and paths too), run in batches, and behave as scikit-learn
transformers. Networks share the processor among themselves, so ``n_jobs`` changes nothing: no processes are started.
Within matminer's own, such as a ``MultipleFeaturizer``, that start processes, each of these keeps to one thread.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from matminer.featurizers.base import BaseFeaturizer

from icsg3d.bars import bars
from icsg3d.citations import COURT, DRAUTZ, XIE
from icsg3d.defaults import GENERATOR
from icsg3d.errors import InputError
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.grid_space import GridSpace
from icsg3d.models.grid_decoding import LatentGrid
from icsg3d.models.targets import PROPERTIES
from icsg3d.pretrained import find, is_shipped
from icsg3d.progress import task
from icsg3d.properties.predictor import PropertyPredictor, graph_of
from icsg3d.properties.responses import (
    ATOMS,
    EXCHANGES,
    STIFFNESS,
    Probe,
    energy_features,
    has_directions,
    layer_labels,
    layers,
    probe,
)
from icsg3d.properties.surface import has_surface
from icsg3d.representation.moments import EnvironmentConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.crystals.structures import Crystal
    from icsg3d.representation.description import Description, DescriptionConfig

Networks = TypeVar("Networks")

_BATCH = 64
"""Crystals between two steps of the progress bar."""


class NetworkFeaturizer(BaseFeaturizer):
    """What the featurizers share: batches, a row for what is refused, networks that follow the arguments.

    A subclass says what its networks take of a crystal (:meth:`prepare`) and what they make of it (:meth:`batch`).
    """

    _held: tuple[tuple[Hashable, ...], Any] | None = None
    """Arguments, and the networks that were loaded for them."""

    def _loaded(self, load: Callable[..., Networks], *arguments: Hashable) -> Networks:
        """Return what is loaded for some arguments, and load it anew once they are others.

        scikit-learn changes arguments after construction (``set_params``), so what was loaded first may not be it.
        """
        held = self._held
        if held is None or held[0] != arguments:
            held = self._held = arguments, load(*arguments)
        return held[1]

    def prepare(self, structure: Crystal) -> Any:
        """Return what the networks take of one crystal.

        Raises:
            InputError: if it cannot be featurized; the message says why.
        """
        raise NotImplementedError

    def batch(self, prepared: Sequence[Any]) -> np.ndarray:
        """Return the features of one or more crystals that are prepared, shape (n, features)."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None, **fit_kwargs: Any) -> NetworkFeaturizer:  # noqa: ARG002
        """Return self: there is nothing to fit."""
        return self

    def precheck(self, *x: Any) -> bool:
        """Whether a crystal can be featurized."""
        try:
            self.prepare(*x)
        except InputError:
            return False
        return True

    def transform(self, X: Any) -> Any:
        """Return the features of many crystals, as scikit-learn asks for them."""
        return super().transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002 (scikit-learn's)
        """Return the labels of the features, as scikit-learn's ``set_output`` asks for them."""
        return np.array(self.feature_labels(), dtype=object)

    def featurize(self, structure: Crystal) -> list[float]:
        """Return the features of one crystal.

        Raises:
            InputError: if it cannot be featurized; the message says why.
        """
        return [float(value) for value in self.batch([self.prepare(structure)])[0]]

    def featurize_many(
        self,
        entries: Any,
        ignore_errors: bool = False,  # noqa: FBT001, FBT002 (the signature is matminer's)
        return_errors: bool = False,  # noqa: FBT001, FBT002
        pbar: Any = True,  # noqa: FBT002
    ) -> list[list[Any]]:
        """Return the features of many crystals, in batches.

        A crystal that is refused does not hold up the others; with ``ignore_errors`` its row is NaN, and with
        ``return_errors`` its traceback follows the features. With ``pbar`` a bar shows the progress of
        what takes more than two seconds.

        Raises:
            InputError: if ``return_errors`` is asked for without ``ignore_errors``.
        """
        if return_errors and not ignore_errors:
            msg = "return_errors needs ignore_errors; set both"
            raise InputError(msg)
        structures = _crystals(entries)
        rows: list[list[Any]] = []
        with bars(show=bool(pbar)), task(type(self).__name__, len(structures)) as running:
            for start in range(0, len(structures), _BATCH):
                part = structures[start : start + _BATCH]
                rows += self._rows(part, return_errors=return_errors, ignore_errors=ignore_errors)
                running.advance(len(part))
        return rows

    def _rows(self, structures: Sequence[Crystal], *, return_errors: bool, ignore_errors: bool) -> list[list[Any]]:
        """Return the rows of some crystals: of good ones together, of bad ones alone, by matminer's wrapper."""
        alone = partial(self.featurize_wrapper, return_errors=return_errors, ignore_errors=ignore_errors)
        rows: dict[int, list[Any]] = {}
        prepared: dict[int, Any] = {}
        for number, structure in enumerate(structures):
            # The wrapper meets the error again and raises or reports it, whatever it is, while no other is handled.
            with suppress(Exception):
                prepared[number] = self.prepare(structure)
            if number not in prepared:
                rows[number] = alone((structure,))
        with suppress(Exception):  # as of a full memory: then each goes through the networks alone
            found = self.batch(list(prepared.values())) if prepared else ()
            rows |= {n: [*map(float, row), *[np.nan] * return_errors] for n, row in zip(prepared, found, strict=True)}
        return [rows[n] if n in rows else alone((structure,)) for n, structure in enumerate(structures)]

    def implementors(self) -> list[str]:
        """Return who wrote it."""
        return ["The icsg3d developers"]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_held"}


def _crystals(entries: Any) -> list[Any]:
    """Return crystals of what matminer and scikit-learn hand over: lists, Series, frames, (n, 1) arrays, 1-tuples."""
    if isinstance(entries, pd.DataFrame):
        entries = entries.to_numpy()
    elif isinstance(entries, pd.Series):
        entries = entries.tolist()
    return [each[0] if isinstance(each, tuple | list | np.ndarray) else each for each in entries]


class LatentFeaturizer(NetworkFeaturizer):
    """Mean of a crystal's distribution in the latent space of the generator.

    Where latents are grids, as large as the cell, the features are the mean and the spread over the grid.

    Args:
        model: Shipped generator, or folder of a trained one.
        device: Where it runs.
    """

    def __init__(self, model: str = GENERATOR, device: str = "cpu") -> None:
        self.model = model
        self.device = device
        self.set_n_jobs(1)

    @classmethod
    def from_preset(cls, preset: str) -> LatentFeaturizer:
        """Return the featurizer of a preset: ``paper``, the crystals of the article (cubic AB, ABX3 and A2BC).

        Raises:
            InputError: if there is no such preset.
        """
        _check_preset(preset)
        return cls("cubic")

    @property
    def generator(self) -> CrystalGenerator:
        """The generator, loaded on first use."""
        return self._loaded(CrystalGenerator.from_pretrained, self.model, self.device)

    def prepare(self, structure: Crystal) -> CrystalArrays:
        """Return the cell that the network sees of a crystal.

        Raises:
            InputError: if the generator does not take it; the message says why.
        """
        return self.generator.prepare(structure)[0]

    def batch(self, prepared: Sequence[CrystalArrays]) -> np.ndarray:
        """Return latent means, shape (n, latent), or of grids mean and spread, shape (n, 2 x latent)."""
        latents = self.generator.encode_arrays(prepared, self.generator.bins(None, len(prepared)))
        return np.stack([_of_grid(each.grid) if isinstance(each, LatentGrid) else each for each in latents])

    def feature_labels(self) -> list[str]:
        """Return ``latent_0_cubic``, ..., of grids ``latent_mean_0_materials``, ..., ``latent_std_0_materials``, ...

        The name of the model is that of :func:`model_label`.
        """
        label, space = model_label(self.model, self.generator.digest), self.generator.space
        kinds = ("mean_", "std_") if isinstance(space, GridSpace) else ("",)
        count = (space if isinstance(space, GridSpace) else self.generator.vectors).config.vae.latent
        return [f"latent_{kind}{number}_{label}" for kind in kinds for number in range(count)]

    def citations(self) -> list[str]:
        """Return BibTeX of the article."""
        return [COURT]


def _of_grid(grid: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation of a latent grid's vectors, shape (X, Y, Z, latent) to (2 x latent,)."""
    return np.concatenate([grid.mean((0, 1, 2)), grid.std((0, 1, 2))])


class CrystalGraphFeaturizer(NetworkFeaturizer):
    """What the networks of a property model know of a crystal, in few columns.

    Of networks on environments these are the mean and spread of the atoms after each layer of the first, along the main
    directions of the training crystals. If they are those of an energy, as by default, there follow the energies of
    the atoms, the stiffness that the energy's curvature gives, and the costs of exchanging elements
    (:mod:`icsg3d.properties.responses`). The default networks have learned energies only, so that their features have
    seen no modulus, gap or refractive index. Of other networks, they are the mean (and spread) of the atoms after the
    last convolution.

    Args:
        model: Property whose model is shipped, or folder of a trained one.
        device: Where it runs.
    """

    def __init__(self, model: str = "formation_energy_per_atom", device: str = "cpu") -> None:
        self.model = model
        self.device = device
        self.set_n_jobs(1)

    @classmethod
    def from_preset(cls, preset: str) -> CrystalGraphFeaturizer:
        """Return the featurizer of a preset: ``paper``, the network of the formation energy.

        Raises:
            InputError: if there is no such preset.
        """
        _check_preset(preset)
        return cls("formation_energy_per_atom")

    @property
    def predictor(self) -> PropertyPredictor:
        """The property model, loaded on first use."""
        return self._loaded(PropertyPredictor.from_pretrained, self.model, self.device)

    def prepare(self, structure: Crystal) -> Description | Probe:
        """Return the graph of a crystal; where the network is that of an energy, with those of strained copies.

        Raises:
            InputError: if it has none; the message says why.
        """
        config = self.predictor.model.config.network.graph
        if has_surface(self.predictor.model) and isinstance(config, EnvironmentConfig):
            return probe(structure, config)
        return graph_of(structure, config)

    def batch(self, prepared: Sequence[Any]) -> np.ndarray:
        """Return the features of one or more crystals that are prepared, shape (n, features)."""
        graphs = [each.still if isinstance(each, Probe) else each for each in prepared]
        layered = has_directions(self.predictor.model)
        found = layers(self.predictor, graphs) if layered else self.predictor.embed_graphs(graphs)
        if not has_surface(self.predictor.model):
            return found
        return np.concatenate([found, energy_features(self.predictor, prepared)], axis=1)

    def feature_labels(self) -> list[str]:
        """Return ``graph_layer1_0_band_gap``, ..., with the name of the model (:func:`model_label`)."""
        model = self.predictor.model
        names = layer_labels(model) if has_directions(model) else map(str, range(model.config.network.pooled))
        energies = (*ATOMS, *STIFFNESS, *EXCHANGES) if has_surface(model) else ()
        label = model_label(self.model, self.predictor.digest)
        return [f"graph_{name}_{label}" for name in (*names, *energies)]

    def citations(self) -> list[str]:
        """Return BibTeX of the article, of the graph network's origin, and of the environments'."""
        return [COURT, XIE, DRAUTZ]


class PropertyFeaturizer(NetworkFeaturizer):
    """Predicted properties of a crystal, each with its standard uncertainty.

    The networks have learned from public data, most of the Materials Project among them. A model that is built on these
    features and judged on such crystals is judged on what its features have seen:
    :func:`icsg3d.properties.seen_in_training` tells which crystals those are.

    Args:
        properties: Names of shipped properties or folders of trained models; all shipped ones by default.
        device: Where the networks run.
    """

    def __init__(self, properties: Sequence[str] | None = None, device: str = "cpu") -> None:
        self.properties = properties
        self.device = device
        self.set_n_jobs(1)

    @classmethod
    def from_preset(cls, preset: str) -> PropertyFeaturizer:
        """Return the featurizer of a preset: ``paper``, the seven properties of the article.

        Raises:
            InputError: if there is no such preset.
        """
        _check_preset(preset)
        return cls([name for name in PROPERTIES if name != "eij_max"])

    @property
    def predictors(self) -> list[PropertyPredictor]:
        """The property models, loaded on first use."""
        names = PROPERTIES if self.properties is None else self.properties
        return self._loaded(_predictors, tuple(names), self.device)

    def prepare(self, structure: Crystal) -> dict[DescriptionConfig, Description]:
        """Return the graphs of a crystal, by the settings that the property models ask for.

        Raises:
            InputError: if it has none; the message says why.
        """
        return {config: graph_of(structure, config) for config in self._graph_configs()}

    def batch(self, prepared: Sequence[dict[DescriptionConfig, Description]]) -> np.ndarray:
        """Return values and uncertainties, shape (n, 2 x properties)."""
        columns = []
        for predictor in self.predictors:
            config = predictor.model.config.network.graph
            found = predictor.predict_graphs([graphs[config] for graphs in prepared])
            columns += [found.values, found.stds]
        return np.stack(columns, axis=1)

    def _graph_configs(self) -> set[DescriptionConfig]:
        return {predictor.model.config.network.graph for predictor in self.predictors}

    def feature_labels(self) -> list[str]:
        """Return ``predicted_<property>`` and ``predicted_<property>_std`` of each property.

        Behind the property of a model that is not shipped stand the first digits of its hash.
        """
        models = PROPERTIES if self.properties is None else self.properties
        names = [_property_label(model, each) for model, each in zip(models, self.predictors, strict=True)]
        return [label for name in names for label in (f"predicted_{name}", f"predicted_{name}_std")]

    def citations(self) -> list[str]:
        """Return BibTeX of the article and of the network's origin."""
        return [COURT, XIE]


def _predictors(names: Sequence[str], device: str) -> list[PropertyPredictor]:
    return [PropertyPredictor.from_pretrained(name, device) for name in names]


def model_label(model: str, digest: str) -> str:
    """Return what labels call a model: the name of a shipped one, of another its folder and the begin of its hash.

    Trained models often lie in folders of one name, and columns of two of them must not have one label.

    Args:
        model: Shipped model, or folder of a trained one.
        digest: SHA-256 of its weights.
    """
    folder = find(model)
    return folder.name if is_shipped(folder) else f"{folder.name}_{digest[:8]}"


def _property_label(model: str, predictor: PropertyPredictor) -> str:
    name = predictor.property.name
    return name if is_shipped(find(model)) else f"{name}_{predictor.digest[:8]}"


def _check_preset(preset: str) -> None:
    if preset != "paper":
        msg = f"there is no preset {preset!r}; there is 'paper'"
        raise InputError(msg)
