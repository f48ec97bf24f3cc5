"""Candidates: generated crystals with where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from monty.json import MSONable

from icsg3d.models.density import SCALE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from pymatgen.core import Structure

    from icsg3d.generation.generator import CrystalGenerator


@dataclass
class Candidate(MSONable):
    """A latent vector's crystal, or the reason why it has none.

    Attributes:
        index: Number of the draw, from 0.
        structure: The crystal; None where decoding failed.
        reason: Why decoding failed; empty where it did not.
        base: Formula of the crystal it was drawn around; empty without one.
        seed: Seed of the draw.
        scale: Noise level at which it was drawn; None without a base.
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


@dataclass(frozen=True)
class Draws:
    """Latent vectors to decode to candidates, and where they come from.

    Attributes:
        latent: The vectors, shape (n, latent).
        structure: Crystal they were drawn around; None for free draws.
        origin: Its latent vector, shape (1, latent); None for free draws.
        seed: Of the draws.
        scale: Noise level; None for free draws.
        condition: Energy asked for, in eV/atom; None where it was left open.
    """

    latent: np.ndarray
    structure: Structure | None
    origin: np.ndarray | None
    seed: int
    scale: float | None
    condition: float | None

    @classmethod
    def make(
        cls,
        generator: CrystalGenerator,
        structure: Structure | None,
        n: int,
        *,
        scale: float = SCALE,
        condition: float | None = None,
        seed: int = 0,
    ) -> Draws:
        """Draw latent vectors around a crystal, or freely; each depends on its number, the seed and the crystal alone.

        Args:
            generator: Whose latent space it is.
            structure: Where to start; None to draw freely.
            n: Number of draws.
            scale: Noise level of draws around the crystal, above 0 and up to 1.
            condition: Energy per atom to ask for in free draws, in eV.
            seed: Of the draws.

        Raises:
            InputError: if the model cannot take the crystal, has no condition, or a number is out of range.
        """
        if structure is None:
            return cls(generator.latent_sample(n, condition, seed), None, None, seed, None, condition)
        origin = generator.locate([structure])
        return cls(generator.latent_around(structure, n, scale, seed, origin), structure, origin, seed, scale, None)

    def candidates(self, generator: CrystalGenerator, start: int = 0) -> Iterator[Candidate]:
        """Decode the vectors from number ``start`` on, in the cell of the crystal they were drawn around."""
        formulas = generator.training_formulas()
        setting = None if self.structure is None else generator.prepare(self.structure)[1]
        base = "" if self.structure is None else self.structure.composition.reduced_formula
        distances = None if self.origin is None else generator.latent_distance(self.latent, self.origin)
        for index, decoded in enumerate(generator.iter_decode(self.latent[start:], self.condition), start=start):
            crystal = decoded.structure
            if crystal is not None and setting is not None:
                crystal = setting.apply(crystal)
            candidate = Candidate(
                index,
                crystal,
                decoded.reason,
                base=base,
                seed=self.seed,
                scale=self.scale,
                latent_distance=None if distances is None else float(distances[index]),
                condition=self.condition,
                **generator.as_dict(),
            )
            if crystal is not None and formulas is not None:
                candidate.in_training = candidate.formula in formulas
            yield candidate
