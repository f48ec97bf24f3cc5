"""The same input gives the same bytes: in a second run, beside other crystals, and with another number of threads."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch

from icsg3d.data import write_frame
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.properties.predictor import PropertyPredictor, shipped_properties

FORMULAS = ("SrTiO3", "NaCl", "KMgF3", "Fe2VAl", "CsCl", "LiF", "LaAlO3", "MgO", "BaTiO3", "Cu2MnAl")


@pytest.fixture(scope="module")
def crystals():
    """Return crystals of 1 to 40 atoms in different order of size."""
    made = [prototype_structure(formula) for formula in FORMULAS]
    return [crystal.make_supercell((1, 1, row % 3 + 1), in_place=False) for row, crystal in enumerate(made)]


@pytest.fixture(scope="module")
def data(crystals, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "crystals.json"
    write_frame(pd.DataFrame({"material_id": FORMULAS, "structure": crystals}), path)
    return path


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", shipped_properties())
def test_a_prediction_knows_nothing_of_its_batch(name, crystals):
    predictor = PropertyPredictor.from_pretrained(name)
    together, backwards = predictor.predict(crystals), predictor.predict(crystals[::-1])
    alone = [predictor.predict(crystal) for crystal in crystals]
    with threads(2):
        shared = predictor.predict(crystals)
    for field in ("values", "stds", "unlike"):
        values = getattr(together, field).tolist()
        assert [getattr(each, field)[0] for each in alone] == values
        assert getattr(backwards, field)[::-1].tolist() == values
        assert getattr(shared, field).tolist() == values
    assert np.ptp(together.values) > 0


@pytest.mark.slow
def test_a_latent_vector_knows_nothing_of_its_batch():
    generator = CrystalGenerator.from_pretrained("cubic")
    cells = [prototype_structure(formula) for formula in FORMULAS[:4]]
    together = generator.encode(cells)
    assert np.array_equal(together, np.concatenate([generator.encode([cell]) for cell in cells]))
    assert np.array_equal(together[::-1], generator.encode(cells[::-1]))


@pytest.mark.slow
def test_features_are_the_same_in_any_batch(crystals):
    pytest.importorskip("matminer")
    from icsg3d.featurizers import CrystalGraphFeaturizer, PropertyFeaturizer

    for featurizer in (CrystalGraphFeaturizer(), PropertyFeaturizer(["bulk_modulus", "band_gap"])):
        together = featurizer.featurize_many(crystals, pbar=False)
        assert together == [featurizer.featurize(crystal) for crystal in crystals]


COMMANDS = {
    "generate": ("generate", "--base", "SrTiO3", "-n", 6, "--no-picture", "--out", "{out}"),
    "free": ("generate", "-n", 6, "--no-picture", "--out", "{out}"),
    "predict": ("predict", "--data", "{data}", "--property", "band_gap", "--out", "{out}.csv"),
    "featurize": ("featurize", "--data", "{data}", "--featurizer", "graph", "--out", "{out}.csv"),
    "reconstruct": ("reconstruct", "--data", "{data}", "--limit", 2, "--out", "{out}.json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_two_runs_write_the_same_bytes_with_any_number_of_threads(name, command_line, data, tmp_path):
    written = []
    for run, count in enumerate((1, 1, 2)):
        out = tmp_path / str(run)
        values = {"out": out, "data": data}
        with threads(count):
            code, said = command_line(*(str(each).format(**values) for each in COMMANDS[name]))
        assert code == 0, said
        table = out / "candidates.csv" if out.is_dir() else next(tmp_path.glob(f"{run}.*"))
        written.append(table.read_bytes())
    assert written[0] == written[1] == written[2]
    assert len(written[0]) > 300


def test_rows_of_a_table_do_not_depend_on_the_other_rows(command_line, data, crystals, tmp_path):
    few = tmp_path / "few.json"
    write_frame(pd.DataFrame({"material_id": FORMULAS[3:5], "structure": crystals[3:5]}), few)
    for source in (data, few):
        command_line("predict", "--data", source, "--property", "all", "--out", tmp_path / f"{source.stem}.csv")
    whole = (tmp_path / "crystals.csv").read_text().splitlines()
    assert (tmp_path / "few.csv").read_text().splitlines() == [whole[0], *whole[4:6]]
