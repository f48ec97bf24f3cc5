"""How long a page of a thousand candidates takes to write and to open in a browser.

python -m benchmarks.page -n 1000

Needs the package playwright and Chromium, whose path ``ICSG3D_CHROMIUM`` may give.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from icsg3d.generation.candidates import Candidate
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.report.folders import CANDIDATE_FILES, CandidateFolder
from icsg3d.report.page import write_report
from icsg3d.run_folders import run_folder

FORMULAS = ("NaCl", "SrTiO3", "Cu2MnAl", "KMgF3")


def write_candidates(folder: Path, n: int) -> None:
    """Write a folder of candidates, four prototypes in turn."""
    crystals = [prototype_structure(formula) for formula in FORMULAS]
    with run_folder(folder, CANDIDATE_FILES, {}, holds="candidates", resume=False, overwrite=False):
        made = CandidateFolder(folder, {}, cifs=False)
        for index in range(n):
            energy = {"formation_energy_per_atom": -0.001 * index, "formation_energy_per_atom_std": 0.05}
            hull = {"energy_above_hull": 0.0002 * index, "passed": True, "rank": index + 1, "space_group": "Pm-3m"}
            made.add(Candidate(index, crystals[index % len(crystals)], predictions=energy, screening=hull))
        made.write_ranked(lambda: made.candidates, 0)


def seconds_to_open(page: Path, times: int) -> list[float]:
    """Return for each of several openings the seconds until the cards are drawn, in a browser that runs already."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("ICSG3D_CHROMIUM") or shutil.which("chromium")
    found = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, chromium_sandbox=False)
        for _ in range(times):
            view = browser.new_page(viewport={"width": 1280, "height": 900})
            started = time.monotonic()
            view.goto(page.resolve().as_uri())
            view.wait_for_selector(".card canvas", timeout=120_000)
            view.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => drawn()))")
            found.append(time.monotonic() - started)
            view.close()
        browser.close()
    return found


def main() -> None:
    """Write, open and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=1000, help="candidates")
    parser.add_argument("--times", type=int, default=5, help="how often the page is opened")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        write_candidates(results, arguments.n)
        started = time.monotonic()
        page = write_report(results)
        written, size = time.monotonic() - started, page.stat().st_size / 1e6
        opened = sorted(seconds_to_open(page, arguments.times))
    print(f"{arguments.n} candidates: {size:.1f} MB, written in {written:.1f} s, opened in", end=" ")
    print(", ".join(f"{seconds:.2f}" for seconds in opened), "s")


if __name__ == "__main__":
    main()
