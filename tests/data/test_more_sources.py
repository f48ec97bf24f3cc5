"""CSV tables, ASE databases, matminer's data sets, and descriptions of what a source holds."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.db import connect
from typer.testing import CliRunner

from icsg3d.cli import app
from icsg3d.data import load_structures, write_frame
from icsg3d.data.description import describe
from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.report.database import write_candidates

if TYPE_CHECKING:
    from pymatgen.core import Structure

FORMULAS = ("SrTiO3", "NaCl", "Fe2VAl")


@pytest.fixture(scope="module")
def structures():
    return [prototype_structure(formula) for formula in FORMULAS]


def same(one: Structure, other: Structure, atol: float = 1e-3) -> bool:
    """Whether two cells have the same lattice parameters and species."""
    return one.composition == other.composition and np.allclose(
        one.lattice.parameters, other.lattice.parameters, atol=atol
    )


# CSV


def test_a_table_of_cifs(tmp_path, structures):
    frame = pd.DataFrame(
        {
            "material_id": ["a", "b", "c", "d", "e"],
            "heat_ref": [0.1, 0.2, 0.3, 0.4, 0.5],
            "cif": [*(s.to(fmt="cif") for s in structures), "no cif at all", None],
        }
    )
    frame.to_csv(tmp_path / "crystals.csv")  # with the column of row numbers that CDVAE's files have
    table = load_structures(tmp_path / "crystals.csv")
    assert table.ids == ["a", "b", "c"]
    assert all(same(*pair) for pair in zip(table.structures, structures, strict=True))
    assert list(table.frame.columns) == ["material_id", "heat_ref"]
    assert table.frame["heat_ref"].tolist() == [0.1, 0.2, 0.3]
    assert set(table.skipped) == {"d", "e"}
    assert "CIF" in table.skipped["d"]
    assert table.skipped["e"] == "the row has no CIF"


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n", "no column 'cif', only a, b"), ("", "cannot be read"), ("cif\nnonsense\n", "holds no crystal")],
)
def test_tables_that_hold_no_crystals(tmp_path, text, message):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load_structures(tmp_path / "table.csv")


@pytest.mark.parametrize("name", ["crystals.csv", "crystals.csv.gz"])
def test_words_for_missing_are_words_among_words(tmp_path, structures, name):
    frame = pd.DataFrame(
        {
            "material_id": ["NaN", "null", "NaCl"],
            "formula": ["NaN", "InF", None],
            "all": ["NaN"] * 3,
            "gap": ["NaN", "NA", "1.5"],
            "cif": [structure.to(fmt="cif") for structure in structures],
        }
    )
    frame.to_csv(tmp_path / name, index=False)
    table = load_structures(tmp_path / name)
    assert table.ids == ["NaN", "null", "NaCl"]
    assert table.frame["formula"].tolist()[:2] == ["NaN", "InF"]
    assert table.frame["formula"].isna().tolist() == [False, False, True]
    assert table.frame["all"].tolist() == ["NaN"] * 3
    assert table.frame["gap"].isna().tolist() == [True, True, False]
    assert table.frame["gap"].dtype == float


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        load_structures(tmp_path / "absent.csv")


def test_one_bad_row_of_a_dataframe_costs_one_row(tmp_path, structures):
    write_frame(pd.DataFrame({"material_id": list("abc"), "structure": structures}), tmp_path / "f.json")
    content = json.loads((tmp_path / "f.json").read_text())
    row = content["data"][1]
    row[1]["sites"][0]["species"][0]["element"] = "Xx"
    (tmp_path / "f.json").write_text(json.dumps(content))
    table = load_structures(tmp_path / "f.json")
    assert table.ids == ["a", "c"]
    assert "Xx" in table.skipped["b"]


# ASE databases


def test_candidates_travel_through_an_ase_database(tmp_path, structures):
    candidates = [
        Candidate(
            number,
            structure,
            base="SrTiO3",
            seed=4,
            scale=0.8,
            latent_distance=0.25 * number,
            model="cubic",
            model_sha256="ab" * 32,
            in_training=number == 0,
            predictions={"band_gap": 1.5 + number, "band_gap_std": 0.1},
            screening={"charge_neutral": True, "nested": {"not": "written"}},
        )
        for number, structure in enumerate(structures)
    ]
    failed = Candidate(3, None, "no atom was found")
    assert write_candidates([*candidates, failed], tmp_path / "candidates.db") == 3
    table = load_structures(tmp_path / "candidates.db")
    assert table.ids == ["candidate-0", "candidate-1", "candidate-2"]
    assert all(same(*pair, atol=1e-9) for pair in zip(table.structures, structures, strict=True))
    assert table.frame["band_gap"].tolist() == [1.5, 2.5, 3.5]
    assert table.frame["latent_distance"].tolist() == [0.0, 0.25, 0.5]
    assert table.frame["in_training"].tolist() == [True, False, False]
    assert table.frame["charge_neutral"].tolist() == [True] * 3
    assert "nested" not in table.frame.columns
    assert [path.name for path in tmp_path.iterdir()] == ["candidates.db"]


def test_text_that_ase_would_take_for_a_number_comes_back(tmp_path, structures):
    texts = ["NaN", "InF", "2024", "1e5", "True", "inf", "SrTiO3"]
    candidates = [
        Candidate(number, structures[0], base=text, model=text, screening={"prototype": text, "stable": True})
        for number, text in enumerate(texts)
    ]
    assert write_candidates(candidates, tmp_path / "candidates.db") == len(texts)
    frame = load_structures(tmp_path / "candidates.db").frame
    for column in ("base", "model", "prototype"):
        assert frame[column].tolist() == texts
    assert frame["stable"].tolist() == [True] * len(texts)
    assert not [name for name in frame.columns if "icsg3d" in name]
    with connect(tmp_path / "candidates.db") as database:
        assert [row.id for row in database.select(model="SrTiO3")] == [len(texts)]


def test_names_that_ase_keeps_for_itself_come_back(tmp_path, structures):
    screening = {"energy": np.float32(1.5), "2024": 3, "formula": "NaN", "stable": np.bool_(True)}
    write_candidates([Candidate(0, structures[0], screening=screening)], tmp_path / "candidates.db")
    row = load_structures(tmp_path / "candidates.db").frame.iloc[0]
    assert (row["energy"], row["2024"], row["formula"], row["stable"]) == (1.5, 3, "NaN", True)


def test_rows_of_several_databases_have_names_of_their_own(tmp_path):
    cell = [[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]]
    for name in ("one.db", "other.db"):
        with connect(tmp_path / name) as database:
            database.write(Atoms("Cu", cell=cell, pbc=True))
            database.write(Atoms("Ni", cell=cell, pbc=True), material_id=7)
            database.write(Atoms("Pd", cell=cell, pbc=True), material_id=5)
            database.write(Atoms("H"))
    table = load_structures([tmp_path / "one.db", tmp_path / "other.db"])
    assert table.ids == ["1", "7", "5", "1 (2)", "7", "5"]
    assert list(table.skipped) == ["4", "4 (2)"]


def test_a_database_is_never_written_over(tmp_path, structures):
    path = tmp_path / "candidates.db"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        write_candidates([Candidate(0, structures[0])], path)
    assert path.read_text() == "mine"
    with pytest.raises(InputError, match=r"does not end in \.db"):
        write_candidates([Candidate(0, structures[0])], tmp_path / "candidates.json")


def test_a_failed_write_leaves_nothing(tmp_path, structures, monkeypatch):
    def fail(*_args, **_kwargs):
        raise sqlite3.OperationalError

    monkeypatch.setattr("icsg3d.report.database._pairs", fail)
    with pytest.raises(sqlite3.OperationalError):
        write_candidates([Candidate(0, structures[0])], tmp_path / "candidates.db")
    assert list(tmp_path.iterdir()) == []


def test_atoms_without_a_cell_are_left_out(tmp_path):
    with connect(tmp_path / "mixed.db") as database:
        database.write(Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]]), key_value_pairs={"material_id": "molecule"})
        database.write(Atoms("Cu", cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True), gap=0.0)
    table = load_structures(tmp_path / "mixed.db")
    assert table.ids == ["2"]
    assert "has no cell" in table.skipped["molecule"]


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "fake.db").write_text("not a database at all, just text that is long enough")
    with pytest.raises(InputError, match="no ASE database"):
        load_structures(tmp_path / "fake.db")


# matminer's data sets


def test_names_of_matminers_data_sets(monkeypatch, structures):
    matminer = pytest.importorskip("matminer.datasets")
    frame = pd.DataFrame({"structure": structures, "gap pbe": [1.0, 2.0, 3.0]})
    asked = []
    monkeypatch.setattr(matminer, "load_dataset", lambda name, **_: asked.append(name) or frame)
    table = load_structures("matbench_mp_gap")
    assert asked == ["matbench_mp_gap"]
    assert table.ids == ["0", "1", "2"]
    assert table.frame["gap pbe"].tolist() == [1.0, 2.0, 3.0]


def test_a_data_set_that_cannot_be_fetched(monkeypatch):
    matminer = pytest.importorskip("matminer.datasets")

    def cut(name, **_):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(matminer, "load_dataset", cut)
    with pytest.raises(InputError, match=r"cannot load its data set matbench_mp_gap \(no route to host\)"):
        load_structures("matbench_mp_gap")
    with pytest.raises(InputError, match="there is no file"):
        load_structures("matbench_no_such_set")


# Descriptions


@pytest.fixture
def described(tmp_path, structures):
    again = structures[0].copy()
    again.translate_sites(range(5), [0.1, 0.2, 0.3])
    disordered = structures[1].copy()
    disordered.replace(0, {"Na": 0.5, "K": 0.5})
    frame = pd.DataFrame(
        {
            "material_id": list("abcde"),
            "structure": [*structures, again, disordered],
            "band_gap": [3.0, 5.0, np.nan, 3.0, 4.0],
            "remark": "words",
        }
    )
    write_frame(frame, tmp_path / "f.json.gz")
    return tmp_path / "f.json.gz"


def test_description(described):
    found = describe(load_structures(described))
    assert (found.crystals, found.formulas) == (5, 4)
    assert found.duplicates == {"d": "a"}
    assert found.elements["Na"] == 2
    assert found.elements["O"] == 2
    assert sum(found.anonymous.values()) == 5
    assert found.ranges["band_gap"] == pytest.approx((3.0, 3.0, 3.5, 4.85, 5.0))
    assert found.ranges["atoms"] == pytest.approx((5, 5, 8, 14.4, 16))
    assert found.missing == {"band_gap": 1}
    assert set(found.refused) == {"e"}
    assert "disordered" in found.refused["e"]


def test_describe_command(described):
    result = CliRunner().invoke(app, ["data", "describe", str(described), "--model", "cubic"])
    assert result.exit_code == 0
    assert "5 crystals of 4 formulas" in result.output
    assert "1 repeat an earlier one" in result.output
    assert "band_gap" in result.output
    assert "1 crystals would not be taken by the model cubic" in result.output
