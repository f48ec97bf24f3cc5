"""``icsg3d predict``, ``train property`` and ``train import-cgcnn``: what they write, and how wrong input ends."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import pickle
import sys

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core import Structure

from icsg3d import cli
from icsg3d.crystals.elements import electronegativities
from icsg3d.data import write_frame
from icsg3d.data.targets import is_held_out
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.properties import PropertyModel, PropertyModelConfig, load_property_model, save_property_model
from icsg3d.models.targets import PROPERTIES
from icsg3d.pretrained import training_formulas
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.training import properties as training
from icsg3d.training.properties import PropertyTraining, TrainingPhase

# Lightning says so where a second phase begins with the modules as the first left them.

NETWORK = CrystalGraphConfig.preset("gated", layers=1, width=8, hidden=8)
MODEL_FILES = {"config.json", "weights.safetensors", "README.md", "training.json", "training_crystals.csv.gz"}


def rock_salt(cation, anion, edge):
    return Structure(edge / 2 * (np.ones((3, 3)) - np.eye(3)), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def perovskite(large, small, edge):
    frac = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(edge * np.eye(3), [large, small, "O", "O", "O"], frac)


LONELY = Structure(9.5 * np.eye(3), ["Xe"], [[0, 0, 0]])
PAIRS = list(itertools.product(("Li", "Na", "K", "Rb"), ("F", "Cl", "Br", "I")))
CRYSTALS = [rock_salt(c, a, 4.2 + 0.1 * n) for n, (c, a) in enumerate(PAIRS)]
CRYSTALS += [perovskite(b, s, 3.9 + 0.05 * n) for n, (b, s) in enumerate(itertools.product(("Ca", "Sr"), ("Ti", "Zr")))]
FORMULAS = [crystal.composition.reduced_formula for crystal in CRYSTALS]
GAPS = [float(2 * np.ptp([electronegativities()[site.specie.Z] for site in crystal])) for crystal in CRYSTALS]


def write(path, crystals=CRYSTALS, **columns):
    columns = columns or {"band_gap": GAPS}
    ids = [f"mp-{n}" for n in range(len(crystals))]
    structures = [crystal.as_dict() for crystal in crystals]
    write_frame(pd.DataFrame({"material_id": ids, "structure": structures, **columns}), path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "gaps.json.gz")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of two untrained models."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name in ("band_gap", "bulk_modulus"):
        settings = PropertyModelConfig(PROPERTIES[name], NETWORK, 2, 2.0, 0.5, (11, 17, 22, 38, 8), 0.1, 1.0)
        save_property_model(PropertyModel(settings), folder / name)
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def refused(result, *texts):
    code, said = result
    assert code == 2, said
    assert "Traceback" not in said
    assert said.count("Error: ") == 1
    for text in texts:
        assert text in said


# Prediction


def test_predict_writes_a_table(run, tmp_path, models):
    crystals = [rock_salt("Na", "Cl", 5.64), rock_salt("Cs", "I", 6.5), perovskite("Sr", "Ti", 3.9)]
    source = write(tmp_path / "in.json.gz", crystals, x=[1, 2, 3])
    out = tmp_path / "deep" / "out.csv"
    code, said = run("predict", "--data", source, "--property", models / "band_gap", "--out", out)
    assert code == 0, said
    table = rows(out)
    assert list(table[0]) == [
        "material_id",
        "formula",
        "band_gap",
        "band_gap_std",
        "unseen_elements",
        "unlike_training",
    ]
    assert [row["material_id"] for row in table] == ["mp-0", "mp-1", "mp-2"]
    assert [row["formula"] for row in table] == ["NaCl", "CsI", "SrTiO3"]
    assert [row["unseen_elements"] for row in table] == ["", "Cs I", ""]
    found = PropertyPredictor.from_pretrained(models / "band_gap").predict(crystals)
    assert [float(row["band_gap"]) for row in table] == pytest.approx(found.values, rel=2e-5)
    assert [float(row["band_gap_std"]) for row in table] == pytest.approx(found.stds, rel=2e-5)
    assert "1 crystals hold elements that a model never saw" in said
    assert "band_gap (eV) of 3 crystals are in" in said
    assert [path.name for path in out.parent.iterdir()] == ["out.csv"]


def test_predict_takes_several_properties_and_sources(run, tmp_path, models):
    cif = tmp_path / "SrTiO3.cif"
    perovskite("Sr", "Ti", 3.9).to(str(cif), fmt="cif")
    source = write(tmp_path / "in.json", [rock_salt("Na", "Cl", 5.64)], x=[1])
    properties = ("--property", models / "bulk_modulus", "--property", models / "band_gap")
    code, said = run("predict", "--data", cif, "--data", source, *properties, "--out", tmp_path / "o.csv")
    assert code == 0, said
    table = rows(tmp_path / "o.csv")
    columns = ["bulk_modulus", "bulk_modulus_std", "band_gap", "band_gap_std"]
    assert list(table[0]) == ["material_id", "formula", *columns, "unseen_elements", "unlike_training"]
    assert [row["material_id"] for row in table] == ["SrTiO3", "mp-0"]
    assert all(np.isfinite([float(row[column]) for column in columns]).all() for row in table)
    assert "never saw" not in said


def test_a_bad_crystal_among_good_ones_is_left_out(run, tmp_path, models):
    folder = tmp_path / "crystals"
    folder.mkdir()
    for name, crystal in (("good", CRYSTALS[0]), ("lonely", LONELY), ("other", CRYSTALS[1])):
        crystal.to(str(folder / f"{name}.cif"), fmt="cif")
    (folder / "broken.cif").write_text("no crystal")
    out = tmp_path / "o.csv"
    code, said = run("predict", "--data", folder, "--property", models / "band_gap", "--out", out)
    assert code == 0
    assert [row["material_id"] for row in rows(out)] == ["good", "other"]
    assert "left out broken.cif" in said
    assert "left out lonely: Xe: atom 0" in said


def test_what_no_material_can_be_is_named_and_left_out(run, tmp_path, models):
    far, spoilt, close = rock_salt("Li", "F", 4.0), rock_salt("K", "Br", 6.6), rock_salt("Rb", "I", 3.2)
    far.lattice = np.diag([1e6, 4, 4])
    spoilt[1].frac_coords[0] = np.nan
    given = [rock_salt("Na", "Cl", 5.64), far, spoilt, close, perovskite("Sr", "Ti", 3.9)]
    source = write(tmp_path / "in.json.gz", given, x=range(5))
    out = tmp_path / "o.csv"
    code, said = run("predict", "--data", source, "--property", models / "band_gap", "--out", out)
    assert code == 0, said
    assert [row["material_id"] for row in rows(out)] == ["mp-0", "mp-4"]
    assert "left out mp-1: LiF: Li1 F1 has a lattice parameter of 1e+06 angstrom" in said
    assert "left out mp-2: KBr: K1 Br1 has a coordinate or lattice vector that is not a number" in said
    assert "left out mp-3: RbI: Rb1 I1 has atoms Rb (0) and I (1) 1.6 angstrom apart, and 1.79 is the least" in said


def test_a_property_s_name_need_not_be_quite_right(run, tmp_path):
    source = write(tmp_path / "in.json.gz", CRYSTALS[:1], x=[1])
    out = tmp_path / "o.csv"
    code, said = run("predict", "--data", source, "--property", "formation_energy", "--out", out)
    assert code == 0, said
    assert "taking formation_energy_per_atom for 'formation_energy'" in said
    assert "formation_energy_per_atom" in rows(out)[0]
    result = run("predict", "--data", source, "--property", "formaton_enrgy", "--out", tmp_path / "p.csv")
    refused(result, "there is no model 'formaton_enrgy'; did you mean formation_energy_per_atom?")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"--out": "o.json"}, "written as .csv or .parquet; name a file that ends in one of them instead of o.json"),
        ({"--data": "none.cif"}, "there is no file none.cif"),
        ({"--property": "hardness"}, "there is no model 'hardness'"),
        ({"--device": "cuda:99"}, "the device 'cuda:99' cannot be used"),
        ({"--data": "lonely.cif"}, "none of the 1 crystals in lonely.cif could be predicted"),
        ({"--data": "text.cif"}, "text.cif holds no crystal"),
        ({"--out": "text.cif/o.csv"}, "text.cif"),
    ],
)
def test_bad_input_of_predict_ends_in_one_sentence(run, tmp_path, monkeypatch, models, data, changes, expected):
    monkeypatch.chdir(tmp_path)
    LONELY.to("lonely.cif", fmt="cif")
    (tmp_path / "text.cif").write_text("no crystal")
    given = {"--data": data, "--property": models / "band_gap", "--out": "o.csv"} | changes
    refused(run("predict", *itertools.chain(*given.items())), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lonely.cif", "text.cif"]


def test_the_same_property_twice_is_refused(run, tmp_path, models, data):
    twice = ("--property", models / "band_gap") * 2
    result = run("predict", "--data", data, *twice, "--out", tmp_path / "o.csv")
    refused(result, "a property is asked for twice (band_gap, band_gap)")
    assert not (tmp_path / "o.csv").exists()


def test_a_generator_does_not_predict(run, tmp_path, data, tiny_model):
    result = run("predict", "--data", data, "--property", tiny_model, "--out", tmp_path / "o.csv")
    refused(result, "is not the configuration of an icsg3d property")


# Training


SET = ("--set", "preset=gated", "--set", "width=8", "--set", "layers=1", "--set", "batch_size=4")
SMALL = ("--target", "band_gap", *SET, "--accelerator", "cpu")
FAST = (*SMALL, "--members", 2, "--epochs", 2)


def train(data, out, *arguments, how=FAST):
    return ("train", "property", "--data", data, "--out", out, *how, *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """The folder of a trained model."""
    out = tmp_path_factory.mktemp("runs") / "gap"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["icsg3d", *map(str, train(data, out))])
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main()
    return out


def test_train_property_leaves_a_model_that_predicts(run, trained, data, tmp_path):
    assert {path.name for path in trained.iterdir()} == {
        "config.yaml",
        "graphs",
        "member-0",
        "member-1",
        "model",
        "parity.png",
        "seconds.txt",
        "training.sha256",
    }
    assert {path.name for path in (trained / "model").iterdir()} == MODEL_FILES
    assert len(list((trained / "graphs").glob("graphs-*.npz"))) == 1
    out = tmp_path / "o.csv"
    code, said = run("predict", "--data", data, "--property", trained / "model", "--out", out)
    assert code == 0, said
    assert len(rows(out)) == 20
    model, _ = load_property_model(trained / "model")
    apart = [is_held_out(formula) for formula in FORMULAS]
    assert 2 <= sum(apart) <= 6  # else the data of this test are no good
    learned = [gap for gap, back in zip(GAPS, apart, strict=True) if not back]
    assert model.config.mean == pytest.approx(np.mean(learned))
    assert model.config.scale == pytest.approx(np.std(learned, ddof=1))
    assert (model.config.network.width, model.config.network.layers, model.config.members) == (8, 1, 2)
    assert model.config.property == PROPERTIES["band_gap"]


def test_the_record_of_a_training_tells_what_was_done(trained, data):
    record = json.loads((trained / "model" / "training.json").read_text())
    assert record["command"].startswith(f"icsg3d train property --data {data} --out {trained} --target band_gap")
    assert [file["name"] for file in record["data"]] == ["gaps.json.gz"]
    assert len(record["data"][0]["sha256"]) == 64
    apart = {formula for formula in FORMULAS if is_held_out(formula)}
    with gzip.open(trained / "model" / "training_crystals.csv.gz", "rt", newline="") as file:
        learned = {row["formula"] for row in csv.DictReader(file)}
    assert learned == set(FORMULAS) - apart
    metrics = record["metrics"]
    values = np.array([gap for gap, formula in zip(GAPS, FORMULAS, strict=True) if formula in apart])
    found = PropertyPredictor.from_pretrained(trained / "model").predict(
        [crystal for crystal, formula in zip(CRYSTALS, FORMULAS, strict=True) if formula in apart]
    )
    assert metrics["crystals"] == len(values)
    assert metrics["mae"] == pytest.approx(np.abs(found.values - values).mean(), abs=0.01)  # stored in 16 bits
    assert metrics["mae_of_median"] == pytest.approx(np.abs(values - np.median(values)).mean())
    assert 0 <= metrics["within_one_sigma"] <= metrics["within_two_sigma"] <= 1
    card = (trained / "model" / "README.md").read_text()
    assert f"| mae | {metrics['mae']:.4g} |" in card
    assert "Predicts `band_gap` in eV" in card


def test_the_picture_is_one(trained):
    picture = matplotlib.image.imread(io.BytesIO((trained / "parity.png").read_bytes()), format="png")
    assert picture.shape[0] > 300
    assert picture.shape[1] > 2 * picture.shape[0] - 100
    assert picture[..., :3].min() < 0.2
    assert picture[..., :3].max() > 0.9


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_others(run, trained, data, tmp_path):
    assert run(*train(data, tmp_path / "again"))[0] == 0
    for name in ("model/weights.safetensors", "model/config.json", "model/training_crystals.csv.gz", "parity.png"):
        assert (tmp_path / "again" / name).read_bytes() == (trained / name).read_bytes(), name
    assert run(*train(data, tmp_path / "other", "--seed", 1))[0] == 0
    weights = "model/weights.safetensors"
    assert (tmp_path / "other" / weights).read_bytes() != (trained / weights).read_bytes()


def test_an_interrupted_training_goes_on(run, trained, data, tmp_path, monkeypatch):
    whole, taken = PropertyTraining.training_step, itertools.count()

    def interrupted(self, batch, batch_idx):
        if next(taken) == 5:
            raise KeyboardInterrupt
        return whole(self, batch, batch_idx)

    out = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr(PropertyTraining, "training_step", interrupted)
        code, said = run(*train(data, out))
    assert code == 130
    assert "--resume" in said
    assert not (out / "model").exists()
    code, said = run(*train(data, out, "--resume"))
    assert code == 0, said
    for name in ("weights.safetensors", "config.json"):
        assert (out / "model" / name).read_bytes() == (trained / "model" / name).read_bytes()
    record = json.loads((out / "model" / "training.json").read_text())
    assert "--resume" not in record["command"]


def test_crystals_to_judge_by_may_be_given(run, data, tmp_path):
    judged = write(tmp_path / "judged.json", [rock_salt("Cs", a, 6.0) for a in ("F", "Cl", "Br")], band_gap=[5, 4, 3])
    (tmp_path / "notes.md").write_text("Data: made up.\n")
    notes = ("--held-out", judged, "--notes", tmp_path / "notes.md")
    code, said = run(*train(data, tmp_path / "out", *notes))
    assert code == 0, said
    assert "20 crystals to learn from, 3 held out, 2 networks" in said
    record = json.loads((tmp_path / "out" / "model" / "training.json").read_text())
    assert [(f["role"], f["rows"]) for f in record["data"]] == [("training", 20), ("held out", 3)]
    assert record["metrics"]["mae_of_median"] == pytest.approx(2 / 3)
    assert (tmp_path / "out" / "model" / "README.md").read_text().endswith("Data: made up.\n")


def test_no_formula_is_learned_that_judges(run, data, tmp_path):
    judged = write(tmp_path / "judged.json", CRYSTALS[:3], band_gap=GAPS[:3])
    code, said = run(*train(data, tmp_path / "out", "--held-out", judged, "--members", 1, "--epochs", 1))
    assert code == 0, said
    shared = [formula for formula in FORMULAS if formula in set(FORMULAS[:3])]
    assert f"{len(shared)} crystals have held-out formulas, and are left out" in said
    assert f"{20 - len(shared)} crystals to learn from, 3 held out" in said
    assert not training_formulas(tmp_path / "out" / "model") & set(FORMULAS[:3])


def test_crystals_on_another_scale_help_but_do_not_count(run, data, tmp_path):
    other = write(tmp_path / "other.json", CRYSTALS, band_gap=[gap + 1 for gap in GAPS])
    code, said = run(*train(data, tmp_path / "out", "--other-scale", other))
    assert code == 0, said
    apart = sum(is_held_out(formula) for formula in FORMULAS)
    assert f"{2 * (20 - apart)} crystals to learn from, {apart} held out" in said
    model, _ = load_property_model(tmp_path / "out" / "model")
    learned = [gap for gap, formula in zip(GAPS, FORMULAS, strict=True) if not is_held_out(formula)]
    assert model.config.mean == pytest.approx(np.mean(learned))
    last = torch.load(tmp_path / "out" / "member-0" / "0-everything" / "last.ckpt", weights_only=True)
    references = last["state_dict"]["references"]
    assert references[0].abs().max() == 0
    assert references[1].abs().max() > 0
    record = json.loads((tmp_path / "out" / "model" / "training.json").read_text())
    assert [file["role"] for file in record["data"]] == ["training", "other scale"]


def test_a_property_that_the_package_does_not_know(run, tmp_path):
    source = write(tmp_path / "x.json", heat=GAPS)
    how = ("--target", "heat", *SMALL[2:], "--members", 1, "--epochs", 1, "--unit", "J/K")
    code, said = run(*train(source, tmp_path / "out", how=how))
    assert code == 0, said
    model, _ = load_property_model(tmp_path / "out" / "model")
    assert (model.config.property.name, model.config.property.unit) == ("heat", "J/K")
    assert "J/K on" in said


@pytest.mark.parametrize("preset", ["paper", "cgcnn"])
def test_presets(run, data, tmp_path, preset):
    code, said = run(*train(data, tmp_path, "--preset", preset, "--members", 1, "--epochs", 1))
    assert code == 0, said
    network = load_property_model(tmp_path / "model")[0].config.network
    assert network == CrystalGraphConfig.preset(preset, width=8, layers=1)


def test_a_model_may_start_from_another(run, trained, data, tmp_path):
    source = write(tmp_path / "moduli.json", bulk_modulus=[10 + 5 * n for n in range(20)])
    how = ("--target", "bulk_modulus", "--epochs", 2, "--members", 1, "--batch-size", 4, "--accelerator", "cpu")
    code, said = run(*train(source, tmp_path / "out", "--from", trained / "model", how=how))
    assert code == 0, said
    assert [p.name for p in (tmp_path / "out" / "member-0").iterdir()] == ["0-everything"]
    model, _ = load_property_model(tmp_path / "out" / "model")
    assert model.config.property.name == "bulk_modulus"
    assert model.config.network.width == 8
    start, _ = load_property_model(trained / "model")
    far = PropertyModel(start.config)
    embeddings = [each.members[0].embedding.weight for each in (start, model, far)]
    assert 0 < (embeddings[1] - embeddings[0]).abs().max() < 0.3 * (embeddings[2] - embeddings[0]).abs().max()


def test_the_paper_s_transfer(run, trained, data, tmp_path, monkeypatch):
    asked = []
    whole = training.paper_transfer
    monkeypatch.setattr(
        "icsg3d.runs.train_property.paper_transfer", lambda rate: asked.append(rate) or whole(rate, 2, 1)
    )
    how = ("--target", "band_gap", "--members", 1, "--batch-size", 4, "--accelerator", "cpu", "--transfer", "paper")
    code, said = run(*train(data, tmp_path, "--from", trained / "model", "--learning-rate", 4e-3, how=how))
    assert code == 0, said
    assert asked == [4e-3]
    assert sorted(p.name for p in (tmp_path / "member-0").iterdir()) == ["0-dense", "1-all"]
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    phases = [
        TrainingPhase(**(phase | {"left_out": tuple(phase["left_out"])})) for phase in record["options"]["phases"]
    ]
    assert phases == [
        TrainingPhase("dense", 2, 4e-3, "dense"),
        TrainingPhase("all", 1, pytest.approx(4e-5), "not_norms"),
    ]
    start, _ = load_property_model(trained / "model")
    model, _ = load_property_model(tmp_path / "model")
    norms = [each.members[0].convolutions[0].node_norm.weight for each in (start, model)]
    assert torch.equal(*norms)
    assert not torch.equal(start.members[0].dense.weight, model.members[0].dense.weight)


def test_bad_rows_are_left_out_when_asked(run, tmp_path):
    source = write(tmp_path / "x.json", [*CRYSTALS, LONELY], band_gap=[-5.0, *GAPS[1:], 1.0])
    refused(run(*train(source, tmp_path / "out")), "1 of 21 values of 'band_gap'", "mp-0: -5 eV", "--skip-bad-rows")
    assert not (tmp_path / "out" / "model").exists()
    code, said = run(*train(source, tmp_path / "out", "--skip-bad-rows", "--members", 1, "--epochs", 1))
    assert code == 0, said
    assert "left out mp-0" in said
    assert "left out mp-20: atom 0 (Xe)" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--target", "hardness"), "gaps.json.gz has no column 'hardness'; its columns of numbers are band_gap"),
        (("--target", "material_id"), "the column 'material_id' of gaps.json.gz holds something that is no number"),
        (("--preset", "huge"), "there is no preset 'huge'; there are paper, cgcnn, gated"),
        (("--from", "models"), "leave out preset, width and layers"),
        (("--from", "nonesuch"), "there is no model 'nonesuch'"),
        (("--data", "none.json"), "none.json"),
        (("--held-out", "none.json"), "none.json"),
        (("--other-scale", "none.json"), "none.json"),
        (("--data", "constant.json"), "all"),
        (("--data", "few.json"), "too few to learn from"),
    ],
)
def test_bad_input_of_train_ends_in_one_sentence(run, tmp_path, monkeypatch, models, data, arguments, expected):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "constant.json", band_gap=[1.5] * 20)
    write(tmp_path / "few.json", CRYSTALS[:4], band_gap=GAPS[:4])
    key, value = arguments
    value = models / "band_gap" if value == "models" else value
    given = {"--data": data, "--out": "out", "--target": "band_gap", "--accelerator": "cpu", "--members": 2}
    given |= {"--width": 8, "--layers": 1, "--batch-size": 8, "--epochs": 2, key: value}
    refused(run("train", "property", *itertools.chain(*given.items())), expected)
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.parametrize("value", [("--epochs", 0), ("--members", 0), ("--width", 0), ("--transfer", "half")])
def test_options_out_of_range_are_refused(run, data, tmp_path, value):
    code, _ = run(*train(data, tmp_path / "out", *value))
    assert code == 2
    assert not (tmp_path / "out").exists()


# Known shortcomings


def test_each_of_several_files_is_described_with_its_own_rows(run, tmp_path):
    one = write(tmp_path / "one.json", CRYSTALS[:12], band_gap=GAPS[:12])
    two = write(tmp_path / "two.json", CRYSTALS[12:], band_gap=GAPS[12:])
    assert run(*train(one, tmp_path / "out", "--data", two, "--members", 1, "--epochs", 1))[0] == 0
    record = json.loads((tmp_path / "out" / "model" / "training.json").read_text())
    rows_of = [file["rows"] for file in record["data"]]
    assert sum(rows_of) <= 20


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value encountered")
def test_a_single_formula_kept_back_is_enough(run, data, tmp_path):
    judged = write(tmp_path / "judged.json", [rock_salt("Cs", "F", 6.0)], band_gap=[5.0])
    assert run(*train(data, tmp_path / "out", "--held-out", judged, "--members", 1, "--epochs", 1))[0] == 0


@pytest.mark.parametrize("seed", [-1, 10**30])
def test_a_seed_that_is_none_is_told_before_any_work(run, data, tmp_path, seed):
    refused(
        run(*train(data, tmp_path / "out", "--seed", seed)),
        f"a seed is a whole number of 0 or more, up to 9007199254740991, got {seed}",
    )
    assert not (tmp_path / "out").exists()


def test_a_date_is_a_seed(run, data, tmp_path):
    code, said = run(*train(data, tmp_path / "out", "--seed", 20260115, "--members", 1, "--epochs", 1))
    assert code == 0, said


def test_an_unknown_accelerator_is_told(run, data, tmp_path):
    refused(run(*train(data, tmp_path / "out", "--accelerator", "abacus")), "abacus")


def test_missing_notes_are_told_before_the_training(run, data, tmp_path):
    arguments = ("--members", 1, "--epochs", 1, "--notes", tmp_path / "none.md")
    refused(run(*train(data, tmp_path / "out", *arguments)), "none.md")
    assert not (tmp_path / "out" / "member-0").exists()


# Checkpoints of the official CGCNN


def official_files(folder, width=8, layers=1, hidden=6, features=5):
    """Write a checkpoint as the official code does, and its table of elements."""
    torch.manual_seed(0)
    state = {"embedding.weight": torch.randn(width, features), "embedding.bias": torch.randn(width)}
    for n in range(layers):
        state[f"convs.{n}.fc_full.weight"] = torch.randn(2 * width, 2 * width + 41)
        state[f"convs.{n}.fc_full.bias"] = torch.randn(2 * width)
        for norm, size in (("bn1", 2 * width), ("bn2", width)):
            for name in ("weight", "bias", "running_mean", "running_var"):
                state[f"convs.{n}.{norm}.{name}"] = torch.rand(size) + 0.5
    state |= {"conv_to_fc.weight": torch.randn(hidden, width), "conv_to_fc.bias": torch.randn(hidden)}
    state |= {"fc_out.weight": torch.randn(1, hidden), "fc_out.bias": torch.randn(1)}
    normalizer = {"mean": torch.tensor(1.5), "std": torch.tensor(0.5)}
    torch.save({"state_dict": state, "normalizer": normalizer, "epoch": 3}, folder / "model.pth.tar")
    table = {str(number): np.eye(5)[number % 5].tolist() for number in (11, 17, 22, 38, 8)}
    (folder / "atom_init.json").write_text(json.dumps(table))
    return folder / "model.pth.tar", folder / "atom_init.json"


def convert(weights, table, out):
    return ("train", "import-cgcnn", weights, "--atom-init", table, "--target", "bulk_modulus", "--out", out)


def test_an_imported_model_predicts(run, tmp_path):
    weights, table = official_files(tmp_path)
    code, said = run(*convert(weights, table, tmp_path / "model"))
    assert code == 0, said
    model, _ = load_property_model(tmp_path / "model")
    assert (model.config.mean, model.config.scale, model.config.members) == (1.5, 0.5, 1)
    assert model.config.elements == (8, 11, 17, 22, 38)
    source = write(tmp_path / "in.json", CRYSTALS[4:6], x=[1, 2])
    arguments = ("--property", tmp_path / "model", "--out", tmp_path / "o.csv")
    code, said = run("predict", "--data", source, *arguments)
    assert code == 0, said
    found = rows(tmp_path / "o.csv")
    assert [row["unseen_elements"] for row in found] == ["F", ""]
    assert all(float(row["bulk_modulus"]) > 0 for row in found)


class Trap:
    def __reduce__(self):
        return print, ("run by a pickle",)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda weights, table: weights.unlink(), "there is no file"),
        (lambda weights, table: table.unlink(), "is no table of feature vectors"),
        (lambda weights, table: table.write_text("[1]"), "is no table of feature vectors"),
        (lambda weights, table: table.write_text('{"1": [0, 1]}'), "do not fit together"),
        (lambda weights, table: weights.write_bytes(weights.read_bytes()[:-500]), "is refused"),
        (lambda weights, table: weights.write_bytes(b""), "is refused"),
        (lambda weights, table: weights.write_bytes(pickle.dumps(Trap(), protocol=2)), "is refused"),
        (lambda weights, table: torch.save({"epoch": 1}, weights), "is no checkpoint of the official CGCNN"),
        (lambda weights, table: torch.save([1], weights), "it holds a list"),
    ],
)
def test_bad_checkpoints_end_in_one_sentence(run, tmp_path, change, expected):
    weights, table = official_files(tmp_path)
    change(weights, table)
    refused(run(*convert(weights, table, tmp_path / "model")), expected)
    assert not (tmp_path / "model").exists()


def test_a_checkpoint_that_is_text_is_refused(run, tmp_path):
    weights, table = official_files(tmp_path)
    weights.write_text("text")
    refused(run(*convert(weights, table, tmp_path / "model")), "is refused")


@pytest.mark.parametrize("command", [("predict",), ("featurize",), ("train", "property"), ("train", "import-cgcnn")])
def test_the_commands_have_help(monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "argv", ["icsg3d", *command, "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert "Example" in capsys.readouterr().out
