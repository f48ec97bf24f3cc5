"""Which share of known compositions, and of made-up ones, has plausible charges.

    python -m benchmarks.charges ../shared/data/mp_structures.npz

Known are the crystals behind which an experimental entry stood. From those with O or a halogen others are made up: all
their other elements are replaced by random ones, or one of them is. The validity of the generation benchmarks
(SMACT's rule with the states of 2014) stands beside it.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
from pymatgen.core import Composition

from icsg3d.crystals.charges import charge_balance
from icsg3d.crystals.elements import symbols
from icsg3d.screening.validity import composition_valid

SALT_MAKERS = frozenset({"O", "F", "Cl", "Br", "I"})
NOBLE = frozenset({"He", "Ne", "Ar", "Kr", "Xe"})


def known_compositions(path: Path) -> list[dict[str, int]]:
    """Return the numbers of atoms by element of each crystal with an experimental entry."""
    with np.load(path, allow_pickle=False) as file:
        counts, numbers, icsd = file["natoms"].astype(int), file["Z"], file["icsd"]
    ends = np.cumsum(counts)
    names = symbols()
    found = []
    for row in np.flatnonzero(icsd == 1):
        species, amounts = np.unique(numbers[ends[row] - counts[row] : ends[row]], return_counts=True)
        found.append({names[z]: int(n) for z, n in zip(species, amounts, strict=True)})
    return found


def replaced(amounts: dict[str, int], random: np.random.Generator, *, one: bool) -> dict[str, int]:
    """Return a composition with its elements, O and the halogens aside, replaced by random ones, or one of them."""
    others = sorted(set(amounts) - SALT_MAKERS)
    chosen = [others[random.integers(len(others))]] if one else others
    free = sorted(set(symbols()[1:]) - NOBLE - SALT_MAKERS - set(amounts))
    new = dict(zip(chosen, random.choice(free, len(chosen), replace=False).tolist(), strict=True))
    return {new.get(symbol, symbol): count for symbol, count in amounts.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--smact", type=int, default=2000, help="compositions of each kind that SMACT looks at")
    given = parser.parse_args()
    random = np.random.default_rng(0)
    known = known_compositions(given.data)
    salts = [c for c in known if SALT_MAKERS & set(c) and set(c) - SALT_MAKERS]
    table = {
        "known": known,
        "known, with O or halogens": salts,
        "the same, one other element replaced": [replaced(c, random, one=True) for c in salts],
        "the same, all other elements replaced": [replaced(c, random, one=False) for c in salts],
    }
    print("| compositions | number | icsg3d | SMACT 2014, on some |")
    print("| --- | --- | --- | --- |")
    for name, compositions in table.items():
        ours = np.mean([charge_balance(Composition(c)).passes for c in compositions])
        some = random.permutation(len(compositions))[: given.smact]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = np.mean([composition_valid(Composition(compositions[row])) for row in some])
        print(f"| {name} | {len(compositions)} | {ours:.1%} | {theirs:.1%} |", flush=True)


if __name__ == "__main__":
    main()
