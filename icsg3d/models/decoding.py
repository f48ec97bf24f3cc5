"""From latent vectors to crystals as arrays, each with a reason where it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.crystals.arrays import CrystalArrays, periodic_distances, wrapped
from icsg3d.crystals.symmetry import anchored, symmetrised
from icsg3d.representation.segmentation import segment_batch

if TYPE_CHECKING:
    from icsg3d.models.generator import GeneratorNetwork
    from icsg3d.representation.segmentation import SegmentationParameters, Sites

MIN_DISTANCE = 0.5
"""Angstrom; two sites nearer than this are no crystal (the field's criterion of structural validity)."""

MIN_VOLUME = 0.1
"""Cubic angstrom; a cell below this is flat (the same criterion)."""

SYMMETRY_TOLERANCE = 0.25
"""Angstrom. Decoded sites are off by some hundredths of an angstrom, the worst by two tenths; between 0.1 and 0.3 the
errors of validation crystals fall with the tolerance."""

BATCH = 32
"""Latent vectors that go through the networks at once. It is always exactly this many, padded if need be: the last bits
of a convolution depend on the size of the batch, and so might a voxel's species."""

_STAND_IN = 5.0 * np.eye(3)
"""Angstrom; the cell in which the sites of a broken lattice are looked for, to be thrown away."""


@dataclass(frozen=True)
class Decoded:
    """What a latent vector decodes to.

    Attributes:
        crystal: The crystal, or None.
        reason: Why there is none; empty if there is one.
        certainty: Probability of the least certain atom's element; None where the networks do not tell.
    """

    crystal: CrystalArrays | None
    reason: str = ""
    certainty: float | None = None


def padded(latent: torch.Tensor, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return up to :data:`BATCH` latent vectors, (B, latent), and their bins, (B,), with zeros and no bins up to it."""
    missing = BATCH - len(latent)
    nothing = latent.new_zeros(missing, latent.shape[1]), condition.new_full((missing,), -1)
    return torch.cat([latent, nothing[0]]), torch.cat([condition, nothing[1]])


@torch.no_grad()
def decode_crystals(
    network: GeneratorNetwork,
    latent: torch.Tensor,
    condition: torch.Tensor,
    parameters: SegmentationParameters | None = None,
    count: int | None = None,
    symmetry_tolerance: float = SYMMETRY_TOLERANCE,
) -> list[Decoded]:
    """Decode latent vectors to crystals.

    Args:
        network: The generator, in evaluation mode.
        latent: Shape (B, latent).
        condition: Bins, shape (B,), int64, negative where unknown.
        parameters: Of the segmentation.
        count: How many of the vectors are asked for, if the rest is padding.
        symmetry_tolerance: Crystals are brought to the symmetry that they have within this distance, in angstrom; 0 for
            none.
    """
    grids = network.decode(latent, condition)
    lattices = grids.lattice[:count].double().cpu().numpy()
    failures = [_cell_failure(lattice) for lattice in lattices]
    broken = np.array([bool(failure) for failure in failures], dtype=bool)
    sites = segment_batch(
        grids.species[:count].cpu().numpy(),
        network.config.voxels,
        np.where(broken[:, None, None], _STAND_IN, lattices),
        params=parameters,
        atom_mask=grids.atom[:count].cpu().numpy(),
    )
    decoded = [
        Decoded(None, failure) if failure else _assembled(found, lattice)
        for found, lattice, failure in zip(sites, lattices, failures, strict=True)
    ]
    periodic = network.config.voxels.periodic
    return [
        each if each.crystal is None else Decoded(_symmetrised(each.crystal, symmetry_tolerance, periodic=periodic))
        for each in decoded
    ]


def _assembled(found: Sites, lattice: np.ndarray) -> Decoded:
    rows = distinct(found, lattice)
    return assemble(found.numbers[rows], found.frac_coords[rows], lattice)


def distinct(found: Sites, lattice: np.ndarray) -> np.ndarray:
    """Return the rows of the sites of which no two are nearer than two atoms can be, ascending.

    Where the networks are torn between two species for one atom, its voxels may make two sites, which the correction of
    the sites then moves together. The one with more voxels counts, of equals the first.

    Args:
        found: Sites.
        lattice: Lattice vectors as rows, shape (3, 3), in angstrom.
    """
    far = periodic_distances(found.frac_coords, found.frac_coords, lattice) >= MIN_DISTANCE
    kept: list[int] = []
    for site in np.argsort(-found.voxels, kind="stable"):
        if far[site, kept].all():
            kept.append(int(site))
    return np.array(sorted(kept), dtype=int)


def _symmetrised(crystal: CrystalArrays, tolerance: float, *, periodic: bool) -> CrystalArrays:
    """Return a crystal with its symmetry and, on a periodic grid, its canonical origin."""
    crystal = symmetrised(crystal, tolerance)
    return anchored(crystal) if periodic else crystal


def _cell_failure(lattice: np.ndarray) -> str:
    """Return why a decoded lattice is none; empty if it is one."""
    if not np.isfinite(lattice).all():
        return "the decoded angles enclose no cell"
    return "the decoded cell is flat" if abs(np.linalg.det(lattice)) < MIN_VOLUME else ""


def assemble(numbers: np.ndarray, frac_coords: np.ndarray, lattice: np.ndarray) -> Decoded:
    """Put sites into a cell, or say why they make no crystal."""
    if not len(numbers):
        return Decoded(None, "no atom was found in the decoded species map")
    failure = _cell_failure(lattice)
    if failure:
        return Decoded(None, failure)
    distances = periodic_distances(frac_coords, frac_coords, lattice)
    np.fill_diagonal(distances, np.inf)
    shortest = min(float(distances.min()), float(np.linalg.norm(lattice, axis=1).min()))
    if shortest < MIN_DISTANCE:
        return Decoded(None, f"two decoded atoms are {shortest:.2f} angstrom apart")
    return Decoded(CrystalArrays(numbers, wrapped(frac_coords), lattice))
