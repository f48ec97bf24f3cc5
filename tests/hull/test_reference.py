"""Hulls against numbers worked out by hand, and the shipped one against published distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PhaseDiagram
from pymatgen.core import Composition

from icsg3d.crystals.elements import symbols
from icsg3d.errors import InputError
from icsg3d.hull import Phase, ReferenceHull

# Shares of atoms: LiNa (1/2, 1/2, 0), NaK (0, 1/2, 1/2), LiNaK (1/3, 1/3, 1/3).
# LiNaK: 2/3 LiNa + 1/3 K would have -0.4, so at -0.45 it is on the hull. Li2NaK at -0.1 is not.
TERNARY = (
    Phase("Li", 0.0, 229),
    Phase("Na", 0.0),
    Phase("K", 0.0),
    Phase.of("NaLi", -0.6, 221),
    Phase.of("NaK", -0.3),
    Phase.of("LiNaK", -0.45),
    Phase.of("Li2NaK", -0.1),
)


@pytest.fixture
def hull():
    return ReferenceHull(TERNARY, "by hand")


def test_a_compound_decomposes_into_a_ternary_and_an_element(hull):
    # 3/4 LiNaK + 1/4 Li: (1/2, 1/4, 1/4) at 3/4 x -0.45 = -0.3375; 1/2 LiNa + 1/4 K + 1/4 Li would have -0.3.
    position = hull.place("Li2NaK", -0.2, std=0.05)
    assert position.hull_energy == pytest.approx(-0.3375)
    assert position.energy_above_hull == pytest.approx(0.1375)
    assert [each.formula for each in position.products] == [Composition("LiNaK").reduced_formula, "Li"]
    assert [each.share for each in position.products] == pytest.approx([0.75, 0.25])
    assert position.products[1].space_group == 229
    assert position.std == 0.05
    assert position.known


def test_three_phases_in_the_other_corner(hull):
    # LiNa4K: (1/6, 2/3, 1/6) = 1/2 LiNaK + 1/2 Na, at -0.225.
    # By LiNa and NaK instead: 1/3 LiNa + 1/3 NaK + 1/3 Na has (1/6, 2/3, 1/6), too, at -0.3, which is lower.
    position = hull.place("LiNa4K", -0.3)
    assert position.energy_above_hull == pytest.approx(0, abs=1e-9)
    assert {p.formula: pytest.approx(p.share) for p in position.products} == {
        Composition("LiNa").reduced_formula: 1 / 3,
        Composition("NaK").reduced_formula: 1 / 3,
        "Na": 1 / 3,
    }
    assert not position.known


def test_below_the_hull_is_negative(hull):
    assert hull.place("LiNa", -0.7).energy_above_hull == pytest.approx(-0.1)


def test_of_one_composition_the_lowest_counts_and_elements_are_zero():
    hull = ReferenceHull([Phase("Li", 0.2), Phase("Na", 0.0), Phase.of("LiNa", -0.1), Phase.of("Li2Na2", -0.3)])
    assert hull.place("LiNa", 0.0).energy_above_hull == pytest.approx(0.3)
    assert hull.place("Li", 0.1).energy_above_hull == pytest.approx(0.1)
    assert len(hull) == 3


def test_added_phases_lower_the_hull_and_leave_the_first_alone(hull):
    more = hull.with_phases([Phase.of("Li2NaK", -0.5)], "my own")
    assert more.place("Li2NaK", -0.2).energy_above_hull == pytest.approx(0.3)
    assert hull.place("Li2NaK", -0.2).energy_above_hull == pytest.approx(0.1375)
    assert more.source == "by hand, my own"


def test_charges_do_not_matter(hull):
    assert hull.place(Composition({"Li+": 1, "Na-": 1}), -0.6).energy_above_hull == pytest.approx(0)


def test_what_cannot_be_placed(hull):
    with pytest.raises(InputError, match="no phase of Rb, Xe, so nothing can be said of"):
        hull.place("LiRbXe", -1.0)
    with pytest.raises(InputError, match="is nan; give a number"):
        hull.place("LiNa", math.nan)
    with pytest.raises(InputError, match="'Qx2' is no formula"):
        hull.place("Qx2", -1.0)
    many = ReferenceHull([Phase(s, 0.0) for s in symbols()[1:15]])
    with pytest.raises(InputError, match="has 10 elements"):
        many.place("HHeLiBeBCNOFNe", -1.0)
    positions = hull.place_all([Composition("LiNa"), Composition("Xe"), Composition("K")], [-0.5, 0, math.nan])
    assert positions[0].energy_above_hull == pytest.approx(0.1)
    assert positions[1:] == [None, None]


def test_diagrams_are_kept(hull, monkeypatch):
    made = []

    def counted(entries):
        made.append(entries)
        return PhaseDiagram(entries)

    monkeypatch.setattr("icsg3d.hull.reference.PhaseDiagram", counted)
    for formula in ("LiNa", "Li3Na", "LiNaK", "NaK"):
        hull.place(formula, 0.0)
    assert len(made) == 3  # Li-Na once


def test_every_shipped_phase_is_on_its_hull_and_there_is_each_element():
    hull = ReferenceHull.shipped()
    assert len(hull) == 36246
    assert len(hull.elements) == 85
    for formula in sorted(hull.formulas)[::1000]:
        energy = next(p.energy for p in hull.phases_of(_symbols(formula)) if p.formula == formula)
        position = hull.place(formula, energy)
        assert position.energy_above_hull == pytest.approx(0, abs=1e-9)
        assert [each.formula for each in position.products] == [formula]


def test_shipped_hull_gives_the_published_distances(data_folder):
    with np.load(data_folder / "mp20_val.npz", allow_pickle=False) as file:
        counts, numbers = file["natoms"].astype(int), file["Z"]
        energies, published = file["formation_energy_per_atom"], file["e_above_hull"]
    ends = np.cumsum(counts)
    hull = ReferenceHull.shipped()
    errors = []
    for row in range(0, len(counts), 30):
        species, amounts = np.unique(numbers[ends[row] - counts[row] : ends[row]], return_counts=True)
        composition = Composition({symbols()[z]: int(n) for z, n in zip(species, amounts, strict=True)})
        position = hull.place(composition, float(energies[row]))
        errors.append(abs(max(position.energy_above_hull, 0) - published[row]))
    assert len(errors) == 238
    assert np.mean(errors) < 0.005


def _symbols(formula):
    return {element.symbol for element in Composition(formula).elements}


def test_phases_of_files_are_added_once(tmp_path):
    hull = ReferenceHull([Phase.of("Na", 0.0), Phase.of("Cl2", 0.0)], "made up")
    assert hull.with_files([]) is hull
    path = tmp_path / "own.csv"
    path.write_text("formula,formation_energy_per_atom\nNaCl,-2.0\n")
    more = hull.with_files([path])
    assert more.place("NaCl", -1.5).energy_above_hull == pytest.approx(0.5)
    assert more.source == f"made up, {path}"
    assert hull.with_files([str(path)]) is more  # kept with its diagrams
    path.write_text("formula,formation_energy_per_atom\nNaCl,-2.5\n")
    assert hull.with_files([path]).place("NaCl", -1.5).energy_above_hull == pytest.approx(1.0)
