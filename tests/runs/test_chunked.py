"""Runs over crystals chunk by chunk: what they write, what is in memory, and how they go on after an interruption."""

from __future__ import annotations

import gc
import json
import sys
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.reading import noted
from icsg3d.data import load_structures, write_frame
from icsg3d.data.tables import read_crystals, write_crystals, write_numbers
from icsg3d.errors import InputError, Interrupted
from icsg3d.generation.decoded import DecodedCrystal
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.properties import PropertyModel, PropertyModelConfig, save_property_model
from icsg3d.models.targets import PROPERTIES
from icsg3d.properties.predictor import PropertyPredictor, predict_table
from icsg3d.runs import chunked, predict, reconstruct
from icsg3d.runs.chunked import write_rows_of

predicting, rebuilding = (sys.modules[f"icsg3d.runs.{name}"] for name in ("predict", "reconstruct"))


def salt(edge):
    return Structure(Lattice(edge / 2 * (np.ones((3, 3)) - np.eye(3))), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


LONELY = Structure(9.5 * np.eye(3), ["Xe"], [[0, 0, 0]])
CRYSTALS = [salt(5 + n / 8) for n in range(7)]
CRYSTALS[3] = LONELY
IDS = [f"mp-{n}" for n in range(7)]


@pytest.fixture
def small(monkeypatch):
    """Chunks of two."""
    monkeypatch.setattr(chunked, "CHUNK", 2)
    monkeypatch.setattr(rebuilding, "CHUNK", 2)


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """Folder of an untrained model of two networks."""
    folder = tmp_path_factory.mktemp("models") / "gap"
    torch.manual_seed(0)
    network = CrystalGraphConfig.preset("gated", layers=1, width=8, hidden=8)
    settings = PropertyModelConfig(PROPERTIES["band_gap"], network, 2, 2.0, 0.5, (11, 17), 0.1, 1.0)
    save_property_model(PropertyModel(settings), folder)
    return folder


@pytest.fixture
def lines(tmp_path):
    """Seven crystals, of which one is refused by networks, and a line that is none."""
    rows = [json.dumps({"material_id": i, "structure": s.as_dict()}) for i, s in zip(IDS, CRYSTALS, strict=True)]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([*rows[:5], "broken", *rows[5:]]) + "\n")
    return path


GOOD = [name for name in IDS if name != "mp-3"]


# predict


def test_predictions_of_chunks_are_those_of_the_whole(tmp_path, lines, gaps, small, caplog):
    found = predict.predict(lines, tmp_path / "o.csv", [gaps])
    assert str(found) == "band_gap (eV) of 6 crystals"
    good = [crystal for crystal in CRYSTALS if crystal is not LONELY]
    expected, _ = predict_table(good, [PropertyPredictor.from_pretrained(gaps)], GOOD)
    assert (tmp_path / "o.csv").read_text() == expected.to_csv(index=False, float_format="%.6g")
    assert found.frame["material_id"].tolist() == GOOD
    assert "left out 5: the line cannot be read as JSON" in caplog.text
    assert "left out mp-3: Xe" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "o.csv"]


def test_predictions_in_parquet_have_all_digits(tmp_path, lines, gaps, small):
    pytest.importorskip("pyarrow")
    found = predict.predict(lines, tmp_path / "o.parquet", [gaps])
    good = [crystal for crystal in CRYSTALS if crystal is not LONELY]
    expected, _ = predict_table(good, [PropertyPredictor.from_pretrained(gaps)], GOOD)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "o.parquet"), expected, check_exact=True)
    pd.testing.assert_frame_equal(found.frame, expected, check_exact=True)


def test_notes_of_a_later_chunk_make_a_column(tmp_path, gaps, small, monkeypatch):
    path = tmp_path / "in.json"
    write_frame(pd.DataFrame({"material_id": IDS[:3], "structure": CRYSTALS[:3]}), path)

    def read(source, size):
        for table in tables(source, size):
            for name, structure in zip(table.ids, table.structures, strict=True):
                noted(structure, *["something, and more"] * (name == "mp-2"))
            yield table

    tables = chunked.iter_tables
    monkeypatch.setattr(chunked, "iter_tables", read)
    found = predict.predict(path, tmp_path / "o.csv", [gaps]).frame
    assert found["notes"].tolist() == ["", "", "something, and more"]
    assert list(found)[-1] == "notes"
    text = (tmp_path / "o.csv").read_text()
    assert text.splitlines()[1].endswith("False,")
    assert text.splitlines()[3].endswith('False,"something, and more"')


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_prediction_goes_on_to_the_same_bytes(tmp_path, lines, gaps, small, monkeypatch, after, ending):
    pytest.importorskip("pyarrow")
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"o.{ending}"
    predict.predict(lines, whole, [gaps])
    calls = []

    def interrupted(*arguments):
        calls.append(arguments[2])
        if len(calls) == after + 1:
            raise KeyboardInterrupt
        return predict_table(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(predicting, "predict_table", interrupted)
        with pytest.raises(Interrupted, match="--resume"):
            predict.predict(lines, out, [gaps])
    assert not out.exists()
    begun = (tmp_path / f".o.{ending}.partial.jsonl").read_bytes()
    assert len(begun.splitlines()) == after
    again = []
    monkeypatch.setattr(predicting, "predict_table", lambda *each: again.append(each[2]) or predict_table(*each))
    predict.predict(lines, out, [gaps], resume=True)
    assert out.read_bytes() == whole.read_bytes()
    assert [name for names in again for name in names] == IDS[2 * after - (after == 3) :]
    assert not (tmp_path / f".o.{ending}.partial.jsonl").exists()


def test_other_data_are_not_gone_on_with(tmp_path, lines, gaps, small, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(predicting, "predict_table", interrupted)
        with pytest.raises(Interrupted):
            predict.predict(lines, tmp_path / "o.csv", [gaps])
    (tmp_path / ".o.csv.partial.jsonl").write_text('{"run": "another", "place": 0, "row": 1}\n')
    with pytest.raises(InputError, match="begun with other data"):
        predict.predict(lines, tmp_path / "o.csv", [gaps], resume=True)


def test_data_that_break_off_leave_nothing(tmp_path, gaps, small):
    path = tmp_path / "in.extxyz"
    frame = '2\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3\nNa 0 0 0\nCl 2.5 2.5 2.5\n'
    path.write_text(frame * 5 + "two\n" + frame)
    with pytest.raises(InputError, match="line 21 should be the number of atoms"):
        predict.predict(path, tmp_path / "o.csv", [gaps])
    assert [each.name for each in tmp_path.iterdir()] == ["in.extxyz"]


@pytest.mark.parametrize("content", ["", "broken\n" * 9])
def test_bad_data_are_told_before_a_folder_is_made(tmp_path, gaps, small, content):
    (tmp_path / "in.jsonl").write_text(content)
    with pytest.raises(InputError, match="holds no crystal"):
        predict.predict(tmp_path / "in.jsonl", tmp_path / "o.csv", [gaps])
    assert [each.name for each in tmp_path.iterdir()] == ["in.jsonl"]


def test_crystals_of_which_none_can_be_used_are_told_with_their_sources(tmp_path):
    LONELY.to(str(tmp_path / "a.cif"), fmt="cif")

    def work(table):
        return pd.DataFrame({"material_id": []}), dict.fromkeys(table.ids, "no")

    sources = [tmp_path / "a.cif", tmp_path / "a.cif"]
    with pytest.raises(InputError, match=r"none of the 2 crystals in .*a\.cif, .*a\.cif could be weighed; see"):
        write_rows_of(sources, tmp_path / "o.csv", {}, work, "weighing", "weighed", resume=False)
    assert [each.name for each in tmp_path.iterdir()] == ["a.cif"]


# Memory


@pytest.mark.slow
def test_rows_and_crystals_of_chunks_that_are_done_are_not_in_memory(tmp_path):
    """Of thirty chunks, no more than two are, crystals and rows."""
    path = tmp_path / "in.jsonl"
    line = json.dumps({"structure": salt(5.0).as_dict()}) + "\n"
    path.write_text(line * 60)
    tables, frames, most = weakref.WeakSet(), weakref.WeakSet(), []

    class Frame(pd.DataFrame):
        pass

    def work(table):
        gc.collect()
        most.append((len(tables), len(frames)))
        tables.add(Held(table))
        frame = Frame({"material_id": table.ids, "x": np.ones(len(table))})
        frames.add(Held(frame))
        return frame, {}

    held = {}

    class Held:
        """Something that lives as long as another thing, which has no hash."""

        def __init__(self, other):
            weakref.finalize(other, held.pop, id(self))
            held[id(self)] = self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "CHUNK", 2)
        written = write_rows_of(path, tmp_path / "o.csv", {}, work, "weighing", "weighed", resume=False)
    assert written.count == 60
    assert len(most) == 30
    assert max(number for pair in most for number in pair) <= 2


# reconstruct


def rebuilt(_generator, structures):
    return [
        DecodedCrystal(None if s.lattice.a > 4 else s, "too large" if s.lattice.a > 4 else "", np.zeros(1))
        for s in structures
    ]


@pytest.fixture
def rebuild(monkeypatch, tiny_model):
    """Rebuild crystals as they are, large ones not at all."""
    monkeypatch.setattr(CrystalGenerator, "reconstruct", rebuilt)
    return lambda *arguments, **options: reconstruct.reconstruct(*arguments, model=tiny_model, **options)


ENDINGS = ["json", "json.gz", "jsonl", "jsonl.gz", "parquet"]
MADE = [edge / 2**0.5 <= 4 for edge in (5 + n / 8 for n in range(7))]


@pytest.mark.parametrize("ending", ENDINGS)
def test_rebuilt_crystals_come_in_order_whatever_the_format(tmp_path, lines, rebuild, small, ending):
    pytest.importorskip("pyarrow")
    out = tmp_path / f"o.{ending}"
    found = rebuild(lines, out)
    good = [made and n != 3 for n, made in enumerate(MADE)]
    assert str(found) == f"{sum(good)} of 8 crystals gave a crystal again"
    frame = found.frame
    assert frame["material_id"].tolist() == [*IDS, "5"]
    assert [structure is not None for structure in frame["structure"]] == [*good, False]
    assert frame["reason"].tolist()[:3] == ["", "", ""]
    assert "Xe" in frame["reason"][3]
    assert frame["reason"][6] == "too large"
    assert "cannot be read as JSON" in frame["reason"][7]
    table = load_structures(out)
    assert table.ids == [name for name, made in zip(IDS, good, strict=True) if made]
    assert [s.lattice.a for s in table.structures] == pytest.approx(
        [(5 + n / 8) / 2**0.5 for n, made in enumerate(good) if made]
    )
    assert table.skipped["mp-6"] == "too large"


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_interrupted_reconstruction_goes_on_to_the_same_bytes(tmp_path, lines, rebuild, small, monkeypatch, ending):
    pytest.importorskip("pyarrow")
    rebuild(lines, tmp_path / f"whole.{ending}")
    calls = []

    def interrupted(generator, structures):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return rebuilt(generator, structures)

    with monkeypatch.context() as patch:
        patch.setattr(CrystalGenerator, "reconstruct", interrupted)
        with pytest.raises(Interrupted):
            rebuild(lines, tmp_path / f"o.{ending}")
    rebuild(lines, tmp_path / f"o.{ending}", resume=True)
    assert (tmp_path / f"o.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()


def test_no_more_is_read_than_the_limit_asks_for(tmp_path, lines, rebuild, small):
    found = rebuild(lines, tmp_path / "o.json", limit=3)
    assert found.frame["material_id"].tolist() == IDS[:3]
    assert rebuild(lines, tmp_path / "p.json", limit=6).frame["material_id"].tolist() == [*IDS[:6], "5"]


def test_another_ending_is_refused(tmp_path, lines):
    with pytest.raises(InputError, match=r"written as \.json, \.json\.gz, \.jsonl, \.jsonl\.gz or \.parquet; name a"):
        reconstruct.reconstruct(lines, tmp_path / "o.csv")


# Tables


@pytest.mark.parametrize("name", ["o.json", "o.json.gz"])
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_a_dataframe_is_written_as_at_once(tmp_path, name, count):
    crystal = salt(5.0).as_dict()
    rows = [[f"mp-{n}", crystal if n % 3 else None, "" if n % 3 else "ümlaut"] for n in range(count)]
    write_crystals(iter(rows), tmp_path / name, count)
    write_frame(pd.DataFrame(rows, columns=["material_id", "structure", "reason"]), tmp_path / f"whole-{name}")
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()


def test_many_rows_come_back_from_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    frames = (pd.DataFrame({"material_id": [f"{n}"] * 1000, "x": np.full(1000, n / 3)}) for n in range(70))
    write_numbers(frames, tmp_path / "o.parquet")
    found = pd.read_parquet(tmp_path / "o.parquet")
    assert found["x"].tolist() == [n / 3 for n in range(70) for _ in range(1000)]
    assert parquet.ParquetFile(tmp_path / "o.parquet").metadata.num_row_groups == 3
    rows = [["a", None, "x"]] * 5000
    write_crystals(rows, tmp_path / "c.parquet", 5000)
    assert len(read_crystals(tmp_path / "c.parquet")) == 5000


def test_a_table_that_cannot_be_finished_is_not_there(tmp_path):
    def frames():
        yield pd.DataFrame({"x": [1]})
        raise KeyboardInterrupt

    for name in ("o.csv", "o.parquet"):
        with pytest.raises(KeyboardInterrupt):
            write_numbers(frames(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
