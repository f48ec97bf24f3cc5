from __future__ import annotations

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.elements import graph_features
from icsg3d.models.crystal_graph import CrystalGraphConfig, CrystalGraphNet
from icsg3d.representation.graphs import GraphBatch, crystal_graph

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
ROCK_SALT = CrystalArrays(np.array([11, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), 5.64 * FCC)
COPPER = CrystalArrays(np.array([29]), np.zeros((1, 3)), 3.61 * FCC)
PEROVSKITE = CrystalArrays(
    np.array([38, 22, 8, 8, 8]),
    np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
    3.905 * np.eye(3),
)
SKEWED = CrystalArrays(
    np.array([55, 3, 9, 92, 26, 26]),
    np.random.default_rng(3).random((6, 3)),
    np.array([[5.0, 0.3, 0], [2.1, 4.6, 0.2], [-1.9, 1.2, 5.4]]),
)
# Three atoms in a row in a wide cell: one, two and one of them within 3 angstrom, and an image at 7.5 from the ends.
MOLECULE = CrystalArrays(
    np.array([8, 6, 16]), np.array([[0.0, 0, 0], [0.12, 0, 0], [0.28, 0.02, 0]]), np.diag([10.4, 12.0, 13.0])
)
CRYSTALS = [ROCK_SALT, COPPER, PEROVSKITE, SKEWED, MOLECULE]
NAMES = ["rock salt", "copper", "perovskite", "skewed", "molecule"]
PRESETS = ["paper", "cgcnn", "gated"]
TOLERANCE = 1e-5


def batch_of(*crystals, nodes=None):
    return GraphBatch.from_graphs([crystal_graph(crystal) for crystal in crystals], nodes)


def untrained(preset, **changes):
    """A network whose norms scale and shift, unlike those of a new one, and to which elements differ much."""
    torch.manual_seed(7)
    network = CrystalGraphNet(CrystalGraphConfig.preset(preset, **changes))
    with torch.no_grad():
        network.embedding.weight *= 6
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
                module.weight.normal_(1, 0.3)
                module.bias.normal_(0, 0.3)
    return network


def settled(preset, **changes):
    """A network in evaluation mode, of outputs of order one, whose batch norms have seen data."""
    network = untrained(preset, **changes).train()
    with torch.no_grad():
        for _ in range(5):
            outputs = network(batch_of(*CRYSTALS))
        outputs = network.eval()(batch_of(*CRYSTALS))
        factor = 1 / outputs.std()
        network.output.weight *= factor
        network.output.bias.copy_((network.output.bias - outputs.mean()) * factor)
    return network


@pytest.fixture(scope="module", params=PRESETS)
def network(request):
    return settled(request.param)


def assert_same(first, second):
    assert first.shape == second.shape
    assert (first - second).abs().max() < TOLERANCE


def batch_norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]


def supercell(crystal, repeats):
    shifts = np.array(list(itertools.product(*(range(n) for n in repeats))))
    frac = (shifts[:, None] + crystal.frac_coords[None]).reshape(-1, 3) / repeats
    return CrystalArrays(np.tile(crystal.numbers, len(shifts)), frac, crystal.lattice * np.array(repeats)[:, None])


# What the tests below rely on


@torch.no_grad()
def test_the_networks_tell_the_crystals_apart(network):
    outputs = network(batch_of(*CRYSTALS))
    assert outputs.shape == (5,)
    assert outputs.std().item() == pytest.approx(1, abs=1e-3)
    gaps = (outputs[:, None] - outputs)[~torch.eye(5, dtype=torch.bool)].abs()
    assert gaps.min() > 1e-2
    for norm in batch_norms(network):
        assert norm.running_mean.abs().max() > 0.01
        assert (norm.running_var - 1).abs().max() > 0.1
    assert bool(batch_norms(network)) == (network.config.convolution == "cgcnn")


def test_the_crystals_have_few_neighbours_and_parts_of_neighbours():
    graphs = [crystal_graph(crystal) for crystal in CRYSTALS]
    assert np.bincount(graphs[4].centres).tolist() == [3, 2, 3]
    assert ((graphs[3].weights > 0.02) & (graphs[3].weights < 0.98)).sum() >= 3
    assert np.bincount(graphs[2].centres).tolist() == [12, 14, 14, 14, 14]


# What does not matter


@torch.no_grad()
@pytest.mark.parametrize("nodes", [50, 64, 200])
def test_padding_does_not_matter(network, nodes):
    plain = network(batch_of(*CRYSTALS))
    assert_same(network(batch_of(*CRYSTALS, nodes=nodes)), plain)
    for index, crystal in enumerate(CRYSTALS):
        assert_same(network(batch_of(crystal, nodes=nodes)), plain[index : index + 1])


@torch.no_grad()
def test_what_stands_in_the_padding_does_not_matter(network):
    batch = batch_of(*CRYSTALS, nodes=9)
    dirty = dataclasses.replace(
        batch,
        distances=batch.distances.masked_fill(~batch.neighbour_mask, torch.nan),
        neighbours=batch.neighbours.masked_fill(~batch.neighbour_mask, 8),
    )
    assert dirty.distances.isnan().any()
    assert_same(network(dirty), network(batch))


@torch.no_grad()
@pytest.mark.parametrize("crystal", CRYSTALS, ids=NAMES)
def test_the_order_of_atoms_does_not_matter(network, crystal):
    order = np.roll(np.arange(len(crystal))[::-1], 1)
    shuffled = CrystalArrays(crystal.numbers[order], crystal.frac_coords[order], crystal.lattice)
    assert_same(network(batch_of(shuffled)), network(batch_of(crystal)))


@torch.no_grad()
@pytest.mark.parametrize("crystal", CRYSTALS, ids=NAMES)
def test_translation_does_not_matter(network, crystal):
    moved = dataclasses.replace(crystal, frac_coords=crystal.frac_coords + np.array([0.31, -0.77, 1.5]))
    assert_same(network(batch_of(moved)), network(batch_of(crystal)))


@torch.no_grad()
@pytest.mark.parametrize("crystal", CRYSTALS, ids=NAMES)
def test_rotation_does_not_matter(network, crystal):
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    turned = dataclasses.replace(crystal, lattice=crystal.lattice @ turn)
    assert np.abs(turned.lattice - crystal.lattice).max() > 1
    assert_same(network(batch_of(turned)), network(batch_of(crystal)))


@torch.no_grad()
@pytest.mark.parametrize("repeats", [(2, 1, 1), (1, 2, 2)], ids=str)
@pytest.mark.parametrize("crystal", CRYSTALS, ids=NAMES)
def test_a_supercell_is_the_same_crystal(network, crystal, repeats):
    assert_same(network(batch_of(supercell(crystal, repeats))), network(batch_of(crystal)))


@torch.no_grad()
def test_a_batch_equals_its_members_one_by_one(network):
    alone = torch.cat([network(batch_of(crystal)) for crystal in CRYSTALS])
    assert_same(network(batch_of(*CRYSTALS)), alone)
    assert_same(network(batch_of(*CRYSTALS[::-1])), alone.flip(0))


@torch.no_grad()
def test_atoms_distances_and_weights_matter(network):
    batch = batch_of(*CRYSTALS)
    plain = network(batch)
    other_atom = batch.numbers.clone()
    other_atom[:, 0] += 1
    assert (network(dataclasses.replace(batch, numbers=other_atom)) - plain).abs().min() > 10 * TOLERANCE
    longer = dataclasses.replace(batch, distances=batch.distances * 1.03)
    faded = dataclasses.replace(batch, weights=batch.weights * torch.linspace(0.2, 1, batch.weights.shape[2]))
    for changed in (longer, faded):
        assert (network(changed) - plain).abs().max() > 1e-3


DIAMOND = CrystalArrays(np.array([6, 6]), np.array([[0.0, 0, 0], [0.25, 0.25, 0.25]]), 3.567 * FCC)
GRAPHITE = CrystalArrays(
    np.array([6, 6, 6, 6]),
    np.array([[0, 0, 0.25], [0, 0, 0.75], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]),
    np.array([[2.464, 0, 0], [-1.232, 2.1339, 0], [0, 0, 6.711]]),
)


@torch.no_grad()
@pytest.mark.parametrize("preset", ["paper", "cgcnn", "gated"])
def test_an_element_is_told_apart_from_itself_in_another_structure(preset):
    outputs = settled(preset)(batch_of(DIAMOND, GRAPHITE, dataclasses.replace(DIAMOND, lattice=4.2 * FCC)))
    assert (outputs[1:] - outputs[0]).abs().min() > 1e-3  # of an untrained network


# Without the masks


def all_true(name):
    return property(lambda self: torch.ones_like(getattr(self, name), dtype=torch.bool))


@torch.no_grad()
def test_without_the_mask_of_nodes_padding_would_matter(network, monkeypatch):
    plain, padded = batch_of(*CRYSTALS), batch_of(*CRYSTALS, nodes=50)
    right = network(plain)
    monkeypatch.setattr(GraphBatch, "node_mask", all_true("numbers"))
    monkeypatch.setattr(GraphBatch, "neighbour_mask", all_true("weights"))
    # Infinities and the like count as different too.
    assert not torch.allclose(network(padded), network(plain), atol=1e-3)
    assert not torch.isclose(network(padded), right, atol=1e-3).any()
    monkeypatch.undo()
    assert_same(network(padded), right)


@torch.no_grad()
@pytest.mark.parametrize("preset", ["paper", "cgcnn"])
@pytest.mark.parametrize("mask", [("node_mask", "numbers"), ("neighbour_mask", "weights")], ids=["nodes", "neighbours"])
def test_without_a_mask_the_batch_norms_would_see_padding(preset, mask, monkeypatch):
    monkeypatch.setattr(GraphBatch, mask[0], all_true(mask[1]))
    plain, padded = (untrained(preset).train() for _ in range(2))
    difference = plain(batch_of(*CRYSTALS)) - padded(batch_of(*CRYSTALS, nodes=50))
    assert difference.abs().max() > 1e-3
    changed = [
        (a.running_mean - b.running_mean).abs().max()
        for a, b in zip(batch_norms(plain), batch_norms(padded), strict=True)
    ]
    assert max(changed) > 1e-3


# Training mode


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("nodes", [50, 200])
def test_in_training_nothing_depends_on_padding(preset, nodes):
    plain = untrained(preset).train()
    padded = copy.deepcopy(plain)
    outputs = [net(batch_of(*CRYSTALS, nodes=size)) for net, size in ((plain, None), (padded, nodes))]
    assert_same(*outputs)
    for one, other in zip(batch_norms(plain), batch_norms(padded), strict=True):
        assert one.num_batches_tracked == 1
        assert one.running_mean.abs().max() > 1e-3
        assert torch.allclose(one.running_mean, other.running_mean, atol=1e-6)
        assert torch.allclose(one.running_var, other.running_var, atol=1e-6)
    for output in outputs:
        output.square().sum().backward()
    for one, other in zip(plain.parameters(), padded.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", ["paper", "cgcnn"])
def test_the_batch_norms_see_each_atom_and_edge_once(preset):
    network = untrained(preset).train()
    rows = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm1d):
            module.register_forward_hook(lambda _, inputs, __, name=name: rows.update({name: inputs[0].detach()}))
    network(batch_of(*CRYSTALS, nodes=64))
    atoms = sum(len(crystal) for crystal in CRYSTALS)
    edges = sum(len(crystal_graph(crystal).distances) for crystal in CRYSTALS)
    assert len(rows) == 2 * network.config.layers
    for name, seen in rows.items():
        assert len(seen) == (edges if name.endswith("message_norm") else atoms)
        norm = network.get_submodule(name)
        assert torch.allclose(norm.running_mean, 0.1 * seen.mean(0), atol=1e-6)
        assert torch.allclose(norm.running_var, 0.9 + 0.1 * seen.var(0), atol=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_gradients_of_padding_are_zero(preset, training):
    network = settled(preset).train(training)
    network.features.requires_grad_()
    batch = batch_of(*CRYSTALS, nodes=30)
    batch = dataclasses.replace(
        batch, distances=batch.distances.requires_grad_(), weights=batch.weights.requires_grad_()
    )
    network(batch).square().sum().backward()
    real = batch.neighbour_mask
    for gradient in (batch.distances.grad, batch.weights.grad):
        assert gradient.isfinite().all()
        assert (gradient[~real] == 0).all()
        assert (~real).sum() > real.sum()
    assert (batch.distances.grad[real] != 0).float().mean() > 0.9
    assert (batch.weights.grad[real] != 0).float().mean() > 0.9
    present = sorted({int(number) for crystal in CRYSTALS for number in crystal.numbers})
    by_element = network.features.grad.abs().amax(1)
    assert by_element.isfinite().all()
    assert by_element.nonzero().flatten().tolist() == present  # not row 0, which padding would read


@pytest.mark.parametrize("preset", PRESETS)
def test_padded_places_of_any_content_have_finite_gradients(preset):
    network = settled(preset).train()
    batch = batch_of(*CRYSTALS, nodes=30)
    distances = batch.distances.masked_fill(~batch.neighbour_mask, torch.nan).requires_grad_()
    network(dataclasses.replace(batch, distances=distances)).sum().backward()
    assert distances.grad.isfinite().all()
    assert (distances.grad[~batch.neighbour_mask] == 0).all()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_learns(preset):
    network = untrained(preset).train()
    network(batch_of(*CRYSTALS)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        before_norm = network.config.convolution == "cgcnn" and name.endswith(".centre.bias")
        # A batch norm takes away the mean, and with it what a bias before it does.
        largest = parameter.grad.abs().max()
        assert largest < 1e-4 if before_norm else largest > 1e-4, name


def test_gradients_agree_with_differences():
    network = settled("gated").double()
    batch = batch_of(ROCK_SALT, SKEWED)
    distances = batch.distances.double().requires_grad_()
    batch = dataclasses.replace(batch, weights=batch.weights.double())
    network(dataclasses.replace(batch, distances=distances))[1].backward()
    place = (1, 2, 4)
    with torch.no_grad():
        ends = []
        for sign in (-1, 1):
            moved = distances.clone()
            moved[place] += sign * 1e-5
            ends.append(network(dataclasses.replace(batch, distances=moved))[1])
    assert distances.grad[place].item() == pytest.approx((ends[1] - ends[0]).item() / 2e-5, rel=1e-4)
    assert (distances.grad[0] == 0).all()  # another crystal


# Against plain loops


def softplus(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def values_of(network):
    return {name: value.double().numpy() for name, value in network.state_dict().items()}


def edge_features(distance):
    return np.array([np.exp(-(((distance - 0.2 * k) / 0.2) ** 2)) for k in range(41)])


def batch_norm(x, values, name):
    scaled = (x - values[f"{name}.running_mean"]) / np.sqrt(values[f"{name}.running_var"] + 1e-5)
    return scaled * values[f"{name}.weight"] + values[f"{name}.bias"]


def layer_norm(x, values, name):
    scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return scaled * values[f"{name}.weight"] + values[f"{name}.bias"]


def linear(x, values, name):
    return values[f"{name}.weight"] @ x + values.get(f"{name}.bias", 0)


def neighbours_of(graph, atom):
    """Index, distance and weight of each neighbour of an atom."""
    for centre, j, distance, weight in zip(
        graph.centres, graph.neighbours, graph.distances, graph.weights, strict=True
    ):
        if centre == atom:
            yield int(j), float(distance), float(weight)


def cgcnn_convolution(atoms, graph, values, name):
    """Xie and Grossman's equation 5, an atom and a neighbour at a time."""
    matrix = np.hstack([values[f"{name}.{part}.weight"] for part in ("centre", "neighbour", "edge")])
    new = []
    for i, atom in enumerate(atoms):
        total = np.zeros(len(atom))
        for j, distance, weight in neighbours_of(graph, i):
            z = np.concatenate([atom, atoms[j], edge_features(distance)])
            mapped = batch_norm(matrix @ z + values[f"{name}.centre.bias"], values, f"{name}.message_norm")
            gate, core = mapped[: len(atom)], mapped[len(atom) :]
            total += weight * sigmoid(gate) * softplus(core)
        new.append(softplus(atom + batch_norm(total, values, f"{name}.node_norm")))
    return new


def gated_layers(atoms, graph, values, layers):
    """Residual gated convolutions, whose gates are shared out among an atom's neighbours."""
    edges = {
        (i, n): linear(edge_features(distance), values, "edge_embedding.0")
        for i in range(len(atoms))
        for n, (_, distance, _) in enumerate(neighbours_of(graph, i))
    }
    edges = {key: edge * sigmoid(edge) for key, edge in edges.items()}
    with_distances = []
    for i, atom in enumerate(atoms):
        weights = [weight for _, _, weight in neighbours_of(graph, i)]
        mean = sum(weight * edges[i, n] for n, weight in enumerate(weights)) / sum(weights)
        with_distances.append(atom + mean)
    atoms = with_distances
    for layer in range(layers):
        name = f"convolutions.{layer}"
        width = len(atoms[0])
        new_atoms, new_edges = [], {}
        for i, atom in enumerate(atoms):
            messages, gates = np.zeros(width), np.zeros(width)
            for n, (j, _, weight) in enumerate(neighbours_of(graph, i)):
                both = linear(atoms[j], values, f"{name}.neighbour")
                mixed = linear(edges[i, n], values, f"{name}.edge") + linear(atom, values, f"{name}.centre")
                mixed += both[:width]
                gates += weight * sigmoid(mixed)
                messages += weight * sigmoid(mixed) * both[width:]
                if layer < layers - 1:
                    normed = layer_norm(mixed, values, f"{name}.edge_norm")
                    new_edges[i, n] = edges[i, n] + normed * sigmoid(normed)
            total = linear(atom, values, f"{name}.own") + messages / (gates + 1e-3)
            normed = layer_norm(total, values, f"{name}.node_norm")
            new_atoms.append(atom + normed * sigmoid(normed))
        atoms, edges = new_atoms, new_edges
    return atoms


def by_loops(network, crystal):
    values, graph = values_of(network), crystal_graph(crystal)
    atoms = [linear(graph_features()[number].astype(float), values, "embedding") for number in crystal.numbers]
    if network.config.convolution == "cgcnn":
        for layer in range(network.config.layers):
            atoms = cgcnn_convolution(atoms, graph, values, f"convolutions.{layer}")
    else:
        atoms = gated_layers(atoms, graph, values, network.config.layers)
    pooled = softplus(sum(atoms) / len(atoms))
    return linear(softplus(linear(pooled, values, "dense")), values, "output")[0]


@torch.no_grad()
def test_outputs_are_those_of_plain_loops(network):
    # The molecule's atoms have two and three neighbours, beside twelve and more of the others in one batch.
    expected = [by_loops(network, crystal) for crystal in CRYSTALS]
    found = network(batch_of(*CRYSTALS, nodes=20))
    assert found.tolist() == pytest.approx(expected, abs=2 * TOLERANCE)
    assert network(batch_of(MOLECULE)).item() == pytest.approx(expected[4], abs=2 * TOLERANCE)


# Sizes and storage


def test_the_paper_preset_counted_by_hand():
    embedding = 92 * 64 + 64
    convolution = (64 + 64 + 41) * 128 + 128  # one linear map of atom, neighbour and edge to gate and core
    norms = 2 * 128 + 2 * 64
    dense, output = 64 * 128 + 128, 128 + 1
    assert embedding + convolution + norms + dense + output == 36_545
    network = CrystalGraphNet(CrystalGraphConfig.preset("paper"))
    assert sum(p.numel() for p in network.parameters()) == 36_545


def test_the_cgcnn_preset_counted_by_hand():
    network = CrystalGraphNet(CrystalGraphConfig.preset("cgcnn"))
    assert sum(p.numel() for p in network.parameters()) == 5952 + 3 * (21_760 + 256 + 128) + (64 * 32 + 32) + 33


def test_the_gated_preset_counted_by_hand():
    network = CrystalGraphNet(CrystalGraphConfig.preset("gated"))
    square, norm = 96 * 96 + 96, 2 * 96
    layer = 5 * square + 2 * norm  # centre, neighbour (twice), edge, own
    embeddings = (92 * 96 + 96) + (41 * 96 + 96)
    head = (96 * 128 + 128) + 129
    assert sum(p.numel() for p in network.parameters()) == embeddings + 4 * layer - norm + head


def test_presets_and_changes():
    paper, cgcnn, gated = (CrystalGraphConfig.preset(name) for name in PRESETS)
    assert (paper.convolution, paper.layers, paper.width, paper.hidden) == ("cgcnn", 1, 64, 128)
    assert (cgcnn.convolution, cgcnn.layers, cgcnn.width, cgcnn.hidden) == ("cgcnn", 3, 64, 32)
    assert gated == CrystalGraphConfig()
    assert gated.convolution == "gated"
    changed = CrystalGraphConfig.preset("paper", layers=2, dropout=0.5)
    assert (changed.layers, changed.dropout, changed.hidden) == (2, 0.5, 128)
    assert len(CrystalGraphNet(changed).convolutions) == 2


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="no preset 'alignn'; there are paper, cgcnn, gated"):
        CrystalGraphConfig.preset("alignn")


@torch.no_grad()
def test_a_state_goes_to_another_network(network):
    state = network.state_dict()
    assert torch.equal(state["features"], torch.tensor(graph_features()))
    assert "centres" not in state
    torch.manual_seed(99)
    other = CrystalGraphNet(network.config).eval()
    batch = batch_of(*CRYSTALS)
    assert (other(batch) - network(batch)).abs().max() > 1e-2
    other.load_state_dict(state)
    assert torch.equal(other(batch), network(batch))


@torch.no_grad()
def test_other_features_of_elements_can_be_loaded():
    network = settled("paper", node_features=3)
    assert network.features.shape == (95, 3)
    assert not network.features.any()
    table = torch.rand(95, 3)
    network.load_state_dict(network.state_dict() | {"features": table})
    for number in (11, 17):
        assert torch.equal(network.features[number], table[number])
    swapped = dataclasses.replace(ROCK_SALT, numbers=np.array([11, 35]))
    assert (network(batch_of(ROCK_SALT)) - network(batch_of(swapped))).abs() > 1e-4


def test_dropout_hides_pooled_features_while_training_only():
    network = settled("paper", dropout=0.5)
    batch = batch_of(*CRYSTALS)
    assert torch.equal(network(batch), network(batch))
    network.dropout.train()
    assert (network(batch) - network(batch)).abs().max() > 1e-2


def test_the_layers_before_pooling(network):
    before = {id(parameter) for parameter in network.graph_layers().parameters()}
    head = {id(parameter) for module in (network.dense, network.output) for parameter in module.parameters()}
    assert before.isdisjoint(head)
    assert before | head == {id(parameter) for parameter in network.parameters()}


@torch.no_grad()
def test_embedding_and_head_are_the_whole(network):
    batch = batch_of(*CRYSTALS)
    pooled = network.embed(batch)
    assert pooled.shape == (5, network.config.width)
    assert torch.equal(network.head(pooled), network(batch))
