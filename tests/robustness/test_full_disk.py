"""A disk that fills while a command runs: one sentence that names the path, nothing half written, and it can go on.

The operating system's limit on the size of files stands for the disk: a write beyond it fails as one to a full disk.
"""

from __future__ import annotations

from contextlib import contextmanager

import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.data import write_frame
from icsg3d.generation.prototypes import prototype_structure

resource = pytest.importorskip("resource")

FORMULAS = ("NaCl", "SrTiO3", "KMgF3", "MgO", "CsCl", "LiF", "LaAlO3", "BaTiO3")

COMMANDS = {
    "generate": ("generate", "-n", 24, "--model", "{model}", "--out", "{out}"),
    "reconstruct": ("reconstruct", "--data", "{data}", "--out", "{out}.json"),
    "predict": ("predict", "--data", "{data}", "--property", "band_gap", "--out", "{out}.csv"),
    "featurize": ("featurize", "--data", "{data}", "--featurizer", "latent", "--out", "{out}.csv"),
    "evaluate": ("evaluate", "reconstruction", "--data", "{data}", "--jobs", 1, "--out", "{out}"),
    "segmentation": ("evaluate", "segmentation", "--data", "{data}", "--grid", 16, "--out", "{out}"),
    "validate": (
        *("validate", "{metals}", "--engine", "tests.workflows.emt_makers:EmtStaticMaker"),
        *("--no-screen", "--no-scale-cells", "--out", "{out}"),
    ),
    "train": (
        *("train", "property", "--data", "{salts}", "--target", "band_gap", "--members", 1, "--epochs", 1),
        *("--width", 8, "--layers", 1, "--accelerator", "cpu", "--out", "{out}"),
    ),
}


@contextmanager
def files_up_to(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    crystals = [prototype_structure(formula) for formula in FORMULAS]
    frame = pd.DataFrame({"material_id": FORMULAS, "structure": crystals, "band_gap": range(len(FORMULAS))})
    write_frame(frame, folder / "data.json")
    pairs = [(cation, anion) for cation in ("Li", "Na", "K", "Rb", "Cs") for anion in ("F", "Cl", "Br", "I")]
    crystals = [Structure(Lattice.cubic(4.2), pair, [[0, 0, 0], [0.5] * 3]) for pair in pairs]
    write_frame(pd.DataFrame({"structure": crystals, "band_gap": range(len(crystals))}), folder / "salts.json")
    (folder / "metals").mkdir()
    Structure(Lattice.cubic(3.05), ["Cu", "Au"], [[0, 0, 0], [0.5] * 3]).to(str(folder / "metals" / "CuAu.cif"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("size", [100, 300, 6000, 60_000])
def test_a_full_disk_is_a_sentence_and_the_run_goes_on(name, size, command_line, inputs, tiny_model, tmp_path):
    values = {
        "out": tmp_path / "out",
        "data": inputs / "data.json",
        "salts": inputs / "salts.json",
        "metals": inputs / "metals",
        "model": tiny_model,
    }
    command = [str(each).format(**values) for each in COMMANDS[name]]
    with files_up_to(size):
        code, said = command_line(*command)
    assert "Traceback" not in said
    if code:
        assert code == 2, said
        assert "File too large" in said or "disk I/O error" in said, said  # the second is SQLite's
        assert str(tmp_path) in said
    else:
        assert size > 300, "nothing can have been written"
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob(".lock"))
    if code and name != "segmentation":
        code, said = command_line(*command, "--resume")
        assert code == 0, said
