from __future__ import annotations

import gzip
import json
import sys

import pandas as pd
import pytest

pytest.importorskip("atomate2")

from pymatgen.core import Lattice, Structure

from icsg3d.data import load_structures
from icsg3d.files import write_atomically

ENGINE = ("--engine", "tests.workflows.emt_makers:CountingMaker")


@pytest.fixture(autouse=True)
def counting(monkeypatch, tmp_path):
    monkeypatch.setenv("COUNT_FILE", str(tmp_path / "count"))


@pytest.fixture
def crystals(tmp_path):
    folder = tmp_path / "crystals"
    folder.mkdir()
    for first, second, edge in (("Cu", "Au", 3.05), ("Ni", "Al", 2.9), ("Pd", "Ag", 1.5)):
        structure = Structure(Lattice.cubic(edge), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]])
        structure.to(str(folder / f"{first}{second}.cif"))
    return folder


@pytest.mark.slow
def test_tables_and_crystals_are_written(run, crystals, tmp_path):
    out = tmp_path / "out"
    code, said = run("validate", crystals, *ENGINE, "--no-scale-cells", "--out", out)
    assert code == 0, said
    table = pd.read_csv(out / "table_s1.csv")
    screening = pd.read_csv(out / "screening.csv")
    assert len(table) == screening["validated"].sum()
    assert len(screening) == 3
    close = screening[screening["formula"] == "AgPd"].iloc[0]  # 1.3 angstrom apart
    assert "distances" in close["failed_on"]
    assert "distances" in said
    assert (table["engine"] == ENGINE[1]).all()
    relaxed = load_structures(out / "relaxed")
    assert len(relaxed) == len(table)
    rows = json.loads(gzip.decompress((out / "validation.json.gz").read_bytes()))["rows"]
    assert [row["state"] for row in rows] == ["finished"] * len(table)
    again = run("validate", crystals, *ENGINE, "--no-scale-cells", "--out", out)
    assert again[0] == 2
    assert "continue it with --resume, replace them with --overwrite" in again[1]
    counted = (tmp_path / "count").read_text()
    assert run("validate", crystals, *ENGINE, "--no-scale-cells", "--out", out, "--resume")[0] == 0
    assert (tmp_path / "count").read_text() == counted
    other = run("validate", crystals, *ENGINE, "--no-scale-cells", "--top", 1, "--out", out, "--resume")
    assert other[0] == 2
    assert "was begun with another top" in other[1]


def test_what_is_screened_out_is_told_before_anything_is_relaxed(run, crystals, tmp_path, monkeypatch):
    written = []

    def write(path, data):
        written.append((path.name, (tmp_path / "count").exists(), data))
        write_atomically(path, data)

    monkeypatch.setattr("icsg3d.runs.validate.write_atomically", write)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    code, said = run("validate", crystals, *ENGINE, "--no-scale-cells", "--out", "out")  # jobs run in other folders
    assert code == 0, said
    tables = [(relaxed, data) for name, relaxed, data in written if name == "screening.csv"]
    assert [relaxed for relaxed, _ in tables] == [False, True]
    assert tables[0][1] == tables[1][1] == (out / "screening.csv").read_bytes()
    validated = pd.read_csv(out / "screening.csv").query("validated")
    for name in validated["formula"]:
        assert f"{name} #" in said
    assert said.count("is finished") == len(validated)


def test_where_nothing_passes_the_screening_it_says_so(run, crystals, tmp_path):
    code, said = run("validate", crystals / "PdAg.cif", *ENGINE, "--no-scale-cells", "--out", tmp_path / "out")
    assert code == 0
    assert "1 candidates were not validated: 1 for distances (screening.csv)" in said
    assert "no candidate is left to validate; draw more" in said
    screening = pd.read_csv(tmp_path / "out" / "screening.csv")
    assert screening["failed_on"].iloc[0] == "['distances', 'no prediction']"


def test_several_sources_are_numbered_anew(run, crystals, tmp_path):
    out = tmp_path / "out"
    files = sorted(crystals.glob("*.cif"))
    code, said = run("validate", files[0], files[1], *ENGINE, "--no-screen", "--no-scale-cells", "--out", out)
    assert code == 0, said
    assert sorted(pd.read_csv(out / "screening.csv")["index"]) == [0, 1]


def test_polymorphs_of_what_was_validated(run, crystals, tmp_path):
    out = tmp_path / "out"
    assert run("validate", crystals / "CuAu.cif", *ENGINE, "--no-screen", "--no-scale-cells", "--out", out)[0] == 0
    known = tmp_path / "known"
    known.mkdir()
    Structure(Lattice.cubic(3.2), ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(str(known / "k1.cif"))
    code, said = run("compare-polymorphs", out / "validation.json.gz", known, "--out", tmp_path / "s2.csv")
    assert code == 0, said
    assert "energies are not compared" in said
    table = pd.read_csv(tmp_path / "s2.csv")
    assert table["ids"].tolist() == ["k1"]
    edge = pd.read_csv(out / "table_s1.csv")
    relaxed = load_structures(out / "relaxed").structures[0]
    assert table["mae_a"][0] == pytest.approx(abs(relaxed.lattice.a - 3.2), abs=1e-3)
    assert len(edge) == 1
    assert "Averages over the 1 rows" in (tmp_path / "s2.md").read_text()
    other = tmp_path / "other"
    other.mkdir()
    Structure(Lattice.cubic(4), ["Na"], [[0, 0, 0]]).to(str(other / "na.cif"))
    code, said = run("compare-polymorphs", out / "validation.json.gz", other, "--out", tmp_path / "s2.csv")
    assert code == 2
    assert "no formula of" in said


def test_folders_that_no_run_made_are_never_removed(run, crystals, tmp_path):
    out = tmp_path / "out"
    (out / "jobs").mkdir(parents=True)
    (out / "jobs" / "thesis.txt").write_text("years of work")
    for more in ((), ("--overwrite",), ("--resume",)):
        code, said = run("validate", crystals, *ENGINE, "--out", out, *more)
        assert code == 2
        assert "that no run for a validation wrote" in said
    assert (out / "jobs" / "thesis.txt").exists()


def test_other_elements_are_another_run(run, crystals, tmp_path):
    command = ("validate", crystals / "CuAu.cif", *ENGINE, "--no-screen", "--no-scale-cells", "--out", tmp_path / "out")
    assert run(*command)[0] == 0
    copper = tmp_path / "Cu.cif"
    Structure(Lattice.cubic(3.6), ["Cu"] * 4, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]).to(str(copper))
    code, said = run(*command, "--resume", "--element", copper)
    assert code == 2
    assert "begun with another elements" in said


def test_a_maker_of_the_working_folder_is_found(run, crystals, tmp_path, monkeypatch):
    (tmp_path / "my_own_makers.py").write_text("from tests.workflows.emt_makers import CountingMaker as Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    command = ("validate", crystals / "CuAu.cif", "--engine", "my_own_makers:Mine", "--no-screen", "--no-scale-cells")
    assert run(*command, "--out", tmp_path / "out")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.json.gz", "--out", "out"), "there is no file nowhere.json.gz"),
        (("CuAu.cif", "--engine", "magic", "--out", "out"), "there is no engine 'magic'"),
        (("CuAu.cif", *ENGINE, "--fixed", "--out", "out"), "can only relax"),
        (("CuAu.cif", "--element", "CuAu.cif", "--out", "out"), "not an element"),
        (("CuAu.cif", *ENGINE, "--out", "CuAu.cif"), "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence(run, crystals, monkeypatch, arguments, message):
    monkeypatch.chdir(crystals)
    code, said = run("validate", *arguments)
    assert code == 2
    assert message in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '[{"index": "a", "structure": null}]',
        '[{"index": 0, "structure": null, "screening": [1]}]',
        '[{"structure": {"sites": "x"}}]',
        "{",
        '{"rows": [{}]}',
        "[1, 2]",
    ],
)
def test_damaged_candidates_are_refused(run, tmp_path, text):
    path = tmp_path / "candidates.json"
    path.write_text(text)
    for command in (("validate", path), ("compare-polymorphs", path, path)):
        code, said = run(*command, "--out", tmp_path / "out.csv")
        assert code == 2, (command, said)
        assert "Traceback" not in said
