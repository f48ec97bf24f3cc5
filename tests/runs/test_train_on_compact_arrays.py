from __future__ import annotations

import gzip
import itertools

import numpy as np
import pytest

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.elements import electronegativities
from icsg3d.crystals.structures import from_arrays
from icsg3d.data.compact_arrays import CompactCrystals, write_compact
from icsg3d.errors import InputError
from icsg3d.models.environment_net import EnvironmentNetConfig
from icsg3d.pretrained import training_formulas
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.runs.train_property import PropertyTrainingConfig, train_property

SMALL = {"width": 8, "layers": 1, "members": 1, "epochs": 1, "batch_size": 8, "accelerator": "cpu"}


def salt(cation, anion, edge):
    return CrystalArrays(np.array([cation, anion]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), edge * np.eye(3))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    pairs = list(itertools.product((3, 11, 12, 19, 20, 37), (8, 9, 16, 17, 35)))
    crystals = [salt(c, a, 3.4 + 0.02 * n) for n, (c, a) in enumerate(pairs)]
    crystals += [CrystalArrays(np.array([z]), np.zeros((1, 3)), 3.2 * np.eye(3)) for z in (3, 11, 12, 19)]
    energies = [-float(np.ptp(electronegativities()[each.numbers])) for each in crystals]
    columns = {"formation_energy_per_atom": np.array(energies), "band_gap": np.full(len(crystals), np.nan)}
    columns["band_gap"][:30] = 2 - np.array(energies[:30])
    path = tmp_path_factory.mktemp("data") / "salts.npz"
    write_compact(CompactCrystals.of([f"c{n}" for n in range(len(crystals))], crystals, columns), path)
    return path


@pytest.fixture(scope="module")
def energy(data, tmp_path_factory):
    config = PropertyTrainingConfig(data=(data,), target="formation_energy_per_atom", element_copies=3, **SMALL)
    return train_property(config, tmp_path_factory.mktemp("energy"))


def test_a_model_learns_from_compact_arrays_and_predicts(energy):
    predictor = PropertyPredictor.from_pretrained(energy.folder)
    assert isinstance(predictor.model.config.network, EnvironmentNetConfig)
    assert predictor.model.config.network.pooling == "atomic"
    found = predictor.predict([from_arrays(salt(11, 17, 3.6)), from_arrays(salt(92, 92, 3.6))])
    assert np.isfinite(found.values).all()
    assert (found.stds > 0).all()
    assert found.unseen == ((), ("U",))


def test_the_degree_of_moments_is_chosen_and_a_start_grows_to_it(data, tmp_path):
    of = {"data": (data,), "target": "formation_energy_per_atom"}
    small = train_property(PropertyTrainingConfig(**of, degree=1, **SMALL), tmp_path / "small")
    assert PropertyPredictor.from_pretrained(small.folder).model.config.network.graph.degree == 1
    rest = {name: SMALL[name] for name in SMALL if name not in {"width", "layers"}}
    grown = train_property(PropertyTrainingConfig(**of, start=str(small.folder), degree=4, **rest), tmp_path / "grown")
    assert PropertyPredictor.from_pretrained(grown.folder).model.config.network.graph.degree == 4
    with pytest.raises(InputError, match="a network of degree 4 cannot be brought to degree 2"):
        train_property(PropertyTrainingConfig(**of, start=str(grown.folder), degree=2, **rest), tmp_path / "less")
    with pytest.raises(InputError, match="only networks on environments have a degree"):
        train_property(PropertyTrainingConfig(**of, preset="gated", degree=2, **SMALL), tmp_path / "gated")


def test_elements_are_learned_and_listed_once(energy):
    assert {"Li", "Na", "Mg", "K"} <= training_formulas(energy.folder)
    lines = gzip.decompress((energy.folder / "training_crystals.csv.gz").read_bytes()).decode().split()
    assert len(lines) == len(set(lines))


def test_another_property_starts_from_it(energy, data, tmp_path):
    changes = {key: value for key, value in SMALL.items() if key not in {"width", "layers"}}
    config = PropertyTrainingConfig(data=(data,), target="band_gap", start=str(energy.folder), **changes)
    trained = train_property(config, tmp_path)
    network = PropertyPredictor.from_pretrained(trained.folder).model.config.network
    assert network.pooling == "crystal"
    assert network.width == 8
    assert trained.metrics["crystals"] < 30


def test_crystals_with_suspect_labels_and_what_was_made_from_them_take_no_part(data, tmp_path):
    made = tmp_path / "made.npz"
    salts = [salt(55, 53, 4.5), salt(55, 17, 4.2)]
    energies = {"formation_energy_per_atom": np.array([-1.8, -2.2])}
    write_compact(CompactCrystals.of(["c2-strained-1", "c20-strained-1"], salts, energies), made)
    suspects = tmp_path / "suspects.csv"
    suspects.write_text("material_id,label\nc2,-9.0\n")
    config = PropertyTrainingConfig(
        data=(data, made), target="formation_energy_per_atom", element_copies=3, left_out=suspects, **SMALL
    )
    learned = training_formulas(train_property(config, tmp_path / "run").folder)
    assert "CsCl" in learned  # c20, not c2
    assert not {"CsI", "LiS"} & learned
    suspects.write_text("name\nc2\n")
    with pytest.raises(InputError, match="no table with a column material_id"):
        train_property(config, tmp_path / "other")
