"""CHGNet's formation energies of known crystals, with elements by CHGNet itself and by the Materials Project.

Run ``python -m benchmarks.chgnet FILE`` with a data set that has a column ``formation_energy_per_atom``. Crystals are
taken as they are; elements are relaxed by CHGNet, or have the energies of the package's file.
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib.resources import files

import numpy as np
from chgnet.model import CHGNet, StructOptimizer

from icsg3d.data import load_structures
from icsg3d.data.elemental import elemental_ground_states

CRYSTALS = 250
ATOMS = 40


def main() -> None:
    warnings.simplefilter("ignore")
    table = load_structures(sys.argv[1])
    model = CHGNet.load(verbose=False)
    own = relaxed_elements(model)
    text = (files("icsg3d.data") / "elemental_ground_states.json").read_text()
    given = {symbol: entry["energy_per_atom"] for symbol, entry in json.loads(text)["elements"].items()}
    errors = []
    for row in np.random.default_rng(0).permutation(len(table))[:CRYSTALS]:
        structure, known = table.structures[row], float(table.frame["formation_energy_per_atom"][row])
        shares = structure.composition.fractional_composition.as_dict()
        if len(structure) > ATOMS or not set(shares) <= set(own):
            continue
        energy = float(model.predict_structure(structure, task="e")["e"])
        references = (sum(share * values[symbol] for symbol, share in shares.items()) for values in (own, given))
        errors.append([abs(energy - reference - known) for reference in references])
    found = np.array(errors)
    for name, values in zip(("elements by CHGNet", "elements by the Materials Project"), found.T, strict=True):
        print(f"{name}: {len(values)} crystals, mean {values.mean():.3f}, median {np.median(values):.3f} eV/atom")


def relaxed_elements(model: CHGNet) -> dict[str, float]:
    """Return CHGNet's energies per atom of the elements, relaxed, without those whose atoms it finds isolated."""
    optimizer, energies = StructOptimizer(model=model), {}
    for symbol, structure in elemental_ground_states().items():
        try:
            found = optimizer.relax(structure.copy(), fmax=0.05, steps=200, verbose=False)
        except ValueError:
            continue
        energies[symbol] = float(found["trajectory"].energies[-1]) / len(structure)
    return energies


if __name__ == "__main__":
    main()
