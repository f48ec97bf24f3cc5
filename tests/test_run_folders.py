"""Folders that belong to one run, and rows that survive kills, damaged lines and a full disk."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from icsg3d.errors import InputError
from icsg3d.files import locked, replacing, saving, sha256_of_file, write_atomically
from icsg3d.run_folders import PartialRows, read_settings, run_folder

KEY = {"seed": 3, "model": "cubic"}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def claimed(folder, settings=KEY, *, holds="candidates", resume=False, overwrite=False):
    return run_folder(folder, ("rows.csv", "cifs"), settings, holds=holds, resume=resume, overwrite=overwrite)


@pytest.fixture
def begun(tmp_path):
    """A folder with a finished run in it, and a file of somebody else's."""
    folder = tmp_path / "run"
    with claimed(folder):
        (folder / "rows.csv").write_text("1")
        (folder / "cifs").mkdir()
        (folder / "cifs" / "a.cif").touch()
    (folder / "notes.txt").write_text("mine")
    return folder


# Folders


def test_settings_are_kept_and_the_lock_is_not(begun):
    assert read_settings(begun) == {"holds": "candidates", **KEY}
    assert names(begun) == ["cifs", "notes.txt", "rows.csv", "run.json"]


def test_a_folder_is_resumed_by_the_same_run_alone(begun):
    with (
        pytest.raises(InputError, match="holds candidates of an earlier run; continue it with --resume"),
        claimed(begun),
    ):
        pass
    with claimed(begun, resume=True) as something:
        assert something
    with pytest.raises(InputError, match="begun with another seed"), claimed(begun, KEY | {"seed": 4}, resume=True):
        pass
    for other in (KEY | {"within": [3]}, {"seed": 3}):  # a setting more, and one less
        with pytest.raises(InputError, match=r"begun with another (within|model)"), claimed(begun, other, resume=True):
            pass
    with claimed(begun, resume=True) as something:  # what was refused has changed nothing
        assert something
    assert (begun / "rows.csv").read_text() == "1"


def test_overwriting_removes_what_such_a_run_writes_and_nothing_else(begun):
    with claimed(begun, KEY | {"seed": 4}, overwrite=True) as something:
        assert not something
    assert names(begun) == ["notes.txt", "run.json"]


@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}, {}])
def test_a_folder_of_another_kind_is_left_alone(begun, how):
    run = claimed(begun, holds="a validation", **how)
    with pytest.raises(InputError, match="holds files that no run for a validation wrote"), run:
        pass
    assert names(begun) == ["cifs", "notes.txt", "rows.csv", "run.json"]


def test_a_run_that_fails_before_it_wrote_leaves_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file.* cannot be written"), claimed(tmp_path / "file" / "run"):
        pass
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_fails_without_a_result_leaves_nothing(tmp_path, there):
    folder = tmp_path / "run"
    if there:
        folder.mkdir()
    with pytest.raises(ZeroDivisionError), claimed(folder):
        raise ZeroDivisionError
    assert names(tmp_path) == (["run"] if there else [])
    with contextlib.suppress(ZeroDivisionError), claimed(folder):
        (folder / "rows.csv").touch()
        raise ZeroDivisionError
    assert names(folder) == ["rows.csv", "run.json"]


def test_two_runs_do_not_share_a_folder(tmp_path):
    with claimed(tmp_path / "run"):
        other = claimed(tmp_path / "run", resume=True)
        with pytest.raises(InputError, match=r"another run is writing to .*run; wait until it has ended"), other:
            pass
    with claimed(tmp_path / "run", resume=True):
        pass


def test_a_killed_run_leaves_no_lock(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from icsg3d.files import locked\n"
        "with locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out.csv")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="another run is writing to"), locked(tmp_path / "out.csv"):
            pass
        other.kill()
    with locked(tmp_path / "out.csv"):
        pass
    assert names(tmp_path) == []


# Rows


@pytest.fixture
def rows(tmp_path):
    """A partial file with three rows."""
    partial = PartialRows(tmp_path / "rows.jsonl", KEY)
    partial.begin(resume=False)
    for place, row in ((0, {"a": 1.5}), (1, None), ((2, 7), "x")):
        partial.add(place, row)
    return partial


def again(rows, key=KEY):
    partial = PartialRows(rows.path, key)
    partial.begin(resume=True)
    return partial.rows


def test_rows_come_back(rows):
    assert again(rows) == {0: {"a": 1.5}, 1: None, (2, 7): "x"}
    rows.add(0, "another")
    assert len(rows.path.read_text().splitlines()) == 3


def test_another_run_does_not_take_them(rows):
    with pytest.raises(InputError, match="begun with other data, another model or other options"):
        again(rows, KEY | {"seed": 4})
    fresh = PartialRows(rows.path, KEY)
    fresh.begin(resume=False)
    assert fresh.rows == {}
    assert not rows.path.exists()


@pytest.mark.parametrize("line", [b"\0" * 40, b"\xff\xfe", b"7", b"{}", b"[" * 100_000, b'{"run": 1, "place": ', b""])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_damaged_lines_cost_themselves_alone(rows, line, before, caplog):
    lines = rows.path.read_bytes().splitlines(keepends=True)
    rows.path.write_bytes(b"".join([*lines[:before], line + b"\n", *lines[before:]]))
    with caplog.at_level(logging.WARNING, logger="icsg3d"):
        assert again(rows) == {0: {"a": 1.5}, 1: None, (2, 7): "x"}
    assert "1 damaged lines were dropped, 3 rows are kept" in caplog.text
    assert rows.path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_written_anew(rows, cut):
    rows.path.write_bytes(rows.path.read_bytes()[:-cut])
    assert again(rows) == {0: {"a": 1.5}, 1: None}


def test_an_empty_file_holds_nothing(rows):
    rows.path.write_bytes(b"")
    assert again(rows) == {}


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(rows):
    """A limit on the size of files stands for a disk that is full in the middle of a line."""
    code = """
import resource, signal, sys
from pathlib import Path
from icsg3d.errors import InputError
from icsg3d.run_folders import PartialRows
partial = PartialRows(Path(sys.argv[1]), {"seed": 3, "model": "cubic"})
partial.begin(resume=True)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (partial.path.stat().st_size + 20, resource.RLIM_INFINITY))
try:
    partial.add(9, "y" * 100)
except InputError as error:
    print(error)
"""
    before = rows.path.read_bytes()
    ran = subprocess.run([sys.executable, "-c", code, str(rows.path)], capture_output=True, text=True, check=True)
    assert f"{rows.path} cannot be written (File too large)" in ran.stdout
    assert "what was finished is kept" in ran.stdout
    assert rows.path.read_bytes() == before


# Files


def test_a_file_that_cannot_be_written_leaves_nothing_and_is_named(tmp_path):
    code = """
import resource, signal, sys
from pathlib import Path
from icsg3d.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
try:
    write_atomically(Path(sys.argv[1]), b"y" * 100)
except OSError as error:
    print(error.errno, error.filename)
"""
    path = tmp_path / "table.csv"
    path.write_text("before")
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(errno.EFBIG), str(path)]
    assert names(tmp_path) == ["table.csv"]
    assert path.read_text() == "before"


def test_errors_of_the_disk_name_path_and_way_out(tmp_path):
    full = pytest.raises(InputError, match=r"a\.csv cannot be written \(No space left on device\); free space")
    with full, saving(tmp_path / "a.csv"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(InputError, match=r"/none/b\.csv cannot be written \(No such file"), saving(tmp_path):
        write_atomically(Path("/none/b.csv"), b"")


def test_a_writer_that_is_killed_at_any_moment_leaves_whole_rows(tmp_path):
    """Rows are added as fast as they can be while the process is killed."""
    code = """
import sys
from pathlib import Path
from icsg3d.run_folders import PartialRows
partial = PartialRows(Path(sys.argv[1]), 1)
partial.begin(resume=True)
print(len(partial.rows), flush=True)
for number in range(len(partial.rows), 10**6):
    partial.add(number, "x" * 5000)
"""
    path, last = tmp_path / "rows.jsonl", 0
    for pause in (0.05, 0.1, 0.15):
        command = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert int(writer.stdout.readline()) == last
            time.sleep(pause)
            writer.kill()
        partial = PartialRows(path, 1)
        partial.begin(resume=True)
        assert sorted(partial.rows) == list(range(len(partial.rows)))
        assert len(partial.rows) > last
        last = len(partial.rows)
    assert json.loads(path.read_bytes().splitlines()[0])["place"] == 0
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


# Rows stay on disk


def test_rows_are_read_from_the_file_and_only_their_places_are_in_memory(tmp_path):
    rows = PartialRows(tmp_path / "rows.jsonl", KEY)
    rows.begin(resume=False)
    for number in (3, 0, "a", 1_000_000):
        rows.add(number, {"text": "x" * 1000, "number": number})
    assert list(rows.rows) == [0, 3, "a", 1_000_000]  # numbers in order, other places as they came
    assert len(rows.rows) == 4
    assert rows.rows["a"]["number"] == "a"
    assert 1 not in rows.rows
    with pytest.raises(KeyError):
        rows.rows[2]
    again = PartialRows(tmp_path / "rows.jsonl", KEY)
    again.begin(resume=True)
    assert dict(again.rows) == dict(rows.rows)
    text = (tmp_path / "rows.jsonl").read_text()
    (tmp_path / "rows.jsonl").write_text(text.replace('"number": 3', '"number": 4'))
    assert again.rows[3]["number"] == 4  # nothing was kept


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
    rows = PartialRows(tmp_path / "rows.jsonl", KEY)
    rows.begin(resume=False)
    rows.add(0, "something")
    (tmp_path / "rows.jsonl").write_text("something else\n")
    with pytest.raises(InputError, match=r"rows.jsonl has changed while it was read"):
        rows.rows[0]


def test_rows_of_another_run_are_replaced_where_that_is_wanted(tmp_path):
    first = PartialRows(tmp_path / "rows.jsonl", {"judge": 1})
    first.begin(resume=False)
    first.add(0, "old")
    second = PartialRows(tmp_path / "rows.jsonl", {"judge": 2})
    second.begin(resume=True, others="replace")
    assert len(second.rows) == 0
    second.add(0, "new")
    third = PartialRows(tmp_path / "rows.jsonl", {"judge": 2})
    third.begin(resume=True, others="replace")
    assert dict(third.rows) == {0: "new"}


# Rows that stay on the disk


def test_rows_on_disk_come_back_one_by_one(rows):
    kept = PartialRows(rows.path, KEY)
    kept.begin(resume=True)
    assert [kept.rows[place] for place in (1, (2, 7), 0)] == [None, "x", {"a": 1.5}]
    assert 1 in kept.rows
    assert 3 not in kept.rows
    kept.add(3, [1, 2])
    kept.add(3, "another")
    assert kept.rows[3] == [1, 2]


def test_rows_on_disk_are_found_behind_damaged_lines(rows, caplog):
    lines = rows.path.read_bytes().splitlines(keepends=True)
    rows.path.write_bytes(lines[0] + b"\0" * 99 + b"\n" + lines[1] + b"{}\n" + lines[2] + lines[0][:9])
    kept = PartialRows(rows.path, KEY)
    with caplog.at_level(logging.WARNING, logger="icsg3d"):
        kept.begin(resume=True)
    assert "3 damaged lines were dropped, 3 rows are kept" in caplog.text
    assert rows.path.read_bytes() == b"".join(lines)
    assert [kept.rows[place] for place in (0, 1, (2, 7))] == [{"a": 1.5}, None, "x"]


def test_rows_on_disk_are_not_in_memory(tmp_path):
    kept = PartialRows(tmp_path / "rows.jsonl", KEY)
    kept.begin(resume=False)
    tracemalloc.start()
    for number in range(40):
        kept.add(number, str(number) * 200_000)
    again = PartialRows(kept.path, KEY)
    again.begin(resume=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept.path.stat().st_size > 14e6
    assert peak < 4e6
    assert again.rows[39] == "39" * 200_000


def test_a_file_is_replaced_piece_by_piece_or_not_at_all(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("before")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", None])
    assert (path.read_text(), names(tmp_path)) == ("before", ["a.csv"])
    with replacing(path) as file:
        file.write(b"one ")
        assert path.read_text() == "before"
        file.write(b"two")
    assert (path.read_text(), names(tmp_path)) == ("one two", ["a.csv"])


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert sha256_of_file(tmp_path / "a") == hashlib.sha256(b"x" * 3_000_000).hexdigest()
