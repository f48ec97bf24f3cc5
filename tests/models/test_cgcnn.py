from __future__ import annotations

import builtins
import collections
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from icsg3d.errors import InputError
from icsg3d.models.cgcnn import read_cgcnn
from icsg3d.models.properties import PropertyModel
from icsg3d.models.targets import PROPERTIES, unknown_property
from icsg3d.representation.graphs import CrystalGraph, GraphBatch

TARGET = unknown_property("anything")
WIDTH, HIDDEN, FEATURES, LAYERS = 6, 5, 7, 2
MEAN, STD = -1.25, 0.75


def official_state(width=WIDTH, hidden=HIDDEN, features=FEATURES, layers=LAYERS, outputs=1):
    """Random weights under the names of the official network."""
    random = torch.Generator().manual_seed(5)

    def normal(*shape, scale=0.2):
        return scale * torch.randn(*shape, generator=random)

    def positive(*shape):
        return 0.5 + torch.rand(*shape, generator=random)

    state = {"embedding.weight": normal(width, features), "embedding.bias": normal(width)}
    for layer in range(layers):
        state[f"convs.{layer}.fc_full.weight"] = normal(2 * width, 2 * width + 41)
        state[f"convs.{layer}.fc_full.bias"] = normal(2 * width)
        for norm, size in (("bn1", 2 * width), ("bn2", width)):
            state[f"convs.{layer}.{norm}.weight"] = positive(size)
            state[f"convs.{layer}.{norm}.bias"] = normal(size)
            state[f"convs.{layer}.{norm}.running_mean"] = normal(size)
            state[f"convs.{layer}.{norm}.running_var"] = positive(size)
    state |= {"conv_to_fc.weight": normal(hidden, width), "conv_to_fc.bias": normal(hidden)}
    return state | {"fc_out.weight": normal(outputs, hidden), "fc_out.bias": normal(outputs)}


def checkpoint(**changes):
    return {
        "epoch": 12,
        "state_dict": official_state(),
        "best_mae_error": np.float64(0.125),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.01, "momentum": 0.9}]},
        "normalizer": {"mean": torch.tensor(MEAN), "std": torch.tensor(STD)},
        "args": {"task": "regression", "n_conv": LAYERS, "n_h": 1, "atom_fea_len": WIDTH, "data_options": ["x.csv"]},
    } | changes


def feature_table(numbers=range(1, 101)):
    random = np.random.default_rng(6)
    return {str(number): [float(v) for v in random.integers(0, 2, FEATURES - 1)] + [1.0] for number in numbers}


@pytest.fixture
def write(tmp_path):
    """Write a checkpoint and an atom_init.json and return their paths."""

    def both(content=None, table=None, **options):
        weights, atom_init = tmp_path / "model.pth.tar", tmp_path / "atom_init.json"
        torch.save(checkpoint() if content is None else content, weights, **options)
        atom_init.write_text(json.dumps(feature_table() if table is None else table))
        return weights, atom_init

    return both


def random_graph(seed, atoms, degree=12):
    random = np.random.default_rng(seed)
    return CrystalGraph(
        random.integers(1, 95, atoms),
        np.repeat(np.arange(atoms), degree),
        random.integers(0, atoms, atoms * degree),
        random.uniform(1.5, 6.0, atoms * degree).astype(np.float32),
        np.ones(atoms * degree, dtype=np.float32),
    )


GRAPHS = [random_graph(0, 4), random_graph(1, 1), random_graph(2, 9)]


def official_forward(content, table, graph):
    """What the official program computes for one crystal, of twelve neighbours an atom, in its order of steps."""
    state = {name: value.double() for name, value in content["state_dict"].items()}
    atoms = torch.tensor([table[str(number)] for number in graph.numbers], dtype=torch.float64)
    atoms = F.linear(atoms, state["embedding.weight"], state["embedding.bias"])
    size = len(atoms)
    neighbours = torch.tensor(graph.neighbours).view(size, 12)
    distances = torch.tensor(graph.distances.astype(float)).view(size, 12, 1)
    edges = torch.exp(-((distances - torch.arange(0, 8.1, 0.2, dtype=torch.float64)) ** 2) / 0.2**2)
    layer = 0
    while f"convs.{layer}.fc_full.weight" in state:
        own = {name.removeprefix(f"convs.{layer}."): value for name, value in state.items()}

        def norm(x, name, own=own):
            where = (own[f"{name}.running_mean"], own[f"{name}.running_var"])
            return F.batch_norm(x, *where, own[f"{name}.weight"], own[f"{name}.bias"])

        total = torch.cat([atoms[:, None].expand(-1, 12, -1), atoms[neighbours], edges], dim=2)
        gated = F.linear(total, own["fc_full.weight"], own["fc_full.bias"])
        gated = norm(gated.view(size * 12, -1), "bn1").view(size, 12, -1)
        gate, core = gated.chunk(2, dim=2)
        summed = (torch.sigmoid(gate) * F.softplus(core)).sum(1)
        atoms = F.softplus(atoms + norm(summed, "bn2"))
        layer += 1
    crystal = F.linear(F.softplus(atoms.mean(0)), state["conv_to_fc.weight"], state["conv_to_fc.bias"])
    output = F.linear(F.softplus(crystal), state["fc_out.weight"], state["fc_out.bias"])
    return output.item() * float(content["normalizer"]["std"]) + float(content["normalizer"]["mean"])


# A synthetic checkpoint


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_predictions_are_those_of_the_official_network(write, layers):
    content, table = checkpoint(state_dict=official_state(layers=layers)), feature_table()
    expected = [official_forward(content, table, graph) for graph in GRAPHS]
    assert np.ptp(expected) > 0.01
    model = read_cgcnn(*write(content, table), TARGET)
    values, spread = model(GraphBatch.from_graphs(GRAPHS, nodes=20))
    assert values.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert spread.tolist() == [0, 0, 0]
    for graph, value in zip(GRAPHS, expected, strict=True):
        assert model(GraphBatch.from_graphs([graph]))[0].item() == pytest.approx(value, rel=1e-5, abs=1e-5)


def test_sizes_are_those_of_the_file(write):
    model = read_cgcnn(*write(), TARGET)
    assert isinstance(model, PropertyModel)
    assert not any(module.training for module in model.modules())
    network = model.config.network
    assert (network.convolution, network.layers, network.width) == ("cgcnn", LAYERS, WIDTH)
    assert (network.hidden, network.node_features) == (HIDDEN, FEATURES)
    assert (model.config.members, model.config.mean, model.config.scale) == (1, MEAN, STD)
    assert model.config.property == TARGET


@torch.no_grad()
@pytest.mark.parametrize(("name", "power"), [("bulk_modulus", True), ("poisson_ratio", False)])
def test_moduli_are_taken_as_decadic_logarithms(write, name, power):
    content, table = checkpoint(), feature_table()
    expected = official_forward(content, table, GRAPHS[0])
    value = read_cgcnn(*write(content, table), PROPERTIES[name])(GraphBatch.from_graphs(GRAPHS[:1]))[0].item()
    assert value == pytest.approx(10**expected if power else expected, rel=1e-4)


def test_elements_are_those_of_the_table(write):
    model = read_cgcnn(*write(table=feature_table([1, 8, 26, 94, 95, 100])), TARGET)
    assert model.config.elements == (1, 8, 26, 94)
    features = model.members[0].features
    assert features.shape == (95, FEATURES)
    assert features.any(1).nonzero().flatten().tolist() == [1, 8, 26, 94]
    assert features[26].tolist() == feature_table([1, 8, 26])["26"]


@torch.no_grad()
def test_other_ways_of_writing_the_same_file(write):
    batch = GraphBatch.from_graphs(GRAPHS)
    expected = read_cgcnn(*write(), TARGET)(batch)[0]
    state = official_state()
    counts = {
        f"convs.{layer}.{norm}.num_batches_tracked": torch.tensor(9)
        for layer in range(LAYERS)
        for norm in ("bn1", "bn2")
    }
    for content in (
        checkpoint(normalizer={"mean": MEAN, "std": STD}),
        checkpoint(normalizer={"mean": np.float64(MEAN), "std": np.float32(STD)}),
        checkpoint(best_mae_error=torch.tensor(0.1)),
        checkpoint(state_dict=collections.OrderedDict(state | counts)),
    ):
        for zipped in (True, False):
            model = read_cgcnn(*write(content, _use_new_zipfile_serialization=zipped), TARGET)
            assert torch.equal(model(batch)[0], expected)


def test_scalars_of_numpy_1_are_read(write):
    weights, atom_init = write(_use_new_zipfile_serialization=False)
    content = weights.read_bytes()
    assert content.count(b"numpy._core.multiarray\nscalar") == 1
    weights.write_bytes(content.replace(b"numpy._core.multiarray\nscalar", b"numpy.core.multiarray\nscalar"))
    assert read_cgcnn(weights, atom_init, TARGET).config.mean == MEAN


# Files that are refused


class Hostile:
    """Unpickling this calls a function."""

    def __init__(self, function, *arguments):
        self.called = (function, arguments)

    def __reduce__(self):
        return self.called


def hostile_ways(trace):
    return {
        "os.system": Hostile(os.system, f"touch {trace}"),
        "mkdir": Hostile(os.mkdir, str(trace)),
        "eval": Hostile(builtins.eval, f"open({str(trace)!r}, 'w').close()"),
        "open": Hostile(builtins.open, str(trace), "w"),
    }


WAYS = list(hostile_ways(Path("nowhere")))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["best_mae_error", "normalizer", "whole"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_hostile_files_are_refused_and_do_not_run(write, tmp_path, way, place, zipped):
    trace = tmp_path / "trace"
    attack = hostile_ways(trace)[way]
    content = {
        "best_mae_error": checkpoint(best_mae_error=attack),
        "normalizer": checkpoint(normalizer={"mean": attack, "std": 1.0}),
        "whole": attack,
    }[place]
    weights, atom_init = write(content, _use_new_zipfile_serialization=zipped)
    assert not trace.exists()
    with pytest.raises(InputError, match="holds more than tensors and numbers"):
        read_cgcnn(weights, atom_init, TARGET)
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", WAYS)
def test_the_hostile_files_would_run(write, tmp_path, way):
    # Otherwise the test above would show nothing.
    trace = tmp_path / "trace"
    weights, _ = write(checkpoint(best_mae_error=hostile_ways(trace)[way]))
    torch.load(weights, weights_only=False)
    assert trace.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_a_bare_pickle_is_refused(write, tmp_path):
    weights, atom_init = write()
    for content in (Hostile(os.mkdir, str(tmp_path / "trace")), {"state_dict": 1}, [1, 2]):
        weights.write_bytes(pickle.dumps(content))
        with pytest.raises(InputError):
            read_cgcnn(weights, atom_init, TARGET)
    assert not (tmp_path / "trace").exists()


def test_reading_leaves_no_class_allowed(write):
    before = set(torch.serialization.get_safe_globals())
    read_cgcnn(*write(), TARGET)
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_cut_files_are_refused(write, zipped):
    weights, atom_init = write(_use_new_zipfile_serialization=zipped)
    content = weights.read_bytes()
    for size in [*range(0, len(content) - 1, 61), len(content) // 2]:
        weights.write_bytes(content[:size])
        with pytest.raises(InputError):
            read_cgcnn(weights, atom_init, TARGET)


@pytest.mark.parametrize("content", [b"no model at all", b"\x00" * 100, b"PK\x03\x04" + b"\x07" * 60], ids=repr)
def test_other_files_are_refused(write, content):
    weights, atom_init = write()
    weights.write_bytes(content)
    with pytest.raises(InputError, match="is refused: it is damaged"):
        read_cgcnn(weights, atom_init, TARGET)


@pytest.mark.parametrize(
    "wrong",
    [
        Hostile(collections.OrderedDict, 1),
        Hostile(torch._utils._rebuild_tensor_v2, 1),
        Hostile(np.dtype, "no type"),
    ],
    ids=["OrderedDict", "tensor", "dtype"],
)
def test_allowed_calls_with_senseless_arguments_are_refused(write, wrong):
    weights, atom_init = write(checkpoint(best_mae_error=wrong))
    with pytest.raises(InputError, match="damaged"):
        read_cgcnn(weights, atom_init, TARGET)


def test_missing_files_are_named(write, tmp_path):
    weights, atom_init = write()
    with pytest.raises(InputError, match=r"there is no file .*absent\.pth\.tar"):
        read_cgcnn(tmp_path / "absent.pth.tar", atom_init, TARGET)
    with pytest.raises(InputError, match=r"absent\.json is no table"):
        read_cgcnn(weights, tmp_path / "absent.json", TARGET)
    with pytest.raises(InputError, match="is refused"):
        read_cgcnn(tmp_path, atom_init, TARGET)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "[]",
        "3",
        '{"H": [1, 2, 3, 4, 5, 6, 7]}',
        '{"1": 1}',
        '{"1": null}',
        '{"1": "abcdefg"}',
        '{"1": [1, 2, 3, 4, 5, 6, 7], "2": [1, 2]}',
        '{"1": [[1], 2, 3, 4, 5, 6, 7]}',
        '{"1": [1' + "0" * 400 + ", 2, 3, 4, 5, 6, 7]}",
        "[" * 100_000,
    ],
    ids=lambda text: text[:24],
)
def test_json_that_is_no_atom_init_is_refused(write, text):
    weights, atom_init = write()
    atom_init.write_text(text)
    with pytest.raises(InputError, match=r"atom_init\.json is no table of feature vectors"):
        read_cgcnn(weights, atom_init, TARGET)


def without(name):
    return {key: value for key, value in checkpoint().items() if key != name}


@pytest.mark.parametrize(
    "content",
    [
        without("state_dict"),
        without("normalizer"),
        checkpoint(state_dict=[1]),
        checkpoint(normalizer=3.0),
        checkpoint(state_dict={k: v for k, v in official_state().items() if k != "conv_to_fc.weight"}),
        official_state(),
        [checkpoint()],
        torch.zeros(3),
    ],
    ids=["no state", "no normalizer", "list", "number", "no dense layer", "bare state", "in a list", "tensor"],
)
def test_other_checkpoints_are_refused(write, content):
    with pytest.raises(InputError, match="is no checkpoint of the official CGCNN"):
        read_cgcnn(*write(content), TARGET)


def changed(**shapes):
    names = {name.replace(".", "_"): name for name in official_state()}
    return official_state() | {names[key]: torch.zeros(shape) for key, shape in shapes.items()}


@pytest.mark.parametrize(
    "content",
    [
        checkpoint(state_dict=changed(fc_out_bias=(2,))),
        checkpoint(state_dict=changed(convs_1_fc_full_weight=(2 * WIDTH, 2 * WIDTH + 40))),
        checkpoint(state_dict=changed(convs_0_bn1_running_var=(WIDTH,))),
        checkpoint(state_dict=changed(embedding_weight=(WIDTH, FEATURES + 1))),
        checkpoint(state_dict=changed(embedding_weight=(WIDTH,))),
        checkpoint(state_dict={k: v for k, v in official_state().items() if k != "fc_out.bias"}),
        checkpoint(state_dict={k: v for k, v in official_state().items() if not k.startswith("convs.0")}),
        checkpoint(state_dict={k: v for k, v in official_state().items() if "bn2.running_mean" not in k}),
        checkpoint(state_dict=official_state() | {"fc_out.bias": "none"}),
        checkpoint(normalizer={"mean": 1.0}),
        checkpoint(normalizer={"mean": torch.zeros(2), "std": 1.0}),
        checkpoint(normalizer={"mean": 10**400, "std": 1.0}),
    ],
    ids=[
        "bias",
        "convolution",
        "norm",
        "embedding",
        "flat",
        "no bias",
        "no first layer",
        "no statistics",
        "text",
        "no std",
        "two means",
        "huge mean",
    ],
)
def test_wrong_shapes_are_refused(write, content):
    with pytest.raises(InputError, match="do not fit together as a regression CGCNN"):
        read_cgcnn(*write(content), TARGET)


def test_a_table_of_another_length_is_refused(write):
    table = {number: [*vector, 0.0] for number, vector in feature_table().items()}
    with pytest.raises(InputError, match=r"atom_init\.json do not fit together"):
        read_cgcnn(*write(table=table), TARGET)


def test_a_classifier_is_refused(write):
    with pytest.raises(InputError, match="do not fit together as a regression CGCNN"):
        read_cgcnn(*write(checkpoint(state_dict=official_state(outputs=2))), TARGET)


def test_a_second_dense_layer_is_refused(write):
    state = official_state() | {"fcs.0.weight": torch.eye(HIDDEN), "fcs.0.bias": torch.ones(HIDDEN)}
    with pytest.raises(InputError, match="only one dense layer is known"):
        read_cgcnn(*write(checkpoint(state_dict=state)), TARGET)


# The published files


@pytest.fixture(scope="module")
def reference():
    default = Path(__file__).parents[3] / "shared" / "reference"
    folder = Path(os.environ.get("ICSG3D_REFERENCE", default)) / "cgcnn"
    if not folder.is_dir():
        pytest.skip(f"no published networks in {folder}; name the folder above it with ICSG3D_REFERENCE")
    return folder


@pytest.fixture(scope="module")
def published(reference):
    """Return the crystals of expected.json, with the neighbours given there, and what the official program predicts."""
    from icsg3d.crystals.structures import structure_from_dict

    graphs, predictions = [], []
    for entry in json.loads((reference / "expected.json").read_text()):
        numbers = np.array([site.specie.Z for site in structure_from_dict(entry["structure"])])
        neighbours, distances = np.array(entry["neighbor_index"]), np.array(entry["neighbor_distance"])
        assert neighbours.shape == distances.shape == (len(numbers), 12)
        centres = np.repeat(np.arange(len(numbers)), 12)
        flat = distances.ravel().astype(np.float32)
        graphs.append(CrystalGraph(numbers, centres, neighbours.ravel(), flat, np.ones_like(flat)))
        predictions.append(entry["expected"])
    return graphs, predictions


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["formation-energy-per-atom", "band-gap", "bulk-moduli", "shear-moduli", "poisson-ratio"]
)
def test_the_published_networks_predict_as_published(reference, published, name):
    graphs, predictions = published
    expected = np.array([each[name] for each in predictions])
    assert len(expected) >= 30
    assert np.ptp(expected) > 0.1
    model = read_cgcnn(reference / f"{name}.pth.tar", reference / "atom_init.json", TARGET)
    values = model(GraphBatch.from_graphs(graphs))[0].numpy()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4)
