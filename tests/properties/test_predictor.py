"""Predictions of crystals: what may be given, what comes out, and how wrong input ends."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.crystals.structures import to_arrays
from icsg3d.errors import InputError
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.properties import PropertyModel, PropertyModelConfig, save_property_model
from icsg3d.models.targets import PROPERTIES
from icsg3d.properties import predictor as module
from icsg3d.properties.predictor import PropertyPredictor, batches_of, predict_table, shipped_properties
from icsg3d.representation.description import describe
from icsg3d.representation.graphs import GraphConfig, GraphSet, crystal_graph

GATED = CrystalGraphConfig.preset("gated", layers=2, width=8, hidden=8)
OFFICIAL = CrystalGraphConfig.preset("cgcnn", layers=2, width=8, hidden=8)


def rock_salt(cation, anion, edge):
    """The conventional cell."""
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(edge * np.eye(3), [cation] * 4 + [anion] * 4, [*corners, *(corners + np.array([0.5, 0, 0]))])


def caesium_chloride(cation, anion, edge):
    return Structure(edge * np.eye(3), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def perovskite(large, small, edge):
    frac = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(edge * np.eye(3), [large, small, "O", "O", "O"], frac)


LONELY = Structure(9.5 * np.eye(3), ["Xe"], [[0, 0, 0]])
DISORDERED = Structure(5 * np.eye(3), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CRYSTALS = [rock_salt("Na", "Cl", 5.64), caesium_chloride("Cs", "Cl", 4.12), perovskite("Sr", "Ti", 3.9)]


def make(name="band_gap", network=GATED, **changes):
    torch.manual_seed(len(name))
    settings = {"members": 2, "mean": 1.5, "scale": 2.0, "elements": (8, 11, 17, 22, 38, 55), "spread_floor": 0.1}
    model = PropertyModel(PropertyModelConfig(PROPERTIES[name], network, **(settings | changes)))
    with torch.no_grad():
        for key, buffer in model.named_buffers():
            if "running_" in key:
                buffer.copy_(torch.rand_like(buffer) + 0.3)
    return model


@pytest.fixture(scope="module", params=[GATED, OFFICIAL], ids=["gated", "cgcnn"])
def predictor(request):
    return PropertyPredictor(make(network=request.param))


# What may be given


def test_a_crystal_may_be_a_structure_atoms_or_a_path(predictor, tmp_path):
    crystal = CRYSTALS[0]
    path = tmp_path / "POSCAR"
    crystal.to(str(path), fmt="poscar")
    atoms = AseAtomsAdaptor.get_atoms(crystal)
    found = [predictor.predict(given) for given in (crystal, atoms, path, str(path), [crystal], (atoms,))]
    assert [len(each) for each in found] == [1] * 6
    for each in found:
        assert each.values == pytest.approx(found[0].values, abs=1e-5)
        assert each.stds == pytest.approx(found[0].stds, abs=1e-5)
        assert each.property is PROPERTIES["band_gap"]
    lonely = crystal.copy().scale_lattice(1000 * crystal.volume)  # nothing that could be a crystal
    with pytest.raises(InputError, match="cubic angstrom an atom"):
        predictor.predict([crystal, lonely])
    possible = predictor.predict_possible([lonely, crystal, lonely])
    assert np.isnan(possible.values).tolist() == np.isnan(possible.stds).tolist() == [True, False, True]
    assert possible.values[1] == pytest.approx(found[0].values[0], abs=1e-5)
    assert possible.unseen == ((), found[0].unseen[0], ())
    mixed = predictor.predict([path, atoms, CRYSTALS[1]])
    assert mixed.values[0] == pytest.approx(mixed.values[1], abs=1e-5)
    assert abs(mixed.values[2] - mixed.values[0]) > 1e-3


def test_numbers_do_not_depend_on_the_batch(predictor):
    together = predictor.predict(CRYSTALS)
    assert len(together) == 3
    for row, crystal in enumerate(CRYSTALS):
        alone = predictor.predict(crystal)
        assert alone.values[0] == pytest.approx(together.values[row], abs=1e-5)
        assert alone.stds[0] == pytest.approx(together.stds[row], abs=1e-5)
    back = predictor.predict(CRYSTALS[::-1])
    assert back.values[::-1] == pytest.approx(together.values, abs=1e-5)


def test_the_numbers_are_those_of_the_networks(predictor):
    graphs = GraphSet.from_graphs([crystal_graph(to_arrays(crystal)) for crystal in CRYSTALS])
    with torch.no_grad():
        values, stds = predictor.model(graphs.batch(np.arange(3)))
    found = predictor.predict(CRYSTALS)
    assert found.values == pytest.approx(values.numpy(), abs=1e-5)
    assert found.stds == pytest.approx(stds.numpy(), abs=1e-5)
    assert found.values.shape == found.stds.shape == (3,)
    assert np.ptp(found.values) > 1e-2


@pytest.mark.parametrize("repeats", [(2, 1, 1), (2, 1, 3), [[1, 1, 0], [0, 1, 0], [0, 0, 2]]])
@pytest.mark.parametrize("crystal", CRYSTALS, ids=["NaCl", "CsCl", "SrTiO3"])
def test_a_supercell_has_the_value_of_its_cell(predictor, crystal, repeats):
    alone = predictor.predict(crystal)
    large = predictor.predict(crystal.make_supercell(repeats, in_place=False))
    small = predictor.predict(crystal.get_primitive_structure())
    for other in (large, small):
        assert other.values == pytest.approx(alone.values, abs=1e-5)
        assert other.stds == pytest.approx(alone.stds, abs=1e-5)
    squeezed = predictor.predict(crystal.copy().scale_lattice(0.4 * crystal.volume))
    assert abs(squeezed.values[0] - alone.values[0]) > 1e-4


def test_inputs_stay_as_they_are(predictor, tmp_path):
    crystal = rock_salt("Na", "Cl", 5.64)
    crystal.add_site_property("magmom", [1.0] * 8)
    atoms = AseAtomsAdaptor.get_atoms(CRYSTALS[2])
    before = crystal.as_dict(), atoms.copy()
    path = tmp_path / "x.cif"
    CRYSTALS[1].to(str(path), fmt="cif")
    text = path.read_bytes()
    given = [crystal, atoms, path]
    predictor.predict(given)
    predict_table(given, [predictor], list("abc"))
    assert crystal.as_dict() == before[0]
    assert atoms == before[1]
    assert atoms.info == before[1].info
    assert path.read_bytes() == text
    assert given == [crystal, atoms, path]


def test_nothing_gives_nothing(predictor):
    found = predictor.predict([])
    assert len(found) == 0
    assert found.unseen == ()


# What comes out


def test_elements_that_were_never_seen_are_named():
    predictor = PropertyPredictor(make(elements=(8, 11, 17, 38)))
    crystals = [CRYSTALS[0], CRYSTALS[2], caesium_chloride("Cs", "I", 4.5)]
    assert predictor.predict(crystals).unseen == ((), ("Ti",), ("I", "Cs"))


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("members", [1, 3])
def test_predictions_are_always_numbers(name, members):
    limits = PROPERTIES[name].floor
    elements = ("H", "He", "Ar", "Xe", "Fr", "U", "Pu", "Au")
    crystals = [caesium_chloride(element, "F", 3.0 + 0.2 * n) for n, element in enumerate(elements)]
    found = PropertyPredictor(make(name, members=members)).predict(crystals)
    assert np.isfinite(found.values).all()
    assert np.isfinite(found.stds).all()
    assert (found.stds >= 0).all()
    assert limits is None or (found.values >= limits).all()


def test_a_model_in_training_mode_is_put_into_use():
    predictor = PropertyPredictor(make(network=OFFICIAL).train())
    before = {name: tensor.clone() for name, tensor in predictor.model.state_dict().items()}
    predictor.predict(CRYSTALS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in predictor.model.state_dict().items())
    assert not predictor.model.training


# Batches


@pytest.mark.parametrize(
    "sizes",
    [[1] * 5000, [2048], [2049], [5000, 3, 4], [1000, 1024, 1025, 7], list(range(1, 200)), [1, 2047, 1, 2048, 1]],
)
def test_batches_are_bounded_counting_padding(sizes):
    batches = batches_of([range(size) for size in sizes])
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * max(sizes[row] for row in rows) <= 2048
    assert len(batches) <= 2 * sum(sizes) / 2048 + 3  # and not one by one


def test_batches_of_nothing():
    assert batches_of([]) == []


# Wrong input


@pytest.mark.parametrize(
    ("crystal", "message"),
    [
        (LONELY, r"^Xe: atom 0 \(Xe\) has no neighbour within 8 angstrom"),
        (DISORDERED, r"^K0.5Na0.5Cl1: site 0 of .* is disordered"),
        (Structure(4 * np.eye(3), ["Am", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]), "^AmO: .* has Am, which is not among"),
        (Structure(4 * np.eye(3), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, np.nan]]), "^NaCl: .* not a number"),
        ("nothing.cif", "there is no file nothing.cif"),
        (3, "got int"),
        (None, "got NoneType"),
    ],
)
def test_a_crystal_that_cannot_be_predicted_is_named(predictor, crystal, message):
    with pytest.raises(InputError, match=message):
        predictor.predict([CRYSTALS[0], crystal])


def test_atoms_without_a_cell_are_named(predictor):
    atoms = AseAtomsAdaptor.get_atoms(CRYSTALS[0])
    atoms.set_cell(None)
    with pytest.raises(InputError, match="Atoms object Cl4Na4 has no cell"):
        predictor.predict(atoms)


# Tables


def test_a_table_has_a_column_per_property_and_names_what_is_left_out(tmp_path):
    gap = PropertyPredictor(make())
    coarse = dataclasses.replace(GATED, graph=GraphConfig(neighbours=6))
    modulus = PropertyPredictor(make("bulk_modulus", coarse, elements=(8, 17, 22, 55), scale=0.3))
    crystals = [CRYSTALS[0], LONELY, CRYSTALS[1], DISORDERED, tmp_path / "none.cif", CRYSTALS[2]]
    frame, skipped = predict_table(crystals, [gap, modulus], ["a", "b", "c", "d", "e", "f"])
    expected = ["band_gap", "band_gap_std", "bulk_modulus", "bulk_modulus_std"]
    assert list(frame.columns) == ["material_id", "formula", *expected, "unseen_elements", "unlike_training"]
    assert frame["material_id"].tolist() == ["a", "c", "f"]
    assert frame["formula"].tolist() == ["NaCl", "CsCl", "SrTiO3"]
    for predictor in (gap, modulus):
        found = predictor.predict(CRYSTALS)
        name = predictor.property.name
        assert frame[name].to_numpy() == pytest.approx(found.values, rel=1e-5)
        assert frame[f"{name}_std"].to_numpy() == pytest.approx(found.stds, rel=1e-5)
    assert frame["unseen_elements"].tolist() == ["Na", "", "Sr"]
    assert not frame.isna().any().any()
    assert set(skipped) == {"b", "d", "e"}
    assert skipped["b"].startswith("Xe: atom 0")
    assert "disordered" in skipped["d"]
    assert "none.cif" in skipped["e"]


def test_each_graph_is_made_once(monkeypatch):
    made = []
    monkeypatch.setattr(module, "describe", lambda *given: made.append(1) or describe(*given))
    predict_table(CRYSTALS, [PropertyPredictor(make()), PropertyPredictor(make("eij_max"))], list("abc"))
    assert len(made) == 3


def test_a_table_of_nothing_has_its_columns():
    frame, skipped = predict_table([LONELY], [PropertyPredictor(make())], ["x"])
    assert frame.empty
    assert list(frame.columns) == [
        "material_id",
        "formula",
        "band_gap",
        "band_gap_std",
        "unseen_elements",
        "unlike_training",
    ]
    assert list(skipped) == ["x"]


# Models on disk


def test_an_unknown_name_is_told(tmp_path):
    with pytest.raises(InputError, match=r"there is no model 'hardness'; shipped are .*folder"):
        PropertyPredictor.from_pretrained("hardness")
    with pytest.raises(InputError, match=r"is no model: it lacks config\.json"):
        PropertyPredictor.from_pretrained(tmp_path)


def test_a_generator_is_no_property_model(tiny_model):
    with pytest.raises(InputError, match="is not the configuration of an icsg3d property"):
        PropertyPredictor.from_pretrained(tiny_model)


def test_every_shipped_model_predicts():
    for name in shipped_properties():
        predictor = PropertyPredictor.from_pretrained(name)
        assert predictor.property.name == name
        found = predictor.predict(CRYSTALS)
        assert np.isfinite([found.values, found.stds]).all()


@pytest.mark.parametrize("value", [None, float("nan"), "1.5"])
def test_a_scaling_that_is_no_number_is_noticed(tmp_path, value):
    save_property_model(make(), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["network"]["mean"] = value
    del settings["config_sha256"]  # as models of older versions are
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="mean of PropertyModelConfig"):
        PropertyPredictor.from_pretrained(tmp_path)
