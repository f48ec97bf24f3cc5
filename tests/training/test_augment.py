from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.crystals.elements import atomic_radii
from icsg3d.training.augment import Augmentation, distorted_supercells, recombined

PEROVSKITE = CrystalArrays(
    np.array([38, 22, 8, 8, 8]),
    np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    3.9 * np.eye(3),
)
SKEWED = CrystalArrays(
    np.array([55, 17, 17]),
    np.array([[0.1, 0.2, 0.3], [0.55, 0.9, 0.05], [0.8, 0.45, 0.7]]),
    np.array([[4.0, 0.3, 0], [1.1, 4.6, 0.2], [-0.9, 1.2, 5.4]]),
)
KNOWN = torch.tensor([3, 8, 17, 22, 26, 38, 55])
COUNT = 200


def crystals(count=COUNT):
    return CrystalBatch.from_arrays([PEROVSKITE, SKEWED] * (count // 2), dtype=torch.float64)


def augment(seed=0, batch=None, **changes):
    settings = dict.fromkeys(("permute_axes", "mirror", "translate"), False) | {"strain": 0.0, "substitute": 0.0}
    batch = crystals() if batch is None else batch
    return Augmentation(**(settings | changes))(batch, KNOWN, torch.Generator().manual_seed(seed))


def distances(crystal):
    """Distances of all pairs of atoms, each over 125 images."""
    images = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    offsets = crystal.frac_coords[:, None] - crystal.frac_coords[None]
    offsets = offsets - np.round(offsets)
    return np.linalg.norm((offsets[:, :, None] + images) @ crystal.lattice, axis=-1).min(-1)


def test_without_any_part_nothing_changes():
    augmented, original = augment()
    assert torch.equal(augmented.numbers, crystals().numbers)
    assert torch.allclose(augmented.frac_coords, crystals().frac_coords)
    assert torch.allclose(augmented.lattice, crystals().lattice)
    assert original.all()


@pytest.mark.parametrize(
    "part", [{"permute_axes": True}, {"mirror": True}, {"translate": True}], ids=lambda part: next(iter(part))
)
def test_moves_keep_distances_and_elements(part):
    augmented, original = augment(**part)
    moved = 0
    for before, after in zip(crystals().arrays(), augmented.arrays(), strict=True):
        assert (after.numbers == before.numbers).all()
        assert np.abs(distances(after) - distances(before)).max() < 1e-9
        assert abs(np.linalg.det(after.lattice)) == pytest.approx(abs(np.linalg.det(before.lattice)))
        moved += not np.allclose(after.frac_coords, before.frac_coords % 1)
    assert moved > COUNT // 5
    assert original.all()


def test_axes_come_in_all_six_orders():
    augmented, _ = augment(permute_axes=True)
    lengths = SKEWED.lattice
    orders = set()
    for crystal in augmented.arrays()[1::2]:
        order = [int(np.abs(lengths - row).sum(1).argmin()) for row in crystal.lattice]
        assert crystal.lattice == pytest.approx(SKEWED.lattice[order])
        assert crystal.frac_coords == pytest.approx(SKEWED.frac_coords[:, order])
        orders.add(tuple(order))
    assert len(orders) == 6


def test_about_every_second_crystal_is_mirrored():
    augmented, _ = augment(mirror=True)
    found = [crystal.frac_coords for crystal in augmented.arrays()[1::2]]
    mirrored = [np.allclose(f, -SKEWED.frac_coords % 1) for f in found]
    kept = [np.allclose(f, SKEWED.frac_coords) for f in found]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 0.35 < np.mean(mirrored) < 0.65


def test_translations_are_rigid_and_differ():
    augmented, _ = augment(translate=True)
    vectors = []
    for crystal in augmented.arrays()[1::2]:
        shift = crystal.frac_coords - SKEWED.frac_coords
        assert np.abs((shift - shift[0]) - np.round(shift - shift[0])).max() < 1e-6
        vectors.append(shift[0] % 1)
    assert np.std(vectors, axis=0).min() > 0.2


def test_strain_scales_the_cell_alone():
    augmented, original = augment(strain=0.02)
    ratio = augmented.lattice / crystals().lattice
    scales = ratio[::2, 0, 0]
    assert torch.allclose(
        augmented.lattice,
        crystals().lattice * (augmented.lattice.det() / crystals().lattice.det()).pow(1 / 3)[:, None, None],
    )
    assert scales.log().std().item() == pytest.approx(0.02, rel=0.25)
    assert scales.log().mean().abs() < 0.01
    assert torch.allclose(augmented.frac_coords, crystals().frac_coords)
    assert original.all()


# Substitution


def test_substitution_is_a_bijection_of_the_elements():
    augmented, original = augment(substitute=1.0)
    assert not original.any()
    pairs = set()
    for before, after in zip(crystals().numbers.tolist(), augmented.numbers.tolist(), strict=True):
        mapping = {}
        for old, new in zip(before, after, strict=True):
            assert mapping.setdefault(old, new) == new  # equal atoms stay equal
        assert len(set(mapping.values())) == len(mapping)  # and different ones different
        assert mapping.get(0, 0) == 0
        pairs |= set(mapping.items())
    # Every element comes on every site.
    assert {new for old, new in pairs if old == 38} == {new for old, new in pairs if old == 8} == set(KNOWN.tolist())


def test_only_known_elements_are_put_in():
    augmented, _ = augment(substitute=1.0)
    assert set(augmented.numbers.unique().tolist()) <= {0, *KNOWN.tolist()}


def test_about_a_third_of_the_elements_stays():
    before, (after, _) = crystals(2000), augment(batch=crystals(2000), substitute=1.0)
    # Those that are not moved, and those that the permutation leaves in place: 1/3 + about 1/7 of the rest's share.
    stays = (before.numbers == after.numbers)[before.mask].double().mean().item()
    assert 1 / 3 < stays < 0.6


def test_elements_beyond_the_known_ones_stay():
    alone = CrystalArrays(np.array([79, 8]), np.zeros((2, 3)), np.eye(3) * 4)
    batch = CrystalBatch.from_arrays([alone] * 50)
    augmented, _ = augment(batch=batch, substitute=1.0)
    assert (augmented.numbers[:, 0] == 79).all()
    assert (augmented.numbers[:, 1] != 8).any()


def test_the_flag_tells_crystals_that_are_still_the_given_ones():
    batch = crystals(1000)
    augmented, original = augment(batch=batch, substitute=0.3, strain=0.0)
    assert 0.65 < original.double().mean() < 0.75
    assert torch.equal(augmented.numbers[original], batch.numbers[original])
    assert torch.allclose(augmented.lattice[original], batch.lattice[original])
    changed = (augmented.numbers != batch.numbers).any(1)
    assert not (changed & original).any()
    assert changed.sum() > 0.7 * (~original).sum()  # in the rest every element was left in place


def test_the_cell_takes_the_size_of_its_atoms_within_bounds():
    batch = crystals(600)
    augmented, _ = augment(batch=batch, substitute=1.0)
    radii = atomic_radii()
    bounded = set()
    for before, after in zip(batch.arrays(), augmented.arrays(), strict=True):
        ratio = radii[after.numbers].sum() / radii[before.numbers].sum()
        bounded.add(-1 if ratio < 0.75 else 1 if ratio > 1.35 else 0)
        assert after.lattice == pytest.approx(before.lattice * min(max(ratio, 0.75), 1.35), rel=1e-5)
    assert bounded == {-1, 0, 1}


# Randomness


def test_the_same_seed_gives_the_same_batch_whatever_else_is_random():
    full = {"permute_axes": True, "mirror": True, "translate": True, "strain": 0.02, "substitute": 0.5}
    torch.manual_seed(1)
    one, one_flags = augment(7, **full)
    torch.manual_seed(2)
    other, other_flags = augment(7, **full)
    assert torch.equal(one.numbers, other.numbers)
    assert torch.equal(one.frac_coords, other.frac_coords)
    assert torch.equal(one.lattice, other.lattice)
    assert torch.equal(one_flags, other_flags)
    third, _ = augment(8, **full)
    assert not torch.equal(one.numbers, third.numbers)


def test_coordinates_stay_in_the_cell_and_padding_at_zero():
    augmented, _ = augment(permute_axes=True, mirror=True, translate=True, strain=0.02, substitute=0.5)
    assert ((augmented.frac_coords >= 0) & (augmented.frac_coords < 1)).all()
    padding = ~crystals().mask
    assert padding.any()
    assert not augmented.numbers[padding].any()
    assert not augmented.frac_coords[padding].any()


def test_the_given_batch_is_left_alone():
    batch = crystals()
    augment(batch=batch, permute_axes=True, mirror=True, translate=True, strain=0.1, substitute=1.0)
    assert torch.equal(batch.numbers, crystals().numbers)
    assert torch.equal(batch.frac_coords, crystals().frac_coords)
    assert torch.equal(batch.lattice, crystals().lattice)


def test_defaults_do_all_but_translate():
    augmented, original = Augmentation()(crystals(), KNOWN, torch.Generator().manual_seed(0))
    assert 0.35 < original.double().mean() < 0.65
    # The perovskite's A site stays at the origin, so nothing was translated.
    assert not augmented.frac_coords[::2, 0].any()
    assert math.isfinite(augmented.lattice.sum().item())


# Distorted supercells

LONG = CrystalArrays(np.array([55, 17]), np.array([[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]]), np.diag([6.0, 7.0, 8.0]))


def displacements(crystal, parent, repeats):
    """Distance of each atom from the nearest place of its element in the repeated parent, in angstrom."""
    coords = crystal.frac_coords * repeats
    found = []
    for number, place in zip(crystal.numbers, coords, strict=True):
        offsets = place - parent.frac_coords[parent.numbers == number]
        found.append(np.linalg.norm((offsets - np.round(offsets)) @ parent.lattice, axis=1).min())
    return np.array(found)


def test_distorted_supercells_repeat_a_crystal_along_none_one_or_two_axes():
    made = distorted_supercells([LONG], 150, longest=100.0)
    assert len(made) == 150
    seen = set()
    for crystal in made:
        ratio = np.diag(crystal.lattice) / np.diag(LONG.lattice)
        repeats = np.round(ratio).astype(int)
        assert crystal.lattice == pytest.approx(LONG.lattice * repeats[:, None])
        assert len(crystal) == 2 * repeats.prod()
        assert np.bincount(crystal.numbers, minlength=56)[[17, 55]].tolist() == [repeats.prod()] * 2
        assert ((crystal.frac_coords >= 0) & (crystal.frac_coords <= 1)).all()
        # Each atom on its own place: no two of an element are nearer than the shortest edge less what they moved.
        apart = distances(crystal)[crystal.numbers[:, None] == crystal.numbers[None]]
        assert apart[apart > 0].min(initial=9.0) > 6.0 - 3.0
        seen.add(tuple(repeats.tolist()))
    assert seen == set(itertools.product((1, 2), repeat=3)) - {(2, 2, 2)}


def test_atoms_of_distorted_supercells_move_by_some_tenths_of_an_angstrom():
    deviations = []
    for crystal in distorted_supercells([LONG], 400, longest=100.0, seed=1):
        repeats = np.round(np.diag(crystal.lattice) / np.diag(LONG.lattice))
        moved = displacements(crystal, LONG, repeats)
        assert moved.max() < 0.3 * 5  # of standard deviations that are 0.3 at most
        deviations.append(np.sqrt((moved**2).mean() / 3))
    # Uniform between 0 and 0.3, so their mean square is 0.03.
    assert np.mean(np.square(deviations)) == pytest.approx(0.03, rel=0.15)
    assert min(deviations) < 0.02
    assert max(deviations) > 0.25


def test_distorted_supercells_have_24_atoms_at_most_and_no_edge_beyond_the_longest():
    made = distorted_supercells([PEROVSKITE, LONG], 200, longest=12.5)
    sizes = {len(crystal) for crystal in made}
    assert sizes == {2, 4, 5, 10, 20}
    assert max(np.linalg.norm(crystal.lattice, axis=1).max() for crystal in made) <= 12.5
    assert {tuple(np.diag(crystal.lattice)) for crystal in made if len(crystal) in {2, 4}} == {(6, 7, 8), (12, 7, 8)}
    # Of seven atoms only two cells have no more than 24.
    seven = CrystalArrays(np.arange(1, 8), np.random.default_rng(0).random((7, 3)), 5.0 * np.eye(3))
    assert {len(crystal) for crystal in distorted_supercells([seven], 50, longest=100.0)} == {7, 14}


def test_a_crystal_too_large_to_be_repeated_is_distorted_alone():
    many = CrystalArrays(np.full(30, 26), np.random.default_rng(0).random((30, 3)), 9.0 * np.eye(3))
    made = distorted_supercells([many], 5, longest=10.0)
    assert [len(crystal) for crystal in made] == [30] * 5
    assert all(crystal.lattice == pytest.approx(many.lattice) for crystal in made)


def test_distorted_supercells_depend_on_their_seed_alone():
    before = PEROVSKITE.frac_coords.copy()
    one, other = (distorted_supercells([PEROVSKITE, SKEWED], 20, 50.0, seed=3) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a.numbers, b.numbers)
        assert np.array_equal(a.frac_coords, b.frac_coords)
        assert np.array_equal(a.lattice, b.lattice)
    third = distorted_supercells([PEROVSKITE, SKEWED], 20, 50.0, seed=4)
    assert [len(crystal) for crystal in third] != [len(crystal) for crystal in one]
    assert np.array_equal(PEROVSKITE.frac_coords, before)


# Recombined crystals

# Elements by their place: once the less electronegative, once the more electronegative, three times.
TRIPLES = ((38, 22, 8), (56, 40, 8), (19, 12, 9), (57, 13, 8), (20, 12, 9), (12, 22, 16))
PAIRS = ((11, 17), (19, 35), (12, 8))


def recombinable():
    """Perovskites and rock salts, each in a cell of its own size, the atoms of each in another order."""
    crystals, roles = [], []
    for row, (a, b, x) in enumerate(TRIPLES):
        order = np.random.default_rng(row).permutation(5)
        numbers = np.array([a, b, x, x, x])[order]
        crystals.append(CrystalArrays(numbers, PEROVSKITE.frac_coords[order], (3.8 + row / 10) * np.eye(3)))
        roles.append((a, b, x))
    for row, pair in enumerate(PAIRS):
        crystals.append(CrystalArrays(np.array(pair), LONG.frac_coords, (4.8 + row / 10) * np.eye(3)))
        roles.append(pair)
    return crystals, roles


def parent_of(made, crystals):
    """Index of the crystal that gave the sites and, but for its size, the cell."""
    radii = atomic_radii()
    for row, each in enumerate(crystals):
        ratio = np.clip(radii[made.numbers].sum() / radii[each.numbers].sum(), 0.75, 1.35)
        if np.array_equal(each.frac_coords, made.frac_coords) and np.allclose(each.lattice * ratio, made.lattice):
            return row
    raise AssertionError(made)


def test_recombined_crystals_have_the_elements_of_two_of_the_same_composition():
    crystals, roles = recombinable()
    made = recombined(crystals, 300)
    assert len(made) == 300
    new = set()
    for crystal in made:
        row = parent_of(crystal, crystals)
        own, old = roles[row], crystals[row].numbers
        table = {before: set(crystal.numbers[old == before].tolist()) for before in own}
        assert all(len(images) == 1 for images in table.values())  # equal atoms stay equal
        mine = tuple(images.pop() for images in (table[before] for before in own))
        assert len(set(mine)) == len(mine)  # no two places with one element
        counts = [sorted(np.unique(numbers, return_counts=True)[1].tolist()) for numbers in (crystal.numbers, old)]
        assert counts[0] == counts[1]
        assert mine != own
        others = [other for other in roles if len(other) == len(own) and other != own]
        assert any(
            all(z in pair for z, pair in zip(mine, zip(own, other, strict=True), strict=True)) for other in others
        )
        new.add(mine)
    assert not new <= set(roles)  # and are no mere copies
    assert len({len(mine) for mine in new}) == 2


def test_magnesium_never_takes_two_places():
    # Calcium and magnesium of the one, magnesium and titanium of the other would make it so.
    crystals, roles = recombinable()
    pair = [crystals[row] for row, own in enumerate(roles) if own in {(20, 12, 9), (12, 22, 16)}]
    made = recombined(pair, 200)
    assert len(made) == 200
    assert {len(np.unique(crystal.numbers)) for crystal in made} == {3}


def test_recombined_cells_have_the_size_of_their_atoms_within_bounds():
    small = CrystalArrays(np.array([4, 8]), LONG.frac_coords, 3.0 * np.eye(3))  # beryllium against caesium
    large = CrystalArrays(np.array([55, 53]), LONG.frac_coords, 6.0 * np.eye(3))
    edges = {tuple(sorted(c.numbers.tolist())): [] for c in recombined([small, large], 100)}
    for crystal in recombined([small, large], 100):
        edges[tuple(sorted(crystal.numbers.tolist()))].append(round(float(crystal.lattice[0, 0]), 6))
    assert set(edges[4, 8]) == {4.5}  # 0.75 of 6
    assert set(edges[53, 55]) == {4.05}  # 1.35 of 3
    assert set(edges) == {(4, 8), (4, 53), (8, 55), (53, 55)}


def test_fewer_come_back_where_hardly_any_two_can_exchange_elements():
    crystals, _ = recombinable()
    assert recombined(crystals[:1], 5) == []
    assert recombined([crystals[0], crystals[-1]], 5) == []  # five atoms and two
    assert recombined([crystals[0]] * 3, 5) == []
    assert recombined(crystals, 0) == []


def test_recombined_crystals_depend_on_their_seed_alone():
    crystals, _ = recombinable()
    before = [crystal.numbers.copy() for crystal in crystals]
    one, other, third = (recombined(crystals, 30, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.numbers, b.numbers) for a, b in zip(one, other, strict=True))
    assert all(np.array_equal(a.lattice, b.lattice) for a, b in zip(one, other, strict=True))
    assert [a.numbers.tolist() for a in third] != [a.numbers.tolist() for a in one]
    assert all(np.array_equal(a, crystal.numbers) for a, crystal in zip(before, crystals, strict=True))
