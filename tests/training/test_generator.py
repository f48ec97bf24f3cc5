from __future__ import annotations

import csv
import dataclasses
import itertools

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, lattice_parameters
from icsg3d.errors import InputError
from icsg3d.models.decoding import Decoded
from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork
from icsg3d.models.unet import SegmentationUNetConfig
from icsg3d.models.vae import CrystalVAEConfig
from icsg3d.representation.voxels import VoxelConfig
from icsg3d.training import generator as training
from icsg3d.training.augment import Augmentation
from icsg3d.training.data import CrystalSet
from icsg3d.training.generator import GeneratorTraining, rebuilt_shares, train_generator
from icsg3d.training.options import TrainingOptions


def rock_salt(cation, anion, edge):
    frac = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
    return CrystalArrays(np.array([cation, anion]), frac, edge / 2 * (np.ones((3, 3)) - np.eye(3)))


def perovskite(large, small, anion, edge):
    frac = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    return CrystalArrays(np.array([large, small, anion, anion, anion]), frac, edge * np.eye(3))


def crystal_set(count=24):
    pairs = itertools.product((11, 19, 3), (9, 17))
    crystals = [rock_salt(c, a, 4.5 + 0.02 * (c + a)) for c, a in pairs]
    crystals += [perovskite(b, s, 8, 3.8 + 0.005 * b) for b, s in itertools.product((38, 56, 20), (22, 40))]
    crystals = (crystals * 2)[:count]
    return CrystalSet(crystals, [f"crystal-{i}" for i in range(len(crystals))], np.linspace(-3, 0, len(crystals)))


CRYSTALS = crystal_set()
CONFIG = GeneratorConfig(
    VoxelConfig(grid=8),
    CrystalVAEConfig(
        grid=8,
        channels=40,
        filters=(4, 6),
        depths=(1, 1),
        bottleneck=4,
        hidden=16,
        decoder_hidden=(16,),
        dense_blocks=1,
        latent=8,
    ),
    SegmentationUNetConfig(40, down=((4, 4),), bottom=(6, 6), up=((4, 4),)),
    elements=CRYSTALS.elements,
    energy_edges=tuple(np.linspace(-2.7, -0.3, 9).tolist()),
)
OPTIONS = TrainingOptions(unet_epochs=1, vae_epochs=1, joint_epochs=1, batch_size=8, learning_rate=5e-3)


def train(out, options=OPTIONS, **changes):
    settings = {"accelerator": "cpu", "devices": 1} | changes
    return train_generator(CONFIG, CRYSTALS, CRYSTALS.subset([0, 6, 7]), out, options, **settings)


def state_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def end_of(out):
    """State of the module after the last epoch of a training."""
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def differing(one, other):
    """Names of the tensors that are not the same to the last bit."""
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


# Options


def test_stages_follow_each_other():
    options = TrainingOptions(unet_epochs=2, vae_epochs=1, joint_epochs=3)
    assert [options.stage(epoch) for epoch in range(options.epochs)] == ["unet", "unet", "vae", *["joint"] * 3]
    assert TrainingOptions(unet_epochs=0, vae_epochs=0, joint_epochs=2).stage(0) == "joint"
    assert TrainingOptions(unet_epochs=0, vae_epochs=2, joint_epochs=0).stage(1) == "vae"


def test_the_rate_rises_stays_and_falls():
    options = TrainingOptions(warm_up=0.1, decay=0.4)
    assert options.rate(0.0) == 0
    assert options.rate(0.05) == pytest.approx(0.5)
    assert [options.rate(p) for p in (0.1, 0.3, 0.599)] == [1.0, 1.0, 1.0]
    assert options.rate(0.6) == pytest.approx(1.0)
    assert options.rate(0.7) == pytest.approx(0.5 + 0.5 * np.cos(np.pi / 4))
    assert options.rate(0.8) == pytest.approx(0.5)
    assert options.rate(1.0) == pytest.approx(0.0)
    assert options.rate(1.1) == pytest.approx(0.0)  # a step too many of a resumed training
    shares = [options.rate(p) for p in np.linspace(0.1, 1, 200)]
    assert all(a >= b for a, b in itertools.pairwise(shares))


def test_the_rate_without_warm_up_or_decay():
    assert TrainingOptions(warm_up=0.0, decay=0.0).rate(0.0) == 1
    assert TrainingOptions(warm_up=0.0, decay=0.0).rate(0.999) == 1


# What training does


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """A training of a few epochs of each stage, with the folder it wrote."""
    out = tmp_path_factory.mktemp("long")
    options = dataclasses.replace(OPTIONS, unet_epochs=5, vae_epochs=5, joint_epochs=10)
    return train(out, options), out, options


def log_of(out):
    """Rows of all logs of a training, one for each time that it went on."""
    rows = []
    for path in sorted(out.glob("log/**/metrics.csv")):
        with path.open() as file:
            rows += csv.DictReader(file)
    return rows


def means(rows, name):
    return [float(row[name]) for row in rows if row.get(name)]


def test_the_losses_fall(long_run):
    _, out, options = long_run
    rows = log_of(out)
    species = means(rows, "train/species")
    assert len(species) == options.unet_epochs + options.joint_epochs
    assert species[options.unet_epochs - 1] < 0.9 * species[0]
    assert species[-1] < species[options.unet_epochs]
    grid, lattice = means(rows, "train/grid"), means(rows, "train/lattice")
    assert len(grid) == len(lattice) == options.vae_epochs + options.joint_epochs
    assert grid[-1] < 0.9 * grid[0]
    assert lattice[-1] < 0.9 * lattice[0]
    assert len(means(rows, "train/perceptual")) == options.vae_epochs
    assert len(means(rows, "val/rebuilt")) == options.epochs


def test_checkpoints_are_written_and_hold_no_pickled_code(long_run):
    _, out, options = long_run
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    last = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == options.epochs - 1
    assert last["global_step"] == options.epochs * 3


def test_the_network_comes_back_ready_for_use(long_run):
    network, _, _ = long_run
    assert not any(module.training for module in network.modules())
    parameters = lattice_parameters(CRYSTALS.batch().lattice)
    assert torch.allclose(network.vae.lattice_mean, parameters.mean(0))
    assert torch.allclose(network.vae.lattice_scale, parameters.std(0).clamp(min=0.02))
    assert network.vae.lattice_scale.min() >= 0.02
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """A training of one epoch of each stage: the network, the folder, and its states at both ends of each epoch."""
    states = []
    out = tmp_path_factory.mktemp("short")
    with pytest.MonkeyPatch.context() as patch:
        start, step = GeneratorTraining.on_train_epoch_start, GeneratorTraining.on_train_batch_end

        def on_start(self):
            start(self)
            states.append([state_of(self.network)])

        def on_batch_end(self, outputs, batch, batch_idx):
            step(self, outputs, batch, batch_idx)
            states[-1][1:] = [state_of(self.network)]

        patch.setattr(GeneratorTraining, "on_train_epoch_start", on_start)
        patch.setattr(GeneratorTraining, "on_train_batch_end", on_batch_end)
        network = train(out)
    return network, out, states


@pytest.mark.parametrize(("epoch", "learning"), [(0, {"unet"}), (1, {"vae"}), (2, {"unet", "vae"})])
def test_only_the_networks_of_the_stage_move(short_run, epoch, learning):
    before, after = short_run[2][epoch]
    moved = differing(before, after)
    assert {name.split(".")[0] for name in moved} == learning
    statistics = {name.split(".")[0] for name in moved if "running_" in name}
    assert statistics == learning
    # All of what may learn does, but for what the stage does not use and what is set beforehand.
    unused = ("vae.lattice_", "unet.species_head", "unet.atom_head", "unet.up") if epoch == 1 else ("vae.lattice_",)
    still = {name for name in before if name.split(".")[0] in learning} - moved
    assert {name for name in still if not name.startswith(unused)} == set()


def test_validation_changes_nothing(short_run):
    states = short_run[2]
    for (_, after), (before, _) in itertools.pairwise(states):
        assert differing(after, before) == set()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(short_run, tmp_path):
    torch.manual_seed(12345)
    np.random.seed(1)  # noqa: NPY002 (a training must not depend on it)
    again = train(tmp_path / "again")
    assert differing(state_of(short_run[0]), state_of(again)) == set()
    assert differing(end_of(short_run[1]), end_of(tmp_path / "again")) == set()
    other = train(tmp_path / "other", dataclasses.replace(OPTIONS, seed=1))
    assert differing(state_of(short_run[0]), state_of(other))


# Interruption


def power_cut(step):
    """A training step that fails when so many steps have been taken."""
    whole = GeneratorTraining.training_step

    def interrupted(self, batch, batch_idx):
        if self.global_step == step:
            raise RuntimeError("power cut")
        return whole(self, batch, batch_idx)

    return interrupted


@pytest.mark.parametrize("step", [4, 7], ids=["in the second epoch", "in the third epoch"])
def test_a_resumed_training_ends_as_if_it_had_never_stopped(short_run, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        patch.setattr(GeneratorTraining, "training_step", power_cut(step))
        with pytest.raises(RuntimeError, match="power cut"):
            train(tmp_path)
    first = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert first["global_step"] == step // 3 * 3
    taken, whole = [], GeneratorTraining.training_step

    def watched(self, batch, batch_idx):
        taken.append(self.global_step)
        return whole(self, batch, batch_idx)

    torch.manual_seed(999)
    with monkeypatch.context() as patch:
        patch.setattr(GeneratorTraining, "training_step", watched)
        resumed = train(tmp_path, resume=True)
    assert taken == list(range(step // 3 * 3, 9))  # it did go on and not start anew
    assert differing(state_of(short_run[0]), state_of(resumed)) == set()
    ends = [torch.load(out / "checkpoints" / "last.ckpt", weights_only=True) for out in (short_run[1], tmp_path)]
    assert differing(ends[0]["state_dict"], ends[1]["state_dict"]) == set()
    assert ends[0]["global_step"] == ends[1]["global_step"] == 9
    one, other = (end["optimizer_states"][0]["state"] for end in ends)
    assert one.keys() == other.keys()
    for key in one:
        assert differing(one[key], other[key]) == set()


def test_resuming_without_a_checkpoint_starts_anew(short_run, tmp_path):
    resumed = train(tmp_path, resume=True)
    assert differing(state_of(short_run[0]), state_of(resumed)) == set()
    assert differing(end_of(short_run[1]), end_of(tmp_path)) == set()


def test_without_resume_a_training_starts_anew(short_run, tmp_path):
    train(tmp_path, dataclasses.replace(OPTIONS, seed=3))
    again = train(tmp_path)
    assert differing(state_of(short_run[0]), state_of(again)) == set()
    assert differing(end_of(short_run[1]), end_of(tmp_path)) == set()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_resuming_a_finished_training_gives_its_best_network(tmp_path, monkeypatch):
    scripted(monkeypatch, [0.1, 0.9, 0.5])
    first = train(tmp_path)
    scripted(monkeypatch, [])
    again = train(tmp_path, resume=True)
    assert differing(state_of(first), state_of(again)) == set()


def test_the_log_of_the_interrupted_run_is_kept(tmp_path, monkeypatch):
    scripted(monkeypatch, [0.1, 0.2])
    with monkeypatch.context() as patch:
        patch.setattr(GeneratorTraining, "training_step", power_cut(7))
        with pytest.raises(RuntimeError, match="power cut"):
            train(tmp_path)
    scripted(monkeypatch, [0.3])
    train(tmp_path, resume=True)
    assert means(log_of(tmp_path), "val/rebuilt") == pytest.approx([0.1, 0.2, 0.3])


def interrupted(out, monkeypatch, options=OPTIONS, step=4, **changes):
    """Begin a training, and let it fail in a step."""
    with monkeypatch.context() as patch:
        patch.setattr(GeneratorTraining, "training_step", power_cut(step))
        with pytest.raises(RuntimeError, match="power cut"):
            train(out, options, **changes)


def other_values(crystals):
    return dataclasses.replace(crystals, energies=crystals.energies + 0.1)


def other_places(crystals):
    moved = [dataclasses.replace(c, frac_coords=c.frac_coords + 0.01) for c in crystals.crystals]
    return dataclasses.replace(crystals, crystals=moved)


@pytest.mark.parametrize(
    "changes",
    [
        {"training": CRYSTALS.subset(range(23))},
        {"training": other_values(CRYSTALS)},
        {"training": other_places(CRYSTALS)},
        {"validation": CRYSTALS.subset([0, 6])},
        {"config": dataclasses.replace(CONFIG, condition="heat_all")},
        {"options": dataclasses.replace(OPTIONS, learning_rate=1e-3)},
        {"options": dataclasses.replace(OPTIONS, joint_epochs=2)},  # the learning rate would have fallen otherwise
        {"options": dataclasses.replace(OPTIONS, augmentation=Augmentation(substitute=0.1))},
        {"start": GeneratorNetwork(CONFIG)},
    ],
    ids=["fewer", "energies", "places", "validation", "condition", "rate", "epochs", "augmentation", "start"],
)
def test_a_training_is_not_resumed_with_other_data_or_options(short_run, changes):
    before = end_of(short_run[1])
    given = {"config": CONFIG, "training": CRYSTALS, "validation": CRYSTALS.subset([0, 6, 7]), "options": OPTIONS}
    with pytest.raises(InputError, match="was begun with other data or options; repeat the command as it was"):
        train_generator(**(given | changes), out=short_run[1], accelerator="cpu", devices=1, resume=True)
    assert differing(before, end_of(short_run[1])) == set()


def test_a_checkpoint_without_a_record_of_its_options_is_gone_on_with(short_run, tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch)
    (tmp_path / "training.sha256").unlink()
    resumed = train(tmp_path, resume=True)
    assert differing(state_of(short_run[0]), state_of(resumed)) == set()


def test_resuming_does_not_go_on_with_an_older_training(short_run, tmp_path, monkeypatch):
    train(tmp_path, dataclasses.replace(OPTIONS, seed=3))
    interrupted(tmp_path, monkeypatch, step=1)  # before there is a checkpoint of its own
    resumed = train(tmp_path, resume=True)
    assert differing(state_of(short_run[0]), state_of(resumed)) == set()


@pytest.mark.slow
def test_a_date_is_a_seed_as_good_as_any(tmp_path, monkeypatch):
    options = dataclasses.replace(OPTIONS, seed=20_260_115)
    whole = train(tmp_path / "whole", options)
    interrupted(tmp_path / "parts", monkeypatch, options)
    resumed = train(tmp_path / "parts", options, resume=True)
    assert differing(state_of(whole), state_of(resumed)) == set()


# Judging


def scripted(monkeypatch, shares, qualities=None):
    """Let the share of rebuilt crystals and its quality (the same, if not given) be the given ones, epoch by epoch."""
    values = zip(shares, qualities or shares, strict=True)

    def judged(results):
        share, quality = next(values)
        return dict.fromkeys(("count", "species", "rebuilt"), share) | {"quality": quality}

    monkeypatch.setattr(training, "_shares", judged)


def test_the_best_epoch_is_returned(short_run, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.1, 0.9, 0.5])
    best = train(tmp_path)
    states = short_run[2]
    assert differing(state_of(best), states[1][1]) == set()
    assert differing(state_of(best), states[2][1])


def test_the_most_exact_of_about_equally_good_epochs_is_returned(short_run, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.1, 0.980, 0.977], [0.09, 0.970, 0.973])
    best = train(tmp_path)
    assert differing(state_of(best), short_run[2][2][1]) == set()


def test_where_no_epoch_rebuilds_anything_the_last_is_returned(short_run, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.0, 0.0, 0.0])
    best = train(tmp_path)
    assert differing(state_of(best), short_run[2][2][1]) == set()


def test_the_best_of_an_interrupted_training_is_kept_when_it_is_resumed(short_run, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.1, 0.9])
    with monkeypatch.context() as patch:
        patch.setattr(GeneratorTraining, "training_step", power_cut(7))
        with pytest.raises(RuntimeError, match="power cut"):
            train(tmp_path)
    scripted(monkeypatch, [0.5])
    best = train(tmp_path, resume=True)
    assert differing(state_of(best), short_run[2][1][1]) == set()


def test_training_stops_early_when_nothing_gets_better(tmp_path, monkeypatch):
    scripted(monkeypatch, [0.5, 0.4, 0.5, 0.9, 0.9])
    train(tmp_path, dataclasses.replace(OPTIONS, joint_epochs=4, patience=2))
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 2


def test_shares_of_a_network_that_rebuilds_some(monkeypatch):
    crystals = crystal_set(8)  # six rock salts, two perovskites

    def stub(network, latent, condition):
        assert len(latent) == len(condition) == 8
        found = [Decoded(crystal) for crystal in crystals.crystals]
        found[0] = Decoded(None, "no atom was found")
        found[1] = Decoded(crystals.crystals[2])
        far = crystals.crystals[7]
        found[7] = Decoded(dataclasses.replace(far, lattice=1.2 * far.lattice))
        return found

    monkeypatch.setattr(training, "decode_crystals", stub)
    shares = rebuilt_shares(GeneratorNetwork(CONFIG).eval(), crystals)
    assert shares == {"count": 7 / 8, "species": 6 / 8, "rebuilt": 5 / 8, "quality": pytest.approx(5 / 8)}


def test_conditions_are_hidden_from_substituted_crystals_and_at_random(monkeypatch):
    seen = []
    module = GeneratorTraining(CONFIG, CRYSTALS, CRYSTALS, dataclasses.replace(OPTIONS, condition_dropout=0.25))

    def terms(crystals, condition, random):
        seen.append((crystals.numbers, condition))
        return {"grid": torch.zeros(())}

    monkeypatch.setattr(module, "_terms", terms)
    monkeypatch.setattr(module, "log_dict", lambda *args, **kwargs: None)
    monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
    steps = iter(range(1000))
    monkeypatch.setattr(GeneratorTraining, "global_step", property(lambda self: next(steps)))
    monkeypatch.setattr(GeneratorTraining, "global_rank", property(lambda self: 0))
    indices = torch.arange(24)
    bins = module.crystals("training")[1]
    assert bins.min() == 0
    assert bins.max() == 9
    for _ in range(30):
        module.training_step(indices, 0)
    hidden, substituted = [], 0
    for numbers, condition in seen:
        changed = (numbers != CRYSTALS.batch().numbers).any(1)
        assert (condition[changed] == -1).all()
        assert ((condition == -1) | (condition == bins)).all()
        substituted += changed.sum().item()
        hidden.append((condition == -1).double().mean().item())
    assert substituted > 200
    assert not torch.equal(seen[0][0], seen[1][0])  # every step has randomness of its own
    assert np.mean(hidden) == pytest.approx(1 - 0.5 * 0.75, abs=0.06)


def test_validation_crystals_are_never_learned_from(tmp_path):
    """Another validation set gives the same weights."""
    settings = {"accelerator": "cpu", "devices": 1}
    options = dataclasses.replace(OPTIONS, augmentation=Augmentation(substitute=0.0))
    networks = [
        train_generator(CONFIG, CRYSTALS, CRYSTALS.subset(keep), tmp_path / str(keep[0]), options, **settings)
        for keep in ([0, 1], [8, 9, 10])
    ]
    ends = [torch.load(tmp_path / n / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for n in ("0", "8")]
    assert differing(*ends) == set()
    assert len(networks) == 2


def test_other_seeds_change_other_crystals(monkeypatch):
    seen = []
    monkeypatch.setattr(GeneratorTraining, "global_rank", property(lambda self: 0))
    monkeypatch.setattr(GeneratorTraining, "log_dict", lambda *args, **kwargs: None)
    monkeypatch.setattr(GeneratorTraining, "log", lambda *args, **kwargs: None)

    def terms(self, crystals, condition, random):
        seen.append(crystals.numbers)
        return {"grid": torch.zeros(())}

    monkeypatch.setattr(GeneratorTraining, "_terms", terms)
    for seed in (0, 0, 1, 2**24, 2**40):
        module = GeneratorTraining(CONFIG, CRYSTALS, CRYSTALS, dataclasses.replace(OPTIONS, seed=seed))
        module.training_step(torch.arange(24), 0)
    assert torch.equal(seen[0], seen[1])
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(seen[1:], 2))


# Balance and first weights


def test_rare_sizes_are_shown_more_often():
    few = CRYSTALS.subset([0, *range(6, 12), *range(18, 24)])  # one rock salt and twelve perovskites
    options = dataclasses.replace(OPTIONS, balance=0.3)
    module = GeneratorTraining(CONFIG, few, few, options)
    batch, bins = module.crystals("training")
    sizes = batch.mask.sum(1).tolist()
    assert (sizes.count(2), sizes.count(5)) == (4, 12)  # 3.9 of 13 were asked for
    assert bins[sizes.index(2)] == bins[-1]
    assert len(module.crystals("validation")[0]) == 13  # crystals are judged once
    assert len(GeneratorTraining(CONFIG, few, few, OPTIONS).crystals("training")[0]) == 13


def test_variants_are_learned_beside_the_crystals_without_a_condition():
    few = CRYSTALS.subset(range(6))
    config = dataclasses.replace(CONFIG, max_length=10.0)
    module = GeneratorTraining(config, few, few, dataclasses.replace(OPTIONS, variants=0.5, balance=0.1))
    batch, bins = module.crystals("training")
    sizes = batch.mask.sum(1).tolist()
    assert len(batch) == 6 + 3
    assert sizes[:6] == [len(crystal) for crystal in few.crystals]
    assert all(6 <= size <= 24 for size in sizes[6:])
    assert (bins[6:] == -1).all()
    assert (bins[:6] >= 0).all()


def test_an_epoch_is_as_long_as_the_balanced_set(tmp_path):
    options = dataclasses.replace(OPTIONS, unet_epochs=0, vae_epochs=0, balance=0.5)
    few = CRYSTALS.subset([0, *range(6, 12), *range(18, 24)])
    settings = {"accelerator": "cpu", "devices": 1}
    train_generator(CONFIG, few, few.subset([0, 1]), tmp_path, options, **settings)
    steps = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert steps == (12 + 7) // 8


@pytest.fixture
def start():
    """A network that has other lattices in mind than the training crystals'."""
    torch.manual_seed(77)
    network = GeneratorNetwork(CONFIG)
    network.vae.lattice_mean.fill_(0.25)
    network.vae.lattice_scale.fill_(0.5)
    return network


def test_the_first_weights_are_those_of_the_start(start):
    module = GeneratorTraining(CONFIG, CRYSTALS, CRYSTALS, OPTIONS, start)
    assert differing(state_of(module.network), state_of(start)) == set()
    assert module.network is not start
    anew = GeneratorTraining(CONFIG, CRYSTALS, CRYSTALS, OPTIONS)
    assert {"vae.lattice_mean", "vae.lattice_scale"} <= differing(state_of(anew.network), state_of(start))


def test_a_start_of_other_elements_takes_those_of_the_training_crystals(start):
    config = dataclasses.replace(CONFIG, elements=(3, 8), energy_edges=(), condition="heat_all")
    module = GeneratorTraining(config, CRYSTALS, CRYSTALS, OPTIONS, start)
    assert module.network.config == config
    assert torch.nonzero(module.network.known_classes)[:, 0].tolist() == [0, 3, 8]
    assert (module.crystals("training")[1] == -1).all()
    assert differing(state_of(module.network), state_of(start)) == set()


def test_a_training_begins_at_its_start_and_leaves_it_alone(start, tmp_path, monkeypatch):
    before, seen = state_of(start), []
    begin = GeneratorTraining.on_train_epoch_start
    monkeypatch.setattr(
        GeneratorTraining, "on_train_epoch_start", lambda self: seen.append(state_of(self.network)) or begin(self)
    )
    options = dataclasses.replace(OPTIONS, unet_epochs=0, vae_epochs=0)
    tuned = train(tmp_path, options, start=start)
    assert differing(seen[0], before) == set()
    assert differing(state_of(start), before) == set()
    moved = differing(state_of(tuned), before)
    assert {name.split(".")[0] for name in moved} == {"unet", "vae"}
    assert not any(name.startswith(("vae.lattice_mean", "vae.lattice_scale")) for name in moved)


def test_a_start_of_another_size_is_refused(start):
    vae = dataclasses.replace(CONFIG.vae, hidden=24)
    with pytest.raises(RuntimeError, match="size mismatch"):
        GeneratorTraining(dataclasses.replace(CONFIG, vae=vae), CRYSTALS, CRYSTALS, OPTIONS, start)


def test_a_resumed_training_goes_on_from_its_checkpoint_and_not_from_the_start(start, tmp_path):
    options = dataclasses.replace(OPTIONS, unet_epochs=0, vae_epochs=0, joint_epochs=1)
    train(tmp_path, options, start=start)
    reached = end_of(tmp_path)
    again = train(tmp_path, options, start=start, resume=True)
    assert differing(end_of(tmp_path), reached) == set()
    assert differing(state_of(again), state_of(start))
