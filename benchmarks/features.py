"""Do the features of the networks help a random forest that has Magpie, density, symmetry and the structure already?

python -m benchmarks.features --data DIR [--cache DIR] [--out FILE]

Targets are the moduli of ``mp_binary_elasticity`` (as decadic logarithms), and the band gaps and refractive indices of
``mp_dielectric``. The baseline has matminer's Magpie statistics of the composition, densities, global symmetry,
heterogeneity of the structure (bond lengths and volumes of Voronoi cells), coordination numbers and differences of
elements between neighbours (Ward et al., Phys. Rev. B 96, 024104, 2017). Forests are scikit-learn's with its
defaults, in five folds grouped by reduced formula; the mean that stands for a missing feature is learned within a fold.
The network of ``CrystalGraphFeaturizer`` knows energies only. Features are kept in the folder of ``--cache``, the
baseline's above all, which take most of the time; empty it when a network has changed.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from matminer.featurizers.base import MultipleFeaturizer
from matminer.featurizers.composition import ElementProperty
from matminer.featurizers.structure import (
    DensityFeatures,
    GlobalSymmetryFeatures,
    SiteStatsFingerprint,
    StructuralHeterogeneity,
    StructureComposition,
)
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from icsg3d.bars import bars
from icsg3d.data import load_structures
from icsg3d.featurizers import CrystalGraphFeaturizer, LatentFeaturizer
from icsg3d.progress import track

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matminer.featurizers.base import BaseFeaturizer
    from pymatgen.core import Structure

GOAL = 0.92
"""Of the baseline's error, at most so much shall be left with our features."""

_CHUNK = 128
"""Crystals of a file of the cache."""


@dataclass(frozen=True)
class Target:
    """What is learned.

    Attributes:
        source: Data set.
        column: Of its table.
        logarithm: Whether the decadic logarithm is learned.
    """

    source: str
    column: str
    logarithm: bool = False

    @property
    def label(self) -> str:
        """What it is called."""
        return f"log10 {self.column}" if self.logarithm else self.column


TARGETS = (
    Target("mp_binary_elasticity", "bulk_modulus", logarithm=True),
    Target("mp_binary_elasticity", "shear_modulus", logarithm=True),
    Target("mp_dielectric", "band_gap"),
    Target("mp_dielectric", "refractive_index"),
)


@dataclass(frozen=True)
class Score:
    """Mean absolute error of a forest.

    Attributes:
        target: What was learned.
        features: From what.
        columns: Number of features.
        crystals: Number of crystals.
        mae: Mean absolute error.
        ratio: To that of the baseline.
    """

    target: str
    features: str
    columns: int
    crystals: int
    mae: float
    ratio: float


def baseline() -> BaseFeaturizer:
    """Return matminer's features of composition, density, symmetry and structure."""
    magpie = StructureComposition(ElementProperty.from_preset("magpie", impute_nan=True))
    symmetry = GlobalSymmetryFeatures(["spacegroup_num", "crystal_system_int", "is_centrosymmetric", "n_symmetry_ops"])
    sites = [
        SiteStatsFingerprint.from_preset(f"{kind}_ward-prb-2017")
        for kind in ("CoordinationNumber", "LocalPropertyDifference")
    ]
    together = MultipleFeaturizer([magpie, DensityFeatures(), symmetry, StructuralHeterogeneity(), *sites])
    together.set_n_jobs(1)  # structure by structure, so that the sites of all three share a tessellation
    return together


def matrix(featurizer: BaseFeaturizer, structures: Sequence[Structure], name: str, cache: Path) -> np.ndarray:
    """Return the features of crystals, NaN where there are none, shape (n, features).

    Args:
        featurizer: Whose features.
        structures: The crystals.
        name: Of the files in the cache.
        cache: Folder in which features are kept.
    """
    parts = []
    for start in track(range(0, len(structures), _CHUNK), name):
        file, chunk = cache / f"{name}-{start:05d}.npy", structures[start : start + _CHUNK]
        if not file.exists() or len(np.load(file)) < len(chunk):
            np.save(file, np.array(featurizer.featurize_many(chunk, ignore_errors=True, pbar=False), dtype=float))
        parts.append(np.load(file)[: len(chunk)])
    return np.concatenate(parts)


def error(columns: np.ndarray, values: np.ndarray, formulas: Sequence[str], trees: int) -> float:
    """Return the mean absolute error of forests in five folds, formulas never in two of them.

    Args:
        columns: Features, shape (n, features).
        values: What is learned, shape (n,).
        formulas: Reduced formula of each crystal.
        trees: Of each forest.
    """
    model = make_pipeline(SimpleImputer(keep_empty_features=True), RandomForestRegressor(trees, random_state=0))
    found = cross_val_predict(model, columns, values, groups=formulas, cv=GroupKFold(5))
    return float(np.abs(found - values).mean())


def scores(
    target: Target, values: np.ndarray, formulas: Sequence[str], blocks: dict[str, np.ndarray], trees: int
) -> list[Score]:
    """Return the errors of forests on some crystals.

    Args:
        target: What is learned.
        values: Of the crystals, shape (n,).
        formulas: Their reduced formulas.
        blocks: Features of each kind, that of the baseline first.
        trees: Of each forest.
    """
    base, *others = blocks
    columns = {base: blocks[base]}
    columns |= {f"{base} + {name}": np.concatenate([blocks[base], blocks[name]], axis=1) for name in others}
    columns |= {name: blocks[name] for name in others}
    made: list[Score] = []
    for name, features in track(columns.items(), target.label, len(columns)):
        mae = error(features, values, formulas, trees)
        ratio = mae / made[0].mae if made else 1.0
        made.append(Score(target.label, name, features.shape[1], len(values), mae, ratio))
    return made


def crystals(folder: Path, target: Target, most: int) -> tuple[list[Structure], np.ndarray]:
    """Return at most so many crystals of a data set, at random, and what is learned of them."""
    table = load_structures(folder / f"{target.source}.json.gz")
    rows = np.random.default_rng(0).permutation(len(table))[:most]
    values = table.frame[target.column].to_numpy(float)[rows]
    return [table.structures[row] for row in rows], np.log10(values) if target.logarithm else values


def main() -> None:
    """Learn every target from every set of features and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, default=Path("runs/features"), help="folder in which features are kept")
    parser.add_argument("--crystals", type=int, default=10_000, help="of each data set, at most, at random")
    parser.add_argument("--target", nargs="+", default=[each.column for each in TARGETS], help="which columns")
    parser.add_argument("--latent", default="materials", help="generator of the latent features; '' for none")
    parser.add_argument("--trees", type=int, default=100, help="of a forest")
    parser.add_argument("--out", type=Path, help="JSON file of the table")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, BaseFeaturizer] = {"baseline": baseline(), "graph": CrystalGraphFeaturizer()}
    if arguments.latent:
        kinds[f"latent={arguments.latent}"] = LatentFeaturizer(arguments.latent)
    found: list[Score] = []
    with bars():
        for target in (each for each in TARGETS if each.column in arguments.target):
            structures, values = crystals(arguments.data, target, arguments.crystals)
            formulas = [structure.composition.reduced_formula for structure in structures]
            blocks = {
                name: matrix(kind, structures, f"{target.source}-{name}", arguments.cache)
                for name, kind in kinds.items()
            }
            found += scores(target, values, formulas, blocks, arguments.trees)
            if arguments.out:
                arguments.out.write_text(json.dumps([asdict(each) for each in found], indent=1))
    Console(width=120).print(shown(found))


def shown(found: Sequence[Score]) -> Table:
    """Return scores as a table."""
    table = Table("target", "features", "columns", "crystals", "mae", "ratio", "goal", title="benchmarks.features")
    for each in found:
        goal = "" if "+" not in each.features else "met" if each.ratio <= GOAL else "missed"
        numbers = (str(each.columns), str(each.crystals), f"{each.mae:.4f}", f"{each.ratio:.3f}")
        table.add_row(each.target, each.features, *numbers, goal)
    return table


if __name__ == "__main__":
    main()
