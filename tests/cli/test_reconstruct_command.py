"""``icsg3d reconstruct --resume``: it goes on with the same data alone."""

from __future__ import annotations

import importlib

import numpy as np
import pandas as pd
import pytest

from icsg3d.data import write_frame
from icsg3d.generation.decoded import DecodedCrystal
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure

FORMULAS = ("NaCl", "SrTiO3", "LiF")


def as_file(folder, formulas):
    path = folder / "crystals.json"
    structures = [prototype_structure(formula).as_dict() for formula in formulas]
    write_frame(pd.DataFrame({"material_id": ["a", "b", "c"], "structure": structures}), path)
    return path


def as_folder(folder, formulas):
    path = folder / "crystals"
    path.mkdir(exist_ok=True)
    for name, formula in zip("abc", formulas, strict=True):
        prototype_structure(formula).to(str(path / f"{name}.cif"), fmt="cif")
    return path


@pytest.fixture(params=[as_file, as_folder], ids=["file", "folder"])
def write(request):
    return request.param


@pytest.fixture
def interrupted(run, tmp_path, write, tiny_model, monkeypatch):
    """A command that was interrupted after the first of three crystals; what it rebuilds is what it is given."""
    calls = []

    def rebuild(_generator, structures):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return [DecodedCrystal(structure, "", np.zeros(1)) for structure in structures]

    monkeypatch.setattr(importlib.import_module("icsg3d.runs.reconstruct"), "_CHUNK", 1)
    monkeypatch.setattr(CrystalGenerator, "reconstruct", rebuild)
    command = ("reconstruct", "--data", write(tmp_path, FORMULAS), "--model", tiny_model, "--out")
    code, said = run(*command, tmp_path / "out.json")
    assert code == 130, said
    return command


def test_an_interrupted_command_goes_on(run, tmp_path, interrupted):
    code, said = run(*interrupted, tmp_path / "out.json", "--resume")
    assert code == 0, said
    assert run(*interrupted, tmp_path / "whole.json")[0] == 0
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_data_that_have_changed_are_not_gone_on_with(run, tmp_path, write, interrupted):
    write(tmp_path, ("NaCl", "BaTiO3", "LiF"))
    code, said = run(*interrupted, tmp_path / "out.json", "--resume")
    assert code == 2
    assert "these have changed since; repeat the command as it was, or leave out --resume" in said
    assert not (tmp_path / "out.json").exists()
    code, said = run(*interrupted, tmp_path / "out.json")
    assert code == 0, said


@pytest.mark.parametrize("changes", [("--limit", 2), ("--symmetry", 0)])
def test_other_options_are_not_gone_on_with(run, tmp_path, interrupted, changes):
    code, said = run(*interrupted, tmp_path / "out.json", "--resume", *changes)
    assert code == 2
    assert "begun with other data, another model or other options" in said


# Several processes

SALTS = ("NaCl", "SrTiO3", "XeF", "BaTiO3", "MgO", "KMgF3", "KBr")


@pytest.fixture
def salts(tmp_path, monkeypatch):
    """A file of seven crystals, one of them unknown to all models, which are rebuilt two by two."""
    monkeypatch.setattr(importlib.import_module("icsg3d.runs.reconstruct"), "_CHUNK", 2)
    structures = [prototype_structure(formula).as_dict() for formula in SALTS]
    write_frame(pd.DataFrame({"material_id": SALTS, "structure": structures}), tmp_path / "salts.json")
    return tmp_path / "salts.json"


@pytest.mark.slow
def test_processes_give_what_one_gives(run, tmp_path, salts):
    command = ("reconstruct", "--data", salts, "--model", "cubic", "--symmetry", 0.1, "--out")
    for jobs in (1, 2):
        code, said = run(*command, tmp_path / f"{jobs}.json", "--jobs", jobs)
        assert code == 0, said
        assert "6 of 7 crystals gave a crystal again" in said
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


@pytest.mark.slow
def test_processes_go_on_with_what_one_has_left(run, tmp_path, tiny_model, salts, monkeypatch):
    given = ("evaluate", "reconstruction", "--data", salts, "--model", tiny_model, "--out")
    rebuild, calls = CrystalGenerator.reconstruct, []

    def once(generator, structures):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rebuild(generator, structures)

    with monkeypatch.context() as patch:
        patch.setattr(CrystalGenerator, "reconstruct", once)
        assert run(*given, tmp_path / "two", "--jobs", 1)[0] == 130
    code, said = run(*given, tmp_path / "two", "--jobs", 2, "--resume")
    assert code == 0, said
    assert run(*given, tmp_path / "one", "--jobs", 1)[0] == 0
    for name in ("reconstruction.json", "reconstruction.csv", "reconstruction.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("jobs", "count", "device", "expected"),
    [
        (1, 1000, "cpu", 1),
        (2, 1000, "cpu", 2),
        (2, 33, "cpu", 2),
        (2, 32, "cpu", 1),  # nothing to share
        (3, 0, "cpu", 1),
        (3, None, "cuda", 3),
        (-1, 1000, "cpu", 8),
        (-1, 200, "cpu", 3),
        (-1, 63, "cpu", 1),
        (-1, None, "cpu", 8),
        (-1, None, "cuda", 1),  # memory of a GPU holds few
    ],
)
def test_processes_are_worth_their_while(monkeypatch, jobs, count, device, expected):
    module = importlib.import_module("icsg3d.runs.reconstruct")
    monkeypatch.setattr(module, "available_processors", lambda: 8)
    assert module._processes(jobs, count, device) == expected
