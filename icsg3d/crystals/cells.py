"""The cell in which latent-grid networks see a crystal, and how well atoms fill it."""

from __future__ import annotations

import numpy as np
import spglib

from icsg3d.crystals.arrays import CrystalArrays, periodic_distances, wrapped
from icsg3d.errors import InputError

_EDGES = (1e-5, 1e-4, 1e-3)
"""Tolerances of the Niggli reduction, tried in turn."""


_LEAST_VOLUME = 1e-3
"""Cubic angstrom; a cell of less is none."""

_STEP = 2.0
"""Angstrom between the places that gaps are looked for at."""


def reduced_cell(crystal: CrystalArrays) -> CrystalArrays:
    """Return a crystal in its Niggli cell with right-handed vectors of ascending length.

    Coordinates follow the cell; atoms keep their order and the crystal its orientation in space.

    Raises:
        InputError: if the vectors enclose no volume.
    """
    # Float32 cells can lie on the edge between two cases of the algorithm, which then circles; a wider edge ends that.
    flat = abs(np.linalg.det(crystal.lattice)) < _LEAST_VOLUME
    found = () if flat else (spglib.niggli_reduce(crystal.lattice, eps=eps) for eps in _EDGES)
    reduced = next((cell for cell in found if cell is not None), None)
    if reduced is None:
        msg = "the lattice vectors of a crystal enclose no volume; give a crystal with a proper cell"
        raise InputError(msg)
    lengths = np.linalg.norm(reduced, axis=1)
    lattice = reduced[np.argsort(np.round(lengths, 5), kind="stable")]
    lattice = lattice * np.sign(np.linalg.det(lattice))  # all three turned round: angles stay, the handedness does not
    frac = crystal.frac_coords @ crystal.lattice @ np.linalg.inv(lattice)
    return CrystalArrays(crystal.numbers, wrapped(frac), lattice)


def widest_gap(crystal: CrystalArrays) -> float:
    """Return how far a place of the cell can be from every atom, in angstrom; it may be an angstrom too small.

    In crystals that is up to some 5 angstrom, between separated layers 8; around molecules in boxes and above slabs it
    is half of the vacuum.
    """
    counts = np.ceil(np.linalg.norm(crystal.lattice, axis=1) / _STEP).astype(int)
    places = np.stack(np.meshgrid(*(np.arange(count) / count for count in counts), indexing="ij"), -1).reshape(-1, 3)
    nearest = np.full(len(places), np.inf)
    for site in crystal.frac_coords:  # one after the other, as all pairs and their images together can be many
        nearest = np.minimum(nearest, periodic_distances(places, site[None], crystal.lattice)[:, 0])
    return float(nearest.max())
