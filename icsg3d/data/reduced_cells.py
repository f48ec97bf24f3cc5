"""Training tables of latent-grid models: compact tables of reduced cells, drawn together from several sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icsg3d.crystals.cells import reduced_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.representation.fields import FieldConfig


def reduced_table(
    crystals: Sequence[CrystalArrays], fields: FieldConfig, most_points: int, most_atoms: int = 20
) -> tuple[list[CrystalArrays], np.ndarray]:
    """Return crystals in reduced cells, and which of those given they are.

    Args:
        crystals: In primitive cells.
        fields: Of the grids.
        most_points: Crystals with larger grids are left out.
        most_atoms: Crystals with more atoms are left out.
    """
    kept: list[int] = []
    rows: list[CrystalArrays] = []
    for row, crystal in enumerate(crystals):
        if len(crystal) > most_atoms:
            continue
        reduced = reduced_cell(crystal)
        if np.prod(fields.shape(reduced.lattice)) <= most_points:
            kept.append(row)
            rows.append(reduced)
    return rows, np.array(kept, dtype=np.int64)
