"""Make training data of crystals with exchanged elements, labelled by CHGNet: what a network should know of the unmade.

    python examples/label_exchanged_crystals.py --data mp_structures.npz --without mp20_val.npz --out exchanged.npz

Databases hold mostly what is stable; a generator draws what may not be. Of each chosen crystal, one to all of its
elements are exchanged, each for one near it on Pettifor's scale (pymatgen's Mendeleev numbers), and the cell is brought
to its equilibrium volume by the shipped model. The label is CHGNet's formation energy against its own elements;
``icsg3d train property --teacher`` learns such labels with constants per element and leaves them out of its last
epochs. Formulas that are held out, and those of ``--without``, are never made. Needs ``pip install chgnet``.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from chgnet.model import CHGNet
from pymatgen.core import Element, Structure

from icsg3d.crystals.structures import from_arrays, to_arrays
from icsg3d.data.compact_arrays import CompactCrystals, read_compact, write_compact
from icsg3d.data.targets import is_held_out
from icsg3d.progress import track
from icsg3d.properties.volume import VolumePredictor
from icsg3d.workflows.elements import shipped_energies
from icsg3d.workflows.engines import engine_named

if TYPE_CHECKING:
    from collections.abc import Mapping

ENERGY = "formation_energy_per_atom"
REACH = 5.0
"""Mean distance of an exchanged element on Pettifor's scale."""

LARGEST = 12
"""Atoms of the primitive cell."""

BATCH = 50


def neighbours_of(symbol: str, known: list[str]) -> tuple[list[str], np.ndarray]:
    """Return the other elements, and how probable each is instead of one: the nearer on Pettifor's scale the more."""
    others = [other for other in known if other != symbol]
    steps = np.array([abs(Element(other).mendeleev_no - Element(symbol).mendeleev_no) for other in others])
    weights = np.exp(-steps / REACH)
    return others, weights / weights.sum()


def exchanged(crystal: Structure, known: list[str], random: np.random.Generator) -> Structure:
    """Return a crystal with one to all of its elements exchanged, no two for the same."""
    present = [element.symbol for element in crystal.composition.elements]
    chosen = random.permutation(present)[: random.integers(1, len(present) + 1)]
    mapping: dict[str, str] = {symbol: symbol for symbol in present if symbol not in chosen}
    for symbol in chosen:
        others, weights = neighbours_of(str(symbol), known)
        free = np.array([other not in mapping.values() for other in others])
        mapping[str(symbol)] = str(random.choice(others, p=weights * free / (weights * free).sum()))
    copy = crystal.copy()
    copy.replace_species(mapping)
    return copy


def candidates(
    data: CompactCrystals, elements: Mapping[str, float], without: set[str], count: int, seed: int
) -> list[Structure]:
    """Return crystals with exchanged elements, each formula and space group once, at their equilibrium volumes."""
    random = np.random.default_rng(seed)
    known = sorted(symbol for symbol in elements if not Element(symbol).is_noble_gas)
    rows = np.flatnonzero(data.atoms <= LARGEST)
    groups = data.columns["space_group"]
    made: dict[tuple[str, int], Structure] = {}
    while len(made) < count:
        row = int(random.choice(rows))
        crystal = from_arrays(data.crystal(row))
        if len(crystal.composition) < 2 or not {e.symbol for e in crystal.composition.elements} <= set(known):
            continue
        new = exchanged(crystal, known, random)
        formula = new.composition.reduced_formula
        if formula not in without and not is_held_out(formula):
            made.setdefault((formula, int(groups[row])), new)
    volumes = VolumePredictor.from_pretrained()
    parts = [list(made.values())[start : start + BATCH] for start in range(0, len(made), BATCH)]
    settled = [each for part in track(parts, "equilibrium volumes") for each in volumes.settle(part)]
    return [each for each in settled if each is not None]


def main() -> None:
    """Make crystals, label and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="compact arrays of crystals to start from")
    parser.add_argument("--without", type=Path, action="append", default=[], help="compact arrays of formulas to avoid")
    parser.add_argument("--count", type=int, default=20_000, help="crystals to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="compact arrays to write, .npz")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    without = {formula for path in arguments.without for formula in read_compact(path).formulas}
    elements = shipped_energies(engine_named("chgnet").document())
    crystals = candidates(read_compact(arguments.data), elements, without, arguments.count, arguments.seed)
    model = CHGNet.load(use_device="cpu", verbose=False)
    labelled: list[tuple[Structure, float]] = []
    for start in track(range(0, len(crystals), BATCH), "labels"):
        part = crystals[start : start + BATCH]
        try:
            found = model.predict_structure(part, task="e", batch_size=BATCH)
        except (ValueError, RuntimeError) as error:  # an isolated atom spoils the batch
            print(f"left out {len(part)} crystals: {str(error).splitlines()[0][:80]}")
            continue
        for crystal, each in zip(part, found, strict=True):
            own = sum(elements[site.specie.symbol] for site in crystal) / len(crystal)
            labelled.append((crystal, float(cast("Any", each)["e"]) - own))
    energies = np.array([energy for _, energy in labelled])
    ids = [f"exchanged-{number}" for number in range(len(labelled))]
    write_compact(CompactCrystals.of(ids, [to_arrays(c) for c, _ in labelled], {ENERGY: energies}), arguments.out)


if __name__ == "__main__":
    main()
