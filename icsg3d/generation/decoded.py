"""A crystal in a generator's latent space, and what a latent decodes to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icsg3d.crystals.display import html_card

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.crystals.structures import CellSetting


@dataclass(frozen=True)
class DecodedCrystal:
    """What a latent decodes to.

    Attributes:
        structure: The crystal; None where there is none.
        reason: Why there is none; empty where there is one.
        latent: The latent: a vector, shape (latent,), or a :class:`icsg3d.models.grid_decoding.LatentGrid`.
        certainty: Probability of the least certain atom's element; None where the model does not tell.
    """

    structure: Structure | None
    reason: str
    latent: Any
    certainty: float | None = None

    def row(self) -> dict[str, Any]:
        """Return the crystal as a row of a table, lattice parameters in angstrom and degrees."""
        if self.structure is None:
            return {"formula": "", "reason": self.reason}
        names = ("a", "b", "c", "alpha", "beta", "gamma")
        cell = {name: round(value, 4) for name, value in zip(names, self.structure.lattice.parameters, strict=True)}
        return {
            "formula": self.structure.composition.reduced_formula,
            **cell,
            "sites": len(self.structure),
            "reason": "",
        }

    def _repr_html_(self) -> str:
        return html_card(self.structure, self.row())

    def in_setting(self, setting: CellSetting) -> DecodedCrystal:
        """Return the same in the cell in which a base was given."""
        if self.structure is None:
            return self
        return dataclasses.replace(self, structure=setting.apply(self.structure))


@dataclass(frozen=True)
class Located:
    """A crystal in a generator's latent space: what is prepared and encoded once, and then used by every draw.

    Attributes:
        structure: The crystal, as it was given.
        arrays: The cell that the networks see.
        setting: How to return from that cell to the given one.
        latent: Latent that decodes to the crystal: a vector, shape (latent,), or a grid.
    """

    structure: Structure
    arrays: CrystalArrays
    setting: CellSetting
    latent: Any
