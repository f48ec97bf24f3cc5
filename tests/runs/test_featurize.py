"""``icsg3d featurize``: its tables are those of the featurizers, whatever the chunks."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Structure

pytest.importorskip("matminer")

from icsg3d.errors import InputError, Interrupted
from icsg3d.featurizers import CrystalGraphFeaturizer, LatentFeaturizer, PropertyFeaturizer
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.runs import chunked
from icsg3d.runs.featurize import featurize

featurizing = sys.modules["icsg3d.runs.featurize"]

FORMULAS = ["NaCl", "SrTiO3", "LiF", "MgO", "CsCl"]
CLOSE = Structure(4 * np.eye(3), ["Na", "Cl"], [[0, 0, 0], [0.01, 0, 0]])


@pytest.fixture(scope="module")
def crystals():
    return [prototype_structure(formula) for formula in FORMULAS]


@pytest.fixture
def lines(tmp_path, crystals):
    """Five crystals, one that networks refuse, and a line that is none."""
    given = [*crystals[:2], CLOSE, *crystals[2:]]
    names = [*FORMULAS[:2], "close", *FORMULAS[2:]]
    rows = [json.dumps({"material_id": n, "structure": s.as_dict()}) for n, s in zip(names, given, strict=True)]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([*rows, "broken"]))
    return path


@pytest.fixture
def small(monkeypatch):
    """Chunks of two."""
    monkeypatch.setattr(chunked, "CHUNK", 2)


def test_columns_of_several_featurizers_stand_beside_each_other(tmp_path, lines, crystals, small, caplog):
    found = featurize(lines, tmp_path / "o.parquet", ["graph=band_gap", "property=bulk_modulus"])
    frame = found.frame
    made = [CrystalGraphFeaturizer("band_gap"), PropertyFeaturizer(["bulk_modulus"])]
    labels = [label for each in made for label in each.feature_labels()]
    assert str(found) == f"{len(labels)} features of 5 crystals"
    assert list(frame) == ["material_id", "formula", *labels]
    assert frame["material_id"].tolist() == frame["formula"].tolist() == FORMULAS
    expected = np.concatenate([each.featurize_many(crystals, pbar=False) for each in made], axis=1)
    assert np.array_equal(frame[labels].to_numpy(), expected)
    assert "left out close: NaCl" in caplog.text
    assert "left out 6: the line cannot be read as JSON" in caplog.text


def test_a_crystal_that_one_featurizer_refuses_is_left_out(tmp_path, tiny_model, crystals):
    path = tmp_path / "in.jsonl"
    odd = crystals[1].copy()
    odd.replace_species({"Sr": "Pu"})  # the graph network takes it, the generator does not
    path.write_text("\n".join(json.dumps(each.as_dict()) for each in (crystals[0], odd)))
    assert featurize(path, tmp_path / "a.csv", ["graph"]).count == 2
    found = featurize(path, tmp_path / "b.csv", ["graph", f"latent={tiny_model}"])
    assert found.count == 1
    latent = LatentFeaturizer(tiny_model).featurize(crystals[0])
    assert found.frame.iloc[0, -len(latent) :].to_numpy(float) == pytest.approx(latent, rel=1e-5, abs=1e-9)


def test_interrupted_features_go_on_to_the_same_bytes(tmp_path, lines, small, monkeypatch):
    featurize(lines, tmp_path / "whole.csv")
    calls, original = [], featurizing._features

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(featurizing, "_features", interrupted)
    with pytest.raises(Interrupted, match="--resume"):
        featurize(lines, tmp_path / "o.csv")
    with pytest.raises(InputError, match="begun with other data, another model or other options"):
        featurize(lines, tmp_path / "o.csv", ["graph=band_gap"], resume=True)
    featurize(lines, tmp_path / "o.csv", resume=True)
    assert (tmp_path / "o.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(calls) == 5  # two, one that was interrupted, and the last two of four


@pytest.mark.parametrize("names", [["volume"], ["graph="], ["graph", "graph=formation_energy_per_atom"], []])
def test_featurizers_that_are_none_are_one_sentence(tmp_path, lines, names):
    with pytest.raises(InputError, match=r"there is no featurizer '.*'; give graph, latent, property|asked for twice"):
        featurize(lines, tmp_path / "o.csv", names)


def test_the_command_says_what_it_wrote(tmp_path, lines, run):
    code, said = run("featurize", "--data", lines, "--featurizer", "graph=band_gap", "--out", tmp_path / "o.csv")
    assert code == 0, said
    assert "features of 5 crystals are in" in said
    assert pd.read_csv(tmp_path / "o.csv").shape == (5, 2 + len(CrystalGraphFeaturizer("band_gap").feature_labels()))
    code, said = run("featurize", "--data", lines, "--featurizer", "hull", "--out", tmp_path / "p.csv")
    assert code == 2
    assert "there is no featurizer 'hull'" in said


def test_features_of_a_frame_in_chunks_are_those_of_the_whole(tmp_path, crystals):
    """A table that pandas reads in chunks, its crystals as JSON text."""
    texts = [json.dumps(crystal.as_dict()) for crystal in crystals]
    pd.DataFrame({"structure": texts, "gap": range(5)}).to_csv(tmp_path / "t.csv", index=False)
    featurizer = CrystalGraphFeaturizer("band_gap")

    def featurized(chunk):
        return featurizer.featurize_dataframe(chunk, "structure", ignore_errors=True, pbar=False)

    whole = featurized(pd.read_csv(tmp_path / "t.csv"))
    parts = [featurized(chunk) for chunk in pd.read_csv(tmp_path / "t.csv", chunksize=2)]
    assert [len(part) for part in parts] == [2, 2, 1]
    pd.testing.assert_frame_equal(pd.concat(parts), whole, check_exact=True)
    expected = featurizer.featurize_many(crystals, pbar=False)
    assert np.array_equal(whole[featurizer.feature_labels()].to_numpy(), expected)


def test_features_of_a_dask_frame_are_those_of_the_whole(crystals):
    dask = pytest.importorskip("dask.dataframe")
    featurizer = CrystalGraphFeaturizer("band_gap")

    def featurized(part):
        return featurizer.featurize_dataframe(part, "structure", ignore_errors=True, pbar=False)

    frame = pd.DataFrame({"structure": [json.dumps(crystal.as_dict()) for crystal in crystals]})
    labels = dict.fromkeys(featurizer.feature_labels(), float)
    found = dask.from_pandas(frame, npartitions=3).map_partitions(featurized, meta={"structure": object} | labels)
    together = found.compute(scheduler="synchronous")[list(labels)]
    pd.testing.assert_frame_equal(together, featurized(frame.copy())[list(labels)], check_exact=True)
