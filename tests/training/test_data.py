from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.errors import InputError
from icsg3d.training.data import CrystalSet


def crystal_set(count=5):
    random = np.random.default_rng(0)
    crystals = [
        CrystalArrays(
            random.integers(1, 95, size), random.random((size, 3)), np.diag(random.uniform(3, 8, 3)).astype(np.float64)
        )
        for size in range(1, count + 1)
    ]
    energies = np.where(np.arange(count) % 2, np.nan, np.arange(count) / 7)
    return CrystalSet(crystals, [f"mp-{i} µ" for i in range(count)], energies)


def assert_same(one, other):
    assert list(one.ids) == list(other.ids)
    assert np.array_equal(one.energies, other.energies, equal_nan=True)
    assert len(one) == len(other)
    for a, b in zip(one.crystals, other.crystals, strict=True):
        assert a.numbers.tolist() == b.numbers.tolist()
        assert a.frac_coords == pytest.approx(b.frac_coords, abs=1e-6)
        assert a.lattice == pytest.approx(b.lattice, abs=1e-5)


def test_sets_come_back_from_disk(tmp_path):
    path = tmp_path / "crystals.npz"
    crystal_set().save(path)
    assert_same(CrystalSet.load(path), crystal_set())
    assert [p.name for p in tmp_path.iterdir()] == ["crystals.npz"]


def test_the_heaviest_element_survives(tmp_path):
    heavy = CrystalSet([CrystalArrays(np.array([94]), np.zeros((1, 3)), 4 * np.eye(3))], ["Pu"], np.array([0.0]))
    heavy.save(tmp_path / "heavy.npz")
    assert CrystalSet.load(tmp_path / "heavy.npz").elements == (94,)


def test_elements_are_listed_once_and_in_order():
    crystals = [CrystalArrays(np.array(z), np.zeros((len(z), 3)), np.eye(3)) for z in ([22, 8, 8], [3, 8], [79])]
    assert CrystalSet(crystals, list("abc"), np.zeros(3)).elements == (3, 8, 22, 79)


@pytest.mark.parametrize("keep", [[4, 0], np.array([4, 0]), np.flatnonzero([True, False, False, False, True])[::-1]])
def test_subsets_keep_names_and_energies_together(keep):
    part = crystal_set().subset(keep)
    assert part.ids == ["mp-4 µ", "mp-0 µ"]
    assert [len(crystal) for crystal in part.crystals] == [5, 1]
    assert part.energies.tolist() == pytest.approx([4 / 7, 0.0])


def test_the_batch_holds_all_crystals():
    batch = crystal_set().batch()
    assert batch.numbers.shape == (5, 5)
    assert batch.mask.sum(1).tolist() == [1, 2, 3, 4, 5]


# Quantiles of the energies


def with_energies(energies):
    crystal = CrystalArrays(np.array([3]), np.zeros((1, 3)), np.eye(3))
    return CrystalSet([crystal] * len(energies), [""] * len(energies), np.array(energies, dtype=float))


def test_edges_part_the_known_energies_into_equal_bins():
    energies = np.random.default_rng(0).permutation(np.concatenate([np.arange(1000.0), np.full(50, np.nan)]))
    edges = with_energies(energies).energy_edges()
    assert len(edges) == 9
    assert edges == pytest.approx(np.arange(1, 10) * 99.9)
    counts = np.histogram(energies[np.isfinite(energies)], [-np.inf, *edges, np.inf])[0]
    assert counts.tolist() == [100] * 10
    assert all(isinstance(edge, float) for edge in edges)


def test_fewer_than_ten_energies_a_bin_give_no_edges():
    assert with_energies([*range(99), np.nan]).energy_edges() == ()
    assert len(with_energies(range(100)).energy_edges()) == 9
    assert len(with_energies(range(40)).energy_edges(bins=4)) == 3


# Balance


def of_sizes(*sizes):
    """Crystals of so many atoms each, named by their number in the set."""
    crystals = [CrystalArrays(np.full(size, 3), np.zeros((size, 3)), np.eye(3)) for size in sizes]
    return CrystalSet(crystals, [f"crystal-{i}" for i in range(len(sizes))], -np.arange(len(sizes)) / 8)


def counts(crystals):
    sizes = [len(crystal) for crystal in crystals.crystals]
    return {size: sizes.count(size) for size in sizes}


def test_rare_sizes_are_repeated_until_they_have_their_share():
    given = of_sizes(*[5] * 90, *[2] * 8, *[1] * 2)
    assert counts(given.balanced(0.1)) == {5: 90, 2: 16, 1: 10}
    assert counts(given.balanced(0.25)) == {5: 90, 2: 32, 1: 26}
    assert counts(given.balanced(0.02)) == counts(given.balanced(0.0)) == {5: 90, 2: 8, 1: 2}


@pytest.mark.parametrize("least", [0.0, 0.01, 0.17, 0.3, 0.5])
def test_every_size_has_its_share_and_no_crystal_is_repeated_without_need(least):
    sizes = np.random.default_rng(3).choice([1, 2, 4, 5, 8], 137, p=[0.01, 0.05, 0.14, 0.5, 0.3])
    given = of_sizes(*sizes)
    before, after = counts(given), counts(given.balanced(least))
    for size, number in before.items():
        assert after[size] >= least * 137
        assert after[size] % number == 0
        assert after[size] == number or after[size] - number < least * 137


def test_repeated_crystals_keep_their_names_and_energies_and_the_given_ones_come_first():
    given = of_sizes(2, 5, 5, 5, 2, 5, 5, 5, 5, 5)
    found = given.balanced(0.5)
    assert list(found.ids[:10]) == given.ids
    assert sorted(found.ids[10:]) == ["crystal-0", "crystal-0", "crystal-4", "crystal-4"]
    for name, crystal, energy in zip(found.ids, found.crystals, found.energies, strict=True):
        place = given.ids.index(name)
        assert crystal is given.crystals[place]
        assert energy == given.energies[place]


def test_balancing_leaves_the_set_and_what_is_known_of_it_alone():
    given = of_sizes(2, 5, 5, 5)
    found = given.balanced(0.5)
    assert len(given) == 4
    assert len(found) == 5
    assert found.elements == given.elements


# Damage


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.npz"):
        CrystalSet.load(tmp_path / "nowhere.npz")


def _rewritten(path, **changes):
    with np.load(path) as file:
        arrays = dict(file)
    arrays.update(changes)
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


@pytest.mark.parametrize("name", ["numbers", "frac_coords", "lattice", "ids", "energies"])
def test_a_file_without_an_array_is_named(tmp_path, name):
    path = tmp_path / "crystals.npz"
    crystal_set().save(path)
    _rewritten(path, **{name: None})
    with pytest.raises(InputError, match=f"{path} is not a set of crystals"):
        CrystalSet.load(path)


@pytest.mark.parametrize("damage", [lambda data: b"no archive", lambda data: b"{}\n" * 100])
def test_a_file_of_something_else_is_named(tmp_path, damage):
    path = tmp_path / "crystals.npz"
    crystal_set().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"{path} is not a set of crystals"):
        CrystalSet.load(path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut off"),
        pytest.param(
            lambda data: data[:200] + bytes(b ^ 0xFF for b in data[200:260]) + data[260:],
            id="flipped",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "crystals.npz"
    crystal_set().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"{path} is not a set of crystals"):
        CrystalSet.load(path)


def test_pickled_objects_are_never_loaded(tmp_path):
    path, marker = tmp_path / "crystals.npz", tmp_path / "executed"

    class Trap:
        def __reduce__(self):
            return Path.touch, (marker,)

    crystal_set().save(path)
    _rewritten(path, ids=np.array([Trap()], dtype=object))
    with pytest.raises(InputError, match=f"{path} is not a set of crystals"):
        CrystalSet.load(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=f"{path} is not a set of crystals"):
        CrystalSet.load(path)
    assert not marker.exists()
