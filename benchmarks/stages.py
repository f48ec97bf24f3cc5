"""Time of each stage of generation, on a CPU or one GPU, at several sizes of batch, and of judging on one thread.

python -m benchmarks.stages --model perovskites --device cuda --out runs/stages
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.run import limited_threads, machine, timed
from icsg3d.crystals.arrays import CrystalBatch
from icsg3d.crystals.structures import to_arrays
from icsg3d.crystals.symmetry import anchored, symmetrised
from icsg3d.errors import InputError
from icsg3d.files import write_atomically
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.sources import LatentDraws
from icsg3d.models.decoding import assemble
from icsg3d.representation.segmentation import segment_batch
from icsg3d.screening.batches import BATCH
from icsg3d.screening.judging import placed
from icsg3d.screening.pipeline import Judge, sized, with_energies
from icsg3d.screening.screen import checked, usable, with_symmetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from icsg3d.generation.candidates import Candidate

SIZES = (32, 128, 512)
"""Crystals of a batch."""

REPEATS = 3
"""Of each measurement; the median counts."""


def stages(generator: CrystalGenerator, size: int) -> dict[str, float]:
    """Return seconds a crystal of each stage, at one size of batch.

    Args:
        generator: On the device to measure.
        size: Crystals of a batch.
    """
    network, device = generator.vectors.network, generator.vectors.device
    latent = torch.as_tensor(generator.latent_sample(size), dtype=torch.float32, device=device)
    condition = torch.full((size,), -1, device=device)
    known = [each.structure for each in generator.decode(latent.cpu().numpy()[:64]) if each.structure is not None]
    crystals = [to_arrays(known[row % len(known)]) for row in range(size)]
    batch = CrystalBatch.from_arrays(crystals, device=device)

    def seconds(work: Callable[[], Any]) -> tuple[Any, float]:
        def waited() -> Any:
            with torch.no_grad():
                result = work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return result

        waited()
        result, duration = timed(waited, REPEATS)
        return result, duration / size

    found = {}
    (_, grid), found["voxels"] = seconds(lambda: network.draw(batch))
    _, found["encoder"] = seconds(lambda: network.encode(batch, condition))
    (grid, _), found["decoder"] = seconds(lambda: network.vae.decode(latent, condition))
    _, found["U-Net"] = seconds(lambda: network.unet(grid))
    grids, found["decoder and U-Net"] = seconds(lambda: network.decode(latent, condition))
    lattices = grids.lattice.double().cpu().numpy()
    maps = [tensor.cpu().numpy() for tensor in (grids.species, grids.atom)]
    sites, found["segmentation"] = seconds(
        lambda: segment_batch(maps[0], network.config.voxels, lattices, atom_mask=maps[1])
    )
    good = [
        each.crystal
        for each in (assemble(s.numbers, s.frac_coords, m) for s, m in zip(sites, lattices, strict=True))
        if each.crystal is not None
    ]
    tolerance = generator.symmetry_tolerance
    _, found["symmetry"] = seconds(lambda: [anchored(symmetrised(crystal, tolerance)) for crystal in good])
    return found | {"structures": len(good) / size}


def judging(generator: CrystalGenerator, size: int = 256) -> dict[str, float]:
    """Return seconds a candidate of the draw in latent space, of draw and decoding, and of each step of judging.

    Args:
        generator: On the device to measure.
        size: Candidates.
    """
    judge = Judge.load()
    source = LatentDraws(generator, None, size)
    found = {}
    _, found["latent draw"] = timed(lambda: [source.draws(first, BATCH) for first in range(0, size, BATCH)])
    drawn, found["draw and decode"] = timed(
        lambda: [each for first in range(0, size, BATCH) for each in source.candidates(range(first, first + BATCH))]
    )
    steps: dict[str, Callable[[list[Candidate]], Sequence[Candidate]]] = {
        "volume": lambda given: sized(given, judge.sizer) if judge.sizer else given,
        "symmetry": lambda given: [with_symmetry(each, judge.symmetry_tolerance) for each in given],
        "energy": lambda given: with_energies(given, judge.energy),
        "hull": lambda given: placed(given, judge.hull) if judge.hull else given,
        "checks": lambda given: [checked(each, judge.screening) for each in given],
    }
    candidates = [each for each in map(usable, drawn) if each.structure is not None]
    for name, step in steps.items():
        candidates, found[name] = timed(lambda step=step, given=candidates: list(step(given)))
    return {name: duration / size for name, duration in found.items()}


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of stages.json")
    parser.add_argument("--model", default="perovskites", metavar="NAME|PATH", help="generator")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    options = parser.parse_args(given)
    try:
        generator = CrystalGenerator.from_pretrained(options.model, options.device)
        options.out.mkdir(parents=True, exist_ok=True)
    except (InputError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    with limited_threads(options.threads):
        results = {size: stages(generator, size) for size in SIZES}
        latent = np.resize(generator.latent_sample(256), (256, generator.vectors.network.config.vae.latent))
        whole, duration = timed(lambda: list(generator.iter_decode(latent)))
    table = Table(title=f"milliseconds a crystal on {options.device}, batches of {', '.join(map(str, SIZES))}")
    for column in ("stage", *map(str, SIZES)):
        table.add_column(column)
    for stage in next(iter(results.values())):
        if stage != "structures":
            table.add_row(stage, *(f"{1e3 * results[size][stage]:.3f}" for size in SIZES))
    Console().print(table)
    with limited_threads(1):
        judged = judging(generator)
    told = ", ".join(f"{name} {1e3 * duration:.1f}" for name, duration in judged.items())
    print(f"milliseconds a candidate on one thread: {told}")
    networks = min(results[size]["decoder and U-Net"] for size in SIZES)
    rest = min(results[size]["segmentation"] + results[size]["symmetry"] for size in SIZES)
    share = results[max(SIZES)]["structures"]
    summary = {
        "structures_per_second_by_stages": share / (networks + rest),
        "structures_per_second_of_generate": sum(each.structure is not None for each in whole) / duration,
    }
    for name, value in summary.items():
        print(f"{name}: {value:.1f}")
    content = {
        "machine": machine(),
        "device": options.device,
        **generator.as_dict(),
        **summary,
        "stages": results,
        "judging": judged,
    }
    write_atomically(options.out / "stages.json", json.dumps(content, indent=2).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
