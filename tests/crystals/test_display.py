from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.display import CrystalList, atoms_with_faces, crystal_svg, html_card, html_table
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.decoded import DecodedCrystal
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.models.targets import PROPERTIES
from icsg3d.properties.predictor import Predictions

SVG = "{http://www.w3.org/2000/svg}"
ATTACK = "<script>alert(1)</script>"


def test_atoms_on_faces_are_there_on_both_sides():
    # Perovskite: 8 corners, 1 centre, 6 faces.
    numbers, coords = atoms_with_faces(prototype_structure("SrTiO3"))
    assert {int(n): int((numbers == n).sum()) for n in np.unique(numbers)} in (
        {38: 8, 22: 1, 8: 6},
        {38: 1, 22: 8, 8: 12},
    )
    assert len(np.unique(coords.round(6), axis=0)) == len(coords)
    assert (coords >= 0).all()
    assert (coords <= 1).all()


def test_the_picture_is_svg_with_a_cell_and_its_atoms():
    crystal = Structure(Lattice.cubic(4), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    picture = ET.fromstring(crystal_svg(crystal, 200))  # noqa: S314 (our own)
    circles = [each for each in picture if each.tag == f"{SVG}circle"]
    assert len(circles) == 9
    assert len([each for each in picture if each.tag == f"{SVG}line"]) == 12
    # The chlorine sits in the centre of the cell, so in that of the picture.
    assert ("100.0", "100.0") in {(each.get("cx"), each.get("cy")) for each in circles}
    inside = [0 <= float(each.get(axis)) <= 200 for each in circles for axis in ("cx", "cy")]
    assert all(inside)
    assert {each.text for each in picture if each.tag == f"{SVG}text"} == {"Cs", "Cl"}
    assert crystal_svg(None) == ""


def test_texts_are_escaped():
    for shown in (
        html_table([{ATTACK: ATTACK}]),
        html_card(None, {ATTACK: ATTACK}),
        Candidate(0, None, ATTACK)._repr_html_(),
    ):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown


def test_tables_leave_out_what_no_row_has():
    assert html_table([{"a": 1, "b": None, "c": ""}, {"a": float("nan"), "b": None}]) == (
        "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>1</td></tr><tr><td></td></tr></tbody></table>"
    )


def test_lists_become_dataframes_and_stay_lists():
    found = CrystalList(
        [Candidate(0, prototype_structure("NaCl"), predictions={"band_gap": 5.0}), Candidate(1, None, "flat")]
    )
    frame = found.to_dataframe()
    assert frame["formula"].tolist() == ["NaCl", ""]
    assert frame["band_gap"][0] == 5.0
    assert pd.isna(frame["band_gap"][1])
    assert frame["structure"][0] is found[0].structure
    assert frame["structure"][1] is None
    assert isinstance(found[:1], CrystalList)
    assert found == [found[0], found[1]]
    assert found._repr_html_().count("<svg") == 1
    assert CrystalList([]).to_dataframe().empty


def test_long_lists_say_how_much_more_there_is():
    shown = CrystalList([Candidate(n, None, "flat") for n in range(25)])._repr_html_()
    assert shown.count("<tr>") == 21
    assert "... and 5 more" in shown


def test_the_generator_gives_such_lists(tiny_model):
    decoded = CrystalGenerator.from_pretrained(tiny_model).sample(3, seed=0)
    assert isinstance(decoded, CrystalList)
    assert len(decoded.to_dataframe()) == 3
    assert DecodedCrystal(None, "flat", np.zeros(2)).row() == {"formula": "", "reason": "flat"}


def test_predictions_as_a_table():
    found = Predictions(
        PROPERTIES["band_gap"], np.array([1.5, 0.25]), np.array([0.1, 0.2]), ((), ("Kr", "Xe")), np.array([False, True])
    )
    frame = found.to_dataframe()
    assert frame.to_dict("list") == {
        "band_gap": [1.5, 0.25],
        "band_gap_std": [0.1, 0.2],
        "unseen_elements": ["", "Kr Xe"],
        "unlike_training": [False, True],
    }
    assert "band_gap (eV) of 2 crystals" in found._repr_html_()
    assert "Kr Xe" in found._repr_html_()


def test_a_validation_summary_shows_its_rows():
    pytest.importorskip("atomate2")
    from icsg3d.workflows.jobs import summary, validation
    from icsg3d.workflows.schemas import CandidateDoc, EngineDoc, FormationEnergyDoc

    engine = EngineDoc(name=ATTACK)
    crystal = prototype_structure("NaCl")
    given = CandidateDoc.from_candidate(Candidate(0, crystal, predictions={"formation_energy_per_atom": -2.0}))
    found = FormationEnergyDoc(structure=crystal, formation_energy_per_atom=-1.9, state="finished", engine=engine)
    shown = summary([validation(given, found, engine)], engine)
    frame = shown.to_dataframe()
    assert frame["delta_e_form"][0] == pytest.approx(0.1)
    assert frame["formula"].tolist() == ["NaCl"]
    assert "1 of 1 candidates finished" in shown._repr_html_()
    assert "<script" not in shown._repr_html_()
