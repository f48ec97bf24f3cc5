"""Measure graphs and property models against the plain CGCNN of :mod:`benchmarks.cgcnn`.

python -m benchmarks.properties speed --data perov5_train.json.gz
python -m benchmarks.properties predictions --data perov5_train.json.gz
python -m benchmarks.properties perov5 --data perov5_train.json.gz
python -m benchmarks.properties accuracy --data DIR --cgcnn DIR
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks.cgcnn import PlainData, cut_graph, plain_graph, train_plain
from icsg3d.crystals.structures import to_arrays
from icsg3d.data import load_structures
from icsg3d.data.targets import is_held_out
from icsg3d.models.cgcnn import read_cgcnn
from icsg3d.models.crystal_graph import CrystalGraphConfig
from icsg3d.models.properties import PROPERTY_FORMAT, PropertyModelConfig, load_property_model
from icsg3d.models.targets import PROPERTIES, unknown_property
from icsg3d.pretrained import find
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.representation.graphs import CrystalGraph, GraphBatch, GraphSet, crystal_graph
from icsg3d.training.data import PropertySet
from icsg3d.training.ensembles import errors, train_ensemble
from icsg3d.training.properties import PropertyOptions, from_scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pymatgen.core import Structure

    from icsg3d.models.properties import PropertyModel

TRAINING, VALIDATION = 3000, 392
OFFICIAL = {
    "formation_energy_per_atom": "formation-energy-per-atom",
    "band_gap": "band-gap",
    "bulk_modulus": "bulk-moduli",
    "shear_modulus": "shear-moduli",
    "poisson_ratio": "poisson-ratio",
}
JUDGED = [
    ("formation_energy_per_atom", "mp_perovskites", 0.05),
    ("formation_energy_per_atom", "oqmd_heuslers", 0.06),
    ("formation_energy_per_atom", "wbm_random", 0.11),
    ("band_gap", "mp_perovskites", 0.40),
    ("bulk_modulus", "mp_binary_elasticity", 0.070),
    ("shear_modulus", "mp_binary_elasticity", 0.105),
    ("poisson_ratio", "mp_binary_elasticity", 0.036),
    ("dielectric_electronic", "mp_dielectric", 1.1),
    ("refractive_index", "mp_dielectric", 0.16),
    ("eij_max", "mp_piezo", None),
]


def timed(work: Callable[[], Any], repeats: int = 3) -> float:
    """Return the median wall time of some calls in seconds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random rows to learn from, to choose by and to judge by."""
    order = np.random.default_rng(seed).permutation(count)
    return order[:TRAINING], order[TRAINING : TRAINING + VALIDATION], order[TRAINING + VALIDATION :]


def heats(path: Path) -> tuple[list[Structure], np.ndarray, PropertySet]:
    """Return structures, heats and graphs of Perov-5."""
    table = load_structures(path)
    values = table.frame["heat_ref"].to_numpy(float)
    graphs = GraphSet.from_graphs([crystal_graph(to_arrays(s)) for s in table.structures])
    formulas = [s.composition.reduced_formula for s in table.structures]
    return table.structures, values, PropertySet(graphs, values, table.ids, formulas, np.zeros(len(values), dtype=int))


def one_epoch(
    crystals: PropertySet,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    preset: str,
    epochs: int,
    start: PropertyModel | None = None,
    members: int = 1,
    **options: Any,
) -> tuple[dict[str, float], float]:
    """Train networks, from others if given, and return its errors on the last part, and seconds an epoch."""
    training, test = crystals.subset(rows[0]), crystals.subset(rows[2])
    config = PropertyModelConfig(unknown_property("heat_ref"), CrystalGraphConfig.preset(preset), members)  # type: ignore[arg-type]
    settings = PropertyOptions(from_scratch(epochs, options.pop("learning_rate", 2e-3)), **options)
    marks = [time.perf_counter()]
    with tempfile.TemporaryDirectory() as folder:
        model = train_ensemble(
            config,
            training,
            test,
            Path(folder),
            settings,
            start=start,
            report=lambda: marks.append(time.perf_counter()),
        )
    return errors(model, test), float(np.median(np.diff(marks)[1:] if epochs > 2 else np.diff(marks)))


def speed(arguments: argparse.Namespace) -> list[tuple[str, str, str, str]]:
    """Measure graphs, epochs and predictions."""
    structures, values, crystals = heats(arguments.data)
    rows: list[tuple[str, str, str, str]] = []
    for cell, size in (((1, 1, 1), 5), ((2, 2, 1), 20)):
        chosen = [s * cell for s in structures[:50]]
        ours = timed(lambda chosen=chosen: [crystal_graph(to_arrays(s)) for s in chosen]) / 50
        plain = timed(lambda chosen=chosen: [plain_graph(s) for s in chosen], 1) / 50
        rows.append((f"graph of {size} atoms", f"{1e3 * ours:.3f} ms", f"{1e3 * plain:.2f} ms", f"{plain / ours:.0f}"))
    parts = split(len(values), 0)
    with threadpool_limits(1):
        torch.set_num_threads(1)
        _, plain = train_plain(PlainData(structures), values, parts, seed=0, epochs=3, batch_size=256)
        for preset in ("paper", "cgcnn", "gated"):
            _, ours = one_epoch(crystals, parts, preset, 4, batch_size=256)
            rows.append((f"epoch of Perov-5, {preset}", f"{ours:.2f} s", f"{plain:.2f} s", f"{plain / ours:.1f}"))
    return rows


def predictions(arguments: argparse.Namespace) -> list[tuple[str, str, str, str]]:
    """Measure predictions of each shipped property for 1,000 crystals of five atoms, structures to numbers."""
    structures = load_structures(arguments.data).structures[:1000]
    torch.set_num_threads(arguments.threads)
    rows = []
    for name in PROPERTIES:
        predictor = PropertyPredictor.from_pretrained(arguments.models / name if arguments.models else name)
        seconds = timed(lambda predictor=predictor: predictor.predict(structures))
        rows.append((f"{name} of {len(structures)} crystals", f"{seconds:.2f} s (goal 4)", "", ""))
    return rows


def perov5(arguments: argparse.Namespace) -> list[tuple[str, str, str, str]]:
    """Learn the heats of Perov-5 with both networks on the same splits."""
    structures, values, crystals = heats(arguments.data)
    torch.set_num_threads(1)
    plain_data = PlainData(structures)
    start = None if arguments.start is None else load_property_model(find(arguments.start, PROPERTY_FORMAT))[0]
    rate = 2e-3 if start is None else 1e-3
    rows = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        parts = split(len(values), seed)
        ours, seconds = one_epoch(
            crystals, parts, "gated", arguments.epochs, start, arguments.members, seed=seed, learning_rate=rate
        )
        plain, plain_seconds = train_plain(plain_data, values, parts, seed=seed)
        name = f"heat_ref, seed {seed} ({seconds:.1f} and {plain_seconds:.1f} s an epoch)"
        rows.append((name, f"{ours['mae']:.4f}", f"{plain:.4f}", f"{plain / ours['mae']:.2f}"))
        print(rows[-1], flush=True)
    return rows


def official(folder: Path | None, name: str, graphs: Sequence[CrystalGraph]) -> np.ndarray | None:
    """Return what the official weights predict, in the property's unit, None where there are none."""
    if folder is None or name not in OFFICIAL:
        return None
    model = read_cgcnn(folder / f"{OFFICIAL[name]}.pth.tar", folder / "atom_init.json", PROPERTIES[name])
    with torch.no_grad():
        return np.array([float(model(GraphBatch.from_graphs([graph]))[0]) for graph in graphs])


def accuracy(arguments: argparse.Namespace) -> list[tuple[str, str, str, str]]:
    """Judge the shipped models by the formulas held out, beside the official weights on the same crystals."""
    rows = []
    for name, source, goal in JUDGED:
        table = load_structures(arguments.data / f"{source}.json.gz")
        chosen = [i for i, s in enumerate(table.structures) if is_held_out(s.composition.reduced_formula)]
        structures = [table.structures[i] for i in chosen]
        true = table.frame[name].to_numpy(float)[chosen]
        predictor = PropertyPredictor.from_pretrained(arguments.models / name if arguments.models else name)
        found = predictor.predict(structures)
        theirs = official(arguments.cgcnn, name, [cut_graph(s) for s in structures])
        logarithmic = name in {"bulk_modulus", "shear_modulus"}

        def error(values: np.ndarray | None, true: np.ndarray = true, *, logs: bool = logarithmic) -> float:
            if values is None:
                return np.nan
            a, b = (np.log10(values), np.log10(true)) if logs else (values, true)
            return float(np.abs(a - b).mean())

        ratios = np.abs(found.values - true) / found.stds
        within = f"{(ratios <= 1).mean():.0%} / {(ratios <= 2).mean():.0%}"
        label = f"{'log10 ' if logarithmic else ''}{name}, {source} ({len(chosen)})"
        median = error(np.full(len(true), np.median(true)))
        target = 0.8 * median if goal is None else goal
        rows.append((label, f"{error(found.values):.4f} (goal {target:.3g})", f"{error(theirs):.4f}", within))
        rows.append((f"  predicting the median {median:.3f}", "", "", ""))
        print(rows[-2], flush=True)
    return rows


def main() -> None:
    """Run one of the measurements and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "predictions", "perov5", "accuracy"])
    parser.add_argument("--data", type=Path, required=True, help="perov5_train.json.gz; for accuracy the folder of all")
    parser.add_argument("--cgcnn", type=Path, help="folder of the official weights and atom_init.json")
    parser.add_argument("--models", type=Path, help="folder of models, instead of the shipped ones")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--start", help="property model whose networks perov5 starts from")
    parser.add_argument("--members", type=int, default=1, help="networks of an ensemble for perov5")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--threads", type=int, default=2, help="threads of predictions")
    parser.add_argument("--out", type=Path, help="JSON file of the table")
    arguments = parser.parse_args()
    measured = {"speed": speed, "predictions": predictions, "perov5": perov5, "accuracy": accuracy}
    rows = measured[arguments.what](arguments)
    last = "within 1 / 2 sigma" if arguments.what == "accuracy" else "ratio"
    table = Table("figure", "icsg3d", "reference", last, title=f"python -m benchmarks.properties {arguments.what}")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
