"""An ASE calculator of the predicted energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import Calculator, all_changes

from icsg3d.properties.predictor import PropertyPredictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms


class CrystalGraphCalculator(Calculator):
    """Formation energy per atom that a crystal-graph model predicts, times the number of atoms, in eV.

    It knows no forces and no stress: asking for them raises ASE's ``PropertyNotImplementedError``. The zero is that of
    the elements' ground states, so differences between crystals of one composition are energy differences.

    Args:
        model: Model of an energy per atom, shipped or in a folder.
        device: Where the networks run.
        kwargs: ASE's own arguments.
    """

    implemented_properties = ["energy"]  # noqa: RUF012 (ASE declares it so)

    def __init__(self, model: str = "formation_energy_per_atom", device: str = "cpu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.predictor = PropertyPredictor.from_pretrained(model, device)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Predict the energy; its standard uncertainty comes along as ``energy_std`` in ``results``, in eV.

        Raises:
            InputError: if the atoms are no crystal, or one of them is isolated.
        """
        super().calculate(atoms, properties, system_changes)
        crystal: Any = self.atoms  # set by the line before
        found = self.predictor.predict(crystal)
        count = len(crystal)
        self.results = {"energy": float(found.values[0]) * count, "energy_std": float(found.stds[0]) * count}
