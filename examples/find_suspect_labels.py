"""Find energies of compact arrays that look wrong, such as those of another polymorph, by two models that agree.

    python examples/find_suspect_labels.py --data mp_structures.npz --out suspect_labels.csv --jobs 2

A label is suspect where the shipped network and CHGNet, which learned the Materials Project's energies on the crystals
they were computed for, both miss it by more than ``--by``, to the same side. CHGNet is asked for those only that the
network misses, and for a sample: its total energies become formation energies by constants per element that are fitted
to the labels of the sample, with the ones that are farthest off left out. Elements are not suspected: both models
have been wrong about cubic polymorphs of metals.
``icsg3d train property --set left_out=suspect_labels.csv`` then learns without them. Needs ``pip install chgnet``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from icsg3d.crystals.elements import N_CLASSES
from icsg3d.crystals.structures import from_arrays
from icsg3d.data.compact_arrays import CompactCrystals, read_compact
from icsg3d.files import write_atomically
from icsg3d.progress import track
from icsg3d.properties.predictor import PropertyPredictor

ENERGY = "formation_energy_per_atom"
PART = 200
"""Crystals that a process takes at a time."""

SAMPLE = 3000
"""Crystals whose labels the network does not miss, to which the constants are fitted."""

FAMILIAR = 0.9
"""Share of these labels, those that CHGNet misses least, that the constants are fitted to at last."""


def chgnet_energies(path: Path, rows: np.ndarray) -> np.ndarray:
    """Return CHGNet's energies per atom of some crystals, NaN where it finds an isolated atom."""
    from chgnet.model import CHGNet  # each process loads it by itself

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    data, model = read_compact(path), CHGNet.load(use_device="cpu", verbose=False)
    energies = np.full(len(rows), np.nan)
    for start in range(0, len(rows), 50):
        crystals = [from_arrays(data.crystal(int(row))) for row in rows[start : start + 50]]
        try:
            found = cast("Any", model.predict_structure(crystals, task="e", batch_size=50))
        except (ValueError, RuntimeError):  # an isolated atom spoils the batch
            continue
        energies[start : start + len(crystals)] = [float(each["e"]) for each in found]
    return energies


def shares_of(data: CompactCrystals, rows: np.ndarray) -> np.ndarray:
    """Return the share of each element in some crystals, shape (n, 95)."""
    shares = np.zeros((len(rows), N_CLASSES))
    for place, row in enumerate(rows):
        numbers = data.crystal(int(row)).numbers
        np.add.at(shares[place], numbers, 1 / len(numbers))
    return shares


def constants(totals: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the constants per element, shape (95,), that bring formation energies to total ones."""
    keep, found = np.isfinite(totals), np.zeros(shares.shape[1])
    for _ in range(3):
        gram = shares[keep].T @ shares[keep] + 1e-3 * np.eye(shares.shape[1])
        found = np.linalg.solve(gram, shares[keep].T @ (totals - labels)[keep])
        missed = np.abs(totals - shares @ found - labels)
        keep = missed < np.nanquantile(missed, FAMILIAR)
    return found


def by_network(data: CompactCrystals, rows: np.ndarray) -> np.ndarray:
    """Return the shipped network's formation energies of some crystals, NaN where it takes one for none."""
    predictor = PropertyPredictor.from_pretrained(ENERGY)
    parts = np.array_split(rows, 1 + len(rows) // PART)
    return np.concatenate(
        [
            predictor.predict_possible([from_arrays(data.crystal(int(i))) for i in part]).values
            for part in track(parts, "network")
        ]
    )


def by_chgnet(path: Path, rows: np.ndarray, jobs: int) -> np.ndarray:
    """Return CHGNet's total energies of some crystals by several processes."""
    parts = np.array_split(rows, 1 + len(rows) // PART)
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = pool.map(chgnet_energies, [path] * len(parts), parts)
        return np.concatenate(list(track(running, "CHGNet", total=len(parts))))


def main() -> None:
    """Compare labels with two models and write those that look wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="compact arrays with formation energies")
    parser.add_argument("--by", type=float, default=0.15, help="what both models miss a suspect label by, eV/atom")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, required=True, help="table to write, .csv")
    arguments = parser.parse_args()
    data = read_compact(arguments.data)
    labels = data.columns[ENERGY]
    rows = np.flatnonzero(np.isfinite(labels))
    network = by_network(data, rows)
    missed = np.abs(network - labels[rows]) > arguments.by
    sample = np.random.default_rng(0).permutation(np.flatnonzero(~missed))[:SAMPLE]
    asked = np.concatenate([np.flatnonzero(missed), sample])
    totals, shares = by_chgnet(arguments.data, rows[asked], arguments.jobs), shares_of(data, rows[asked])
    fitted = np.arange(len(asked)) >= missed.sum()
    chgnet = totals - shares @ constants(totals[fitted], labels[rows[asked]][fitted], shares[fitted])
    table = pd.DataFrame(
        {
            "material_id": [data.ids[i] for i in rows[asked]],
            "formula": [data.formulas[i] for i in rows[asked]],
            "space_group": data.columns["space_group"][rows[asked]].astype(int),
            "label": labels[rows[asked]].round(4),
            "chgnet": chgnet.round(4),
            "network": network[asked].round(4),
        }
    )
    misses = np.stack([table["chgnet"] - table["label"], table["network"] - table["label"]])
    compound = (shares > 0).sum(1) > 1
    suspect = (np.abs(misses) > arguments.by).all(0) & (misses[0] * misses[1] > 0) & compound
    write_atomically(arguments.out, table[suspect].sort_values("material_id").to_csv(index=False).encode())
    print(f"{suspect.sum()} of {len(rows)} labels look wrong: {arguments.out}")


if __name__ == "__main__":
    main()
