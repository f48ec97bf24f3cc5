"""Free draws of a generator beside real crystals, and other real crystals beside these: what is a good figure at all.

python -m benchmarks.beside_real mp20_val.npz --model materials -n 1000 --out runs/beside.json

A part of a table of real crystals, chosen at random, is what draws at their equilibrium volumes are compared with, as
``icsg3d evaluate generation`` does it: all draws, those of two or three elements, as the table has no others, and other
crystals of the table. Recall grows with the number of draws and precision with that of real crystals, so the last
column says what the others can reach.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from icsg3d.bars import bars
from icsg3d.crystals.structures import from_arrays
from icsg3d.data.compact_arrays import read_compact
from icsg3d.evaluation.fingerprints import fingerprints
from icsg3d.evaluation.generation import CUTOFFS, report
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.progress import track
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.volume import VolumePredictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from icsg3d.evaluation.fingerprints import Fingerprint


def prints_of(structures: Sequence[Structure], text: str) -> list[Fingerprint | None]:
    """Return fingerprints, with a progress bar."""
    return list(track(fingerprints(structures, 1), text, len(structures)))


def main() -> None:
    """Draw, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="compact table (.npz) of real crystals of two or three elements")
    parser.add_argument("--model", default="materials")
    parser.add_argument("-n", type=int, default=1000, help="draws")
    parser.add_argument("--real", type=int, default=1200, help="real crystals, drawn at random")
    parser.add_argument("--other", type=int, default=600, help="other real crystals, in the place of draws")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the figures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    crystals = read_compact(given.table).crystals
    rows = np.random.default_rng(given.seed).permutation(len(crystals))[: given.real + given.other]
    chosen = [from_arrays(crystals[row]) for row in rows]
    real, others = chosen[: given.real], chosen[given.real :]
    predictor = PropertyPredictor.from_pretrained("formation_energy_per_atom")
    generator = CrystalGenerator.from_pretrained(given.model)
    with bars():
        drawn = [each.structure for each in generator.sample(given.n, seed=given.seed) if each.structure is not None]
        settled = VolumePredictor.from_pretrained().settle(drawn)
        made = [each or as_drawn for each, as_drawn in zip(settled, drawn, strict=True)]
        prints = prints_of(made, "fingerprints of draws")
        of_real = prints_of(real, "fingerprints of real crystals")
        few = [row for row, each in enumerate(made) if len(each.composition.elements) in (2, 3)]
        parts = {
            "all draws": (given.n, made, prints),
            "of two or three elements": (len(few), [made[row] for row in few], [prints[row] for row in few]),
            "other real crystals": (len(others), others, prints_of(others, "fingerprints of other real crystals")),
        }
        found: dict[str, dict[str, Any]] = {
            name: report(
                count,
                some,
                theirs,
                real,
                of_real,
                cutoffs=CUTOFFS["mp20"],
                predictor=predictor,
                jobs=1,
                seed=given.seed,
            ).figures
            for name, (count, some, theirs) in parts.items()
        }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1))
    table = Table("", *found, title="python -m benchmarks.beside_real")
    for name in found["all draws"]:
        values = [each[name] for each in found.values()]
        table.add_row(name, *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in values))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
