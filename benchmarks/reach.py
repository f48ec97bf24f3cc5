"""Judge property models on crystals they did not learn from, the elements, and the volumes of lowest energy.

python -m benchmarks.reach --data DIR --models DIR
python -m benchmarks.reach --data DIR  # the shipped models

Crystals are those of ``mp20_val.npz``, without those whose formula and space group a crystal of ``mp_structures.npz``
has, or one of the older sets that the property was learned from; the tenth of the formulas of ``mp_structures.npz`` and
of the older sets that is held out; all elemental crystals of ``mp_structures.npz``; and, for volumes, crystals of
``mp20_val.npz`` with at most eight atoms, whether or not they were learned.

Shares within one and two sigma are cross-fitted where the model's uncertainties were fitted to these crystals: each
half of the formulas is judged by a fit to the other (:mod:`benchmarks.cross_fitting`).
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.cross_fitting import cross_fitted_sigmas
from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.elements import N_CLASSES
from icsg3d.crystals.structures import primitive_cell
from icsg3d.data import load_structures
from icsg3d.data.compact_arrays import CompactCrystals, read_compact, reduced_formula
from icsg3d.data.targets import is_held_out
from icsg3d.errors import InputError
from icsg3d.hull import ReferenceHull
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.representation.description import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

ENERGY = "formation_energy_per_atom"
HALOGENIDES = {"I": 53}
NO_REACH = {1, 2, 7, 10, 18, 36, 54}
"""H, N and the noble gases."""

OLDER = {
    ENERGY: ("mp_perovskites", "oqmd_heuslers", "wbm_random"),
    "band_gap": ("mp_perovskites",),
    "bulk_modulus": ("mp_binary_elasticity",),
    "shear_modulus": ("mp_binary_elasticity",),
    "poisson_ratio": ("mp_binary_elasticity",),
    "dielectric_electronic": ("mp_dielectric",),
    "refractive_index": ("mp_dielectric",),
    "eij_max": ("mp_piezo",),
}
LEARNED = OLDER | {"band_gap": ("mp_perovskites", "mp_dielectric")}
"""Older sets that a property was learned from, but for the formulas that are held out."""

OTHER_SCALE = {(ENERGY, "mp_perovskites"), (ENERGY, "oqmd_heuslers")}
"""Sets whose values are on another scale, so that no uncertainty was fitted to them."""

VALIDATION = "mp20_val"
SUSPECTS = Path(__file__).parents[1] / "examples" / "suspect_labels.csv"
LOGARITHMIC = {"bulk_modulus", "shear_modulus"}
FACTORS = np.linspace(0.96, 1.04, 9)
"""Of the lattice parameters, at which the energy is looked at for its minimum."""


@dataclass(frozen=True)
class Judged:
    """Crystals with true values.

    Attributes:
        name: Of the set.
        crystals: Cells.
        values: In the property's unit.
        ids: A name of each, where they are needed.
    """

    name: str
    crystals: Sequence[CrystalArrays]
    values: np.ndarray
    ids: Sequence[str] = ()


def predicted(predictor: PropertyPredictor, crystals: Sequence[CrystalArrays]) -> tuple[np.ndarray, np.ndarray]:
    """Return values and uncertainties, NaN where a crystal is refused."""
    config = predictor.model.config.network.graph
    values, stds = np.full((2, len(crystals)), np.nan)
    for start in range(0, len(crystals), 512):
        rows, made = [], []
        for row in range(start, min(start + 512, len(crystals))):
            try:
                made.append(describe(crystals[row], config))
                rows.append(row)
            except InputError:
                continue
        if rows:
            found = predictor.predict_graphs(made)
            values[rows], stds[rows] = found.values, found.stds
    return values, stds


def cross_fitted(predictor: PropertyPredictor, sets: Sequence[Judged]) -> dict[str, np.ndarray]:
    """Return cross-fitted uncertainties as multiples of the model's, for each set that these were fitted to."""
    name = predictor.property.name
    fitted = [each for each in sets if each.name != VALIDATION and (name, each.name) not in OTHER_SCALE]
    if predictor.model.uncertainty is None or not fitted:
        return {}
    with SUSPECTS.open(newline="") as file:
        suspect = {row["material_id"] for row in csv.DictReader(file)} if name == ENERGY else set()
    crystals = [crystal for each in fitted for crystal in each.crystals]
    true = np.concatenate([each.values for each in fitted])
    learned = np.array([each.ids[i] not in suspect for each in fitted for i in range(len(each.values))])
    ends = np.cumsum([len(each.values) for each in fitted])[:-1]
    parts = np.split(cross_fitted_sigmas(predictor, crystals, true, learned), ends)
    return {each.name: part for each, part in zip(fitted, parts, strict=True)}


def row_of(predictor: PropertyPredictor, judged: Judged, factors: np.ndarray | None = None) -> dict[str, object]:
    """Return mean and median absolute error and shares within one and two sigma, each sigma times a factor if given."""
    values, stds = predicted(predictor, judged.crystals)
    stds = stds if factors is None else stds * factors
    name = predictor.property.name
    errors = np.abs(values - judged.values)
    shown = np.abs(np.log10(values) - np.log10(judged.values)) if name in LOGARITHMIC else errors
    good = np.isfinite(errors)
    return {
        "property": f"log10 {name}" if name in LOGARITHMIC else name,
        "set": judged.name,
        "crystals": int(good.sum()),
        "mae": float(shown[good].mean()),
        "median": float(np.median(shown[good])),
        "one_sigma": float((errors <= stds)[good].mean()),
        "two_sigma": float((errors <= 2 * stds)[good].mean()),
        "sigmas": "of the model" if factors is None else "cross-fitted",
        "refused": int((~good).sum()),
    }


def held_out_of(data: CompactCrystals, name: str, label: str) -> Judged:
    """Return the crystals of formulas that are held out."""
    values = data.column(name)
    formulas = data.formulas
    rows = [] if values is None else [i for i in np.flatnonzero(np.isfinite(values)) if is_held_out(formulas[i])]
    rows = [i for i in rows if len(np.unique(data.crystal(i).numbers)) > 1]
    if values is None:
        return Judged(label, [], np.empty(0))
    return Judged(label, [data.crystal(i) for i in rows], values[rows], [data.ids[i] for i in rows])


def validation(folder: Path, learned: CompactCrystals, name: str) -> Judged:
    """Return the crystals of ``mp20_val.npz`` that are not, as formula and space group, in the data of a property."""
    data = read_compact(folder / "mp20_val.npz")
    values = data.columns[name]
    known = set(zip(learned.formulas, learned.columns["space_group"].tolist(), strict=True))
    for source in LEARNED[name]:
        frame = load_structures(folder / f"{source}.json.gz").frame
        frame = frame[np.isfinite(frame[name].to_numpy(float)) & ~frame["formula"].map(is_held_out)]
        known |= set(zip(frame["formula"], frame["space_group_number"].astype(int), strict=True))
    names = zip(data.formulas, data.columns["space_group"].tolist(), strict=True)
    rows = [i for i, each in enumerate(names) if each not in known and np.isfinite(values[i])]
    return Judged(VALIDATION, [data.crystal(i) for i in rows], values[rows], [data.ids[i] for i in rows])


def judged_sets(folder: Path, learned: CompactCrystals, name: str) -> list[Judged]:
    """Return the sets of crystals that judge a model of a property."""
    sets = [held_out_of(learned, name, "mp_structures, held out")]
    if name in (ENERGY, "band_gap"):
        sets.append(validation(folder, learned, name))
    sets += [older(folder, source, name) for source in OLDER[name]]
    return [each for each in sets if len(each.values)]


def older(folder: Path, source: str, name: str) -> Judged:
    """Return the crystals of an older set whose formulas are held out, as primitive cells."""
    table = load_structures(folder / f"{source}.json.gz")
    values = table.frame[name].to_numpy(float)
    rows = [i for i, s in enumerate(table.structures) if is_held_out(s.composition.reduced_formula)]
    cells = [primitive_cell(table.structures[i])[0] for i in rows]
    return Judged(source, cells, values[rows], [table.ids[i] for i in rows])


def on_own_scale(predictor: PropertyPredictor, folder: Path, source: str) -> dict[str, object]:
    """Return the errors on the held-out formulas of an older set after constants per element.

    The set has other references or corrections; the constants are fitted to the residuals of the formulas that are not
    held out, with a small penalty.
    """
    table = load_structures(folder / f"{source}.json.gz")
    true = table.frame[predictor.property.name].to_numpy(float)
    apart = np.array([is_held_out(s.composition.reduced_formula) for s in table.structures])
    cells = [primitive_cell(structure)[0] for structure in table.structures]
    values, stds = predicted(predictor, cells)
    shares = np.zeros((len(cells), N_CLASSES))
    for row, cell in enumerate(cells):
        np.add.at(shares[row], cell.numbers, 1 / len(cell))
    residuals, good = true - values, np.isfinite(values)
    for_fit = good & ~apart
    gram = shares[for_fit].T @ shares[for_fit] + 0.1 * np.eye(N_CLASSES)
    constants = np.linalg.solve(gram, shares[for_fit].T @ residuals[for_fit])
    errors = np.abs(residuals - shares @ constants)[good & apart]
    sigmas = stds[good & apart]
    return {
        "property": predictor.property.name,
        "set": f"{source}, constants per element",
        "crystals": len(errors),
        "mae": float(errors.mean()),
        "median": float(np.median(errors)),
        "one_sigma": float((errors <= sigmas).mean()),
        "two_sigma": float((errors <= 2 * sigmas).mean()),
        "sigmas": "of the model",
    }


def elements(predictor: PropertyPredictor, data: CompactCrystals) -> list[dict[str, object]]:
    """Return the errors on ground states, on all elemental crystals, and the worst."""
    energies = data.columns[ENERGY]
    kinds = [np.unique(data.crystal(i).numbers) for i in range(len(data))]
    rows = [i for i, z in enumerate(kinds) if len(z) == 1 and int(z[0]) not in NO_REACH and np.isfinite(energies[i])]
    values, _ = predicted(predictor, [data.crystal(i) for i in rows])
    errors = np.abs(values - energies[rows])
    ground = np.abs(energies[rows]) < 1e-3
    return [
        {"property": ENERGY, "set": "elements, ground states", "crystals": int(ground.sum()),
         "mae": float(errors[ground].mean()), "worst": float(errors[ground].max())},
        {"property": ENERGY, "set": "elements, all", "crystals": len(rows), "mae": float(errors.mean()),
         "worst": float(errors.max())},
    ]  # fmt: skip


def hull_distances(predictor: PropertyPredictor, folder: Path, learned: CompactCrystals) -> dict[str, object]:
    """Return the errors of distances from the shipped hull by predicted energies, against the published ones."""
    data = read_compact(folder / "mp20_val.npz")
    published = dict(zip(data.ids, data.columns["e_above_hull"], strict=True))
    judged = validation(folder, learned, ENERGY)
    some = np.random.default_rng(0).permutation(len(judged.crystals))[:1000]
    values, _ = predicted(predictor, [judged.crystals[i] for i in some])
    hull = ReferenceHull.shipped()
    errors = np.array(
        [
            abs(
                hull.place(reduced_formula(judged.crystals[i].numbers), value).energy_above_hull
                - published[judged.ids[i]]
            )
            for i, value in zip(some, values, strict=True)
        ]
    )
    return {"property": ENERGY, "set": "distance from the hull, mp20_val", "crystals": len(errors),
            "mae": float(errors.mean()), "median": float(np.median(errors))}  # fmt: skip


def volumes(predictor: PropertyPredictor, folder: Path, count: int) -> list[dict[str, object]]:
    """Return the median deviation of the volume of lowest energy, over all crystals and over iodides."""
    data = read_compact(folder / "mp20_val.npz")
    small = np.flatnonzero(data.atoms <= 8)
    iodides = [i for i in small if HALOGENIDES["I"] in data.crystal(i).numbers][:count]
    some = np.random.default_rng(0).permutation(small)[:count]
    made = []
    for label, rows in (("volume of the minimum, %", some), ("volume of the minimum, iodides, %", iodides)):
        found = [least_volume(predictor, data.crystal(int(i))) for i in rows]
        inside = np.array([v for v in found if v is not None])
        off = 100 * np.abs(inside - 1)
        made.append(
            {"property": ENERGY, "set": label, "crystals": len(rows), "median": float(np.median(off)),
             "mae": float(off.mean()), "bias": float(100 * np.median(inside - 1)), "without": len(rows) - len(inside)}
        )  # fmt: skip
    return made


def least_volume(predictor: PropertyPredictor, crystal: CrystalArrays) -> float | None:
    """Return the volume of lowest energy as a share of the crystal's; None if there is no minimum within 12 %."""
    cells = [CrystalArrays(crystal.numbers, crystal.frac_coords, crystal.lattice * factor) for factor in FACTORS]
    energies, _ = predicted(predictor, cells)
    lowest = int(np.argmin(energies))
    if lowest in {0, len(FACTORS) - 1} or not np.isfinite(energies).all():
        return None
    a, b, _ = np.polyfit(FACTORS[lowest - 1 : lowest + 2], energies[lowest - 1 : lowest + 2], 2)
    return float((-b / (2 * a)) ** 3)


def main() -> None:
    """Judge the models and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--models", type=Path, help="folder of model folders, instead of the shipped ones")
    parser.add_argument("--property", nargs="+", default=list(OLDER), help="which properties")
    parser.add_argument("--volumes", type=int, default=300, help="crystals whose volume of lowest energy is looked for")
    parser.add_argument("--out", type=Path, help="JSON file of the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    learned = read_compact(arguments.data / "mp_structures.npz")
    rows: list[dict[str, object]] = []
    for name in arguments.property:
        predictor = PropertyPredictor.from_pretrained(arguments.models / name if arguments.models else name)
        sets = judged_sets(arguments.data, learned, name)
        factors = cross_fitted(predictor, sets)
        rows += [row_of(predictor, each, factors.get(each.name)) for each in sets]
        if name == ENERGY:
            rows += [on_own_scale(predictor, arguments.data, each) for each in ("mp_perovskites", "oqmd_heuslers")]
            rows.append(hull_distances(predictor, arguments.data, learned))
            rows += elements(predictor, learned) + volumes(predictor, arguments.data, arguments.volumes)
        if arguments.out:
            arguments.out.write_text(json.dumps(rows, indent=1))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, title="python -m benchmarks.reach")
    for row in rows:
        table.add_row(*(f"{row[c]:.4f}" if isinstance(row.get(c), float) else str(row.get(c, "")) for c in columns))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
