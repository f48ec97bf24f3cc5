"""Tables and entries of phases, and the choice of those that a hull needs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pymatgen.core import Composition
from pymatgen.core.entries import ComputedEntry
from scipy.optimize import linprog

from icsg3d.errors import InputError
from icsg3d.hull import Phase, ReferenceHull, phases_from_entries, read_phases
from icsg3d.hull.building import hull_phases
from icsg3d.hull.phases import write_phases
from icsg3d.hull.systems import subsystems

ENTRIES = (
    ComputedEntry("Li2", -4.0),  # -2 eV/atom
    ComputedEntry("Li", -1.9),
    ComputedEntry("Cl4", -6.0),  # -1.5 eV/atom
    ComputedEntry("LiCl", -9.0, correction=-0.5),  # -4.75 eV/atom against -1.75 of the elements
)


def test_entries_become_formation_energies_with_their_corrections():
    energies = {phase.formula: phase.energy for phase in phases_from_entries(ENTRIES)[2:]}
    assert energies == {"Cl2": pytest.approx(0), "LiCl": pytest.approx(-3.0)}


def test_entries_need_their_elements():
    with pytest.raises(InputError, match="no entry of Cl alone, against which the formation energy of LiCl"):
        phases_from_entries([ENTRIES[0], ENTRIES[3]])


def test_entries_are_read_from_json_and_nothing_in_it_is_imported(tmp_path):
    path = tmp_path / "mine.json"
    values = [entry.as_dict() | {"@module": "antigravity", "@class": "Popen"} for entry in ENTRIES]
    path.write_text(json.dumps(values))
    assert {p.formula: p.energy for p in read_phases(path)}["LiCl"] == pytest.approx(-3.0)
    for composition in ({}, {"X": 1}):
        path.write_text(json.dumps([{"composition": composition, "energy": -1.0}]))
        with pytest.raises(InputError, match=r"mine\.json is no list of pymatgen's entries"):
            read_phases(path)
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match=r"mine\.json is no list of pymatgen's entries"):
        read_phases(path)


def test_a_table_is_read_back_as_it_was_written(tmp_path):
    phases = [Phase.of("TiSrO3", -3.5522, 221), Phase("Li", 0.0)]
    path = tmp_path / "phases.csv.gz"
    path.write_bytes(write_phases(phases))
    assert write_phases(phases) == write_phases(phases)
    assert read_phases(path) == [Phase("SrTiO3", -3.5522, 221), Phase("Li", 0.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("formula,energy\nLi,0", "no column formation_energy_per_atom"),
        ("formula,formation_energy_per_atom\nLi,much", "line 2 of .* is no phase: could not convert"),
        ("formula,formation_energy_per_atom\n" + "L" * 200_000 + ",0", "cannot be read as a table .field larger"),
        ("formula,formation_energy_per_atom\nLi,0\nLiXx,-1", "line 3 of .* is no phase: 'LiXx' is no formula"),
        ("formula,formation_energy_per_atom\nLiCl,-99", "-99.0 eV/atom, which is no formation energy"),
        ("formula,formation_energy_per_atom\n", "has no phase"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    path = tmp_path / "phases.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_phases(path)


def test_missing_or_damaged_table(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_phases(tmp_path / "none.csv")
    (tmp_path / "bad.csv.gz").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(InputError, match="cannot be read as a table"):
        read_phases(tmp_path / "bad.csv.gz")


def test_subsystems():
    assert [sorted(s) for s in subsystems(frozenset("ab"))] == [["a"], ["b"], ["a", "b"]]


def random_phases(seed):
    """Return phases of four elements with random energies."""
    random = np.random.default_rng(seed)
    phases = [Phase(element, 0.0) for element in ("Li", "Na", "K", "Rb")]
    for _ in range(60):
        amounts = random.integers(0, 4, 4)
        if np.count_nonzero(amounts) > 1:
            formula = Composition(dict(zip(("Li", "Na", "K", "Rb"), amounts.tolist(), strict=True))).reduced_formula
            phases.append(Phase(formula, float(random.normal(-0.3, 0.3))))
    return phases


def shares(phases):
    elements = ("Li", "Na", "K", "Rb")
    return np.array([[Composition(p.formula).get_atomic_fraction(e) for e in elements] for p in phases])


@pytest.mark.parametrize("seed", range(3))
def test_what_is_kept_is_what_no_mixture_of_the_others_beats(seed):
    """A linear program for each phase, which knows nothing of the geometry, keeps the same."""
    phases = random_phases(seed)
    lowest = {p.formula: p for p in sorted(phases, key=lambda p: -p.energy)}
    expected = set()
    for formula, phase in lowest.items():
        others = [p for p in lowest.values() if p.formula != formula]
        found = linprog(
            [p.energy for p in others], A_eq=shares(others).T, b_eq=shares([phase])[0], bounds=(0, None), method="highs"
        )
        if not found.success or phase.energy < found.fun - 1e-9:
            expected.add(formula)
    kept = hull_phases(phases)
    assert {p.formula for p in kept} == expected
    assert 4 < len(kept) < len(lowest)


def test_the_hull_of_what_is_kept_is_the_hull_of_all():
    phases = random_phases(7)
    everything, kept = ReferenceHull(phases), ReferenceHull(hull_phases(phases))
    for formula in ("LiNaKRb", "Li2NaRb", "K3Rb", "LiNa2K4Rb8"):
        assert kept.place(formula, 0.0).hull_energy == pytest.approx(everything.place(formula, 0.0).hull_energy)
