"""How well crystals come back from latent space."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher

from icsg3d.crystals.structures import primitive_cell
from icsg3d.errors import InputError
from icsg3d.screening.validity import composition_valid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure


def benchmark_matcher() -> StructureMatcher:
    """Return a StructureMatcher with the tolerances of the CDVAE benchmark."""
    return StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10.0, comparator=ElementComparator())


@dataclass(frozen=True)
class Comparison:
    """A crystal and what was made of it. All but the first three are NaN where nothing was decoded.

    Attributes:
        decoded: Whether there is a crystal at all.
        atom_count_right: Whether it has as many atoms.
        species_right: Whether, besides, it has the same composition.
        valid: Whether SMACT finds charges for the composition of what was made.
        rms: Root-mean-square displacement of the matched sites over (V/N)^(1/3); NaN where they do not match.
        length_error: Mean error of the lengths a, b and c in angstrom.
        angle_error: Mean error of the three angles in degrees.
        position_error_true: Mean distance from each true site to the nearest found one, in angstrom, in the true cell.
        position_error_found: Mean distance from each found site to the nearest true one, likewise.
    """

    decoded: bool
    atom_count_right: bool
    species_right: bool
    valid: bool = False
    rms: float = float("nan")
    length_error: float = float("nan")
    angle_error: float = float("nan")
    position_error_true: float = float("nan")
    position_error_found: float = float("nan")

    @property
    def matched(self) -> bool:
        """Whether StructureMatcher takes both for the same crystal."""
        return bool(np.isfinite(self.rms))


def compare(true: Structure, found: Structure | None) -> Comparison:
    """Compare a crystal with what was made of it, in the same cell setting and with the same origin."""
    if found is None:
        return Comparison(decoded=False, atom_count_right=False, species_right=False)
    count = len(true) == len(found)
    rms = benchmark_matcher().get_rms_dist(true, found)
    distances = true.lattice.get_all_distances(true.frac_coords, found.frac_coords)
    return Comparison(
        decoded=True,
        atom_count_right=count,
        species_right=count and Counter(true.atomic_numbers) == Counter(found.atomic_numbers),
        valid=composition_valid(found.composition),
        rms=float("nan") if rms is None else float(rms[0]),
        length_error=_mean_error(true.lattice.abc, found.lattice.abc),
        angle_error=_mean_error(true.lattice.angles, found.lattice.angles),
        position_error_true=float(distances.min(axis=1).mean()),
        position_error_found=float(distances.min(axis=0).mean()),
    )


def _mean_error(true: Sequence[float], found: Sequence[float]) -> float:
    return float(np.abs(np.subtract(true, found)).mean())


def primitive_size(structure: Structure) -> int:
    """Return the number of atoms in the primitive cell; of what has none, as a disordered crystal, of its sites."""
    try:
        return len(primitive_cell(structure)[0])
    except InputError:
        return len(structure)


SIZES = (4, 8, 12, 20)
"""Numbers of atoms up to which rates are told apart."""


def match_rates_by_size(results: Sequence[Comparison], sizes: Sequence[int]) -> dict[str, float]:
    """Return the match rates of crystals of up to 4, 5 to 8, 9 to 12, 13 to 20 and more atoms, of sizes that occur.

    Args:
        results: One for each crystal.
        sizes: Atoms in the primitive cell of each.
    """
    found = {}
    for low, high in zip((0, *SIZES), (*SIZES, np.inf), strict=True):
        chosen = [result.matched for result, size in zip(results, sizes, strict=True) if low < size <= high]
        if chosen:
            name = f"{low + 1}_to_{high}" if np.isfinite(high) else f"over_{low}"
            found[f"match_rate_{name}_atoms"] = float(np.mean(chosen))
    return found


def summarise(results: Sequence[Comparison]) -> dict[str, Any]:
    """Return the figures of ``reconstruction.json``.

    Rates are over all crystals, those without a decoded one counted as misses; errors are means over the crystals that
    were decoded, ``rmse`` over those that match. ``match_rate_valid`` counts a match of invalid composition as a miss,
    as the published rates do.
    """

    def share(values: list[bool]) -> float:
        return float(np.mean(values))

    def mean(name: str) -> float | None:
        values = [getattr(result, name) for result in results]
        known = [value for value in values if np.isfinite(value)]
        return float(np.mean(known)) if known else None

    errors = [field.name for field in fields(Comparison) if field.name.endswith("error") or "_error_" in field.name]
    return {
        "crystals": len(results),
        "decoded": share([r.decoded for r in results]),
        "match_rate": share([r.matched for r in results]),
        "match_rate_valid": share([r.matched and r.valid for r in results]),
        "rmse": mean("rms"),
        "all_species_right": share([r.species_right for r in results]),
        "atom_count_right": share([r.atom_count_right for r in results]),
    } | {name: mean(name) for name in errors}


def table(ids: Sequence[str], formulas: Sequence[str], results: Sequence[Comparison]) -> pd.DataFrame:
    """Return one row for each crystal."""
    rows = [asdict(result) | {"matched": result.matched} for result in results]
    return pd.DataFrame(rows).assign(material_id=list(ids), formula=list(formulas)).set_index("material_id")
