"""Complete trainings of a generator for any cell: what is learned from and what is judged by."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.data.compact_arrays import CompactCrystals, write_compact
from icsg3d.errors import InputError
from icsg3d.runs.train_materials import read_crystals


def salt(*numbers, length=4.0):
    """Cubic crystal with its atoms along the diagonal."""
    places = np.arange(len(numbers))[:, None] / len(numbers)
    return CrystalArrays(np.array(numbers), np.tile(places, (1, 3)), length * np.eye(3))


def table(path, crystals, energies):
    ids = [f"{path.stem}-{row}" for row in range(len(crystals))]
    write_compact(CompactCrystals.of(ids, crystals, {"formation_energy_per_atom": np.array(energies)}), path)
    return path


def test_formulas_to_judge_by_and_large_crystals_are_not_learned(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    # MgO twice over is still MgO; twenty-one atoms are too many
    first = table(tmp_path / "first.npz", [salt(11, 17), salt(12, 8, 12, 8), salt(22, 8, 8)], [-2.0, -3.0, np.nan])
    second = table(tmp_path / "second.npz", [salt(*[3, 9] * 10, 3, length=9.0), salt(3, 9)], [-3.0, -3.1])
    judged = table(tmp_path / "judged.npz", [salt(12, 8)], [-3.0])
    data, ids = read_crystals((first, second), judged)
    assert ids == ["first-0", "first-2", "second-1"]
    assert [sorted(crystal.numbers.tolist()) for crystal in data.training.crystals] == [[11, 17], [8, 8, 22], [3, 9]]
    assert [sorted(crystal.numbers.tolist()) for crystal in data.validation.crystals] == [[8, 12]]
    assert "3 crystals to learn from, 1 to judge by; 2 are too large or have a formula" in caplog.text


def test_nothing_to_learn_from_is_said(tmp_path):
    one = table(tmp_path / "one.npz", [salt(12, 8)], [-3.0])
    with pytest.raises(InputError, match="there are no crystals to learn from: 20 atoms in the primitive cell"):
        read_crystals((one,), one)
