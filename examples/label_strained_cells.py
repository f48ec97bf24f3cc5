"""Make training data of strained and displaced crystals: the shape of CHGNet's energies around known crystals.

    python examples/label_strained_cells.py --data mp_structures.npz --out strained.npz

Of each chosen crystal several cells are made: two with another volume (-12 to +12 %), one with a shear as well, and one
with displaced atoms. A cell's label is the crystal's own energy plus the difference of CHGNet's energies of the cell
and the crystal, so the level stays that of the data and only the shape of the curve is CHGNet's. Crystals are taken
from the smallest up; formulas that are held out are left out. Needs ``pip install chgnet``.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from chgnet.model import CHGNet

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.structures import from_arrays
from icsg3d.data.compact_arrays import CompactCrystals, read_compact, write_compact
from icsg3d.data.targets import is_held_out

ENERGY = "formation_energy_per_atom"
SHEAR = 0.03
"""Standard deviation of the components of a strain."""


def strained(crystal: CrystalArrays, volume: float, strain: np.ndarray, moved: np.ndarray) -> CrystalArrays:
    """Return a crystal with another cell and displaced atoms.

    Args:
        crystal: To start from.
        volume: Share of the crystal's volume that the cell gets.
        strain: Symmetric strain without volume change to first order, shape (3, 3).
        moved: Displacements in angstrom, shape (N, 3).
    """
    lattice = crystal.lattice @ (np.eye(3) + strain)
    lattice = lattice * (volume * abs(np.linalg.det(crystal.lattice) / np.linalg.det(lattice))) ** (1 / 3)
    return CrystalArrays(crystal.numbers, crystal.frac_coords + moved @ np.linalg.inv(lattice), lattice)


def variants(crystal: CrystalArrays, random: np.random.Generator) -> list[CrystalArrays]:
    """Return the crystal itself and four cells around it."""
    none, still = np.zeros((3, 3)), np.zeros((len(crystal), 3))
    shear = random.normal(0.0, SHEAR, (3, 3))
    shear = (shear + shear.T) / 2
    shear -= np.eye(3) * np.trace(shear) / 3
    small, large = random.uniform(0.88, 0.99), random.uniform(1.01, 1.12)
    moved = random.normal(0.0, random.uniform(0.02, 0.12), (len(crystal), 3))
    return [
        crystal,
        strained(crystal, small, none, still),
        strained(crystal, large, none, still),
        strained(crystal, random.uniform(0.94, 1.06), shear, still),
        strained(crystal, random.uniform(0.94, 1.06), none, moved),
    ]


def chosen(data: CompactCrystals, count: int, random: np.random.Generator) -> np.ndarray:
    """Return rows with an energy and a formula that may be learned: small cells first, by chance among like sizes."""
    energies = data.columns[ENERGY]
    rows = [i for i, formula in enumerate(data.formulas) if np.isfinite(energies[i]) and not is_held_out(formula)]
    sizes = data.atoms[rows] + random.uniform(0.0, 6.0, len(rows))
    return np.array(rows)[np.argsort(sizes)[:count]]


def main() -> None:
    """Label cells and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="compact arrays with formation energies")
    parser.add_argument("--count", type=int, default=2500, help="crystals around which cells are made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="compact arrays to write, .npz")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    random = np.random.default_rng(arguments.seed)
    data = read_compact(arguments.data)
    model = CHGNet.load(use_device="cpu", verbose=False)
    made: list[tuple[str, CrystalArrays, float]] = []
    rows = chosen(data, arguments.count, random)
    for start in range(0, len(rows), 20):
        part = rows[start : start + 20]
        cells = [variants(data.crystal(row), random) for row in part]
        try:
            found = model.predict_structure([from_arrays(c) for each in cells for c in each], task="e", batch_size=100)
        except (ValueError, RuntimeError) as error:  # an isolated atom spoils the batch
            print(f"left out {len(part)} crystals: {str(error).splitlines()[0][:80]}")
            continue
        energies = np.array([float(cast("Any", each)["e"]) for each in found]).reshape(len(part), -1)
        for row, own, values in zip(part, cells, energies, strict=True):
            for number in range(1, len(own)):
                energy = data.columns[ENERGY][row] + values[number] - values[0]
                made.append((f"{data.ids[row]}-strained-{number}", own[number], float(energy)))
        if start % 200 == 0:
            print(f"{start + len(part)} of {len(rows)}", flush=True)
            _write(made, arguments.out)
    _write(made, arguments.out)


def _write(made: list[tuple[str, CrystalArrays, float]], out: Path) -> None:
    ids, crystals, energies = zip(*made, strict=True)
    write_compact(CompactCrystals.of(ids, crystals, {ENERGY: np.array(energies)}), out)


if __name__ == "__main__":
    main()
