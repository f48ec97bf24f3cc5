from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.io.ase import AseAtomsAdaptor
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.models.properties import load_property_model, save_property_model
from icsg3d.pretrained import find
from icsg3d.properties.predictor import PropertyPredictor

pytest.importorskip("matminer")

from matminer.featurizers.base import MultipleFeaturizer
from matminer.featurizers.structure import DensityFeatures

from icsg3d.featurizers import CrystalGraphFeaturizer, LatentFeaturizer, PropertyFeaturizer

FORMULAS = ("SrTiO3", "NaCl", "KMgF3", "Fe2VAl")


@pytest.fixture(scope="module")
def structures():
    return [prototype_structure(formula) for formula in FORMULAS]


@pytest.fixture(scope="module")
def broken(structures):
    disordered = structures[0].copy()
    disordered.replace(0, {"Sr": 0.5, "Ba": 0.5})
    return [structures[1], disordered, structures[2]]


def featurizers():
    return [LatentFeaturizer(), CrystalGraphFeaturizer(), PropertyFeaturizer(["band_gap", "bulk_modulus"])]


@pytest.mark.parametrize("featurizer", featurizers(), ids=lambda each: type(each).__name__)
class TestEach:
    def test_batches_equal_single_crystals(self, featurizer, structures):
        together = np.array(featurizer.featurize_many(structures, pbar=False))
        single = np.array([featurizer.featurize(each) for each in structures])
        assert together.shape == (len(structures), len(featurizer.feature_labels()))
        assert together.tolist() == single.tolist()

    def test_all_ways_in(self, featurizer, structures):
        expected = featurizer.featurize_many(structures, pbar=False)
        series = pd.Series(structures, index=[5, 6, 7, 8])
        column = np.empty((len(structures), 1), dtype=object)
        column[:, 0] = structures
        for given in (tuple(structures), series, series.to_frame(), column, [(each,) for each in structures]):
            np.testing.assert_allclose(featurizer.featurize_many(given, pbar=False), expected, rtol=1e-6)
        atoms = [AseAtomsAdaptor.get_atoms(each, msonable=False) for each in structures]
        np.testing.assert_allclose(featurizer.featurize_many(atoms, pbar=False), expected, rtol=1e-4, atol=1e-4)
        assert featurizer.featurize_many([], pbar=False) == []

    def test_dataframe(self, featurizer, structures):
        frame = pd.DataFrame({"structure": structures, "name": FORMULAS})
        result = featurizer.featurize_dataframe(frame, "structure", pbar=False)
        assert list(result.columns) == ["structure", "name", *featurizer.feature_labels()]
        assert result[featurizer.feature_labels()].notna().all(axis=None)

    def test_a_bad_crystal_is_a_nan_row_with_its_traceback(self, featurizer, broken):
        frame = pd.DataFrame({"structure": broken})
        result = featurizer.featurize_dataframe(frame, "structure", ignore_errors=True, return_errors=True, pbar=False)
        labels = featurizer.feature_labels()
        assert result[labels].isna().all(axis=1).tolist() == [False, True, False]
        errors = result[f"{type(featurizer).__name__} Exceptions"]
        assert "disordered" in errors[1]
        assert errors[[0, 2]].isna().all()
        with pytest.raises(ValueError, match="disordered"):
            featurizer.featurize_many(broken, pbar=False)
        with pytest.raises(ValueError, match="return_errors needs ignore_errors"):
            featurizer.featurize_many(broken, return_errors=True, pbar=False)

    def test_the_good_ones_go_through_the_networks_together_whatever_is_among_them(
        self, featurizer, broken, monkeypatch
    ):
        sizes, batch = [], type(featurizer).batch

        def counted(self, prepared):
            sizes.append(len(prepared))
            return batch(self, prepared)

        good = featurizer.featurize_many([broken[0], broken[2]], pbar=False)
        monkeypatch.setattr(type(featurizer), "batch", counted)
        rows = featurizer.featurize_many(broken, ignore_errors=True, pbar=False)
        assert sizes == [2]
        assert [rows[0], rows[2]] == good
        sizes.clear()
        assert np.isnan(featurizer.featurize_many([broken[1]], ignore_errors=True, pbar=False)).all()
        assert sizes == []

    def test_each_error_is_of_its_own_crystal(self, featurizer, broken):
        given = [broken[1], "nonesuch.cif", broken[0], 7]
        rows = featurizer.featurize_many(given, ignore_errors=True, return_errors=True, pbar=False)
        reasons = ("disordered", "no file nonesuch.cif", None, "got int")
        for row, own in zip(rows, reasons, strict=True):
            if own is None:
                assert np.isfinite(row[:-1]).all()
                assert np.isnan(row[-1])
            else:
                assert [reason for reason in reasons if reason and reason in row[-1]] == [own]
                assert "During handling" not in row[-1]

    def test_where_a_batch_fails_each_goes_alone(self, featurizer, structures, monkeypatch):
        batch = type(featurizer).batch

        def narrow(self, prepared):
            if len(prepared) > 1:
                raise MemoryError
            return batch(self, prepared)

        expected = featurizer.featurize_many(structures, pbar=False)
        monkeypatch.setattr(type(featurizer), "batch", narrow)
        rows = featurizer.featurize_many(structures, ignore_errors=True, return_errors=True, pbar=False)
        np.testing.assert_allclose([row[:-1] for row in rows], expected, rtol=1e-5, atol=1e-5)
        assert all(np.isnan(row[-1]) for row in rows)

    def test_pickles_hold_no_networks(self, featurizer, structures, tmp_path):
        expected = featurizer.featurize(structures[0])
        data = pickle.dumps(featurizer)
        assert len(data) < 2000
        np.testing.assert_allclose(pickle.loads(data).featurize(structures[0]), expected)  # noqa: S301 (our own)
        joblib.dump(featurizer, tmp_path / "featurizer.joblib")
        np.testing.assert_allclose(joblib.load(tmp_path / "featurizer.joblib").featurize(structures[0]), expected)

    def test_more_jobs_change_nothing(self, featurizer, structures):
        expected = featurizer.featurize_many(structures, pbar=False)
        featurizer.set_n_jobs(2)
        try:
            assert featurizer.featurize_many(structures, pbar=False) == expected
        finally:
            featurizer.set_n_jobs(1)

    def test_labels_are_fresh_and_everyone_is_named(self, featurizer):
        labels = featurizer.feature_labels()
        labels.append("Exceptions")
        assert "Exceptions" not in featurizer.feature_labels()
        assert len(set(featurizer.feature_labels())) == len(featurizer.feature_labels())
        assert all(isinstance(name, str) for name in featurizer.implementors())
        assert "10.1021/acs.jcim.0c00464" in featurizer.citations()[0]

    def test_scikit_learn(self, featurizer, structures):
        model = make_pipeline(featurizer, Ridge())
        model.fit(structures, np.arange(4.0))
        assert np.isfinite(model.predict(structures)).all()
        assert set(featurizer.get_params()) == set(type(featurizer)().get_params())

    def test_presets(self, featurizer):
        assert isinstance(type(featurizer).from_preset("paper"), type(featurizer))
        with pytest.raises(ValueError, match="no preset 'other'"):
            type(featurizer).from_preset("other")


# Arguments that change


def set_params(featurizer, name, value):
    featurizer.set_params(**{name: value})


CHANGES = [
    (LatentFeaturizer("cubic"), "model", "perovskites"),
    (CrystalGraphFeaturizer("formation_energy_per_atom"), "model", "band_gap"),
    (PropertyFeaturizer(["band_gap"]), "properties", ["bulk_modulus", "band_gap"]),
]


@pytest.mark.parametrize("change", [set_params, setattr])
@pytest.mark.parametrize(("featurizer", "name", "value"), CHANGES, ids=lambda each: type(each).__name__)
def test_the_networks_follow_the_arguments(featurizer, name, value, change, structures):
    featurizer = clone(featurizer)
    before = featurizer.featurize(structures[0])
    change(featurizer, name, value)
    after = featurizer.featurize(structures[0])
    fresh = type(featurizer)(value)
    assert after == fresh.featurize(structures[0]) != before
    assert featurizer.feature_labels() == fresh.feature_labels()
    for copy in (clone(featurizer), pickle.loads(pickle.dumps(featurizer))):  # noqa: S301 (our own)
        assert copy.featurize(structures[0]) == after


def test_a_list_of_properties_may_grow(structures):
    featurizer = PropertyFeaturizer(["band_gap"])
    assert len(featurizer.featurize(structures[0])) == 2
    featurizer.properties.append("bulk_modulus")
    assert len(featurizer.featurize(structures[0])) == len(featurizer.feature_labels()) == 4


def test_networks_are_loaded_once_and_anew_on_another_device(monkeypatch):
    loaded = []
    monkeypatch.setattr(CrystalGenerator, "from_pretrained", lambda *given: loaded.append(given) or given)
    featurizer = LatentFeaturizer("cubic")
    assert featurizer.generator is featurizer.generator
    featurizer.set_params(device="cuda:1")
    assert featurizer.generator == ("cubic", "cuda:1")
    assert loaded == [("cubic", "cpu"), ("cubic", "cuda:1")]


# Agreement with the models


def test_latent_features_are_the_encoders_means(structures):
    expected = CrystalGenerator.from_pretrained("cubic").encode(structures)
    np.testing.assert_allclose(LatentFeaturizer("cubic").featurize_many(structures, pbar=False), expected, rtol=1e-6)


def test_features_of_a_latent_grid_are_its_mean_and_spread(structures):
    featurizer = LatentFeaturizer("materials")
    grids = [each.grid for each in CrystalGenerator.from_pretrained("materials").encode(structures)]
    width = grids[0].shape[-1]
    rows = [np.concatenate([g.reshape(-1, width).mean(0), g.reshape(-1, width).std(0)]) for g in grids]
    np.testing.assert_allclose(featurizer.featurize_many(structures, pbar=False), rows, rtol=1e-5, atol=1e-6)
    labels = featurizer.feature_labels()
    assert (labels[0], labels[width], len(labels)) == ("latent_mean_0_materials", "latent_std_0_materials", 2 * width)


def test_what_the_energy_tells_stands_behind_the_layers(structures):
    featurizer = CrystalGraphFeaturizer()
    found = dict(zip(featurizer.feature_labels(), featurizer.featurize(structures[1]), strict=True))
    energy = PropertyPredictor.from_pretrained("formation_energy_per_atom").predict(structures[1]).values[0]
    assert found["graph_energy_mean_formation_energy_per_atom"] == pytest.approx(energy, abs=1e-4)
    labels = list(found)
    assert (labels[0], labels[-1]) == tuple(
        f"graph_{name}_formation_energy_per_atom" for name in ("layer1_0", "exchange_gap")
    )
    assert all("_layer" in label for label in CrystalGraphFeaturizer("band_gap").feature_labels())


def test_property_features_are_the_predictions(structures):
    found = PropertyPredictor.from_pretrained("band_gap").predict(structures)
    featurizer = PropertyFeaturizer(["band_gap"])
    expected = np.stack([found.values, found.stds], axis=1)
    np.testing.assert_allclose(featurizer.featurize_many(structures, pbar=False), expected, rtol=1e-6)
    assert featurizer.feature_labels() == ["predicted_band_gap", "predicted_band_gap_std"]
    assert len(PropertyFeaturizer.from_preset("paper").feature_labels()) == 14


@pytest.mark.parametrize("over_entries", [True, False])
def test_beside_matminers_own(structures, over_entries):
    both = MultipleFeaturizer([DensityFeatures(), CrystalGraphFeaturizer()], iterate_over_entries=over_entries)
    both.set_n_jobs(1)
    frame = both.featurize_dataframe(pd.DataFrame({"structure": structures}), "structure", pbar=False)
    expected = CrystalGraphFeaturizer().featurize_many(structures, pbar=False)
    np.testing.assert_allclose(frame[CrystalGraphFeaturizer().feature_labels()], expected, rtol=1e-5, atol=1e-5)
    assert frame["density"].notna().all()


# Processes


FORKED = """
import sys, warnings
warnings.simplefilter("ignore")
import joblib, pandas as pd
from multiprocessing import get_context
from matminer.featurizers.base import MultipleFeaturizer
from matminer.featurizers.structure import DensityFeatures
from icsg3d.featurizers import CrystalGraphFeaturizer, LatentFeaturizer, PropertyFeaturizer
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.transformations import ReconstructionTransformation

def rebuilt(structure):
    return RECONSTRUCTION.apply_transformation(structure).composition.reduced_formula

if __name__ == "__main__":
    warm = sys.argv[1] == "warm"
    salts = [prototype_structure(formula) for formula in ("NaCl", "MgO")]
    frame = pd.DataFrame({"structure": salts})
    featurizers = [LatentFeaturizer(), CrystalGraphFeaturizer(), PropertyFeaturizer(["band_gap"])]
    RECONSTRUCTION = ReconstructionTransformation()
    if warm:
        expected = [[featurizer.featurize(salt) for salt in salts] for featurizer in featurizers]
        rebuilt(salts[0])
    both = MultipleFeaturizer([DensityFeatures(), *featurizers])
    both.set_n_jobs(2)
    whole = both.featurize_dataframe(frame, "structure", pbar=False)
    labels = [featurizer.feature_labels() for featurizer in featurizers]
    pooled = [whole[names].to_numpy().tolist() for names in labels]
    with get_context("fork").Pool(2) as pool:
        forked = [pool.map(featurizer.featurize, salts) for featurizer in featurizers]
        crystals = pool.map(rebuilt, salts)
    jobs = [
        joblib.Parallel(n_jobs=2, backend="multiprocessing")(joblib.delayed(each.featurize)(salt) for salt in salts)
        for each in featurizers
    ]
    if not warm:
        expected = [[featurizer.featurize(salt) for salt in salts] for featurizer in featurizers]
    assert pooled == forked == jobs == expected
    assert crystals == ["NaCl", "MgO"], crystals
    print("ALIKE", whole.shape)
"""


@pytest.mark.slow
@pytest.mark.parametrize("state", ["warm", "cold"])
def test_processes_that_were_forked_end_and_agree(state, tmp_path):
    """The threads of torch do not exist in a forked process, which would wait for them for ever."""
    (tmp_path / "forked.py").write_text(FORKED)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "forked.py"), state],
        capture_output=True,
        text=True,
        timeout=400,
        env=environment,
        check=False,
    )
    assert "ALIKE (2, " in done.stdout, done.stderr[-2000:]


# Labels and checks


def test_featurizers_of_two_models_stand_side_by_side(structures, tmp_path):
    shipped = find("band_gap")
    for name in ("a", "b"):
        shutil.copytree(shipped, tmp_path / name / "model")
    model, _ = load_property_model(tmp_path / "b" / "model")
    with torch.no_grad():
        model.members[0].output.bias += 0.5
    save_property_model(model, tmp_path / "b" / "model")
    folders = [str(tmp_path / name / "model") for name in ("a", "b")]
    for kind, names in ((CrystalGraphFeaturizer, ["band_gap", "shear_modulus"]), (LatentFeaturizer, ["perovskites"])):
        labels = [label for name in names for label in kind(name).feature_labels()]
        assert all(label.endswith(tuple(names)) for label in labels)
    both = MultipleFeaturizer([CrystalGraphFeaturizer(model) for model in ("band_gap", *folders)])
    both.set_n_jobs(1)
    frame = both.featurize_dataframe(pd.DataFrame({"structure": structures[:2]}), "structure", pbar=False)
    assert frame.columns.is_unique
    properties = PropertyFeaturizer(["band_gap", folders[1]])
    assert len(set(properties.feature_labels())) == 4
    values = properties.featurize(structures[0])
    assert values[0] != values[2]


def test_a_short_name_has_the_label_of_its_model():
    assert CrystalGraphFeaturizer("gap").feature_labels() == CrystalGraphFeaturizer("band_gap").feature_labels()


@pytest.mark.parametrize("featurizer", featurizers(), ids=lambda each: type(each).__name__)
def test_precheck_says_which_structures_are_taken(featurizer, broken):
    close = broken[0].copy()
    close.scale_lattice(close.volume / 50)
    assert [featurizer.precheck(each) for each in (*broken, close)] == [True, False, True, False]
    frame = pd.DataFrame({"structure": [*broken, close]})
    assert featurizer.precheck_dataframe(frame, "structure", return_frac=True) == pytest.approx(0.5)


@pytest.mark.parametrize("featurizer", featurizers(), ids=lambda each: type(each).__name__)
def test_columns_as_scikit_learn_has_them(featurizer, structures):
    featurizer = clone(featurizer)
    assert featurizer.get_feature_names_out().tolist() == featurizer.feature_labels()
    frame = featurizer.set_output(transform="pandas").fit_transform(structures)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == featurizer.feature_labels()
    plain = type(featurizer)(**featurizer.get_params()).transform(structures)
    np.testing.assert_array_equal(frame.to_numpy(), plain)
    column = pd.Series(structures, index=[3, 5, 7, 9])
    assert list(featurizer.fit_transform(column).index) == [3, 5, 7, 9]
