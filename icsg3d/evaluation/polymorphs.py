"""Candidates beside known crystals of the same formula: Table S2."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

from icsg3d.progress import track

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

S2_COLUMNS = ("formula", "mae_a", "mae_b", "mae_c", "mae_e_form", "ids", "crystal_system", "pairs", "same_as")
"""Columns of Table S2, with the ids of any data source, the pairs behind a row, and the ids of equal crystals."""

_TOLERANCE = 0.1


@dataclass(frozen=True)
class Polymorph:
    """A crystal with what is known of it.

    Attributes:
        name: Its id.
        structure: The crystal.
        e_form: Formation energy in eV/atom; None where it is not known.
    """

    name: str
    structure: Structure
    e_form: float | None = None


def polymorph_table(candidates: Sequence[Polymorph], known: Sequence[Polymorph]) -> pd.DataFrame:
    """Compare candidates with known crystals of the same reduced formula.

    A row stands for one formula and one crystal system of known crystals. Its errors are means over all pairs of a
    candidate of the formula and a known crystal of the system: of a, b and c of the two conventional standard cells
    (spglib's, within 0.1 angstrom), and of the formation energies where both are known.

    Args:
        candidates: As relaxed, or as generated.
        known: From any data source.

    Returns:
        The columns of :data:`S2_COLUMNS`, lengths in angstrom, energies in eV/atom, sorted as in the paper by crystal
        system, then by formula. ``ids`` are those of the known crystals, ``same_as`` of those that StructureMatcher
        takes for the same crystal as a candidate.
    """
    by_formula: dict[str, list[Polymorph]] = defaultdict(list)
    wanted = {phase.structure.composition.reduced_formula for phase in candidates}
    for phase in known:
        if phase.structure.composition.reduced_formula in wanted:
            by_formula[phase.structure.composition.reduced_formula].append(phase)
    conventional = {id(phase): _conventional(phase.structure) for phases in by_formula.values() for phase in phases}
    matcher = StructureMatcher(comparator=ElementComparator())
    groups: dict[tuple[str, str], list[_Pair]] = defaultdict(list)
    for candidate in track(candidates, "comparing"):
        formula = candidate.structure.composition.reduced_formula
        own = _conventional(candidate.structure)[1] if by_formula[formula] else ()
        for phase in by_formula[formula]:
            system, lengths = conventional[id(phase)]
            errors = np.abs(np.subtract(own, lengths))
            energy = None
            if candidate.e_form is not None and phase.e_form is not None:
                energy = abs(candidate.e_form - phase.e_form)
            same = bool(matcher.fit(candidate.structure, phase.structure))
            groups[system, formula].append(_Pair(phase.name, errors, energy, same))
    rows = [_row(formula, system, pairs) for (system, formula), pairs in sorted(groups.items())]
    return pd.DataFrame(rows, columns=list(S2_COLUMNS))


@dataclass(frozen=True)
class _Pair:
    name: str
    errors: np.ndarray
    energy: float | None
    same: bool


def _row(formula: str, system: str, pairs: Sequence[_Pair]) -> list[object]:
    energies = [pair.energy for pair in pairs if pair.energy is not None]
    names = list(dict.fromkeys(pair.name for pair in pairs))
    same = list(dict.fromkeys(pair.name for pair in pairs if pair.same))
    lengths = np.mean([pair.errors for pair in pairs], axis=0).tolist()
    energy = float(np.mean(energies)) if energies else None
    return [formula, *lengths, energy, " ".join(names), system, len(pairs), " ".join(same)]


def _conventional(structure: Structure) -> tuple[str, tuple[float, float, float]]:
    """Return crystal system and a, b, c of the conventional standard cell; the cell as given where there is none."""
    try:
        analyzer = SpacegroupAnalyzer(structure, symprec=_TOLERANCE)
        return analyzer.get_crystal_system(), analyzer.get_conventional_standard_structure().lattice.abc
    except (SymmetryUndeterminedError, TypeError, ValueError):  # overlapping atoms
        return "unknown", structure.lattice.abc
