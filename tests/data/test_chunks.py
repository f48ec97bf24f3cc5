"""Crystals chunk by chunk: the same of every format, as of the whole, with no more than a chunk in memory."""

from __future__ import annotations

import gc
import gzip
import itertools
import json
import sys
import weakref

import numpy as np
import pandas as pd
import pytest
from ase.db import connect
from ase.io import write
from monty.json import MontyEncoder
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.crystals.structures import to_arrays
from icsg3d.data import count_crystals, iter_tables, load_structures, write_frame
from icsg3d.data.compact_arrays import CompactCrystals, read_compact, write_compact
from icsg3d.data.names import Names
from icsg3d.data.sources import digest_of
from icsg3d.errors import InputError

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def salt(edge=5.64):
    """Rock salt, primitive; the edge tells one from another."""
    return Structure(Lattice(edge / 2 * (np.ones((3, 3)) - np.eye(3))), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


EDGES = [5.0 + n / 8 for n in range(11)]
CRYSTALS = [salt(edge) for edge in EDGES]
IDS = [f"mp-{n}" for n in range(11)]
GAPS = [n / 4 for n in range(11)]


def texts():
    return [json.dumps(crystal.as_dict()) for crystal in CRYSTALS]


def as_json_lines(path):
    rows = ({"material_id": i, "structure": s.as_dict(), "gap": g} for i, s, g in zip(IDS, CRYSTALS, GAPS, strict=True))
    text = "".join(json.dumps(row, cls=MontyEncoder) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def as_parquet(path):
    frame = pd.DataFrame({"material_id": IDS, "structure": texts(), "gap": GAPS})
    parquet.write_table(arrow.Table.from_pandas(frame), path, row_group_size=4)


def as_parquet_of_cifs(path):
    cifs = [crystal.to(fmt="cif") for crystal in CRYSTALS]
    pd.DataFrame({"cif": cifs, "material_id": IDS, "gap": GAPS}).to_parquet(path)


def as_parquet_of_dictionaries(path):
    rows = [crystal.as_dict() for crystal in CRYSTALS]
    for row in rows:
        del row["properties"]  # Arrow has no dictionaries without a key
        row["sites"] = [{name: site[name] for name in ("species", "abc")} for site in row["sites"]]
    table = arrow.table({"structure": arrow.array(rows), "material_id": IDS, "gap": GAPS})
    parquet.write_table(table, path)


def as_database(path):
    with connect(path) as database:
        for name, crystal, gap in zip(IDS, CRYSTALS, GAPS, strict=True):
            database.write(AseAtomsAdaptor.get_atoms(crystal), material_id=name, gap=gap)


def as_csv(path):
    pd.DataFrame({"material_id": IDS, "cif": [s.to(fmt="cif") for s in CRYSTALS], "gap": GAPS}).to_csv(path)


def as_compact(path):
    arrays = [to_arrays(crystal) for crystal in CRYSTALS]
    write_compact(CompactCrystals.of(IDS, arrays, {"gap": np.array(GAPS)}), path)


def as_frames(path):
    atoms = [AseAtomsAdaptor.get_atoms(crystal) for crystal in CRYSTALS]
    for each, name, gap in zip(atoms, IDS, GAPS, strict=True):
        each.info = {"material_id": name, "gap": gap}
    write(path, atoms, format="extxyz")


def as_dataframe(path):
    write_frame(pd.DataFrame({"material_id": IDS, "structure": CRYSTALS, "gap": GAPS}), path)


FORMATS = {
    "a.jsonl": as_json_lines,
    "b.jsonl.gz": as_json_lines,
    "c.parquet": as_parquet,
    "d.parquet": as_parquet_of_cifs,
    "e.parquet": as_parquet_of_dictionaries,
    "f.db": as_database,
    "g.csv": as_csv,
    "h.npz": as_compact,
    "i.extxyz": as_frames,
    "j.json.gz": as_dataframe,
}
STREAMED = [name for name in FORMATS if name != "j.json.gz"]


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_crystals_in_any_format_give_the_same_chunks(tmp_path, name):
    FORMATS[name](tmp_path / name)
    chunks = list(iter_tables(tmp_path / name, 4))
    assert [chunk.ids for chunk in chunks] == [IDS[:4], IDS[4:8], IDS[8:]]
    edges = [structure.lattice.a * 2**0.5 for chunk in chunks for structure in chunk.structures]
    assert edges == pytest.approx(EDGES, abs=1e-4)
    assert {s.composition.reduced_formula for chunk in chunks for s in chunk.structures} == {"NaCl"}
    assert [gap for chunk in chunks for gap in chunk.frame["gap"]] == pytest.approx(GAPS)
    assert all("structure" not in chunk.frame and "cif" not in chunk.frame for chunk in chunks)
    assert all(chunk.skipped == {} for chunk in chunks)
    assert {chunk.digest() for chunk in chunks} == {digest_of(tmp_path / name)}


@pytest.mark.parametrize("name", FORMATS)
def test_chunks_below_each_other_are_the_whole(tmp_path, name):
    FORMATS[name](tmp_path / name)
    whole = load_structures(tmp_path / name)
    chunks = list(iter_tables(tmp_path / name, 3))
    assert whole.ids == IDS
    assert [structure for chunk in chunks for structure in chunk.structures] == whole.structures
    together = pd.concat([chunk.frame for chunk in chunks], ignore_index=True)
    pd.testing.assert_frame_equal(together, whole.frame, check_like=True)


def test_a_folder_is_read_in_chunks(tmp_path):
    for n, crystal in enumerate(CRYSTALS[:5]):
        crystal.to(str(tmp_path / f"{n}.cif"), fmt="cif")
    (tmp_path / "2.cif").write_text("data_nothing\n")
    (tmp_path / "notes.txt").write_text("no crystal")
    chunks = list(iter_tables(tmp_path, 2))
    assert [(chunk.ids, list(chunk.skipped)) for chunk in chunks] == [(["0", "1"], []), (["3"], ["2.cif"]), (["4"], [])]
    assert [[path.name for path in chunk.sources] for chunk in chunks] == [
        ["0.cif", "1.cif"],
        ["2.cif", "3.cif"],
        ["4.cif"],
    ]
    assert digest_of(tmp_path) == load_structures(tmp_path).digest()
    assert count_crystals(tmp_path) == 5


def test_the_number_of_crystals_is_known_where_it_costs_nothing(tmp_path):
    counts = {}
    for name, made in FORMATS.items():
        made(tmp_path / name)
        counts[name] = count_crystals(tmp_path / name)
    known = {"c.parquet", "d.parquet", "e.parquet", "f.db", "h.npz"}
    assert counts == {name: 11 if name in known else None for name in FORMATS}
    assert count_crystals([tmp_path / "f.db", tmp_path / "h.npz"]) == 22
    assert count_crystals([tmp_path / "f.db", tmp_path / "g.csv"]) is None


def test_small_sources_share_a_chunk(tmp_path):
    for name in ("a.jsonl", "f.db"):
        FORMATS[name](tmp_path / name)
    salt().to(str(tmp_path / "one.cif"), fmt="cif")
    sources = [tmp_path / "one.cif", tmp_path / "a.jsonl", tmp_path / "f.db"]
    assert [len(chunk) for chunk in iter_tables(sources, 12)] == [12, 11]
    [table] = iter_tables(sources)
    assert table.ids == load_structures(sources).ids == ["one", *IDS, *IDS]
    assert table.source_sizes == (1, 11, 11)


# Memory


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMED)
def test_no_more_than_two_chunks_are_in_memory(tmp_path, name):
    """The one that is looked at, and the one that is being made."""
    FORMATS[name](tmp_path / name)
    alive, most = weakref.WeakSet(), 0
    for table in iter_tables(tmp_path / name, 2):
        for structure in table.structures:
            structure.__class__ = Watched
            alive.add(structure)
        gc.collect()
        most = max(most, len(alive))
    assert most <= 4


class Watched(Structure):
    """A structure that counts as itself, whatever it is equal to."""

    __slots__ = ()

    def __hash__(self):
        return id(self)

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize("name", STREAMED)
def test_nothing_is_read_before_it_is_asked_for(tmp_path, name, monkeypatch):
    """Of eleven crystals, three chunks of two are made into structures."""
    FORMATS[name](tmp_path / name)
    made, original = [], Structure.__init__

    def counted(self, *arguments, **options):
        made.append(1)
        original(self, *arguments, **options)

    monkeypatch.setattr(Structure, "__init__", counted)
    list(itertools.islice(iter_tables(tmp_path / name, 2), 1))
    few = len(made)
    made.clear()
    list(iter_tables(tmp_path / name, 2))
    assert 0 < few <= len(made) * 3 / 6


# Names


def write_lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


SALT = salt().as_dict()


def test_names_are_told_apart_over_chunks(tmp_path):
    rows = [{"material_id": "2", "structure": SALT}, {"material_id": "2", "structure": SALT}]
    rows += [{"structure": SALT}, {"structure": None, "material_id": "2"}, "none"]
    path = write_lines(tmp_path / "a.jsonl", *rows)
    for size in (1, 2, 5):
        chunks = list(iter_tables(path, size))
        assert [name for chunk in chunks for name in chunk.ids] == ["2", "2", "2 (3)"]
        assert [name for chunk in chunks for name in chunk.skipped] == ["2 (4)", "4"]


def test_a_name_is_told_from_the_numbered_one_of_another():
    names = Names()
    assert names.of(["a", "a (2)"], [True, True], [("a", "x")]) == (["a", "a (2)"], {"a (3)": "x"})
    assert names.of(["b", "0"], [True, False], [("a", "y"), ("a (2)", "z")]) == (
        ["b", "0"],
        {"a (4)": "y", "a (2) (2)": "z"},
    )
    assert names.of(["0"], [False], []) == (["0 (2)"], {})


def test_a_million_names_take_some_megabytes():
    names = Names()
    for start in range(0, 60_000, 2000):
        names.of([f"mp-{n}" for n in range(start, start + 2000)], [True] * 2000, [])
    held = names._hashes.nbytes + sys.getsizeof(names._recent) + sys.getsizeof(names._repeated)
    assert held < 60_000 * 9
    assert names.of(["mp-1"], [False], [("mp-59999", "")]) == (["mp-1 (2)"], {"mp-59999 (2)": ""})


# Bad input


def test_a_bad_line_is_one_refused_row(tmp_path):
    baited = {"@module": "os", "@class": "system", "structure": SALT}
    rows = [{"structure": SALT}, "{broken", "[1]", {"formula": "NaCl"}, {"structure": {"sites": 7}}, "", SALT, baited]
    table = load_structures(write_lines(tmp_path / "a.jsonl", *rows, {"structure": 7}, {"cif": "none"}))
    assert table.ids == ["0", "6", "7"]
    assert "cannot be read as JSON" in table.skipped["1"]
    assert "is a list" in table.skipped["2"]
    assert table.skipped["3"] == "the line has no key 'structure' or 'cif', only formula"
    assert "no crystal" in table.skipped["4"]
    assert "no crystal" in table.skipped["8"]
    assert "CIF cannot be read" in table.skipped["9"]
    assert list(table.skipped) == ["1", "2", "3", "4", "8", "9"]
    assert list(table.frame.columns) == ["formula"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "none of its 0 rows has a structure (it is empty)"),
        ('{"a": 1}\n', "none of its 1 rows has a structure (the line has no key 'structure' or 'cif', only a)"),
        ("x\n" * 3, "none of its 3 rows has a structure (the line cannot be read as JSON"),
    ],
)
def test_lines_without_a_crystal_are_one_sentence(tmp_path, content, expected):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        list(iter_tables(path, 2))
    assert str(caught.value).startswith(f"{path} holds no crystal: {expected}")


def test_damaged_parquet_is_one_sentence(tmp_path):
    path = tmp_path / "a.parquet"
    as_parquet(path)
    whole = path.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        whole[:-3],
        b"",
        b"PAR1 text PAR1",
        whole[:200] + b"\0" * 200 + whole[400:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=rf"{path} cannot be read as Parquet \(.*\); give an undamaged file"):
            list(iter_tables(path, 2))
    path.unlink()
    with pytest.raises(InputError, match=f"there is no file {path}"):
        list(iter_tables(path))


def test_parquet_without_crystals_is_one_sentence(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"formula": ["NaCl"], "gap": [1.0]}).to_parquet(path)
    with pytest.raises(InputError, match=r"has no column 'structure' or 'cif', only formula, gap; name the column"):
        load_structures(path)
    pd.DataFrame({"structure": ["text", None, "{}", "{", '{"a": 1}']}).to_parquet(path)
    with pytest.raises(InputError, match=r"none of its 5 rows has a structure \(the CIF cannot be read"):
        load_structures(path)
    pd.DataFrame({"structure": []}).to_parquet(path)
    with pytest.raises(InputError, match=r"none of its 0 rows has a structure \(it is empty\)"):
        load_structures(path)
    pd.DataFrame({"structure": [1.5, 2.5]}).to_parquet(path)
    with pytest.raises(InputError, match=r"none of its 2 rows has a structure \(the entry is no crystal"):
        load_structures(path)


def test_a_bad_row_of_parquet_costs_itself_alone(tmp_path):
    cells = [json.dumps(SALT), "[" * 10_000, None, "{" * 100_000, json.dumps(SALT | {"sites": [1]}), json.dumps(SALT)]
    pd.DataFrame({"structure": cells}).to_parquet(tmp_path / "a.parquet")
    table = load_structures(tmp_path / "a.parquet")
    assert table.ids == ["0", "5"]
    assert list(table.skipped) == ["1", "2", "3", "4"]


def test_limits_hold_for_a_chunk(tmp_path, monkeypatch):
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet", "g.csv"):
        FORMATS[name](tmp_path / name)
    monkeypatch.setenv("ICSG3D_MAX_BYTES", "6000")
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet", "g.csv"):
        with pytest.raises(
            InputError, match=rf"{name} has.* more than the 6000 bytes .*; split it, or set .*MAX_BYTES"
        ):
            load_structures(tmp_path / name)
    monkeypatch.setenv("ICSG3D_MAX_BYTES", "100000")
    monkeypatch.setenv("ICSG3D_MAX_ROWS", "10")
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet", "g.csv", "h.npz", "i.extxyz"):
        FORMATS[name](tmp_path / name)
        with pytest.raises(InputError, match=rf"{name} has more than the 10 rows"):
            list(iter_tables(tmp_path / name, 2))


def test_a_file_larger_than_the_limit_is_read_in_chunks(tmp_path, monkeypatch):
    as_json_lines(tmp_path / "b.jsonl.gz")
    size = len(gzip.decompress((tmp_path / "b.jsonl.gz").read_bytes()))
    monkeypatch.setattr("icsg3d.crystals.unpacking._BLOCK", 64)
    monkeypatch.setenv("ICSG3D_MAX_BYTES", str(size // 3))
    with pytest.raises(InputError, match="more than the"):
        load_structures(tmp_path / "b.jsonl.gz")
    assert sum(map(len, iter_tables(tmp_path / "b.jsonl.gz", 2))) == 11


def test_frames_of_xyz_that_are_none(tmp_path):
    path = tmp_path / "a.extxyz"
    as_frames(path)
    lines = path.read_text().splitlines(keepends=True)
    bad = [*lines[:4], "2\n", "no lattice\n", *lines[2:4], "2\n", lines[1], "Xx 0 0 0\n", lines[3], *lines[:4], "\n"]
    path.write_text("".join(bad))
    chunks = list(iter_tables(path, 2))
    assert [len(chunk) for chunk in chunks] == [1, 1]
    assert "no cell" in chunks[0].skipped["1"]
    assert "the frame cannot be read" in chunks[1].skipped["2"]
    path.write_text("".join([*lines[:4], "two\n", *lines[1:4]]))
    with pytest.raises(InputError, match=r"cannot be read as XYZ \(line 5 should be the number of atoms of a frame\)"):
        list(iter_tables(path, 1))
    path.write_text("".join([*lines[:4], "99999999\n", *lines[1:4]]))
    assert "announces 99999999 atoms, more than" in load_structures(path).skipped["1"]
    path.write_text("".join(lines[:4] + lines[4:7]))
    assert load_structures(path).skipped == {"1": "the frame ends before its last atom"}


def test_a_single_frame_is_named_after_its_file(tmp_path):
    write(tmp_path / "salt.extxyz", AseAtomsAdaptor.get_atoms(salt()))
    assert load_structures(tmp_path / "salt.extxyz").ids == ["salt"]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_column_of_a_table_is_of_one_kind_in_all_chunks(tmp_path, size):
    columns = {
        "words": ["1", "2", "NaN", "x"],
        "number": ["1", "2", "", "4"],
        "whole": ["1", "2", "3", "4"],
        "mixed": ["1", "2", "3", "4.5"],
        "truth": ["True", "False", "True", "True"],
        "either": ["True", "1", "2", "3"],
        "material_id": ["01", "02", "3", "x4"],
        "nothing": [""] * 4,
    }
    pd.DataFrame(columns | {"cif": [salt().to(fmt="cif")] * 4}).to_csv(tmp_path / "t.csv", index=False)
    chunks = list(iter_tables(tmp_path / "t.csv", size))
    frame = pd.concat([chunk.frame for chunk in chunks], ignore_index=True)
    assert [name for chunk in chunks for name in chunk.ids] == ["01", "02", "3", "x4"]
    assert all(len({chunk.frame[name].dtype for chunk in chunks}) == 1 for name in columns)
    assert frame["words"].tolist() == ["1", "2", "NaN", "x"]
    assert frame["number"].dtype == float
    assert frame["whole"].tolist() == [1, 2, 3, 4]
    assert frame["whole"].dtype == int
    assert frame["mixed"].dtype == float
    assert frame["truth"].dtype == bool
    assert frame["either"].tolist() == ["True", "1", "2", "3"]
    assert frame["nothing"].isna().all()


def test_a_table_with_a_header_alone_is_one_sentence(tmp_path):
    (tmp_path / "t.csv").write_text("cif,a\n")
    with pytest.raises(InputError, match=r"holds no crystal: none of its 0 rows has a structure \(it is empty\)"):
        list(iter_tables(tmp_path / "t.csv"))


def test_arrays_in_the_order_of_fortran_are_taken_as_they_are(tmp_path):
    as_compact(tmp_path / "h.npz")
    held = dict(np.load(tmp_path / "h.npz"))
    np.savez(tmp_path / "f.npz", **held | {"frac": np.asfortranarray(held["frac"])})
    one, other = (read_compact(tmp_path / name) for name in ("h.npz", "f.npz"))
    assert np.array_equal(one.frac_coords, other.frac_coords)
    [first, *_] = iter_tables(tmp_path / "f.npz", 4)
    assert np.allclose(first.structures[3].frac_coords, CRYSTALS[3].frac_coords)


@pytest.mark.parametrize("size", [0, -1, 2.5, "many"])
def test_a_size_that_is_none_is_told_at_once(tmp_path, size):
    with pytest.raises(InputError, match=r"size (is|must be at least 1)"):
        iter_tables(tmp_path, size)
