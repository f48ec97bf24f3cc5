from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.errors import InputError
from icsg3d.representation.graphs import CrystalGraph, GraphBatch, GraphConfig, GraphSet, crystal_graph

SHELL = 0.1
"""Angstrom; the default width of the last shell."""

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
ROCK_SALT = CrystalArrays(np.array([11, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), 5.64 * FCC)
CAESIUM_CHLORIDE = CrystalArrays(np.array([55, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), 4.12 * np.eye(3))
COPPER = CrystalArrays(np.array([29]), np.zeros((1, 3)), 3.61 * FCC)
ZINCBLENDE = CrystalArrays(np.array([30, 16]), np.array([[0.0, 0, 0], [0.25, 0.25, 0.25]]), 5.41 * FCC)
PEROVSKITE = CrystalArrays(
    np.array([38, 22, 8, 8, 8]),
    np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    3.905 * np.eye(3),
)
DIMER = CrystalArrays(np.array([6, 8]), np.array([[0.1, 0.2, 0.3], [0.2, 0.2, 0.3]]), np.diag([10.0, 11.0, 12.0]))


def triclinic(seed, atoms=5, volume=18.0):
    """A skewed cell of random atoms, ``volume`` cubic angstrom each."""
    random = np.random.default_rng(seed)
    lattice = np.diag([1.0, 1.3, 0.8]) + random.uniform(-0.4, 0.4, (3, 3))
    lattice *= (volume * atoms / abs(np.linalg.det(lattice))) ** (1 / 3)
    return CrystalArrays(random.integers(1, 95, atoms), random.random((atoms, 3)), lattice)


CRYSTALS = pytest.mark.parametrize(
    "crystal",
    [ROCK_SALT, CAESIUM_CHLORIDE, PEROVSKITE, triclinic(0), triclinic(1, 3, 60), DIMER],
    ids=["rock salt", "CsCl", "perovskite", "triclinic", "sparse", "dimer"],
)


def brute_force(crystal, config=None):
    """Edges by (centre, neighbour): sorted distances and weights, from all images that can lie within the cutoff."""
    config = config or GraphConfig()
    heights = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    spread = np.ptp(crystal.frac_coords, axis=0)
    ranges = [math.ceil(config.cutoff / h + s) + 1 for h, s in zip(heights, spread, strict=True)]
    images = np.array(list(itertools.product(*(range(-n, n + 1) for n in ranges))))
    edges = {}
    for i, centre in enumerate(crystal.frac_coords):
        found = []
        for j, other in enumerate(crystal.frac_coords):
            lengths = np.linalg.norm((other + images - centre) @ crystal.lattice, axis=1)
            found += [(d, j) for d in lengths if 1e-6 < d <= config.cutoff]
        found.sort()
        last = config.cutoff - config.shell
        if len(found) >= config.neighbours:
            last = min(last, found[config.neighbours - 1][0])
        for distance, j in found:
            if distance < last + config.shell:
                weight = 1.0 if distance <= last else 0.5 + 0.5 * math.cos(math.pi * (distance - last) / config.shell)
                edges.setdefault((i, j), []).append((distance, weight))
    return edges


def edges_of(graph):
    edges = {}
    for i, j, distance, weight in zip(graph.centres, graph.neighbours, graph.distances, graph.weights, strict=True):
        edges.setdefault((int(i), int(j)), []).append((float(distance), float(weight)))
    return {pair: sorted(values) for pair, values in edges.items()}


def surroundings(graph, atom):
    """What an atom sees, whatever the numbering of the others: distances and weights by atomic number, sorted."""
    own = graph.centres == atom
    numbers = graph.numbers[graph.neighbours[own]]
    seen = {}
    for number in np.unique(numbers):
        distances, weights = graph.distances[own][numbers == number], graph.weights[own][numbers == number]
        order = np.argsort(distances, kind="stable")
        seen[int(number)] = np.stack([distances[order], weights[order]])
    return seen


def assert_same_surroundings(graph, atom, other, twin):
    assert graph.numbers[atom] == other.numbers[twin]
    first, second = surroundings(graph, atom), surroundings(other, twin)
    assert list(first) == list(second)
    for number, values in first.items():
        assert values.shape == second[number].shape
        np.testing.assert_allclose(values, second[number], atol=2e-5)


def supercell(crystal, repeats):
    """Repeat a cell; atom i of the first becomes the atoms i, i + N, i + 2N and so on."""
    shifts = np.array(list(itertools.product(*(range(n) for n in repeats))))
    frac = (shifts[:, None] + crystal.frac_coords[None]).reshape(-1, 3) / repeats
    return CrystalArrays(np.tile(crystal.numbers, len(shifts)), frac, crystal.lattice * np.array(repeats)[:, None])


# Against brute force


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("volume", "config"),
    [
        (18.0, GraphConfig()),
        (60.0, GraphConfig()),
        (150.0, GraphConfig()),
        (18.0, GraphConfig(5, 6.0, 0.8)),
        (18.0, GraphConfig(30, 4.0)),
    ],
    ids=["dense", "medium", "sparse", "other config", "short cutoff"],
)
def test_edges_are_those_of_brute_force(seed, volume, config):
    crystal = triclinic(seed, volume=volume)
    found, expected = edges_of(crystal_graph(crystal, config)), brute_force(crystal, config)
    # Weights below the resolution of single precision may or may not be there.
    expected = {pair: [edge for edge in sorted(values) if edge[1] > 1e-6] for pair, values in expected.items()}
    found = {pair: [edge for edge in values if edge[1] > 1e-6] for pair, values in found.items()}
    assert found.keys() == expected.keys()
    for pair, values in expected.items():
        assert len(found[pair]) == len(values)
        np.testing.assert_allclose(found[pair], values, atol=1e-5)


def test_the_random_cells_try_all_cases():
    def weights(volume):
        return np.concatenate([crystal_graph(triclinic(seed, volume=volume)).weights for seed in range(4)])

    def degrees(volume):
        counted = [crystal_graph(triclinic(seed, volume=volume)).centres for seed in range(4)]
        return np.concatenate([np.bincount(each) for each in counted])

    partial = weights(18.0)[weights(18.0) < 1]
    assert ((partial > 0.05) & (partial < 0.95)).sum() >= 5
    assert degrees(18.0).min() >= 12
    assert degrees(150.0).min() < 12
    farthest = [crystal_graph(triclinic(seed, volume=60.0)).distances.max() for seed in range(4)]
    assert max(farthest) > 5.1  # beyond the radius that is tried first


@CRYSTALS
def test_edges_are_sorted_by_their_centre(crystal):
    graph = crystal_graph(crystal)
    assert (np.diff(graph.centres) >= 0).all()
    assert (np.unique(graph.centres) == np.arange(len(crystal))).all()
    assert len(graph) == len(crystal)
    assert (graph.numbers == crystal.numbers).all()
    assert [array.dtype for array in (graph.numbers, graph.centres, graph.neighbours)] == [np.int64] * 3
    assert [array.dtype for array in (graph.distances, graph.weights)] == [np.float32] * 2
    assert graph.weights.max() == 1
    assert graph.weights.min() >= 0


# Shells worked out by hand


@pytest.mark.parametrize(
    ("crystal", "shells"),
    [
        # Each atom: (number of the neighbours, how many, how far) for all shells that hold the first twelve.
        (ROCK_SALT, [[(17, 6, 2.82), (11, 12, 5.64 / 2**0.5)], [(11, 6, 2.82), (17, 12, 5.64 / 2**0.5)]]),
        (CAESIUM_CHLORIDE, [[(17, 8, 4.12 * 0.75**0.5), (55, 6, 4.12)], [(55, 8, 4.12 * 0.75**0.5), (17, 6, 4.12)]]),
        (COPPER, [[(29, 12, 3.61 / 2**0.5)]]),
        (
            ZINCBLENDE,
            [
                [(16, 4, 5.41 * 3**0.5 / 4), (30, 12, 5.41 / 2**0.5)],
                [(30, 4, 5.41 * 3**0.5 / 4), (16, 12, 5.41 / 2**0.5)],
            ],
        ),
        (
            PEROVSKITE,
            [
                [(8, 12, 3.905 / 2**0.5)],
                [(8, 6, 3.905 / 2), (38, 8, 3.905 * 0.75**0.5)],
                *[[(22, 2, 3.905 / 2), (38, 4, 3.905 / 2**0.5), (8, 8, 3.905 / 2**0.5)]] * 3,
            ],
        ),
    ],
    ids=["rock salt", "CsCl", "fcc", "zincblende", "perovskite"],
)
def test_whole_shells_with_weight_one(crystal, shells):
    graph = crystal_graph(crystal)
    assert len(graph.distances) == sum(count for atom in shells for _, count, _ in atom)
    assert graph.weights == pytest.approx(1.0, abs=1e-6)
    for atom, expected in enumerate(shells):
        seen = surroundings(graph, atom)
        assert set(seen) == {number for number, _, _ in expected}
        for number, count, distance in expected:
            assert seen[number].shape == (2, count)
            assert seen[number][0] == pytest.approx(distance, abs=1e-5)


# Weights


def centred_cluster(extra, radius=3.0):
    """Twelve atoms on an icosahedron around one more, and a last one ``extra`` further from it, over a face."""
    golden = (1 + 5**0.5) / 2
    corners = [p for s, t in itertools.product((-1, 1), repeat=2) for p in ((0, s, t * golden), (s, t * golden, 0))]
    corners += [(t * golden, 0, s) for s, t in itertools.product((-1, 1), repeat=2)]
    corners = np.array(corners) / math.hypot(1, golden) * radius
    outer = np.ones(3) / 3**0.5 * (radius + extra)  # the middle of a face lies over (1, 1, 1)
    points = np.vstack([np.zeros(3), corners, outer])
    return CrystalArrays(np.array([79] + [78] * 12 + [77]), points / 20, 20 * np.eye(3))


@pytest.mark.parametrize(
    ("extra", "weight"),
    [(0.001, 0.999753), (0.025, 0.853553), (0.05, 0.5), (0.075, 0.146447), (0.099, 0.000247), (0.101, 0), (0.3, 0)],
)
def test_the_weight_beyond_the_twelfth_neighbour(extra, weight):
    seen = surroundings(crystal_graph(centred_cluster(extra)), 0)
    assert seen[78].shape == (2, 12)
    assert seen[78][0] == pytest.approx(3.0, abs=1e-5)
    assert seen[78][1] == pytest.approx(1.0, abs=1e-6)
    if weight == 0:
        assert 77 not in seen
    else:
        assert seen[77].shape == (2, 1)
        assert seen[77][0, 0] == pytest.approx(3 + extra, abs=1e-5)
        assert seen[77][1, 0] == pytest.approx(weight, abs=2e-5)


def test_a_wider_shell_has_weights_of_its_own():
    seen = surroundings(crystal_graph(centred_cluster(0.3), GraphConfig(12, 8.0, 0.9)), 0)
    assert seen[77][1, 0] == pytest.approx(0.75, abs=1e-5)  # (1 + cos 60 degrees) / 2


def test_a_nearer_atom_pushes_out_the_twelfth():
    # With the last atom inside, twelve are complete at the icosahedron, all of whose corners are alike.
    seen = surroundings(crystal_graph(centred_cluster(-0.2)), 0)
    assert seen[77][1] == pytest.approx(1.0)
    assert seen[78].shape == (2, 12)
    assert seen[78][1] == pytest.approx(1.0, abs=1e-6)


def weight_sums(crystal):
    sums = np.zeros((len(crystal), len(crystal)))
    graph = crystal_graph(crystal)
    np.add.at(sums, (graph.centres, graph.neighbours), graph.weights)
    return sums


@pytest.mark.parametrize("crystal", [ROCK_SALT, PEROVSKITE, triclinic(0)], ids=["rock salt", "perovskite", "triclinic"])
def test_moving_an_atom_a_little_changes_weights_a_little(crystal):
    crystal = supercell(crystal, (1, 2, 1))
    for direction in np.random.default_rng(0).normal(size=(3, 3)):
        cartesian = 1e-6 * direction / np.linalg.norm(direction)
        frac = crystal.frac_coords.copy()
        frac[-1] += cartesian @ np.linalg.inv(crystal.lattice)
        changed = weight_sums(dataclasses.replace(crystal, frac_coords=frac)) - weight_sums(crystal)
        # No weight can fall faster than pi / (2 shell); both ends of the difference move by 1e-6 at most.
        assert np.abs(changed).max() < 12 * 2e-6 * math.pi / (2 * SHELL)


def test_weights_are_continuous_on_the_way_through_a_cell():
    # A sodium atom of a supercell wanders one angstrom, past many a change of who is twelfth.
    crystal = supercell(ROCK_SALT, (2, 2, 2))
    steps = np.linspace(0, 1, 501)
    path = []
    for step in steps:
        frac = crystal.frac_coords.copy()
        frac[0] += (
            np.array([0.8, 0.53, 0.28]) / np.linalg.norm([0.8, 0.53, 0.28]) * step @ np.linalg.inv(crystal.lattice)
        )
        path.append(weight_sums(dataclasses.replace(crystal, frac_coords=frac)))
    path = np.array(path)
    assert np.ptp(path, axis=0).max() > 0.9  # whole neighbours come and go
    # At most two images of one atom change at once in this cell, by pi / (2 shell) an angstrom on two moving ends.
    assert np.abs(np.diff(path, axis=0)).max() < 2 * 2 * 0.002 * math.pi / (2 * SHELL)


# What does not matter


@CRYSTALS
def test_the_order_of_atoms_does_not_matter(crystal):
    order = np.random.default_rng(0).permutation(len(crystal))[::-1]
    shuffled = CrystalArrays(crystal.numbers[order], crystal.frac_coords[order], crystal.lattice)
    graph, other = crystal_graph(crystal), crystal_graph(shuffled)
    assert len(graph.distances) == len(other.distances)
    for place, atom in enumerate(order):
        assert_same_surroundings(graph, atom, other, place)


@CRYSTALS
def test_translation_and_whole_cells_do_not_matter(crystal):
    shifts = np.random.default_rng(0).integers(-2, 3, (len(crystal), 3))
    moved = CrystalArrays(
        crystal.numbers, crystal.frac_coords + np.array([0.317, -1.121, 0.5]) + shifts, crystal.lattice
    )
    graph, other = crystal_graph(crystal), crystal_graph(moved)
    for atom in range(len(crystal)):
        assert_same_surroundings(graph, atom, other, atom)


@CRYSTALS
@pytest.mark.parametrize("handedness", [1, -1], ids=["rotation", "mirror"])
def test_rotation_does_not_matter(crystal, handedness):
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turn *= handedness * np.sign(np.linalg.det(turn))
    graph = crystal_graph(crystal)
    other = crystal_graph(CrystalArrays(crystal.numbers, crystal.frac_coords, crystal.lattice @ turn))
    for atom in range(len(crystal)):
        assert_same_surroundings(graph, atom, other, atom)


@CRYSTALS
@pytest.mark.parametrize("repeats", [(2, 1, 1), (1, 2, 2), (1, 1, 3)], ids=str)
def test_a_supercell_has_the_same_surroundings(crystal, repeats):
    graph, other = crystal_graph(crystal), crystal_graph(supercell(crystal, repeats))
    assert len(other) == math.prod(repeats) * len(crystal)
    for twin in range(len(other)):
        assert_same_surroundings(graph, twin % len(crystal), other, twin)


def test_another_choice_of_cell_does_not_matter():
    crystal = triclinic(2)
    basis = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]])
    frac = crystal.frac_coords @ np.linalg.inv(basis)
    other = crystal_graph(CrystalArrays(crystal.numbers, frac, basis @ crystal.lattice))
    for atom in range(len(crystal)):
        assert_same_surroundings(crystal_graph(crystal), atom, other, atom)


# The radius that is searched


def test_an_atom_with_few_neighbours_takes_them_all():
    # Along a: 1.0 within the dimer, 9.0 to the next; nothing else within 8.
    graph = crystal_graph(DIMER)
    assert graph.centres.tolist() == [0, 1]
    assert graph.neighbours.tolist() == [1, 0]
    assert graph.distances == pytest.approx(1.0, abs=1e-6)
    assert graph.weights.tolist() == [1, 1]


def test_fewer_than_twelve_within_the_cutoff_all_count():
    # Simple cubic: six neighbours at 6.5 angstrom, the next at 9.2.
    cubic = CrystalArrays(np.array([84]), np.zeros((1, 3)), 6.5 * np.eye(3))
    graph = crystal_graph(cubic)
    assert graph.distances == pytest.approx([6.5] * 6)
    assert graph.weights.tolist() == [1] * 6
    # At 5.5 the second shell is within the cutoff (7.78), and 6 + 12 are taken whole.
    nearer = crystal_graph(dataclasses.replace(cubic, lattice=5.5 * np.eye(3)))
    assert nearer.distances == pytest.approx([5.5] * 6 + [5.5 * 2**0.5] * 12)
    assert nearer.weights == pytest.approx(1.0, abs=1e-6)


def test_a_shell_that_reaches_over_the_first_radius_is_whole():
    # Body-centred tetragonal: 8 at 4.307, 4 at a = 4.95 complete the twelve, 2 at c = 5.02 lie beyond 5.
    cell = CrystalArrays(np.array([3, 3]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), np.diag([4.95, 4.95, 5.02]))
    graph = crystal_graph(cell)
    for atom in range(2):
        distances, weights = surroundings(graph, atom)[3]
        corner = (2 * 2.475**2 + 2.51**2) ** 0.5
        assert distances == pytest.approx([corner] * 8 + [4.95] * 4 + [5.02] * 2, abs=1e-5)
        assert weights == pytest.approx([1] * 12 + [0.5 + 0.5 * math.cos(0.7 * math.pi)] * 2, abs=1e-4)


def test_the_cutoff_bounds_what_counts():
    graph = crystal_graph(ROCK_SALT, GraphConfig(cutoff=3.0))
    assert len(graph.distances) == 12
    assert graph.distances == pytest.approx(2.82)
    assert set(graph.weights.tolist()) == {1.0}


# Refusals


@pytest.mark.parametrize("atoms", [1, 2], ids=["alone", "besides a pair"])
def test_an_isolated_atom_is_named(atoms):
    if atoms == 1:
        crystal, name = CrystalArrays(np.array([54]), np.zeros((1, 3)), 9 * np.eye(3)), r"atom 0 \(Xe\)"
    else:
        frac = np.array([[0.0, 0, 0], [0.05, 0, 0], [0.5, 0.5, 0.5]])
        crystal, name = CrystalArrays(np.array([1, 9, 36]), frac, 20 * np.eye(3)), r"atom 2 \(Kr\)"
    with pytest.raises(InputError, match=name + " has no neighbour within 8 angstrom"):
        crystal_graph(crystal)


def test_the_cutoff_of_the_message_is_that_of_the_configuration():
    with pytest.raises(InputError, match=r"atom 0 \(Na\) has no neighbour within 2.5 angstrom"):
        crystal_graph(ROCK_SALT, GraphConfig(cutoff=2.5))


def test_crystals_that_are_too_large_are_refused(monkeypatch):
    many = CrystalArrays(np.full(10_001, 3), np.zeros((10_001, 3)), 50 * np.eye(3))
    with pytest.raises(InputError, match=r"has 10001 atoms, more than the 10000 atoms .* ICSG3D_MAX_ATOMS to a larger"):
        crystal_graph(many)
    monkeypatch.setenv("ICSG3D_MAX_ATOMS", "4")
    assert len(crystal_graph(supercell(ROCK_SALT, (2, 1, 1)))) == 4
    with pytest.raises(InputError, match="5 atoms"):
        crystal_graph(PEROVSKITE)


# Batches


@pytest.fixture(scope="module")
def several():
    return [crystal_graph(c) for c in (PEROVSKITE, DIMER, triclinic(0), COPPER, ROCK_SALT, triclinic(1, 3, 60))]


def assert_same_batch(first, second):
    for field in dataclasses.fields(GraphBatch):
        one, other = getattr(first, field.name), getattr(second, field.name)
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("nodes", [None, 5, 9])
def test_a_batch_holds_every_edge_and_nothing_else(several, nodes):
    batch = GraphBatch.from_graphs(several, nodes)
    size = nodes or 5
    degree = max(int(np.bincount(graph.centres).max()) for graph in several)
    assert len(batch) == len(several)
    assert batch.numbers.shape == (6, size)
    assert batch.neighbours.shape == batch.distances.shape == batch.weights.shape == (6, size, degree)
    assert batch.numbers.dtype == batch.neighbours.dtype == torch.int64
    assert batch.distances.dtype == batch.weights.dtype == torch.float32
    for row, graph in enumerate(several):
        assert batch.numbers[row].tolist() == graph.numbers.tolist() + [0] * (size - len(graph))
        assert batch.node_mask[row].tolist() == [True] * len(graph) + [False] * (size - len(graph))
        for atom in range(size):
            own = graph.centres == atom  # none, for a padded place
            count = int(own.sum())
            for name in ("neighbours", "distances", "weights"):
                values = getattr(batch, name)[row, atom]
                assert values[:count].tolist() == getattr(graph, name)[own].tolist()
                assert not values[count:].any()
            assert batch.neighbour_mask[row, atom].tolist() == (batch.weights[row, atom] > 0).tolist()
    assert int(batch.neighbour_mask.sum()) == sum(int((graph.weights > 0).sum()) for graph in several)


def test_batches_cut_from_a_set_are_those_of_the_graphs(several):
    together = GraphSet.from_graphs(several)
    assert len(together) == 6
    for indices in ([0, 1, 2, 3, 4, 5], [5, 0], [3], [2, 2, 1], [4, 3, 2, 1, 0]):
        expected = GraphBatch.from_graphs([several[i] for i in indices], 11)
        assert_same_batch(together.batch(np.array(indices), 11), expected)
        assert_same_batch(together.batch(np.array(indices)), GraphBatch.from_graphs([several[i] for i in indices]))


def test_subsets_are_sets_of_their_graphs(several):
    together = GraphSet.from_graphs(several)
    for indices in ([5, 0], [3], [2, 2, 1], [1, 2, 3, 4]):
        subset = together.subset(np.array(indices))
        expected = GraphSet.from_graphs([several[i] for i in indices])
        for field in dataclasses.fields(GraphSet):
            assert (getattr(subset, field.name) == getattr(expected, field.name)).all()
        order = np.arange(len(indices))[::-1]
        assert_same_batch(subset.batch(order), expected.batch(order))


def test_joined_sets_are_sets_of_all_graphs(several):
    parts = [GraphSet.from_graphs(several[:2]), GraphSet.from_graphs(several[2:3]), GraphSet.from_graphs(several[3:])]
    joined, expected = GraphSet.joined(parts), GraphSet.from_graphs(several)
    assert len(joined) == 6
    for field in dataclasses.fields(GraphSet):
        assert (getattr(joined, field.name) == getattr(expected, field.name)).all()
    assert_same_batch(joined.batch(np.array([4, 1, 5])), expected.batch(np.array([4, 1, 5])))


def test_an_atom_without_edges_shifts_no_others():
    # Not made by crystal_graph, but the arrays allow it.
    lonely = CrystalGraph(
        np.array([1, 2, 3]), np.array([0, 2]), np.array([2, 0]), np.array([1.5, 1.5], "f4"), np.ones(2, "f4")
    )
    batch = GraphBatch.from_graphs([lonely, crystal_graph(DIMER)])
    assert batch.weights[..., 0].tolist() == [[1, 0, 1], [1, 1, 0]]
    assert batch.distances[0, :, 0].tolist() == [1.5, 0, 1.5]
    assert batch.neighbours[0, :, 0].tolist() == [2, 0, 0]


def test_what_does_not_fit_is_refused(several):
    with pytest.raises(ValueError, match="crystal of 5 atoms does not fit into 4 nodes"):
        GraphBatch.from_graphs(several, 4)
    with pytest.raises(ValueError, match="does not fit into 0 nodes"):
        GraphBatch.from_graphs(several[3:4], 0)
    with pytest.raises(ValueError, match="does not fit into 1 nodes"):
        GraphSet.from_graphs(several).batch(np.array([1]), 1)


def test_nothing_is_no_set():
    with pytest.raises(ValueError, match="needs at least one"):
        GraphBatch.from_graphs([])
    with pytest.raises(ValueError, match="needs at least one"):
        GraphSet.from_graphs([])


def test_moving_a_batch_keeps_all_of_it(several):
    batch = GraphBatch.from_graphs(several)
    assert_same_batch(batch.to("cpu"), batch)
    moved = batch.to("meta")
    assert {getattr(moved, field.name).device.type for field in dataclasses.fields(GraphBatch)} == {"meta"}
    assert moved.distances.shape == batch.distances.shape
