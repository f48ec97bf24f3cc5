from __future__ import annotations

import bz2
import gzip
import itertools
import json
import lzma
import math
import pickle
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.db import connect
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.structures import read_structure
from icsg3d.data import load_structures, read_frame, write_frame
from icsg3d.data.frames import read_json
from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.report.folders import CandidateFolder


def rock_salt(cation="Na", anion="Cl"):
    return Structure(
        2.83 * (np.ones((3, 3)) - np.eye(3)), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]], site_properties=None
    )


def frame():
    return pd.DataFrame(
        {
            "material_id": ["mp-1", "mp-2", "mp-3"],
            "structure": [rock_salt(), None, rock_salt("K", "Br")],
            "formation_energy_per_atom": [-1.5, math.nan, -2.25],
            "tags": [["a", "µ"], [], ["b"]],
            "sites": [2, 0, 2],
        },
        index=[10, 20, 30],
    )


def assert_same(one, other):
    assert list(one.columns) == list(other.columns)
    assert list(one.index) == list(other.index)
    for name in one.columns:
        for a, b in zip(one[name], other[name], strict=True):
            missing = [value is None or (isinstance(value, float) and math.isnan(value)) for value in (a, b)]
            assert missing == [True, True] or a == b, name


# Dataframes


@pytest.mark.parametrize("name", ["frame.json", "frame.json.gz"])
def test_frames_come_back(tmp_path, name):
    write_frame(frame(), tmp_path / name)
    back = read_frame(tmp_path / name)
    assert_same(back, frame())
    assert isinstance(back["structure"].iloc[0], Structure)
    assert back["structure"].iloc[1] is None
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_only_names_that_end_in_gz_are_compressed(tmp_path):
    write_frame(frame(), tmp_path / "frame.json")
    write_frame(frame(), tmp_path / "frame.json.gz")
    plain, packed = (tmp_path / "frame.json").read_bytes(), (tmp_path / "frame.json.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    assert set(json.loads(plain)) == {"columns", "data", "index"}


def test_the_same_frame_gives_the_same_bytes(tmp_path):
    for name in ("one.json.gz", "other.json.gz"):
        write_frame(frame(), tmp_path / name)
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "other.json.gz").read_bytes()


@pytest.fixture
def matminer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("matminer.utils.io")


@pytest.mark.parametrize("name", ["frame.json", "frame.json.gz"])
def test_matminer_reads_what_is_written(tmp_path, matminer, name):
    write_frame(frame(), tmp_path / name)
    assert_same(matminer.load_dataframe_from_json(str(tmp_path / name), pbar=False), frame())


@pytest.mark.parametrize("name", ["frame.json", "frame.json.gz"])
def test_what_matminer_writes_is_read(tmp_path, matminer, name):
    matminer.store_dataframe_as_json(frame(), str(tmp_path / name), pbar=False)
    assert_same(read_frame(tmp_path / name), frame())


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {},
        {"columns": [], "data": []},
        {"columns": [], "data": [], "index": [], "surplus": 1},
        {"@class": "Structure"},
        "text",
        None,
    ],
)
def test_json_that_is_no_frame_is_named(tmp_path, content):
    path = tmp_path / "frame.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{path} is no dataframe in matminer's format"):
        read_frame(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": [[1, 2, 3]]},
        {"data": 3},
        {"data": [[{"@class": "Structure"}]], "columns": ["structure"]},
        {"data": [[{"@class": "Structure", "lattice": {"matrix": 1}, "sites": []}]]},
        {"data": [[1], [2]], "index": [0, 1, 2]},
        {"columns": ["a", "b"]},
    ],
)
def test_damaged_frames_are_named(tmp_path, changes):
    path = tmp_path / "frame.json"
    path.write_text(json.dumps({"columns": ["a"], "data": [[1]], "index": [0]} | changes))
    with pytest.raises(InputError, match=f"{path} is a damaged dataframe"):
        read_frame(path)


def _packed():
    return gzip.compress(json.dumps({"columns": ["a"], "data": [[i] for i in range(999)], "index": [0]}).encode())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("frame.json", b"{"),
        ("frame.json", b""),
        ("frame.json", b"\xff\xfe\x00\x01\x02"),
        ("frame.json", b"[" * 200_000),
        ("frame.json.gz", b"no gzip"),
        ("frame.json.gz", b""),
        ("frame.json.gz", _packed()[:-30]),
        ("frame.json.gz", _packed()[:40] + b"\x00\xff" * 20 + _packed()[80:]),
        ("frame.json.bz2", bz2.compress(_packed())[:-30]),
        ("frame.json.xz", lzma.compress(_packed())[:-30]),
        ("frame.json.xz", lzma.compress(_packed())[:40] + b"\x00\xff" * 20 + lzma.compress(_packed())[80:]),
    ],
    ids=[
        *("open", "empty", "binary", "deep", "no gzip", "empty gzip", "cut off", "flipped"),
        *("cut off bz2", "cut off xz", "flipped xz"),
    ],
)
def test_damaged_json_is_named(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{path} cannot be read as JSON"):
        read_json(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*nowhere\.json"):
        read_frame(tmp_path / "nowhere.json")


# Files that would choose what is imported or called


class Trap:
    """A module that leaves a mark when it is imported, and another when its class is built."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        self.module = f"icsg3d_trap_{next(COUNTER)}"  # monty remembers classes, so each test has a module of its own
        (folder / f"{self.module}.py").write_text(
            "from pathlib import Path\n"
            "HERE = Path(__file__).parent\n"
            "(HERE / 'imported').touch()\n"
            "class Trap:\n"
            "    def __init__(self, **kwargs):\n"
            "        (HERE / 'called').touch()\n"
            "    @classmethod\n"
            "    def from_dict(cls, dct):\n"
            "        return cls()\n"
        )

    def bait(self, kind):
        keys = {"@class": "Trap"} if kind == "class" else {"@callable": "Trap", "@bound": None}
        return {"@module": self.module, "x": 1} | keys

    def marks(self):
        return sorted(path.name for path in self.folder.iterdir() if path.name in {"imported", "called"})


COUNTER = itertools.count()
KINDS = pytest.mark.parametrize("kind", ["class", "callable"])


@pytest.fixture
def trap(tmp_path, monkeypatch):
    trap = Trap(tmp_path / "trap")
    monkeypatch.syspath_prepend(str(trap.folder))
    yield trap
    sys.modules.pop(trap.module, None)


@pytest.mark.parametrize(("kind", "marks"), [("class", ["called", "imported"]), ("callable", ["imported"])])
def test_the_trap_works(trap, kind, marks):
    MontyDecoder().process_decoded(trap.bait(kind))
    assert trap.marks() == marks


def write_baited(path, change):
    """Write a dataframe with a bait put into its encoded structure by ``change``."""
    encoded = rock_salt().as_dict()
    value = change(encoded)
    content = {"columns": ["structure", "other"], "data": [[value, 1]], "index": [0]}
    path.write_text(json.dumps(content))


def _instead(encoded, bait):
    return bait


def _as_subclass(encoded, bait):
    return encoded | {key: value for key, value in bait.items() if key == "@module"}


def _in_properties(encoded, bait):
    return encoded | {"properties": {"x": bait}}


def _in_lattice(encoded, bait):
    return encoded | {"lattice": encoded["lattice"] | bait}


def _in_site(encoded, bait):
    encoded["sites"][0] |= bait
    return encoded


def _in_species(encoded, bait):
    encoded["sites"][0]["species"][0] |= bait
    return encoded


def _in_list(encoded, bait):
    return [bait, {"deeper": bait}]


def _in_site_properties(encoded, bait):
    encoded["sites"][0]["properties"] = {"x": bait}
    return encoded


PLACES = [
    _instead,
    _as_subclass,
    _in_properties,
    _in_lattice,
    _in_site,
    _in_species,
    _in_list,
    _in_site_properties,
]


@KINDS
@pytest.mark.parametrize("place", PLACES)
def test_a_dataframe_imports_and_calls_nothing(tmp_path, trap, place, kind):
    path = tmp_path / "frame.json"
    write_baited(path, lambda encoded: place(encoded, trap.bait(kind)))
    try:
        read_frame(path)
        load_structures(path)
    except InputError:
        pass
    assert trap.marks() == []
    assert trap.module not in sys.modules


PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
JSON_NAMES = ["c.json", "c.JSON", "c.mson", "c.Mson", "POSCAR.json", "c.cif.json", "vasprun.json"]
JSON_NAMES += ["c.json.gz", "c.json.bz2", "c.json.xz", "c.mson.gz", "c.Json.GZ", "POSCAR.mson.xz"]
OTHER_NAMES = ["c.json.txt", "c.json~", "c.JSON.old", "c.mson.txt", "c.json.z", "c.json.cif", "CTRL.json.txt", "c.xyz"]
OTHER_NAMES += ["POSCAR.json.1", "input.json.xml", "vasprun.json.xml", "c.json.res", "c.json.db", "c.cjson", ".json"]
YAML_NAMES = ["c.yaml", "c.YAML", "c.yml", "c.yaml.gz", "c.Yml.bz2", "POSCAR.yaml", "c.cif.yml.xz"]
MORE_YAML_NAMES = ["c.yaml.txt", "c.yml~", "c.yaml.cif", "CONTCAR.yaml.1"]


@pytest.fixture
def crystals(tmp_path):
    folder = tmp_path / "crystals"
    folder.mkdir()
    rock_salt("K", "Br").to(filename=str(folder / "good.cif"))
    return folder


def bait_crystal(path, bait):
    text = json.dumps(_in_site_properties(rock_salt().as_dict(), bait)).encode()
    path.write_bytes(PACK.get(path.suffix.lower(), bytes)(text))
    return path


@KINDS
@pytest.mark.parametrize("name", JSON_NAMES)
def test_a_crystal_in_json_imports_and_calls_nothing(crystals, trap, name, kind):
    path = bait_crystal(crystals / name, trap.bait(kind))
    assert read_structure(path) == rock_salt()
    assert load_structures(path).structures == [rock_salt()]
    assert load_structures(str(path)).ids == [name.split(".")[0]]
    load_structures(crystals)
    assert trap.marks() == []
    assert trap.module not in sys.modules


@pytest.mark.parametrize("name", [*OTHER_NAMES, *YAML_NAMES, *MORE_YAML_NAMES])
def test_a_crystal_by_any_other_name_imports_and_calls_nothing(crystals, trap, name):
    path = bait_crystal(crystals / name, trap.bait("class"))
    with pytest.raises(InputError, match="YAML may name code" if name in YAML_NAMES else "holds no crystal"):
        read_structure(path)
    with pytest.raises(InputError):
        load_structures(path)
    with pytest.raises(InputError):
        load_structures([crystals, path])
    assert load_structures(crystals).ids == ["good"]
    assert trap.marks() == []
    assert trap.module not in sys.modules


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


@pytest.mark.parametrize("name", ["c.traj", "c.db", "c.pckl", "c.gpw", "c.bundletrajectory", "c", "POSCAR", "c.json"])
@pytest.mark.parametrize("before", [b"", b"PickleTrajectory"])
def test_nothing_is_unpickled(crystals, name, before):
    (crystals / name).write_bytes(before + pickle.dumps(Touch(crystals / "mark")))
    for load in (read_structure, load_structures):
        with pytest.raises(InputError):
            load(crystals / name)
    load_structures(crystals)
    assert not (crystals / "mark").exists()


@KINDS
def test_an_ase_database_imports_and_calls_nothing(tmp_path, trap, kind):
    bait = trap.bait(kind)
    atoms = Atoms("Cu", cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True)
    with connect(tmp_path / "bait.db") as database:
        database.write(atoms, data={"x": bait}, icsg3d_more=json.dumps({"x": bait}))
    assert len(load_structures(tmp_path / "bait.db")) == 1
    read_structure(tmp_path / "bait.db")
    assert trap.marks() == []


@pytest.mark.parametrize("name", ["frame.JSON", "frame.json.bz2", "frame.mson.xz", "frame.Json.gz"])
def test_dataframes_are_known_by_name_in_any_case_and_compression(tmp_path, trap, name):
    write_baited(tmp_path / "frame.json", lambda encoded: _in_site_properties(encoded, trap.bait("class")))
    path = tmp_path / name
    path.write_bytes(PACK.get(path.suffix, bytes)((tmp_path / "frame.json").read_bytes()))
    assert load_structures(path).structures == [rock_salt()]
    assert trap.marks() == []


# Whatever holds crystals


def test_tables_are_loaded_with_their_columns(tmp_path):
    path = tmp_path / "frame.json.gz"
    write_frame(frame(), path)
    table = load_structures(path)
    assert table.ids == ["mp-1", "mp-3"]
    assert [s.composition.reduced_formula for s in table.structures] == ["NaCl", "KBr"]
    assert list(table.frame["formation_energy_per_atom"]) == [-1.5, -2.25]
    assert "structure" not in table.frame.columns
    assert list(table.frame.index) == [0, 1]
    assert table.skipped == {"mp-2": "the row has no structure"}
    assert table.sources == (path,)
    assert len(table) == 2


def test_without_ids_the_index_names_crystals(tmp_path):
    write_frame(frame().drop(columns="material_id"), tmp_path / "frame.json")
    table = load_structures(str(tmp_path / "frame.json"))
    assert table.ids == ["10", "30"]
    assert set(table.skipped) == {"20"}


def entries(*good, **columns):
    """A dataframe of rows with a crystal (True) or none (False)."""
    return pd.DataFrame({"structure": [rock_salt() if each else None for each in good]} | columns)


def test_entries_that_share_a_name_are_all_counted(tmp_path):
    rows = entries(True, True, False, False, False, material_id=list("aabba"), reason=["", "", "one", "two", "three"])
    write_frame(rows, tmp_path / "frame.json")
    table = load_structures(tmp_path / "frame.json")
    assert table.ids == ["a", "a"]
    assert table.skipped == {"b": "one", "b (2)": "two", "a (3)": "three"}
    assert len(table) + len(table.skipped) == len(rows)


def test_a_numbered_name_is_never_one_of_the_source(tmp_path):
    names = ["a", "a (2)", "a", "a", "a (2)"]
    write_frame(entries(True, True, False, False, False, material_id=names), tmp_path / "frame.json")
    assert list(load_structures(tmp_path / "frame.json").skipped) == ["a (3)", "a (4)", "a (2) (2)"]


def test_numbers_of_rows_are_different_over_several_files(tmp_path):
    write_frame(entries(True, False), tmp_path / "one.json")
    write_frame(entries(False, True, True), tmp_path / "other.json")
    table = load_structures([tmp_path / "one.json", tmp_path / "other.json"])
    assert table.ids == ["0", "1", "2"]
    assert list(table.skipped) == ["1 (2)", "0 (2)"]
    table = load_structures([tmp_path / "other.json"] * 2)
    assert table.ids == ["1", "2", "1 (2)", "2 (2)"]
    assert list(table.skipped) == ["0", "0 (2)"]


def test_rows_without_a_name_among_others_get_their_number(tmp_path):
    rows = entries(True, True, False, True, material_id=["1", None, None, "b"])
    write_frame(rows, tmp_path / "frame.json")
    table = load_structures(tmp_path / "frame.json")
    assert table.ids == ["1", "1 (2)", "b"]
    assert list(table.skipped) == ["2"]


def test_bad_files_of_several_folders_are_all_counted(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        rock_salt().to(filename=str(tmp_path / name / "good.cif"))
        (tmp_path / name / "bad.cif").write_text("data_nothing\n")
    table = load_structures([tmp_path / "one", tmp_path / "other"])
    assert table.ids == ["good", "good"]
    assert list(table.skipped) == ["bad.cif", "bad.cif (2)"]


def test_the_head_keeps_rows_together(tmp_path):
    write_frame(frame(), tmp_path / "frame.json")
    table = load_structures(tmp_path / "frame.json")
    head = table.head(1)
    assert (head.ids, len(head), len(head.frame)) == (["mp-1"], 1, 1)
    assert len(table.head(None)) == 2
    assert len(table.head(99)) == 2


# Candidates of icsg3d generate


def candidates():
    return [
        Candidate(0, rock_salt(), base="SrTiO3", seed=3, latent_distance=0.5, predictions={"band_gap": 2.5}),
        Candidate(1, None, "no atom was found"),
        Candidate(2, rock_salt("K", "Br"), in_training=True),
        Candidate(3, None),
    ]


def as_json(rows):
    return json.dumps(rows, cls=MontyEncoder).encode()


@pytest.mark.parametrize("name", ["candidates.json", "candidates.json.gz"])
def test_candidates_are_loaded_with_what_is_known_of_them(tmp_path, name):
    text = as_json(candidates())
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    table = load_structures(tmp_path / name)
    assert table.ids == ["0", "2"]
    assert table.structures == [rock_salt(), rock_salt("K", "Br")]
    assert table.skipped == {"1": "no atom was found", "3": "the row has no structure"}
    assert table.frame["index"].tolist() == [0, 2]
    assert table.frame["base"].tolist() == ["SrTiO3", ""]
    assert table.frame["predictions"].tolist() == [{"band_gap": 2.5}, {}]
    assert not [column for column in table.frame.columns if column.startswith("@")]
    assert list(read_frame(tmp_path / name)["structure"].map(type)) == [Structure, type(None)] * 2


def test_candidates_of_a_folder_are_those_that_were_written(tmp_path):
    folder = CandidateFolder(tmp_path, {"seed": 1})
    for candidate in candidates():
        folder.add(candidate)
    folder.write_tables()
    table = load_structures(tmp_path / "candidates.json.gz")
    assert table.ids == ["0", "2"]
    assert table.structures == [rock_salt(), rock_salt("K", "Br")]
    assert table.skipped["1"] == "no atom was found"


def test_candidates_without_a_crystal_are_refused_with_the_first_reason(tmp_path):
    path = tmp_path / "candidates.json"
    path.write_bytes(as_json(candidates()[1::2]))
    with pytest.raises(InputError, match=r"none of its 2 rows has a structure \(no atom was found\)"):
        load_structures(path)


def test_a_candidate_that_cannot_be_read_is_skipped_with_its_own_reason(tmp_path):
    rows = [{"structure": rock_salt().as_dict()}, {"structure": {"@class": "Structure"}, "reason": "none"}]
    path = tmp_path / "candidates.json"
    path.write_bytes(as_json(rows))
    table = load_structures(path)
    assert table.ids == ["0"]
    assert table.skipped["1"].startswith("an entry is no crystal")
    with pytest.raises(InputError, match="an entry is no crystal"):
        read_frame(path)


@pytest.mark.parametrize("reasons", [[{"reason": None}], [{}], [{"reason": 7}], [{"reason": ""}]])
def test_rows_without_a_reason_get_one(tmp_path, reasons):
    rows = [{"structure": rock_salt().as_dict(), "reason": ""}, *({"structure": None} | each for each in reasons)]
    path = tmp_path / "candidates.json"
    path.write_bytes(as_json(rows))
    assert load_structures(path).skipped == {"1": "the row has no structure"}


def test_reasons_of_rebuilt_crystals_are_kept(tmp_path):
    reasons = ["", "the cell is 20.0 angstrom long", ""]
    write_frame(frame().assign(reason=reasons), tmp_path / "rebuilt.json")
    assert load_structures(tmp_path / "rebuilt.json").skipped == {"mp-2": "the cell is 20.0 angstrom long"}


@KINDS
def test_a_list_of_candidates_imports_and_calls_nothing(tmp_path, trap, kind):
    bait = trap.bait(kind)
    rows = [{"structure": rock_salt().as_dict()} | bait]
    rows += [{"structure": place(rock_salt().as_dict(), bait)} for place in PLACES]
    path = tmp_path / "candidates.json"
    path.write_text(json.dumps(rows))
    assert "0" in load_structures(path).ids
    assert trap.marks() == []
    assert trap.module not in sys.modules


@pytest.mark.parametrize("content", [[], [1, {}], [{"structure": None}, None], [[{}]]])
def test_lists_of_something_else_are_no_candidates(tmp_path, content):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{path} is no dataframe in matminer's format"):
        load_structures(path)


@pytest.mark.parametrize("content", [[{}], [{"formula": "NaCl"}], [{"@class": "Candidate", "index": 0}]])
def test_candidates_without_a_structure_are_named(tmp_path, content):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{path} has no column 'structure'"):
        load_structures(path)


# Folders and files


@pytest.fixture
def folder(tmp_path):
    """A folder of good crystal files, a bad one, and files that are no crystals."""
    folder = tmp_path / "crystals"
    folder.mkdir()
    rock_salt().to(filename=str(folder / "b-salt.cif"))
    rock_salt("K", "Br").to(filename=str(folder / "POSCAR_kbr"), fmt="poscar")
    rock_salt("Li", "F").to(filename=str(folder / "c-fluoride.vasp"), fmt="poscar")
    (folder / "a-bad.cif").write_text("data_nothing\n")
    (folder / "notes.txt").write_text("no crystal")
    (folder / "deeper").mkdir()
    rock_salt().to(filename=str(folder / "deeper" / "hidden.cif"))
    return folder


def test_folders_are_loaded_and_bad_files_named(folder):
    table = load_structures(folder)
    assert table.ids == ["POSCAR_kbr", "b-salt", "c-fluoride"]
    assert [s.composition.reduced_formula for s in table.structures] == ["KBr", "NaCl", "LiF"]
    assert list(table.skipped) == ["a-bad.cif"]
    assert "holds no crystal" in table.skipped["a-bad.cif"]
    assert len(table.frame) == 3


def test_one_file_is_one_crystal(folder):
    table = load_structures(folder / "b-salt.cif")
    assert (table.ids, len(table), len(table.frame)) == (["b-salt"], 1, 1)
    assert table.sources == (folder / "b-salt.cif",)


def test_several_sources_are_joined_in_order(folder, tmp_path):
    write_frame(frame(), tmp_path / "frame.json")
    table = load_structures([tmp_path / "frame.json", folder / "b-salt.cif", str(folder)])
    assert table.ids == ["mp-1", "mp-3", "b-salt", "POSCAR_kbr", "b-salt", "c-fluoride"]
    assert len(table.structures) == len(table.frame) == 6
    assert table.frame["formation_energy_per_atom"].tolist()[:2] == [-1.5, -2.25]
    assert table.frame["formation_energy_per_atom"].isna().tolist() == [False, False, True, True, True, True]
    assert set(table.skipped) == {"mp-2", "a-bad.cif"}
    assert table.sources[0] == tmp_path / "frame.json"


def test_a_crystal_in_json_is_a_crystal_file(tmp_path):
    rock_salt().to(filename=str(tmp_path / "salt.json"))
    assert load_structures(tmp_path / "salt.json").ids == ["salt"]


# Bad input


def test_no_source_is_refused():
    with pytest.raises(InputError, match="no data was given"):
        load_structures([])


def test_a_folder_without_crystals_is_named(tmp_path):
    with pytest.raises(InputError, match=rf"the folder {tmp_path} holds no crystal \(it has no CIF"):
        load_structures(tmp_path)
    (tmp_path / "bad.cif").write_text("data_nothing\n")
    with pytest.raises(InputError, match=r"none of its 1 files is one"):
        load_structures(tmp_path)


def test_a_frame_without_structures_is_named(tmp_path):
    path = tmp_path / "frame.json"
    write_frame(frame().drop(columns="structure"), path)
    with pytest.raises(InputError, match=f"{path} has no column 'structure', only material_id, formation"):
        load_structures(path)
    write_frame(frame().iloc[1:2], path)
    with pytest.raises(InputError, match=f"{path} holds no crystal: none of its 1 rows"):
        load_structures(path)


@pytest.mark.parametrize("name", ["nowhere.json", "nowhere.json.gz", "nowhere.cif", "nowhere"])
def test_missing_sources_are_named(tmp_path, name):
    with pytest.raises(InputError, match=f"there is no file {tmp_path / name}"):
        load_structures([tmp_path / name])


def test_structures_other_than_crystals_are_skipped(tmp_path):
    content = {
        "columns": ["structure"],
        "data": [[rock_salt().as_dict()], [{"@class": "Molecule"}], [7]],
        "index": [0, 1, 2],
    }
    (tmp_path / "frame.json").write_text(json.dumps(content))
    table = load_structures(tmp_path / "frame.json")
    assert (table.ids, set(table.skipped)) == (["0"], {"1", "2"})


def test_lattices_keep_all_digits(tmp_path):
    structure = Structure(Lattice.from_parameters(3.123456789012, 4, 5, 71.1, 82.2, 93.3), ["Fe"], [[1 / 3, 0.1, 0.7]])
    write_frame(pd.DataFrame({"structure": [structure]}), tmp_path / "frame.json")
    back = read_frame(tmp_path / "frame.json")["structure"][0]
    assert np.array_equal(back.lattice.matrix, structure.lattice.matrix)
    assert np.array_equal(back.frac_coords, structure.frac_coords)
