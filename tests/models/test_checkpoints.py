from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from icsg3d.errors import InputError
from icsg3d.models.checkpoints import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    config_from_dict,
    load_network,
    save_network,
    sha256,
    write_atomically,
)
from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork
from icsg3d.models.unet import SegmentationUNetConfig
from icsg3d.models.vae import CrystalVAEConfig
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
    """Change the configuration file."""
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


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
    save_network(network, tmp_path / "half", extra, half=True)
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

    def fail(self, data):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


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
