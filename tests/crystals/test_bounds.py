"""What no crystal can be is refused where crystals become arrays, before compiled code sees it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.crystals import bounds
from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.bounds import check_bounds
from icsg3d.crystals.structures import primitive_cell, to_arrays
from icsg3d.errors import InputError

CUBIC = 5.0 * np.eye(3)


def crystal(lattice=CUBIC, numbers=(11, 17), frac_coords=((0, 0, 0), (0.5, 0.5, 0.5))):
    return CrystalArrays(np.array(numbers), np.array(frac_coords, dtype=float), np.array(lattice, dtype=float))


LONG = np.diag([1e6, 3, 3])
FLAT = Lattice.from_parameters(4, 4, 5, 90, 90, 179.99).matrix
SHEARED = np.array([[3, 0, 0], [0, 3, 0], [3000, 0, 3]])
THIN = np.array([[5, 0, 0], [4.99, 0.15, 0], [0, 0, 5]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (crystal(LONG), r"lattice parameter of 1e\+06 angstrom, and 0.9 to 1000 are taken"),
        (crystal(np.diag([1e308, 3, 3])), r"lattice parameter of 1e\+308 angstrom"),
        (crystal(1e200 * np.ones((3, 3))), "lattice parameter of 1e"),
        (crystal(0.11 * np.eye(3), (14,), [[0, 0, 0]]), "lattice parameter of 0.11 angstrom"),
        (crystal(SHEARED), "lattice parameter of 3000 angstrom"),
        (crystal(FLAT), "the cell of NaCl has no volume|flat"),
        (crystal(THIN), "flat: opposite faces are 0.15 angstrom apart"),
        (crystal([[4, 0, 0], [0, 4, 0], [4, 4, 0]]), "has no volume"),
        (crystal(0.9 * np.eye(3)), "0.3645 cubic angstrom an atom, and matter has 1 to 2000"),
        (crystal(30 * np.eye(3)), r"1.35e\+04 cubic angstrom an atom"),
        (crystal(np.diag([5, np.nan, 5])), "not a number"),
        (crystal(frac_coords=[[0, 0, 0], [np.inf, 0, 0]]), "not a number"),
        (crystal(frac_coords=[[0, 0, 0], [1e308, 0.5, 0.5]]), r"atom 1 \(Cl\) .* fractional coordinate of 1e\+308"),
        (crystal(frac_coords=[[0, 0, 0], [0, 0, 0]]), r"atoms Na \(0\) and Cl \(1\) 0 angstrom apart, and 1.34 is"),
        (crystal(frac_coords=[[0, 0, 0.01], [7, -3, 0.99]]), "0.1 angstrom apart"),
        (crystal(numbers=(1, 1), frac_coords=[[0, 0, 0], [0, 0, 0.07]]), "0.35 angstrom apart, and 0.4 is the least"),
        (crystal(frac_coords=[[0, 0, 0], [0, 0, 0.26]]), r"Na \(0\) and Cl \(1\) 1.3 angstrom apart, and 1.34 is"),
        (crystal(np.diag([1.1, 5, 5]), (22,), [[0, 0, 0]]), r"Ti \(0\) and Ti \(0\) 1.1 angstrom apart, and 1.6 is"),
    ],
)
def test_what_no_crystal_can_be_is_refused_in_one_sentence(given, message):
    with pytest.raises(InputError, match=message) as caught:
        check_bounds(given, "NaCl")
    assert str(caught.value).count("; ") == 1  # the way out follows
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        crystal(),
        crystal(numbers=(1, 1), frac_coords=[[0, 0, 0], [0, 0, 0.148]]),  # the hydrogen molecule, 0.74 angstrom
        crystal(numbers=(6, 8), frac_coords=[[0, 0, 0], [0, 0, 0.2256]]),  # carbon monoxide, 1.128 angstrom
        crystal(frac_coords=[[-3, 0, 0], [900.5, 0.5, 0.5]]),  # unwrapped
        crystal(-CUBIC),
        crystal(np.array([[1, 1, 0], [0, 1, 2], [-1, 0, 1]]) @ CUBIC),
        crystal(
            np.diag([2.46, 4.26, 30]), (6,) * 4, [[0, 0, 0.5], [0, 1 / 3, 0.5], [0.5, 0.5, 0.5], [0.5, 5 / 6, 0.5]]
        ),
    ],
)
def test_what_can_be_is_taken(given):
    check_bounds(given, "NaCl")


@pytest.mark.slow
def test_the_shortest_distance_is_that_over_all_images():
    # Against a plain loop over images, for random skewed cells with one atom pulled next to another.
    rng = np.random.default_rng(0)
    seen = {True: 0, False: 0}
    for _ in range(60):
        lattice = Lattice.from_parameters(*rng.uniform(4, 7, 3), *rng.uniform(55, 120, 3)).matrix
        if abs(np.linalg.det(lattice)) < 30:
            continue
        numbers, frac = rng.choice([1, 8, 22, 55], 3), rng.uniform(-1, 2, (3, 3))
        frac[1] = frac[0] + rng.integers(-2, 3, 3) + rng.normal(size=3) * 0.12
        radii = bounds.covalent_radii()
        good = True
        for (i, j), shift in itertools.product(
            itertools.combinations(range(3), 2), itertools.product(range(-7, 8), repeat=3)
        ):
            distance = np.linalg.norm((frac[i] - frac[j] + shift) @ lattice)
            good &= bool(distance >= max(0.4, 0.5 * (radii[numbers[i]] + radii[numbers[j]])))
        seen[good] += 1
        given = CrystalArrays(numbers, frac, lattice)
        if good:
            check_bounds(given, "x")
        else:
            with pytest.raises(InputError, match="angstrom apart"):
                check_bounds(given, "x")
    assert min(seen.values()) > 5


def test_the_number_of_atoms_is_bounded(monkeypatch):
    monkeypatch.setenv("ICSG3D_MAX_ATOMS", "1")
    with pytest.raises(InputError, match="has 2 atoms, more than the 1 atoms that are allowed; give its prim"):
        check_bounds(crystal(), "NaCl")


@pytest.mark.parametrize("function", [to_arrays, primitive_cell])
def test_structures_are_checked_where_they_become_arrays(function):
    for lattice, frac in ((LONG, 0.5), (FLAT, 0.5), (CUBIC, 0.0)):
        with pytest.raises(InputError, match="Na1 Cl1"):
            function(Structure(lattice, ["Na", "Cl"], [[0, 0, 0], [frac] * 3]))
    good = Structure(CUBIC, ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    assert to_arrays(good).frac_coords.tolist() == good.frac_coords.tolist()
