"""Are the features worth using? Random forests on Magpie's, on ours, and on both, in folds grouped by formula.

    python examples/02_featurize_and_learn.py --data mp_dielectric.json.gz --target refractive_index
    python examples/02_featurize_and_learn.py --data mp_binary_elasticity.json.gz --target bulk_modulus --log

Without ``--data`` it makes 132 prototype crystals and learns their density, to show how the pieces fit. The shipped
network of the formation energy gives the features; it never saw refractive indices or moduli. Needs the extra
``matminer``.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from matminer.featurizers.composition import ElementProperty
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from icsg3d.data import load_structures
from icsg3d.featurizers import CrystalGraphFeaturizer
from icsg3d.generation.prototypes import prototype_structures


def own_crystals() -> tuple[list, np.ndarray]:
    """Return perovskite, rock-salt and Heusler prototypes and their densities in g/cm^3."""
    formulas = [
        f"{a}{b}{x}3" for a in ("Ca", "Sr", "Ba", "K", "Na") for b in ("Ti", "Zr", "Nb", "Mg") for x in ("O", "F")
    ]
    formulas += [
        f"{a}{x}" for a in ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Ba") for x in ("F", "Cl", "O", "S", "Se")
    ]
    formulas += [f"{a}2{b}{c}" for a in ("Fe", "Co", "Ni", "Cu") for b in ("Ti", "V", "Mn") for c in ("Al", "Ga", "Si")]
    structures = [
        next(iter(prototype_structures(formula).values())) for formula in formulas
    ]  # lattice parameters from radii
    return structures, np.array([float(structure.density) for structure in structures])


def main() -> None:
    """Featurize, learn and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="crystals with the target column")
    parser.add_argument("--target", default="density")
    parser.add_argument("--log", action="store_true", help="learn the decadic logarithm")
    parser.add_argument("--trees", type=int, default=150)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    if arguments.data is None:
        structures, values = own_crystals()
    else:
        table = load_structures(arguments.data)
        structures, values = table.structures, table.frame[arguments.target].to_numpy(float)
    values = np.log10(values) if arguments.log else values
    frame = pd.DataFrame({"structure": structures, "composition": [s.composition for s in structures]})
    formulas = [structure.composition.reduced_formula for structure in structures]

    magpie, graph = ElementProperty.from_preset("magpie", impute_nan=True), CrystalGraphFeaturizer()
    magpie.set_n_jobs(1)
    frame = magpie.featurize_dataframe(frame, "composition", pbar=False)
    frame = graph.featurize_dataframe(frame, "structure", ignore_errors=True)
    names = {"Magpie": magpie.feature_labels(), "icsg3d": graph.feature_labels()}
    names["both"] = names["Magpie"] + names["icsg3d"]

    result = Table("features", "columns", "mean absolute error", title=f"{arguments.target}, 5 folds by formula")
    for name, columns in names.items():
        forest = RandomForestRegressor(arguments.trees, max_features=0.33, n_jobs=-1, random_state=0)
        model = make_pipeline(SimpleImputer(), forest)
        found = cross_val_predict(model, frame[columns].to_numpy(), values, groups=formulas, cv=GroupKFold(5))
        result.add_row(name, str(len(columns)), f"{np.abs(found - values).mean():.4f}")
    result.add_row("predicting the median", "", f"{np.abs(values - np.median(values)).mean():.4f}")
    Console().print(result)


if __name__ == "__main__":
    main()
