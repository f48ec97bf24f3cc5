"""Fetching from the Materials Project, against a server on this machine that answers as the real one does."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import os
import re
import sys
import threading
import time as real_time
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pymatgen.core
import pytest
import typer
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from icsg3d.cli.console import show_messages
from icsg3d.cli.data import app as data_app
from icsg3d.data import load_structures, read_frame
from icsg3d.data import materials_project as module
from icsg3d.data.materials_project import COLUMNS, fetch_materials_project
from icsg3d.data.materials_query import CRYSTAL_SYSTEMS, HAVING, MaterialsProjectQuery
from icsg3d.data.materials_rows import PROPERTY_FIELDS
from icsg3d.data.remote import JsonService, Manners, check_endpoint
from icsg3d.errors import InputError
from icsg3d.progress import listening

KEY = "Abcdefgh1jklmn0pqrstuvwxyz012345"
CUBIC = MaterialsProjectQuery(crystal_system="cubic")


def document(number, **changes):
    """Return a material as the route materials/summary sends it."""
    structure = Structure(Lattice.cubic(3.9 + number / 100), ["Sr", "Ti"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return {
        "material_id": f"mp-{number}",
        "structure": json.loads(structure.to_json()),
        "symmetry": {"crystal_system": "Cubic", "symbol": "Pm-3m", "number": 221, "symprec": 0.1},
        "formation_energy_per_atom": -number / 7,
        "energy_above_hull": 0,
        "band_gap": 1.5,
        "bulk_modulus": {"voigt": 101.0, "reuss": 99.0, "vrh": 100.0},
        "shear_modulus": None,
        "homogeneous_poisson": 0.25,
        "e_electronic": 4.0,
        "n": 2.0,
        "e_ij_max": None,
    } | changes


class Project(ThreadingHTTPServer):
    """The Materials Project: documents, what was asked, and what goes wrong with the next requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.documents = [document(number) for number in (5, 30, 4, 100, 7)]
        self.asked = []
        self.headers = []
        self.faults = []
        self.address = f"http://127.0.0.1:{self.server_port}"

    def content(self, asked):
        found = self.documents
        if "material_ids" in asked:
            found = [each for each in found if each["material_id"] in asked["material_ids"].split(",")]
        skip, limit = int(asked["_skip"]), int(asked["_limit"])
        return {
            "data": found[skip : skip + limit],
            "meta": {"api_version": "0.86", "time_stamp": "2026-11-23T00:00:00Z", "total_doc": len(found)},
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query))
        self.server.asked.append(asked)
        self.server.headers.append(dict(self.headers))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault:
            fault(self)
        elif self.headers["X-API-KEY"] != KEY:
            self.answer(401, b'{"message":"Invalid authentication credentials"}')
        elif parts.path != "/materials/summary/":
            self.answer(404, b'{"detail":"Not Found"}')
        else:
            self.answer(200, json.dumps(self.server.content(asked)).encode())

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def status(code, body=b'{"detail":"no reason"}', **headers):
    return lambda handler: handler.answer(code, body, **headers)


def cut(handler):
    body = json.dumps(handler.server.content(handler.server.asked[-1])).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def hang_up(handler):
    handler.close_connection = True


def changed(**changes):
    """Change the regular answer."""

    def fault(handler):
        content = handler.server.content(handler.server.asked[-1])
        handler.answer(200, json.dumps(content | changes).encode())

    return fault


@pytest.fixture
def project(monkeypatch):
    for name in ("MAPI_KEY", "PMG_MAPI_KEY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Project()
    monkeypatch.setenv("MP_API_KEY", KEY)
    monkeypatch.setenv("MP_API_ENDPOINT", server.address)
    monkeypatch.setattr(pymatgen.core, "SETTINGS", {})
    monkeypatch.setattr(module, "PAGE", 2)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Time:
    """A clock that only waiting moves on."""

    def __init__(self):
        self.now = 1000.0
        self.waits = []

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds

    def manners(self, **changes):
        return Manners(**{"per_second": math.inf, "sleep": self.sleep, "clock": lambda: self.now} | changes)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def fetch(project, tmp_path, time):
    def call(query=CUBIC, out=tmp_path / "out.json.gz", manners=None, **options):
        return fetch_materials_project(query, out, manners=manners or time.manners(), **options)

    return call


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def skips(project):
    return [asked["_skip"] for asked in project.asked]


def broken_off(project, fetch, *faults):
    """Fetch with a server that refuses the third page."""
    project.faults = [None, None, status(400), *faults]
    with pytest.raises(InputError, match="status 400"):
        fetch()
    project.asked.clear()


# What comes


def test_pages_become_one_dataframe(project, fetch, tmp_path):
    frame = fetch()
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["material_id"]) == ["mp-4", "mp-5", "mp-7", "mp-30", "mp-100"]
    assert skips(project) == ["0", "2", "4"]
    row = frame.iloc[3]
    assert (row["formula"], row["space_group_number"]) == ("SrTi", 221)
    assert row["formation_energy_per_atom"] == -30 / 7
    assert (row["bulk_modulus"], row["poisson_ratio"]) == (100, 0.25)
    assert (row["dielectric_electronic"], row["refractive_index"]) == (4, 2)
    assert math.isnan(row["shear_modulus"])
    assert math.isnan(row["eij_max"])
    assert row["structure"].lattice.a == pytest.approx(4.2)
    assert frame.attrs["skipped"] == {}
    assert files(tmp_path) == ["out.json.gz", "out.json.gz.query.json"]


@pytest.mark.parametrize("name", ["out.json", "deeper/out.json.gz"])
def test_load_structures_reads_the_result(fetch, tmp_path, name):
    frame = fetch(out=tmp_path / name)
    table = load_structures(tmp_path / name)
    assert table.ids == list(frame["material_id"])
    assert np.array_equal(table.frame["band_gap"], frame["band_gap"])
    assert all(a == b for a, b in zip(table.structures, frame["structure"], strict=True))


def test_the_request_is_the_real_interfaces(project, fetch):
    fetch(MaterialsProjectQuery(formula=("ABX3",), crystal_system="cubic", elements_count=3, having=("bulk_modulus",)))
    asked = project.asked[0]
    fields = set(asked.pop("_fields").split(","))
    assert fields == {"material_id", "structure", "symmetry", *(path[0] for path in PROPERTY_FIELDS.values())}
    assert asked == {
        "formula": "ABX3",
        "crystal_system": "Cubic",
        "nelements_min": "3",
        "nelements_max": "3",
        "has_props": "elasticity",
        "batch_id_not_eq": "gnome_r2scan_statics",
        "deprecated": "false",
        "_limit": "2",
        "_skip": "0",
    }
    assert project.headers[0]["User-Agent"].startswith("icsg3d/")


def test_fields_and_filters_are_known_to_emmet():
    """Look into the sources of the real interface's documents; importing them takes seconds."""
    try:
        core = Path(distribution("emmet-core").locate_file("emmet/core"))
    except PackageNotFoundError:
        pytest.skip("emmet-core, which comes with atomate2, is not installed")
    summary, *bases = ((core / f"{name}.py").read_text() for name in ("summary", "structure", "material_property"))
    fields = set(re.findall(r"^    (\w+): ", "\n".join([summary, *bases]), re.MULTILINE))
    assert set(module.FIELDS) - {"material_id"} <= fields
    assert set(HAVING.values()) <= set(re.findall(r'^    \w+ = "(\w+)"$', summary, re.MULTILINE))
    systems = re.findall(r'^    \w+ = "([A-Z][a-z]+)"$', (core / "symmetry.py").read_text(), re.MULTILINE)
    assert set(systems) >= {name.capitalize() for name in CRYSTAL_SYSTEMS}


def test_many_names_are_split_and_absent_ones_named(project, fetch, monkeypatch, watched):
    monkeypatch.setattr("icsg3d.data.materials_query.IDS_AT_ONCE", 2)
    frame = fetch(MaterialsProjectQuery(ids=("mp-100", "mp-9", "mp-5", "mp-7")))
    assert [asked["material_ids"] for asked in project.asked] == ["mp-100,mp-5", "mp-7,mp-9"]
    assert list(frame["material_id"]) == ["mp-5", "mp-7", "mp-100"]
    assert list(frame.attrs["skipped"]) == ["mp-9"]
    assert watched["materials"] == [(0, None), (2, 4), (3, 4)]


def test_progress_counts_materials(fetch, watched):
    fetch()
    assert watched["materials"] == [(0, None), (2, 5), (4, 5), (5, 5)]


def test_the_record_says_where_it_came_from(project, fetch, tmp_path):
    fetch()
    record = json.loads((tmp_path / "out.json.gz.query.json").read_text())
    assert (record["endpoint"], record["query"]) == (project.address, "crystal_system=cubic")
    assert (record["materials"], record["skipped"]) == (5, {})


# The key


def test_no_key(project, fetch, monkeypatch):
    monkeypatch.delenv("MP_API_KEY")
    with pytest.raises(InputError, match=r"none is set.*next-gen\.materialsproject\.org/api.*MP_API_KEY"):
        fetch()
    assert project.asked == []


def test_the_key_of_pymatgens_settings_is_second(project, fetch, monkeypatch, tmp_path):
    monkeypatch.setattr(pymatgen.core, "SETTINGS", {"PMG_MAPI_KEY": "2" * 32})
    fetch()
    monkeypatch.delenv("MP_API_KEY")
    with pytest.raises(InputError, match="refuses the key"):
        fetch(out=tmp_path / "other.json")
    assert [headers["X-API-KEY"] for headers in project.headers[-2:]] == [KEY, "2" * 32]


@pytest.mark.parametrize("key", ["short", "x" * 31 + "\n" + "y", "a" * 31 + "é"])
def test_a_key_that_is_none_is_not_sent_or_shown(project, fetch, monkeypatch, key):
    monkeypatch.setenv("MP_API_KEY", key)
    with pytest.raises(InputError, match="32 letters and digits") as caught:
        fetch()
    assert key not in str(caught.value)
    assert project.asked == []


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key(project, fetch, time, tmp_path, code):
    project.faults = [status(code, b'{"message":"No such user"}')]
    with pytest.raises(InputError, match=rf"refuses the key \(status {code}: No such user\); copy your key again"):
        fetch()
    assert (len(project.asked), time.waits, files(tmp_path)) == (1, [], [])


def test_the_key_is_in_no_file_and_no_message(project, fetch, tmp_path, capfd):
    echo = json.dumps({"detail": f"your key {KEY} is on fire"}).encode()
    project.faults = [None]
    for fault in (status(400, echo), status(403, echo), status(200, KEY.encode()), status(500, echo), hang_up):
        project.faults += [fault] * 9
        with pytest.raises(InputError) as caught:
            fetch()
        assert KEY not in "".join(traceback.format_exception(caught.value))
        project.faults.clear()
    assert len(files(tmp_path)) == 1
    fetch()
    fetch(refresh=True)
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.iterdir())
    assert all(KEY not in str(asked) for asked in project.asked)
    assert KEY not in "".join(capfd.readouterr())
    assert KEY not in repr(JsonService("it", project.address, KEY, "", None))


def test_the_key_does_not_follow_redirects(project, fetch):
    project.faults = [status(302, b"", Location=f"{project.address}/elsewhere")]
    with pytest.raises(InputError, match="another address"):
        fetch()
    assert len(project.asked) == 1


@pytest.mark.parametrize("endpoint", ["http://api.materialsproject.org", "http://localhost.evil.org/x"])
def test_the_key_is_not_sent_in_the_clear(fetch, endpoint):
    with pytest.raises(InputError, match="unencrypted"):
        fetch(endpoint=endpoint)


@pytest.mark.parametrize(
    "endpoint", ["api.org", "ftp://api.org", "https://", "https://a:b", "https://[", "https://u:p@a"]
)
def test_addresses_are_checked(fetch, endpoint):
    with pytest.raises(InputError, match="is no address"):
        fetch(endpoint=endpoint)
    assert check_endpoint("https://[::1]:80/v/") == "https://[::1]:80/v"


# What goes wrong and is tried again


def test_too_many_requests_waits_as_asked(project, fetch, time):
    project.faults = [status(429, Retry_After="17"), status(429)]
    assert len(fetch()) == 5
    assert time.waits == [17, 2]
    assert skips(project) == ["0", "0", "0", "2", "4"]


@pytest.mark.parametrize(("value", "wait"), [("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("soon", 1), ("9" * 5000, 1)])
def test_odd_retry_after(project, fetch, time, value, wait):
    project.faults = [status(429, Retry_After=value)]
    assert len(fetch()) == 5
    assert time.waits == [wait]


def test_a_long_pause_is_not_slept_through(project, fetch, time):
    project.faults = [status(429, Retry_After="7200")]
    with pytest.raises(InputError, match="asks for a pause of 7200 s; start again after it"):
        fetch()
    assert time.waits == []


def test_too_many_requests_for_good(project, fetch, time):
    project.faults = [status(429, b'{"error":"Your IP is blocked"}')] * 7
    with pytest.raises(
        InputError, match=r"no usable answer in 7 trials \(status 429: Your IP is blocked\); start again"
    ):
        fetch()
    assert time.waits == [1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize(
    "fault",
    [
        status(500),
        status(502, b"<html>Bad gateway</html>"),
        status(504),
        cut,
        hang_up,
        status(200, b'{"data": [{"mater'),
        status(200, b"<html>We are down for maintenance</html>"),
        status(200, b"\xff\xfe"),
        status(200, b"[1, 2]"),
        status(200, b"[" * 100_000),
        status(200, b"no gzip", Content_Encoding="gzip"),
    ],
    ids=["500", "502", "504", "cut", "hung up", "open", "page", "binary", "list", "deep", "gzip"],
)
def test_failures_are_tried_again(project, fetch, time, fault):
    project.faults = [fault, None, fault, fault]
    assert len(fetch()) == 5
    assert time.waits == [1, 1, 2]
    project.faults = [fault] * 3
    with pytest.raises(
        InputError, match=r"no usable answer in 3 trials \(.*\); start again later, what has come is kept"
    ):
        fetch(refresh=True, manners=time.manners(retries=2))


def test_waits_end_at_the_longest(project, fetch, time):
    project.faults = [status(500)] * 4
    fetch(manners=time.manners(longest_wait=3))
    assert time.waits == [1, 2, 3, 3]


def test_nobody_there(fetch, time):
    with pytest.raises(InputError, match="the connection failed"):
        fetch(endpoint="http://127.0.0.1:9", manners=time.manners(retries=1))
    assert time.waits == [1]


def test_requests_keep_their_pace(fetch, time):
    fetch(manners=time.manners(per_second=4))
    assert time.waits == [0.25, 0.25]


def test_a_query_that_is_not_understood(project, fetch):
    project.faults = [status(400, b'{"detail":"Problem processing one or more provided formulas."}')]
    with pytest.raises(
        InputError, match=r"does not understand the query \(status 400: Problem processing.*; change it"
    ):
        fetch()
    project.faults = [status(422, json.dumps({"detail": [{"loc": ["query"], "msg": "\x1b[31m" + "x" * 999}]}).encode())]
    with pytest.raises(InputError, match=r"status 422: .*x \.\.\.\)") as caught:
        fetch()
    assert "\x1b" not in str(caught.value)


def test_endless_answers_are_cut(project, fetch, time):
    with pytest.raises(InputError, match="sent more than 0 MiB at once"):
        fetch(manners=time.manners(most_bytes=1000))


# A service without end


def announced(total):
    """Answer every request with one page and a number of materials."""

    def fault(handler):
        content = handler.server.content(handler.server.asked[0])
        handler.answer(200, json.dumps(content | {"meta": {"total_doc": total}}).encode())

    return fault


def test_a_service_that_announces_more_than_there_can_be_is_asked_once(project, fetch):
    project.faults = [announced(10**18)] * 99
    with pytest.raises(InputError, match=r"announces 10{18} materials, more than the 5000000 rows .* ICSG3D_MAX_ROWS"):
        fetch()
    assert len(project.asked) == 1


def test_a_page_that_is_repeated_is_seen_at_once(project, fetch, tmp_path):
    project.faults = [announced(10**5)] * 99
    with pytest.raises(InputError, match="of 2 materials after 2, 2 have come before"):
        fetch()
    assert len(project.asked) == 2
    assert files(tmp_path) == []


def test_more_materials_than_names_are_no_answer(project, fetch):
    project.faults = [announced(3)]
    with pytest.raises(InputError, match="3 materials are announced for 2 names"):
        fetch(MaterialsProjectQuery(ids=("mp-5", "mp-30")))


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PAGES", "2", "would have to be asked for more than the 2 pages that are allowed"),
        ("BYTES", "3000", "sent more than the 3000 bytes that are allowed"),
        ("SECONDS", "15", "takes more than the 15 seconds that are allowed"),
    ],
)
def test_a_fetch_has_bounds_and_goes_on_behind_them(project, fetch, time, monkeypatch, variable, value, message):
    monkeypatch.setenv(f"ICSG3D_MAX_FETCH_{variable}", value)
    slow = time.manners(per_second=0.1)
    with pytest.raises(InputError, match=rf"{message}; start again to continue .* ICSG3D_MAX_FETCH_{variable} to"):
        fetch(manners=slow)
    came = len(project.asked)
    monkeypatch.delenv(f"ICSG3D_MAX_FETCH_{variable}")
    assert len(fetch()) == 5
    assert 3 <= len(project.asked) <= came + 2


def test_an_answer_that_trickles_in_is_given_up(project, fetch, time):
    def trickle(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                real_time.sleep(0.05)

    project.faults = [trickle] * 2
    with pytest.raises(InputError, match=r"in 2 trials \(the answer was not there after 0\.3 s\)"):
        fetch(manners=time.manners(answer_seconds=0.3, retries=1))


# Answers that cannot be trusted


@pytest.mark.parametrize(
    "changes",
    [
        {"data": None},
        {"data": {}},
        {"meta": None},
        {"meta": {"total_doc": "5"}},
        {"meta": {"total_doc": True}},
        {"meta": {"total_doc": -1}},
        {"meta": {"total_doc": 1}},
        {"data": [{}] * 3},
    ],
)
def test_an_answer_of_another_shape(project, fetch, changes):
    project.faults = [changed(**changes)]
    with pytest.raises(InputError, match=r"the answer is malformed.*check MP_API_ENDPOINT"):
        fetch()


@pytest.mark.parametrize(
    "changes",
    [
        {"structure": None},
        {"structure": {}},
        {"structure": {"lattice": {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "sites": []}},
        {"band_gap": "1.5"},
        {"band_gap": True},
        {"band_gap": math.inf},
        {"band_gap": math.nan},
        {"band_gap": 10**400},
        {"bulk_modulus": 3},
        {"bulk_modulus": {"vrh": []}},
        {"symmetry": {"number": 231}},
        {"symmetry": {"number": 1.5}},
        {"symmetry": "cubic"},
    ],
)
def test_a_damaged_document_is_named_and_left_out(project, fetch, changes):
    project.documents[1] |= changes
    frame = fetch()
    assert list(frame["material_id"]) == ["mp-4", "mp-5", "mp-7", "mp-100"]
    assert list(frame.attrs["skipped"]) == ["mp-30"]
    assert frame.attrs["skipped"]["mp-30"].startswith("its document is malformed: ")


@pytest.mark.parametrize("value", [math.nan, 1e999, 10**400, "x", None, {}])
def test_damaged_lattices_are_left_out(project, fetch, value):
    project.documents[0]["structure"]["lattice"]["matrix"][0][0] = value
    assert list(fetch().attrs["skipped"]) == ["mp-5"]


@pytest.mark.parametrize("bad", [None, 7, {}, {"material_id": 7}, {"material_id": "../x"}, {"material_id": "mp-\x1b"}])
def test_documents_without_a_name(project, fetch, bad):
    project.documents[3] = bad
    assert list(fetch().attrs["skipped"]) == ["document 0.2.1"]


def test_missing_values_are_no_damage(project, fetch):
    for name in ("band_gap", "bulk_modulus", "symmetry", "e_electronic"):
        del project.documents[0][name]
    frame = fetch().set_index("material_id")
    row = frame.loc["mp-5"]
    assert all(math.isnan(row[name]) for name in ("band_gap", "bulk_modulus", "space_group_number"))
    assert frame.attrs["skipped"] == {}


def test_only_damaged_documents(project, fetch, tmp_path):
    project.documents = [{}, {}]
    with pytest.raises(InputError, match="all 2 are damaged"):
        fetch()
    assert files(tmp_path) == []


def test_nothing_found(project, fetch, tmp_path):
    project.documents = []
    with pytest.raises(InputError, match="has no material for crystal_system=cubic; ask for something wider"):
        fetch()
    assert files(tmp_path) == []


def test_no_document_chooses_what_is_imported(project, fetch, tmp_path, monkeypatch):
    folder = tmp_path / "trap"
    folder.mkdir()
    (folder / "icsg3d_mp_trap.py").write_text("from pathlib import Path\nPath(__file__).with_name('hit').touch()\n")
    monkeypatch.syspath_prepend(str(folder))
    bait = {"@module": "icsg3d_mp_trap", "@class": "Trap", "x": 1}
    encoded = document(1)["structure"]
    in_site = json.loads(json.dumps(encoded))
    in_site["sites"][0]["properties"] = {"x": bait}
    in_site["sites"][0]["species"][0]["properties"] = {"spin": bait}
    project.documents = [
        document(1, structure=encoded | bait),
        document(2, structure=in_site | {"properties": {"x": bait}}),
        document(3, structure=bait),
        document(4, symmetry=bait | {"number": 1}),
        document(5, bulk_modulus={"vrh": bait}),
        bait,
    ]
    out = tmp_path / "out.json"
    frame = fetch(out=out)
    assert list(frame["material_id"]) == ["mp-1", "mp-2", "mp-4"]
    assert set(frame.attrs["skipped"]) == {"mp-3", "mp-5", "document 0.4.1"}
    assert not any(structure.site_properties for structure in frame["structure"])
    load_structures(out)
    fetch(out=out)
    assert "icsg3d_mp_trap" not in out.read_text()
    assert "icsg3d_mp_trap" not in sys.modules
    assert not (folder / "hit").exists()


@pytest.mark.parametrize("fault", [changed(meta={"total_doc": 9}), changed(data=[]), changed(data=[document(5)])])
def test_answers_that_do_not_fit_together(project, fetch, tmp_path, fault):
    project.faults = [None, None, fault]
    with pytest.raises(InputError, match=r"do not fit together \(.*\); start again, from the beginning"):
        fetch()
    assert files(tmp_path) == []
    assert len(fetch()) == 5


# Interruptions


def test_an_interrupted_fetch_goes_on(project, fetch, tmp_path):
    broken_off(project, fetch)
    (name,) = files(tmp_path)
    assert name.startswith("out.json.gz.")
    assert name.endswith(".partial.jsonl")
    resumed = fetch()
    assert skips(project) == ["4"]
    whole = fetch(out=tmp_path / "whole.json.gz")
    assert resumed.equals(whole)
    assert (tmp_path / "out.json.gz").read_bytes() == (tmp_path / "whole.json.gz").read_bytes()
    assert not any("partial" in name for name in files(tmp_path))


def test_a_cut_cable_and_control_c_keep_what_came(project, fetch, time):
    class Stops:
        def update(self, done=None, total=None, text=None):
            if done == 4:
                raise KeyboardInterrupt

    @contextmanager
    def stopping(_text, _total, _done):
        yield Stops()

    with pytest.raises(KeyboardInterrupt), listening(stopping):
        fetch()
    project.asked.clear()
    project.faults = [cut] * 3
    with pytest.raises(InputError, match="the connection failed"):
        fetch(manners=time.manners(retries=2))
    assert skips(project) == ["4"] * 3
    assert len(fetch()) == 5
    assert skips(project) == ["4"] * 4


def test_another_query_does_not_go_on_from_it(project, fetch):
    broken_off(project, fetch)
    fetch(MaterialsProjectQuery(crystal_system="cubic", max_sites=5))
    assert skips(project) == ["0", "2", "4"]


@pytest.mark.parametrize("keep", [-1, -40, 10])
def test_a_line_that_was_cut_off_is_asked_again(project, fetch, tmp_path, keep):
    broken_off(project, fetch)
    path = tmp_path / files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:keep])
    assert len(fetch()) == 5
    assert skips(project) == (["0", "2", "4"] if keep > 0 else ["2", "4"])


@pytest.mark.parametrize("line", [b"7", b"{}", b'{"place": 3}', b"\xff", b"[" * 100_000, b'{"place":[0,0],"rows":[3]}'])
def test_a_foreign_partial_file_is_not_believed(project, fetch, tmp_path, line):
    broken_off(project, fetch)
    path = tmp_path / files(tmp_path)[0]
    path.write_bytes(line + b"\n" + path.read_bytes())
    assert len(fetch()) == 5
    assert skips(project) == ["4"]  # the line is dropped, what came is kept


def test_damaged_documents_are_remembered(project, fetch):
    project.documents[0]["band_gap"] = "x"
    broken_off(project, fetch)
    assert list(fetch().attrs["skipped"]) == ["mp-5"]


def test_a_full_disk(project, fetch, tmp_path, monkeypatch):
    broken_off(project, fetch)
    (tmp_path / files(tmp_path)[0]).unlink()
    name = f"out.json.gz.{module._fingerprint(CUBIC, project.address)[:12]}.partial.jsonl"
    if os.path.exists("/dev/full"):  # noqa: PTH110
        (tmp_path / name).symlink_to("/dev/full")
        with pytest.raises(InputError, match=rf"{name} cannot be written \(No space left.*\); free space"):
            fetch()
        (tmp_path / name).unlink()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_frame", full)
    with pytest.raises(InputError, match=r"out\.json\.gz cannot be written \(No space left.*what was finished is kept"):
        fetch()
    monkeypatch.undo()
    assert files(tmp_path) == [name]


def test_a_folder_that_cannot_be_made(fetch, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written \((File exists|Not a directory)\)"):
        fetch(out=tmp_path / "file" / "out.json")


# What is there already


def test_the_same_query_is_not_asked_twice(project, fetch, monkeypatch):
    project.documents[0]["band_gap"] = "x"
    first = fetch()
    project.asked.clear()
    monkeypatch.delenv("MP_API_KEY")
    again = fetch()
    assert project.asked == []
    assert first.equals(again)
    assert first.attrs == again.attrs


def test_refresh_asks_again(project, fetch, tmp_path):
    fetch()
    project.documents.pop()
    assert len(fetch(refresh=True)) == 4
    assert len(read_frame(tmp_path / "out.json.gz")) == len(fetch()) == 4


@pytest.mark.parametrize("query", [MaterialsProjectQuery(crystal_system="cubic", gnome=True), "endpoint"])
def test_another_query_does_not_overwrite(project, fetch, tmp_path, query):
    fetch()
    before = (tmp_path / "out.json.gz").read_bytes()
    options = {"endpoint": project.address + "/v2"} if query == "endpoint" else {"query": query}
    with pytest.raises(
        InputError, match=r"out\.json\.gz holds the answer to another query \(crystal.*\); name another"
    ):
        fetch(**options)
    assert (tmp_path / "out.json.gz").read_bytes() == before


@pytest.mark.parametrize("content", [None, "7", "{", "{}", '{"skipped": 3}'])
def test_a_file_of_unknown_origin_is_left_alone(fetch, tmp_path, content):
    (tmp_path / "out.json.gz").write_bytes(b"mine")
    if content:
        (tmp_path / "out.json.gz.query.json").write_text(content)
    with pytest.raises(
        InputError, match=r"does not say what it holds; name another file, or replace it with --refresh"
    ):
        fetch()
    assert (tmp_path / "out.json.gz").read_bytes() == b"mine"


def test_a_changed_file_is_not_reused(fetch, tmp_path):
    fetch()
    (tmp_path / "out.json.gz").write_bytes(b"mine")
    with pytest.raises(InputError, match="changed since it was fetched"):
        fetch()


@pytest.mark.parametrize("name", ["out.csv", "out", "out.gz"])
def test_other_formats_are_refused(project, fetch, tmp_path, name):
    with pytest.raises(InputError, match=r"ends in \.json\.gz instead of"):
        fetch(out=tmp_path / name)
    assert project.asked == []


# Queries


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "asks for everything"),
        ({"gnome": True}, "asks for everything"),
        ({"ids": ("mp-1,mp-2",)}, "'mp-1,mp-2' is no name of a material"),
        ({"ids": ("MP-1",)}, "is no name"),
        ({"formula": ("Sr Ti",)}, "is no formula; give one such as"),
        ({"formula": ("(((",)}, "is no formula"),
        ({"formula": ("SrTiO3", "ABX3")}, "cannot be asked for at once"),
        ({"formula": ("*O", "*S")}, "cannot be asked for at once"),
        ({"chemsys": ("Li--O",)}, "is no system"),
        ({"elements": ("Xx",)}, "'Xx' is no element"),
        ({"exclude_elements": ("o",)}, "'o' is no element"),
        ({"crystal_system": "round"}, "no crystal system; there are triclinic"),
        ({"having": ("colour",)}, "no column with a property; there are formation"),
        ({"space_group": 231}, "space_group is 231; give a number from 1 to 230"),
        ({"elements_count": 0}, "elements_count is 0"),
        ({"elements_count": (3, 2)}, "elements_count is 3; give a number from 1 to 2"),
        ({"max_sites": 0}, "max_sites is 0"),
        ({"max_energy_above_hull": -1}, "max_energy_above_hull is -1"),
        ({"max_energy_above_hull": math.nan}, "max_energy_above_hull is nan"),
    ],
)
def test_queries_are_checked(values, message):
    with pytest.raises(InputError, match=message):
        MaterialsProjectQuery(**values)


def test_all_that_can_be_asked():
    query = MaterialsProjectQuery(
        formula=("SrTiO3", "BaTiO3"),
        chemsys=("Li-Fe-O",),
        elements=("Ti", "O"),
        exclude_elements=("F",),
        space_group=221,
        elements_count=(2, 4),
        max_sites=20,
        max_energy_above_hull=0.0,
        having=("eij_max", "poisson_ratio", "bulk_modulus"),
        gnome=True,
    )
    assert query.parameters() == [
        {
            "formula": "SrTiO3,BaTiO3",
            "chemsys": "Li-Fe-O",
            "elements": "Ti,O",
            "exclude_elements": "F",
            "spacegroup_number": "221",
            "nelements_min": "2",
            "nelements_max": "4",
            "nsites_max": "20",
            "energy_above_hull_max": "0.0",
            "has_props": "elasticity,piezoelectric",
            "deprecated": "false",
        }
    ]


# The command line


@pytest.fixture
def run(project):
    app = typer.Typer()
    show_messages(logging.INFO)
    app.add_typer(data_app, name="data")
    return lambda *arguments: CliRunner().invoke(app, ["data", "fetch", *map(str, arguments)])


def test_the_command_line_fetches(project, run, tmp_path):
    project.documents[0]["band_gap"] = "x"
    out = tmp_path / "perovskites.json.gz"
    done = run("--formula", "ABX3", "--crystal-system", "Cubic", "--elements-count", "2-3", "--out", out)
    assert done.exit_code == 0
    words = " ".join(done.stderr.split())
    assert "left out mp-5: its document is malformed" in words
    assert "4 crystals are in" in words
    assert "bulk_modulus 4" in words
    assert load_structures(out).ids == ["mp-4", "mp-7", "mp-30", "mp-100"]
    asked = project.asked[0]
    assert (asked["formula"], asked["crystal_system"], asked["nelements_max"]) == ("ABX3", "Cubic", "3")


def test_the_command_line_takes_names(project, run, tmp_path):
    assert run("--ids", "mp-4, mp-5", "--out", tmp_path / "two.json").exit_code == 0
    assert project.asked[0]["material_ids"] == "mp-4,mp-5"


@pytest.mark.parametrize("count", ["3-", "x", "1-2-3", "-1", "9" * 20])
def test_the_command_line_checks_counts(run, tmp_path, count):
    done = run(f"--elements-count={count}", "--out", tmp_path / "x.json")
    assert isinstance(done.exception, InputError)
    assert "--elements-count is" in str(done.exception)


def test_the_command_line_takes_no_key(run):
    shown = run("--help").output
    assert "MP_API_KEY" in shown
    assert "--api-key" not in shown
