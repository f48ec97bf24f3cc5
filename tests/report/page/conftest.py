"""Folders of results made by hand, and a browser."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
from functools import cache
from typing import TYPE_CHECKING

import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.generation.candidates import Candidate
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.report.folders import CANDIDATE_FILES, CandidateFolder
from icsg3d.run_folders import run_folder

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> $\\frac{x &amp; \u2028"

BROWSER_FLAGS = [
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WEBGL_FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

_PATIENCE = 180_000
"""Milliseconds; machines that test are busy, and WebGL runs without a graphics card there."""

FORMULAS = ("NaCl", "SrTiO3", "BaTiO3", "KMgF3", "MgO", "Cu2MnAl")

prototype = cache(prototype_structure)


def write_folder(folder: Path, candidates: list[Candidate], **settings) -> Path:
    with run_folder(folder, CANDIDATE_FILES, settings, holds="candidates", resume=False, overwrite=False):
        made = CandidateFolder(folder, settings)
        for candidate in candidates:
            made.add(candidate)
        made.write_tables()
    return folder


def known_candidates() -> list[Candidate]:
    """Six prototypes with numbers that tests know by heart, a repeat, a refused one and one without a crystal."""
    found = [
        Candidate(
            index,
            prototype(formula).copy(),
            base="SrTiO3",
            in_training=index % 2 == 0,
            predictions={"formation_energy_per_atom": -2.0 + 0.25 * index, "formation_energy_per_atom_std": 0.05},
            screening={"energy_above_hull": [0.3, 0.0, 0.125, 0.05, 0.2, 0.1][index], "passed": True},
        )
        for index, formula in enumerate(FORMULAS)
    ]
    found[4] = dataclasses.replace(found[4], screening={"passed": False, "failed_on": ["charges", "distances"]})
    repeat = Candidate(6, prototype("NaCl").copy(), duplicate_of=0)
    return [*found, repeat, Candidate(7, None, "the decoded cell is flat")]


@pytest.fixture
def hostile() -> str:
    return HOSTILE


@pytest.fixture(name="write_folder")
def folder_writer():
    """Write candidates as a run of the generator does."""
    return write_folder


@pytest.fixture
def candidates() -> list[Candidate]:
    return known_candidates()


@pytest.fixture
def result_folder(tmp_path, candidates) -> Path:
    return write_folder(tmp_path / "results", candidates, base="SrTiO3", seed=0)


@pytest.fixture
def hostile_folder(tmp_path) -> Path:
    """A folder in which every text that can be is an attack."""
    crystal = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    attack = Candidate(
        0,
        crystal,
        HOSTILE,
        base=HOSTILE,
        model=HOSTILE,
        predictions={HOSTILE: 1.0, "formation_energy_per_atom": -1.0},
        screening={"prototype": HOSTILE, "space_group": HOSTILE, HOSTILE: HOSTILE, "oxidation_states": {HOSTILE: 1}},
    )
    return write_folder(tmp_path / "hostile", [attack, Candidate(1, None, HOSTILE)], base=HOSTILE, model=HOSTILE)


def chromium() -> str:
    """Path of a Chromium; the test is skipped where there is none."""
    given = os.environ.get("ICSG3D_CHROMIUM")
    for name in [given] if given else ["chromium", "chromium-browser", "google-chrome"]:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("no browser here: install Debian's chromium, or name one with ICSG3D_CHROMIUM")


@pytest.fixture(scope="module")
def start_browser():
    """Start a browser with flags; each is started once, and all end with the tests."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright drives the browser")
    path = chromium()
    with sync_api.sync_playwright() as driver:
        running = {}

        def start(*flags: str):
            if flags not in running:
                running[flags] = driver.chromium.launch(
                    executable_path=path, args=[*BROWSER_FLAGS, *flags], chromium_sandbox=False
                )
            return running[flags]

        yield start
        for browser in running.values():
            browser.close()
    # Playwright runs a loop in this thread; had it not ended, workflows tested later would hang.
    asyncio.run(asyncio.sleep(0))


@pytest.fixture
def open_page(start_browser):
    """Open a page; afterwards, nothing may have been written to the console, and nothing asked of a network."""
    opened = []

    def open_it(path: Path, *, flags=tuple(WEBGL_FLAGS), anchor="", **context):
        settings = start_browser(*flags).new_context(**({"viewport": {"width": 1280, "height": 900}} | context))
        settings.set_default_timeout(_PATIENCE)
        page = settings.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
        opened.append((settings, complaints))
        page.goto(path.resolve().as_uri() + anchor)
        return page

    yield open_it
    for settings, complaints in opened:
        settings.close()
        assert complaints == []
