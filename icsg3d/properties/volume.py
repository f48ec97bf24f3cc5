"""Equilibrium volumes: the volume per atom that a crystal has at zero pressure, from its structure up to scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icsg3d.crystals.bounds import LOOSE_DISTANCE_RATIO
from icsg3d.crystals.structures import as_structure, to_arrays
from icsg3d.errors import InputError
from icsg3d.models.volume import VOLUME_FORMAT, load_volume_model, without_scale
from icsg3d.pretrained import find
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.refusals import usable
from icsg3d.representation.description import describe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from pymatgen.core import Structure

    from icsg3d.crystals.structures import Crystal
    from icsg3d.models.properties import PropertyModel
    from icsg3d.representation.description import Description

MODEL = "volume"
"""Name of the shipped model."""


@dataclass(frozen=True)
class Volumes:
    """Equilibrium volumes of crystals.

    Attributes:
        values: Cubic angstrom per atom, shape (n,); NaN where there is none.
        stds: Standard uncertainties in the same unit, shape (n,): 68 % of held-out errors are smaller.
        unseen: Elements of each crystal that the model never saw; where there are any, the number is a guess.
    """

    values: np.ndarray
    stds: np.ndarray
    unseen: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.values)


class VolumePredictor:
    """A model of equilibrium volumes that takes crystals.

    Only ratios of lengths count: a crystal and the same one scaled by any factor have the same answer.

    Args:
        model: The networks.
        digest: SHA-256 of the weights, for provenance.
        device: Where the networks run.
    """

    def __init__(self, model: PropertyModel, digest: str = "", device: torch.device | str = "cpu") -> None:
        self._networks = PropertyPredictor(model, digest, device)
        self.model = self._networks.model
        self.digest = digest

    @classmethod
    def from_pretrained(cls, model: str | Path = MODEL, device: torch.device | str = "cpu") -> VolumePredictor:
        """Load the shipped model, or one from a folder.

        Args:
            model: Name or path.
            device: Where the networks run.

        Raises:
            InputError: if there is no such model, or its files are damaged.
        """
        return cls(*load_volume_model(find(model, VOLUME_FORMAT)), device)

    def predict(self, crystals: Sequence[Crystal]) -> Volumes:
        """Predict the equilibrium volumes of crystals, NaN for those that the networks cannot take.

        Args:
            crystals: Structures, ase.Atoms or paths of files, at any scale.
        """
        config = self.model.config.network.graph

        def described(crystal: Crystal) -> Description:
            cell = without_scale(to_arrays(as_structure(crystal), LOOSE_DISTANCE_RATIO))
            return describe(cell, config, LOOSE_DISTANCE_RATIO)

        taken = usable(crystals, described)
        found = self._networks.predict_graphs(taken.results)
        values, stds = np.full((2, len(crystals)), np.nan)
        values[taken.rows], stds[taken.rows] = found.values, found.stds
        unseen = dict(zip(taken.rows, found.unseen, strict=True))
        return Volumes(values, stds, tuple(unseen.get(row, ()) for row in range(len(crystals))))

    def settle(self, crystals: Sequence[Structure]) -> list[Structure | None]:
        """Return copies of crystals scaled to their equilibrium volumes, None where there is none."""
        volumes = self.predict(crystals).values
        return [
            None if np.isnan(volume) else at_volume(crystal, float(volume))
            for crystal, volume in zip(crystals, volumes, strict=True)
        ]


def at_volume(crystal: Structure, volume_per_atom: float) -> Structure:
    """Return a copy of a crystal scaled to a volume per atom in cubic angstrom.

    Raises:
        InputError: if the volume is not above zero.
    """
    if not (np.isfinite(volume_per_atom) and volume_per_atom > 0):
        msg = f"a volume per atom is above 0 cubic angstrom, got {volume_per_atom}"
        raise InputError(msg)
    copy = crystal.copy()
    copy.scale_lattice(volume_per_atom * len(crystal))
    return copy
