"""Latent grids to crystals and back, one crystal at a time: the result does not depend on the others of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, centred, periodic_distances
from icsg3d.crystals.symmetry import Operations, anchored, averaged, symmetrised, symmetry_operations
from icsg3d.models.decoding import Decoded, assemble
from icsg3d.representation.sites import ReadingConfig, Sites, heard_points, read_sites

if TYPE_CHECKING:
    from icsg3d.models.grid_vae import DecodedFields, GridVAE


_SAME_SITE = 1.0
"""Angstrom; a decoded atom nearer than this to one of a base is at its site."""


@dataclass(frozen=True)
class Orbits:
    """Sites of a base crystal and the symmetry that makes some of them equivalent.

    Attributes:
        frac_coords: Fractional coordinates, shape (N, 3).
        operations: Of the base's space group.
    """

    frac_coords: np.ndarray
    operations: Operations

    @classmethod
    def of(cls, crystal: CrystalArrays, tolerance: float) -> Orbits:
        """Return the orbits of a crystal under the symmetry that it has within a tolerance in angstrom."""
        return cls(crystal.frac_coords, symmetry_operations(crystal, tolerance))

    @property
    def labels(self) -> np.ndarray:
        """Number of each site's orbit, shape (N,)."""
        return self.operations.partners.min(axis=0)

    def places(self, frac_coords: np.ndarray, lattice: np.ndarray) -> np.ndarray | None:
        """Return at which of the base's sites each atom is, shape (N,); None unless they are one to one at them."""
        distances = periodic_distances(frac_coords, self.frac_coords, lattice)
        if distances.shape[0] != distances.shape[1]:
            return None
        places = distances.argmin(axis=1)
        moved = len(np.unique(places)) < len(places) or distances.min(axis=1).max() > _SAME_SITE
        return None if moved else places


@dataclass(frozen=True, eq=False)
class LatentGrid:
    """A crystal's latent: its cell, the number of its atoms, and a vector for each block of the cell.

    Two are never equal, so that what is known of one can be kept beside it.

    Attributes:
        grid: Latent vectors, shape (X, Y, Z, latent), float32.
        lattice: Lattice vectors as rows, shape (3, 3), in angstrom.
        atoms: How many atoms the crystal has that was encoded, or was asked for.
        orbits: Of the base that it was drawn around: atoms that are still at its sites keep its symmetry.
        allowed: Atomic numbers of the elements that its atoms may be; empty for any.
        attempts: How many times it was drawn until its atoms were what they should be.
    """

    grid: np.ndarray
    lattice: np.ndarray
    atoms: int
    orbits: Orbits | None = None
    allowed: frozenset[int] = frozenset()
    attempts: int = 1


@torch.no_grad()
def sites_of(
    network: GridVAE,
    decoded: DecodedFields,
    lattice: torch.Tensor,
    config: ReadingConfig | None = None,
    atoms: int | None = None,
) -> list[Sites]:
    """Return the atoms of decoded fields in cells with lattices (B, 3, 3), so many of each where ``atoms`` says it."""
    config = config or ReadingConfig()
    shape = tuple(decoded.height.shape[1:])
    heights = torch.sigmoid(decoded.height).flatten(1).cpu().numpy()
    found = []
    for row, height in enumerate(heights):
        point = heard_points(height, config)
        index = torch.as_tensor(point, device=lattice.device)
        species = network.species(decoded.hidden[row].flatten(0, 2)[index]).softmax(-1)
        offset = decoded.offset[row].reshape(-1, 3)[index].cpu().double().numpy()
        cell = lattice[row].cpu().double().numpy()
        found.append(
            read_sites(height[point], point, offset, species.cpu().numpy(), cell, shape, config, atoms)  # type: ignore[arg-type]
        )
    return found


def crystals_of(sites: list[Sites], lattice: torch.Tensor) -> list[CrystalArrays]:
    """Return what was read as crystals."""
    cells = lattice.cpu().double().numpy()
    return [CrystalArrays(each.numbers, each.frac_coords, cell) for each, cell in zip(sites, cells, strict=True)]


@torch.no_grad()
def encode_crystal(network: GridVAE, crystal: CrystalArrays, device: torch.device | str = "cpu") -> LatentGrid:
    """Return the latent mean of a crystal in its reduced cell, its canonical origin at the first block's corner."""
    batch = centred(CrystalBatch.from_arrays([crystal], device=device))
    shape = network.config.fields.shape(crystal.lattice)
    return LatentGrid(network.encode(batch, shape).mean[0].cpu().numpy(), crystal.lattice, len(crystal))


@torch.no_grad()
def read_grid(
    network: GridVAE, latent: LatentGrid, reading: ReadingConfig | None = None, device: torch.device | str = "cpu"
) -> Sites:
    """Return the atoms that a latent grid decodes to: as many as it is of, and of the elements that they may be."""
    grid = torch.as_tensor(latent.grid, dtype=torch.float32, device=device)[None]
    lattice = torch.as_tensor(latent.lattice, dtype=torch.float32, device=device)[None]
    sites = sites_of(network, network.decode(grid, lattice), lattice, reading, latent.atoms)[0]
    return among(sites, latent.allowed) if latent.allowed else sites


def decoded_sites(sites: Sites, latent: LatentGrid, symmetry_tolerance: float) -> Decoded:
    """Return the crystal of the atoms that were read from a latent grid (:func:`read_grid`).

    Args:
        sites: The atoms.
        latent: The grid, whose orbits make atoms equivalent.
        symmetry_tolerance: The crystal is brought to the symmetry that it has within this distance in angstrom; 0 for
            none.
    """
    if latent.orbits is not None:
        sites = as_symmetric(sites, latent.orbits, latent.lattice, moved=symmetry_tolerance > 0)
    return assembled(sites, latent.lattice, symmetry_tolerance)


def among(sites: Sites, allowed: frozenset[int]) -> Sites:
    """Return atoms of some elements, each the most probable of them.

    Args:
        sites: Atoms that were read.
        allowed: Atomic numbers.
    """
    kept = np.full(sites.shares.shape[1], -np.inf)
    kept[np.array(sorted(allowed)) - 1] = 0.0
    return Sites((sites.shares + kept).argmax(axis=1) + 1, sites.frac_coords, np.where(kept < 0, 0.0, sites.shares))


def as_symmetric(sites: Sites, orbits: Orbits, lattice: np.ndarray, *, moved: bool = True) -> Sites:
    """Return atoms that are as symmetric as the base that they were drawn around.

    The noise that draws start from is not symmetric, so equivalent atoms would change and move one by one; a chemist
    changes them together. Each orbit gets the element of the greatest mean probability, and each atom the mean of its
    images. Where atoms are no longer one to one at the base's sites, they stay as they are.

    Args:
        sites: Atoms that were read.
        orbits: Of the base.
        lattice: Lattice vectors as rows, shape (3, 3), in angstrom.
        moved: Whether atoms are moved as well; else only their elements change.
    """
    places = orbits.places(sites.frac_coords, lattice)
    if places is None:
        return sites
    shares = sites.shares.copy()
    labels = orbits.labels[places]
    for label in np.unique(labels):
        shares[labels == label] = sites.shares[labels == label].mean(axis=0)
    numbers, frac_coords = shares.argmax(axis=1) + 1, sites.frac_coords
    if moved:
        partners = np.argsort(places)[orbits.operations.partners[:, places]]  # in the order of the atoms
        operations = orbits.operations._replace(partners=partners)
        frac_coords = averaged(CrystalArrays(numbers, frac_coords, lattice), operations).frac_coords
    return Sites(numbers, frac_coords, shares)


@torch.no_grad()
def grid_maps(
    network: GridVAE, latent: LatentGrid, reading: ReadingConfig | None = None, device: torch.device | str = "cpu"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the heights of a decoded latent grid, the atomic number where an atom is heard, and fractional heights."""
    grid = torch.as_tensor(latent.grid, dtype=torch.float32, device=device)[None]
    decoded = network.decode(grid, torch.as_tensor(latent.lattice, dtype=torch.float32, device=device)[None])
    height = torch.sigmoid(decoded.height[0])
    near = height >= (reading or ReadingConfig()).least
    species = torch.where(near, network.species(decoded.hidden[0]).argmax(-1) + 1, 0)
    points = height.shape[2]
    return height.cpu().numpy(), species.cpu().numpy(), np.arange(points) / points


def assembled(sites: Sites, lattice: np.ndarray, symmetry_tolerance: float) -> Decoded:
    """Put sites that were read into a cell and bring the crystal to its symmetry, or say why there is none."""
    decoded = assemble(sites.numbers, sites.frac_coords, lattice)
    certainty = float(sites.certainty.min()) if len(sites.certainty) else None
    if decoded.crystal is None:
        return Decoded(None, decoded.reason, certainty)
    return Decoded(anchored(symmetrised(decoded.crystal, symmetry_tolerance)), "", certainty)
