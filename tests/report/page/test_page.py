"""What the page is made of, without a browser."""

from __future__ import annotations

import base64
import gzip
import html.parser
import io
import json

import numpy as np
import pytest
from PIL import Image
from pymatgen.core import Lattice, Structure

from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.spaces import DecodedMap
from icsg3d.report.page import write_report
from icsg3d.report.page.columns import columns_of
from icsg3d.report.page.contents import read_contents
from icsg3d.report.page.grids import sprite
from icsg3d.report.page.rows import bonds_of, plain, status_and_reason, values_of
from icsg3d.report.page.writing import script_json


class Reading(html.parser.HTMLParser):
    """Texts and tags of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.scripts, self._open = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data):
        (self.scripts if self._open == "script" else self.texts).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def read(path) -> Reading:
    reading = Reading()
    reading.feed(path.read_text(encoding="utf-8"))
    return reading


def data_of(path):
    return json.loads(read(path).scripts[0])


def crystal(edge):
    return Structure(Lattice.cubic(edge), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_rows_by_hand():
    found = Candidate(
        3,
        crystal(4.0),
        in_training=True,  # "novel" of the screening looks at more, and counts
        predictions={"band_gap": float("nan"), "formation_energy_per_atom": -1.5},
        screening={"novel": True, "passed": False, "failed_on": ["charges", "repeats"], "duplicate_of": 1},
    )
    row = values_of(found, None)
    assert row["formula"] == "CsCl"
    assert row["space_group"] == "Pm-3m"
    assert row["volume_per_atom"] == pytest.approx(4.0**3 / 2)
    assert (row["a"], row["sites"], row["novelty"]) == (4.0, 2, "new")
    assert row["band_gap"] is None
    assert (row["status"], row["reason"]) == ("refused", "charges, repeats No. 1")
    assert "failed_on" not in row


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (Candidate(0, crystal(4)), ("candidate", "")),
        (Candidate(0, crystal(4), duplicate_of=5), ("repeat", "repeats No. 5")),
        (Candidate(0, None, "flat"), ("no crystal", "flat")),
        (Candidate(0, crystal(4), screening={"passed": True}), ("passed", "")),
        (Candidate(0, crystal(4), screening={"passed": False, "failed_on": "?"}), ("refused", "")),
    ],
)
def test_status(candidate, expected):
    assert status_and_reason(candidate, None) == expected


def test_plain_values():
    assert [plain(v) for v in (True, np.float32(0.5), np.int64(3), float("inf"), None, "x")] == [
        "yes",
        0.5,
        3,
        None,
        None,
        "x",
    ]
    assert plain({"Sr": 2, "O": -2.0}) == "Sr 2, O -2"
    assert plain([1, "a"]) == "1, a"


def test_known_columns_come_first_and_uncertainties_have_none():
    rows = [{"zeta": "x", "band_gap": 1.0, "band_gap_std": 0.1, "index": 0, "lonely_std": 2.0, "empty": None}]
    assert [column.key for column in columns_of(rows)] == ["index", "band_gap", "zeta", "lonely_std"]


def test_bonds_before_and_after():
    # Caesium chloride: eight equal bonds of half the body diagonal.
    [(name, count, before, after)] = bonds_of(crystal(4.0), crystal(4.2))
    assert (name, count) == ("Cs–Cl", 8)
    assert (before, after) == pytest.approx((2 * 3**0.5, 2.1 * 3**0.5), abs=1e-4)
    assert bonds_of(crystal(4.0), Structure(Lattice.cubic(4), ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])) == []
    assert bonds_of(crystal(4.0), None) == []


def test_script_json_cannot_end_its_script():
    attack = "</script><!--<script>&\u2028"
    text = script_json({attack: [attack]})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {attack: [attack]}


def test_a_sprite_has_the_planes_from_the_first_down():
    species = np.zeros((4, 6, 5), dtype=int)
    species[1, 3, 2] = 8  # x = 1 from the left, y = 3 from below, the third plane
    density = np.zeros((4, 6, 5))
    density[1, 3, 2] = 2.0
    made = sprite(DecodedMap(density, species, np.arange(5) / 5))
    pictures = {
        name: np.asarray(Image.open(io.BytesIO(base64.b64decode(made[name].partition(",")[2]))))
        for name in ("density", "species")
    }
    assert pictures["species"].shape == (5 * 6, 4)
    assert np.argwhere(pictures["species"] == 8).tolist() == [[2 * 6 + 2, 1]]
    assert np.argwhere(pictures["density"] == 255).tolist() == [[2 * 6 + 2, 1]]
    assert made["labels"] == [[], [], [["O", 1, 2]], [], []]
    assert (made["plane"], made["range"], made["shape"]) == (2, [0.0, 2.0], [4, 6, 5])


def test_the_page_has_everything_in_one_file(result_folder):
    path = write_report(result_folder)
    assert path == result_folder / "report.html"
    page = read(path)
    names = {"src", "href"}
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in names]
    assert [link for link in links if not link.startswith("#")] == ["candidates.csv"]
    assert "Redistribution" in (path.parents[0] / path.name).read_text() or "BSD-3-Clause" in page.text
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "Policy" in a.get("http-equiv", ""))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    data = data_of(path)
    assert [row["v"]["index"] for row in data["rows"]] == list(range(8))
    assert data["rows"][1]["g"]["z"].count(8) == 3
    assert {each["s"] for each in data["elements"].values()} == {
        *("Na", "Cl", "Sr", "Ti", "O", "Ba", "K", "Mg", "F", "Cu", "Mn", "Al")
    }


def test_the_same_folder_gives_the_same_bytes(result_folder):
    first = write_report(result_folder).read_bytes()
    assert write_report(result_folder).read_bytes() == first


def test_hostile_texts_are_escaped(hostile_folder):
    page = read(write_report(hostile_folder))
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 3
    assert not [attributes for tag, attributes in page.tags if tag == "img"]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_grids_and_latent_map_come_from_the_same_model(tiny_model, tmp_path, write_folder):
    generator = CrystalGenerator.from_pretrained(tiny_model)
    found = [Candidate(0, crystal(4.0), seed=1), Candidate(1, crystal(4.2), seed=1, duplicate_of=0)]
    settings = {"seed": 1, "scale": None, "condition": None, "base_structure": None, "base": ""}
    settings |= {"model": str(tiny_model), "model_sha256": generator.digest}
    path = write_report(write_folder(tmp_path / "known", found, **settings))
    sprites = data_of(path)["sprites"]
    assert set(sprites) == {"0"}
    expected = generator.decode_maps(generator.latent_sample(2, seed=1)[:1])[0].density
    low, high = sprites["0"]["range"]
    assert (low, high) == pytest.approx((expected.min(), expected.max()), abs=1e-4)
    assert "Latent space" in read(path).text
    assert "sprites" in data_of(write_report(path.parent, slices=0))
    assert data_of(path)["sprites"] == {}
    other = write_report(write_folder(tmp_path / "other", found, **(settings | {"model_sha256": "0" * 64})))
    assert "has other weights than the one that made the candidates" in read(other).text


def test_a_run_cut_off_shows_what_there_is(result_folder):
    (result_folder / "candidates.json.gz").unlink()
    lines = (result_folder / "candidates.partial.jsonl").read_text().splitlines()
    (result_folder / "candidates.partial.jsonl").write_text("\n".join(lines[:3]) + "\n" + lines[3][:50])
    path = write_report(result_folder)
    assert len(data_of(path)["rows"]) == 3
    assert "The run has not finished: 3 draws are there so far" in read(path).text


def test_an_older_or_newer_version_is_read_as_far_as_it_goes(tmp_path):
    entries = [
        {"index": 0, "structure": crystal(4.0).as_dict(), "field_of_the_future": 1},
        {"index": 1},
        {"structure": None},
        "nonsense",
    ]
    (tmp_path / "candidates.json.gz").write_bytes(gzip.compress(json.dumps(entries).encode()))
    path = write_report(tmp_path)
    assert [row["v"]["index"] for row in data_of(path)["rows"]] == [0, 1]
    assert "2 of 4 entries are left out" in read(path).text
    assert "Not known here: energies above the hull" in read(path).text


def test_damaged_files_are_named(result_folder):
    (result_folder / "candidates.json.gz").write_bytes(b"not gzip")
    (result_folder / "candidates.partial.jsonl").unlink()
    text = read(write_report(result_folder)).text
    assert "candidates.json.gz cannot be read" in text


def test_an_evaluation_shows_figures_and_pictures(tmp_path):
    (tmp_path / "reconstruction.json").write_text(
        json.dumps({"match_rate": 0.97321, "rmse": 1e-16, "sr5": 0.5, "deep": {"mean": None}})
    )
    (tmp_path / "reconstruction.csv").write_text("a\n1\n")
    Image.new("RGB", (2, 2)).save(tmp_path / "reconstruction.png")
    page = read(write_report(tmp_path))
    assert "Evaluation: reconstruction" in page.text
    assert "match rate 97.32 %" in page.text
    assert "root-mean-square displacement / (V/N)^(1/3) 0.0000" in page.text
    assert "finds among the lowest 5 % 50.00 %" in page.text
    assert "deep: mean unknown" in page.text
    assert [a["src"][:22] for tag, a in page.tags if tag == "img"] == ["data:image/png;base64,"]
    assert not page.scripts  # nothing to turn: no viewer


@pytest.mark.parametrize("exists", [True, False])
def test_other_folders_are_refused(tmp_path, exists):
    folder = tmp_path if exists else tmp_path / "none"
    with pytest.raises(InputError, match="holds nothing that icsg3d wrote" if exists else "there is no folder"):
        write_report(folder)


def test_slices_out_of_range_are_refused(result_folder):
    with pytest.raises(InputError, match="0 to 32"):
        write_report(result_folder, slices=33)


def validation_document():
    """Two validated candidates of which one failed, one that was screened out, as validate writes them."""
    rows = [
        {
            "candidate": {
                "index": 4,
                "structure": crystal(4.0).as_dict(),
                "predictions": {"formation_energy_per_atom": -1.9},
            },
            "relaxed": crystal(4.2).as_dict(),
            "formation_energy_per_atom": -2.0,
            "delta_e_form": 0.1,
            "delta_bonds_percent": 5.0,
            "flags": ["sulfide"],
            "state": "finished",
        },
        {"candidate": {"index": 2, "structure": None}, "state": "failed", "reason": "diverged"},
        {"candidate": 3},
    ]
    screened = [{"index": 9, "structure": None, "screening": {"passed": False, "failed_on": ["no crystal"]}}]
    return {"engine": {"name": "emt", "versions": {"ase": "3"}}, "rows": rows, "screened_out": screened}


def test_a_validation_beside_the_papers(tmp_path):
    (tmp_path / "validation.json.gz").write_bytes(gzip.compress(json.dumps(validation_document()).encode()))
    path = write_report(tmp_path)
    page, rows = read(path), data_of(path)["rows"]
    assert [row["v"]["index"] for row in rows] == [2, 4, 9]
    assert [row["v"]["status"] for row in rows] == ["validated: failed", "validated: finished", "no crystal"]
    assert rows[1]["v"]["computed_energy"] == -2
    assert rows[1]["bonds"] == [["Cs–Cl", 8, 3.4641, 3.6373]]
    assert "Engine: emt (ase 3)" in page.text
    assert "mean |ΔE formation| 0.100 eV/atom" in page.text
    # The paper states 1.99 eV/atom and 5.99 % for its Table S1.
    assert "mean |ΔE formation|, paper's Table S1 1.994 eV/atom" in page.text
    assert "1 entries of validation.json.gz are of another version" in page.text


def test_contents_name_what_a_validation_lacks(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"holds": "a validation", "top": 3}))
    assert read_contents(tmp_path).missing == ("The validation has not finished: there is no validation.json.gz yet.",)
