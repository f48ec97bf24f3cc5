"""What a crystal must be within before any compiled code sees it: numbers, cell, volume, distances, size.

A neighbour list of a cell with a vector of a million angstrom ends the whole interpreter, one of a flat cell takes
minutes, and a network answers two atoms on one spot with a number like any other. So crystals are checked once, where
they become arrays (:func:`icsg3d.crystals.structures.to_arrays`), whatever they go on to.
"""

from __future__ import annotations

import numpy as np
from vesin import NeighborList

from icsg3d.crystals.arrays import CrystalArrays, wrapped
from icsg3d.crystals.elements import covalent_radii, symbols
from icsg3d.errors import InputError
from icsg3d.limits import ATOMS

LENGTHS = (0.9, 1000.0)
"""Shortest and longest lattice parameter in angstrom; compressed hydrogen in public tables has 0.98."""

MIN_HEIGHT = 0.2
"""Least distance between opposite faces of a cell in angstrom; in a flatter one neighbours have images without end."""

VOLUMES = (1.0, 2000.0)
"""Least and greatest volume per atom in cubic angstrom, vacuum of slabs included: hydrogen at 500 GPa has 1.2, and of
the entries of the Materials Project some have 740."""

MIN_DISTANCE = 0.4
"""Least distance between two atoms in angstrom; the shortest bond, that of hydrogen, has 0.74."""

MIN_DISTANCE_RATIO = 0.5
"""Least distance between two atoms as a share of the sum of their covalent radii, where that is more. Of 98,774
crystals in public tables six are below (``python -m benchmarks.bounds``)."""

LOOSE_DISTANCE_RATIO = 0.4
"""The same where crystals are not at their own volume, or candidates are yet to be screened for their distances."""

MAX_COORDINATE = 1000.0
"""Largest fractional coordinate, up or down; sites of a trajectory may have left their cell, but not by this much."""


def check_bounds(crystal: CrystalArrays, name: str, closest: float = MIN_DISTANCE_RATIO) -> None:
    """Refuse a crystal that cannot be one.

    Args:
        crystal: As it was given.
        name: What to call it, such as its formula.
        closest: Least distance between two atoms as a share of the sum of their covalent radii.

    Raises:
        InputError: if a number is not finite, or the cell, a distance or the number of atoms is out of bounds.
    """
    ATOMS.check(len(crystal), f"{name} has {len(crystal)} atoms,", "give its primitive cell")
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac_coords).all()):
        raise InputError(f"{name} has a coordinate or lattice vector that is not a number; correct the file")
    _check_cell(crystal, name)
    _check_coordinates(crystal, name)
    _check_distances(crystal, name, closest)


def _check_cell(crystal: CrystalArrays, name: str) -> None:
    lengths = np.abs(crystal.lattice).max(axis=1)  # first without squares, which overflow
    if lengths.max() <= LENGTHS[1]:
        lengths = np.linalg.norm(crystal.lattice, axis=1)
    if lengths.max() > LENGTHS[1] or lengths.min() < LENGTHS[0]:
        odd = lengths.max() if lengths.max() > LENGTHS[1] else lengths.min()
        raise InputError(
            f"{name} has a lattice parameter of {odd:.4g} angstrom, and {LENGTHS[0]:g} to {LENGTHS[1]:g} are taken; "
            "correct the cell, or its unit"
        )
    volume = abs(float(np.linalg.det(crystal.lattice)))
    if volume < 1e-3:
        raise InputError(f"the cell of {name} has no volume; correct its lattice vectors")
    height = float((1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)).min())
    if height < MIN_HEIGHT:
        raise InputError(
            f"the cell of {name} is flat: opposite faces are {height:.2g} angstrom apart, and {MIN_HEIGHT:g} is the "
            "least that is taken; correct its angles, or give the reduced cell"
        )
    share = volume / len(crystal)
    if not VOLUMES[0] <= share <= VOLUMES[1]:
        raise InputError(
            f"{name} has {share:.4g} cubic angstrom an atom, and matter has {VOLUMES[0]:g} to {VOLUMES[1]:g}; "
            "correct the cell, or its unit"
        )


def _check_coordinates(crystal: CrystalArrays, name: str) -> None:
    far = np.abs(crystal.frac_coords).max(axis=1)
    atom = int(far.argmax())
    if far[atom] > MAX_COORDINATE:
        raise InputError(
            f"atom {atom} ({symbols()[crystal.numbers[atom]]}) of {name} has a fractional coordinate of "
            f"{far[atom]:.3g}, {MAX_COORDINATE:g} at most is taken; correct the file, or wrap its atoms into the cell"
        )


def _check_distances(crystal: CrystalArrays, name: str, closest: float) -> None:
    numbers = crystal.numbers
    radii = covalent_radii()
    reach = max(MIN_DISTANCE, 2 * closest * float(radii[numbers].max()))
    first, second, distances = NeighborList(cutoff=reach, full_list=False).compute(
        points=wrapped(crystal.frac_coords) @ crystal.lattice, box=crystal.lattice, periodic=True, quantities="ijd"
    )
    if not len(distances):
        return
    least = np.maximum(MIN_DISTANCE, closest * (radii[numbers[first]] + radii[numbers[second]]))
    worst = int(np.argmin(distances - least))
    if distances[worst] < least[worst]:
        one, other = (f"{symbols()[numbers[each[worst]]]} ({each[worst]})" for each in (first, second))
        raise InputError(
            f"{name} has atoms {one} and {other} {distances[worst]:.3g} angstrom apart, and {least[worst]:.3g} is the "
            "least for the two; correct the cell or leave one of them out"
        )
