from __future__ import annotations

import dataclasses
import json
import math

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.evaluation import reconstruction
from icsg3d.evaluation.reconstruction import Comparison, compare, summarise, table
from icsg3d.report.evaluations import draw_reconstruction

NAN = float("nan")


@pytest.fixture(autouse=True)
def balanced(monkeypatch):
    """Let compositions of equal numbers of two elements be valid, and no others."""
    monkeypatch.setattr(
        reconstruction, "composition_valid", lambda composition: len({*composition.get_el_amt_dict().values()}) == 1
    )


def salt(edge=4.0, places=((0, 0, 0), (0.5, 0.5, 0.5)), species=("Cs", "Cl")):
    lattice = edge if isinstance(edge, Lattice) else Lattice.cubic(edge)
    return Structure(lattice, list(species), list(places))


# One crystal


def test_a_crystal_is_itself():
    same = compare(salt(), salt())
    assert same == Comparison(True, True, True, True, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert same.matched


def test_what_was_not_decoded_is_a_miss():
    missing = compare(salt(), None)
    assert (missing.decoded, missing.atom_count_right, missing.species_right, missing.valid) == (False,) * 4
    assert not missing.matched
    errors = ("rms", "length_error", "angle_error", "position_error_true", "position_error_found")
    assert all(math.isnan(getattr(missing, name)) for name in errors)


def test_the_displacement_is_in_units_of_the_space_of_an_atom():
    # Of 0.2 angstrom between the two, each takes half; the space of an atom is half of 64 cubic angstrom.
    moved = compare(salt(), salt(places=[(0, 0, 0), (0.55, 0.5, 0.5)]))
    assert moved.rms == pytest.approx(0.1 / 32 ** (1 / 3), rel=1e-6)
    assert moved.position_error_true == moved.position_error_found == pytest.approx(0.1)


def test_the_displacement_is_the_mean_over_sites_and_not_the_largest():
    # Of one of three atoms by 0.3 angstrom: two thirds of that for it, one third for each of the others.
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    species, cell = ("Cs", "Cl", "F"), Lattice.tetragonal(4, 6)
    moved = compare(salt(cell, places, species), salt(cell, [(0, 0, 0.05), *places[1:]], species))
    assert moved.rms == pytest.approx(math.sqrt((0.2**2 + 2 * 0.1**2) / 3) / 32 ** (1 / 3), rel=1e-6)


def test_the_displacement_knows_nothing_of_the_origin_but_positions_do():
    far = compare(salt(), salt(places=[(0.1, 0, 0), (0.6, 0.5, 0.5)]))
    assert far.rms == pytest.approx(0.0, abs=1e-9)
    assert far.position_error_true == pytest.approx(0.4)


def test_lattice_errors_are_means_over_three():
    found = salt(Lattice.from_parameters(4.3, 4.0, 3.9, 90, 92, 89.5))
    result = compare(salt(), found)
    assert result.length_error == pytest.approx((0.3 + 0.0 + 0.1) / 3)
    assert result.angle_error == pytest.approx((0 + 2 + 0.5) / 3)


def test_positions_are_paired_over_the_faces_in_the_true_cell():
    # A surplus atom counts among those found alone. The found cell is twice as large, which must not matter.
    found = salt(8.0, [(0.95, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.4)], ("Cs", "Cl", "Cl"))
    result = compare(salt(), found)
    assert result.position_error_true == pytest.approx((0.2 + 0.0) / 2)
    assert result.position_error_found == pytest.approx((0.2 + 0.0 + 0.4) / 3)
    fewer = compare(found, salt(8.0, [(0, 0, 0)], ["Cs"]))
    far = 8 * math.sqrt(0.75), 8 * math.sqrt(0.25 + 0.25 + 0.16)
    assert fewer.position_error_true == pytest.approx((0.4 + sum(far)) / 3)
    assert fewer.position_error_found == pytest.approx(0.4)


def test_atoms_are_counted_and_then_told_apart():
    other = compare(salt(), salt(species=("Rb", "Cl")))
    assert (other.atom_count_right, other.species_right, other.matched) == (True, False, False)
    assert other.position_error_true == 0.0
    surplus = compare(salt(), salt(places=[(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0, 0)], species=("Cs", "Cl", "Cl")))
    assert (surplus.decoded, surplus.atom_count_right, surplus.species_right) == (True, False, False)
    assert not surplus.valid
    turned = compare(salt(), salt(species=("Cl", "Cs")))
    assert turned.species_right
    assert turned.matched  # caesium chloride is the same from either atom


def test_another_number_of_cells_matches_but_has_another_number_of_atoms():
    double = compare(salt(), salt() * [2, 1, 1])
    assert double.matched
    assert not double.atom_count_right
    assert not double.species_right


@pytest.mark.parametrize(
    ("found", "matched"),
    [
        (Lattice.from_parameters(4, 4, 4, 90, 98, 90), True),  # pymatgen's own tolerance is 5 degrees
        (Lattice.from_parameters(4, 4, 4, 90, 104, 90), False),
        (Lattice.tetragonal(4, 5.4), True),  # edges that differ by 0.22 when the volumes are made equal
        (Lattice.tetragonal(4, 6.6), False),
    ],
)
def test_tolerances_are_those_of_the_benchmark(found, matched):
    assert compare(salt(), salt(found)).matched is matched


@pytest.mark.parametrize(("z", "matched"), [(0.3, True), (0.2, True), (0.15, False), (0.05, False)])
def test_sites_may_be_half_the_space_of_an_atom_away(z, matched):
    cell = Lattice.tetragonal(4, 16)
    result = compare(salt(cell), salt(cell, [(0, 0, 0), (0.5, 0.5, z)]))
    assert result.matched is matched
    if matched:  # each of the two takes half of the way; the space of an atom is 128 cubic angstrom
        assert result.rms == pytest.approx(16 * (0.5 - z) / 2 / 128 ** (1 / 3))


# Many crystals


RESULTS = [
    Comparison(True, True, True, True, 0.02, 0.3, 1.0, 0.1, 0.2),
    Comparison(True, True, True, False, 0.06, 0.1, 2.0, 0.3, 0.4),
    Comparison(True, False, False, True, NAN, 0.5, 3.0, 0.5, 0.9),
    Comparison(False, False, False),
    Comparison(True, True, False, True, NAN, 0.7, 6.0, 0.7, 0.1),
]


def test_rates_are_over_all_crystals_and_errors_over_those_decoded():
    assert summarise(RESULTS) == pytest.approx(
        {
            "crystals": 5,
            "decoded": 4 / 5,
            "match_rate": 2 / 5,
            "match_rate_valid": 1 / 5,
            "rmse": 0.04,
            "all_species_right": 2 / 5,
            "atom_count_right": 3 / 5,
            "length_error": 0.4,
            "angle_error": 3.0,
            "position_error_true": 0.4,
            "position_error_found": 0.4,
        }
    )


def test_figures_without_a_match_or_a_crystal_are_null_and_not_nan():
    none = summarise(RESULTS[3:4])
    assert (none["decoded"], none["match_rate"]) == (0.0, 0.0)
    assert none["rmse"] is none["length_error"] is none["position_error_found"] is None
    assert summarise(RESULTS[2:4])["rmse"] is None
    for part in (RESULTS, RESULTS[3:4]):
        json.dumps(summarise(part), allow_nan=False)


def test_the_figures_are_those_of_the_table():
    rows = table(list("abcde"), ["CsCl"] * 5, RESULTS)
    assert list(rows.index) == list("abcde")
    assert rows.index.name == "material_id"
    names = [field.name for field in dataclasses.fields(Comparison)]
    assert list(rows.columns) == [*names, "matched", "formula"]
    figures = summarise(RESULTS)
    assert rows["matched"].mean() == figures["match_rate"]
    assert (rows["matched"] & rows["valid"]).mean() == figures["match_rate_valid"]
    assert rows["rms"].mean() == pytest.approx(figures["rmse"])
    assert rows["angle_error"].mean() == pytest.approx(figures["angle_error"])


# Picture


def test_the_picture_is_the_same_for_the_same_rows(tmp_path):
    rows = table(list("abcde"), ["CsCl"] * 5, RESULTS)
    for name in ("one.png", "other.png"):
        draw_reconstruction(rows, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "other.png"]
    picture = matplotlib.image.imread(tmp_path / "one.png")
    assert picture.shape[1] > 3 * picture.shape[0]
    blue = (np.abs(picture[..., :3] - [31 / 255, 119 / 255, 180 / 255]) < 0.02).all(-1)
    quarters = np.array_split(blue, 4, axis=1)
    assert all(part.sum() > 50 for part in quarters)


def test_a_picture_of_nothing_decoded_has_no_bars(tmp_path):
    draw_reconstruction(table(["a"], ["CsCl"], RESULTS[3:4]), tmp_path / "empty.png")
    picture = matplotlib.image.imread(tmp_path / "empty.png")
    assert np.ptp(picture[..., :3], axis=-1).max() < 0.05  # black and white


def test_the_table_survives_csv(tmp_path):
    rows = table(list("abcde"), ["CsCl"] * 5, RESULTS)
    rows.to_csv(tmp_path / "rows.csv")
    back = pd.read_csv(tmp_path / "rows.csv", index_col="material_id")
    pd.testing.assert_frame_equal(back, rows)
