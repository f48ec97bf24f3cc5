"""Candidates: generated crystals with where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from monty.json import MSONable

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass
class Candidate(MSONable):
    """A latent vector's crystal, or the reason why it has none.

    Attributes:
        index: Number of the draw, from 0.
        structure: The crystal; None where decoding failed.
        reason: Why decoding failed; empty where it did not.
        base: Formula of the crystal it was drawn around; empty without one.
        seed: Seed of the draw.
        scale: Size of the step in latent space, in standard deviations of the training crystals; None without a base.
        latent_distance: Length of the step in the same units per dimension; None without a base.
        condition: Formation energy asked for, in eV/atom; None where it was left open.
        model: Name of the model.
        model_sha256: SHA-256 of its weights.
        duplicate_of: Index of an earlier draw that gave the same crystal; None if it is the first.
        in_training: Whether the composition is among the training crystals'.
        predictions: Predicted properties by name.
        screening: Results of screening by name.
    """

    index: int
    structure: Structure | None
    reason: str = ""
    base: str = ""
    seed: int | None = None
    scale: float | None = None
    latent_distance: float | None = None
    condition: float | None = None
    model: str = ""
    model_sha256: str = ""
    duplicate_of: int | None = None
    in_training: bool | None = None
    predictions: dict[str, float] = field(default_factory=dict)
    screening: dict[str, Any] = field(default_factory=dict)

    @property
    def formula(self) -> str:
        """Reduced formula, empty where decoding failed."""
        return "" if self.structure is None else self.structure.composition.reduced_formula

    def row(self) -> dict[str, Any]:
        """Return the candidate as a row of a table, lengths in angstrom, angles in degrees."""
        row: dict[str, Any] = {"index": self.index, "formula": self.formula}
        lattice = None if self.structure is None else self.structure.lattice
        for position, name in enumerate(("a", "b", "c", "alpha", "beta", "gamma")):
            row[name] = "" if lattice is None else round(lattice.parameters[position], 4)
        row["sites"] = 0 if self.structure is None else len(self.structure)
        for name in ("latent_distance", "duplicate_of", "in_training", "condition"):
            value = getattr(self, name)
            row[name] = "" if value is None else round(value, 4) if isinstance(value, float) else value
        return row | {"reason": self.reason} | self.predictions | self.screening
