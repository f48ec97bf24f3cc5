"""The command line: what it writes, how it goes on, and how wrong input ends."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import sys

import pytest
from pymatgen.core import Structure

from icsg3d import cli, pretrained
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.report.folders import read_candidates


@pytest.fixture
def srtio3(tmp_path):
    path = tmp_path / "SrTiO3.cif"
    prototype_structure("SrTiO3").to(str(path), fmt="cif")
    return path


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_generate_leaves_archive_table_cifs_and_picture(run, tmp_path):
    out = tmp_path / "out"
    code, said = run("generate", "--no-judge", "--base", "SrTiO3", "-n", 6, "--scale", 0.2, "--seed", 1, "--out", out)
    assert code == 0
    edge = f"{prototype_structure('SrTiO3').lattice.a:.2f}"
    assert "base: SrTiO3 (" in said
    assert f"perovskite), Pm-3m, {edge} x {edge} x {edge} angstrom" in said
    candidates = read_candidates(out / "candidates.json.gz")
    assert [c.index for c in candidates] == list(range(6))
    assert all(c.base == "SrTiO3" and c.seed == 1 and len(c.model_sha256) == 64 for c in candidates)
    found = [c for c in candidates if c.structure is not None]
    assert found
    table = rows(out / "candidates.csv")
    assert len(table) == 6
    assert all((row["formula"] == "") == (row["reason"] != "") for row in table)
    cifs = sorted((out / "cifs").glob("*.cif"))
    assert len(cifs) == len(found)
    again = Structure.from_file(cifs[0])
    assert again.composition.reduced_formula == found[0].formula
    assert (out / "candidates.png").read_bytes()[:4] == b"\x89PNG"
    assert not [path for path in out.iterdir() if path.name.endswith(".part")]


def test_fewer_draws_than_there_are_cannot_be_resumed(run, tmp_path, tiny_model):
    given = ("generate", "--no-judge", "--model", tiny_model, "--out", tmp_path / "out")
    assert run(*given, "-n", 4)[0] == 0
    code, said = run(*given, "-n", 2, "--resume")
    assert code == 2
    assert "holds 4 draws already; ask for as many or more with -n" in said


@pytest.mark.slow
def test_a_model_without_its_training_crystals_does_not_know_what_is_new(run, tmp_path):
    copy = shutil.copytree(pretrained.find("cubic"), tmp_path / "copy")
    (copy / "training_crystals.csv.gz").unlink()
    code, said = run("generate", "-n", 4, "--model", copy, "--out", tmp_path / "out", "--no-picture", "--no-judge")
    assert code == 0
    assert "4 crystals" in said
    assert "not trained on" not in said
    assert {row["in_training"] for row in rows(tmp_path / "out" / "candidates.csv")} == {""}


def test_free_draws_say_which_range_of_energies_was_asked_for(run, tmp_path, tiny_model):
    said = []
    for condition in (-10, -1.4, 10):
        out = tmp_path / str(condition)
        code, message = run(
            "generate", "-n", 2, "--condition", condition, "--no-judge", "--model", tiny_model, "--out", out
        )
        assert code == 0
        said.append(message[: message.index(" eV/atom")])
    assert said[0] == "asking for formation_energy_per_atom up to -2.70"  # tenths of twelve energies from -3 to 0
    assert said[1] == "asking for formation_energy_per_atom above -1.50 and up to -1.20"
    assert said[2] == "asking for formation_energy_per_atom above -0.30"


def test_same_seed_gives_the_same_archive(run, tmp_path, tiny_model):
    for name in ("a", "b"):
        assert (
            run("generate", "-n", 5, "--seed", 3, "--no-judge", "--model", tiny_model, "--out", tmp_path / name)[0] == 0
        )
    for name in ("candidates.json.gz", "candidates.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.slow
def test_interrupted_run_keeps_what_it_had_and_goes_on(run, tmp_path, monkeypatch, srtio3):
    from icsg3d.generation.generator import CrystalGenerator

    arguments = (
        "generate",
        "--no-judge",
        "--base",
        srtio3,
        "-n",
        7,
        "--scale",
        0.2,
        "--seed",
        2,
        "--no-picture",
        "--out",
    )
    assert run(*arguments, tmp_path / "whole")[0] == 0
    whole = CrystalGenerator.iter_decode

    def interrupted(self, latent, condition=None):
        for number, decoded in enumerate(whole(self, latent, condition)):
            if number == 4:
                raise KeyboardInterrupt
            yield decoded

    with monkeypatch.context() as patch:
        patch.setattr(CrystalGenerator, "iter_decode", interrupted)
        code, said = run(*arguments, tmp_path / "parts")
    assert code == 130
    assert "interrupted after 4 of 7" in said
    assert "--resume" in said
    assert len(rows(tmp_path / "parts" / "candidates.csv")) == 4
    code, said = run(*arguments, tmp_path / "parts")
    assert code == 2
    assert "--resume" in said
    code, said = run(*arguments, tmp_path / "parts", "--resume", "--seed", 9)
    assert code == 2
    assert "another seed" in said
    assert run(*arguments, tmp_path / "parts", "--resume")[0] == 0
    for name in ("candidates.json.gz", "candidates.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_line_cut_off_in_the_middle_is_drawn_again(run, tmp_path, tiny_model):
    arguments = ("generate", "-n", 4, "--no-judge", "--model", tiny_model, "--no-picture", "--out", tmp_path / "out")
    assert run(*arguments)[0] == 0
    expected = (tmp_path / "out" / "candidates.json.gz").read_bytes()
    partial = tmp_path / "out" / "candidates.partial.jsonl"
    partial.write_text(partial.read_text()[:-20])
    assert run(*arguments, "--resume")[0] == 0
    assert (tmp_path / "out" / "candidates.json.gz").read_bytes() == expected


def test_reconstruct_writes_a_matminer_dataframe(run, tmp_path):
    from icsg3d.data import read_frame

    folder = tmp_path / "crystals"
    folder.mkdir()
    for formula in ("SrTiO3", "NaCl"):
        prototype_structure(formula).to(str(folder / f"{formula}.cif"), fmt="cif")
    prototype_structure("SrTiO3").scale_lattice(20**3).to(str(folder / "huge.cif"), fmt="cif")
    (folder / "broken.cif").write_text("no crystal")
    out = tmp_path / "new" / "rebuilt.json.gz"
    code, said = run("reconstruct", "--data", folder, "--out", out)
    assert code == 0
    assert "left out broken.cif" in said
    assert "left out huge: " in said
    assert "2 of 4 crystals gave a crystal again" in said
    frame = read_frame(out)
    assert list(frame.columns) == ["material_id", "structure", "reason"]
    assert sorted(frame["material_id"]) == ["NaCl", "SrTiO3", "broken.cif", "huge"]
    by_id = frame.set_index("material_id")
    assert by_id.loc["NaCl", "structure"].composition.reduced_formula == "NaCl"
    assert by_id.loc["huge", "structure"] is None
    assert "volume of 8000 cubic angstrom, and it takes up to about 2000" in by_id.loc["huge", "reason"]
    assert by_id.loc["broken.cif", "structure"] is None
    assert list(out.parent.iterdir()) == [out]


def test_evaluate_segmentation_writes_figure_s2(run, tmp_path):
    folder = tmp_path / "crystals"
    folder.mkdir()
    for formula in ("SrTiO3", "NaCl"):
        prototype_structure(formula).to(str(folder / f"{formula}.cif"), fmt="cif")
    (folder / "partial.cif").write_text(PARTIAL.format(occupancy=0.5))
    code, said = run("evaluate", "segmentation", "--data", folder, "--out", tmp_path / "s")
    assert code == 0
    assert "left out partial: " in said
    assert "written to" in said
    report = json.loads((tmp_path / "s" / "segmentation.json").read_text())
    assert report["crystals"] == 2
    assert report["atom_count_right"] == report["species_right"] == 1.0
    assert report["mean_site_error"] < 0.02
    assert report["milliseconds_per_crystal"] > 0
    assert (tmp_path / "s" / "figure_s2.png").stat().st_size > 1000


@pytest.mark.slow
def test_train_leaves_a_model_that_generates(run, tmp_path, tiny_crystals, monkeypatch):
    import dataclasses

    import pandas as pd

    from icsg3d.crystals.structures import from_arrays
    from icsg3d.data import write_frame
    from icsg3d.models.generator import GeneratorConfig

    frame = pd.DataFrame(
        {
            "material_id": [f"{name}-{copy}" for name in tiny_crystals.ids for copy in range(2)],
            "structure": [from_arrays(c).as_dict() for c in tiny_crystals.crystals for _ in range(2)],
            "formation_energy_per_atom": [float(e) for e in tiny_crystals.energies for _ in range(2)],
        }
    )
    write_frame(frame, tmp_path / "data.json.gz")
    full = GeneratorConfig.preset

    def small(name, *, grid=None):
        config = full(name, grid=8)
        vae = dataclasses.replace(config.vae, filters=(8, 16), depths=(1, 1), bottleneck=16, hidden=32, latent=16)
        return dataclasses.replace(config, vae=vae)

    monkeypatch.setattr(GeneratorConfig, "preset", small)
    out = tmp_path / "run"
    epochs = ("--unet-epochs", 1, "--vae-epochs", 1, "--joint-epochs", 1, "--batch-size", 4, "--density-steps", 20)
    code, said = run("train", "generator", "--data", tmp_path / "data.json.gz", "--out", out, *epochs)
    assert code == 0, said
    names = {path.name for path in (out / "model").iterdir()}
    assert {"config.json", "weights.safetensors", "README.md", "training.json", "training_crystals.csv.gz"} == names
    record = json.loads((out / "model" / "training.json").read_text())
    assert record["command"].startswith("icsg3d train generator --data")
    assert record["data"][0]["rows"] == 24
    assert len(record["data"][0]["sha256"]) == 64
    code, _ = run("generate", "--no-judge", "--model", out / "model", "-n", 2, "--out", tmp_path / "g")
    assert code == 0


def damaged_model(tmp_path, tiny_model):
    shutil.copytree(tiny_model, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    return tmp_path / "damaged"


BAD_CIF = "data_x\n_cell_length_a 4\n"
PARTIAL = """data_x
_symmetry_space_group_name_H-M 'P 1'
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0 0 0 {occupancy}
Cl1 Cl 0.5 0.5 0.5 1
"""


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("bad.cif", "bad.cif holds no crystal"),
        ("nothing.cif", "no file nothing.cif"),
        ("SrTiO4", "no prototype for SrTiO4"),
        ("Sr3Ti2O7", "no prototype for Sr3Ti2O7"),
        ("Xx", "'Xx'"),
        ("XeTiO3", "Xe, which the model"),
        ("partial.cif", "site 0 of"),
    ],
)
def test_bad_base_ends_in_one_sentence(run, tmp_path, tiny_model, monkeypatch, base, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.cif").write_text(BAD_CIF)
    (tmp_path / "partial.cif").write_text(PARTIAL.format(occupancy=0.5))
    code, said = run("generate", "--base", base, "--model", tiny_model, "--out", "out")
    assert code == 2
    assert said.count("Error: ") == 1
    assert expected in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-n", 0), "-n must be at least 1, got 0"),
        (("--model", "nonesuch"), "there is no model 'nonesuch'"),
        (("--scale", 0), "above 0 and up to 1, got 0"),
        (("--device", "cuda:99"), "cuda:99"),
        (("--condition", -1), "leave out --base or --condition"),
        (("--seed", -1), "a seed is a whole number of 0 or more, got -1"),
    ],
)
def test_bad_options_end_in_one_sentence(run, tmp_path, tiny_model, arguments, expected):
    given = ("--model", tiny_model) if "--model" not in arguments else ()
    code, said = run("generate", "--base", "NaCl", *given, *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert expected in said
    assert not (tmp_path / "out").exists()


def test_unwritable_folder_and_damaged_weights_are_named(run, tmp_path, tiny_model):
    (tmp_path / "file").write_text("in the way")
    code, said = run("generate", "--base", "NaCl", "--model", tiny_model, "--out", tmp_path / "file" / "out")
    assert code == 2
    assert "file/out" in said
    code, said = run(
        "generate", "--base", "NaCl", "--model", damaged_model(tmp_path, tiny_model), "--out", tmp_path / "o"
    )
    assert code == 2
    assert "weights.safetensors is damaged" in said
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"not gzip", "cannot be read as JSON"),
        (gzip.compress(b'{"columns": ["x"], "data": [[1]], "index": [0]}', mtime=0), "no column 'structure', only x"),
        (gzip.compress(b'{"columns": ["structure"], "data": [[null]], "index": [0]}', mtime=0), "holds no crystal"),
        (gzip.compress(b"[1, 2]", mtime=0), "no dataframe in matminer's format"),
    ],
)
def test_bad_data_is_named(run, tmp_path, tiny_model, content, expected):
    path = tmp_path / "data.json.gz"
    path.write_bytes(content)
    code, said = run("reconstruct", "--data", path, "--out", tmp_path / "out.json.gz", "--model", tiny_model)
    assert code == 2
    assert expected in said
    assert "data.json.gz" in said
    assert [p.name for p in tmp_path.iterdir()] == ["data.json.gz"]


@pytest.mark.parametrize(
    "command", [(), ("generate",), ("reconstruct",), ("evaluate", "segmentation"), ("train", "generator")]
)
def test_every_command_has_help(monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "argv", ["icsg3d", *command, "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "Usage" in out
    if command:
        assert "Example" in out


def test_models_say_what_they_do(run, capsys, monkeypatch):
    printed = []
    monkeypatch.setattr("typer.echo", printed.append)
    assert run("models")[0] == 0
    lines = {line.split()[0]: line for line in printed}
    assert "property: Kohn-Sham band gap (PBE), eV" in lines["band_gap"]
    assert "generator: 56 elements, heat_ref in ranges between 0.61 0.84 1.01" in lines["perovskites"]
    printed.clear()
    assert run("models", "cubic")[0] == 0
    assert printed[0].startswith("# Model card")
