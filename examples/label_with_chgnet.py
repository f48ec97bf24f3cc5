"""Make training data of formation energies with CHGNet: known crystals, and new ones by exchange of elements.

    python examples/label_with_chgnet.py --data mp_binary_elasticity.json.gz --references MP-PBE-Element-Refs.json.gz \
        --exchange 0 --out chgnet_labels.json.gz

The references are elemental crystals as matcalc ships them (``matcalc/elemental_refs``, BSD-3-Clause): per element, the
Materials Project's polymorphs and their energies. CHGNet's own energy of the lowest polymorph is the zero of the scale.
The result is a dataframe of crystals with ``formation_energy_per_atom`` (eV/atom), for ``icsg3d train property
--other-scale``. Needs ``pip install chgnet``.
"""

from __future__ import annotations

import argparse
import hashlib
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from chgnet.model import CHGNet
from pymatgen.core import Element, Structure
from rich.progress import track

from icsg3d.crystals.structures import from_arrays, primitive_cell, read_json, structure_from_dict
from icsg3d.data import load_structures, write_frame
from icsg3d.errors import InputError

BATCH = 64
VOLUMES = np.array([0.85, 0.92, 1.0, 1.08, 1.16])
"""Shares of the guessed volume at which an exchanged crystal is tried."""

SPREAD = 6.0
"""Standard deviation of an exchange along Pettifor's order of the elements (Mendeleev numbers)."""

MAX_ATOMS = 16
NOBLE = {"He", "Ne", "Ar", "Kr", "Xe"}


def energies(model: CHGNet, structures: list[Structure]) -> np.ndarray:
    """Return CHGNet's energies in eV/atom; NaN where an atom is isolated and CHGNet gives none."""
    values = np.full(len(structures), np.nan)
    for start in track(range(0, len(structures), BATCH), "CHGNet"):
        part = structures[start : start + BATCH]
        try:
            found = model.predict_structure(part, task="e", batch_size=BATCH)
            values[start : start + len(part)] = [float(entry["e"]) for entry in found]
        except (ValueError, RuntimeError):  # one isolated atom spoils the batch
            for row, structure in enumerate(part, start):
                try:
                    values[row] = float(model.predict_structure(structure, task="e")["e"])
                except (ValueError, RuntimeError) as error:
                    print(f"left out {structure.formula}: {str(error).splitlines()[0]}")
    return values


def references(model: CHGNet, path: Path) -> dict[str, float]:
    """Return CHGNet's energy of each element's lowest polymorph, eV/atom."""
    zero = {}
    for symbol, entry in read_json(path).items():
        lowest = int(np.argmin(entry["energy_per_atom"]))
        zero[symbol] = float(model.predict_structure(structure_from_dict(entry["structure"][lowest]), task="e")["e"])
    return zero


def exchanged(structure: Structure, known: list[str], random: np.random.Generator) -> Structure:
    """Return the crystal with some elements exchanged for similar ones, its volume scaled with their radii."""
    order = sorted(known, key=lambda symbol: Element(symbol).mendeleev_no)
    swaps = {}
    for element in structure.composition.elements:
        if element.symbol in order and random.random() < 0.7:
            place = order.index(element.symbol) + round(random.normal(0.0, SPREAD))
            swaps[element.symbol] = order[int(np.clip(place, 0, len(order) - 1))]
    new = structure.copy()
    new.replace_species(swaps)
    old_size, new_size = (sum(_radius(site.specie.symbol) ** 3 for site in s) for s in (structure, new))
    return scaled(new, 0.5 + 0.5 * new_size / old_size)


def scaled(structure: Structure, share: float) -> Structure:
    """Return the crystal with its volume multiplied."""
    return Structure(structure.lattice.scale(structure.volume * share), structure.species, structure.frac_coords)


def _radius(symbol: str) -> float:
    return float(Element(symbol).atomic_radius or 1.5)


def at_best_volume(model: CHGNet, structures: list[Structure]) -> list[Structure]:
    """Return the crystals at the volume of lowest energy, by a parabola through the best of ``VOLUMES``."""
    tried = [scaled(s, share) for s in structures for share in VOLUMES]
    found = energies(model, tried).reshape(len(structures), len(VOLUMES))
    best = []
    for structure, values in zip(structures, found, strict=True):
        if not np.isfinite(values).all():
            continue
        middle = int(np.clip(values.argmin(), 1, len(VOLUMES) - 2))
        around = slice(middle - 1, middle + 2)
        a, b, _ = np.polyfit(VOLUMES[around], values[around], 2)
        share = np.clip(-b / (2 * a), VOLUMES[0], VOLUMES[-1]) if a > 0 else VOLUMES[values.argmin()]
        best.append(scaled(structure, float(share)))
    return best


def kept_back(formula: str) -> bool:
    """Whether a formula belongs to the tenth that models are judged by (as in ``icsg3d train property``)."""
    return int(hashlib.sha256(formula.encode()).hexdigest()[:8], 16) % 10 == 0


def main() -> None:
    """Label crystals and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="crystals: dataframes, files or folders")
    parser.add_argument("--references", type=Path, required=True, help="elemental crystals, see above")
    parser.add_argument("--exchange", type=int, default=0, help="new crystals to make by exchange; 0: label as given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the dataframe, .json.gz")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    random = np.random.default_rng(arguments.seed)
    model = CHGNet.load(use_device="cpu", verbose=False)
    zero = references(model, arguments.references)
    table = load_structures(arguments.data)
    ids, structures = [], []
    for name, given in zip(table.ids, table.structures, strict=True):
        try:
            structure = from_arrays(primitive_cell(given)[0])
        except InputError as error:
            print(f"left out {name}: {error}")
            continue
        ids.append(name)
        structures.append(structure)
    if arguments.exchange:
        small = [s for s in structures if len(s) <= MAX_ATOMS]
        bases = [small[i] for i in random.integers(len(small), size=arguments.exchange)]
        structures = at_best_volume(model, [exchanged(base, sorted(set(zero) - NOBLE), random) for base in bases])
        ids = [f"exchange-{arguments.seed}-{number}" for number in range(len(structures))]
    rows = []
    for name, structure, energy in zip(ids, structures, energies(model, structures), strict=True):
        formula, shares = structure.composition.reduced_formula, structure.composition.fractional_composition
        missing = {element.symbol for element in shares} - set(zero)
        if kept_back(formula) or missing or not np.isfinite(energy):
            continue
        formation = energy - sum(share * zero[element.symbol] for element, share in shares.items())
        rows.append((name, formula, structure, formation))
    columns = ["material_id", "formula", "structure", "formation_energy_per_atom"]
    write_frame(pd.DataFrame(rows, columns=columns), arguments.out)
    print(f"{len(rows)} labelled crystals in {arguments.out}")


if __name__ == "__main__":
    main()
