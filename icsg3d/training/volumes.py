"""What a model of equilibrium volumes learns from: environments without scale, of crystals as they are and shaken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.bounds import LOOSE_DISTANCE_RATIO
from icsg3d.errors import InputError
from icsg3d.models.volume import VOLUME, volume_per_atom, without_scale
from icsg3d.representation.description import describe, described
from icsg3d.training.data import PropertySet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.representation.description import DescriptionConfig

SHIFT = 0.1
"""Angstrom; largest standard deviation of the shifts of atoms along each axis, at the crystal's own volume."""

STRAIN = 0.03
"""Largest standard deviation of the components of the strain."""


def shaken(crystal: CrystalArrays, random: np.random.Generator) -> CrystalArrays:
    """Return a crystal with its atoms shifted and its cell strained at constant volume, as decoded crystals are.

    How much is drawn first, uniformly up to :data:`SHIFT` and :data:`STRAIN`, and then the shifts and the strain.

    Args:
        crystal: A relaxed crystal.
        random: Source of randomness.
    """
    size, stretch = random.uniform(0, SHIFT), random.uniform(0, STRAIN)
    strain = random.normal(0, stretch, (3, 3))
    deformation = np.eye(3) + (strain + strain.T) / 2
    lattice = crystal.lattice @ deformation / np.cbrt(np.linalg.det(deformation))
    shifts = random.normal(0, size, crystal.frac_coords.shape) @ np.linalg.inv(lattice)
    return CrystalArrays(crystal.numbers, crystal.frac_coords + shifts, lattice)


def volume_set(
    crystals: Sequence[CrystalArrays],
    ids: Sequence[str],
    formulas: Sequence[str],
    config: DescriptionConfig,
    *,
    scale: int = 0,
    shake: int | None = None,
) -> PropertySet:
    """Return what networks take of crystals without scale, with the volumes per atom that belong to them.

    Crystals that networks cannot take, or with a volume out of range, are left out.

    Args:
        crystals: Relaxed crystals, best in primitive cells.
        ids: A name of each.
        formulas: Reduced formula of each.
        config: How crystals are described.
        scale: 0 for volumes of the functional that is predicted, another number for each other source.
        shake: Seed with which the crystals are :func:`shaken`; None to take them as they are.

    Raises:
        InputError: if no crystal is left.
    """
    graphs, values, kept = [], [], []
    for row, crystal in enumerate(crystals):
        value = volume_per_atom(crystal)
        moved = crystal if shake is None else shaken(crystal, np.random.default_rng((shake, row)))
        try:
            graph = describe(without_scale(moved), config, LOOSE_DISTANCE_RATIO)
        except InputError:
            continue
        if VOLUME.low <= value <= VOLUME.high:
            graphs.append(graph)
            values.append(value)
            kept.append(row)
    if not kept:
        raise InputError(f"none of {len(crystals)} crystals has a sensible volume and fits the networks; give others")
    return PropertySet(
        described(graphs),
        np.array(values),
        [ids[row] for row in kept],
        [formulas[row] for row in kept],
        np.full(len(kept), scale),
    )
