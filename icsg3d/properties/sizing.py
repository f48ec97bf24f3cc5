"""The volume a cell is brought to: by the model of equilibrium volumes or, without one, by the energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icsg3d.models.volume import VOLUME_FORMAT
from icsg3d.pretrained import available
from icsg3d.properties.equilibrium import scale_cells
from icsg3d.properties.volume import MODEL, VolumePredictor, Volumes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from pymatgen.core import Structure

    from icsg3d.properties.predictor import PropertyPredictor


class CellSizer:
    """Estimates equilibrium volumes.

    Args:
        volume: Model of equilibrium volumes; without it the minimum of the predicted energy counts
            (:func:`icsg3d.properties.equilibrium.scale_cells`), which knows no uncertainty.
        energy: Of an energy per atom, for that case.
    """

    def __init__(self, volume: VolumePredictor | None, energy: PropertyPredictor) -> None:
        self._volume = volume
        self._energy = energy

    @classmethod
    def best(cls, energy: PropertyPredictor, device: torch.device | str = "cpu") -> CellSizer:
        """Return one with the model of volumes if the package ships it, else by an energy."""
        shipped = MODEL in available(VOLUME_FORMAT)
        return cls(VolumePredictor.from_pretrained(MODEL, device) if shipped else None, energy)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights that decide."""
        return self._energy.digest if self._volume is None else self._volume.digest

    def volumes(self, crystals: Sequence[Structure]) -> Volumes:
        """Return the equilibrium volumes of crystals in cubic angstrom per atom, NaN where there is none.

        Args:
            crystals: At any scale; without a model of volumes within 20 % of the right lattice parameters.
        """
        if self._volume is not None:
            return self._volume.predict(crystals)
        factors = scale_cells(crystals, self._energy)
        values = np.array(
            [
                np.nan if factor is None else crystal.volume / len(crystal) * factor**3
                for crystal, factor in zip(crystals, factors, strict=True)
            ]
        )
        return Volumes(values, np.full(len(crystals), np.nan), ((),) * len(crystals))
