from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from pymatgen.core import Structure

from icsg3d.crystals.elements import electronegativities
from icsg3d.crystals.structures import to_arrays
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.properties import PropertyModel, PropertyModelConfig
from icsg3d.models.targets import PROPERTIES, unknown_property
from icsg3d.representation.graphs import GraphSet, crystal_graph
from icsg3d.training import ensembles
from icsg3d.training.data import PropertySet
from icsg3d.training.ensembles import calibrated, coverage, errors, fit_spread, train_ensemble, transformed
from icsg3d.training.properties import PropertyOptions, TrainingPhase, from_scratch

NETWORK = CrystalGraphConfig.preset("gated", layers=1, width=8, hidden=8)
OFFICIAL = CrystalGraphConfig.preset("cgcnn", layers=1, width=8, hidden=8)


def rock_salt(cation, anion, edge):
    return Structure(edge / 2 * (np.ones((3, 3)) - np.eye(3)), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def caesium_chloride(cation, anion, edge):
    return Structure(edge * np.eye(3), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


PAIRS = list(itertools.product(("Li", "Na", "K", "Mg"), ("F", "Cl", "Br")))
CRYSTALS = [rock_salt(c, a, 4.2 + 0.1 * n) for n, (c, a) in enumerate(PAIRS)]
CRYSTALS += [caesium_chloride("Cs", a, 3.9 + 0.1 * n) for n, a in enumerate(("F", "Cl", "Br", "I"))]


def property_set(crystals, values, scales=None):
    graphs = GraphSet.from_graphs([crystal_graph(to_arrays(crystal)) for crystal in crystals])
    formulas = [crystal.composition.reduced_formula for crystal in crystals]
    scales = np.zeros(len(crystals), dtype=int) if scales is None else np.asarray(scales)
    return PropertySet(graphs, np.asarray(values, dtype=float), list(formulas), formulas, scales)


VALUES = [float(np.ptp([electronegativities()[site.specie.Z] for site in crystal])) for crystal in CRYSTALS]
EVERYTHING = property_set(CRYSTALS, VALUES)
TRAINING, VALIDATION = EVERYTHING.subset(np.arange(9)), EVERYTHING.subset(np.arange(9, 16))
OPTIONS = PropertyOptions(from_scratch(2, 1e-2), batch_size=4)


def config(network=NETWORK, members=2, of=None, **changes):
    return PropertyModelConfig(of or unknown_property("x"), network, members, **changes)


def train(out, settings=None, options=OPTIONS, training=TRAINING, **changes):
    return train_ensemble(settings or config(), training, VALIDATION, out, options, accelerator="cpu", **changes)


def differing(one, other):
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


# Calibration of the spread


def synthetic(count, seed=0, floor=0.2, factor=1.7):
    random = np.random.default_rng(seed)
    spread = np.exp(random.normal(-1.0, 0.8, count))
    return np.abs(random.normal(0, np.hypot(floor, factor * spread))), spread


@pytest.mark.parametrize("seed", range(3))
def test_floor_and_factor_are_found_again(seed):
    absolute, spread = synthetic(5000, seed)
    floor, factor = fit_spread(absolute, spread)
    assert floor == pytest.approx(0.2, rel=0.2)
    assert factor == pytest.approx(1.7, rel=0.1)


@pytest.mark.parametrize("count", [30, 1000])
def test_a_sigma_holds_for_two_thirds_whatever_the_errors(count):
    random = np.random.default_rng(count)
    spread = random.exponential(size=count)
    for absolute in (random.exponential(size=count), random.uniform(size=count), np.abs(random.standard_cauchy(count))):
        floor, factor = fit_spread(absolute, spread)
        within = np.mean(absolute <= np.hypot(floor, factor * spread) * (1 + 1e-9))
        assert within == pytest.approx(0.6827, abs=1.0 / count + 1e-3)


def test_a_single_member_has_its_floor():
    absolute = np.abs(np.random.default_rng(0).normal(0, 0.3, 5000))
    floor, _ = fit_spread(absolute, np.zeros(5000))
    assert floor == pytest.approx(0.3, rel=0.05)
    assert np.mean(absolute <= floor) == pytest.approx(0.6827, abs=1e-3)


def test_a_spread_that_tells_nothing_is_hardly_used():
    random = np.random.default_rng(1)
    floor, factor = fit_spread(np.abs(random.normal(0, 0.3, 5000)), np.exp(random.normal(-1.0, 0.8, 5000)))
    assert floor == pytest.approx(0.3, rel=0.1)
    assert 0 <= factor * np.exp(-1.0) < 0.15


def test_the_unit_does_not_matter():
    absolute, spread = synthetic(500)
    small, large = fit_spread(absolute, spread), fit_spread(1e4 * absolute, 1e4 * spread)
    assert large == pytest.approx((1e4 * small[0], small[1]), rel=1e-3)


@pytest.mark.parametrize("count", [1, 2])
def test_a_handful_of_errors_gives_finite_numbers(count):
    for spread in (np.zeros(count), np.ones(count)):
        floor, factor = fit_spread(np.arange(1.0, count + 1), spread)
        assert np.isfinite([floor, factor]).all()
        assert floor > 0


# Coverage


class Named:
    """What coverage wants to know of crystals."""

    def __init__(self, formulas):
        self.formulas = formulas


def test_coverage_of_errors_that_are_as_promised(monkeypatch):
    absolute, spread = synthetic(4000)
    monkeypatch.setattr(ensembles, "transformed", lambda *_: (np.zeros(4000), spread, absolute))
    found = coverage(None, Named([f"A{n // 2}" for n in range(4000)]))
    assert found["within_one_sigma"] == pytest.approx(0.6827, abs=0.03)
    assert found["within_two_sigma"] == pytest.approx(0.9545, abs=0.02)


def test_each_half_is_judged_by_the_other_and_no_formula_is_in_both(monkeypatch):
    formulas = [f"A{n % 50}" for n in range(150)]
    absolute = np.random.default_rng(0).permutation(np.arange(1.0, 151.0))
    signs = np.where(np.arange(150) % 2, -1, 1)
    monkeypatch.setattr(ensembles, "transformed", lambda *_: (np.full(150, 7.0), np.ones(150), 7 + signs * absolute))
    seen, floors = [], iter((30.0, 45.0))

    def stub(given, spread):
        assert np.array_equal(spread, np.ones(len(given)))
        seen.append((set(given.tolist()), next(floors)))
        return seen[-1][1], 0.0

    monkeypatch.setattr(ensembles, "fit_spread", stub)
    found = coverage(None, Named(formulas))
    (one, _), (other, _) = seen
    assert not one & other
    assert one | other == set(range(1, 151))
    assert len(one) == len(other) == 75
    of = dict(zip(absolute, formulas, strict=True))
    assert not {of[error] for error in one} & {of[error] for error in other}
    for name, times in (("within_one_sigma", 1), ("within_two_sigma", 2)):
        held = sum(error <= times * floor for given, floor in seen for error in of if error not in given)
        assert found[name] == pytest.approx(held / 150)


def test_another_seed_gives_other_halves(monkeypatch):
    absolute, spread = synthetic(60)
    monkeypatch.setattr(ensembles, "transformed", lambda *_: (np.zeros(60), spread, absolute))
    monkeypatch.setattr(ensembles, "fit_spread", lambda given, _: (given[0], 0.0))
    names = Named([f"A{n}" for n in range(60)])
    assert coverage(None, names, 0) == coverage(None, names, 0)
    assert len({coverage(None, names, seed)["within_one_sigma"] for seed in range(5)}) > 1


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value encountered")
def test_coverage_of_a_single_formula(monkeypatch):
    monkeypatch.setattr(ensembles, "transformed", lambda *_: (np.zeros(2), np.ones(2), np.array([0.1, 0.2])))
    assert coverage(None, Named(["NaCl", "NaCl"])) == {}


# Errors


@pytest.fixture
def modulus():
    """A model whose two members give fixed logarithms for any three crystals."""
    torch.manual_seed(0)
    model = PropertyModel(config(of=PROPERTIES["bulk_modulus"], mean=1.0, scale=2.0)).eval()
    for member, row in zip(model.members, ([0.0, 0.5, 1.0], [0.5, 0.5, 0.0]), strict=True):
        member.forward = lambda batch, row=row: torch.tensor(row)
    return model


def test_errors_are_those_worked_out_by_hand(modulus):
    crystals = property_set(CRYSTALS[:3], [10.0, 1000.0, 100.0])
    mean, spread, true = transformed(modulus, crystals)
    assert mean == pytest.approx([1.5, 2.0, 2.0])
    assert spread == pytest.approx([2 * 0.5 / np.sqrt(2), 0.0, 2 * 1.0 / np.sqrt(2)])
    assert true == pytest.approx([1.0, 3.0, 2.0])
    found = errors(modulus, crystals)
    assert found["mae_learned_scale"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert found["mae"] == pytest.approx((10**1.5 - 10 + 900 + 0) / 3, rel=1e-5)
    assert found["mae_of_median"] == pytest.approx((90 + 900 + 0) / 3)


def test_errors_count_the_floor():
    torch.manual_seed(0)
    model = PropertyModel(config(of=PROPERTIES["band_gap"], members=1)).eval()
    model.members[0].forward = lambda batch: torch.tensor([-1.0, 2.0])
    found = errors(model, property_set(CRYSTALS[:2], [0.0, 2.5]))
    assert found["mae"] == pytest.approx(0.25)
    assert found["mae_learned_scale"] == pytest.approx(0.75)


def test_many_crystals_are_judged_in_parts(monkeypatch):
    torch.manual_seed(0)
    model = PropertyModel(config()).eval()
    whole, spreads, _ = transformed(model, EVERYTHING)
    found = errors(model, EVERYTHING)
    at_once = GraphSet.batches
    monkeypatch.setattr(GraphSet, "batches", lambda graphs: at_once(graphs, 5))
    parts = transformed(model, EVERYTHING)
    assert parts[0] == pytest.approx(whole, abs=1e-6)
    assert parts[1] == pytest.approx(spreads, abs=1e-6)
    assert parts[2].tolist() == VALUES
    assert errors(model, EVERYTHING) == pytest.approx(found, abs=1e-6)


def test_calibration_changes_nothing_but_the_uncertainties():
    torch.manual_seed(0)
    model = PropertyModel(config(mean=2.0)).eval()
    new = calibrated(model, EVERYTHING)
    assert differing(model.state_dict(), new.state_dict()) == set()
    same = dataclasses.replace(new.config, spread_floor=0.0, spread_factor=1.0)
    assert same == model.config
    mean, spread, true = transformed(model, EVERYTHING)
    assert (new.config.spread_floor, new.config.spread_factor) == fit_spread(np.abs(true - mean), spread)
    values, stds = new(EVERYTHING.graphs.batch(np.arange(16)))
    within = (np.abs(values.detach().numpy() - true) <= stds.detach().numpy() * (1 + 1e-5)).mean()
    assert within == pytest.approx(0.6827, abs=1 / 16)


# Whole ensembles


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """An ensemble of two, and its folder."""
    out = tmp_path_factory.mktemp("ensemble")
    return train(out), out


def test_an_ensemble_is_trained_scaled_and_calibrated(ensemble):
    model, out = ensemble
    assert sorted(path.name for path in out.iterdir()) == ["member-0", "member-1", "training.sha256"]
    values = np.array(VALUES[:9])
    assert model.config.mean == pytest.approx(values.mean())
    assert model.config.scale == pytest.approx(values.std(ddof=1))
    assert model.config.elements == (3, 9, 11, 17, 19, 35)
    assert model.config.spread_floor > 0
    assert not any(module.training for module in model.modules())
    mean, spread, true = transformed(model, VALIDATION)
    assert (model.config.spread_floor, model.config.spread_factor) == fit_spread(np.abs(true - mean), spread)


def test_members_differ(ensemble):
    one, other = (member.state_dict() for member in ensemble[0].members)
    assert {"embedding.weight", "dense.weight", "output.weight"} <= differing(one, other)
    assert transformed(ensemble[0], VALIDATION)[1].min() > 0


def test_a_single_member_has_finite_uncertainties(tmp_path):
    model = train(tmp_path, config(members=1))
    values, stds = model(VALIDATION.graphs.batch(np.arange(7)))
    assert values.isfinite().all()
    assert stds.isfinite().all()
    assert stds.min() > 0


def test_the_same_seed_gives_the_same_ensemble_and_resuming_it_too(ensemble, tmp_path):
    again = train(tmp_path / "again")
    assert again.config == ensemble[0].config
    assert differing(again.state_dict(), ensemble[0].state_dict()) == set()
    resumed = train(ensemble[1], resume=True)
    assert resumed.config == ensemble[0].config
    assert differing(resumed.state_dict(), ensemble[0].state_dict()) == set()
    other = train(tmp_path / "other", options=dataclasses.replace(OPTIONS, seed=1))
    states = [m.state_dict() for model in (ensemble[0], other) for m in model.members]
    for one, two in itertools.combinations(states, 2):
        assert "dense.weight" in differing(one, two)  # no member of one seed is one of another


@pytest.mark.slow
def test_processes_give_the_same_weights(tmp_path, watched):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in each of the processes: sums of other parts end in other last bits
    try:
        one_by_one = train(tmp_path / "one")
        model = train(tmp_path / "two", jobs=2)
    finally:
        torch.set_num_threads(threads)
    assert watched["epochs"] == [(done, 4) for done in (0, 1, 2, 3, 4)] * 2
    assert differing(model.state_dict(), one_by_one.state_dict()) == set()
    assert model.config == one_by_one.config


def test_an_error_in_a_member_is_told(tmp_path):
    bad = dataclasses.replace(OPTIONS, phases=(TrainingPhase("everything", 1, -1.0),))
    with pytest.raises(ValueError, match="learning rate"):
        train(tmp_path, options=bad)


def test_members_start_from_those_of_another_model_in_turn(tmp_path):
    torch.manual_seed(5)
    start = PropertyModel(config(OFFICIAL)).eval()
    options = dataclasses.replace(OPTIONS, phases=(TrainingPhase("dense", 1, 1e-2, "dense"),))
    model = train(tmp_path, config(OFFICIAL, members=3), options, start=start)
    layers = [member.graph_layers().state_dict() for member in model.members]
    origin = [member.graph_layers().state_dict() for member in start.members]
    assert [differing(layers[n], origin[n % 2]) for n in range(3)] == [set()] * 3
    assert differing(layers[0], layers[1])
    assert differing(model.members[0].dense.state_dict(), model.members[2].dense.state_dict())


def test_the_start_s_own_features_of_elements_are_kept(tmp_path):
    start = PropertyModel(config(OFFICIAL, members=1)).eval()
    start.members[0].features.mul_(0.5)
    model = train(tmp_path, config(OFFICIAL, members=1), start=start)
    assert torch.equal(model.members[0].features, start.members[0].features)


def test_scaling_and_elements_are_those_of_the_own_scale(tmp_path):
    scales = [0] * 6 + [1] * 3
    values = np.array(VALUES[:9]) + 100 * np.array(scales)
    model = train(tmp_path, training=property_set(CRYSTALS[:9], values, scales))
    assert model.config.mean == pytest.approx(np.mean(VALUES[:6]))
    assert model.config.scale == pytest.approx(np.std(VALUES[:6], ddof=1))
    assert model.config.elements == (3, 9, 11, 17, 35)  # not K, which is on the other scale alone


def test_logarithms_are_scaled_as_such(tmp_path):
    values = 10 ** np.linspace(0, 2, 9)
    training = dataclasses.replace(TRAINING, values=values)
    judged = dataclasses.replace(VALIDATION, values=values[:7])
    settings = config(of=PROPERTIES["bulk_modulus"], members=1)
    model = train_ensemble(settings, training, judged, tmp_path, OPTIONS, accelerator="cpu")
    assert model.config.mean == pytest.approx(1.0)
    assert model.config.scale == pytest.approx(np.std(np.linspace(0, 2, 9), ddof=1))
