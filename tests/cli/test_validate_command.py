from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("atomate2")

from pymatgen.core import Lattice, Structure

from icsg3d.data import load_structures
from icsg3d.files import write_atomically
from icsg3d.report import validation
from tests.workflows.emt_makers import CountingMaker

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


def test_phases_of_ones_own_are_part_of_the_hull_and_of_the_run(run, crystals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # jobs run in other folders
    command = ("validate", crystals / "CuAu.cif", *ENGINE, "--no-screen", "--no-scale-cells")
    Path("own.csv").write_text("formula,formation_energy_per_atom\nAuCu,-1.0\n")
    assert run(*command, "--out", "plain")[0] == 0
    assert run(*command, "--phases", "own.csv", "--out", "out")[0] == 0
    plain, lower = (pd.read_csv(Path(name) / "table_s1.csv").iloc[0] for name in ("plain", "out"))
    assert lower["above_hull_predicted"] == pytest.approx(lower["e_form_predicted"] + 1.0, abs=2e-4)
    assert plain["above_hull_predicted"] < 0.2
    (row,) = json.loads(gzip.decompress(Path("out/validation.json.gz").read_bytes()))["rows"]
    assert row["energy_above_hull"] is None  # the engine's energies are on another scale
    assert run(*command, "--phases", "own.csv", "--out", "out", "--resume")[0] == 0
    for folder, options in (("out", ()), ("plain", ("--phases", "own.csv"))):
        code, said = run(*command, *options, "--out", folder, "--resume")
        assert code == 2
        assert "was begun with another phases" in said
    Path("own.csv").write_text("formula,formation_energy_per_atom\nAuCu,-2.0\n")
    assert "another phases" in run(*command, "--phases", "own.csv", "--out", "out", "--resume")[1]


TABLES = ("table_s1.csv", "table_s1.json", "table_s1.md", "table_s1.html", "table_s3.csv")


def test_an_interrupted_run_leaves_the_rows_that_are_finished(run, crystals, tmp_path, monkeypatch):
    more = Structure(Lattice.cubic(3.1), ["Pd", "Au"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    more.to(str(crystals / "PdAu.cif"))
    command = ("validate", crystals, *ENGINE, "--no-screen", "--no-scale-cells")
    assert run(*command, "--out", tmp_path / "whole")[0] == 0
    whole = pd.read_csv(tmp_path / "whole" / "table_s1.csv")
    assert len(whole) == 4
    relax, calculated, stop_at = CountingMaker.run_ase, [], 3

    def stopped(self, crystal, prev_dir=None):
        if len(crystal.composition) > 1:
            calculated.append(crystal.composition.reduced_formula)
            if len(calculated) == stop_at:
                raise KeyboardInterrupt
        return relax(self, crystal, prev_dir)

    monkeypatch.setattr(CountingMaker, "run_ase", stopped)
    monkeypatch.chdir(tmp_path)  # jobs run in other folders
    out = tmp_path / "out"
    assert run(*command, "--out", "out")[0] == 130
    rows = whole[whole["formula"].isin(calculated[:2])].reset_index(drop=True)  # in the order of the whole table
    pd.testing.assert_frame_equal(pd.read_csv(out / "table_s1.csv"), rows)
    report = json.loads((out / "table_s1.json").read_text())
    assert (len(report["rows"]), report["left"]) == (2, 2)
    assert "2 of 4 candidates so far." in (out / "table_s1.md").read_text()
    assert "2 of 4 candidates so far." in (out / "table_s1.html").read_text()
    assert not (out / "validation.json.gz").exists()

    # Until a resumed run is as far as the one before it, the tables stay.
    counts, write = [], validation.write_rows

    def counting(summary, folder, left=0):
        counts.append(len(summary.rows))
        return write(summary, folder, left)

    monkeypatch.setattr("icsg3d.runs.validate.write_rows", counting)
    stop_at = -1
    assert run(*command, "--out", "out", "--resume")[0] == 0
    assert counts == [2, 3, 4]
    for name in TABLES:
        old, new = ((tmp_path / folder / name).read_text() for folder in ("whole", "out"))
        if name.endswith(".json"):  # names of jobs are drawn anew
            old, new = (json.dumps([row | {"task_ids": {}} for row in json.loads(each)["rows"]]) for each in (old, new))
        assert old == new
        assert "so far" not in new


def test_tables_that_cannot_be_written_yet_are_no_failure(run, crystals, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("icsg3d.runs.validate.write_rows", full)
    code, said = run("validate", crystals / "CuAu.cif", *ENGINE, "--no-screen", "--no-scale-cells", "--out", tmp_path)
    assert code == 0, said
    assert "the tables cannot be written yet (No space left on device)" in said
    assert pd.read_csv(tmp_path / "table_s1.csv")["state"].tolist() == ["finished"]


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
        (("CuAu.cif", *ENGINE, "--phases", "none.csv", "--out", "out"), "there is no file none.csv; give a CSV table"),
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
