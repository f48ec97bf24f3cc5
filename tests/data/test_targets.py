from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Structure

from icsg3d.crystals.structures import to_arrays
from icsg3d.data import CrystalTable, targets
from icsg3d.data.targets import check_learnable, is_held_out, property_set
from icsg3d.errors import InputError
from icsg3d.models.targets import PROPERTIES, unknown_property
from icsg3d.representation.graphs import GraphConfig, crystal_graph

ENERGY, GAP = PROPERTIES["formation_energy_per_atom"], PROPERTIES["band_gap"]
GRAPH = GraphConfig()


def rock_salt(cation, anion, edge):
    return Structure(edge / 2 * (np.ones((3, 3)) - np.eye(3)), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def conventional_rock_salt(cation, anion, edge):
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(edge * np.eye(3), [cation] * 4 + [anion] * 4, [*corners, *(corners + np.array([0.5, 0, 0]))])


def perovskite(large, small, edge):
    frac = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(edge * np.eye(3), [large, small, "O", "O", "O"], frac)


LONELY = Structure(9.5 * np.eye(3), ["Xe"], [[0, 0, 0]])
DISORDERED = Structure(5 * np.eye(3), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CRYSTALS = [rock_salt("Na", "Cl", 5.64), perovskite("Sr", "Ti", 3.9), rock_salt("Mg", "O", 4.21)]
ENERGIES = [-2.1, -3.5, -3.0]


def table(crystals=CRYSTALS, ids=None, **columns):
    columns = columns or {ENERGY.name: ENERGIES}
    names = ids or [f"mp-{n}" for n in range(len(crystals))]
    return CrystalTable(names, list(crystals), pd.DataFrame(columns), {}, (Path("some/where/crystals.json.gz"),))


# Which formulas are held out


def test_formulas_kept_back_stay_the_same():
    # Worked out with sha256sum: the first eight hexadecimal digits, the remainder of ten.
    apart = {name for name in ("NaCl", "SrTiO3", "MgO", "Fe2O3", "Al", "KF", "NaF", "CaTiO3") if is_held_out(name)}
    assert apart == {"NaCl", "MgO", "NaF", "CaTiO3"}
    assert {n for n in (2, 3, 4, 5, 7) if is_held_out("NaCl", n)} == {2, 3, 4, 5}


def test_about_a_tenth_of_the_formulas_is_kept_back():
    symbols = ("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Al", "Ga", "In", "Ti", "Zr", "Fe", "Co", "Ni")
    formulas = [f"{a}{b}{c}{n}" for a, b in itertools.permutations(symbols, 2) for c in "OFSN" for n in (2, 3, 4, 5)]
    share = np.mean([is_held_out(formula) for formula in formulas])
    assert 0.085 < share < 0.115
    assert 0.3 < np.mean([is_held_out(formula, 3) for formula in formulas]) < 0.37


# From tables to graphs


def test_values_names_and_formulas_stay_together():
    found, skipped = property_set(table(), ENERGY, GRAPH)
    assert skipped == {}
    assert found.values.tolist() == ENERGIES
    assert list(found.ids) == ["mp-0", "mp-1", "mp-2"]
    assert list(found.formulas) == ["NaCl", "SrTiO3", "MgO"]
    assert found.scales.tolist() == [0, 0, 0]
    assert found.graphs.atoms.tolist() == [2, 5, 2]
    assert found.elements == (8, 11, 12, 17, 22, 38)
    assert property_set(table(), ENERGY, GRAPH, scale=2)[0].scales.tolist() == [2, 2, 2]


def test_every_crystal_is_reported(watched):
    property_set(table([*CRYSTALS, DISORDERED], x=[1, 2, 3, 4]), unknown_property("x"), GRAPH)
    (seen,) = watched.values()
    assert seen == [(done, 4) for done in range(5)]


def test_graphs_are_of_primitive_cells():
    given = conventional_rock_salt("Na", "Cl", 5.64)
    assert len(given) == 8
    before = given.copy()
    found, _ = property_set(table([given], x=[1.0]), unknown_property("x"), GRAPH)
    assert given == before
    assert found.graphs.atoms.tolist() == [2]
    expected = crystal_graph(to_arrays(rock_salt("Na", "Cl", 5.64)), GRAPH)
    assert found.graphs.distances == pytest.approx(np.sort(expected.distances.reshape(2, -1), 1).ravel(), abs=1e-4)


def test_graph_settings_are_followed():
    wide, _ = property_set(table(), ENERGY, GraphConfig(neighbours=6))
    assert wide.graphs.degrees[:2].tolist() == [6, 6]  # of NaCl, a shell of six
    assert property_set(table(), ENERGY, GRAPH)[0].graphs.degrees[:2].tolist() == [18, 18]  # six and twelve


def test_a_missing_column_is_named_with_those_of_numbers():
    columns = {"energy": [1.0, 2.0, 3.0], "name": ["a", "b", "c"], "sites": [1, 2, 3]}
    with pytest.raises(InputError, match=r"crystals\.json\.gz has no column 'band_gap'.*of numbers are energy, sites$"):
        property_set(table(**columns), GAP, GRAPH)
    with pytest.raises(InputError, match="its columns of numbers are none"):
        property_set(table(name=["a", "b", "c"]), GAP, GRAPH)


@pytest.mark.parametrize("values", [[1.0, "much", 2.0], [1.0, [2.0], 3.0]])
def test_text_in_the_column_is_named(values):
    with pytest.raises(
        InputError, match=r"the column 'band_gap' of crystals\.json\.gz holds something that is no number"
    ):
        property_set(table(band_gap=values), GAP, GRAPH, skip_bad_rows=True)


def test_numbers_as_text_are_numbers():
    found, _ = property_set(table(band_gap=["1.5", 0, "2e-1"]), GAP, GRAPH)
    assert found.values.tolist() == [1.5, 0.0, 0.2]


@pytest.mark.parametrize(
    ("of", "value", "reason"),
    [
        (ENERGY, np.nan, "no value"),
        (ENERGY, None, "no value"),
        (ENERGY, np.inf, "no value"),
        (ENERGY, -411.0, r"-411 eV/atom is outside -8 to 10 eV/atom"),  # kJ/mol
        (GAP, -0.1, r"-0\.1 eV is outside 0 to 20 eV"),
        (PROPERTIES["bulk_modulus"], 0.0, r"0 GPa is outside 0\.001 to 1000 GPa"),
        (PROPERTIES["poisson_ratio"], 0.6, r"0\.6 is outside -1 to 0\.5"),
        (unknown_property("x"), np.nan, "no value"),
    ],
)
def test_bad_values_are_refused_or_left_out(of, value, reason):
    bad = table(**{of.name: [0.3, value, 0.4]})
    with pytest.raises(InputError, match=rf"^1 of 3 values of '{of.name}' in crystals.*\(mp-1: {reason}\).*--skip-bad"):
        property_set(bad, of, GRAPH)
    found, skipped = property_set(bad, of, GRAPH, skip_bad_rows=True)
    assert list(found.ids) == ["mp-0", "mp-2"]
    assert found.values.tolist() == [0.3, 0.4]
    assert found.graphs.atoms.tolist() == [2, 2]
    assert list(skipped) == ["mp-1"]


def test_values_on_the_limits_are_good():
    found, _ = property_set(table(band_gap=[0.0, 20.0, 1.0]), GAP, GRAPH)
    assert found.values.tolist() == [0.0, 20.0, 1.0]


def test_of_many_bad_values_the_first_are_named():
    crystals, values = [CRYSTALS[0]] * 8, [-411.0] * 6 + [-1.0] * 2
    with pytest.raises(InputError, match=r"^6 of 8 values") as caught:
        property_set(table(crystals, **{ENERGY.name: values}), ENERGY, GRAPH)
    assert [f"mp-{n}:" in str(caught.value) for n in range(6)] == [True] * 3 + [False] * 3


def test_crystals_without_a_graph_are_left_out_with_the_reason():
    crystals = [CRYSTALS[0], LONELY, DISORDERED, CRYSTALS[1]]
    found, skipped = property_set(
        table(crystals, ["a", "lonely", "half", "b"], band_gap=[1.0, 2.0, 3.0, 4.0]), GAP, GRAPH
    )
    assert list(found.ids) == ["a", "b"]
    assert found.values.tolist() == [1.0, 4.0]
    assert list(found.formulas) == ["NaCl", "SrTiO3"]
    assert set(skipped) == {"lonely", "half"}
    assert "atom 0 (Xe) has no neighbour within 8 angstrom" in skipped["lonely"]
    assert "disordered" in skipped["half"]


@pytest.mark.parametrize("crystals", [[LONELY], [DISORDERED], [LONELY, DISORDERED]])
def test_nothing_left_is_said(crystals):
    with pytest.raises(InputError, match=r"crystals\.json\.gz holds no crystal with a value of 'band_gap'"):
        property_set(table(crystals, band_gap=[1.0] * len(crystals)), GAP, GRAPH)
    with pytest.raises(InputError, match="holds no crystal with a value of 'band_gap'"):
        property_set(table(band_gap=[None] * 3), GAP, GRAPH, skip_bad_rows=True)


def test_a_good_row_is_not_lost_to_a_bad_one_of_the_same_name():
    twice = table(ids=["a", "a", "b"], band_gap=[1.0, None, 2.0])
    assert property_set(twice, GAP, GRAPH, skip_bad_rows=True)[0].values.tolist() == [1.0, 2.0]


# Graphs on disk


def assert_same(one, other):
    for field in dataclasses.fields(one):
        assert np.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name


def test_graphs_are_kept_and_used_again(tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "graphs"
    first, _ = property_set(table(), ENERGY, GRAPH, cache=folder)
    assert [path.suffix for path in folder.iterdir()] == [".npz"]

    def refused(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(targets, "describe", refused)
    again, skipped = property_set(table(band_gap=[1.0, 2.0, 3.0]), GAP, GRAPH, cache=folder)
    assert skipped == {}
    assert again.values.tolist() == [1.0, 2.0, 3.0]
    assert_same(first.graphs, again.graphs)
    with pytest.raises(AssertionError, match="made again"):
        property_set(table(), ENERGY, GRAPH)


def test_other_crystals_or_settings_are_kept_elsewhere(tmp_path):
    moved = [*CRYSTALS[:2], rock_salt("Mg", "O", 4.22)]
    other = [*CRYSTALS[:2], rock_salt("Ca", "O", 4.21)]
    property_set(table(), ENERGY, GRAPH, cache=tmp_path)
    for count, (crystals, graph) in enumerate(
        [
            (moved, GRAPH),
            (other, GRAPH),
            (CRYSTALS[::-1], GRAPH),
            (CRYSTALS, GraphConfig(neighbours=6)),
            (CRYSTALS, GraphConfig(cutoff=7.0)),
            (CRYSTALS, GraphConfig(12, 8.0, 0.2)),
        ],
        start=2,
    ):
        found, _ = property_set(table(crystals), ENERGY, graph, cache=tmp_path)
        assert len(list(tmp_path.iterdir())) == count
        assert_same(found.graphs, property_set(table(crystals), ENERGY, graph)[0].graphs)
    property_set(table(), ENERGY, GRAPH, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == count


def test_crystals_without_a_graph_are_named_the_second_time_too(tmp_path):
    for _ in range(2):
        crystals = table([*CRYSTALS, LONELY], band_gap=[1.0, 2.0, 3.0, 4.0])
        found, skipped = property_set(crystals, GAP, GRAPH, cache=tmp_path)
        assert list(found.ids) == ["mp-0", "mp-1", "mp-2"]
        assert list(skipped) == ["mp-3"]


def npz_of_something_else(path):
    np.savez(path, numbers=np.zeros(3))


def npy(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


DAMAGE = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no graphs"),
    "pickle": lambda path: path.write_bytes(b"\x80\x04N."),
    "of something else": npz_of_something_else,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_of_graphs_is_named(tmp_path, how):
    property_set(table(), ENERGY, GRAPH, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    DAMAGE[how](path)
    with pytest.raises(InputError, match=f"{path} holds no crystal graphs written by icsg3d"):
        property_set(table(), ENERGY, GRAPH, cache=tmp_path)


def test_a_file_of_a_single_array_is_named(tmp_path):
    property_set(table(), ENERGY, GRAPH, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    npy(path)
    with pytest.raises(InputError, match="holds no crystal graphs"):
        property_set(table(), ENERGY, GRAPH, cache=tmp_path)


# What can be learned


def many(values, scales=None):
    one, _ = property_set(table([CRYSTALS[0]] * len(values), x=values), unknown_property("x"), GRAPH)
    return one if scales is None else dataclasses.replace(one, scales=np.array(scales))


def test_enough_different_values_can_be_learned():
    check_learnable(many(np.arange(8.0)), ENERGY, 64)
    check_learnable(many(np.arange(3.0)), ENERGY, 3)


@pytest.mark.parametrize(("count", "batch_size"), [(7, 64), (7, 8), (2, 3)])
def test_too_few_crystals_are_refused(count, batch_size):
    with pytest.raises(InputError, match=f"^{count} crystals with a value of 'band_gap' are too few"):
        check_learnable(many(np.arange(float(count))), GAP, batch_size)


def test_a_constant_is_refused():
    with pytest.raises(InputError, match=r"all 9 values of 'band_gap' are 1\.25; there is nothing to learn"):
        check_learnable(many([1.25] * 9), GAP, 8)


def test_values_on_other_scales_do_not_count():
    with pytest.raises(InputError, match=r"^3 crystals"):
        check_learnable(many(np.arange(12.0), [0] * 3 + [1] * 9), GAP, 8)
    with pytest.raises(InputError, match="all 9 values"):
        check_learnable(many([1.0] * 9 + [2.0, 3.0], [0] * 9 + [1, 1]), GAP, 8)
    with pytest.raises(InputError, match=r"^0 crystals"):
        check_learnable(many(np.arange(9.0), [1] * 9), GAP, 8)
