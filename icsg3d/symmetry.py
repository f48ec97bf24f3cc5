"""Refinement of a decoded crystal to the symmetry that it has within a tolerance."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("SPGLIB_WARNING", "OFF")  # it reports each search that starts with too wide a tolerance

import numpy as np
import spglib

from icsg3d.arrays import CrystalArrays, CrystalBatch, canonical_origin, wrapped


def symmetrised(crystal: CrystalArrays, tolerance: float) -> CrystalArrays:
    """Return a crystal that has exactly the symmetry that the given one has roughly.

    The metric is averaged over the point group, each site over all its images. What is further than the tolerance from
    a symmetric place stays where it is.

    Args:
        crystal: As it was decoded.
        tolerance: Largest distance of an atom from its image, in angstrom; 0 changes nothing.

    Returns:
        The refined crystal, its first edge along the old one; or the one given if it has no symmetry or spglib finds
        no group.
    """
    if tolerance <= 0:
        return crystal
    cell: Any = (crystal.lattice, crystal.frac_coords, crystal.numbers)
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
    except spglib.SpglibError:
        return crystal
    if dataset is None or len(dataset.rotations) == 1:
        return crystal
    images = np.einsum("gij,nj->gni", dataset.rotations, crystal.frac_coords) + dataset.translations[:, None]
    partners = partner_sites(images, crystal)
    if partners is None:
        return crystal
    frac_coords = np.zeros_like(crystal.frac_coords)
    for image, partner in zip(images, partners, strict=True):
        offset = image - crystal.frac_coords[partner]
        frac_coords[partner] += offset - np.round(offset)
    metric = crystal.lattice @ crystal.lattice.T
    orientation = np.linalg.solve(np.linalg.cholesky(metric), crystal.lattice)
    metric = np.einsum("gki,kl,glj->ij", dataset.rotations, metric, dataset.rotations) / len(images)
    lattice = np.linalg.cholesky(metric) @ orientation
    return CrystalArrays(crystal.numbers, wrapped(crystal.frac_coords + frac_coords / len(images)), lattice)


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
