"""The formulas of Court et al. 2020 as plainly as the article states them: what the package is measured against.

Nothing here is meant to be fast, and nothing is slower than the wording asks for. ``density_and_species`` takes one
voxel and one atom at a time; ``algorithm_s1`` takes one region at a time and calls scikit-image for each step.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import label, regionprops
from skimage.morphology import ball, convex_hull_image, dilation, erosion
from skimage.segmentation import watershed

from icsg3d.crystals.elements import ionic_radii

if TYPE_CHECKING:
    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.representation.voxels import VoxelConfig

MIN_CONVEXITY = 0.8
MAX_ITERATIONS = 5
MIN_VOXELS = 8

_UNIT_BALL = ball(1)
_IMAGES = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)])


def density_and_species(crystal: CrystalArrays, config: VoxelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return M(r) and S(r) of one crystal by a double loop over voxels and atoms (section 2.2).

    Vectors are numpy's, as the formula writes them: |r - r_i| is a norm of a difference.

    Args:
        crystal: Cell as it is drawn.
        config: The grid. On a periodic one the nearest of the 27 images around the cell counts, which is the nearest
            of all in cells that are not much flattened.

    Returns:
        Two arrays of shape (G, G, G): electrons per cubic angstrom, and atomic numbers with 0 for background.
    """
    axis, radii = config.axis(), ionic_radii()
    density = np.zeros((config.grid,) * 3)
    species = np.zeros((config.grid,) * 3, dtype=np.int64)
    sites = crystal.frac_coords @ crystal.lattice
    images = _IMAGES @ crystal.lattice
    for voxel in np.ndindex(density.shape):
        point = axis[list(voxel)] @ crystal.lattice
        nearest = math.inf
        for number, site in zip(crystal.numbers, sites, strict=True):
            sigma = radii[number]
            if config.periodic:
                distance = np.linalg.norm(point - site - images, axis=1).min()
            else:
                distance = np.linalg.norm(point - site)
            weight = number / (sigma**3 * (2 * np.pi) ** 1.5)
            density[voxel] += weight * np.exp(-(distance**2) / (2 * sigma**2))
            if distance < max(sigma, config.min_radius) and distance < nearest:
                nearest = distance
                species[voxel] = number
    return density, species


def density_and_species_in_floats(crystal: CrystalArrays, config: VoxelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return the same as :func:`density_and_species` on a grid that is not periodic, with bare Python floats.

    The tightest loop that Python without numpy allows: all that does not depend on the pair stands outside.

    Raises:
        ValueError: if the grid is periodic.
    """
    if config.periodic:
        msg = "the loop with bare floats draws grids that are not periodic only"
        raise ValueError(msg)
    numbers = crystal.numbers.tolist()
    sigmas = ionic_radii()[crystal.numbers].tolist()
    atoms = [
        (number, *site, number / (sigma**3 * (2 * math.pi) ** 1.5), -0.5 / sigma**2, max(sigma, config.min_radius) ** 2)
        for number, site, sigma in zip(numbers, (crystal.frac_coords @ crystal.lattice).tolist(), sigmas, strict=True)
    ]
    axis = config.axis()
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3) @ crystal.lattice
    density, species = [], []
    for x, y, z in points.tolist():
        total, nearest, closest = 0.0, math.inf, 0
        for number, site_x, site_y, site_z, weight, exponent, reach in atoms:
            squared = (x - site_x) ** 2 + (y - site_y) ** 2 + (z - site_z) ** 2
            total += weight * math.exp(exponent * squared)
            if squared < reach and squared < nearest:
                nearest, closest = squared, number
        density.append(total)
        species.append(closest)
    shape = (config.grid,) * 3
    return np.array(density).reshape(shape), np.array(species).reshape(shape)


def algorithm_s1(binary: np.ndarray, species: np.ndarray, iteration: int = 1) -> list[tuple[int, np.ndarray]]:
    """Return the atoms of a map by Algorithm S1 (Supporting Information).

    Each connected component is cropped. If its convexity exceeds 0.8 it is an atom. Else the unit ball erodes it to
    the foreground and dilates it to leave the background, the components of the foreground are the markers of a
    watershed, and the algorithm is repeated on each basin.

    Args:
        binary: S_B, shape (X, Y, Z), boolean.
        species: S, shape (X, Y, Z), atomic numbers.
        iteration: Depth of the recursion, from 1 to 5.

    Returns:
        Atomic number (the majority in the region) and centroid in voxels, shape (3,), of each atom.
    """
    atoms = []
    for region in regionprops(label(binary, connectivity=1)):
        if region.area < MIN_VOXELS or iteration > MAX_ITERATIONS or _convexity(region.image) > MIN_CONVEXITY:
            numbers = species[tuple(region.coords.T)]
            atoms.append((int(np.bincount(numbers).argmax()), region.coords.mean(axis=0)))
            continue
        low = np.array(region.bbox[:3]) - 1
        cropped = np.pad(region.image, 1)
        around = np.zeros(cropped.shape, dtype=species.dtype)
        around[1:-1, 1:-1, 1:-1] = species[region.slice]
        for part in _watershed_parts(cropped):
            atoms += [(number, centre + low) for number, centre in algorithm_s1(part, around, iteration + 1)]
    return atoms


def _convexity(image: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # voxels in a plane have no hull
        hull = np.count_nonzero(convex_hull_image(image)) if min(image.shape) > 1 else 0
    return np.count_nonzero(image) / hull if hull else 1.0


def _watershed_parts(cropped: np.ndarray) -> list[np.ndarray]:
    """Return the basins of a region, or what erosion leaves of it where that is in one piece."""
    foreground = erosion(cropped, _UNIT_BALL)
    background = ~dilation(cropped, _UNIT_BALL)
    markers = label(foreground, connectivity=1)
    count = int(markers.max())
    if count == 0:
        return [cropped]
    if count == 1:
        return [foreground]
    markers[background] = count + 1
    basins = watershed(~cropped, markers)
    return [cropped & (basins == marker) for marker in range(1, count + 1)]
