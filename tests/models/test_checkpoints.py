from __future__ import annotations

import dataclasses
import json
import os
import pickle
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from icsg3d.errors import InputError
from icsg3d.models.checkpoints import (
    CONFIG_FILE,
    HASH,
    WEIGHTS_FILE,
    build,
    config_digest,
    config_from_dict,
    load_network,
    save_network,
    sha256,
    write_atomically,
)
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork
from icsg3d.models.properties import PropertyModelConfig
from icsg3d.models.targets import Property
from icsg3d.models.unet import SegmentationUNetConfig
from icsg3d.models.vae import CrystalVAEConfig
from icsg3d.representation.graphs import GraphConfig
from icsg3d.representation.voxels import VoxelConfig

CONFIG = GeneratorConfig(
    VoxelConfig(grid=8, width=0.5),
    CrystalVAEConfig(
        grid=8, channels=40, filters=(3, 4), depths=(1, 2), bottleneck=4, hidden=8, decoder_hidden=(8,), latent=6
    ),
    SegmentationUNetConfig(40, down=((4, 4),), bottom=(6, 6), up=((4, 4),)),
    elements=(8, 22, 38),
    energy_edges=(-2.5, -1.0, 0.25),
    max_length=9.5,
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = GeneratorNetwork(CONFIG)
    network.train()
    with torch.no_grad():
        network.unet(torch.rand(2, 40, 8, 8, 8))  # moves the batch-norm statistics
    return network


@pytest.fixture
def model(network, tmp_path):
    folder = tmp_path / "model"
    save_network(network, folder)
    return folder


def rewrite(folder, **changes):
    """Change the configuration file, and its digest with it, so that what is tested lies behind the digest."""
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(config | {HASH: config_digest(config)}))


# Round trips


def test_networks_come_back_bit_for_bit(network, tmp_path):
    extra = {"density.means": torch.randn(3, 6)}
    digest = save_network(network, tmp_path / "deep" / "model", extra)
    back, tensors, found = load_network(tmp_path / "deep" / "model")
    assert back.config == CONFIG
    assert digest == found == sha256((tmp_path / "deep" / "model" / WEIGHTS_FILE).read_bytes())
    assert not back.training
    assert tensors.keys() == extra.keys()
    assert torch.equal(tensors["density.means"], extra["density.means"])
    state = network.state_dict()
    assert back.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in back.state_dict().items())
    grid = torch.rand(1, 40, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(back.unet(grid).species, network.eval().unet(grid).species)


def test_half_precision_halves_the_file_and_rounds_the_weights(network, tmp_path):
    extra = {"density.means": torch.tensor([1 / 3])}
    save_network(network, tmp_path / "full", extra)
    save_network(network, tmp_path / "half", extra, bits=16)
    sizes = [(tmp_path / name / WEIGHTS_FILE).stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.65 * sizes[0]
    back, tensors, _ = load_network(tmp_path / "half")
    parameters = {name for name, _ in network.named_parameters()}
    for name, tensor in network.state_dict().items():
        found = back.state_dict()[name]
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor.half().float() if name in parameters else tensor)
    assert tensors["density.means"].item() == torch.tensor(1 / 3).item()  # not rounded


def test_the_same_network_gives_the_same_bytes(network, tmp_path):
    digests = {save_network(network, tmp_path / name) for name in ("one", "other")}
    assert len(digests) == 1
    assert (tmp_path / "one" / CONFIG_FILE).read_bytes() == (tmp_path / "other" / CONFIG_FILE).read_bytes()


def test_presets_survive_json():
    for name in ("paper", "periodic"):
        config = dataclasses.replace(GeneratorConfig.preset(name), elements=(1, 2), energy_edges=(0.5,))
        assert config_from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_nothing_but_the_two_files_is_left(model):
    assert sorted(path.name for path in model.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(old, new):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# Damage


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(model, name):
    (model / name).unlink()
    with pytest.raises(InputError, match=f"{model} is no model: it lacks {name}; .*--model"):
        load_network(model)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load_network(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: b"", lambda data: data[:-1] + b"\x17"])
def test_damaged_weights_are_named(model, damage):
    path = model / WEIGHTS_FILE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"{path} is damaged"):
        load_network(model)


def test_weights_that_are_no_safetensors_are_named(model):
    data = b"certainly no safetensors file"
    (model / WEIGHTS_FILE).write_bytes(data)
    rewrite(model, weights_sha256=sha256(data))
    with pytest.raises(InputError, match=f"{model} does not fit"):
        load_network(model)


def test_pickles_are_never_read(model, tmp_path):
    marker = tmp_path / "executed"

    class Trap:
        def __reduce__(self):
            return Path.touch, (marker,)

    for data in (pickle.dumps(Trap()), _torch_pickle(Trap(), tmp_path / "trap.pt")):
        (model / WEIGHTS_FILE).write_bytes(data)
        rewrite(model, weights_sha256=sha256(data))
        with pytest.raises(InputError, match=str(model)):
            load_network(model)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Trap()))  # noqa: S301 (the trap does work)
    assert marker.exists()


def _torch_pickle(value, path):
    torch.save(value, path)
    return path.read_bytes()


def _without_a_tensor(tensors):
    del tensors["network.unet.atom_head.bias"]


def _with_another_tensor(tensors):
    tensors["network.surplus"] = torch.zeros(1)


def _of_another_shape(tensors):
    tensors["network.unet.atom_head.bias"] = torch.zeros(2)


@pytest.mark.parametrize("change", [_without_a_tensor, _with_another_tensor, _of_another_shape])
def test_weights_with_wrong_keys_are_named(model, change):
    path = model / WEIGHTS_FILE
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    rewrite(model, weights_sha256=sha256(path.read_bytes()))
    with pytest.raises(InputError, match=f"{model} does not fit this version"):
        load_network(model)


@pytest.mark.parametrize("changes", [{"format": "something-else"}, {"format": None}])
def test_another_format_is_named(model, changes):
    rewrite(model, **changes)
    with pytest.raises(InputError, match=f"{model / CONFIG_FILE} is not the configuration"):
        load_network(model)


@pytest.mark.parametrize("text", ["[1, 2]", "null", "3"])
def test_json_of_something_else_is_named(model, text):
    (model / CONFIG_FILE).write_text(text)
    with pytest.raises(InputError, match=f"{model / CONFIG_FILE} is not the configuration"):
        load_network(model)


@pytest.mark.parametrize("data", [b"{", b"", b"\xff\xfe\x00"])
def test_a_configuration_that_is_no_json_is_named(model, data):
    (model / CONFIG_FILE).write_bytes(data)
    with pytest.raises(InputError, match=f"{model} cannot be read"):
        load_network(model)


def _network_settings(folder):
    return json.loads((folder / CONFIG_FILE).read_text())["network"]


@pytest.mark.parametrize("part", [None, "voxels", "vae", "unet"])
@pytest.mark.parametrize("how", ["unknown", "missing"])
def test_sizes_with_wrong_names_are_named(model, part, how):
    settings = _network_settings(model)
    target = settings if part is None else settings[part]
    if how == "unknown":
        target["surplus"] = 1
    else:
        del target[next(iter(target))]
    rewrite(model, network=settings)
    with pytest.raises(InputError, match=f"{model} does not fit this version"):
        load_network(model)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vae", "grid", 7),
        ("vae", "latent", 7),
        ("vae", "hidden", "many"),
        ("voxels", "grid", 2),
        ("vae", "filters", 4),
        ("unet", "channels", None),
    ],
)
def test_sizes_that_make_no_network_are_named(model, part, key, value):
    settings = _network_settings(model)
    settings[part][key] = value
    rewrite(model, network=settings)
    with pytest.raises(InputError, match=f"{model} does not fit this version"):
        load_network(model)


@pytest.mark.parametrize("elements", [[8, 400], ["O"], [-200]])
def test_elements_that_are_none_are_named(model, elements):
    rewrite(model, network=_network_settings(model) | {"elements": elements})
    with pytest.raises(InputError, match=f"{model} does not fit this version"):
        load_network(model)


@pytest.mark.parametrize("settings", [None, [], "network", {"vae": 3}])
def test_settings_that_are_no_sizes_are_named(model, settings):
    rewrite(model, network=settings)
    with pytest.raises(InputError, match=f"{model} does not fit this version"):
        load_network(model)


# Configurations that were changed


def test_a_changed_configuration_is_noticed(model):
    path = model / CONFIG_FILE
    config = json.loads(path.read_text())
    config["network"]["guidance"] = 3.0  # a value like any other, which fits the schema
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match=f"{path} was changed or damaged: its SHA-256"):
        load_network(model)


def test_another_layout_of_the_same_configuration_is_none(model):
    path = model / CONFIG_FILE
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items())), indent=3))
    assert load_network(model)[0].config == CONFIG


def test_a_model_of_a_version_without_the_digest_is_read(model):
    path = model / CONFIG_FILE
    config = json.loads(path.read_text())
    del config[HASH]
    path.write_text(json.dumps(config))
    assert load_network(model)[0].config == CONFIG


@pytest.mark.parametrize(
    ("cls", "name", "value", "message"),
    [
        (CrystalGraphConfig, "convolution", "gatd", "'cgcnn', 'gated', got 'gatd'"),
        (CrystalGraphConfig, "layers", 10**20, "layers of CrystalGraphConfig lies from 1 to 64"),
        (CrystalGraphConfig, "layers", 4.0, "is a whole number, got 4.0"),
        (CrystalGraphConfig, "layers", True, "is a whole number, got True"),
        (CrystalGraphConfig, "dropout", float("nan"), "lies from 0 to 1, got nan"),
        (CrystalGraphConfig, "graph", {"cutoff": 8.0}, "is of the kind GraphConfig"),
        (GraphConfig, "cutoff", 1e20, "lies from 0.5 to 20"),
        (GraphConfig, "cutoff", "8", "is a number, got '8'"),
        (CrystalVAEConfig, "filters", (32, 10**9), "lies from 1 to 16384"),
        (CrystalVAEConfig, "filters", 32, "is a list"),
        (CrystalVAEConfig, "periodic", 1, "is of the kind bool"),
        (SegmentationUNetConfig, "bottom", (64, 64, 64), "has 2 entries"),
        (VoxelConfig, "width", -0.45, "lies from 0.01 to 5"),
        (Property, "transform", "log2", "is one of 'identity', 'log10', 'log1p'"),
        (Property, "floor", "low", "is a number"),
        (PropertyModelConfig, "members", 10**9, "lies from 1 to 64"),
    ],
)
def test_values_that_no_field_takes_are_named(cls, name, value, message):
    given = {
        Property: Property("p", "eV", "a property", -1, 1),
        CrystalVAEConfig: CONFIG.vae,
        SegmentationUNetConfig: CONFIG.unet,
        PropertyModelConfig: PropertyModelConfig(Property("p", "eV", "a property", -1, 1)),
    }.get(cls) or cls()
    fields = {field.name: getattr(given, field.name) for field in dataclasses.fields(cls)}
    assert build(cls, fields) == given
    with pytest.raises(ValueError) as caught:
        build(cls, fields | {name: value})
    assert message in str(caught.value)


@pytest.mark.parametrize("size", [16_384, 10**20])
def test_sizes_that_would_fill_the_memory_are_refused_at_once(model, size):
    settings = _network_settings(model)
    settings["vae"] |= {"hidden": size, "bottleneck": size}
    rewrite(model, network=settings)
    start = time.process_time()
    with pytest.raises(InputError, match=f"{model} does not fit this version"):
        load_network(model)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(model, value):
    path = model / WEIGHTS_FILE
    tensors = load_file(path)
    tensors["network.unet.atom_head.bias"][0] = value
    save_file(tensors, path)
    rewrite(model, weights_sha256=sha256(path.read_bytes()))
    with pytest.raises(InputError, match=r"network\.unet\.atom_head\.bias hold something that is not a finite number"):
        load_network(model)


def test_a_pipe_instead_of_a_file_is_named(model):
    (model / CONFIG_FILE).unlink()
    os.mkfifo(model / CONFIG_FILE)
    with pytest.raises(InputError, match=f"{model} cannot be read .*no regular file"):
        load_network(model)


@pytest.mark.parametrize("data", [b"[" * 100_000, b" " * 1_000_001], ids=["nested", "long"])
def test_configurations_without_an_end_are_named(model, data):
    (model / CONFIG_FILE).write_bytes(data)
    with pytest.raises(InputError, match=f"{model} cannot be read"):
        load_network(model)
