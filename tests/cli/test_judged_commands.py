"""``icsg3d screen``, and ``icsg3d generate`` with what candidates have to meet."""

from __future__ import annotations

import csv
import json

import ase.io
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from icsg3d.data import load_structures
from icsg3d.report.folders import read_candidates
from icsg3d.screening import shortlist


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def salt(cation, anion, edge):
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def crystals(tmp_path):
    """Three salts far from their volumes, one of them twice, and one that is none."""
    folder = tmp_path / "crystals"
    folder.mkdir()
    for name, structure in {
        "salt": salt("Na", "Cl", 5.2),
        "salt again": salt("Na", "Cl", 6.1),
        "magnesia": salt("Mg", "O", 4.5),
        "odd": salt("Na", "O", 4.8),
    }.items():
        structure.to(str(folder / f"{name}.cif"), fmt="cif")
    return folder


def test_screen_leaves_one_ranked_list(run, tmp_path, crystals):
    out = tmp_path / "out"
    code, said = run("screen", crystals, "--out", out, "--property", "bulk_modulus")
    assert code == 0
    assert "2 candidates kept: 2 of 4 passed (50%); refused for" in said
    table = rows(out / "candidates.csv")
    assert list(table[0])[:5] == ["rank", "index", "source", "formula", "energy_above_hull"]
    assert [row["rank"] for row in table] == ["1", "2", "", ""]
    assert {row["formula"] for row in table[:2]} == {"NaCl", "MgO"}
    distances = [float(row["energy_above_hull"]) for row in table[:2]]
    assert distances == sorted(distances)
    by_source = {row["source"]: row for row in table}
    assert set(by_source) == {"salt", "salt again", "magnesia", "odd"}
    assert "charges" in by_source["odd"]["failed_on"]
    assert by_source["magnesia"]["prototype"] == "rock salt"
    assert float(by_source["magnesia"]["a"]) == pytest.approx(4.21, rel=0.03)
    assert float(by_source["magnesia"]["band_gap_std"]) > 0
    assert float(by_source["magnesia"]["bulk_modulus"]) > 100
    assert (out / "report.html").is_file()
    assert json.loads((out / "judging.json").read_text())["result"]["kept"] == 2
    written = sorted((out / "cifs").glob("*.cif"))
    assert len(written) == 2
    for path in written:
        assert "Fm-3m" in path.read_text()
        assert SpacegroupAnalyzer(Structure.from_file(path)).get_space_group_number() == 225


def test_what_was_refused_may_pass_when_the_run_is_resumed_with_less_asked_for(run, tmp_path, crystals):
    given = ("screen", crystals, "--out", tmp_path / "out", "--no-picture")
    code, said = run(*given, "--band-gap", "20:")
    assert code == 2
    assert "no candidate was kept: 0 of 4 passed" in said
    assert "the nearest was" in said
    assert "refused for band_gap (" in said
    assert "--resume" in said
    assert len(rows(tmp_path / "out" / "candidates.csv")) == 4
    code, said = run(*given, "--keep", 1, "--resume")
    assert code == 0
    assert [row["rank"] for row in rows(tmp_path / "out" / "candidates.csv")] == ["1", "", "", ""]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--band-gap", "1.8:1.2"), "band_gap goes from 1.8 to 1.2; give the lower end first"),
        (("--property", "colour=1:2"), "there is no model 'colour'"),
        (("--elements", "Cs,Qq"), "Qq is no element"),
        (("--require-elements", "Pb", "--exclude-elements", "Pb"), "Pb is both required and excluded"),
        (("--require-elements", "He"), "the hull (Materials Project) knows no He"),
        (("--space-group", "Pm-3m", "--crystal-system", "hexagonal"), "space group 221 is cubic, not hexagonal"),
        (("--keep", 0), "at least 1; got 0"),
        (("--phases", "none.csv"), "there is no file none.csv"),
        (("--atoms", "9:4"), "goes from 9 to 4"),
        (("--formula", "ABX3", "--elements", "Sr,O"), "are only O, Sr, and ABX3 has 3 elements; allow more elements"),
        (("--hull", -5, "--property", "energy_above_hull=0.5:1"), "is -5 eV/atom, and the range of energy_above_hull"),
    ],
)
def test_bad_constraints_end_in_one_sentence(run, tmp_path, crystals, options, expected):
    code, said = run("screen", crystals, *options, "--out", tmp_path / "out")
    assert code == 2
    assert expected in said
    assert said.count("Error: ") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--by", "exchange"), "elements are exchanged on a crystal; give one with --base"),
        (("--by", "magic"), "generator or exchange, not by 'magic'"),
        (("--no-judge", "--keep", 3), "leave out --no-judge or the constraints"),
        (("--keep", 30, "-n", 20), "30 candidates cannot be kept of 20 draws"),
        (("--require-elements", "Xe"), "the hull (Materials Project) knows no Xe"),
        (("--formula", "CsPbI3"), "the model tiny knows no Cs, I, Pb"),
        (("--formula", "Cu"), "a single element never passes screening"),
        (("--hull", -5, "--property", "energy_above_hull=0.5:1"), "is -5 eV/atom, and the range of energy_above_hull"),
    ],
)
def test_bad_options_of_generate_end_in_one_sentence(run, tmp_path, tiny_model, options, expected):
    if "CsPbI3" in options:
        expected = "the model tiny knows no"
    code, said = run("generate", "--model", tiny_model, *options, "--out", tmp_path / "out")
    assert code == 2
    assert expected in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_exchanges_of_elements_pass_the_same_judge(run, tmp_path):
    out = tmp_path / "out"
    options = ("--base", "NaCl", "--by", "exchange", "--exclude-elements", "K", "--keep", 3)
    code, said = run("generate", *options, "--out", out)
    assert code == 0
    assert "base: NaCl (rock salt), Fm-3m" in said
    kept = read_candidates(out / "candidates.json.gz")[:3]
    assert all(each.screening["passed"] and each.base == "NaCl" for each in kept)
    assert [each.screening["rank"] for each in kept] == [1, 2, 3]
    assert not any({"K"} & set(each.structure.composition.as_dict()) for each in kept)
    assert all(SpacegroupAnalyzer(each.structure, 0.01).get_space_group_number() == 225 for each in kept)
    assert len(list((out / "cifs").iterdir())) == 3
    code, said = run("generate", *options, "--out", out, "--resume")
    assert code == 0
    assert [each.index for each in read_candidates(out / "candidates.json.gz")[:3]] == [each.index for each in kept]


@pytest.mark.slow
def test_draws_until_enough_pass_are_the_same_after_an_interruption(run, tmp_path, monkeypatch):
    from icsg3d.generation.generator import CrystalGenerator

    monkeypatch.setattr(shortlist, "BATCH", 8)
    given = ("generate", "--base", "NaCl", "--formula", "AX", "--keep", 2, "-n", 64, "--no-picture", "--out")
    assert run(*given, tmp_path / "whole")[0] == 0
    whole = CrystalGenerator.iter_decode

    def interrupted(self, latent, condition=None):
        for number, decoded in enumerate(whole(self, latent, condition)):
            if number == 5:
                raise KeyboardInterrupt
            yield decoded

    with monkeypatch.context() as patch:
        patch.setattr(CrystalGenerator, "iter_decode", interrupted)
        code, said = run(*given, tmp_path / "parts")
    assert code == 130
    assert "interrupted after 5 of 64" in said
    assert len(rows(tmp_path / "parts" / "candidates.csv")) == 5
    assert run(*given, tmp_path / "parts", "--resume")[0] == 0
    for name in ("candidates.json.gz", "candidates.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    kept = read_candidates(tmp_path / "whole" / "candidates.json.gz")[:2]
    assert {each.screening["rank"] for each in kept} == {1, 2}
    for each in kept:
        assert len(each.structure.composition) == 2
        assert each.formula != "NaCl" or each.screening["space_group"] != "Fm-3m"
        assert each.in_training is not None


@pytest.mark.slow
def test_the_best_of_all_draws_are_kept_by_any_number_of_processes(run, tmp_path):
    given = ("generate", "--base", "NaCl", "--formula", "AX", "--keep", 2, "--no-picture", "--out")
    assert run(*given, tmp_path / "one", "-n", 192, "--jobs", 1)[0] == 0
    assert run(*given, tmp_path / "two", "-n", 192, "--jobs", 2)[0] == 0
    for name in ("candidates.json.gz", "candidates.csv", "candidates.parquet", "judging.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    table = rows(tmp_path / "one" / "candidates.csv")
    assert len(table) == 192
    passed = [float(row["energy_above_hull"]) for row in table if row["passed"] == "True"]
    assert len(passed) > 2
    assert passed == sorted(passed)
    # Without a number of draws the first batch is enough.
    assert run(*given, tmp_path / "few")[0] == 0
    few = {row["index"] for row in rows(tmp_path / "few" / "candidates.csv")}
    assert few == {str(number) for number in range(64)}


def test_all_draws_are_in_the_parquet_file_and_the_first_thousand_in_the_archive(run, tmp_path, crystals, monkeypatch):
    monkeypatch.setattr("icsg3d.report.folders.LISTED", 3)
    out = tmp_path / "out"
    assert run("screen", crystals, "--out", out, "--no-picture")[0] == 0
    assert len(read_candidates(out / "candidates.json.gz")) == 3
    table, parquet = rows(out / "candidates.csv"), pd.read_parquet(out / "candidates.parquet")
    assert list(parquet["source"]) == [row["source"] for row in table]
    assert len(table) == 4
    assert parquet["energy_above_hull"].tolist() == pytest.approx([float(row["energy_above_hull"]) for row in table])
    assert parquet["passed"].tolist() == [True, True, False, False]
    assert parquet["failed_on"].map(list).tolist()[0] == []
    again = load_structures(out / "candidates.parquet")
    assert [each.composition.reduced_formula for each in again.structures] == [row["formula"] for row in table]
    assert again.structures[0].lattice.a == pytest.approx(float(table[0]["a"]), abs=1e-4)


def test_what_is_kept_is_written_in_more_formats_on_request(run, tmp_path, crystals):
    given = ("screen", crystals, "--out", tmp_path / "out", "--no-picture", "--also", "extxyz", "--also", "db")
    assert run(*given)[0] == 0
    assert run(*given, "--resume")[0] == 0  # earlier files are replaced
    kept = read_candidates(tmp_path / "out" / "candidates.json.gz")[:2]
    for name in ("candidates.extxyz", "candidates.db"):
        table = load_structures(tmp_path / "out" / name)
        assert [each.composition.reduced_formula for each in table.structures] == [each.formula for each in kept]
        for structure, candidate in zip(table.structures, kept, strict=True):
            assert structure.volume == pytest.approx(candidate.structure.volume, rel=1e-5)
    frames = ase.io.read(tmp_path / "out" / "candidates.extxyz", ":")
    assert [each.info["rank"] for each in frames] == [1, 2]
    assert frames[0].info["energy_above_hull"] == pytest.approx(kept[0].predictions["energy_above_hull"])
    code, said = run("screen", crystals, "--out", tmp_path / "other", "--also", "pdf")
    assert code == 2
    assert "there is no format 'pdf' for --also; give extxyz or db" in said
