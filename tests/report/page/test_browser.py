"""The page in a real browser."""

from __future__ import annotations

import csv
import time

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from icsg3d.generation.candidates import Candidate
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.report.page import write_report


def numbers(page) -> list[int]:
    """Numbers of the candidates in the table, from the top."""
    return [int(text) for text in page.locator("#table tbody tr td:first-child").all_text_contents()]


def test_a_page_opens_with_its_cards_in_order_of_energy(result_folder, open_page):
    page = open_page(write_report(result_folder))
    assert page.title() == "Candidates around SrTiO3 - icsg3d"
    assert page.locator(".card").count() == 8
    # 0.0, 0.05, 0.1, 0.125 and 0.3 eV/atom; then those without an energy, by number.
    assert page.locator(".card .no").all_text_contents() == [f"No. {n}" for n in (1, 3, 5, 2, 0, 4, 6, 7)]
    assert page.locator("#count").text_content() == "8 of 8 candidates"
    assert page.locator("svg").count() == 2  # hull, elements
    drawn = page.evaluate(
        "() => { const c = document.querySelector('.card canvas'); "
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v) }"
    )
    assert drawn


def test_the_table_sorts_both_ways_and_filters(result_folder, open_page):
    page = open_page(write_report(result_folder))
    page.click("#view-table")
    page.click("thead button[data-key=index]")
    assert numbers(page) == list(range(8))
    page.click("thead button[data-key=index]")
    assert numbers(page) == list(range(7, -1, -1))
    assert page.get_attribute("thead th >> nth=0", "aria-sort") == "descending"
    page.click("thead button[data-key=energy_above_hull]")
    assert numbers(page) == [1, 3, 5, 2, 0, 4, 6, 7]
    page.click("thead button[data-key=energy_above_hull]")
    assert numbers(page) == [0, 2, 5, 3, 1, 4, 6, 7]  # what is unknown stays last
    page.fill("#search", "Ti O -Ba")
    assert numbers(page) == [1]
    page.fill("#search", "charges")
    assert numbers(page) == [4]
    page.fill("#search", "")
    page.select_option("#status", "repeat")
    assert numbers(page) == [6]
    page.select_option("#status", "")
    page.select_option("#range-column", "energy_above_hull")
    page.fill("#range-high", "0.1")
    assert sorted(numbers(page)) == [1, 3, 5]
    page.fill("#range-low", "0.05")
    assert sorted(numbers(page)) == [3, 5]
    with page.expect_download() as download:
        page.click("#download-table")
    with open(download.value.path(), newline="") as file:  # noqa: PTH123 (a path of playwright)
        rows = list(csv.DictReader(file))
    assert {(row["index"], row["energy_above_hull"]) for row in rows} == {("3", "0.05"), ("5", "0.1")}


def pixels(page) -> np.ndarray:
    """What the viewer shows, as the bytes of a screenshot."""
    page.wait_for_timeout(150)
    return np.frombuffer(page.screenshot(clip=page.locator("#viewer").bounding_box()), dtype=np.uint8)


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    return len(one) != len(other) or bool((one != other).any())


@pytest.mark.slow
def test_a_crystal_turns_by_keys_mouse_and_button(result_folder, open_page):
    page = open_page(write_report(result_folder))
    page.click(".card >> nth=0")
    assert page.get_attribute("#viewer", "data-fallback") is None
    assert page.evaluate("() => !!document.querySelector('#viewer div canvas')")
    first = pixels(page)
    assert not differ(first, pixels(page))
    page.focus("#viewer")
    page.keyboard.press("ArrowRight")
    second = pixels(page)
    assert differ(first, second)
    box = page.locator("#viewer").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 120, steps=4)
    page.mouse.up()
    third = pixels(page)
    assert differ(second, third)
    page.click("#turn")
    page.wait_for_timeout(500)
    page.click("#turn")
    fourth = pixels(page)
    assert differ(third, fourth)
    assert not differ(fourth, pixels(page))
    page.click("#reset")
    assert not differ(first, pixels(page))


def test_without_webgl_the_picture_stands_in_and_turns(result_folder, open_page):
    page = open_page(write_report(result_folder), flags=("--disable-gpu", "--disable-3d-apis"))
    page.click(".card >> nth=0")
    assert page.get_attribute("#viewer", "data-fallback") == "picture"
    assert "no WebGL" in page.locator("#viewer-note").text_content()
    first = pixels(page)
    page.focus("#viewer")
    page.keyboard.press("ArrowRight")
    assert differ(first, pixels(page))


@pytest.mark.slow
def test_a_cif_downloads_and_is_the_same_crystal(result_folder, open_page, candidates, tmp_path):
    page = open_page(write_report(result_folder), anchor="#no-1")
    assert page.locator("#detail").is_visible()
    with page.expect_download() as download:
        page.click("#cif-download")
    assert download.value.suggested_filename == "00001_SrTiO3.cif"
    path = tmp_path / "saved.cif"
    download.value.save_as(path)
    found = Structure.from_file(path)
    assert StructureMatcher(scale=False, primitive_cell=False).fit(found, candidates[1].structure)
    assert found.lattice.parameters == pytest.approx(candidates[1].structure.lattice.parameters, abs=1e-6)
    assert page.locator("#cif").text_content() == path.read_text()


@pytest.mark.slow
def test_the_keyboard_does_everything(result_folder, open_page):
    page = open_page(write_report(result_folder))
    page.focus("#search")
    page.keyboard.type("Ti")
    page.focus(".card >> nth=0")
    page.keyboard.press("Enter")
    title = page.locator("#detail-title")
    assert title.text_content() == "SrTiO3 · No. 1"
    page.focus("#detail-close")
    page.keyboard.press("ArrowRight")
    assert title.text_content() == "BaTiO3 · No. 2"
    page.keyboard.press("Escape")
    assert page.locator("#detail").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_in_either_scheme(result_folder, open_page, width, scheme):
    page = open_page(write_report(result_folder), viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
    page.click("#view-table")
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 30)"}[scheme]


def test_hostile_texts_stay_texts(hostile_folder, hostile, open_page):
    page = open_page(write_report(hostile_folder))
    page.click("#view-table")
    page.click("#table tbody tr >> nth=0")
    page.wait_for_timeout(300)
    assert page.evaluate("() => window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
    assert hostile in page.locator("#values").text_content()
    assert page.title().split() == f"Candidates around {hostile} - icsg3d".split()


@pytest.mark.slow
def test_a_thousand_candidates_open_in_time(tmp_path, write_folder, open_page):
    crystals = [prototype_structure(formula) for formula in ("NaCl", "SrTiO3", "Cu2MnAl", "KMgF3")]
    many = [
        Candidate(index, crystals[index % 4], predictions={"formation_energy_per_atom": -0.001 * index})
        for index in range(1000)
    ]
    path = write_report(write_folder(tmp_path / "many", many))
    started = time.monotonic()
    page = open_page(path)
    page.wait_for_selector(".card canvas")
    opened = time.monotonic() - started
    assert page.locator(".card").count() == 24
    assert page.locator(".card .no >> nth=0").text_content() == "No. 999"
    page.click("#page-on")
    assert page.locator(".card .no >> nth=0").text_content() == "No. 975"
    # benchmarks/page.py measures it, under a second; this bound only tells a page that draws all of them at once.
    assert opened < 30
