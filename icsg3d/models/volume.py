"""Crystals at a volume that all share, and the folder format of models that give the true one.

A crystal's structure up to scale is what is left when all lengths are measured in the cube root of the volume per atom.
A graph network sees it as distances at :data:`REFERENCE_VOLUME`, so that nothing it is given tells the volume.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

import numpy as np

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.models.checkpoints import read_model, write_model
from icsg3d.models.properties import PropertyModel, property_networks
from icsg3d.models.targets import Property

if TYPE_CHECKING:
    from pathlib import Path

    from icsg3d.models.compact_weights import Bits

VOLUME_FORMAT = "icsg3d-volume-1"

REFERENCE_VOLUME = 20.0
"""Cubic angstrom per atom, about the median of known crystals; what networks see is at this volume."""

VOLUME = Property("volume_per_atom", "angstrom^3", "volume per atom at zero pressure (PBE)", 2, 300, "log10")
"""What is learned: the decadic logarithm, so that errors are relative."""


def volume_per_atom(crystal: CrystalArrays) -> float:
    """Return the volume of a crystal's cell over its number of atoms, in cubic angstrom."""
    return float(abs(np.linalg.det(crystal.lattice)) / len(crystal))


def without_scale(crystal: CrystalArrays) -> CrystalArrays:
    """Return a crystal with all lengths scaled so that it has :data:`REFERENCE_VOLUME`."""
    factor = np.cbrt(REFERENCE_VOLUME / volume_per_atom(crystal))
    return CrystalArrays(crystal.numbers, crystal.frac_coords, crystal.lattice * factor)


def save_volume_model(model: PropertyModel, folder: Path, *, bits: Bits = 32) -> str:
    """Write a model of volumes into a folder and return the SHA-256 of its weights.

    Args:
        model: What is written.
        folder: Made if it does not exist.
        bits: Of a stored weight.
    """
    return write_model(folder, VOLUME_FORMAT, dataclasses.asdict(model.config), {"model": model}, bits=bits)


def load_volume_model(folder: Path) -> tuple[PropertyModel, str]:
    """Read what :func:`save_volume_model` wrote: the model in evaluation mode, and the SHA-256 of its weights.

    Raises:
        InputError: if a file is missing, damaged, or does not fit the sizes.
    """
    networks, _, digest = read_model(folder, VOLUME_FORMAT, property_networks)
    return cast("PropertyModel", networks["model"]), digest
