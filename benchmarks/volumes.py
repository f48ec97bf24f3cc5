"""Judge the model of equilibrium volumes on formulas it did not learn from, whole and by anion.

python -m benchmarks.volumes --data DIR --model runs/volume/model
python -m benchmarks.volumes --data DIR  # the shipped model

Crystals are the tenth of the formulas of the PBE sets that is held out, and those of ``mp20_val.npz`` of such formulas.
Each is judged as it is, and shaken as crystals are that a decoder gives: atoms displaced, the cell strained.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from icsg3d.crystals.elements import symbols
from icsg3d.crystals.structures import from_arrays, primitive_cell
from icsg3d.data import load_structures
from icsg3d.data.compact_arrays import read_compact
from icsg3d.data.targets import is_held_out
from icsg3d.errors import InputError
from icsg3d.models.volume import volume_per_atom
from icsg3d.properties.volume import VolumePredictor
from icsg3d.training.volumes import shaken

if TYPE_CHECKING:
    from icsg3d.crystals.arrays import CrystalArrays

PBE = ("mp_perovskites", "mp_binary_elasticity", "mp_dielectric", "mp_piezo", "wbm_random")
ANIONS = ("O", "F", "Cl", "Br", "I", "S", "Se", "Te", "N")
LARGEST = 20


def held_out_crystals(folder: Path) -> dict[str, list[CrystalArrays]]:
    """Return primitive cells of held-out formulas by source."""
    found: dict[str, list[CrystalArrays]] = {"PBE sets": []}
    for name in PBE:
        for structure in load_structures(folder / f"{name}.json.gz").structures:
            if not is_held_out(structure.composition.reduced_formula):
                continue
            try:
                cell = primitive_cell(structure)[0]
            except InputError:
                continue
            if len(cell) <= LARGEST:
                found["PBE sets"].append(cell)
    data = read_compact(folder / "mp20_val.npz")
    found["mp20_val"] = [data.crystal(i) for i, formula in enumerate(data.formulas) if is_held_out(formula)]
    return found


def row_of(name: str, crystals: list[CrystalArrays], predictor: VolumePredictor) -> list[str]:
    """Return number, median and 90 % of the relative errors, mean error with its sign, and shares within sigma."""
    true = np.array([volume_per_atom(crystal) for crystal in crystals])
    found = predictor.predict([from_arrays(crystal) for crystal in crystals])
    known = np.isfinite(found.values)
    signed = (found.values[known] - true[known]) / true[known]
    ratio = np.abs(found.values[known] - true[known]) / found.stds[known]
    errors = np.abs(signed)
    shares = f"{100 * (ratio <= 1).mean():.0f} / {100 * (ratio <= 2).mean():.0f}"
    figures = (np.median(errors), np.quantile(errors, 0.9), np.median(signed))
    return [name, str(known.sum()), *(f"{100 * value:.2f}" for value in figures), shares]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="volume", help="name or folder")
    given = parser.parse_args()
    predictor = VolumePredictor.from_pretrained(given.model)
    table = Table("crystals", "number", "median error / %", "90 % within / %", "bias / %", "within 1 / 2 sigma / %")
    for source, crystals in held_out_crystals(given.data).items():
        table.add_row(*row_of(source, crystals, predictor))
        moved = [shaken(crystal, np.random.default_rng((1, row))) for row, crystal in enumerate(crystals)]
        table.add_row(*row_of(f"{source}, shaken", moved, predictor))
        for anion in ANIONS:
            number = symbols().index(anion)
            own = [crystal for crystal in crystals if number in crystal.numbers]
            if own:
                table.add_row(*row_of(f"{source} with {anion}", own, predictor))
    Console().print(table)


if __name__ == "__main__":
    main()
