"""Candidates as the page's script takes them: plain values, geometry, CIF."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data.colors import jmol_colors

from icsg3d.crystals.elements import atomic_radii, electronegativities, symbols
from icsg3d.errors import InputError
from icsg3d.evaluation.relaxation import bond_changes
from icsg3d.report.page.columns import HIDDEN
from icsg3d.screening.screen import space_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Structure

    from icsg3d.generation.candidates import Candidate
    from icsg3d.report.page.contents import Validated


def values_of(candidate: Candidate, validated: Validated | None) -> dict[str, Any]:
    """Return all that is known of a candidate by name: numbers, words, or None."""
    structure = candidate.structure
    row: dict[str, Any] = {"index": candidate.index, "formula": candidate.formula or "no crystal"}
    if structure is not None:
        a, b, c = structure.lattice.abc
        row |= {"a": a, "b": b, "c": c, "sites": len(structure), "volume_per_atom": structure.volume / len(structure)}
        if not structure.lattice.is_orthogonal:
            row |= dict(zip(("alpha", "beta", "gamma"), structure.lattice.angles, strict=True))
        if not candidate.screening.get("space_group"):
            row["space_group"] = space_group_of(structure)
    novel = candidate.screening.get("novel")
    if novel is None and candidate.in_training is not None:
        novel = not candidate.in_training
    if novel is not None:
        row["novelty"] = "new" if novel else "known"
    row |= {name: getattr(candidate, name) for name in ("source", "condition", "latent_distance")}
    row |= candidate.predictions
    row |= {
        name: value for name, value in candidate.screening.items() if name not in HIDDEN and value not in (None, "")
    }
    row["status"], row["reason"] = status_and_reason(candidate, validated)
    if validated is not None:
        row["computed_energy"] = validated.numbers.get("formation_energy_per_atom")
        row |= {name: value for name, value in validated.numbers.items() if name.startswith("delta_")}
        if validated.flags:
            row["flags"] = ", ".join(validated.flags)
    return {name: plain(value) for name, value in row.items()}


def plain(value: Any) -> Any:
    """Return a value as a number, a text or None."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.integer | np.floating):
        return _number_of(float(value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(plain(each)) for each in value)
    return value if value is None else str(value)


def _number_of(value: float) -> float | int | None:
    """Return a number to seven digits, a whole one as such; None where it is not finite."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.7g}")


def status_and_reason(candidate: Candidate, validated: Validated | None) -> tuple[str, str]:
    """Return what became of a candidate in a word or two, and why."""
    screening = candidate.screening
    if validated is not None:
        return f"validated: {validated.state}", validated.reason
    if candidate.structure is None:
        return "no crystal", candidate.reason
    repeats = candidate.duplicate_of if candidate.duplicate_of is not None else screening.get("duplicate_of")
    if screening.get("passed") is False:
        unmet = screening.get("failed_on")
        reasons = [str(each).replace("_", " ") for each in unmet] if isinstance(unmet, list) else []
        if repeats is not None:
            reasons = [f"repeats No. {repeats}" if each == "repeats" else each for each in reasons]
        return "refused", ", ".join(reasons)
    if repeats is not None:
        return "repeat", f"repeats No. {repeats}"
    return ("passed" if screening.get("passed") is True else "candidate"), candidate.reason


def space_group_of(structure: Structure) -> str:
    """Return the symbol of the space group within 0.01 angstrom; empty where spglib finds none."""
    try:
        return space_group(structure)
    except (TypeError, ValueError, AttributeError):  # disordered, or no cell that spglib takes
        return ""


def geometry(structure: Structure) -> dict[str, Any]:
    """Return lattice vectors in angstrom, atomic numbers and fractional coordinates, flat and rounded."""
    return {
        "m": np.round(structure.lattice.matrix.ravel(), 5).tolist(),
        "z": [_atomic_number(site) for site in structure],
        "x": np.round(structure.frac_coords.ravel(), 5).tolist(),
    }


def _atomic_number(site: Any) -> int:
    """Return the atomic number of a site's element, of a disordered one that of the commonest."""
    return int(max(site.species.items(), key=lambda pair: pair[1])[0].Z)


def elements_of(geometries: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return symbol, colour, radius in angstrom and electronegativity of every element that occurs, by number."""
    numbers = sorted({number for each in geometries for number in each["z"]})
    return {number: _element(number) for number in numbers}


def _element(number: int) -> dict[str, Any]:
    known = number < len(symbols())
    red, green, blue = (round(255 * part) for part in jmol_colors[min(number, len(jmol_colors) - 1)])
    return {
        "s": symbols()[number] if known else "?",
        "c": f"#{red:02x}{green:02x}{blue:02x}",
        "r": float(atomic_radii()[number]) if known else 1.5,
        "e": float(electronegativities()[number]) if known else 2.0,
    }


def cif_of(structure: Structure) -> str:
    """Return the crystal as CIF in the cell that is shown, without symmetry: finding it for many takes a minute."""
    return structure.to(fmt="cif", symprec=None)


def bonds_of(structure: Structure | None, relaxed: Structure | None) -> list[tuple[str, int, float, float]]:
    """Return the bonds of a crystal before and after relaxing, alike ones together.

    Returns:
        Elements, number of bonds, mean length before and after in angstrom; empty where they cannot be compared.
    """
    if structure is None or relaxed is None:
        return []
    try:
        bonds = bond_changes(structure, relaxed)
    except InputError:
        return []
    groups: dict[tuple[str, float, float], list[tuple[float, float]]] = {}
    for bond in bonds:
        key = ("–".join(bond.elements), round(bond.before, 2), round(bond.after, 2))
        groups.setdefault(key, []).append((bond.before, bond.after))
    means = {key: np.mean(lengths, axis=0).tolist() for key, lengths in groups.items()}
    return [(key[0], len(groups[key]), round(means[key][0], 4), round(means[key][1], 4)) for key in sorted(groups)]
