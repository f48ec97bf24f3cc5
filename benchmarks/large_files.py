"""Memory and speed of ``icsg3d predict`` on files of many crystals of five atoms.

python -m benchmarks.large_files --crystals 1000 50000 --out runs/large

Each number of crystals is a Parquet file (or JSON lines, with ``--format jsonl``) that is written here, predicted in a
fresh process, and removed. The crystals are perovskites of many elements and sizes, one in two of them strained.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pymatgen.core import Lattice, Structure

from icsg3d.data.parquet import write_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = ("Ca", "Sr", "Ba", "La", "K", "Rb", "Cs", "Na", "Pb", "Y")
SMALL = ("Ti", "Zr", "Sn", "Nb", "Ta", "Mn", "Fe", "Co", "Ni", "Al")
ANIONS = ("O", "F", "Cl", "Br", "I", "S")
FRAC = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
_BLOCK = 4096

_CHILD = """
import resource, sys, time
from pathlib import Path
from icsg3d.processors import settle_threads
settle_threads(int(sys.argv[4]))
from icsg3d.runs.predict import predict
started = time.perf_counter()
found = predict(Path(sys.argv[1]), Path(sys.argv[2]), [sys.argv[3]])
print(found.count, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def texts(count: int) -> Iterator[pd.DataFrame]:
    """Yield tables of crystals as JSON texts, the same for the same number."""
    random = np.random.default_rng(0)
    for start in range(0, count, _BLOCK):
        rows = []
        for number in range(start, min(start + _BLOCK, count)):
            large, small, anion = (str(random.choice(kinds)) for kinds in (LARGE, SMALL, ANIONS))
            strain = random.normal(0, 0.02, (3, 3)) * (number % 2)
            lattice = Lattice(random.uniform(3.8, 5.8) * (np.eye(3) + strain))
            crystal = Structure(lattice, [large, small, anion, anion, anion], FRAC)
            rows.append((f"made-{number}", json.dumps(crystal.as_dict())))
        yield pd.DataFrame(rows, columns=["material_id", "structure"])


def write(path: Path, count: int) -> None:
    """Write a file of crystals."""
    with path.open("wb") as file:
        if path.suffix == ".parquet":
            write_parquet(texts(count), file)
            return
        for frame in texts(count):
            for name, text in frame.itertuples(index=False):
                file.write(f'{{"material_id": "{name}", "structure": {text}}}\n'.encode())


def measure(path: Path, name: str, threads: int) -> tuple[float, float]:
    """Predict a property in a fresh process; return crystals a second, and its peak memory in MB."""
    out = path.with_name(f"{path.stem}-predicted.csv")
    command = [sys.executable, "-c", _CHILD, str(path), str(out), name, str(threads)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (our own)
    count, seconds, memory = map(float, ran.stdout.split())
    out.unlink()
    return count / seconds, memory


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=int, nargs="+", default=[1000, 50_000])
    parser.add_argument("--property", default="formation_energy_per_atom")
    parser.add_argument("--format", choices=["parquet", "jsonl"], default="parquet")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("runs/large"), help="folder of the files meanwhile")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    peaks = []
    for count in given.crystals:
        path = given.out / f"crystals-{count}.{given.format}"
        started = time.perf_counter()
        write(path, count)
        written, size = time.perf_counter() - started, path.stat().st_size / 1e6
        speed, memory = measure(path, given.property, given.threads)
        path.unlink()
        peaks.append(memory)
        print(f"{count} crystals, {size:.1f} MB of {given.format} (written in {written:.0f} s): ", end="")
        print(f"{speed:.0f} a second, a million in {1e6 / speed / 3600:.2f} h, peak {memory:.0f} MB", flush=True)
    print(f"peak of the last over that of the first: {peaks[-1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
