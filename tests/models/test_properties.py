from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from pymatgen.core import Structure
from safetensors.torch import load_file, save_file

from icsg3d.crystals.structures import to_arrays
from icsg3d.errors import InputError
from icsg3d.files import sha256
from icsg3d.models.checkpoints import CONFIG_FILE, WEIGHTS_FILE, load_network, read_format, save_network
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.generator import GeneratorNetwork
from icsg3d.models.properties import (
    PROPERTY_FORMAT,
    PropertyModel,
    PropertyModelConfig,
    load_property_model,
    save_property_model,
    transform,
    untransform,
)
from icsg3d.models.targets import PROPERTIES, Property, unknown_property
from icsg3d.representation.graphs import GraphBatch, GraphConfig, crystal_graph

ENERGY, GAP, MODULUS = (PROPERTIES[name] for name in ("formation_energy_per_atom", "band_gap", "bulk_modulus"))
PIEZO = PROPERTIES["eij_max"]
NETWORK = CrystalGraphConfig.preset("gated", layers=1, width=8, hidden=8)
OFFICIAL = CrystalGraphConfig.preset("cgcnn", layers=1, width=8, hidden=8)


def rock_salt(cation, anion, edge):
    return Structure(edge / 2 * (np.ones((3, 3)) - np.eye(3)), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def caesium_chloride(cation, anion, edge):
    return Structure(edge * np.eye(3), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


CRYSTALS = [rock_salt("Na", "Cl", 5.64), rock_salt("Mg", "O", 4.21), caesium_chloride("Cs", "Cl", 4.12)]


@pytest.fixture(scope="module")
def batch():
    return GraphBatch.from_graphs([crystal_graph(to_arrays(crystal)) for crystal in CRYSTALS])


def make(of=ENERGY, network=NETWORK, **changes):
    torch.manual_seed(3)
    return PropertyModel(PropertyModelConfig(of, network, **changes)).eval()


def fixed(model, outputs):
    """Let each member give the numbers of its row."""
    for member, row in zip(model.members, outputs, strict=True):
        member.forward = lambda batch, row=row: torch.tensor(row)
    return model


# The scale that is learned


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [("identity", -1.5, -1.5), ("log10", 1000.0, 3.0), ("log10", 0.01, -2.0), ("log1p", math.e - 1, 1.0)],
)
def test_values_on_the_learned_scale(kind, value, expected):
    of = dataclasses.replace(unknown_property("x"), transform=kind)
    assert transform(torch.tensor([value], dtype=torch.float64), of).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("of", PROPERTIES.values(), ids=PROPERTIES)
def test_the_way_back(of):
    low, high = max(of.low, of.floor if of.floor is not None else of.low), of.high
    values = torch.linspace(low + 1e-3, high, 40, dtype=torch.float64)
    learned = transform(values, of)
    assert learned.isfinite().all()
    back, _ = untransform(learned, of)
    assert back.numpy() == pytest.approx(values.numpy(), rel=1e-9)


@pytest.mark.parametrize("kind", ["identity", "log10", "log1p"])
def test_the_slope_is_the_derivative(kind):
    of = dataclasses.replace(unknown_property("x"), transform=kind)
    at = torch.tensor([-1.2, 0.0, 0.4, 2.3], dtype=torch.float64)
    slope = untransform(at, of)[1]
    step = 1e-5
    numerical = (untransform(at + step, of)[0] - untransform(at - step, of)[0]) / (2 * step)
    assert slope.numpy() == pytest.approx(numerical.numpy(), rel=1e-7)


def test_properties_are_filed_under_their_names():
    assert all(name == of.name for name, of in PROPERTIES.items())
    assert all(of.transform != "log10" or of.low > 0 for of in PROPERTIES.values())
    assert ENERGY.label == "formation_energy_per_atom (eV/atom)"
    assert PROPERTIES["poisson_ratio"].label == "poisson_ratio"


# Values and uncertainties


def test_outputs_are_scaled_into_the_unit(batch):
    plain, scaled = make(), make(mean=-1.5, scale=0.7)
    values, _ = scaled(batch)
    raw = plain.members[0](batch)
    assert raw.std() > 1e-4  # crystals differ
    assert values.tolist() == pytest.approx((0.7 * raw - 1.5).tolist(), abs=1e-6)


def test_logarithms_are_undone(batch):
    values, _ = fixed(make(MODULUS, mean=2.0, scale=0.5), [[0.0, 1.0, -2.0]])(batch)
    assert values.tolist() == pytest.approx([100.0, 10**2.5, 10.0], rel=1e-5)
    values, _ = fixed(make(PIEZO, mean=1.0, scale=1.0), [[0.0, -1.0]])(batch)
    assert values.tolist() == pytest.approx([math.e - 1, 0.0], abs=1e-6)


def test_the_mean_of_the_members_is_taken_on_the_learned_scale(batch):
    model = fixed(make(MODULUS, members=2), [[1.0], [3.0]])
    assert model(batch)[0].item() == pytest.approx(100.0, rel=1e-5)  # not (10 + 1000) / 2
    center, spread = model.transformed(batch)
    assert center.item() == pytest.approx(2.0)
    assert spread.item() == pytest.approx(math.sqrt(2))  # of two numbers 2 apart, with n - 1


def test_uncertainties_are_put_together_from_floor_spread_and_slope(batch):
    outputs = [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]  # spreads 1 and 0
    model = fixed(make(members=3, scale=2.0, spread_floor=0.3, spread_factor=0.2), outputs)
    assert model.transformed(batch)[1].tolist() == pytest.approx([2.0, 0.0])
    assert model(batch)[1].tolist() == pytest.approx([math.hypot(0.3, 0.2 * 2.0), 0.3])
    model = fixed(make(MODULUS, members=3, spread_floor=0.3, spread_factor=0.2), outputs)
    expected = [100 * math.log(10) * math.hypot(0.3, 0.2), math.log(10) * 0.3]
    assert model(batch)[1].tolist() == pytest.approx(expected, rel=1e-5)
    model = fixed(make(PIEZO, members=3, spread_floor=0.3, spread_factor=0.2), outputs)
    assert model(batch)[1].tolist() == pytest.approx([math.exp(2) * math.hypot(0.3, 0.2), 0.3], rel=1e-5)


def test_one_member_has_a_finite_uncertainty(batch):
    for of in PROPERTIES.values():
        values, stds = make(of, spread_floor=0.25)(batch)
        assert values.isfinite().all()
        assert stds.isfinite().all()
    _, stds = make(spread_floor=0.25, spread_factor=7.0)(batch)
    assert stds.tolist() == pytest.approx([0.25] * len(CRYSTALS))


def test_no_band_gap_is_below_zero(batch):
    values, stds = fixed(make(GAP, spread_floor=0.5), [[-0.8, 0.0, 1.25]])(batch)
    assert values.tolist() == [0.0, 0.0, 1.25]
    assert stds.tolist() == [0.5] * 3
    assert fixed(make(ENERGY), [[-0.8]])(batch)[0].item() == pytest.approx(-0.8)
    values, _ = fixed(make(PROPERTIES["refractive_index"]), [[-1.0, 0.5]])(batch)
    assert values.tolist() == pytest.approx([1.0, 10**0.5], rel=1e-5)


def test_members_start_different(batch):
    model = make(members=3)
    one, two, three = (member(batch) for member in model.members)
    assert (one - two).abs().max() > 1e-3
    assert (two - three).abs().max() > 1e-3


# On disk


@pytest.fixture
def model():
    graph = GraphConfig(8, 6.0, 0.2)
    network = dataclasses.replace(OFFICIAL, graph=graph, dropout=0.1)
    model = make(GAP, network, members=2, mean=1.25, scale=0.5, elements=(11, 17), spread_floor=0.1, spread_factor=1.5)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if "running_" in name:
                buffer.copy_(torch.rand_like(buffer) + 0.3)
    return model


@pytest.fixture
def folder(model, tmp_path):
    save_property_model(model, tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, **changes):
    path = folder / CONFIG_FILE
    settings = json.loads(path.read_text()) | changes
    settings.pop("config_sha256", None)  # as models of older versions are
    path.write_text(json.dumps(settings))


def settings_of(folder):
    return json.loads((folder / CONFIG_FILE).read_text())["network"]


def test_models_come_back_bit_for_bit(model, tmp_path, batch):
    digest = save_property_model(model, tmp_path / "deep" / "model")
    back, found = load_property_model(tmp_path / "deep" / "model")
    assert back.config == model.config
    assert digest == found == sha256((tmp_path / "deep" / "model" / WEIGHTS_FILE).read_bytes())
    assert read_format(tmp_path / "deep" / "model") == PROPERTY_FORMAT
    assert not any(module.training for module in back.modules())
    state = model.state_dict()
    assert back.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in back.state_dict().items())
    for one, other in zip(back(batch), model(batch), strict=True):
        assert torch.equal(one, other)


def test_half_precision_rounds_parameters_and_nothing_else(model, tmp_path, batch):
    save_property_model(model, tmp_path, bits=16)
    back, _ = load_property_model(tmp_path)
    parameters = {name for name, _ in model.named_parameters()}
    rounded = 0
    for name, tensor in model.state_dict().items():
        found = back.state_dict()[name]
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor.half().float() if name in parameters else tensor), name
        rounded += not torch.equal(found, tensor)
    assert rounded > 0
    assert load_file(tmp_path / WEIGHTS_FILE)["model.members.0.dense.weight"].dtype == torch.float16
    assert back(batch)[0].tolist() == pytest.approx(model(batch)[0].tolist(), abs=5e-3)


def test_an_unknown_property_survives_with_its_limits(tmp_path):
    of = dataclasses.replace(unknown_property("sound"), unit="m/s")
    save_property_model(make(of), tmp_path)
    back, _ = load_property_model(tmp_path)
    assert back.config.property == of
    assert back.config.property.high == math.inf


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    assert save_property_model(model, tmp_path / "a") == save_property_model(model, tmp_path / "b")
    assert (tmp_path / "a" / CONFIG_FILE).read_bytes() == (tmp_path / "b" / CONFIG_FILE).read_bytes()


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{folder} is no model: it lacks {name}"):
        load_property_model(folder)


def test_damaged_weights_are_noticed(folder):
    path = folder / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=f"{path} is damaged"):
        load_property_model(folder)


@pytest.mark.parametrize("how", ["missing", "surplus", "shape"])
def test_weights_that_do_not_fit_are_named(folder, how):
    path = folder / WEIGHTS_FILE
    tensors = load_file(path)
    if how == "missing":
        del tensors["model.members.1.output.weight"]
    elif how == "surplus":
        tensors["model.members.2.output.weight"] = torch.zeros(1, 8)
    else:
        tensors["model.members.1.output.weight"] = torch.zeros(1, 9)
    save_file(tensors, path)
    rewrite(folder, weights_sha256=sha256(path.read_bytes()))
    with pytest.raises(InputError, match=f"{folder} does not fit this version"):
        load_property_model(folder)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        (None, "members", 3),
        (None, "members", "two"),
        (None, "members", 0),
        ("network", "width", 9),
        ("network", "layers", None),
        ("network", "convolution", "gated"),
        (None, "network", 3),
        (None, "property", None),
        ("network", "graph", []),
    ],
)
def test_sizes_that_do_not_fit_are_named(folder, part, key, value):
    settings = settings_of(folder)
    (settings if part is None else settings[part])[key] = value
    rewrite(folder, network=settings)
    with pytest.raises(InputError, match=f"{folder} does not fit this version"):
        load_property_model(folder)


@pytest.mark.parametrize("part", [None, "property", "network", "graph"])
@pytest.mark.parametrize("how", ["unknown", "missing"])
def test_wrong_names_are_named(folder, part, how):
    settings = settings_of(folder)
    place = {None: settings, "graph": settings["network"]["graph"]}.get(part) or settings[part]
    if how == "unknown":
        place["surplus"] = 1
    else:
        del place[next(iter(place))]
    rewrite(folder, network=settings)
    with pytest.raises(InputError, match=f"{folder} does not fit this version"):
        load_property_model(folder)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_a_configuration_that_is_no_json_is_named(folder, content):
    (folder / CONFIG_FILE).write_bytes(content)
    with pytest.raises(InputError, match=f"{folder} cannot be read"):
        load_property_model(folder)


@pytest.mark.parametrize("format_name", [None, "icsg3d-property-0", "icsg3d-generator-1"])
def test_another_format_is_named(folder, format_name):
    rewrite(folder, format=format_name)
    with pytest.raises(InputError, match=r"is not the configuration of an icsg3d property"):
        load_property_model(folder)


def test_generators_and_property_models_are_not_mixed_up(folder, tiny_config, tmp_path):
    save_network(GeneratorNetwork(tiny_config), tmp_path / "generator")
    with pytest.raises(InputError, match="is not the configuration of an icsg3d property"):
        load_property_model(tmp_path / "generator")
    with pytest.raises(InputError, match="is not the configuration of an icsg3d generator"):
        load_network(folder)


def test_property_defaults_have_no_limits():
    of = unknown_property("heat_capacity")
    assert of == Property("heat_capacity", "", "heat capacity", -math.inf, math.inf, "identity", None)
