"""Density-functional theory with GPAW: plane waves and PBE, as ASE jobs of atomate2.

GPAW is licensed under the GPL and never needed by the rest of icsg3d; ``docs/install-gpaw.md`` says how to install it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.ase.jobs import AseMaker, AseRelaxMaker
from pymatgen.analysis.magnetism.analyzer import DEFAULT_MAGMOMS
from pymatgen.core import Structure

from icsg3d.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from atomate2.ase.schemas import AseResult
    from pymatgen.core import Molecule

MOMENTS = {name: float(moment) for name, moment in DEFAULT_MAGMOMS.items() if name.isalpha() and name != "Cu"}
"""Bohr magnetons with which magnetic elements start: pymatgen's, but for copper, which has one as a fallback only."""


def initial_moments(structure: Structure) -> list[float] | None:
    """Return initial magnetic moments in Bohr magnetons, or None where the calculation need not be spin-polarised.

    It is polarised where there is an element of :data:`MOMENTS`, and for oxygen itself, whose molecule is a triplet.
    """
    symbols = [site.specie.symbol for site in structure]
    if set(symbols) == {"O"}:
        return [1.0] * len(symbols)
    if not set(symbols) & set(MOMENTS):
        return None
    return [MOMENTS.get(symbol, 0.6) for symbol in symbols]


@dataclass
class GpawSettings:
    """What the two makers share: the parameters of GPAW, chosen for a crystal.

    Args:
        ecut: Cutoff of the plane waves in eV. Below 700 the stress is off by more than its Pulay correction mends:
            at 400 eV SrTiO3 shrinks to 3.64 angstrom while its energy rises.
        kpoint_density: Points per inverse angstrom along each reciprocal vector (which counts 2 pi), as ASE has it. The
            grid is chosen for the first cell and kept, as energies of two grids cannot be compared.
        xc: Functional.
        width: Of the Fermi-Dirac occupations in eV; energies are extrapolated to zero.
        calculator_kwargs: More of GPAW's own parameters, which win over those above. JSON values only.
    """

    ecut: float = 700.0
    kpoint_density: float = 4.0
    xc: str = "PBE"
    width: float = 0.1
    calculator_kwargs: dict[str, Any] = field(default_factory=dict)

    def run_ase(self, mol_or_struct: Structure | Molecule, prev_dir: str | Path | None = None) -> AseResult:
        """Run GPAW on a structure.

        Raises:
            InputError: if GPAW is not installed, or a molecule is given.
        """
        if not isinstance(mol_or_struct, Structure):
            msg = "the GPAW jobs of icsg3d take crystals; give a pymatgen Structure"
            raise InputError(msg)
        structure = mol_or_struct.copy()
        moments = initial_moments(structure)
        if moments is not None and "magmom" not in structure.site_properties:
            structure.add_site_property("magmom", moments)
        self._calculator = self._gpaw(self.grid(structure))
        return super().run_ase(structure, prev_dir=prev_dir)  # type: ignore[misc]

    def grid(self, structure: Structure) -> dict[str, Any]:
        """Return the grid of k-points for a crystal, with one at the origin."""
        from ase.calculators.calculator import kpts2sizeandoffsets
        from pymatgen.io.ase import AseAtomsAdaptor

        atoms = AseAtomsAdaptor.get_atoms(structure)
        size, _ = kpts2sizeandoffsets(density=self.kpoint_density, gamma=True, atoms=atoms)
        return {"size": [int(count) for count in size], "gamma": True}

    def parameters(self, kpts: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of GPAW with a grid of k-points, JSON values only."""
        return {
            "mode": {"name": "pw", "ecut": self.ecut, "dedecut": "estimate"},
            "xc": self.xc,
            "kpts": kpts,
            "occupations": {"name": "fermi-dirac", "width": self.width},
            "convergence": {"energy": 1e-5},
            # Fractional coordinates that were written with six decimals are as symmetric as they look.
            "symmetry": {"tolerance": 1e-5},
            "txt": "gpaw.txt",
        } | self.calculator_kwargs

    def _get_calculator(self) -> Any:
        # Asked for by atomate2 for its name, before there is a crystal to choose a grid for.
        return self._gpaw({"density": self.kpoint_density, "gamma": True})

    def _gpaw(self, kpts: dict[str, Any]) -> Any:
        try:
            from gpaw import GPAW
        except ImportError as error:
            msg = "the engine gpaw needs GPAW; install it as docs/install-gpaw.md says, then pip install 'icsg3d[gpaw]'"
            raise InputError(msg) from error
        return GPAW(**self.parameters(kpts))


@dataclass
class GpawRelaxMaker(GpawSettings, AseRelaxMaker):
    """Relaxation of sites and cell with GPAW.

    Args:
        name: Of the job.
        fix_symmetry: Relax within the symmetry of the crystal that is given.
        steps: At most.
        relax_kwargs: ``fmax`` in eV/angstrom, and more of ASE's.
        optimizer_kwargs: ``optimizer``, by ASE's name, and its arguments.
    """

    name: str = "GPAW relax"
    fix_symmetry: bool = True
    steps: int = 60
    relax_kwargs: dict[str, Any] = field(default_factory=lambda: {"fmax": 0.05, "alpha": 100.0})
    optimizer_kwargs: dict[str, Any] = field(default_factory=lambda: {"optimizer": "BFGS"})
    ionic_step_data: tuple[str, ...] | None = ("energy",)


@dataclass
class GpawStaticMaker(GpawSettings, AseMaker):
    """Energy of a crystal as it is, with GPAW: no forces and no stress, which would cost as much again.

    Args:
        name: Of the job.
    """

    name: str = "GPAW static"
