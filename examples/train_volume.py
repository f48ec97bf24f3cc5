"""Train a model of equilibrium volumes.

    python examples/train_volume.py --data ../shared/data --out runs/volume

Scale 0, whose volumes the model gives, are data sets computed with PBE alone; the others get constants per element of
their own, as they hold volumes of other functionals: mp_structures (PBE and r2SCAN mixed), oqmd_heuslers and
Perov-5 (RPBE). A tenth of all formulas, chosen by a hash, is held out of all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from icsg3d.crystals.structures import from_arrays, primitive_cell
from icsg3d.data.compact_arrays import read_compact
from icsg3d.data.frames import read_frame
from icsg3d.data.targets import is_held_out
from icsg3d.errors import InputError
from icsg3d.models.properties import PROPERTY_FORMAT, PropertyModelConfig, load_property_model
from icsg3d.models.volume import VOLUME
from icsg3d.pretrained import find
from icsg3d.pretrained.packing import TrainingRecord, describe_file, pack_volume_model
from icsg3d.training.data import PropertySet
from icsg3d.training.ensembles import errors, train_ensemble
from icsg3d.training.properties import PropertyOptions, from_scratch
from icsg3d.training.uncertainty import cross_fitted, with_uncertainty
from icsg3d.training.volumes import volume_set

if TYPE_CHECKING:
    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.models.environment_net import EnvironmentNetConfig

PBE = ("mp_perovskites", "mp_binary_elasticity", "mp_dielectric", "mp_piezo", "wbm_random")
SOURCES = (*((name, 0) for name in PBE), ("mp_structures", 1), ("oqmd_heuslers", 2), ("perov5_cdvae_train", 3))
LARGEST = 20
"""Atoms of the primitive cell."""


def read_crystals(folder: Path, name: str) -> tuple[list[CrystalArrays], list[str], Path]:
    """Return primitive cells, ids and the file of a data set, compact arrays or a dataframe."""
    path = folder / f"{name}.npz"
    if path.is_file():
        data = read_compact(path)
        return [data.crystal(row) for row in range(len(data))], list(data.ids), path
    path = folder / f"{name}.json.gz"
    frame = read_frame(path)
    crystals, names = [], []
    for name_, structure in zip(frame["material_id"], frame["structure"], strict=True):
        try:
            cell = primitive_cell(structure)[0]
        except InputError:
            continue
        if len(cell) <= LARGEST:
            crystals.append(cell)
            names.append(str(name_))
    return crystals, names, path


def make_sets(folder: Path, network: EnvironmentNetConfig, seed: int) -> tuple[PropertySet, PropertySet, list[dict]]:
    """Return the crystals to learn from, those held out of scale 0, and a description of the files."""
    training, held_out, files = [], [], []
    for name, scale in SOURCES:
        crystals, ids, path = read_crystals(folder, name)
        formulas = [from_arrays(c).composition.reduced_formula for c in crystals]
        files.append(describe_file(path, "training" if scale == 0 else "other scale", len(ids)))
        apart = np.array([is_held_out(formula) for formula in formulas])
        # Every other crystal is shaken, so that those that a decoder gives are at home too.
        for shake, parity in ((None, 0), (seed, 1)):
            rows = np.flatnonzero(~apart & (np.arange(len(ids)) % 2 == parity))
            training.append(_chosen(rows, crystals, ids, formulas, network, scale, shake))
        if scale == 0:
            held_out.append(_chosen(np.flatnonzero(apart), crystals, ids, formulas, network, scale, None))
    return PropertySet.joined(training), PropertySet.joined(held_out), files


def _chosen(
    rows: np.ndarray,
    crystals: list[CrystalArrays],
    ids: list[str],
    formulas: list[str],
    network: EnvironmentNetConfig,
    scale: int,
    shake: int | None,
) -> PropertySet:
    chosen = ([each[row] for row in rows] for each in (crystals, ids, formulas))
    return volume_set(*chosen, network.graph, scale=scale, shake=shake)


def main() -> None:
    """Train, judge and pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and of the model")
    parser.add_argument("--start", default="formation_energy_per_atom", help="model whose networks are the start")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--notes", type=Path, help="Markdown to add to the model card")
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    started = time.monotonic()
    start = load_property_model(find(given.start, PROPERTY_FORMAT))[0]
    network = dataclasses.replace(cast("EnvironmentNetConfig", start.config.network), pooling="atomic")
    options = PropertyOptions(from_scratch(given.epochs, given.learning_rate), 128, seed=given.seed)
    training, held_out, files = make_sets(given.data, network, given.seed)
    print(f"{len(training)} crystals to learn from, {len(held_out)} held out", flush=True)
    model = train_ensemble(
        PropertyModelConfig(VOLUME, network, given.members),
        training,
        held_out,
        given.out,
        options,
        start=start,
        accelerator="cpu",
        resume=given.resume,
    )
    model = with_uncertainty(model, training, held_out, given.seed)
    metrics = {"crystals": len(held_out), **errors(model, held_out), **cross_fitted(model, held_out)}
    command = shlex.join(["python", *(a for a in sys.argv if a != "--resume")])
    record = TrainingRecord(
        command, files, dataclasses.asdict(options), time.monotonic() - started, platform.machine(), metrics
    )
    notes = "" if given.notes is None else given.notes.read_text()
    digest = pack_volume_model(model, training, given.out / "model", record, notes)
    print(digest, metrics, flush=True)


if __name__ == "__main__":
    main()
