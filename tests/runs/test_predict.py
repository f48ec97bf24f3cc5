"""Distances from the hull in tables of predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icsg3d.generation.prototypes import prototype_structure
from icsg3d.hull import Phase, ReferenceHull
from icsg3d.runs.predict import with_hull


def test_distances_stand_beside_the_energies():
    hull = ReferenceHull.shipped()
    own = hull.place("NaCl", 0.0)  # NaCl is a phase of the hull: at an energy of zero it lies at minus its energy
    energy = -own.energy_above_hull
    frame = pd.DataFrame(
        {
            "formula": ["NaCl", "NaCl", "KrO"],
            "formation_energy_per_atom": [energy, energy + 0.2, -1.0],
            "formation_energy_per_atom_std": [0.01, 0.02, 0.03],
            "band_gap": [5.0, 4.0, 3.0],
        }
    )
    found = with_hull(frame)
    assert list(found)[2:5] == ["formation_energy_per_atom_std", "energy_above_hull", "energy_above_hull_std"]
    assert found["energy_above_hull"][:2].to_list() == pytest.approx([0.0, 0.2])
    assert np.isnan(found["energy_above_hull"][2])
    assert found["energy_above_hull_std"][:2].to_list() == [0.01, 0.02]
    assert "energy_above_hull" not in frame
    assert with_hull(frame[["formula", "band_gap"]]).equals(frame[["formula", "band_gap"]])


def test_a_hull_of_ones_own_counts():
    frame = pd.DataFrame(
        {"formula": ["NaCl"], "formation_energy_per_atom": -1.0, "formation_energy_per_atom_std": 0.01}
    )
    lower = ReferenceHull.shipped().with_phases([Phase.of("NaCl", -3.0)])
    assert with_hull(frame, lower)["energy_above_hull"].to_list() == pytest.approx([2.0])
    nothing = with_hull(frame, ReferenceHull([]))  # empty, and no reason to take another one
    assert np.isnan(nothing["energy_above_hull"][0])


def test_phases_are_part_of_a_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prototype_structure("NaCl").to("salt.cif")
    Path("own.csv").write_text("formula,formation_energy_per_atom\nNaCl,-3.0\n")
    command = ("predict", "--data", "salt.cif", "--property", "formation_energy_per_atom", "--out", "out.csv")
    assert run(*command, "--phases", "own.csv")[0] == 0
    row = pd.read_csv("out.csv").iloc[0]
    assert row["energy_above_hull"] == pytest.approx(row["formation_energy_per_atom"] + 3.0, abs=1e-4)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("icsg3d.runs.chunked.write_numbers", full)
        assert run(*command, "--phases", "own.csv")[0] == 2
    code, said = run(*command, "--resume")
    assert code == 2
    assert "was begun with other data, another model or other options" in said
    assert run(*command, "--phases", "own.csv", "--resume")[0] == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--phases", "none.csv"), "there is no file none.csv; give a CSV table"),
        (("--property", "band_gap", "--phases", "own.csv"), "phases of a hull go with the formation energy; add"),
    ],
)
def test_phases_that_lead_nowhere_are_refused(run, tmp_path, monkeypatch, options, expected):
    monkeypatch.chdir(tmp_path)
    prototype_structure("NaCl").to("salt.cif")
    Path("own.csv").write_text("formula,formation_energy_per_atom\nNaCl,-3.0\n")
    code, said = run("predict", "--data", "salt.cif", *options, "--out", "out.csv")
    assert code == 2
    assert expected in said
    assert not Path("out.csv").exists()
