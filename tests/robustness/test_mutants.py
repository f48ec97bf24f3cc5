"""A few hundred mutants of files, and the damage that was found by hand."""

from __future__ import annotations

import gzip
import importlib.util
import json
import logging
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure

from icsg3d.crystals.reading import read_quietly
from icsg3d.data import load_structures
from icsg3d.errors import InputError

_SPEC = importlib.util.spec_from_file_location("icsg3d_fuzz", Path(__file__).with_name("fuzz.py"))
fuzz = importlib.util.module_from_spec(_SPEC)
sys.modules["icsg3d_fuzz"] = fuzz
_SPEC.loader.exec_module(fuzz)

CASES = 200


def test_good_files_are_read(tmp_path):
    for name, data in fuzz.seeds().items():
        (tmp_path / name).write_bytes(data)
        assert fuzz.outcome(tmp_path / name).kind == "read", name


def test_mutants_are_read_or_refused_in_a_sentence(tmp_path):
    files = fuzz.seeds()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = [fuzz.run_case(0, number, files, tmp_path) for number in range(CASES)]
    finally:
        logging.disable(logging.NOTSET)
    wrong = {number: each for number, each in enumerate(found) if each.kind not in fuzz.GOOD}
    assert not wrong
    kinds = [each.kind for each in found]
    assert min(kinds.count("read"), kinds.count("refused")) > CASES // 20


def salt(**changes):
    made = Structure(4.2 * np.eye(3), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]).as_dict()
    return made | changes


def frame(*crystals, columns=("material_id", "structure")):
    data = [[f"c{row}", crystal] for row, crystal in enumerate(crystals)]
    return {"columns": list(columns), "index": list(range(len(data))), "data": data}


def moved(value):
    crystal = salt()
    crystal["sites"][1]["abc"] = [value, 0.5, 0.5]
    return crystal


@pytest.mark.parametrize("bad", [1e308, 10**400, -(10**400), 1e400, float("nan")], ids=range(5))
def test_a_coordinate_beyond_reason_costs_its_row_alone(tmp_path, bad):
    from icsg3d.crystals.structures import to_arrays
    from icsg3d.refusals import usable

    path = tmp_path / "f.json"
    sys.set_int_max_str_digits(0)
    try:
        path.write_text(json.dumps(frame(salt(), moved(bad), salt())))
    finally:
        sys.set_int_max_str_digits(4300)
    table = load_structures(path)
    found = usable(table.structures, to_arrays)
    assert len(found.rows) == 2
    assert len(found.refused) + len(table.skipped) == 1


def test_a_column_named_twice_is_refused(tmp_path):
    (tmp_path / "f.json").write_text(json.dumps(frame(salt(), columns=("structure", "structure"))))
    (tmp_path / "t.csv").write_text("cif,band_gap,band_gap\nx,1,2\n")
    with pytest.raises(InputError, match=r"f.json has more than one column 'structure'; give"):
        load_structures(tmp_path / "f.json")
    with pytest.raises(InputError, match=r"t.csv has more than one column 'band_gap'; give"):
        load_structures(tmp_path / "t.csv")


def test_a_flipped_byte_in_a_packed_file_is_named(tmp_path):
    packed = bytearray(gzip.compress(b"cif,a\nx,1\n" * 50, mtime=0))
    for place in (12, len(packed) // 2, len(packed) - 6):
        damaged = bytearray(packed)
        damaged[place] ^= 0xFF
        for name in ("t.csv.gz", "t.json.gz", "t.cif.gz"):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(InputError, match=name):
                load_structures(tmp_path / name)


def test_pipes_are_not_waited_for(tmp_path):
    for name in ("x.json", "x.cif", "POSCAR", "x.csv", "x.xyz"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match=f"{name} is no regular file"):
            load_structures(tmp_path / name)
    with pytest.raises(InputError, match="/dev/zero is no regular file"):
        read_quietly("/dev/zero")


def test_the_limit_on_bytes_is_said_and_can_be_raised(tmp_path, monkeypatch):
    (tmp_path / "f.json").write_text(json.dumps(frame(salt())))
    (tmp_path / "f.json.gz").write_bytes(gzip.compress(json.dumps(frame(*[salt()] * 9)).encode()))
    monkeypatch.setenv("ICSG3D_MAX_BYTES", "300")
    for name in ("f.json", "f.json.gz"):
        with pytest.raises(InputError, match=f"{name} has more than the 300 bytes .* ICSG3D_MAX_BYTES to a larger"):
            load_structures(tmp_path / name)
    monkeypatch.setenv("ICSG3D_MAX_BYTES", "100000")
    assert [len(load_structures(tmp_path / name)) for name in ("f.json", "f.json.gz")] == [1, 9]
    monkeypatch.setenv("ICSG3D_MAX_BYTES", "many")
    with pytest.raises(InputError, match="ICSG3D_MAX_BYTES is a number of bytes, not 'many'"):
        load_structures(tmp_path / "f.json")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xyz", '999999999\nLattice="4 0 0 0 4 0 0 0 4"\nNa 0 0 0\n'),
        ("POSCAR", "x\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa\n999999999\ndirect\n0 0 0\n"),
        ("POSCAR", "x\n1.0\n4 0 0\n0 4 0\n0 0 4\n999999999\ndirect\n0 0 0\n"),
    ],
)
def test_announced_atoms_are_not_made_room_for(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name} announces 999999999 atoms, more than the 10000 atoms"):
        read_quietly(tmp_path / name)


def test_a_singular_cell_is_a_sentence(tmp_path):
    (tmp_path / "a.xsf").write_text("CRYSTAL\nPRIMVEC\n4 0 0\n0 4 0\n4 4 0\nPRIMCOORD\n1 1\n11 0 0 0\n")
    with pytest.raises(InputError, match=r"a\.xsf"):
        read_quietly(tmp_path / "a.xsf")


def test_the_limit_on_rows_is_said_and_can_be_raised(tmp_path, monkeypatch):
    (tmp_path / "f.json").write_text(json.dumps(frame(salt(), salt(), salt())))
    (tmp_path / "t.csv").write_text("cif,a\n" + '"x",1\n' * 3)
    monkeypatch.setenv("ICSG3D_MAX_ROWS", "2")
    for name in ("f.json", "t.csv"):
        with pytest.raises(InputError, match=f"{name} has more than the 2 rows .*; split it, or .* ICSG3D_MAX_ROWS"):
            load_structures(tmp_path / name)
    monkeypatch.setenv("ICSG3D_MAX_ROWS", "3")
    assert len(load_structures(tmp_path / "f.json")) == 3


def test_a_file_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "a.xsf").write_text("CRYSTAL\n")
    monkeypatch.setenv("ICSG3D_MAX_SECONDS", "1")
    monkeypatch.setattr("icsg3d.crystals.reading._read_with_pymatgen", lambda *_: time.sleep(30))
    started = time.monotonic()
    with pytest.raises(InputError, match=r"reading .*a.xsf takes more than the 1 seconds .* ICSG3D_MAX_SECONDS to a"):
        read_quietly(tmp_path / "a.xsf")
    assert time.monotonic() - started < 10
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.slow
def test_a_cif_of_five_thousand_atoms_is_read_or_refused_at_once(tmp_path, monkeypatch):
    places = np.stack(np.meshgrid(*[np.arange(17)] * 3), -1).reshape(-1, 3) / 17
    Structure(51 * np.eye(3), ["Cu"] * len(places), places).to(str(tmp_path / "a.cif"))
    started = time.monotonic()
    assert len(read_quietly(tmp_path / "a.cif")) == 17**3
    monkeypatch.setenv("ICSG3D_MAX_SECONDS", "1")
    middle = time.monotonic()
    with pytest.raises(InputError, match=r"reading 4913 atoms and 1 operations .* give a POSCAR, or .*_SECONDS"):
        read_quietly(tmp_path / "a.cif")
    assert time.monotonic() - middle < 2
    assert middle - started < 60


def test_names_of_columns_cannot_break_a_message(tmp_path):
    (tmp_path / "t.csv").write_text('"a\n\x1b[31mred",b' + ",c" + "x" * 999 + "\n1,2,3\n")
    with pytest.raises(InputError, match=r"only a \[31mred, b, cx+ \.\.\.; name the column") as caught:
        load_structures(tmp_path / "t.csv")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
