"""Trainings of the latent-grid networks: exact resume, batches of one shape, weights, and learning at all."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.crystals.comparison import site_distances
from icsg3d.errors import InputError
from icsg3d.models.grid_flow import GridFlow, GridFlowConfig
from icsg3d.models.grid_generator import GridGeneratorConfig
from icsg3d.models.grid_losses import GridLossConfig
from icsg3d.models.grid_vae import GridVAE, GridVAEConfig
from icsg3d.training.augment import Augmentation
from icsg3d.training.grid_data import GridSet, balanced_weights, epoch_batches
from icsg3d.training.grid_flow import (
    GridFlowOptions,
    averaged,
    encode_set,
    held_out_loss,
    set_scale,
    train_grid_flow,
)
from icsg3d.training.grid_vae import GridTrainingOptions, judge, train_grid_vae
from icsg3d.training.long_runs import LearningCurve, LongRun, State, load_state, save_state
from icsg3d.training.materials import MaterialsData, continued, fit_autoencoder, untrained
from icsg3d.training.optimizers import (
    SinglePrecisionMuon,
    load_state_tensors,
    matrix_optimizers,
    orthogonalised,
    state_tensors,
)

TINY = GridVAEConfig(
    latent=4, species=8, embedding=8, encoder=(8, 8, 8), decoder=(8, 8, 8), encoder_blocks=(0, 1, 1),
    decoder_blocks=(0, 1, 1),
)  # fmt: skip
OPTIONS = GridTrainingOptions(steps=6, warm=2, budget=3000, epoch=10, half=False)


def crystals(count=10):
    random = np.random.default_rng(0)
    made = []
    for _ in range(count):
        size = int(random.integers(1, 5))
        lattice = np.diag(np.sort(random.uniform(2.5, 6.5, 3)))
        made.append(CrystalArrays(random.integers(1, 95, size), random.random((size, 3)), lattice))
    return made


def trained(folder, stops):
    """Train in pieces, each from what the last one left in a folder; return weights and learning curve."""
    data = GridSet.make(crystals(), TINY.fields)
    for stop in stops:
        torch.manual_seed(0)
        network = GridVAE(TINY)
        optimizers = matrix_optimizers(network, OPTIONS.learning_rate, OPTIONS.weight_decay)
        state = load_state(folder)
        start = 0
        if state:
            start = state.step
            load_state_tensors({"vae": network}, optimizers, state.tensors)
        curve = LearningCurve(folder, start)

        def report(step, figures, stop=stop, curve=curve, network=network, optimizers=optimizers):
            curve.add(step, {"loss": figures["loss"]})
            if step == stop:
                save_state(folder, State(step, state_tensors({"vae": network}, optimizers)))
                raise StopIteration

        with pytest.raises(StopIteration):
            train_grid_vae(network, data, OPTIONS, optimizers, start=start, report=report)
    return network.state_dict(), curve.path.read_text()


def test_a_training_that_was_broken_off_goes_on_as_if_it_had_not_been(tmp_path):
    whole, curve = trained(tmp_path / "whole", [6])
    pieces, again = trained(tmp_path / "pieces", [2, 5, 6])
    for name, weights in whole.items():
        assert torch.equal(pieces[name], weights), name
    assert curve == again
    assert curve.splitlines()[0] == "step,loss"
    assert len(curve.splitlines()) == 7


@pytest.mark.slow
def test_a_training_on_several_threads_gives_the_same_weights_each_time(tmp_path):
    cells = [dataclasses.replace(each, lattice=np.diag([5.5, 5.6, 5.7])) for each in crystals(60)]
    set_of_crystals = GridSet.make(cells, TINY.fields)
    energies = np.linspace(-2, 0, 60)
    data = MaterialsData(set_of_crystals, set_of_crystals.rows(np.arange(4)), energies, energies[:4])
    options = dataclasses.replace(OPTIONS, steps=2, budget=100_000, epoch=60)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = []
        for number in range(4):
            networks = untrained(GridGeneratorConfig(vae=TINY, flow=GridFlowConfig(latent=4, width=16, layers=1)), data)
            fit_autoencoder(networks, data, options, tmp_path / str(number), lambda _step, _row: None)
            found.append(torch.cat([each.flatten() for each in networks.vae.parameters()]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(each, found[0]) for each in found)


def test_a_settled_encoder_encodes_as_before_and_the_decoder_learns():
    data = GridSet.make(crystals(), TINY.fields)
    torch.manual_seed(0)
    network = GridVAE(TINY)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    latents = encode_set(network, data, np.full(10, -1), half=False)
    options = dataclasses.replace(OPTIONS, encoder=False)
    optimizers = matrix_optimizers(network, options.learning_rate, options.weight_decay)
    train_grid_vae(network, data, options, optimizers, report=lambda *_: None)
    moved = {
        name.split(".")[0] for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert moved == {"latent_in", "up", "decoder", "places", "species_out"}
    again = encode_set(network, data, np.full(10, -1), half=False)
    for one, other in zip(latents.latents, again.latents, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_elements_are_exchanged_for_others_of_the_training_in_a_share_of_the_crystals(share, monkeypatch):
    cells = [dataclasses.replace(each, numbers=np.full(len(each), 3 + row)) for row, each in enumerate(crystals(30))]
    network, seen = GridVAE(TINY), []
    encode = network.encode

    def recorded(batch, shape, dtype):
        seen.extend(batch.arrays())
        return encode(batch, shape, dtype)

    monkeypatch.setattr(network, "encode", recorded)
    options = dataclasses.replace(OPTIONS, substitute=share)
    optimizers = matrix_optimizers(network, options.learning_rate, options.weight_decay)
    train_grid_vae(network, GridSet.make(cells, TINY.fields), options, optimizers, report=lambda *_: None)
    own = {(len(each), int(each.numbers[0])) for each in cells}
    assert all(3 <= number <= 32 and len(set(each.numbers.tolist())) == 1 for each in seen for number in each.numbers)
    kept = np.mean([(len(each), int(each.numbers[0])) in own for each in seen])
    assert kept == 1 if share == 0 else kept < 0.7


def test_the_curve_drops_what_is_done_again(tmp_path):
    curve = LearningCurve(tmp_path)
    for step in (1, 2, 3):
        curve.add(step, {"loss": step})
    LearningCurve(tmp_path, 2).add(3, {"loss": 30.0, "val": 0.5})
    assert (tmp_path / "curve.csv").read_text() == "step,loss,val\n1,1,\n2,2,\n3,30,0.5\n"


def test_a_damaged_state_is_refused(tmp_path):
    assert load_state(tmp_path) is None
    save_state(tmp_path, State(7, {"a": torch.ones(2)}, "one"))
    state = load_state(tmp_path)
    assert (state.step, state.tensors["a"].tolist(), state.basis) == (7, [1, 1], "one")
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="is damaged"):
        load_state(tmp_path)


def test_a_training_begins_anew_where_what_it_rests_on_has_changed(tmp_path):
    def run(basis, weight):
        network = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(network.weight, weight)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        return network, LongRun(tmp_path, {"net": network}, [optimizer], 9, basis=basis, seconds=0)

    _, first = run("one", 7.0)
    first(5, {"crystals": 1, "seconds": 1})
    network, same = run("one", 1.0)
    assert (same.start, network.weight.item()) == (5, 7.0)
    network, other = run("two", 1.0)
    assert (other.start, network.weight.item()) == (0, 7.0)


def test_a_model_that_is_trained_further_knows_the_crystals_and_elements_of_the_data():
    shown = GridSet.make(crystals(12), TINY.fields)
    energies = np.linspace(-2, 0, 12)
    data = MaterialsData(shown, shown, energies, energies)
    first = untrained(GridGeneratorConfig(vae=TINY, flow=GridFlowConfig(latent=4, width=16, layers=1, heads=2)), data)
    other = [dataclasses.replace(each, numbers=np.full(len(each), 60)) for each in crystals(4)]
    more = MaterialsData(GridSet.make(other, TINY.fields), shown, np.array([-5.0, -1.0, np.nan, 5.0]), energies)
    found = continued(first, more)
    assert found.config.elements == tuple(sorted({*first.config.elements, 60}))
    assert found.config.energy_edges == first.config.energy_edges
    assert len(found.known) == 4
    assert found.known.bins.tolist() == [0, np.searchsorted(first.config.energy_edges, -1.0), -1, 9]
    assert found.vae is first.vae


def test_batches_have_one_shape_and_keep_to_the_budget():
    data = GridSet.make(crystals(40), TINY.fields)
    batches = epoch_batches(data.shapes, data.weights, 2000, 40, (0, 3))
    assert sorted(row for batch in batches for row in batch) == list(range(40))
    for batch in batches:
        assert len({data.shapes[row] for row in batch}) == 1
        assert len(batch) == 1 or len(batch) * np.prod(data.shapes[batch[0]]) <= 2000
    again = epoch_batches(data.shapes, data.weights, 2000, 40, (0, 3))
    other = epoch_batches(data.shapes, data.weights, 2000, 40, (0, 4))
    assert [b.tolist() for b in again] == [b.tolist() for b in batches]
    assert [b.tolist() for b in other] != [b.tolist() for b in batches]


def test_weights_say_how_often_a_crystal_is_drawn():
    data = GridSet.make(crystals(4), TINY.fields, np.array([0.0, 2.0, 1.0, 1.0]))
    rows = np.concatenate([np.concatenate(epoch_batches(data.shapes, data.weights, 99, 8, (s,))) for s in range(50)])
    assert (np.bincount(rows, minlength=4) == [0, 200, 100, 100]).all()


def test_rare_elements_and_prototypes_weigh_more():
    salt = [CrystalArrays(np.array([11, 17]), np.array([[0, 0, 0], [0.5] * 3]), 4.0 * np.eye(3))] * 50
    rare = CrystalArrays(np.array([89, 17]), np.array([[0, 0, 0], [0.5] * 3]), 4.0 * np.eye(3))
    odd = CrystalArrays(np.array([11, 17, 17]), np.array([[0, 0, 0], [0.5] * 3, [0.2] * 3]), 4.0 * np.eye(3))
    weights = balanced_weights([*salt, rare, odd], np.array([225] * 51 + [1]))
    assert weights.mean() == pytest.approx(1)
    assert weights[50] > 3 * weights[0]
    assert weights[51] > 1.2 * weights[0]


def test_crystals_are_moved_and_inverted_but_stay_the_same():
    batch = CrystalBatch.from_arrays(crystals(16))
    augmentation = Augmentation(permute_axes=False, translate=True, strain=0.0, substitute=0.0)
    other, same = augmentation(batch, torch.arange(1, 95), torch.Generator().manual_seed(0))
    assert same.all()
    for before, after in zip(batch.arrays(), other.arrays(), strict=True):
        first, second = (each.frac_coords[:, None] - each.frac_coords[None] for each in (before, after))
        gaps = [np.abs(d - np.round(d)).max() for d in (second - first, second + first)]
        assert min(gaps) < 1e-5
    assert (other.frac_coords >= 0).all()
    assert (other.frac_coords < 1).all()


def test_sites_are_assigned_by_species():
    lattice = 5.0 * np.eye(3)
    true = CrystalArrays(np.array([8, 22]), np.array([[0, 0, 0], [0.5] * 3]), lattice)
    found = CrystalArrays(np.array([22, 8]), np.array([[0.5, 0.5, 0.52], [0.98, 0, 0]]), lattice)
    np.testing.assert_allclose(site_distances(true, found), [0.1, 0.1], atol=1e-9)
    assert site_distances(true, CrystalArrays(np.array([8, 8]), true.frac_coords, lattice)) is None


@pytest.mark.slow
def test_a_crystal_is_learned_wherever_its_origin_lies():
    """A small network learns one crystal by heart: number of atoms, species and sites come back."""
    torch.manual_seed(0)
    config = GridVAEConfig(
        latent=8, species=8, embedding=8, encoder=(16, 32, 32), decoder=(32, 32, 32), encoder_blocks=(0, 1, 0),
        decoder_blocks=(0, 1, 1),
    )  # fmt: skip
    network = GridVAE(config)
    iron = CrystalArrays(np.array([26, 26]), np.array([[0, 0, 0], [0.5] * 3]), np.diag([2.6, 2.7, 3.6]))
    data = GridSet.make([iron], config.fields)
    assert judge(network, data, half=False)["rebuilt"] == 0
    options = GridTrainingOptions(
        steps=150, learning_rate=5e-3, warm=10, budget=2048, epoch=16, half=False, loss=GridLossConfig(divergence=1e-4)
    )
    losses = []
    train_grid_vae(
        network,
        data,
        options,
        matrix_optimizers(network, options.learning_rate, 0.0),
        report=lambda step, figures: losses.append(figures["loss"]),
    )
    assert losses[-1] < 0.1 * losses[0]
    figures = judge(network, data, half=False)
    assert figures["rebuilt"] == 1
    assert figures["off"] < 0.15
    assert figures["nats"] > 1


def test_the_flow_learns_from_encoded_crystals():
    torch.manual_seed(0)
    vae = GridVAE(TINY).eval()
    data = GridSet.make(crystals(12), TINY.fields)
    latents = encode_set(vae, data, np.full(12, -1), half=False)
    assert latents.shapes == [TINY.fields.blocks(shape) for shape in data.shapes]
    assert latents.conditions.elements.sum(1).tolist() == [len(np.unique(c.numbers)) for c in data.crystals]
    flow = GridFlow(GridFlowConfig(latent=4, width=32, layers=2, heads=2))
    set_scale(flow, latents)
    average = averaged(flow)
    before = held_out_loss(average, latents, half=False)
    options = GridFlowOptions(steps=60, learning_rate=5e-3, warm=5, budget=200, epoch=48, half=False)
    steps = []
    train_grid_flow(
        flow,
        average,
        latents,
        options,
        matrix_optimizers(flow, options.learning_rate, 0.0),
        report=lambda step, figures: steps.append(step),
    )
    assert steps == list(range(1, 61))
    assert held_out_loss(average, latents, half=False) < 0.8 * before


# Optimizers


def test_singular_values_are_brought_near_one_and_vectors_stay():
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(size, 6))[0] for size in (6, 20))
    values = torch.tensor([1.0, 0.7, 0.5, 0.3, 0.2, 0.1])
    matrix = left @ torch.diag(values) @ right.T
    for given, transposed in ((matrix, False), (matrix.T, True)):
        found = orthogonalised(given, 3)
        found = found.T if transposed else found
        inner = left.T @ found @ right
        off = inner - torch.diag(inner.diagonal())
        torch.testing.assert_close(off, torch.zeros(6, 6), atol=1e-5, rtol=0)
        assert ((inner.diagonal() > 0.6) & (inner.diagonal() < 1.3)).all()


def test_muon_in_single_precision_takes_the_steps_of_that_of_torch():
    torch.manual_seed(0)
    options = {"lr": 0.02, "weight_decay": 0.1, "ns_steps": 3}
    start = torch.randn(9, 30)
    mine, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = (
        SinglePrecisionMuon([mine], adjust_lr_fn="match_rms_adamw", **options),
        torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **options),
    )
    for _ in range(5):
        mine.grad = torch.randn(9, 30)
        theirs.grad = mine.grad.clone()
        for each in optimizers:
            each.step()
    moved = (theirs - start).abs().mean()
    assert (mine - theirs).abs().max() < 0.03 * moved  # the other one multiplies in bfloat16


@pytest.mark.parametrize(("has", "kind"), [(True, torch.optim.Muon), (False, SinglePrecisionMuon)])
def test_bfloat16_is_used_where_the_processor_has_it(monkeypatch, has, kind):
    monkeypatch.setattr("icsg3d.training.optimizers.has_bfloat16", lambda device: has)
    assert type(matrix_optimizers(GridVAE(TINY), 1e-3, 0.0)[0]) is kind
