"""How far a relaxation moved a crystal: bonds, lattice parameters and volume before and after."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icsg3d.crystals.elements import electronegativities
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymatgen.core import Element, Structure


@dataclass(frozen=True)
class RelaxationChange:
    """Differences between a crystal before and after relaxation, in percent of the values before.

    Attributes:
        bonds: Mean absolute change of the bond lengths.
        cell: Mean absolute change of the three lengths of the cell.
        volume: Change of the volume, positive where it grew.
        bond_count: Bonds that were compared.
    """

    bonds: float
    cell: float
    volume: float
    bond_count: int


@dataclass(frozen=True)
class BondChange:
    """A bond before and after a relaxation.

    Attributes:
        elements: Symbols of its two atoms, the less electronegative one first.
        before: Its length in angstrom.
        after: The distance of the same two atoms after, in angstrom.
    """

    elements: tuple[str, str]
    before: float
    after: float


def neighbour_pairs(structure: Structure) -> list[tuple[int, int, tuple[int, int, int]]]:
    """Return the bonds of a crystal by CrystalNN, each once: two sites and the cell in which the second lies.

    Raises:
        InputError: if no site has a neighbour, as in a crystal whose atoms are far apart.
    """
    from pymatgen.analysis.local_env import CrystalNN  # reads tables of bonds for seconds

    pairs: set[tuple[int, int, tuple[int, int, int]]] = set()
    finder = CrystalNN()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for oxidation states, which it does not need here
        for first in range(len(structure)):
            try:
                found = finder.get_nn_info(structure, first)
            except (ValueError, RuntimeError):  # no neighbour within its reach
                continue
            for neighbour in found:
                second = int(neighbour["site_index"])
                x, y, z = (int(step) for step in neighbour["image"])
                pairs.add(min((first, second, (x, y, z)), (second, first, (-x, -y, -z))))
    if not pairs:
        formula = structure.composition.reduced_formula
        msg = f"no atom of {formula} has a neighbour, so bonds cannot be compared; the atoms are too far apart"
        raise InputError(msg)
    return sorted(pairs)


def bond_changes(before: Structure, after: Structure) -> list[BondChange]:
    """Return the bonds of a crystal before its relaxation, and how long the same pairs of atoms are after it.

    Args:
        before: As generated.
        after: As relaxed; the same sites, in the same order or sorted by electronegativity as VASP's input files are.

    Raises:
        InputError: if the two do not have the same atoms, or no atom has a neighbour.
    """
    before, after = before.copy().remove_oxidation_states(), after.copy().remove_oxidation_states()
    if before.species != after.species:
        before, after = before.get_sorted_structure(), after.get_sorted_structure()
    if before.species != after.species:
        msg = f"{before.formula} and {after.formula} do not have the same atoms, so they cannot be compared"
        raise InputError(msg)
    pairs = neighbour_pairs(before)
    first, second = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    images = np.array([p[2] for p in pairs])
    # An atom that left the cell through a face was put back on the other side: follow it, relative to the first atom,
    # as the crystal may have drifted as a whole.
    steps = after.frac_coords - before.frac_coords
    steps -= steps[0]
    moved = before.frac_coords + steps - np.round(steps)
    lengths = []
    for coords, structure in ((before.frac_coords, before), (moved, after)):
        lengths.append(np.linalg.norm((coords[second] + images - coords[first]) @ structure.lattice.matrix, axis=1))
    return [
        BondChange(_ordered(before[i].specie, before[j].specie), float(length), float(later))
        for i, j, length, later in zip(first, second, *lengths, strict=True)
    ]


def _ordered(one: Element, other: Element) -> tuple[str, str]:
    """Return the symbols of two elements, the less electronegative one first."""
    low, high = sorted((one, other), key=lambda element: (float(electronegativities()[element.Z]), element.symbol))
    return low.symbol, high.symbol


def relaxation_change(before: Structure, after: Structure) -> RelaxationChange:
    r"""Compare a crystal before and after its relaxation.

    The bonds are those of the crystal before, and the same pairs of atoms are measured after, so that
    :math:`\Delta_\mathrm{bonds} = \frac{100}{B} \sum_b |d'_b - d_b| / d_b` (Table S1 of Court et al. 2020).

    Args:
        before: As generated.
        after: As relaxed; the same sites, in the same order or sorted by electronegativity as VASP's input files are.

    Raises:
        InputError: if the two do not have the same atoms, or no atom has a neighbour.
    """
    bonds = bond_changes(before, after)
    lengths = np.array([(bond.before, bond.after) for bond in bonds]).T
    cells = np.array(before.lattice.abc), np.array(after.lattice.abc)
    return RelaxationChange(
        bonds=float(100 * np.mean(np.abs(lengths[1] - lengths[0]) / lengths[0])),
        cell=float(100 * np.mean(np.abs(cells[1] - cells[0]) / cells[0])),
        volume=float(100 * (after.volume / before.volume - 1)),
        bond_count=len(bonds),
    )


def delocalised(structure: Structure) -> list[str]:
    """Return why electrons of a crystal count as delocalised, as in Table S3: the anion, or the f electrons.

    Returns:
        Any of ``telluride``, ``selenide`` and ``sulfide``, where the element is the most electronegative one, and
        ``f electrons``, where there is a lanthanoid from Ce to Yb or an actinoid from Th on.
    """
    elements = sorted(structure.composition.remove_charges().elements, key=lambda element: np.nan_to_num(element.X))
    names = {"Te": "telluride", "Se": "selenide", "S": "sulfide"}
    flags = [names[elements[-1].symbol]] if elements[-1].symbol in names and len(elements) > 1 else []
    if any(58 <= element.Z <= 70 or element.Z >= 90 for element in elements):
        flags.append("f electrons")
    return flags


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers among values, None if there is none."""
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    return sum(known) / len(known) if known else None
