"""Columns of the table of candidates: what a value is called, its unit, and how it is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind = Literal["number", "text", "formula"]


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        key: Name in the results.
        label: What is written above it.
        unit: Of the values; empty without one.
        digits: After the decimal point.
        kind: Whether values are numbers, texts or formulas.
        help: A sentence on what it means; empty where the label says it.
    """

    key: str
    label: str
    unit: str = ""
    digits: int = 3
    kind: Kind = "number"
    help: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the column for the page's script."""
        return asdict(self)


_NOVELTY = (
    "Whether the composition is the base's, among those of the training crystals, or on the hull of known phases."
)
_DECOMPOSITION = "Phases of the hull that the composition decomposes to, with their shares of the atoms."
_HULL = "Energy above the convex hull of the known phases; up to 0.1 eV/atom a crystal may often be made."

KNOWN = (
    Column("index", "No.", digits=0, help="Number of the draw, from 0."),
    Column("rank", "Rank", digits=0, help="Among the candidates that passed; 1 is the best."),
    Column("formula", "Formula", kind="formula"),
    Column("source", "Source", kind="text", help="Where the crystal was read from."),
    Column("space_group", "Space group", kind="text"),
    Column("energy_above_hull", "E above hull", "eV/atom", help=_HULL),
    Column("formation_energy_per_atom", "E formation", "eV/atom", help="Predicted by the graph network."),
    Column("computed_energy", "E formation, computed", "eV/atom", help="By the engine that relaxed the crystal."),
    Column("delta_e_form", "|ΔE formation|", "eV/atom", help="Difference of the predicted and the computed energy."),
    Column("delta_bonds_percent", "Δ bonds", "%", 2, help="Mean absolute change of bond lengths on relaxing."),
    Column("delta_cell_percent", "Δ lengths", "%", 2, help="Mean absolute change of a, b and c on relaxing."),
    Column("delta_volume_percent", "Δ volume", "%", 2, help="Change of the volume on relaxing."),
    Column("band_gap", "Band gap", "eV", 2, help="Predicted by the graph network."),
    Column("volume_per_atom", "Volume", "Å³/atom", 2),
    Column("novelty", "Composition", kind="text", help=_NOVELTY),
    Column("status", "Status", kind="text", help="What became of the candidate."),
    Column("reason", "Reason", kind="text", help="Why it was refused, or why there is no crystal."),
    Column("prototype", "Prototype", kind="text"),
    Column("oxidation_states", "Oxidation states", kind="text"),
    Column("bulk_modulus", "Bulk modulus", "GPa", 0),
    Column("shear_modulus", "Shear modulus", "GPa", 0),
    Column("poisson_ratio", "Poisson's ratio", "", 2),
    Column("dielectric_electronic", "Dielectric (electronic)", "", 2),
    Column("refractive_index", "Refractive index", "", 2),
    Column("eij_max", "Piezoelectric modulus", "C/m²", 2),
    Column("a", "a", "Å"),
    Column("b", "b", "Å"),
    Column("c", "c", "Å"),
    Column("alpha", "α", "°", 1),
    Column("beta", "β", "°", 1),
    Column("gamma", "γ", "°", 1),
    Column("sites", "Atoms", digits=0, help="Number of atoms in the cell."),
    Column("decomposition", "Decomposes to", kind="text", help=_DECOMPOSITION),
    Column("known_phase", "Known phase", kind="text", help="Whether the hull has a phase of the composition."),
    Column("latent_distance", "Latent distance", "", 2, help="From the base, in spreads of the training crystals."),
    Column("condition", "Energy asked for", "eV/atom", 2),
    Column("moved_by", "Atoms moved by", "Å", help="On the way to the minimum of the predicted energy (r.m.s.)."),
    Column("scaled_by", "Cell scaled by", help="Factor that brought the lattice parameters to the equilibrium volume."),
    Column("distance_ratio", "Distance / radii", "", 2, help="Shortest distance over the sum of atomic radii."),
)

HIDDEN = frozenset({"duplicate_of", "passed", "failed_on", "novel", "charge_neutral", "predicted"})
"""Results of screening that status, reason and composition tell already."""

_BY_KEY = {column.key: column for column in KNOWN}


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return the columns that some row has a value of: those that are known in their order, then the others."""
    present: dict[str, Any] = {}
    for row in rows:
        for key, value in row.items():
            if value is not None and value != "":
                present.setdefault(key, value)
    known = [column for column in KNOWN if column.key in present]
    unknown = [key for key in present if key not in _BY_KEY and _is_shown(key, present)]
    return known + [_unknown(key, [row.get(key) for row in rows]) for key in unknown]


def _is_shown(key: str, present: Mapping[str, Any]) -> bool:
    """Whether a value has a column of its own: an uncertainty stands beside its value."""
    return not (key.endswith("_std") and key.removesuffix("_std") in present)


def _unknown(key: str, values: Sequence[Any]) -> Column:
    """Return the column of results that this version has no name for."""
    known = [value for value in values if value is not None and value != ""]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    whole = all(isinstance(value, int) for value in known)
    return Column(
        key, key.replace("_", " ").capitalize(), digits=0 if whole else 3, kind="number" if numbers else "text"
    )
