"""One place decides what volume a cell is brought to."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.properties import sizing
from icsg3d.properties.equilibrium import SHORTFALL, scale_cells
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.sizing import CellSizer
from icsg3d.properties.volume import VolumePredictor, Volumes

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


class ThreeTimes:
    digest = "three"

    def predict(self, crystals):
        return Volumes(np.full(len(crystals), 3.0), np.full(len(crystals), 0.1), ((),) * len(crystals))


@pytest.fixture(scope="module")
def energy():
    return PropertyPredictor.from_pretrained("formation_energy_per_atom")


def test_a_model_of_volumes_decides_where_there_is_one(energy):
    sizer = CellSizer(ThreeTimes(), energy)
    assert sizer.volumes([SALT, SALT]).values.tolist() == [3.0, 3.0]
    assert sizer.digest == "three"


def test_without_one_it_is_the_minimum_of_the_energy(energy, monkeypatch):
    monkeypatch.setattr(sizing, "available", lambda *_: [])
    sizer = CellSizer.best(energy)
    assert sizer.digest == energy.digest
    found = sizer.volumes([SALT])
    factor = scale_cells([SALT], energy)[0]
    assert found.values[0] == pytest.approx(factor**3 * SALT.volume / 8)
    assert factor == pytest.approx(5.64 / 5.4, rel=0.05 * SHORTFALL)
    assert np.isnan(found.stds[0])


def test_the_shipped_model_is_taken_as_soon_as_there_is_one(energy, monkeypatch):
    monkeypatch.setattr(sizing, "available", lambda *_: ["volume"])
    asked = []
    loaded = SimpleNamespace(digest="shipped")
    monkeypatch.setattr(VolumePredictor, "from_pretrained", lambda *given: asked.append(given) or loaded)
    assert CellSizer.best(energy, "cpu").digest == "shipped"
    assert asked == [("volume", "cpu")]
