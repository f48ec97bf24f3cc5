from __future__ import annotations

import json
import sys
import warnings
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from icsg3d.crystals.elements import symbols
from icsg3d.errors import InputError
from icsg3d.evaluation import fingerprints as module
from icsg3d.evaluation.fingerprints import fingerprint, fingerprints, kept_fingerprints
from icsg3d.generation.prototypes import prototype_structure

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    site_featurizers = pytest.importorskip("matminer.featurizers.site")

SCALER = json.loads((files("icsg3d.evaluation") / "composition_scaler.json").read_text())
DISORDERED = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def crystal(formula="SrTiO3"):
    return prototype_structure(formula).get_primitive_structure()


def labelled(structure):
    """Order parameters of a crystal by name."""
    return dict(zip(module._featurizers()[0].feature_labels(), fingerprint(structure).sites, strict=True))


def unscaled(structure):
    """Magpie's statistics of a crystal by name, in their own units."""
    values = fingerprint(structure).composition * SCALER["std"] + SCALER["mean"]
    return {name.removeprefix("MagpieData "): v for name, v in zip(SCALER["features"], values, strict=True)}


# Sites


def test_rock_salt_is_all_octahedra():
    sites = labelled(crystal("NaCl"))
    assert len(sites) == 61
    assert sites["mean wt CN_6"] == pytest.approx(1.0)
    assert sites["mean octahedral CN_6"] == pytest.approx(1.0)
    assert sum(value for name, value in sites.items() if " wt " in name) == pytest.approx(1.0)


def test_the_mean_is_over_all_sites_of_the_cell():
    # One of five sites of a perovskite has twelve neighbours, one has six, all alike.
    sites = labelled(crystal("SrTiO3"))
    assert sites["mean wt CN_12"] == pytest.approx(0.2)
    assert sites["mean cuboctahedral CN_12"] == pytest.approx(0.2)
    assert sites["mean octahedral CN_6"] >= 0.2


def test_sites_are_those_of_matminer_one_by_one():
    structure = crystal("Cu2MnAl")
    structure.translate_sites([0], [0.02, 0.01, -0.03])  # so that no two sites are alike
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        single = site_featurizers.CrystalNNFingerprint.from_preset("ops")
        rows = [single.featurize(structure, number) for number in range(len(structure))]
    assert np.ptp(rows, axis=0).max() > 0.1
    np.testing.assert_allclose(fingerprint(structure).sites, np.mean(rows, axis=0), atol=1e-12)


# Composition


def test_statistics_of_atomic_numbers_by_hand():
    found = unscaled(crystal("SrTiO3"))
    numbers = [38, 22, 8, 8, 8]
    expected = {
        "minimum Number": 8,
        "maximum Number": 38,
        "range Number": 30,
        "mean Number": 84 / 5,
        "avg_dev Number": sum(abs(z - 84 / 5) for z in numbers) / 5,
        "mode Number": 8,
        "mean Row": (5 + 4 + 3 * 2) / 5,
        "maximum Column": 16,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_the_scale_is_that_of_132_features_of_one_set_of_crystals():
    names = [name.removeprefix("MagpieData ") for name in SCALER["features"]]
    mean, std = (dict(zip(names, SCALER[key], strict=True)) for key in ("mean", "std"))
    assert len(names) == len(set(names)) == 132
    assert min(std.values()) > 0
    # Means of differences are differences of means, and what they were taken from was real chemistry.
    for name in {name.split(" ")[1] for name in names}:
        assert mean[f"range {name}"] == pytest.approx(mean[f"maximum {name}"] - mean[f"minimum {name}"], rel=1e-6)
        assert mean[f"minimum {name}"] <= mean[f"mean {name}"] <= mean[f"maximum {name}"]
    assert 1 < mean["minimum Number"] < mean["mean Number"] < mean["maximum Number"] < 94


def test_what_magpie_does_not_know_is_at_the_mean():
    structure = Structure(Lattice.cubic(4), ["Na", "Ne"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    raw = np.array(module._featurizers()[1].featurize(Composition("NaNe")), dtype=float)
    unknown = np.isnan(raw)
    assert [n for n, u in zip(SCALER["features"], unknown, strict=True) if u] == [
        f"MagpieData {kind} Electronegativity" for kind in ("minimum", "maximum", "range", "mean", "avg_dev", "mode")
    ]
    found = fingerprint(structure).composition
    assert (found[unknown] == 0).all()
    np.testing.assert_allclose(found[~unknown], ((raw - SCALER["mean"]) / SCALER["std"])[~unknown])


@pytest.mark.parametrize("number", [1, 2, 10, 57, 86, 94])
def test_every_element_has_a_finite_fingerprint(number):
    symbol = symbols()[number]
    made = fingerprint(Structure(Lattice.cubic(4), [symbol, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert made.sites.shape == (61,)
    assert made.composition.shape == (132,)
    assert np.isfinite(made.sites).all()
    assert np.isfinite(made.composition).all()


# What does not matter, and what cannot be told


def test_cell_origin_and_order_of_atoms_do_not_matter():
    base = crystal("SrTiO3")
    first = fingerprint(base)
    moved = base.copy()
    moved.translate_sites(range(5), [0.13, 0.41, 0.77])
    shuffled = Structure(base.lattice, base.species[::-1], base.frac_coords[::-1])
    for other in map(fingerprint, (moved, shuffled, base * [2, 1, 1])):
        np.testing.assert_allclose(other.sites, first.sites, atol=1e-6)
        np.testing.assert_allclose(other.composition, first.composition, atol=1e-9)


def test_other_elements_have_another_composition_and_other_places_other_sites():
    rock_salt, oxide = fingerprint(crystal("NaCl")), fingerprint(crystal("MgO"))
    np.testing.assert_allclose(oxide.sites, rock_salt.sites, atol=1e-2)
    assert np.linalg.norm(oxide.composition - rock_salt.composition) > 1
    cubic = fingerprint(Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert np.linalg.norm(cubic.sites - rock_salt.sites) > 0.5
    np.testing.assert_array_equal(cubic.composition, rock_salt.composition)


def test_a_crystal_without_neighbours_that_can_be_told_has_none():
    assert fingerprint(DISORDERED) is None


def test_fingerprints_come_in_the_order_of_the_crystals():
    structures = [crystal("NaCl"), DISORDERED, crystal("MgO"), crystal("NaCl")]
    found = list(fingerprints(structures, jobs=1))
    assert found[1] is None
    for place in (0, 2, 3):
        alone = fingerprint(structures[place])
        np.testing.assert_array_equal(found[place].sites, alone.sites)
        np.testing.assert_array_equal(found[place].composition, alone.composition)
    assert list(fingerprints([], jobs=1)) == []


def test_fingerprints_are_found_once_for_the_same_crystals(tmp_path, monkeypatch):
    monkeypatch.setenv("ICSG3D_CACHE", str(tmp_path))
    structures = [crystal("NaCl"), DISORDERED]
    worked = []
    whole = module.fingerprints
    monkeypatch.setattr(module, "fingerprints", lambda *given: worked.append(1) or whole(*given))
    first = kept_fingerprints(structures, "one", 1)
    again = kept_fingerprints(structures, "one", 1)
    assert (len(worked), first[1], again[1]) == (1, None, None)
    np.testing.assert_array_equal(again[0].sites, first[0].sites)
    np.testing.assert_array_equal(again[0].composition, first[0].composition)
    (path,) = tmp_path.rglob("*.npz")
    for count, damage in enumerate((b"", path.read_bytes()[:-20], b"no archive"), start=2):
        path.write_bytes(damage)
        assert kept_fingerprints(structures, "one", 1)[1] is None
        assert len(worked) == count
    kept_fingerprints(structures, "other", 1)
    kept_fingerprints(structures[:1], "one", 1)
    assert len(worked) == 6


def test_where_nothing_can_be_kept_fingerprints_are_found_each_time(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("ICSG3D_CACHE", str(blocked))
    for _ in range(2):
        assert kept_fingerprints([DISORDERED], "one", 1) == [None]


# Another matminer, or none


@pytest.fixture
def forgetful():
    """Forget what is remembered of matminer, before and after."""
    remembered = (module._featurizers, module._scaler)
    for each in remembered:
        each.cache_clear()
    yield
    for each in remembered:
        each.cache_clear()


def test_other_features_are_refused(forgetful, monkeypatch):
    labels = [*SCALER["features"][1:], SCALER["features"][0]]
    monkeypatch.setattr(module, "_featurizers", lambda: (None, SimpleNamespace(feature_labels=lambda: labels)))
    with pytest.raises(InputError, match=r"other Magpie features than the benchmark; install matminer"):
        fingerprint(crystal("NaCl"))
    monkeypatch.undo()


def test_matminer_is_asked_for_where_it_is_missing(forgetful, monkeypatch):
    monkeypatch.setitem(sys.modules, "matminer.featurizers.site", None)
    with pytest.raises(InputError, match=r"need matminer; install it with pip install 'icsg3d\[evaluate\]'"):
        fingerprint(crystal("NaCl"))
