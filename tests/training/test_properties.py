from __future__ import annotations

import csv
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from pymatgen.core import Structure

from icsg3d.crystals.elements import electronegativities
from icsg3d.crystals.structures import to_arrays
from icsg3d.models.crystal_graph import CrystalGraphConfig, CrystalGraphNet
from icsg3d.models.properties import PropertyModelConfig
from icsg3d.models.targets import PROPERTIES, unknown_property
from icsg3d.representation.graphs import GraphSet, crystal_graph
from icsg3d.training.data import PropertySet
from icsg3d.training.properties import (
    PropertyOptions,
    PropertyTraining,
    TrainingPhase,
    after_teachers,
    from_scratch,
    paper_transfer,
    pooled,
    train_network,
)

GATED = CrystalGraphConfig.preset("gated", layers=2, width=8, hidden=8)
OFFICIAL = CrystalGraphConfig.preset("cgcnn", layers=2, width=8, hidden=8)
# Lightning says so where a second phase begins with the modules as the first left them.

NORMS = ("message_norm", "node_norm", "edge_norm")


def rock_salt(cation, anion, edge):
    return Structure(edge / 2 * (np.ones((3, 3)) - np.eye(3)), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def perovskite(large, small, edge):
    frac = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(edge * np.eye(3), [large, small, "O", "O", "O"], frac)


CATIONS, ANIONS = ("Li", "Na", "K", "Mg", "Ca", "Sr"), ("F", "Cl", "Br", "O", "S")
SALTS = [
    rock_salt(c, a, 4.0 + 0.15 * i + 0.3 * j)
    for (i, c), (j, a) in itertools.product(enumerate(CATIONS), enumerate(ANIONS))
]
PEROVSKITES = [perovskite(b, s, 3.9 + 0.1 * i) for i, b in enumerate(("Ca", "Sr")) for s in ("Ti", "Zr", "Hf")]


def property_set(crystals, values, scales=None):
    graphs = GraphSet.from_graphs([crystal_graph(to_arrays(crystal)) for crystal in crystals])
    formulas = [crystal.composition.reduced_formula for crystal in crystals]
    scales = np.zeros(len(crystals), dtype=int) if scales is None else np.asarray(scales)
    return PropertySet(graphs, np.asarray(values, dtype=float), list(formulas), formulas, scales)


def ionicity(crystal):
    return float(np.ptp([electronegativities()[site.specie.Z] for site in crystal]))


def mean_electronegativity(crystal):
    return float(np.mean([electronegativities()[site.specie.Z] for site in crystal]))


TRAINING = property_set([*SALTS[:10], *PEROVSKITES], [-ionicity(c) for c in [*SALTS[:10], *PEROVSKITES]])
VALIDATION = property_set(SALTS[10:15], [-ionicity(c) for c in SALTS[10:15]])


def config(network=GATED, of=None, **changes):
    settings = {"mean": -2.3, "scale": 0.4} | changes
    return PropertyModelConfig(of or unknown_property("x"), network, **settings)


def options(*phases, **changes):
    return PropertyOptions(phases or (TrainingPhase("everything", 2, 1e-2),), **({"batch_size": 8} | changes))


def train(out, settings=None, network=GATED, training=TRAINING, **changes):
    return train_network(
        config(network), training, VALIDATION, out, settings or options(), accelerator="cpu", **changes
    )


def state_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def differing(one, other):
    """Names of the tensors that are not the same to the last bit."""
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def last(out, member, phase):
    return torch.load(out / f"member-{member}" / phase / "last.ckpt", weights_only=True)


# Phases and rates


def test_the_paper_transfers_in_two_phases():
    assert paper_transfer(3e-3) == (
        TrainingPhase("dense", 120, 3e-3, "dense"),
        TrainingPhase("all", 10, pytest.approx(3e-5), "not_norms"),
    )
    assert from_scratch(7, 1e-3) == (TrainingPhase("everything", 7, 1e-3, "everything"),)


def test_the_rate_rises_and_falls():
    phase = TrainingPhase("x", 1, 1.0, warm_up=0.2)
    assert phase.rate(0.0) == 0
    assert phase.rate(0.05) == pytest.approx(0.25)
    assert phase.rate(0.2) == pytest.approx(1.0)
    assert phase.rate(0.4) == pytest.approx(0.5 + 0.5 * np.cos(np.pi / 4))
    assert phase.rate(0.6) == pytest.approx(0.5)
    assert phase.rate(1.0) == pytest.approx(0.0, abs=1e-12)
    assert dataclasses.replace(phase, warm_up=0.0).rate(0.0) == 1.0


def test_the_optimizer_follows_the_rate(tmp_path, monkeypatch):
    rates, step = [], PropertyTraining.training_step

    def watched(self, batch, batch_idx):
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PropertyTraining, "training_step", watched)
    train(tmp_path, options(TrainingPhase("everything", 20, 4e-3)))
    assert len(rates) == 40  # 16 crystals, batches of 8
    top = int(np.argmax(rates))
    assert 0 < top < 8
    assert rates[top] == pytest.approx(4e-3, rel=0.02)
    assert 0 < rates[0] < 1.1e-3
    assert all(a < b for a, b in itertools.pairwise(rates[: top + 1]))
    assert all(a > b for a, b in itertools.pairwise(rates[top:]))
    assert 0 <= rates[-1] < 2e-5


# What learns


@pytest.fixture(scope="module", params=[OFFICIAL, GATED], ids=["cgcnn", "gated"])
def start(request):
    """A network whose norms have seen other crystals."""
    torch.manual_seed(77)
    network = CrystalGraphNet(request.param)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if any(norm in name for norm in NORMS) and tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand_like(tensor))
    return network


def begun(start, seed=0, member=0):
    """State with which a training from a network begins: its graph layers, new dense ones."""
    torch.manual_seed(1000 * seed + member)
    state = state_of(CrystalGraphNet(start.config))
    new = {name for name in state if name.startswith(("dense.", "output."))}
    return {name: tensor if name in new else start.state_dict()[name].clone() for name, tensor in state.items()}


HEAD = {"dense.weight", "dense.bias", "output.weight", "output.bias"}


def after(start, out, *phases, **changes):
    return state_of(train(out, options(*phases), start.config, start=start, **changes))


def test_only_dense_layers_learn_in_dense(start, tmp_path):
    before = begun(start)
    assert {"dense.weight", "output.weight"} <= differing(before, start.state_dict())  # they start anew
    moved = differing(before, after(start, tmp_path, TrainingPhase("dense", 2, 1e-2, "dense")))
    assert moved == HEAD


def norm_tensors(state):
    return {name for name in state if any(norm in name for norm in NORMS)}


def test_all_but_norms_learn_in_not_norms(start, tmp_path):
    before = begun(start)
    moved = differing(before, after(start, tmp_path, TrainingPhase("all", 2, 1e-2, "not_norms")))
    still = norm_tensors(before)
    assert len(still) >= 6
    assert moved == set(before) - still - {"features"}


def test_everything_learns_in_everything(start, tmp_path):
    before = begun(start)
    moved = differing(before, after(start, tmp_path, TrainingPhase("everything", 2, 1e-2)))
    assert moved == set(before) - {"features"}


def test_the_phases_of_a_transfer_follow_each_other(start, tmp_path):
    phases = [dataclasses.replace(phase, epochs=2) for phase in paper_transfer(1e-2)]
    final = after(start, tmp_path, *phases)
    assert differing(begun(start), final) == set(final) - norm_tensors(final) - {"features"}
    middle = last(tmp_path, 0, "0-dense")["state_dict"]
    end = last(tmp_path, 0, "1-all")["state_dict"]
    assert differing(begun(start), {n.removeprefix("network."): t for n, t in middle.items() if "network" in n}) == HEAD
    assert torch.equal(end["network.output.weight"], final["output.weight"])
    step = (end["network.output.weight"] - middle["network.output.weight"]).abs().max()
    assert 0 < step < 4 * 1e-4 * 1.01  # four steps at a hundredth of the rate


def test_the_start_is_not_touched(start, tmp_path):
    before = state_of(start)
    after(start, tmp_path, TrainingPhase("everything", 1, 1e-2))
    assert differing(before, state_of(start)) == set()


def test_the_network_comes_back_ready_for_use(tmp_path):
    network = train(tmp_path)
    assert not any(module.training for module in network.modules())
    assert network.output.weight.device.type == "cpu"


# The loss


def module(network, phase, training=TRAINING, references=None, **changes):
    references = torch.nn.Parameter(torch.zeros(2, 95) if references is None else references)
    made = PropertyTraining(
        network,
        references,
        config(network.config),
        {"training": training, "validation": VALIDATION},
        phase,
        options(phase, **changes),
        seed=0,
    )
    made.log = lambda *args, **kwargs: None
    return made


def test_pooling_once_gives_the_loss_of_the_whole_network(start):
    made = module(start, TrainingPhase("dense", 1, 1e-2, "dense"))
    start.train()
    made.on_train_epoch_start()
    batch = torch.tensor([15, 0, 3, 11])
    found = made.training_step(batch, 0).item()
    start.eval()
    with torch.no_grad():
        predicted = start(TRAINING.graphs.batch(batch.numpy()))
    expected = np.abs(predicted.numpy() - (TRAINING.values[batch.numpy()] + 2.3) / 0.4).mean()
    assert found == pytest.approx(expected, rel=1e-5)
    start.train()
    with torch.no_grad():
        other = start(TRAINING.graphs.batch(batch.numpy()))
    if start.config.convolution == "cgcnn":  # statistics of the batch would give something else
        assert np.abs(other.numpy() - predicted.numpy()).max() > 1e-3
    start.eval()


def test_crystals_are_pooled_once_and_without_change(start, monkeypatch):
    made = module(start, TrainingPhase("dense", 1, 1e-2, "dense"))
    before = state_of(start)
    calls, embed = [], CrystalGraphNet.embed
    monkeypatch.setattr(CrystalGraphNet, "embed", lambda self, batch: calls.append(len(batch)) or embed(self, batch))
    for batch in ([0, 1], [2, 3], [0, 5]):
        made.training_step(torch.tensor(batch), 0)
    assert calls == [len(TRAINING)]
    assert differing(before, state_of(start)) == set()


@pytest.mark.parametrize("training", [True, False])
def test_pooling_leaves_the_mode_as_it_was(start, training):
    start.train(training)
    rows = pooled(start, TRAINING.graphs)
    assert rows.shape == (16, 8)
    assert start.training is training
    start.eval()


def test_validation_is_judged_in_the_unit(tmp_path):
    of = PROPERTIES["bulk_modulus"]
    values = np.array([20.0, 50.0, 90.0, 30.0, 70.0])
    judged = dataclasses.replace(VALIDATION, values=values)
    learned = dataclasses.replace(TRAINING, values=np.linspace(10, 300, len(TRAINING)))
    settings = config(of=of, mean=1.7, scale=0.3)
    network = train_network(settings, learned, judged, tmp_path, options(), accelerator="cpu")
    with (tmp_path / "member-0" / "0-everything" / "log" / "version_0" / "metrics.csv").open() as file:
        logged = [float(row["val/mae"]) for row in csv.DictReader(file) if row["val/mae"]]
    with torch.no_grad():
        predicted = 10 ** (0.3 * network(judged.graphs.batch(np.arange(5))).double().numpy() + 1.7)
    assert len(logged) == 2
    assert logged[-1] == pytest.approx(np.abs(predicted - values).mean(), rel=1e-4)


def test_a_network_learns_its_crystals(tmp_path):
    network = train(tmp_path, options(TrainingPhase("everything", 60, 1e-2)))
    with torch.no_grad():
        predicted = network(TRAINING.graphs.batch(np.arange(len(TRAINING)))).numpy() * 0.4 - 2.3
    guess = np.abs(TRAINING.values - np.median(TRAINING.values)).mean()
    assert np.abs(predicted - TRAINING.values).mean() < 0.5 * guess


# Chance, and interruption


PHASES = (TrainingPhase("dense", 2, 1e-2, "dense"), TrainingPhase("all", 2, 1e-3, "not_norms"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of two phases, two epochs each of two steps, and its folder."""
    out = tmp_path_factory.mktemp("whole")
    return state_of(train(out, options(*PHASES), OFFICIAL)), out


def test_the_same_seed_gives_the_same_weights_and_others_do_not(whole, tmp_path):
    torch.manual_seed(4321)
    np.random.seed(5)  # noqa: NPY002 (a training must not depend on it)
    again = train(tmp_path / "again", options(*PHASES), OFFICIAL)
    assert differing(whole[0], state_of(again)) == set()
    for name, changes in (("seed", {"seed": 1}), ("member", {})):
        other = train(tmp_path / name, options(*PHASES, **changes), OFFICIAL, member=int(name == "member"))
        assert {"dense.weight", "embedding.weight"} <= differing(whole[0], state_of(other))


def test_the_order_of_the_crystals_depends_on_seed_and_epoch(tmp_path, monkeypatch):
    orders, step = [], PropertyTraining.training_step

    def watched(self, batch, batch_idx):
        orders.append(batch.tolist())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PropertyTraining, "training_step", watched)
    train(tmp_path / "a")
    train(tmp_path / "b", options(seed=1))
    first, second, other, _ = (a + b for a, b in zip(orders[::2], orders[1::2], strict=True))
    assert sorted(first) == sorted(second) == sorted(other) == list(range(16))
    assert first != second
    assert first != other


def power_cut(count):
    """A training step that fails when so many steps have been taken, in all phases together."""
    taken, whole_step = itertools.count(), PropertyTraining.training_step

    def interrupted(self, batch, batch_idx):
        if next(taken) == count:
            raise RuntimeError("power cut")
        return whole_step(self, batch, batch_idx)

    return interrupted


@pytest.mark.parametrize(
    ("count", "again"), [(1, 8), (3, 6), (5, 4), (7, 2)], ids=["first epoch", "second", "second phase", "last epoch"]
)
def test_a_resumed_training_ends_as_if_it_had_never_stopped(whole, tmp_path, monkeypatch, count, again):
    with monkeypatch.context() as patch:
        patch.setattr(PropertyTraining, "training_step", power_cut(count))
        with pytest.raises(RuntimeError, match="power cut"):
            train(tmp_path, options(*PHASES), OFFICIAL)
    torch.manual_seed(999)
    steps, step = [], PropertyTraining.training_step

    def watched(self, batch, batch_idx):
        steps.append(batch_idx)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PropertyTraining, "training_step", watched)
    resumed = train(tmp_path, options(*PHASES), OFFICIAL, resume=True)
    assert len(steps) == again  # whole epochs are not repeated
    assert differing(whole[0], state_of(resumed)) == set()
    for phase in ("0-dense", "1-all"):
        one, other = last(whole[1], 0, phase), last(tmp_path, 0, phase)
        assert differing(one["state_dict"], other["state_dict"]) == set()
        assert one["global_step"] == other["global_step"] == 4


def test_without_resume_a_training_starts_anew(whole, tmp_path):
    train(tmp_path, options(*PHASES, seed=3), OFFICIAL)
    assert differing(whole[0], state_of(train(tmp_path, options(*PHASES), OFFICIAL))) == set()


def test_resuming_a_finished_training_gives_its_network(whole):
    assert differing(whole[0], state_of(train(whole[1], options(*PHASES), OFFICIAL, resume=True))) == set()


def test_files_stay_in_their_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []
    train(tmp_path / "out", report=lambda: calls.append(1))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["member-0"]
    assert len(calls) == 2


# Other scales


def shifts(training, constants):
    """Mean over each crystal's atoms of a constant per element."""
    atoms = np.split(training.graphs.numbers, np.cumsum(training.graphs.atoms)[:-1])
    return np.array([np.mean([constants[number] for number in numbers]) for numbers in atoms])


def test_references_shift_the_crystals_of_their_scale_alone():
    rows = [0, 12, 5, 13]  # of two and of five atoms: some are padded
    training = dataclasses.replace(TRAINING.subset(np.array(rows)), scales=np.array([0, 1, 1, 0]))
    torch.manual_seed(0)
    references = torch.randn(2, 95)
    references[:, 0] = 1000.0  # of no element
    network = CrystalGraphNet(GATED).eval()
    made = module(network, TrainingPhase("everything", 1, 1e-2), training, references, reference_penalty=0.0)
    graphs = training.graphs.batch(np.arange(4))
    found = made._shift(torch.arange(4)).detach().numpy()
    expected = shifts(training, references[1].numpy()) * np.array([0, 1, 1, 0])
    assert found == pytest.approx(expected, rel=1e-5)
    assert np.abs(expected[1:3]).min() > 0.01
    with torch.no_grad():
        predicted = network(graphs).numpy()
    for row in range(4):
        loss = made.training_step(torch.tensor([row]), 0).item()
        target = (training.values[row] + 2.3) / 0.4
        assert loss == pytest.approx(abs(predicted[row] + expected[row] - target), rel=1e-4, abs=1e-5)


def test_references_of_the_own_scale_never_learn_from_crystals():
    training = dataclasses.replace(TRAINING, scales=np.arange(16) % 2)
    made = module(CrystalGraphNet(GATED), TrainingPhase("everything", 1, 1e-2), training, torch.ones(2, 95))
    made.training_step(torch.arange(16), 0).backward()
    penalty = 2 * made.options.reference_penalty
    assert torch.allclose(made.references.grad[0], torch.full((95,), penalty))
    known = sorted({int(z) for row in np.flatnonzero(training.scales) for z in training.subset([row]).elements})
    others = [z for z in range(95) if z not in known]
    assert torch.allclose(made.references.grad[1, others], torch.tensor(penalty))
    assert (made.references.grad[1, known] - penalty).abs().min() > 1e-4


@pytest.mark.slow
def test_constants_of_another_scale_are_learned(tmp_path):
    """A third of the crystals are known on the other scale alone; their values on the own one are asked for."""
    constants = np.zeros(95)
    for element, constant in zip(
        (3, 11, 19, 12, 20, 38, 9, 17, 35, 8, 16), itertools.cycle((1.0, 0.5, 1.5)), strict=False
    ):
        constants[element] = constant
    held = SALTS[::3]
    crystals = [crystal for crystal in SALTS if crystal not in held] + SALTS
    scales = (np.arange(len(crystals)) >= len(SALTS) - len(held)).astype(int)
    training = property_set(crystals, [mean_electronegativity(crystal) for crystal in crystals], scales)
    training.values[:] += scales * shifts(training, constants)
    judged = property_set(held, [mean_electronegativity(crystal) for crystal in held])
    settings = config(dataclasses.replace(GATED, layers=1), mean=2.2, scale=1.0)
    errors = {}
    for name, learned in (("scales", training), ("mixed", dataclasses.replace(training, scales=0 * scales))):
        how = options(TrainingPhase("everything", 30, 3e-2), batch_size=10, weight_decay=0.0)
        network = train_network(settings, learned, judged, tmp_path / name, how, accelerator="cpu")
        with torch.no_grad():
            predicted = network(judged.graphs.batch(np.arange(len(judged)))).numpy() + 2.2
        errors[name] = np.abs(predicted - judged.values).mean()
    assert errors["scales"] < 0.3
    assert errors["mixed"] > 0.6
    references = last(tmp_path / "scales", 0, "0-everything")["state_dict"]["references"]
    assert torch.equal(references[0], torch.zeros(95))
    error = shifts(training, references[1].numpy()) - shifts(training, constants)
    assert np.abs(error).mean() < 0.3 < 0.7 * shifts(training, constants).min()
    assert last(tmp_path / "mixed", 0, "0-everything")["state_dict"]["references"].shape == (1, 95)


def test_references_count_in_the_dense_phase_too():
    training = dataclasses.replace(TRAINING, scales=np.arange(16) % 2)
    references = torch.zeros(2, 95)
    references[1] = 5.0
    network = CrystalGraphNet(GATED).eval()
    losses = [
        module(network, TrainingPhase("x", 1, 1e-2, learns), training, references)
        .training_step(torch.arange(16), 0)
        .item()
        for learns in ("everything", "dense")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_resumed_training_with_dropout_ends_as_if_it_had_never_stopped(tmp_path, monkeypatch):
    network = dataclasses.replace(GATED, dropout=0.5)
    expected = train(tmp_path / "whole", network=network)
    with monkeypatch.context() as patch:
        patch.setattr(PropertyTraining, "training_step", power_cut(3))
        with pytest.raises(RuntimeError, match="power cut"):
            train(tmp_path / "parts", network=network)
    resumed = train(tmp_path / "parts", network=network, resume=True)
    assert differing(state_of(expected), state_of(resumed)) == set()


DATE = 20_260_115


def test_a_date_is_a_seed_as_good_as_any(tmp_path, monkeypatch):
    network = dataclasses.replace(GATED, dropout=0.5)
    first = train(tmp_path / "first", options(seed=DATE), network, member=3)
    with monkeypatch.context() as patch:
        patch.setattr(PropertyTraining, "training_step", power_cut(3))
        with pytest.raises(RuntimeError, match="power cut"):
            train(tmp_path / "parts", options(seed=DATE), network, member=3)
    resumed = train(tmp_path / "parts", options(seed=DATE), network, member=3, resume=True)
    assert differing(state_of(first), state_of(resumed)) == set()


def test_other_seeds_hide_other_features():
    """Were it not so, all members of an ensemble would."""
    network = CrystalGraphNet(dataclasses.replace(GATED, dropout=0.5))
    losses = []
    for seed in (0, 1, 1000, 1000 * DATE):
        made = module(network, TrainingPhase("everything", 1, 1e-2))
        made.seed = seed
        losses.append(made.training_step(torch.arange(16), 0).item())
    assert len(set(losses)) == 4


def test_resuming_does_not_go_on_with_an_older_training(whole, tmp_path, monkeypatch):
    train(tmp_path, options(*PHASES, seed=3), OFFICIAL)
    with monkeypatch.context() as patch:
        patch.setattr(PropertyTraining, "training_step", power_cut(3))
        with pytest.raises(RuntimeError, match="power cut"):
            train(tmp_path, options(*PHASES), OFFICIAL)
    resumed = train(tmp_path, options(*PHASES), OFFICIAL, resume=True)
    assert differing(whole[0], state_of(resumed)) == set()


def test_statistics_learn_again_in_a_later_phase(tmp_path):
    phases = (TrainingPhase("dense", 2, 1e-2, "dense"), TrainingPhase("everything", 1, 1e-2))
    torch.manual_seed(0)
    start = CrystalGraphNet(OFFICIAL)
    moved = differing(state_of(start), after(start, tmp_path, *phases))
    assert {name for name in moved if "running_mean" in name}


def test_crystals_of_teachers_take_no_part_in_the_last_phase():
    training = dataclasses.replace(TRAINING, scales=np.arange(16) % 4)
    (phase,) = after_teachers((2, 3), 1e-2, epochs=5)
    assert (phase.epochs, phase.learning_rate, phase.left_out) == (5, pytest.approx(1.5e-3), (2, 3))
    made = module(CrystalGraphNet(GATED), phase, training, torch.zeros(4, 95))
    assert set(made.sets["training"].scales) == {0, 1}
    expected = [value for value, scale in zip(training.values, training.scales, strict=True) if scale < 2]
    assert made.sets["training"].values.tolist() == expected
    assert len(made.targets["training"]) == len(expected) == len(made._shares)
    assert after_teachers((), 1e-2) == ()
