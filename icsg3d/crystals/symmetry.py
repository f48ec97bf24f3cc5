"""Symmetrisation of a decoded crystal: it is brought to the symmetry that it has within a tolerance."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import spglib

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, canonical_origin, wrapped

_WIDEST = 0.1
"""Widest tolerance, as a share of the smallest height of the cell; in wider ones anything is symmetric."""

_MOST_OPERATIONS = 192
"""Of cells with four lattice points, as conventional ones have. In larger ones products of all operations would be too
many, and spglib does the search."""

_CHUNK_PAIRS = 2**20
"""Pairs of an image and a site looked at at once; bounds the memory."""


class Operations(NamedTuple):
    """Symmetry operations of a crystal, x' = W x + t of fractional coordinates as columns.

    Rotations W, (G, 3, 3), integers; translations t, (G, 3); the site on which each brings each site, (G, N); and how
    far each brings an atom or a corner of the cell from where one is, (G,), in angstrom.
    """

    rotations: np.ndarray
    translations: np.ndarray
    partners: np.ndarray
    errors: np.ndarray

    def rows(self, chosen: np.ndarray) -> Operations:
        """Return some of the operations."""
        return Operations(*(values[chosen] for values in self))


def symmetrised(crystal: CrystalArrays, tolerance: float) -> CrystalArrays:
    """Return a crystal that has exactly the symmetry that the given one has roughly.

    What is further than the tolerance from a symmetric place stays where it is.

    Args:
        crystal: As it was decoded.
        tolerance: Largest distance of an atom from its image, in angstrom, at most a tenth of the smallest distance
            between opposite faces of the reduced cell; 0 changes nothing.

    Returns:
        The crystal in its symmetry, its first cell vector along the old one; or the one given if it has no symmetry.
    """
    if tolerance <= 0:
        return crystal
    operations = symmetry_operations(crystal, tolerance)
    return crystal if len(operations.rotations) == 1 else averaged(crystal, operations)


def averaged(crystal: CrystalArrays, operations: Operations) -> CrystalArrays:
    """Return a crystal that has symmetry operations exactly, which the given one has roughly.

    The metric is averaged over the point group, each site over all its images.

    Args:
        crystal: In any cell.
        operations: A group, whose partners are in the order of the crystal's sites.
    """
    rotations, translations, partners, _ = operations
    images = np.einsum("gij,nj->gni", rotations, crystal.frac_coords) + translations[:, None]
    frac_coords = np.zeros_like(crystal.frac_coords)
    for image, partner in zip(images, partners, strict=True):
        offset = image - crystal.frac_coords[partner]
        frac_coords[partner] += offset - np.round(offset)
    metric = crystal.lattice @ crystal.lattice.T
    orientation = np.linalg.solve(np.linalg.cholesky(metric), crystal.lattice)
    metric = np.einsum("gki,kl,glj->ij", rotations, metric, rotations) / len(images)
    lattice = np.linalg.cholesky(metric) @ orientation
    return CrystalArrays(crystal.numbers, wrapped(crystal.frac_coords + frac_coords / len(images)), lattice)


def symmetry_operations(crystal: CrystalArrays, tolerance: float) -> Operations:
    """Return a group of symmetry operations that a crystal has within a tolerance.

    All operations within the tolerance are looked for, and if they are not a group, the worst of them are left out
    until they are one. That ends with any cell and any tolerance, at the latest with the identity, which is all there
    is where two atoms of an element lie on one place. With tolerances as wide as decoded crystals need, spglib often
    ends with a small subgroup, and moyo's search does not always end.

    Args:
        crystal: In any cell.
        tolerance: Angstrom, at most a tenth of the smallest distance between opposite faces of the reduced cell.
    """
    change = _to_reduced(crystal.lattice, tolerance)
    back = np.linalg.inv(change)
    found = _group(CrystalArrays(crystal.numbers, crystal.frac_coords @ back, change @ crystal.lattice), tolerance)
    rotations = np.round(change.T @ found.rotations @ back.T).astype(int)
    return Operations(rotations, found.translations @ change, found.partners, found.errors)


def _to_reduced(lattice: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the integers, (3, 3), that make the vectors of a reduced cell from those of a lattice.

    In reduced cells rotations have entries of -1, 0 and 1 only (Y. Le Page, J. Appl. Cryst. 15, 255 (1982)). A cell
    whose vectors are as short within the tolerance is left as it is.
    """
    vectors: Any = lattice
    reduced = spglib.niggli_reduce(vectors)
    if reduced is None:
        return np.eye(3)
    longer = np.linalg.norm(lattice, axis=1).sum() - np.linalg.norm(reduced, axis=1).sum()
    return np.round(reduced @ np.linalg.inv(lattice)) if longer > tolerance else np.eye(3)


def _group(crystal: CrystalArrays, tolerance: float) -> Operations:
    """Return the operations of a crystal in a reduced cell."""
    heights = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    tolerance = min(tolerance, _WIDEST * float(heights.min()))
    found = _operations_within(crystal, tolerance)
    identity = (found.rotations == np.eye(3)).all(axis=(1, 2)) & (found.partners == np.arange(len(crystal))).all(axis=1)
    if not identity.any():
        return _identity(len(crystal))
    if len(identity) > _MOST_OPERATIONS:
        theirs = operations_by_spglib(crystal, tolerance)
        return _identity(len(crystal)) if theirs is None else theirs
    while not _is_group(found):
        kept = identity | (found.errors < found.errors.max())
        found, identity = found.rows(kept), identity[kept]
    return found


def _identity(count: int) -> Operations:
    return Operations(np.eye(3, dtype=int)[None], np.zeros((1, 3)), np.arange(count)[None], np.zeros(1))


def space_group(crystal: CrystalArrays, tolerance: float) -> tuple[int, str]:
    """Return number and short symbol of the space group within a tolerance in angstrom; (0, "") where there is none.

    Of the operations of a primitive cell spglib tells the group at once; its own search, which other cells need, takes
    ten times as long.
    """
    rotations, translations, _, _ = symmetry_operations(crystal, tolerance)
    if (rotations == np.eye(3)).all(axis=(1, 2)).sum() == 1:
        found: Any = spglib.get_spacegroup_type_from_symmetry(
            rotations, translations, lattice=crystal.lattice, symprec=tolerance
        )
    else:
        cell: Any = (crystal.lattice, crystal.frac_coords, crystal.numbers)
        dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
        found = None if dataset is None else spglib.get_spacegroup_type(dataset.hall_number)
    return (0, "") if found is None else (int(found.number), str(found.international_short))


def operations_by_spglib(crystal: CrystalArrays, tolerance: float) -> Operations | None:
    """Return the operations that spglib finds within a tolerance in angstrom.

    None if it finds none, or if with one of them two sites come to lie on one.
    """
    cell: Any = (crystal.lattice, crystal.frac_coords, crystal.numbers)
    try:
        found = spglib.get_symmetry(cell, symprec=tolerance)
    except spglib.SpglibError:
        found = None
    if found is None:
        return None
    rotations, translations = found["rotations"].astype(int), found["translations"]
    images = np.einsum("gij,nj->gni", rotations, crystal.frac_coords) + translations[:, None]
    partners = nearest_sites(images, crystal)
    if not _one_to_one(partners).all():
        return None
    offsets = images - crystal.frac_coords[partners]
    errors = np.linalg.norm((offsets - np.round(offsets)) @ crystal.lattice, axis=2).max(axis=1)
    return Operations(rotations, translations, partners, errors)


def _operations_within(crystal: CrystalArrays, tolerance: float) -> Operations:
    """Return all operations within a tolerance, each with the translation that leaves offsets of zero on average."""
    rotations, strains = _lattice_rotations(crystal.lattice, tolerance)
    kinds, counts = np.unique(crystal.numbers, return_counts=True)
    rarest = np.flatnonzero(crystal.numbers == kinds[counts.argmin()])
    turned = np.einsum("gij,nj->gni", rotations, crystal.frac_coords)
    # The first of the rarest atoms comes to lie on each of them.
    translations = (crystal.frac_coords[rarest] - turned[:, rarest[:1]]).reshape(-1, 3)
    rotations, strains, turned = (np.repeat(values, len(rarest), axis=0) for values in (rotations, strains, turned))
    images = turned + translations[:, None]
    partners = nearest_sites(images, crystal)
    offsets = images - crystal.frac_coords[partners]
    offsets -= np.round(offsets)
    shifts = offsets.mean(axis=1)
    away = np.linalg.norm((offsets - shifts[:, None]) @ crystal.lattice, axis=2).max(axis=1)
    errors = np.maximum(strains, away)
    found = Operations(rotations, translations - shifts, partners, errors)
    return found.rows(_one_to_one(partners) & (errors <= tolerance))


def _one_to_one(partners: np.ndarray) -> np.ndarray:
    """Return which operations bring each site to another one, shape (operations,), of partners (operations, N)."""
    return (np.sort(partners, axis=1) == np.arange(partners.shape[1])).all(axis=1)


def _lattice_rotations(lattice: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations that keep a lattice within a tolerance, and how far each moves its longest vector."""
    rotations = _rotations()
    metric = lattice @ lattice.T
    inverse = np.linalg.inv(lattice)
    strains = 0.5 * inverse @ (rotations.transpose(0, 2, 1) @ metric @ rotations - metric) @ inverse.T
    errors = np.linalg.norm(strains, axis=(1, 2)) * np.linalg.norm(lattice, axis=1).max()
    kept = errors <= tolerance
    return rotations[kept], errors[kept]


@cache
def _rotations() -> np.ndarray:
    """Return all matrices with entries of -1, 0 and 1 that are rotations of some lattice, shape (n, 3, 3)."""
    matrices = np.stack(np.meshgrid(*[(-1, 0, 1)] * 9, indexing="ij"), -1).reshape(-1, 3, 3)
    matrices = matrices[np.abs(np.round(np.linalg.det(matrices))) == 1]
    return matrices[(np.linalg.matrix_power(matrices, 12) == np.eye(3)).all(axis=(1, 2))]  # orders 1, 2, 3, 4, 6


def _is_group(found: Operations) -> bool:
    """Return whether every product of two operations is one of them."""
    products = found.rotations[:, None] @ found.rotations
    sites = found.partners[:, found.partners]
    own = np.hstack([found.rotations.reshape(len(found.rotations), -1), found.partners])
    made = np.concatenate([products.reshape(*products.shape[:2], -1), sites], axis=2)
    weights = np.random.default_rng(0).integers(1, 2**40, own.shape[1])  # tell operations apart by a single number
    return bool(np.isin(made @ weights, own @ weights).all())


def nearest_sites(images: np.ndarray, crystal: CrystalArrays) -> np.ndarray:
    """Return the site of the same element that is nearest to each image of each site, shape (operations, N)."""
    size = max(1, _CHUNK_PAIRS // len(crystal) ** 2)
    return np.concatenate([_nearest(images[start : start + size], crystal) for start in range(0, len(images), size)])


def _nearest(images: np.ndarray, crystal: CrystalArrays) -> np.ndarray:
    offsets = images[:, :, None] - crystal.frac_coords
    offsets = (offsets - np.round(offsets)) @ crystal.lattice
    distances = np.einsum("gnmi,gnmi->gnm", offsets, offsets)
    return np.where(crystal.numbers[:, None] == crystal.numbers, distances, np.inf).argmin(axis=2)


def anchored(crystal: CrystalArrays) -> CrystalArrays:
    """Return a crystal moved so that an atom of its rarest element, the one nearest to the origin, lies at it.

    The networks see crystals with such an atom at the origin (:func:`icsg3d.crystals.arrays.canonical_origin`); what is
    decoded is off by the error of that atom.
    """
    chosen = canonical_origin(CrystalBatch.from_arrays([crystal]))[0].double().numpy()
    row = int(np.abs(crystal.frac_coords - chosen).sum(1).argmin())
    alike = crystal.frac_coords[crystal.numbers == crystal.numbers[row]]
    alike = alike - np.round(alike)
    origin = alike[np.linalg.norm(alike @ crystal.lattice, axis=1).argmin()]
    return CrystalArrays(crystal.numbers, wrapped(crystal.frac_coords - origin), crystal.lattice)
