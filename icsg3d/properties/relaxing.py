"""Crystals brought to the minimum of the predicted energy: positions and cell, the symmetry kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from ase.calculators.calculator import Calculator
from ase.filters import UnitCellFilter
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from icsg3d.models.decoding import MIN_DISTANCE

if TYPE_CHECKING:
    from ase import Atoms

    from icsg3d.properties.surface import EnergySurface

STEPS = 40
"""Of BFGS, at most."""

LARGEST_FORCE = 0.02
"""eV per angstrom; forces below it end the descent, strains counting as ASE's cell filter has it."""

_LARGEST_STEP = 0.1
"""Angstrom."""

_VOLUMES = (0.7, 1.4)
"""Of the volume at the start; what ends outside has left what the networks know."""


def surface_results(surface: EnergySurface, atoms: Atoms) -> dict[str, Any]:
    """Return energy (eV), forces (eV/angstrom) and stress (eV/angstrom^3, Voigt's order), as ASE has them."""
    point = surface.at(atoms.numbers, atoms.positions, atoms.cell.array)
    return {"energy": point.energy, "forces": point.forces, "stress": full_3x3_to_voigt_6_stress(point.stress)}


class _SurfaceCalculator(Calculator):
    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 (ASE declares it so)

    def __init__(self, surface: EnergySurface) -> None:
        super().__init__()
        self._surface = surface

    def calculate(self, *given: Any, **named: Any) -> None:
        super().calculate(*given, **named)
        self.results = surface_results(self._surface, cast("Atoms", self.atoms))
        if not np.isfinite(self.results["forces"]).all() or not np.isfinite(self.results["stress"]).all():
            raise FloatingPointError


class Relaxed(NamedTuple):
    """What came of a crystal.

    Attributes:
        structure: At the end of the descent.
        moved: Root-mean-square displacement of the atoms in angstrom, the cell aside.
    """

    structure: Structure
    moved: float


def relaxed(structure: Structure, surface: EnergySurface, steps: int = STEPS) -> Relaxed | None:
    """Return a crystal at the minimum of the predicted energy, positions and cell together.

    Forces have the symmetry of the crystal, so it is kept. What the networks lead astray (a volume more than 30 %
    smaller or 40 % larger, atoms within half an angstrom, an energy that does not fall, forces that are no numbers) is
    None.

    Args:
        structure: Where to begin.
        surface: The energy.
        steps: Of BFGS, at most; where they do not suffice, the last geometry counts.
    """
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.calc = _SurfaceCalculator(surface)
    begun = atoms.get_scaled_positions(wrap=False)
    try:
        before = atoms.get_potential_energy()
        with BFGS(cast("Atoms", UnitCellFilter(atoms)), logfile=None, maxstep=_LARGEST_STEP) as descent:
            descent.run(fmax=LARGEST_FORCE, steps=steps)
    except FloatingPointError:
        return None
    shift = (atoms.get_scaled_positions(wrap=False) - begun) @ atoms.cell.array
    found = Structure(atoms.cell.array, structure.species, atoms.get_scaled_positions())
    change = found.volume / structure.volume
    sound = np.isfinite(shift).all() and _VOLUMES[0] < change < _VOLUMES[1]
    if not sound or not found.is_valid(MIN_DISTANCE) or atoms.get_potential_energy() > before:
        return None
    return Relaxed(found, float(np.sqrt(np.square(shift - shift.mean(0)).sum(1).mean())))
