"""Distances from the hull in tables of predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from icsg3d.hull import ReferenceHull
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
