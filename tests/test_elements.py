from __future__ import annotations

import csv
import math
import warnings
from importlib import resources

import numpy as np
import pytest
from pymatgen.core import Element

from icsg3d import elements

NUMBERS = range(1, 95)


@pytest.fixture(scope="module")
def rows():
    with resources.files("icsg3d").joinpath("elements.csv").open() as file:
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
