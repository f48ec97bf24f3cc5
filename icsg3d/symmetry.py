"""Refinement of a decoded crystal to the symmetry that it has within a tolerance."""

from __future__ import annotations

import logging

import moyopy
import numpy as np

from icsg3d.arrays import CrystalArrays, CrystalBatch, canonical_origin, wrapped

logging.getLogger("moyo").setLevel(logging.ERROR)  # it reports moves of sites in a cell of its own, which is not used

_WIDEST = 0.1
"""Widest tolerance, as a share of the smallest height of the cell."""

_FLATTEST = 8
"""Longest edge over smallest height of cells that are searched. moyo's search does not end in one of 500 random cells
where the tolerance is a quarter of the height, and in one of 60,000 with a tenth, all of them flatter than this."""


def symmetrised(crystal: CrystalArrays, tolerance: float) -> CrystalArrays:
    """Return a crystal that has exactly the symmetry that the given one has roughly.

    The metric is averaged over the point group, each site over all its images. What is further than the tolerance from
    a symmetric place stays where it is.

    Args:
        crystal: As it was decoded.
        tolerance: Largest distance of an atom from its image, in angstrom, at most a tenth of the smallest distance
            between opposite faces of the cell; 0 changes nothing.

    Returns:
        The refined crystal, its first edge along the old one; or the one given if it has no symmetry, or if its longest
        edge is more than eight times as long as the smallest of these distances.
    """
    operations = _operations(crystal, tolerance)
    if operations is None:
        return crystal
    rotations, translations = operations
    images = np.einsum("gij,nj->gni", rotations, crystal.frac_coords) + translations[:, None]
    partners = partner_sites(images, crystal)
    if partners is None:
        return crystal
    frac_coords = np.zeros_like(crystal.frac_coords)
    for image, partner in zip(images, partners, strict=True):
        offset = image - crystal.frac_coords[partner]
        frac_coords[partner] += offset - np.round(offset)
    metric = crystal.lattice @ crystal.lattice.T
    orientation = np.linalg.solve(np.linalg.cholesky(metric), crystal.lattice)
    metric = np.einsum("gki,kl,glj->ij", rotations, metric, rotations) / len(images)
    lattice = np.linalg.cholesky(metric) @ orientation
    return CrystalArrays(crystal.numbers, wrapped(crystal.frac_coords + frac_coords / len(images)), lattice)


def _operations(crystal: CrystalArrays, tolerance: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return rotations, (G, 3, 3), and translations, (G, 3), of fractional coordinates; None without symmetry.

    moyo, not spglib: with wide tolerances it finds more of the groups that decoded crystals were meant to have, and
    where the lattice is face-centred it takes a tenth of the time.
    """
    height = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0).max()
    if tolerance <= 0 or np.linalg.norm(crystal.lattice, axis=1).max() > _FLATTEST * height:
        return None
    cell = moyopy.Cell(crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.numbers.tolist())
    try:
        found = moyopy.MoyoDataset(cell, symprec=min(tolerance, _WIDEST * float(height))).operations
    except ValueError:  # no group within the tolerance, such as where atoms nearly coincide
        return None
    return (np.array(found.rotations), np.array(found.translations)) if len(found) > 1 else None


def partner_sites(images: np.ndarray, crystal: CrystalArrays) -> np.ndarray | None:
    """Return the site on which each image of each site lies, shape (operations, N); None if two lie on one."""
    offsets = images[:, :, None] - crystal.frac_coords
    offsets = (offsets - np.round(offsets)) @ crystal.lattice
    distances = np.where(
        crystal.numbers[:, None] == crystal.numbers[None], np.einsum("gnmi,gnmi->gnm", offsets, offsets), np.inf
    )
    partners = distances.argmin(axis=2)
    return partners if (np.sort(partners, axis=1) == np.arange(len(crystal))).all() else None


def anchored(crystal: CrystalArrays) -> CrystalArrays:
    """Return a crystal moved so that an atom of its rarest element, the one nearest to the origin, lies at it.

    The networks see crystals with such an atom at the origin (:func:`icsg3d.arrays.canonical_origin`); what is decoded
    is off by the error of that atom.
    """
    chosen = canonical_origin(CrystalBatch.from_arrays([crystal]))[0].double().numpy()
    row = int(np.abs(crystal.frac_coords - chosen).sum(1).argmin())
    alike = crystal.frac_coords[crystal.numbers == crystal.numbers[row]]
    alike = alike - np.round(alike)
    origin = alike[np.linalg.norm(alike @ crystal.lattice, axis=1).argmin()]
    return CrystalArrays(crystal.numbers, wrapped(crystal.frac_coords - origin), crystal.lattice)
