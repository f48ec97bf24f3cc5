"""Choose cubic crystals with 6 to 24 atoms in the primitive cell, which the training file of ``cubic`` hardly holds.

    python examples/select_larger_cubic.py --data mp_perovskites.json.gz --data wbm_random.json.gz \
        --known cubic_ab_abx3_heusler.json.gz --without icsg3d_val.json.gz --out larger_cubic.json.gz

Left out are crystals whose reduced formula is in ``--without``, on which the model is to be judged, ids and elements
other than those of ``--known``, cells that the networks do not take, and what is more than ``--most`` of one number of
atoms (double perovskites with 10 atoms would be four fifths of the result); these are chosen by a hash of the id.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from icsg3d.crystals.structures import network_cell
from icsg3d.data import load_structures, write_frame
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

SIZES = range(6, 25)
LONGEST = 10.0
"""Angstrom; the longest cell vector that the networks take."""

SYMMETRY_TOLERANCE = 0.1
"""Angstrom, of spglib."""

FIRST_CUBIC = 195
"""The cubic space groups are 195 to 230."""

ENERGY = "formation_energy_per_atom"


def primitive_atoms(structure: Structure) -> int:
    """Return the number of atoms of the cell that the networks see, 0 if they take none of the crystal."""
    try:
        cell = network_cell(structure, primitive=True)[0]
    except InputError:
        return 0
    return len(cell) if np.linalg.norm(cell.lattice, axis=1).max() <= LONGEST else 0


def main() -> None:
    """Choose crystals and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--known", type=Path, required=True)
    parser.add_argument("--without", type=Path, required=True)
    parser.add_argument("--most", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    known = load_structures([options.known])
    elements = {number for structure in known.structures for number in structure.atomic_numbers}
    held_out = {s.composition.reduced_formula for s in load_structures([options.without]).structures}
    seen, why, rows = set(known.ids), Counter[str](), []
    for path in options.data:
        table = load_structures([path])
        energies = table.frame[ENERGY] if ENERGY in table.frame.columns else [np.nan] * len(table)
        for name, structure, energy in zip(table.ids, table.structures, energies, strict=True):
            formula = structure.composition.reduced_formula
            if formula in held_out:
                why["formula is in --without"] += 1
            elif name in seen:
                why["is there already"] += 1
            elif not elements >= set(structure.atomic_numbers):
                why["other elements"] += 1
            elif (count := primitive_atoms(structure)) not in SIZES:
                why["size"] += 1
            elif SpacegroupAnalyzer(structure, SYMMETRY_TOLERANCE).get_space_group_number() < FIRST_CUBIC:
                why["not cubic"] += 1
            else:
                seen.add(name)
                order = hashlib.sha256(name.encode()).hexdigest()
                rows.append((name, formula, structure.as_dict(), energy, path.name, count, order))
    columns = ["material_id", "formula", "structure", ENERGY, "source", "atoms", "order"]
    frame = pd.DataFrame(rows, columns=columns).sort_values("order")
    chosen = frame[frame.groupby("atoms").cumcount() < options.most].drop(columns="order").reset_index(drop=True)
    why["more than --most"] = len(frame) - len(chosen)
    write_frame(chosen, options.out)
    print(
        f"{len(chosen)} crystals: "
        + ", ".join(f"{n} of {size} atoms" for size, n in chosen["atoms"].value_counts().sort_index().items())
    )
    print("left out: " + ", ".join(f"{count} ({reason})" for reason, count in why.items()))


if __name__ == "__main__":
    main()
