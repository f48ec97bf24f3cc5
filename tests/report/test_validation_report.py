from __future__ import annotations

import json

import matplotlib.image
import pandas as pd
import pytest

pytest.importorskip("atomate2")

from pymatgen.core import Lattice, Structure

from icsg3d.generation.candidates import Candidate
from icsg3d.hull import ReferenceHull
from icsg3d.report.validation import averages, markdown_table, table_s1, table_s3, write_tables
from icsg3d.workflows.jobs import summary, validation
from icsg3d.workflows.schemas import S1_COLUMNS, CandidateDoc, EngineDoc, FormationEnergyDoc

ENGINE = EngineDoc(name="abacus<b>", versions={"abacus": "1.0"})


def document(index, species, edge, energy, predicted, *, relaxed=None, state="finished", reason=""):
    crystal = Structure(Lattice.cubic(edge), species, [[0, 0, 0], [0.5, 0.5, 0.5]])
    candidate = CandidateDoc.from_candidate(
        Candidate(index, crystal, predictions={"formation_energy_per_atom": predicted})
    )
    found = FormationEnergyDoc(
        structure=None if relaxed is None else Structure(Lattice.cubic(relaxed), species, crystal.frac_coords),
        formation_energy_per_atom=energy,
        state=state,
        reason=reason,
        engine=ENGINE,
        task_ids={"relax": "1"},
    )
    return validation(candidate, found, ENGINE)


@pytest.fixture
def result():
    rows = [
        document(0, ["Cs", "Cl"], 4.0, -1.0, -0.8, relaxed=4.2),
        document(1, ["Ti", "Se"], 3.0, 0.5, 0.1, relaxed=2.94),
        document(2, ["Na", "N"], 4.0, None, -9.0, state="failed", reason="the relaxation | gave no result"),
    ]
    return summary(rows, ENGINE)


def test_table_s1_by_hand(result):
    table = table_s1(result)
    assert list(table.columns) == list(S1_COLUMNS)
    first = table.iloc[0]
    assert (first["formula"], first["a"], first["state"], first["engine"]) == ("CsCl", 4.0, "finished", "abacus<b>")
    assert first["delta_e_form"] == pytest.approx(0.2)
    assert first["delta_bonds_percent"] == pytest.approx(5.0)
    assert table["state"].tolist() == ["finished", "finished", "failed"]
    assert pd.isna(table["delta_e_form"][2])
    found = averages(table)
    assert (found.finished, found.rows) == (2, 3)
    assert found.delta_e_form == pytest.approx((0.2 + 0.4) / 2)
    assert found.delta_bonds_percent == pytest.approx((5.0 + 2.0) / 2)


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        (EngineDoc(name="chgnet"), True),
        (EngineDoc(name="vasp", correction="MP2020"), True),
        (EngineDoc(name="gpaw"), False),  # energies on another scale
    ],
)
def test_distances_from_the_hull_by_the_engine_and_as_predicted(engine, told):
    salt = -ReferenceHull.shipped().place("NaCl", 0.0).energy_above_hull  # the energy of the hull's own NaCl
    crystal = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    candidate = CandidateDoc.from_candidate(Candidate(0, crystal, predictions={"energy_above_hull": 0.07}))
    found = FormationEnergyDoc(
        structure=crystal, formation_energy_per_atom=salt + 0.04, state="finished", engine=engine, task_ids={}
    )
    row = table_s1(summary([validation(candidate, found, engine)], engine)).iloc[0]
    assert row["above_hull_predicted"] == 0.07
    if told:
        assert row["above_hull_engine"] == pytest.approx(0.04)
    else:
        assert pd.isna(row["above_hull_engine"])


def test_phases_of_ones_own_lower_the_hull_of_the_engine(tmp_path):
    salt = -ReferenceHull.shipped().place("NaCl", 0.0).energy_above_hull
    own = tmp_path / "own.csv"
    own.write_text(f"formula,formation_energy_per_atom\nNaCl,{salt - 0.3}\n")
    crystal = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    engine = EngineDoc(name="chgnet")
    found = FormationEnergyDoc(structure=crystal, formation_energy_per_atom=salt, state="finished", engine=engine)
    candidate = CandidateDoc.from_candidate(Candidate(0, crystal))
    assert validation(candidate, found, engine).energy_above_hull == pytest.approx(0.0)
    assert validation(candidate, found, engine, [str(own)]).energy_above_hull == pytest.approx(0.3)


@pytest.mark.parametrize(("std", "expected"), [(0.02, 0.02), (float("nan"), None), (None, None)])
def test_the_predicted_distance_from_the_hull_has_its_uncertainty_in_json(tmp_path, std, expected):
    crystal = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    predictions = {"energy_above_hull": 0.07} | ({} if std is None else {"energy_above_hull_std": std})
    candidate = CandidateDoc.from_candidate(Candidate(0, crystal, predictions=predictions))
    write_tables(summary([validation(candidate, None, ENGINE)], ENGINE), tmp_path)
    row = json.loads((tmp_path / "table_s1.json").read_text())["rows"][0]
    assert (row["above_hull_predicted"], row["above_hull_predicted_std"]) == (0.07, expected)
    assert list(pd.read_csv(tmp_path / "table_s1.csv")) == list(S1_COLUMNS)


def test_table_s3_lists_the_delocalised_apart(result):
    table = table_s3(result)
    assert table["formula"].tolist() == ["TiSe"]
    assert table["delta_cell_percent"][0] == pytest.approx(2.0)
    assert table["flags"][0] == "selenide"


def test_all_files_are_written(result, tmp_path):
    assert set(write_tables(result, tmp_path)) == {path.name for path in tmp_path.iterdir()}
    again = pd.read_csv(tmp_path / "table_s1.csv", keep_default_na=False, na_values=[""])
    assert again["formula"].tolist() == ["CsCl", "TiSe", "NaN"]
    report = json.loads((tmp_path / "table_s1.json").read_text())
    assert report["averages"]["delta_e_form"] == pytest.approx(0.3)
    assert report["averages_paper"]["delta_e_form"] == pytest.approx(1.99, abs=0.005)
    assert report["rows"][2]["delta_e_form"] is None
    assert report["rows"][2]["reason"] == "the relaxation | gave no result"
    text = (tmp_path / "table_s1.md").read_text()
    assert "|dE_f| 0.300 eV/atom, |dBonds| 3.50 %, over 2 finished rows of 3." in text
    assert "Without the compounds of Table S3: |dE_f| 0.200" in text
    assert "the relaxation \\| gave no result" in text
    page = (tmp_path / "table_s1.html").read_text()
    assert "abacus&lt;b&gt;" in page
    assert "<b>" not in page
    assert matplotlib.image.imread(tmp_path / "validation.png").shape[0] > 300


def test_nothing_finished_is_said(tmp_path):
    bad = document(0, ["Na", "Cl"], 4.0, None, -1.0, state="failed", reason="no")
    write_tables(summary([bad], ENGINE), tmp_path)
    assert "|dE_f| - eV/atom, |dBonds| - %, over 0 finished rows of 1." in (tmp_path / "table_s1.md").read_text()


def test_no_rows_are_an_empty_table(tmp_path):
    write_tables(summary([], ENGINE), tmp_path)
    assert "over 0 finished rows of 0." in (tmp_path / "table_s1.md").read_text()
    assert len(pd.read_csv(tmp_path / "table_s1.csv")) == 0


def test_markdown_cells_stay_cells():
    lines = markdown_table(pd.DataFrame({"x": ["a|b\nc <script>"]})).splitlines()
    assert lines[2:] == ["| a\\|b c &lt;script&gt; |"]


def test_markdown_of_missing_numbers():
    assert markdown_table(pd.DataFrame({"x": [1.23456, None]})).splitlines()[2:] == ["| 1.235 |", "| - |"]


def test_bonds_that_cannot_be_compared_are_empty_and_say_why():
    far = document(0, ["Ti", "Se"], 6.0, 0.5, 0.1, relaxed=5.9)
    assert (far.state, far.delta_bonds_percent) == ("finished", None)
    assert far.delta_e_form == pytest.approx(0.4)
    assert "bonds cannot be compared" in far.reason
