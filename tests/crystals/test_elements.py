from __future__ import annotations

import csv
import json
import math
import os
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from pymatgen.core import Element

from icsg3d.crystals import elements

NUMBERS = range(1, 95)


@pytest.fixture(scope="module")
def rows():
    with resources.files("icsg3d.crystals").joinpath("elements.csv").open() as file:
        return {int(row["number"]): row for row in csv.DictReader(file)}


def period(number):
    """Period of the element: pymatgen sets lanthanides and actinides apart in rows of their own."""
    return 6 if 57 <= number <= 71 else 7 if number >= 89 else Element.from_Z(number).row


def test_there_are_94_elements_in_order(rows):
    assert list(rows) == list(NUMBERS)
    assert len(elements.symbols()) == elements.N_CLASSES == 95
    assert elements.symbols()[0] == ""
    assert elements.symbols()[elements.MAX_NUMBER] == "Pu"


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: Element.from_Z(number).symbol)
def test_values_are_those_of_pymatgen(rows, number):
    row, element = rows[number], Element.from_Z(number)
    assert row["symbol"] == elements.symbols()[number] == element.symbol
    ionic = float(element.average_ionic_radius)
    assert float(row["ionic_radius"] or 0) == pytest.approx(ionic, abs=5e-5)
    assert elements.ionic_radii()[number] == pytest.approx(ionic or 1.2, abs=5e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pymatgen says so where it has no value
        atomic = element.atomic_radius or element.atomic_radius_calculated
    assert elements.atomic_radii()[number] == pytest.approx(1.5 if atomic is None else float(atomic), abs=5e-5)
    negativity = 5.0 if math.isnan(element.X) else element.X
    assert elements.electronegativities()[number] == pytest.approx(negativity, abs=1e-9)
    assert int(row["period"]) == period(number)
    assert int(row["group"]) == element.group


def test_elements_without_a_value_get_the_default(rows):
    without_ion = {row["symbol"] for row in rows.values() if not row["ionic_radius"]}
    assert {"He", "Ne", "Ar", "Kr"} <= without_ion
    assert elements.ionic_radii()[2] == 1.2
    assert elements.electronegativities()[10] == 5.0
    assert elements.ionic_radii()[0] == 1.2
    assert elements.atomic_radii()[0] == 1.5


def test_radii_are_positive_and_finite():
    for table in (elements.ionic_radii(), elements.atomic_radii(), elements.electronegativities()):
        assert table.shape == (95,)
        assert np.isfinite(table).all()
        assert (table > 0).all()


def test_tables_cannot_be_changed():
    for table in (elements.ionic_radii(), elements.atomic_radii(), elements.chemistry_vectors()):
        with pytest.raises(ValueError, match="read-only"):
            table[1] = 0


def test_chemistry_vectors_are_one_hot_and_distinct():
    vectors = elements.chemistry_vectors()
    assert vectors.shape == (95, 39)
    assert not vectors[0].any()
    assert set(np.unique(vectors)) == {0.0, 1.0}
    assert (vectors[1:, :7].sum(1) == 1).all()
    assert (vectors[1:, 7:].sum(1) == 1).all()
    assert len(np.unique(vectors, axis=0)) == 95


@pytest.mark.parametrize(
    ("symbol", "row", "column"),
    [
        ("H", 1, 1),
        ("He", 1, 32),
        ("Be", 2, 2),
        ("B", 2, 27),
        ("Sc", 4, 17),
        ("Ti", 4, 18),
        ("Zn", 4, 26),
        ("La", 6, 3),
        ("Ce", 6, 4),
        ("Yb", 6, 16),
        ("Lu", 6, 17),
        ("Hf", 6, 18),
        ("Ra", 7, 2),
        ("Ac", 7, 3),
        ("U", 7, 6),
        ("Pu", 7, 8),
    ],
)
def test_places_in_the_long_periodic_table(symbol, row, column):
    vector = elements.chemistry_vectors()[Element(symbol).Z]
    assert (np.flatnonzero(vector) == [row - 1, 7 + column - 1]).all()


def test_columns_of_the_main_block_follow_the_groups(rows):
    for number, row in rows.items():
        group, column = int(row["group"]), int(row["column"])
        if 57 <= number <= 70 or number >= 89:
            assert column == 3 + number - (57 if number < 89 else 89)
        else:
            assert column == (group if group <= 2 else group + 14)


# Node features of crystal graphs

BLOCKS = {
    "group": (0, 19),
    "period": (19, 26),
    "electronegativity": (26, 36),
    "covalent radius": (36, 46),
    "valence electrons": (46, 58),
    "ionisation energy": (58, 68),
    "electron affinity": (68, 78),
    "block": (78, 82),
    "molar volume": (82, 92),
}


def test_graph_features_have_at_most_one_active_bin_a_block():
    features = elements.graph_features()
    assert features.shape == (95, 92)
    assert features.dtype == np.float32
    assert not features[0].any()
    assert set(np.unique(features)) == {0.0, 1.0}
    without = {}
    for name, (start, end) in BLOCKS.items():
        active = features[1:, start:end].sum(1)
        assert set(active) <= {0.0, 1.0}
        without[name] = {elements.symbols()[number] for number in np.flatnonzero(active == 0) + 1}
        assert features[1:, start:end].any(0).sum() >= min(7, end - start)  # most bins are some element's
    assert without.pop("electronegativity") == {"He", "Ne", "Ar"}
    assert without.pop("molar volume") == {element.symbol for element in no_volume()}
    assert not any(without.values())
    with pytest.raises(ValueError, match="read-only"):
        features[1] = 0


def no_volume():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return [e for e in map(Element.from_Z, NUMBERS) if e.molar_volume is None]


@pytest.mark.parametrize(
    ("symbol", "active"),
    [
        # In each block the bin is floor((value - first edge) / step), counted from 0, behind the place of the block.
        # X 2.20: 1.70 / 0.35 = 4.86; r 31: 6 / 22.5 = 0.27; ln 13.598 = 2.610: 1.310 / 0.2 = 6.55;
        # A 0.754: 3.754 / 0.67 = 5.60; ln 11.42 = 2.435: 0.935 / 0.28 = 3.34.
        ("H", [0 + 1, 19 + 0, 26 + 4, 36 + 0, 46 + 0, 58 + 6, 68 + 5, 78 + 0, 82 + 3]),
        # No X; r 28: 3 / 22.5 = 0.13; two electrons; ln 24.587 = 3.202: 1.902 / 0.2 = 9.51;
        # A -0.52: 2.48 / 0.67 = 3.70; ln 21.0 = 3.045: 1.545 / 0.28 = 5.52; pymatgen puts it into the p-block.
        ("He", [0 + 18, 19 + 0, 36 + 0, 46 + 1, 58 + 9, 68 + 3, 78 + 1, 82 + 5]),
        # X 3.44: 2.94 / 0.35 = 8.40; r 66: 41 / 22.5 = 1.82; six electrons; ln 13.618 = 2.611: 1.311 / 0.2 = 6.56;
        # A 1.461: 4.461 / 0.67 = 6.66; ln 17.36 = 2.854: 1.354 / 0.28 = 4.84.
        ("O", [0 + 16, 19 + 1, 26 + 8, 36 + 1, 46 + 5, 58 + 6, 68 + 6, 78 + 1, 82 + 4]),
        # X 1.83: 1.33 / 0.35 = 3.80; r 142: 117 / 22.5 = 5.20; eight electrons; ln 7.902 = 2.067: 0.767 / 0.2 = 3.84;
        # A 0.153: 3.153 / 0.67 = 4.71; ln 7.09 = 1.959: 0.459 / 0.28 = 1.64.
        ("Fe", [0 + 8, 19 + 3, 26 + 3, 36 + 5, 46 + 7, 58 + 3, 68 + 4, 78 + 2, 82 + 1]),
        # X 1.10: 0.60 / 0.35 = 1.71; r 207: 182 / 22.5 = 8.09; two electrons; ln 5.577 = 1.719: 0.419 / 0.2 = 2.09;
        # A 0.558: 3.558 / 0.67 = 5.31; ln 22.39 = 3.109: 1.609 / 0.28 = 5.75; f-block, so group 0.
        ("La", [0 + 0, 19 + 5, 26 + 1, 36 + 8, 46 + 1, 58 + 2, 68 + 5, 78 + 3, 82 + 5]),
        # X 1.38: 0.88 / 0.35 = 2.51; r 196: 171 / 22.5 = 7.60; two electrons; ln 6.194 = 1.824: 0.524 / 0.2 = 2.62;
        # A 0.315: 3.315 / 0.67 = 4.95; ln 12.49 = 2.525: 1.025 / 0.28 = 3.66.
        ("U", [0 + 0, 19 + 6, 26 + 2, 36 + 7, 46 + 1, 58 + 2, 68 + 4, 78 + 3, 82 + 3]),
        # The last of the d-block: X 1.65: 1.15 / 0.35 = 3.29; r 122: 97 / 22.5 = 4.31; twelve electrons;
        # ln 9.394 = 2.240: 0.940 / 0.2 = 4.70; A -0.62: 2.38 / 0.67 = 3.55; ln 9.16 = 2.215: 0.715 / 0.28 = 2.55.
        ("Zn", [0 + 12, 19 + 3, 26 + 3, 36 + 4, 46 + 11, 58 + 4, 68 + 3, 78 + 2, 82 + 2]),
        # Beyond the last edge, 250: r 260 is in the last bin. X 0.70: 0.20 / 0.35 = 0.57; ln 4.073 = 1.404:
        # 0.104 / 0.2 = 0.52; A 0.486: 3.486 / 0.67 = 5.20; no molar volume.
        ("Fr", [0 + 1, 19 + 6, 26 + 0, 36 + 9, 46 + 0, 58 + 0, 68 + 5, 78 + 0]),
    ],
)
def test_active_bins_worked_out_by_hand(symbol, active):
    assert np.flatnonzero(elements.graph_features()[Element(symbol).Z]).tolist() == active


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: Element.from_Z(number).symbol)
def test_values_behind_graph_features_are_those_of_pymatgen(rows, number):
    row, element = rows[number], Element.from_Z(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pymatgen says so where it has no value
        volume = element.molar_volume
    assert float(row["covalent_radius"]) == pytest.approx(CovalentRadius.radius[element.symbol], abs=1e-9)
    assert float(row["ionization_energy"]) == pytest.approx(element.ionization_energy, abs=5.1e-5)
    assert float(row["electron_affinity"]) == pytest.approx(element.electron_affinity, abs=5.1e-5)
    assert row["block"] == element.block
    if volume is None:
        assert row["molar_volume"] == ""
    else:
        assert float(row["molar_volume"]) == pytest.approx(float(volume), abs=5.1e-5)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: Element.from_Z(number).symbol)
def test_groups_and_valence_electrons(number):
    element, vector = Element.from_Z(number), elements.graph_features()[number]
    # All electrons beyond the last noble gas, without filled d- and f-shells below the outermost; 2 in the f-block.
    inside_f = 57 <= number <= 70 or number >= 89
    outer = number - max(core for core in (0, 2, 10, 18, 36, 54, 86) if core < number)
    filled = (10 if element.block == "p" and element.row > 3 else 0) + (14 if outer > 16 and number > 70 else 0)
    assert vector[46:58].argmax() + 1 == (2 if inside_f else outer - filled)
    assert vector[:19].argmax() == (0 if inside_f else element.group)
    assert vector[19:26].argmax() + 1 == period(number)
    assert "spdf"[vector[78:82].argmax()] == element.block


def test_blocks_of_exact_definition_are_those_of_the_published_file():
    default = Path(__file__).parents[2] / "shared" / "reference"
    path = Path(os.environ.get("ICSG3D_REFERENCE", default)) / "cgcnn" / "atom_init.json"
    if not path.is_file():
        pytest.skip(f"no file {path}; name the folder above its own with ICSG3D_REFERENCE")
    published = json.loads(path.read_text())
    table = np.array([published[str(number)] for number in NUMBERS])
    features = elements.graph_features()[1:]
    # Other blocks depend on the source of the values. The file gives Pd twelve valence electrons where Ni and Pt have
    # ten, and has He in the s-block.
    different = {
        name: {elements.symbols()[i + 1] for i in np.flatnonzero((features != table)[:, start:end].any(1))}
        for name, (start, end) in BLOCKS.items()
    }
    assert not different["group"]
    assert not different["period"]
    assert not different["ionisation energy"]
    assert different["valence electrons"] == {"Pd"}
    assert different["block"] == {"He"}
    for name, count in (("electronegativity", 14), ("electron affinity", 32), ("molar volume", 15)):
        assert len(different[name]) <= count
