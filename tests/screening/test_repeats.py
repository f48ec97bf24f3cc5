"""Repeats: what stays is a function of the crystals alone, whatever their order and parts."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.matching import Duplicates, repeat_key
from icsg3d.generation.candidates import Candidate
from icsg3d.screening.merging import contender, contenders
from icsg3d.screening.repeats import BASE, Repeats


def salt(edge, cation="Na", anion="Cl"):
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def rutile(edge, ratio, u):
    lattice = Lattice.tetragonal(edge, ratio * edge)
    return Structure.from_spacegroup("P4_2/mnm", lattice, ["Ti", "O"], [[0, 0, 0], [u, u, 0]])


def found(crystals, energies=None, base=None, order=None):
    """What each crystal repeats."""
    energies = energies or [0.0] * len(crystals)
    repeats = Repeats(crystals.__getitem__, base)
    for number in order or range(len(crystals)):
        repeats.add((0.1, energies[number], number), crystals[number])
    return repeats, [repeats.repeated_by(number) for number in range(len(crystals))]


# Keys that only equal crystals share


def test_a_key_does_not_depend_on_origin_and_setting():
    crystal = salt(5.64).get_primitive_structure()
    moved = crystal.copy().translate_sites([0, 1], [0.1, 0.23, 0.71])
    turned = Structure(Lattice.from_parameters(*crystal.lattice.parameters), crystal.species, crystal.frac_coords)
    other = Structure(
        Lattice(crystal.lattice.matrix[[1, 0, 2]]), crystal.species[::-1], crystal.frac_coords[::-1][:, [1, 0, 2]]
    )
    assert {repeat_key(each) for each in (moved, turned, other)} == {repeat_key(crystal)}


FLUORITE = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.5), ["Ca", "F"], [[0, 0, 0], [0.25, 0.25, 0.25]])
WURTZITE = Structure.from_spacegroup(
    "P6_3mc", Lattice.hexagonal(3.82, 6.24), ["Zn", "S"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]]
)
BLENDE = Structure.from_spacegroup("F-43m", Lattice.cubic(5.40), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (salt(5.64), salt(5.64, "K")),
        (salt(5.64), salt(5.72)),  # 4 % of the volume
        (salt(5.64), Structure.from_spacegroup("F-43m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.25] * 3])),
        (WURTZITE, BLENDE),
        (rutile(4.6, 0.64, 0.305), rutile(4.6, 0.64, 0.315)),  # oxygen is moved by 0.065 angstrom
        (
            Structure(Lattice.tetragonal(4, 4.4), ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
            Structure(Lattice.tetragonal(4.09, 4.2), ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        ),
    ],
)
def test_other_elements_volumes_and_structures_have_other_keys(one, other):
    assert repeat_key(one) != repeat_key(other)


def test_half_heuslers_with_the_elements_exchanged_have_other_keys():
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]]
    kinds = (["Ti", "Sn", "Ni"], ["Ni", "Sn", "Ti"], ["Ti", "Ni", "Sn"])
    crystals = [Structure.from_spacegroup("F-43m", Lattice.cubic(5.9), kind, sites) for kind in kinds]
    assert len({repeat_key(each) for each in crystals}) == 3


def test_the_label_is_part_of_the_key():
    assert repeat_key(FLUORITE, "Fm-3m") != repeat_key(FLUORITE, "P1")


@pytest.mark.parametrize("crystal", [salt(5.64), FLUORITE, WURTZITE, BLENDE, rutile(4.6, 0.64, 0.305)])
def test_rounding_errors_do_not_change_keys(crystal):
    rng = np.random.default_rng(0)
    for _ in range(5):
        noisy = crystal.copy()
        noisy.lattice = Lattice(crystal.lattice.matrix * (1 + 1e-9 * rng.normal(size=(3, 3))))
        noisy.translate_sites(range(len(noisy)), 1e-9 * rng.normal(size=3))
        assert repeat_key(noisy) == repeat_key(crystal)


# Repeats


def test_of_repeats_the_best_stays_and_all_others_point_to_it():
    crystals = [salt(5.7), salt(5.64), salt(5.6).get_primitive_structure(), salt(6.6, "K")]
    repeats, told = found(crystals, [0.3, 0.1, 0.2, 0.0])
    assert told == [1, None, 1, None]
    assert (len(repeats), repeats.different) == (4, 2)
    assert sorted(number for _, _, number in repeats.staying()) == [1, 3]


def test_a_better_one_that_comes_later_takes_the_place_of_those_before_it():
    crystals = [salt(5.7), salt(5.9), salt(5.64)]
    repeats = Repeats(crystals.__getitem__)
    counts = []
    for number, energy in enumerate((0.3, 0.2, 0.1)):
        repeats.add((0.0, energy, number), crystals[number])
        counts.append(repeats.different)
    assert counts == [1, 1, 1]
    assert [repeats.repeated_by(number) for number in range(3)] == [2, 2, None]


def test_what_repeats_the_base_points_to_it():
    repeats, told = found([salt(5.7), salt(6.6, "K"), salt(5.64)], base=salt(5.64))
    assert told == [BASE, None, BASE]
    assert repeats.different == 1
    assert list(repeats.staying()) == [(0.1, 0.0, 1)]


def test_of_equal_merit_the_first_stays():
    assert found([salt(5.7), salt(5.7)])[1] == [None, 0]


def many(seed, count=30):
    """Salts and stretched cells, many of them alike, some only to others that are alike to something else."""
    rng = random.Random(seed)  # noqa: S311 (crystals)
    crystals, energies = [], []
    for _ in range(count):
        if rng.random() < 0.5:
            crystals.append(salt(rng.uniform(5.6, 5.7), rng.choice(("Na", "K"))).get_primitive_structure())
        else:
            lattice = Lattice.tetragonal(4, rng.uniform(3, 8))
            crystals.append(Structure(lattice, ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, rng.uniform(0.45, 0.5)]]))
        energies.append(round(rng.uniform(0, 0.3), 2))
    return crystals, energies


@pytest.mark.parametrize("seed", range(3))
def test_the_order_does_not_matter(seed):
    crystals, energies = many(seed)
    _, told = found(crystals, energies)
    assert 3 < told.count(None) < len(crystals)
    order = list(range(len(crystals)))
    for shuffle in range(3):
        random.Random(shuffle).shuffle(order)  # noqa: S311
        assert found(crystals, energies, order=order)[1] == told


@pytest.mark.parametrize("seed", range(3))
def test_what_stays_is_what_a_plain_search_from_the_best_on_finds(seed):
    crystals, energies = many(seed)
    plain = Duplicates()
    best = sorted(range(len(crystals)), key=lambda number: (energies[number], number))
    # The plain search looks at the best of each key alone, which is the definition; all others repeat that one.
    first = {}
    for number in best:
        first.setdefault(repeat_key(crystals[number]), number)
    expected = {number: plain.first_of(number, crystals[number]) for number in best if number in first.values()}
    _, told = found(crystals, energies)
    for number, repeated in expected.items():
        assert told[number] == repeated


@pytest.mark.parametrize("parts", [2, 7, 40])
def test_contenders_of_parts_have_the_same_winners_as_the_whole(parts):
    crystals, energies = many(7, 36)
    whole, _ = found(crystals, energies)
    travelling = [
        contender(
            Candidate(
                number,
                crystal,
                predictions={"energy_above_hull": 0.1, "formation_energy_per_atom": energy},
                screening={"space_group": ""},
            )
        )
        for number, (crystal, energy) in enumerate(zip(crystals, energies, strict=True))
    ]
    chosen = [each for part in range(parts) for each in contenders(travelling[part::parts], None)]
    merged = Repeats(crystals.__getitem__)
    for each in chosen:
        merged.add(each.merit, crystals[each.number])
    assert sorted(merged.staying()) == sorted(whole.staying())
    assert parts == 40 or len(chosen) < len(crystals)


def test_infinite_merits_come_last():
    repeats = Repeats([salt(5.64), salt(5.64)].__getitem__)
    repeats.add((math.inf, math.inf, 0), salt(5.64))
    repeats.add((0.1, -1.0, 1), salt(5.64))
    assert repeats.repeated_by(0) == 1
