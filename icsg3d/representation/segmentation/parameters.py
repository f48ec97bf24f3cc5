"""Parameters and result of the segmentation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from icsg3d.errors import InputError

if TYPE_CHECKING:
    import numpy as np

Preset = Literal["paper", "periodic"]


@dataclass(frozen=True)
class SegmentationParameters:
    """All parameters of Algorithm S1 and of what is done to its result.

    Attributes:
        per_species: Whether voxels are connected only within one species, so that touching atoms of different
            species come apart at once; if not, the components are those of the binary foreground S_B.
        min_convexity: A region whose voxels fill more than this share of its convex hull is one atom. Two
            touching balls fill exactly 0.80 of theirs and overlapping ones more.
        max_iterations: Erosions after which a region is taken as one atom.
        min_voxels: Regions below this many voxels are never split further, and a split leaves none behind.
        min_part: A split leaves no part with fewer voxels than this share of a free ball of its species
            either; a ball with deep dents must not lose its lobes. Needs a lattice.
        mask_threshold: Voxels whose atom mask (a probability) lies below are background.
        merge_distance: Regions whose centroids are nearer than this many radii (of the larger of the two
            species) are one atom that was labelled with two species or torn; 0 turns this off. Needs a
            lattice. Halves of a ball are 0.75 apart, the closest atoms of most crystals more than 1.
        min_fill: Regions with fewer voxels than this share of a free ball of their species are noise: inside
            an atom they join it, elsewhere they are dropped; 0 turns this off. Needs a lattice. In true maps
            the atoms cut most by their neighbours keep 0.59.
        min_size: Regions with fewer voxels than this are noise, whatever the lattice.
        hole_neighbours: Background voxels with at least this many of their six neighbours in one region are
            holes in it and belong to it; 7 leaves them.
        refine_steps: Corrections of the sites by analysis and synthesis; 0 leaves the centroids. Needs a
            lattice.
        max_step: Largest correction in one step along each axis, in grid spacings.
        max_shift: Largest sum of all corrections along each axis, in grid spacings.
    """

    per_species: bool = True
    min_convexity: float = 0.9
    max_iterations: int = 5
    min_voxels: int = 8
    min_part: float = 0.3
    mask_threshold: float = 0.8
    merge_distance: float = 0.8
    min_fill: float = 0.15
    min_size: int = 1
    hole_neighbours: int = 5
    refine_steps: int = 2
    max_step: float = 0.5
    max_shift: float = 1.5

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: if a share lies outside [0, 1] or a number is negative.
        """
        for name in ("min_convexity", "mask_threshold", "min_fill", "min_part"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} of a segmentation lies between 0 and 1, got {getattr(self, name)}")
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise InputError(f"{field.name} of a segmentation is not negative, got {getattr(self, field.name)}")

    @classmethod
    def preset(cls, name: Preset, **changes: object) -> SegmentationParameters:
        """Return the parameters of a name.

        ``paper``: the convexity of 0.8 of Algorithm S1 (Supporting Information).
        ``periodic``: 0.9, because overlapping balls are more convex than that.

        Raises:
            InputError: if the name is unknown.
        """
        presets = {"paper": cls(min_convexity=0.8), "periodic": cls()}
        if name not in presets:
            raise InputError(f"unknown segmentation preset {name!r}; there are {', '.join(presets)}")
        return dataclasses.replace(presets[name], **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Sites:
    """Atoms found in one grid.

    Attributes:
        numbers: Atomic numbers, shape (N,).
        frac_coords: Fractional coordinates in the crystal's cell, shape (N, 3); in [0, 1) on a periodic grid,
            from -margin to 1 + margin on a grid with a margin.
        voxels: Voxels of each atom's region, shape (N,).
    """

    numbers: np.ndarray
    frac_coords: np.ndarray
    voxels: np.ndarray

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.numbers)
