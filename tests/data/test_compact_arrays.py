from __future__ import annotations

import numpy as np
import pytest

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.data import load_structures
from icsg3d.data.compact_arrays import CompactCrystals, read_compact, reduced_formula, write_compact
from icsg3d.data.targets import compact_property_set
from icsg3d.errors import InputError
from icsg3d.models.targets import PROPERTIES
from icsg3d.representation.moments import EnvironmentConfig

SALT = CrystalArrays(
    np.array([11, 17]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), 3.99 * (np.ones((3, 3)) - np.eye(3)) / 1.4
)
SILICON = CrystalArrays(np.array([14, 14]), np.array([[0.0, 0, 0], [0.25] * 3]), 2.73 * (np.ones((3, 3)) - np.eye(3)))
COLUMNS = {
    "band_gap": np.array([5.0, np.nan]),
    "log10_bulk_modulus": np.array([1.4, 2.0]),
    "log10_shear_modulus": np.array([1.2, np.nan]),
    "refractive_index": np.array([np.nan, 3.5]),
}
CRYSTALS = CompactCrystals.of(["salt", "silicon"], [SALT, SILICON], COLUMNS)


def test_what_is_written_is_read(tmp_path):
    write_compact(CRYSTALS, tmp_path / "some.npz")
    found = read_compact(tmp_path / "some.npz")
    assert found.ids == ["salt", "silicon"]
    assert found.formulas == ["NaCl", "Si"]
    np.testing.assert_array_equal(found.crystal(1).numbers, [14, 14])
    np.testing.assert_allclose(found.crystal(1).lattice, SILICON.lattice, rtol=1e-6)
    np.testing.assert_allclose(found.columns["band_gap"], [5.0, np.nan])


def test_properties_follow_from_columns():
    np.testing.assert_allclose(CRYSTALS.column("bulk_modulus"), [10**1.4, 100])
    k, g = 10**1.4, 10**1.2
    assert CRYSTALS.column("poisson_ratio")[0] == pytest.approx((3 * k - 2 * g) / (6 * k + 2 * g))
    assert CRYSTALS.column("dielectric_electronic")[1] == pytest.approx(12.25)
    assert CRYSTALS.column("eij_max") is None


def test_every_command_reads_them(tmp_path):
    write_compact(CRYSTALS, tmp_path / "some.npz")
    table = load_structures(tmp_path / "some.npz")
    assert table.ids == ["salt", "silicon"]
    assert [s.composition.reduced_formula for s in table.structures] == ["NaCl", "Si"]
    assert table.frame["band_gap"][0] == 5.0


def test_crystals_without_a_value_are_left_out_and_bad_ones_named():
    found, skipped = compact_property_set(CRYSTALS, PROPERTIES["band_gap"], EnvironmentConfig())
    assert found.ids == ["salt"]
    assert found.formulas == ["NaCl"]
    assert found.graphs.moments.dtype == np.float16
    assert skipped == {}
    near = CrystalArrays(SALT.numbers, np.array([[0.0, 0, 0], [0.01, 0, 0]]), SALT.lattice)
    crystals = CompactCrystals.of(["near", "salt"], [near, SALT], {"band_gap": np.array([1.0, 5.0])})
    found, skipped = compact_property_set(crystals, PROPERTIES["band_gap"], EnvironmentConfig())
    assert found.ids == ["salt"]
    assert "apart" in skipped["near"]
    with pytest.raises(InputError, match="no column 'eij_max'"):
        compact_property_set(CRYSTALS, PROPERTIES["eij_max"], EnvironmentConfig())


def test_formulas_do_not_depend_on_the_order_of_atoms():
    assert reduced_formula(np.array([8, 22, 8, 38, 8])) == reduced_formula(np.array([38, 22, 8, 8, 8])) == "SrTiO3"
    assert reduced_formula(np.array([8, 8])) == "O2"


def test_files_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "bad.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no compact arrays"):
        read_compact(path)
    arrays = {"ids": np.array(["a"]), "natoms": np.array([3]), "Z": np.array([14, 14])}
    np.savez(path, frac=np.zeros((2, 3)), lattice=np.eye(3)[None], **arrays)
    with pytest.raises(InputError, match="natoms add up to 3"):
        read_compact(path)
    arrays |= {"natoms": np.array([2]), "Z": np.array([14, 120])}
    np.savez(path, frac=np.zeros((2, 3)), lattice=np.eye(3)[None], **arrays)
    with pytest.raises(InputError, match="atomic numbers"):
        read_compact(path)
    with pytest.raises(ValueError, match="as many names"):
        CompactCrystals.of(["a"], [SALT, SALT], {})
