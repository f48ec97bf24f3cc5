"""Memory and rate of long runs of ``icsg3d generate`` beside short ones, and what the list itself costs.

``python -m benchmarks.at_scale -n 1000 20000`` draws with the shipped model, each number in a process of its own. With
``--simulated`` draws are crystals made up in a millisecond and energies by chance: what is left is the list, repeats,
rows on disk and tables, so that a hundred thousand take minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pymatgen.core import Lattice, Structure

_MIB = 1024
"""KiB in a MiB: the unit in which Linux tells of memory."""

_ELEMENTS = (
    "Li",
    "Na",
    "K",
    "Rb",
    "Mg",
    "Ca",
    "Sr",
    "Ba",
    "Sc",
    "Y",
    "Ti",
    "Zr",
    "V",
    "Nb",
    "Cr",
    "Mn",
    "Fe",
    "Co",
    "Ni",
)
_ANIONS = ("O", "S", "Se", "F", "Cl", "Br", "N")


class MadeUp:
    """Perovskites of random elements by number, near the volume of their formula, as draws are once they are sized."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def candidates(self, numbers: list[int]) -> Any:
        """Yield the crystals of some numbers."""
        from icsg3d.generation.candidates import Candidate

        sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
        for number in numbers:
            rng = random.Random(number)  # noqa: S311 (crystals)
            first, second = rng.sample(_ELEMENTS, 2)
            kinds = [first, second, *[rng.choice(_ANIONS)] * 3]
            edge = random.Random("".join(kinds)).uniform(3.8, 5.2) * rng.uniform(0.999, 1.001)  # noqa: S311 (crystals)
            yield Candidate(number, Structure(Lattice.cubic(edge), kinds, sites), model="made up")


class Chance:
    """Judges by chance; six of ten pass."""

    def __init__(self) -> None:
        from icsg3d.screening.screen import Screening

        self.screening, self.base = Screening(), None

    def assess(self, candidates: Any) -> list[Any]:
        """Return candidates with energies."""
        import dataclasses

        found = []
        for each in candidates:
            rng = random.Random(-1 - each.index)  # noqa: S311 (energies)
            passed = rng.random() < 0.6
            energies = {"energy_above_hull": rng.uniform(0, 0.5), "formation_energy_per_atom": rng.uniform(-3, 0)}
            energies |= {f"{name}_std": 0.05 for name in energies}
            told = {"passed": passed, "failed_on": [] if passed else ["charges"], "space_group": "Pm-3m"}
            found.append(dataclasses.replace(each, predictions=energies, screening=told))
        return found

    def tell(self, kept: Any) -> list[Any]:
        """Return candidates as they are."""
        return list(kept)

    def as_dict(self) -> dict[str, str]:
        """Return what identifies the judge."""
        return {"judge": "chance"}


def simulate(n: int, keep: int, out: Path) -> None:
    """Fill a list with made-up draws and write its tables."""
    from icsg3d.report.folders import CandidateFolder
    from icsg3d.runs.judged import judge_into

    out.mkdir()
    found, _ = judge_into(CandidateFolder(out, {"n": n}, cifs=False), MadeUp(n), Chance(), keep)  # type: ignore[arg-type]
    print(found)


def measured(command: list[str]) -> SimpleNamespace:
    """Return wall time in seconds and peak memory in MiB of a command in a process of its own.

    Raises:
        RuntimeError: if it fails.
    """
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 (ours)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {status}")
    return SimpleNamespace(seconds=time.monotonic() - begun, peak=usage.ru_maxrss / _MIB)


def command(n: int, given: argparse.Namespace, out: Path) -> list[str]:
    """Return the command of a run."""
    if given.simulated:
        return [sys.executable, "-m", "benchmarks.at_scale", "--child", str(n), str(given.keep), str(out)]
    own = ["--jobs", str(given.jobs), "--no-relax", "--no-picture", "--out", str(out)]
    own += ["--keep", str(given.keep)] if n > given.keep else []
    return [sys.executable, "-m", "icsg3d", "generate", "--model", given.model, "-n", str(n), *own]


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        simulate(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "-n", type=int, nargs="+", default=[1000, 20_000], help="numbers of draws, the first the reference"
    )
    parser.add_argument("--keep", type=int, default=100, help="candidates to keep")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--model", default="cubic", help="generator")
    parser.add_argument("--simulated", action="store_true", help="made-up draws and energies")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = measured(command(1, given, Path(folder) / "start")).seconds
        reference: tuple[float, float] | None = None
        for n in given.n:
            out = Path(folder) / str(n)
            found = measured(command(n, given, out))
            rate = n / (found.seconds - start)
            size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / n / 1000
            reference = reference or (found.peak, rate)
            print(
                f"{n:>8} draws: {found.seconds:.0f} s, {rate:.1f} a second ({rate / reference[1]:.2f} of the first), "
                f"peak {found.peak:.0f} MiB ({found.peak / reference[0]:.2f} of the first), {size:.1f} kB a draw",
                flush=True,
            )


if __name__ == "__main__":
    main()
