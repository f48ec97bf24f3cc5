from __future__ import annotations

import bz2
import dataclasses
import gzip
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write as ase_write
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import DummySpecies, Lattice, Species, Structure
from pymatgen.io.exciting import ExcitingInput
from pymatgen.io.lmto import LMTOCtrl
from pymatgen.io.vasp import Chgcar, Poscar

from icsg3d.crystals.structures import CellSetting, as_structure, from_arrays, primitive_cell, read_structure, to_arrays
from icsg3d.errors import InputError

CORNERS = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
SAME = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.1, scale=False, primitive_cell=False)


def rock_salt():
    return Structure(Lattice.cubic(5.64), ["Na"] * 4 + ["Cl"] * 4, [*CORNERS, *(CORNERS + 0.5)])


def heusler():
    coordinates = [*(CORNERS + 0.25), *(CORNERS + 0.75), *CORNERS, *(CORNERS + 0.5)]
    return Structure(Lattice.cubic(5.95), ["Cu"] * 8 + ["Mn"] * 4 + ["Al"] * 4, coordinates)


def perovskite():
    return Structure(Lattice.cubic(3.905), ["Sr", "Ti", "O", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], *(CORNERS[1:])])


def triclinic():
    return Structure(
        Lattice.from_parameters(4.1, 5.2, 6.3, 75, 82, 97),
        ["La", "O", "F"],
        [[0.1, 0.2, 0.3], [0.6, 0.1, 0.8], [0.3, 0.7, 0.55]],
    )


def supercell(structure, matrix):
    return structure.make_supercell(np.array(matrix), in_place=False)


SKEWED = [[1, 1, 0], [0, 1, 2], [-1, 0, 1]]
CRYSTALS = {
    "rock salt": (rock_salt(), 2),
    "Heusler": (heusler(), 4),
    "perovskite": (perovskite(), 5),
    "triclinic": (triclinic(), 3),
    "perovskite, doubled": (supercell(perovskite(), [[1, 0, 0], [0, 1, 0], [0, 0, 2]]), 5),
    "perovskite, skewed": (supercell(perovskite(), SKEWED), 5),
    "rock salt, skewed": (supercell(rock_salt().get_primitive_structure(), SKEWED), 2),
    "triclinic, skewed": (supercell(triclinic(), SKEWED), 3),
    "left-handed": (supercell(triclinic(), [[0, 1, 0], [1, 0, 0], [0, 0, 1]]), 3),
}
EACH = pytest.mark.parametrize(("crystal", "size"), CRYSTALS.values(), ids=CRYSTALS)


# The cell that the networks see


@EACH
def test_the_primitive_cell_holds_the_same_crystal(crystal, size):
    arrays, _ = primitive_cell(crystal)
    assert len(arrays) == size
    found = from_arrays(arrays)
    assert found.density == pytest.approx(crystal.density, rel=1e-6)
    assert StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.1, scale=False).fit(found, crystal)


@EACH
def test_the_primitive_cell_is_right_handed_reduced_and_holds_its_atoms(crystal, size):
    arrays, _ = primitive_cell(crystal)
    assert np.linalg.det(arrays.lattice) > 0
    assert ((arrays.frac_coords >= 0) & (arrays.frac_coords < 1)).all()
    niggli = Lattice(arrays.lattice).get_niggli_reduced_lattice()
    assert sorted(Lattice(arrays.lattice).abc) == pytest.approx(sorted(niggli.abc), abs=1e-3)
    lengths = Lattice(arrays.lattice).abc
    assert list(lengths) == pytest.approx(sorted(lengths), abs=1e-3)


@EACH
def test_the_given_cell_comes_back(crystal, size):
    arrays, setting = primitive_cell(crystal)
    back = setting.apply(from_arrays(arrays))
    assert len(back) == len(crystal)
    assert back.composition == crystal.composition
    assert back.lattice.parameters == pytest.approx(crystal.lattice.parameters, abs=1e-5)
    assert SAME.fit(back, crystal)


def test_no_atom_is_moved():
    # Distances between atoms know nothing of cells.
    arrays, _ = primitive_cell(triclinic())
    found, expected = from_arrays(arrays), triclinic()
    for radius in (3.0, 5.0):
        one = sorted(n.nn_distance for site in found for n in found.get_neighbors(site, radius))
        other = sorted(n.nn_distance for site in expected for n in expected.get_neighbors(site, radius))
        assert one == pytest.approx(other, abs=1e-5)


def test_a_distorted_crystal_keeps_its_cell():
    crystal = supercell(perovskite(), [[1, 0, 0], [0, 1, 0], [0, 0, 2]])
    crystal.translate_sites([2], [0, 0, 0.01])  # 0.08 angstrom
    arrays, setting = primitive_cell(crystal)
    assert len(arrays) == 10
    assert abs(round(np.linalg.det(setting.transformation))) == 1
    assert SAME.fit(setting.apply(from_arrays(arrays)), crystal)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.floats(3, 7)] * 3),
    st.tuples(*[st.floats(65, 115)] * 3),
    st.lists(st.integers(-2, 2), min_size=9, max_size=9).filter(
        lambda m: 1 <= abs(np.dot(m[:3], np.cross(m[3:6], m[6:]))) <= 4
    ),
)
def test_random_supercells_come_back(lengths, angles, matrix):
    primitive = Structure(
        Lattice.from_parameters(*lengths, *angles), ["La", "O"], [[0.1, 0.2, 0.3], [0.57, 0.61, 0.84]]
    )
    crystal = supercell(primitive, np.reshape(matrix, (3, 3)))
    arrays, setting = primitive_cell(crystal)
    assert len(arrays) == 2
    back = setting.apply(from_arrays(arrays))
    assert len(back) == len(crystal)
    assert back.lattice.parameters == pytest.approx(crystal.lattice.parameters, abs=1e-3)
    assert SAME.fit(back, crystal)


def test_another_crystal_is_given_in_the_same_setting():
    _, setting = primitive_cell(rock_salt())
    primitive = Structure(3.0 * (np.ones((3, 3)) - np.eye(3)), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    cell = setting.apply(Structure(primitive_cell(primitive)[0].lattice, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert cell.composition.formula == "Mg4 O4"
    assert cell.lattice.abc == pytest.approx([6.0] * 3)
    assert cell.lattice.angles == pytest.approx([90.0] * 3)
    assert cell.lattice.matrix == pytest.approx(6.0 * np.eye(3), abs=1e-6)  # the standard orientation


def test_applying_a_setting_leaves_the_structure_alone():
    primitive = perovskite()
    CellSetting(np.array(SKEWED), np.array([0.1, 0.2, 0.3])).apply(primitive)
    assert primitive == perovskite()


def test_the_origin_moves_all_atoms_by_a_vector_of_the_primitive_cell():
    setting = CellSetting(np.eye(3, dtype=int), np.array([0.25, 0.5, -0.1]))
    moved = setting.apply(triclinic())
    expected = [[0.35, 0.7, 0.2], [0.85, 0.6, 0.7], [0.55, 0.2, 0.45]]
    assert moved.frac_coords == pytest.approx(np.array(expected))
    assert moved.species == triclinic().species
    assert moved.lattice.parameters == pytest.approx(triclinic().lattice.parameters)
    double = CellSetting(np.diag([1, 1, 2]), setting.origin).apply(triclinic())
    thirds = sorted(double.frac_coords[:, 2])
    assert thirds == pytest.approx(sorted([0.1, 0.6, 0.35, 0.85, 0.225, 0.725]))


def test_without_an_origin_no_atom_is_moved():
    arrays, setting = primitive_cell(perovskite())
    assert setting.origin.tolist() == [0, 0, 0]
    assert CellSetting(np.eye(3, dtype=int)).origin.tolist() == [0, 0, 0]
    assert from_arrays(arrays) == setting.apply(from_arrays(arrays))


def misplaced(true, found):
    """Largest distance from a site to the nearest one of the same element in the other crystal, in angstrom."""
    distances = true.lattice.get_all_distances(true.frac_coords, found.frac_coords)
    same = np.array([[one == other for other in found.species] for one in true.species])
    return max(np.where(same, distances, np.inf).min(axis).max() for axis in (0, 1))


@EACH
@pytest.mark.parametrize("origin", [(0, 0, 0), (0.13, 0.41, 0.77)])
def test_every_atom_comes_back_to_its_place(crystal, size, origin):
    given = crystal.copy()
    given.translate_sites(range(len(given)), origin)
    arrays, setting = primitive_cell(given)
    assert misplaced(given, setting.apply(from_arrays(arrays))) < 1e-6
    # The networks see the crystal with another origin.
    seen = dataclasses.replace(arrays, frac_coords=arrays.frac_coords - arrays.frac_coords[1])
    back = dataclasses.replace(setting, origin=arrays.frac_coords[1]).apply(from_arrays(seen))
    assert misplaced(given, back) < 1e-6
    assert back.lattice.parameters == pytest.approx(given.lattice.parameters, abs=1e-5)


# Arrays and back


def test_structures_come_back_from_arrays():
    arrays = to_arrays(triclinic())
    assert arrays.numbers.tolist() == [57, 8, 9]
    assert arrays.frac_coords == pytest.approx(triclinic().frac_coords)
    assert arrays.lattice == pytest.approx(triclinic().lattice.matrix)
    assert from_arrays(arrays) == triclinic()


def test_atoms_lie_in_the_cell():
    arrays = to_arrays(triclinic())
    moved = from_arrays(dataclasses.replace(arrays, frac_coords=arrays.frac_coords - 3))
    assert moved.frac_coords == pytest.approx(triclinic().frac_coords)


def test_charged_species_count_as_their_element():
    crystal = Structure(Lattice.cubic(5), [Species("Na", 1), Species("Cl", -1)], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert to_arrays(crystal).numbers.tolist() == [11, 17]


# Whatever stands for a crystal


def test_atoms_are_taken():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    structure = as_structure(atoms)
    assert SAME.fit(structure, rock_salt())
    arrays, setting = primitive_cell(structure)
    assert len(arrays) == 2
    assert SAME.fit(setting.apply(from_arrays(arrays)), rock_salt())


def test_structures_are_taken_as_they_are():
    crystal = rock_salt()
    assert as_structure(crystal) is crystal


@pytest.mark.parametrize("name", ["crystal.cif", "POSCAR", "crystal.json", "crystal.xsf"])
def test_files_of_pymatgen_are_read(tmp_path, name):
    path = tmp_path / name
    triclinic().to(filename=str(path))
    assert SAME.fit(as_structure(path), triclinic())
    assert SAME.fit(as_structure(str(path)), triclinic())


@pytest.mark.parametrize(("name", "pack"), [("c.cif.gz", gzip.compress), ("C.CIF.BZ2", bz2.compress)])
def test_compressed_files_are_read(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(triclinic().to(fmt="cif").encode()))
    assert SAME.fit(read_structure(tmp_path / name), triclinic())


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
@pytest.mark.parametrize("kind", ["cif", "poscar"])
def test_line_ends_of_other_systems_are_read(tmp_path, kind, end):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(triclinic().to(fmt=kind).encode().replace(b"\n", end))
    assert SAME.fit(read_structure(path), triclinic())


TEXT_FORMATS = {
    "a.CSSR": "cssr",
    "poscar.1": "poscar",
    "a.vasp": "poscar",
    "a.mcif": "cif",
    "rndstr.in": "mcsqs",
    "a.res": "res",
    "atom.config": "pwmat",
    "a.json.cif": "cif",
}


@pytest.mark.parametrize(("name", "kind"), TEXT_FORMATS.items())
def test_formats_are_found_by_name(tmp_path, name, kind):
    (tmp_path / name).write_text(triclinic().to(fmt=kind))
    found = read_structure(tmp_path / name)
    assert type(found) is Structure
    assert SAME.fit(found, triclinic())


def test_files_of_whole_programs_are_read(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ExcitingInput(triclinic()).write_file("primitive", str(tmp_path / "input.xml"))
    LMTOCtrl(triclinic()).write_file(str(tmp_path / "CTRL"))
    grid = np.random.default_rng(0).random((4, 4, 4))
    Chgcar(Poscar(triclinic()), {"total": grid}).write_file(str(tmp_path / "CHGCAR"))
    for name in ("input.xml", "CTRL", "CHGCAR"):
        found = read_structure(tmp_path / name)
        assert type(found) is Structure
        assert SAME.fit(found, triclinic()), name


def test_output_of_vasp_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("pymatgen.io.vasp.Vasprun", lambda path: SimpleNamespace(final_structure=triclinic()))
    (tmp_path / "vasprun.relaxed.xml.gz").touch()
    assert read_structure(tmp_path / "vasprun.relaxed.xml.gz") == triclinic()


@pytest.mark.parametrize("name", ["postgres.extxyz", "mysql@1.extxyz", "salt@0.extxyz"])
def test_a_name_is_no_address_and_no_selection(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    ase_write(tmp_path / "salt.extxyz", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    (tmp_path / "salt.extxyz").rename(name)
    assert SAME.fit(read_structure(name), rock_salt())


def test_disordered_and_charged_sites_survive_json(tmp_path):
    crystal = Structure(Lattice.cubic(5), [{"Fe": 0.5, "Ni": 0.25}, Species("O", -2)], [[0, 0, 0], [0.5, 0.5, 0.5]])
    crystal.to(filename=str(tmp_path / "crystal.json"))
    assert read_structure(tmp_path / "crystal.json") == crystal


@pytest.mark.parametrize("name", ["crystal.extxyz", "crystal.traj", "crystal.cell.xyz"])
def test_files_that_only_ase_knows_are_read(tmp_path, name):
    path = tmp_path / name
    ase_write(path, bulk("NaCl", "rocksalt", a=5.64, cubic=True), format="traj" if name.endswith("traj") else "extxyz")
    assert SAME.fit(read_structure(path), rock_salt())


# Bad input


@pytest.mark.parametrize("path", ["nowhere.cif", "no/where/POSCAR", "."])
def test_a_missing_file_is_named(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"there is no file {path}; give the path"):
        read_structure(path)


@pytest.mark.parametrize("name", ["crystal.cif", "POSCAR", "crystal.json", "crystal.xyz", "crystal.unknown"])
@pytest.mark.parametrize("data", [b"", b"this is no crystal\n", b"{}", b"\x00\xff\x17" * 50], ids=range(4))
def test_garbage_is_named(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{path} (holds no crystal|cannot be read as JSON)") as caught:
        read_structure(path)
    assert "\n" not in str(caught.value)


def test_yaml_is_refused_as_it_may_pick_classes(tmp_path):
    path = tmp_path / "crystal.yaml"
    triclinic().to(filename=str(path))
    with pytest.raises(InputError, match=f"{path} holds no crystal"):
        read_structure(path)


def test_a_cif_cut_off_in_the_middle_is_named(tmp_path):
    path = tmp_path / "half.cif"
    triclinic().to(filename=str(path))
    path.write_text(path.read_text()[:300])
    with pytest.raises(InputError, match=f"{path} holds no crystal"):
        read_structure(path)


def test_a_molecule_is_refused(tmp_path):
    path = tmp_path / "water.xyz"
    path.write_text("3\n\nO 0 0 0\nH 0 0 1\nH 0 1 0\n")
    with pytest.raises(InputError, match=r"water\.xyz holds atoms without a cell; give a CIF"):
        read_structure(path)
    with pytest.raises(InputError, match="H2O has no cell; set one"):
        as_structure(Atoms("OH2", [[0, 0, 0], [0, 0, 1], [0, 1, 0]]))


@pytest.mark.parametrize("value", [None, 3, b"NaCl", ["a.cif"], {"lattice": 1}])
def test_what_is_no_crystal_is_refused_by_type(value):
    with pytest.raises(InputError, match=f"got {type(value).__name__}"):
        as_structure(value)


def single(species, edge=5.0):
    return Structure(Lattice.cubic(edge), species, np.linspace(0, 0.5, len(species))[:, None] * np.ones(3))


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (single(["O", {"Fe": 0.5, "Ni": 0.5}]), "site 1 of .* is disordered or partly occupied"),
        (single([{"Fe": 0.7}, "O"]), "site 0 of .* is disordered or partly occupied"),
        (single(["O", "Am"]), "has Am, which is not among the elements H to Pu"),
        (single(["O", "Og"]), "has Og, which"),
        (single([DummySpecies("X"), "O"]), "has X.*, which is not among the elements"),
        (Structure(Lattice.cubic(4), [], []), "no sites"),
        (Structure(Lattice([[4, 0, 0], [0, 4, 0], [4, 4, 0]]), ["Fe"], [[0, 0, 0]]), "cell of Fe1 has no volume"),
        (Structure(Lattice.cubic(4), ["Fe"], [[math.nan, 0, 0]]), "not a number"),
        (Structure(Lattice([[4, 0, 0], [0, math.inf, 0], [0, 0, 4]]), ["Fe"], [[0, 0, 0]]), "not a number"),
    ],
    ids=["disordered", "partly occupied", "Am", "Og", "dummy", "empty", "flat", "NaN site", "infinite cell"],
)
@pytest.mark.parametrize("function", [to_arrays, primitive_cell])
def test_structures_that_the_networks_cannot_see_are_refused(structure, message, function):
    with pytest.raises(InputError, match=message) as caught:
        function(structure)
    assert ";" in str(caught.value)  # the way out follows


def test_the_heaviest_element_is_taken():
    assert to_arrays(single(["Pu", "O"])).numbers.tolist() == [94, 8]


def distances(structure):
    return sorted(n.nn_distance for site in structure for n in structure.get_neighbors(site, 6.0))


def test_a_crystal_that_spglib_refuses_is_reduced_all_the_same(monkeypatch):
    # Two atoms at one place, which the bounds would not let through, in a left-handed and skewed cell.
    monkeypatch.setattr("icsg3d.crystals.structures.check_bounds", lambda *given: None)
    lattice = Lattice.from_parameters(4.2, 5.1, 6.3, 80, 85, 95).matrix
    skewed = np.array([[1, 2, 0], [0, 1, 0], [0, 1, -1]]) @ lattice
    crystal = Structure(skewed, ["Fe", "Fe", "O"], [[0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.4, 0.5, 0.6]])
    assert np.linalg.det(skewed) < 0
    arrays, setting = primitive_cell(crystal)
    assert np.linalg.det(arrays.lattice) > 0
    niggli = Lattice(lattice).get_niggli_reduced_lattice()
    assert Lattice(arrays.lattice).parameters == pytest.approx(niggli.parameters, abs=1e-3)
    back = setting.apply(from_arrays(arrays))
    assert distances(from_arrays(arrays)) == pytest.approx(distances(crystal), abs=1e-6)
    assert distances(back) == pytest.approx(distances(crystal), abs=1e-6)
    assert back.lattice.parameters == pytest.approx(crystal.lattice.parameters, abs=1e-6)
