"""``icsg3d train generator``: where it starts from, what it is conditioned on, and how rare sizes are repeated."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core import Structure

from icsg3d.crystals.structures import from_arrays
from icsg3d.data import write_frame
from icsg3d.models.checkpoints import load_network, save_network
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork
from icsg3d.models.properties import PropertyModel, PropertyModelConfig, save_property_model
from icsg3d.models.targets import PROPERTIES
from icsg3d.pretrained import packing
from icsg3d.training import generator as training

COPIES = 9
FAST = ("--joint-epochs", 1, "--batch-size", 16, "--accelerator", "cpu")


@pytest.fixture
def run(command_line):
    """Run ``icsg3d train generator``; return exit code and what it said, in one line."""
    return lambda *arguments: command_line("train", "generator", *arguments)


@pytest.fixture
def packed(monkeypatch):
    """What was to be packed: network, training crystals and record, the network being written without a density."""
    kept = []

    def pack(network, crystals, folder, record, *arguments, **options):
        kept[:] = [network, crystals, record]
        save_network(network, folder, {})

    monkeypatch.setattr(packing, "pack_model", pack)
    return kept


@pytest.fixture(scope="module")
def data(tmp_path_factory, tiny_crystals):
    """Two files: crystals to learn from with two columns of energies, and some of them to judge by."""
    folder = tmp_path_factory.mktemp("data")
    count = len(tiny_crystals) * COPIES
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "material_id": [f"mp-{n}" for n in range(count)],
            "structure": [from_arrays(c).as_dict() for c in tiny_crystals.crystals for _ in range(COPIES)],
            "formation_energy_per_atom": random.uniform(-3, 0, count),
            "heat_all": [str(value) for value in random.uniform(5, 9, count)],
        }
    )
    write_frame(frame, folder / "data.json.gz")
    write_frame(frame.iloc[:: 4 * COPIES], folder / "judged.json.gz")
    return folder / "data.json.gz", ("--validation", folder / "judged.json.gz"), frame


@pytest.fixture(scope="module")
def start(tmp_path_factory, tiny_config):
    """Folder of an untrained generator of another set of elements, without a density."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("models") / "start"
    network = GeneratorNetwork(dataclasses.replace(tiny_config, elements=(1, 8, 22), energy_edges=()))
    network.vae.lattice_mean.fill_(0.25)
    save_network(network, folder, {})
    return folder


def parameters(network):
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def apart(one, other):
    """Largest difference of any weight of two networks."""
    one, other = parameters(one), parameters(other)
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


# Where it starts


@pytest.mark.slow
def test_a_generator_may_start_from_another(run, packed, data, start, tiny_crystals, tmp_path):
    source, judged, _ = data
    arguments = ("--data", source, *judged, "--from", start, "--out", tmp_path / "out", *FAST, "--learning-rate", 1e-7)
    code, said = run(*arguments)
    assert code == 0, said
    network, crystals, record = packed
    first = load_network(start)[0]
    assert apart(network, first) < 1e-6
    assert torch.equal(network.vae.lattice_mean, torch.full((6,), 0.25))
    assert network.config.elements == tiny_crystals.elements  # of the new crystals
    assert len(network.config.energy_edges) == 9
    assert (network.config.vae, network.config.unet) == (first.config.vae, first.config.unet)
    assert len(crystals) == 12 * COPIES
    # Networks that can already do something skip the stages that teach them their first steps.
    assert (record.options["unet_epochs"], record.options["vae_epochs"], record.options["joint_epochs"]) == (0, 0, 1)
    last = torch.load(tmp_path / "out" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 12 * COPIES // 16
    stored, _, _ = load_network(tmp_path / "out" / "model")
    assert stored.config == network.config


@pytest.mark.slow
def test_the_latent_space_may_be_widened(run, packed, data, start, tmp_path):
    source, judged, _ = data
    before = load_network(start)[0].config.vae
    given = ("--data", source, *judged, "--from", start, "--latent", before.latent + 3, *FAST, "--learning-rate", 1e-7)
    code, said = run(*given, "--out", tmp_path / "out")
    assert code == 0, said
    stored, _, _ = load_network(tmp_path / "out" / "model")
    assert stored.config.vae == dataclasses.replace(before, latent=before.latent + 3)
    old, new = (parameters(network)["vae.encoder.mean.weight"] for network in (load_network(start)[0], stored))
    assert float((new[: before.latent] - old).abs().max()) < 1e-3  # 16 bits


@pytest.mark.slow
def test_the_weights_move_at_a_usual_rate(run, packed, data, start, tmp_path):
    source, judged, _ = data
    arguments = ("--data", source, *judged, "--from", start, "--out", tmp_path / "out", *FAST, "--learning-rate", 1e-3)
    assert run(*arguments)[0] == 0
    torch.manual_seed(0)
    first = load_network(start)[0]
    assert 1e-4 < apart(packed[0], first) < 0.5 * apart(GeneratorNetwork(first.config), first)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), (2, 4, 60)),
        (("--from",), (0, 0, 60)),
        (("--from", "--vae-epochs", 3), (0, 3, 60)),
        (("--unet-epochs", 0, "--joint-epochs", 5), (0, 4, 5)),
    ],
)
def test_epochs_of_the_stages(run, packed, data, start, tmp_path, monkeypatch, given, expected):
    asked = []

    def train(config, crystals, held_out, out, options, **settings):
        asked.append((options, settings["start"]))
        return GeneratorNetwork(config)

    small = load_network(start)[0].config
    monkeypatch.setattr(GeneratorConfig, "preset", lambda name, *, grid=None: small)
    monkeypatch.setattr(training, "train_generator", train)
    monkeypatch.setattr(training, "rebuilt_shares", lambda network, crystals: {})
    given = itertools.chain(*([each, start] if each == "--from" else [each] for each in given))
    code, said = run("--data", data[0], *data[1], "--out", tmp_path / "out", *given)
    assert code == 0, said
    ((options, first),) = asked
    assert (options.unet_epochs, options.vae_epochs, options.joint_epochs) == expected
    assert (first is not None) == (expected[0] == 0 and expected[2] == 60)
    if first is not None:
        assert apart(first, load_network(start)[0]) == 0


@pytest.fixture(scope="module")
def property_model(tmp_path_factory):
    network = CrystalGraphConfig.preset("gated", layers=1, width=8, hidden=8)
    settings = PropertyModelConfig(PROPERTIES["band_gap"], network, 1, 2.0, 0.5, (8, 11), 0.1, 1.0)
    folder = tmp_path_factory.mktemp("models") / "band_gap"
    save_property_model(PropertyModel(settings), folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--from", "start", "--preset", "periodic"), "leave out preset and grid"),
        (("--from", "start", "--preset", "paper"), "leave out preset and grid"),
        (("--from", "start", "--grid", 8), "leave out preset and grid"),
        (("--from", "start", "--latent", 2), "cannot be made narrower, to 2"),
        (("--from", "start", "--latent", 99, "--joint-epochs", 0), "without epochs the latent space stays as it is"),
        (("--from", None, "--preset", "foo"), "unknown generator preset 'foo'; there are paper, periodic"),
        (("--from", None, "--grid", 10), "a grid of 10 points cannot be halved for 3 levels; take a multiple of 4"),
        (("--from", None, "--grid", 0), "at least 4 points along each axis, got 0"),
        (
            ("--from", None, "--preset", "paper", "--grid", 24),
            "a grid of 24 points cannot be halved for 4 levels; take a multiple of 16",
        ),
        (("--from", "start", "--seed", -1), "a seed is a whole number of 0 or more, up to 9007199254740991, got -1"),
        (("--from", None, "--unet-epochs", 0, "--vae-epochs", 0, "--joint-epochs", 0), "there is no epoch to train"),
        (("--from", "start", "--joint-epochs", 0), "learns no new elements, such as Li, F, Na"),
        (("--from", "nonesuch"), "there is no model 'nonesuch'"),
        (("--from", "band_gap"), "there is no model 'band_gap'"),  # the shipped one, which is no generator
        (("--from", "property model"), "is not the configuration of an icsg3d generator"),
        (("--from", "start", "--data", "none.json"), "there is no file none.json"),
        (("--from", "start", "--batch-size", 500), "crystals are fewer than one batch"),
        (("--from", "start", "--condition-column", "elsewhere"), "has no column 'elsewhere' to take as condition"),
    ],
)
def test_bad_input_ends_in_one_sentence(run, data, start, property_model, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    folders = {"start": start, "property model": property_model}
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    given = {"--data": data[0], "--out": "out"} | given | {"--from": folders.get(given["--from"], given["--from"])}
    code, said = run(*itertools.chain(*((name, value) for name, value in given.items() if value is not None)), *data[1])
    assert code == 2, said
    assert said.count("Error: ") == 1
    assert expected in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_training_is_resumed_with_its_own_data_and_options_alone(run, packed, data, start, tmp_path):
    source, judged, frame = data
    write_frame(frame.iloc[1:], tmp_path / "fewer.json.gz")
    given = (*judged, "--from", start, "--out", tmp_path / "out", *FAST)
    assert run("--data", source, *given, "--seed", 20260115)[0] == 0
    for changes in (("--data", source), ("--data", tmp_path / "fewer.json.gz", "--seed", 20260115)):
        code, said = run(*given, *changes, "--resume")
        assert code == 2
        assert "out was begun with other data or options; repeat the command as it was, or leave out --resume" in said
    code, said = run("--data", source, *given, "--seed", 20260115, "--resume")
    assert code == 0, said


# What can be learned


@pytest.mark.slow
def test_crystals_longer_than_the_model_takes_are_left_out(run, packed, data, start, tmp_path):
    frame = data[2].assign(material_id=[f"new-{n}" for n in range(len(data[2]))])
    salt = Structure.from_dict(frame["structure"][0])
    cells = [salt.scale_lattice(volume).as_dict() for volume in (500, 3900)]
    more = frame.iloc[:2].assign(material_id=["fits", "long"], structure=cells)
    frame = pd.concat([frame, more], ignore_index=True)
    write_frame(frame, tmp_path / "data.json.gz")
    write_frame(frame.iloc[[0, -1]], tmp_path / "judged.json.gz")
    given = ("--validation", tmp_path / "judged.json.gz", "--from", start, "--out", tmp_path / "out", *FAST)
    code, said = run("--data", tmp_path / "data.json.gz", *given)
    assert code == 0, said
    assert "109 crystals to learn from, 1 to judge by" in said
    assert said.count("left out long: the cell that the networks see is 17.7 angstrom long") == 2
    network, crystals, _ = packed
    assert crystals.ids[-1] == "fits"
    edges = [np.linalg.norm(crystal.lattice, axis=1).max() for crystal in crystals.crystals]
    assert max(edges) <= network.config.max_length == 10


# The condition


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "column"),
    [((), "formation_energy_per_atom"), (("--condition-column", "heat_all"), "heat_all")],
)
def test_the_condition_is_a_column_of_the_data(run, packed, data, start, tmp_path, arguments, column):
    source, judged, frame = data
    given = ("--data", source, *judged, "--from", start, "--out", tmp_path / "out", *FAST, *arguments)
    code, said = run(*given)
    assert code == 0, said
    network, crystals, _ = packed
    values = frame[column].astype(float)
    assert network.config.condition == column
    assert network.config.energy_edges == pytest.approx(np.quantile(values, np.arange(1, 10) / 10))
    assert crystals.energies == pytest.approx(values.to_numpy())
    settings = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert column in json.dumps(settings)


@pytest.mark.slow
def test_without_energies_there_is_no_condition(run, packed, data, start, tmp_path):
    _, judged, frame = data
    write_frame(frame[["material_id", "structure"]], tmp_path / "bare.json.gz")
    given = ("--data", tmp_path / "bare.json.gz", *judged, "--from", start, "--out", tmp_path / "out", *FAST)
    code, said = run(*given)
    assert code == 0, said
    network, crystals, _ = packed
    assert network.config.energy_edges == ()
    assert np.isnan(crystals.energies).all()


# Balance


@pytest.mark.slow
def test_rare_sizes_are_repeated_in_training_and_nowhere_else(run, packed, data, start, tiny_crystals, tmp_path):
    source, judged, _ = data
    sizes = [len(crystal) for crystal in tiny_crystals.crystals for _ in range(COPIES)]
    counts = {size: sizes.count(size) for size in sizes}
    assert counts == {2: 45, 5: 45, 4: 18}
    given = ("--data", source, *judged, "--from", start, "--out", tmp_path / "out", *FAST, "--balance", 0.4)
    code, said = run(*given)
    assert code == 0, said
    assert "108 crystals to learn from, 3 to judge by" in said
    _, crystals, record = packed
    assert len(crystals) == 108
    assert record.options["balance"] == 0.4
    last = torch.load(tmp_path / "out" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == (45 + 45 + 3 * 18) // 16  # 43.2 of each size


@pytest.mark.parametrize("value", [("--balance", 0.6), ("--balance", -0.1), ("--unet-epochs", -1)])
def test_options_out_of_range_are_refused(run, data, tmp_path, value):
    code, said = run("--data", data[0], "--out", tmp_path / "out", *value)
    assert code == 2
    assert value[0][2:].replace("-", "_") in said
    assert not (tmp_path / "out").exists()


# The density alone


@pytest.mark.slow
def test_without_epochs_the_density_alone_is_fitted_anew(run, data, tiny_model, tmp_path):
    source, judged, _ = data
    given = ("--from", tiny_model, "--data", source, *judged, "--joint-epochs", 0, "--density-steps", 30)
    code, said = run(*given, "--out", tmp_path / "out")
    assert code == 0, said
    first, old, _ = load_network(tiny_model)
    network, new, _ = load_network(tmp_path / "out" / "model")
    assert network.config == first.config
    assert apart(network, first) == 0
    assert any(name.startswith("density.flow") and not torch.equal(new[name], old[name]) for name in old)
    record = json.loads((tmp_path / "out" / "model" / "training.json").read_text())
    assert record["options"]["density"]["steps"] == 30
    assert record["options"]["joint_epochs"] == 0
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.slow
def test_guidance_and_temperature_are_those_asked_for_or_those_of_the_start(run, data, tiny_model, tmp_path):
    given = ("--data", data[0], *data[1], "--joint-epochs", 0, "--density-steps", 2)
    asked = ("--guidance", 4, "--temperature", 0.7)
    for number, (first, more, expected) in enumerate(
        ((tiny_model, (), (2.0, 1.0)), (tiny_model, asked, (4.0, 0.7)), (tmp_path / "1" / "model", (), (4.0, 0.7)))
    ):
        code, said = run(*given, "--from", first, *more, "--out", tmp_path / str(number))
        assert code == 0, said
        config = load_network(tmp_path / str(number) / "model")[0].config
        assert (config.guidance, config.temperature) == expected


@pytest.mark.slow
def test_without_epochs_the_condition_stays_what_it_is(run, data, tiny_model, tmp_path):
    given = ("--from", tiny_model, "--data", data[0], *data[1], "--joint-epochs", 0, "--out", tmp_path / "out")
    code, said = run(*given, "--condition-column", "heat_all")
    assert code == 2
    assert "the condition stays formation_energy_per_atom" in said
    assert not (tmp_path / "out").exists()
