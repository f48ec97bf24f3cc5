"""Measure the package against the plain formulas of :mod:`benchmarks.reference`, all in one run.

python -m benchmarks.run --out runs/bench
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import icsg3d
from benchmarks.reference import algorithm_s1, density_and_species, density_and_species_in_floats
from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch
from icsg3d.crystals.structures import to_arrays
from icsg3d.data import load_structures
from icsg3d.errors import InputError
from icsg3d.files import write_atomically
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.representation.segmentation import segment_batch
from icsg3d.representation.voxels import VoxelConfig, voxelize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RESULT_FILE = "bench.json"
BATCH = 64
BASE, DRAWS = "SrTiO3", 200
THREADS = 2
"""Threads of voxelization and generation, if there are as many processors."""

VOXEL_GOAL = 1000.0
"""Times faster than the plain double loop."""

SEGMENTATION_GOAL = 8.0
"""Times faster than plain Algorithm S1."""

GENERATION_GOAL = 50.0
"""Structures a second."""

ALLOWED_DEVIATION = 1e-6
"""Largest relative deviation of a density in float64 from the plain loop's."""

PEROVSKITES = [
    f"{a}{b}{x}3"
    for x in ("O", "F")
    for a in ("Ca", "Sr", "Ba", "K", "Cs", "La")
    for b in ("Ti", "Zr", "Nb", "V", "Fe")
]
ROCK_SALTS = [f"{a}{b}" for a in ("Li", "Na", "K") for b in ("F", "Cl", "Br", "I")]
ROCK_SALTS += [f"{a}{b}" for a in ("Mg", "Ca", "Sr", "Mn") for b in ("O", "S", "Se")]
HEUSLERS = [f"{a}2{b}{c}" for a in ("Cu", "Co", "Ni", "Fe") for b in ("Mn", "Ti") for c in ("Al", "Ga")]
PRESETS = {name: VoxelConfig.preset(name) for name in ("paper", "periodic")}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was measured.
        value: Of the package.
        unit: Of value and reference.
        threads: Of the package; the plain formulas have one.
        reference: Of the plain formulas in the same run; None where there is none.
        goal: Smallest ratio, or smallest value where there is no reference; None for a figure that is shown only.
    """

    name: str
    value: float
    unit: str
    threads: int
    reference: float | None = None
    goal: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times faster than the reference."""
        return None if self.reference is None else self.reference / self.value

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        reached = self.value if self.ratio is None else self.ratio
        return None if self.goal is None else reached >= self.goal

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes with ratio and whether the goal is met."""
        return dataclasses.asdict(self) | {"ratio": self.ratio, "met": self.met}


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """Return what a call returns, and the median wall time of some calls in seconds."""
    times, result = [], None
    for _ in range(repeats):
        begin = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begin)
    return result, statistics.median(times)


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Hold torch, and the libraries that numpy calls, to a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def prototypes(formulas: Sequence[str]) -> list[CrystalArrays]:
    """Return the conventional cells of formulas, each coordinate moved by up to 0.005, the same in every run.

    In an ideal cell some voxels lie exactly between two atoms, and rounding would decide whose they are.
    """
    random = np.random.default_rng(0)
    crystals = [to_arrays(prototype_structure(formula)) for formula in formulas]
    moves = [random.uniform(-0.005, 0.005, crystal.frac_coords.shape) for crystal in crystals]
    return [
        CrystalArrays(crystal.numbers, crystal.frac_coords + move, crystal.lattice)
        for crystal, move in zip(crystals, moves, strict=True)
    ]


def voxelization(*, quick: bool, threads: int) -> tuple[list[Figure], dict[str, float]]:
    """Draw 64 five-atom crystals at once and, by the plain loop, one or two of them.

    Returns:
        Times, and how far the two differ.

    Raises:
        RuntimeError: if they differ by more than rounding.
    """
    crystals = prototypes((PEROVSKITES * 2)[:BATCH])
    plain, repeats = crystals[: 1 if quick else 2], 3 if quick else 21

    def slow(draw: Callable[..., Any], preset: str) -> tuple[list[tuple[np.ndarray, np.ndarray]], float]:
        drawn, duration = timed(lambda: [draw(crystal, PRESETS[preset]) for crystal in plain])
        return drawn, 1e3 * duration / len(plain)

    def fast(preset: str, count: int) -> float:
        work = partial(_draw, crystals, PRESETS[preset])
        with limited_threads(count):
            work()
            return 1e3 * timed(work, repeats)[1] / BATCH

    true, loop = slow(density_and_species, "paper")
    _, floats = slow(density_and_species_in_floats, "paper")
    true_periodic, loop_periodic = slow(density_and_species, "periodic")
    checks = _deviations(plain, "paper", true) | _deviations(plain, "periodic", true_periodic)
    paper, paper_one, periodic = fast("paper", threads), fast("paper", 1), fast("periodic", threads)
    unit = "ms/crystal"
    return [
        Figure("voxelization, paper 32^3, batch of 64", paper, unit, threads, loop, VOXEL_GOAL),
        Figure("- one thread", paper_one, unit, 1, loop),
        Figure("- against the loop in bare floats", paper, unit, threads, floats),
        Figure("voxelization, periodic 16^3, batch of 64, against the 32^3 loop", periodic, unit, threads, loop),
        Figure("- against the loop on the periodic 16^3 grid", periodic, unit, threads, loop_periodic),
    ], checks


def _draw(crystals: Sequence[CrystalArrays], config: VoxelConfig, dtype: torch.dtype = torch.float32) -> Any:
    return voxelize(CrystalBatch.from_arrays(crystals, dtype=dtype), config)


def _deviations(
    crystals: Sequence[CrystalArrays], preset: str, true: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Return the largest relative deviation of densities above a millionth of the peak, and of species maps."""
    checks = {}
    for precision, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        grids = _draw(crystals, PRESETS[preset], dtype)
        density, species = np.stack([d for d, _ in true]), np.stack([s for _, s in true])
        seen = density > 1e-6 * density.max()
        relative = np.abs(grids.density.numpy() - density)[seen] / density[seen]
        checks[f"{preset}, {precision}: largest relative deviation of the density"] = float(relative.max())
        checks[f"{preset}, {precision}: share of voxels with another species"] = float(
            (grids.species.numpy() != species).mean()
        )
    worst = checks[f"{preset}, float64: largest relative deviation of the density"]
    if worst > ALLOWED_DEVIATION or checks[f"{preset}, float64: share of voxels with another species"] > 0:
        msg = f"the {preset} preset and the plain loop draw different grids: {checks}"
        raise RuntimeError(msg)
    return checks


def segmentation(crystals: Sequence[CrystalArrays]) -> tuple[list[Figure], dict[str, float]]:
    """Find the atoms of true species maps: our two presets and plain Algorithm S1, each on one thread.

    Returns:
        Times, and the share of crystals in which each finds the right number of atoms.
    """
    unit = "ms/crystal"
    maps, milliseconds, right = {}, {}, {}
    counts = [len(crystal) for crystal in crystals]
    with limited_threads(1):
        for preset, config in PRESETS.items():
            batches = [CrystalBatch.from_arrays(crystals[i : i + BATCH]) for i in range(0, len(crystals), BATCH)]
            maps[preset] = [(voxelize(batch, config).species.numpy(), batch.lattice.numpy()) for batch in batches]
            segment_batch(maps[preset][0][0][:1], config, maps[preset][0][1][:1])
            found, duration = timed(
                lambda config=config, preset=preset: [
                    sites for species, cells in maps[preset] for sites in segment_batch(species, config, cells)
                ],
                repeats=3,
            )
            milliseconds[preset] = 1e3 * duration / len(crystals)
            right[f"{preset} preset"] = _share([len(sites) for sites in found], counts)
        every_map = np.concatenate([species for species, _ in maps["paper"]])
        algorithm_s1(every_map[0] > 0, every_map[0])
        atoms, duration = timed(lambda: [algorithm_s1(species > 0, species) for species in every_map])
    plain = 1e3 * duration / len(crystals)
    right["plain Algorithm S1, 32^3"] = _share([len(found) for found in atoms], counts)
    return [
        Figure("segmentation, periodic 16^3", milliseconds["periodic"], unit, 1, plain, SEGMENTATION_GOAL),
        Figure("segmentation, paper 32^3 (the same maps)", milliseconds["paper"], unit, 1, plain),
    ], {f"{name}: share of right atom counts": share for name, share in right.items()}


def _share(found: Sequence[int], true: Sequence[int]) -> float:
    return float(np.mean([a == b for a, b in zip(found, true, strict=True)]))


def generation(generator: CrystalGenerator, latent: np.ndarray, threads: int) -> tuple[list[Figure], dict[str, float]]:
    """Decode latent vectors: networks, segmentation, assembly.

    Returns:
        Structures a second, and the share of draws that gave one.
    """
    with limited_threads(threads):
        generator.decode(latent[:1])
        decoded, duration = timed(lambda: list(generator.iter_decode(latent)))
    good = sum(one.structure is not None for one in decoded)
    figure = Figure(
        "generation: decode, segment, assemble", good / duration, "structures/s", threads, goal=GENERATION_GOAL
    )
    return [figure], {"share of draws that gave a structure": good / len(latent)}


def print_table(figures: Sequence[Figure], checks: dict[str, float]) -> None:
    """Print figures and checks."""
    console = Console(width=None if sys.stdout.isatty() else 132)
    table = Table(title="icsg3d against the plain formulas, one run")
    for name in ("figure", "icsg3d", "reference", "unit", "threads", "ratio", "goal", "met"):
        table.add_column(name, justify="left" if name in {"figure", "unit"} else "right")
    for figure in figures:
        met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[figure.met]
        ratio, goal = "" if figure.ratio is None else f"{figure.ratio:,.1f}", ""
        if figure.goal is not None:
            goal = f"{figure.goal:,.0f}" + ("" if figure.ratio is None else " times")
        reference = "" if figure.reference is None else f"{figure.reference:,.2f}"
        table.add_row(
            figure.name, f"{figure.value:,.3f}", reference, figure.unit, str(figure.threads), ratio, goal, met
        )
    console.print(table)
    for name, value in checks.items():
        console.print(f"{name}: {value:.3g}", highlight=False)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "processor": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "icsg3d": icsg3d.__version__,
    }


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help=f"folder of {RESULT_FILE}")
    parser.add_argument("--quick", action="store_true", help="few crystals, to see that it runs")
    parser.add_argument("--model", default="cubic", metavar="NAME|PATH", help="generator (default: cubic)")
    parser.add_argument("--data", type=Path, help="data set to segment, instead of 100 prototype cells")
    parser.add_argument("--limit", type=int, default=300, help="crystals of --data that are taken (default: 300)")
    parser.add_argument(
        "--threads",
        type=int,
        default=min(THREADS, os.cpu_count() or 1),
        help=f"of voxelization and generation (default: {THREADS})",
    )
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    options = arguments(given)
    try:
        generator = CrystalGenerator.from_pretrained(options.model)
        latent = generator.latent_around(prototype_structure(BASE), 32 if options.quick else DRAWS, seed=0)
        if options.data is None:
            crystals = prototypes([*PEROVSKITES, *ROCK_SALTS, *HEUSLERS])
        else:
            crystals = [to_arrays(one) for one in load_structures(options.data).head(options.limit).structures]
        options.out.mkdir(parents=True, exist_ok=True)
    except (InputError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if options.quick:
        crystals = crystals[:: max(1, len(crystals) // 8)]
    parts = {
        "voxelization": voxelization(quick=options.quick, threads=options.threads),
        "segmentation": segmentation(crystals),
        "generation": generation(generator, latent, options.threads),
    }
    figures = [figure for part, _ in parts.values() for figure in part]
    checks = {name: value for _, part in parts.values() for name, value in part.items()}
    print_table(figures, checks)
    result = {
        "machine": machine(),
        "quick": options.quick,
        "segmented": {"data": options.data.name if options.data else "prototypes", "crystals": len(crystals)},
        **generator.as_dict(),
        "figures": [figure.as_dict() for figure in figures],
        "checks": checks,
    }
    write_atomically(options.out / RESULT_FILE, json.dumps(result, indent=2, allow_nan=False).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
