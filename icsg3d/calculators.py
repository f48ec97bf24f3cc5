"""An ASE calculator of the predicted energy, its forces and its stress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.relaxing import surface_results
from icsg3d.properties.surface import EnergySurface, has_surface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms


class CrystalGraphCalculator(Calculator):
    """Formation energy per atom that a model predicts, times the number of atoms, in eV, with forces and stress.

    The zero is that of the elements' ground states, so differences between crystals of one composition are energy
    differences. Forces and stress are derivatives of the energy. They need networks on environments, as the shipped
    model has; of another one asking for them raises ASE's ``PropertyNotImplementedError``.

    Args:
        model: Model of an energy per atom, shipped or in a folder.
        device: Where the networks run.
        kwargs: ASE's own arguments.
    """

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 (ASE declares it so)

    def __init__(self, model: str = "formation_energy_per_atom", device: str = "cpu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.predictor = PropertyPredictor.from_pretrained(model, device)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Predict the energy, and forces and stress where they are asked for.

        The standard uncertainty of the energy comes along as ``energy_std`` in ``results``, in eV.

        Raises:
            InputError: if the atoms are no crystal, or none that a material can be.
            PropertyNotImplementedError: if forces or the stress are asked of a model that has none.
        """
        super().calculate(atoms, properties, system_changes)
        crystal: Any = self.atoms  # set by the line before
        found = self.predictor.predict(crystal)
        count = len(crystal)
        self.results = {"energy": float(found.values[0]) * count, "energy_std": float(found.stds[0]) * count}
        if {"forces", "stress"} & set(properties):
            if not has_surface(self.predictor.model):
                raise PropertyNotImplementedError("networks on crystal graphs have no forces and no stress")
            self.results |= surface_results(EnergySurface(self.predictor.model), crystal)
