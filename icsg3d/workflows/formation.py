"""Formation energies of crystals with any engine, against the elements computed alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from atomate2.forcefields.jobs import ForceFieldRelaxMaker, ForceFieldStaticMaker
from jobflow import Flow, Maker, OutputReference, Response, job
from monty.json import jsanitize
from pymatgen.core import Structure

from icsg3d.crystals.structures import Crystal, as_structure
from icsg3d.data.elemental import elemental_ground_states
from icsg3d.errors import InputError
from icsg3d.workflows.calculations import (
    calculation,
    element_energy,
    formation_energy,
    shipped_element,
    tolerant,
    versions_of,
)
from icsg3d.workflows.elements import shipped_energies
from icsg3d.workflows.schemas import EngineDoc
from icsg3d.workflows.taking import a_crystal, energies_of_elements, taking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def force_field_relax(name: str) -> ForceFieldRelaxMaker:
    """Return the relaxation of sites and cell with a force field of atomate2, to forces below 0.03 eV/angstrom."""
    return ForceFieldRelaxMaker(
        name=f"{name} relax",
        force_field_name=name,
        ionic_step_data=("energy",),
        relax_kwargs={"fmax": 0.03},
        optimizer_kwargs={"optimizer": "BFGS"},
    )


def force_field_static(name: str) -> ForceFieldStaticMaker:
    """Return the energy of a crystal as it is with a force field of atomate2."""
    return ForceFieldStaticMaker(name=f"{name} static", force_field_name=name, ionic_step_data=("energy",))


@dataclass
class FormationEnergyMaker(Maker):
    """Formation energy of a crystal: relaxation, energy, and the elements by the same engine.

    An engine is the two makers and what must be known to compare their energies; :mod:`icsg3d.workflows.engines` has
    them by name.

    Args:
        name: Of the flow.
        relax_maker: Any atomate2 maker of a relaxation; None to keep crystals as they are.
        static_maker: Any atomate2 maker of an energy; None to take that of the relaxation.
        engine: Name of the engine, for the record.
        packages: Distributions behind it, whose versions are recorded.
        correction: Of the energies of compounds; None or ``MP2020``.
        relax_elements: Whether the crystals of the elements are relaxed as well. They are the Materials Project's,
            relaxed with PBE, so for a slow PBE engine they may stay as they are.
        elements: Crystals of elements that the package's do not have, or that are to replace them, by symbol.
    """

    name: str = "formation energy"
    relax_maker: Maker | None = field(default_factory=lambda: force_field_relax("CHGNet"))
    static_maker: Maker | None = field(default_factory=lambda: force_field_static("CHGNet"))
    engine: str = "chgnet"
    packages: list[str] = field(default_factory=lambda: ["chgnet", "torch"])
    correction: str | None = None
    relax_elements: bool = True
    elements: dict[str, Structure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that there is something to compute with.

        Raises:
            InputError: if there is no maker.
        """
        if self.relax_maker is None and self.static_maker is None:
            msg = f"the engine {self.engine} has neither a relaxation nor an energy; give at least one maker"
            raise InputError(msg)

    @classmethod
    def from_force_field_name(cls, name: str, packages: Iterable[str] = ()) -> Self:
        """Return the maker with a force field that atomate2 knows, such as ``CHGNet`` or ``MACE-MP-0``."""
        return cls(
            relax_maker=force_field_relax(name),
            static_maker=force_field_static(name),
            engine=name.lower(),
            packages=list(packages),
        )

    def document(self) -> EngineDoc:
        """Return name, versions and settings of the engine."""
        makers = {"relax": self.relax_maker, "static": self.static_maker}
        return EngineDoc(
            name=self.engine,
            versions=versions_of(["icsg3d", "atomate2", *self.packages]),
            settings={name: _plain(maker) for name, maker in makers.items() if maker is not None}
            | {"relax_elements": self.relax_elements},
            correction=self.correction,
        )

    def missing_elements(self, structure: Structure) -> list[str]:
        """Return the elements of a crystal of which there is no crystal to measure it against."""
        return sorted(_symbols(structure) - set(elemental_ground_states()) - set(self.elements))

    @taking(structure=a_crystal, element_energies=energies_of_elements)
    def make(
        self,
        structure: Crystal | OutputReference,
        prev_dir: str | None = None,
        element_energies: Mapping[str, Any] | OutputReference | None = None,
    ) -> Flow:
        """Return the flow for one crystal; its output is a :class:`~icsg3d.workflows.schemas.FormationEnergyDoc`.

        Args:
            structure: The crystal: a Structure, Atoms, the path of a file, an entry ..., or a reference to one; what is
                missing of a referenced one shows when its job runs.
            prev_dir: Where an earlier calculation of it ran.
            element_energies: Documents of elements that are computed already, or references to them, by symbol.

        Raises:
            InputError: if it is no crystal, or an element has no reference.
        """
        if isinstance(structure, OutputReference) or isinstance(element_energies, OutputReference):
            later = formation_energy_of(self, structure, prev_dir, element_energies)
            later.name = self.name
            return Flow([later], output=later.output, name=self.name)
        structure = as_structure(structure)
        known = dict(element_energies or {})
        flows = self.element_flows(_symbols(structure) - set(known))
        known |= {symbol: flow.output for symbol, flow in flows.items()}
        steps, jobs = self._steps(structure, prev_dir, relax=True)
        energy = tolerant(
            formation_energy(
                structure,
                jobs["relax"].output if "relax" in jobs else None,
                jobs["static"].output if "static" in jobs else None,
                {symbol: known[symbol] for symbol in sorted(_symbols(structure))},
                self,
                steps,
                {step: new.uuid for step, new in jobs.items()},
            )
        )
        name = f"{self.name} {structure.composition.reduced_formula}"
        energy.name = name
        return Flow([*flows.values(), *jobs.values(), energy], output=energy.output, name=name)

    def element_flows(self, symbols: Iterable[str], *, shipped: bool = True) -> dict[str, Flow]:
        """Return the flows of elements, by symbol, in order; outputs are ``ElementDoc``.

        Args:
            symbols: Of the elements.
            shipped: Whether energies that the package ships for this engine are taken
                (:mod:`icsg3d.workflows.elements`) instead of being computed.

        Raises:
            InputError: if an element has no crystal.
        """
        known = shipped_energies(self.document()) if shipped else {}
        return {
            symbol: _known_flow(symbol, known[symbol])
            if symbol in known and symbol not in self.elements
            else self._element_flow(symbol)
            for symbol in sorted(symbols)
        }

    def _element_flow(self, symbol: str) -> Flow:
        crystals = elemental_ground_states()
        structure = self.elements.get(symbol) or crystals.get(symbol)
        if structure is None:
            raise InputError(no_reference([symbol]))
        steps, jobs = self._steps(structure, None, relax=self.relax_elements)
        energy = tolerant(
            element_energy(
                symbol,
                structure,
                jobs["relax"].output if "relax" in jobs else None,
                jobs[steps[-1]].output,
                {step: new.uuid for step, new in jobs.items()},
            )
        )
        energy.name = f"energy of {symbol}"
        return Flow([*jobs.values(), energy], output=energy.output, name=f"element {symbol}")

    def _steps(self, structure: Structure, prev_dir: str | None, *, relax: bool) -> tuple[list[str], dict[str, Any]]:
        """Return the names of the steps, in order, and their jobs."""
        jobs: dict[str, Any] = {}
        current: Any = structure
        if self.relax_maker is not None and (relax or self.static_maker is None):
            jobs["relax"] = calculation(self.relax_maker, current, prev_dir, self.packages)
            current, prev_dir = jobs["relax"].output.structure, jobs["relax"].output.dir_name
        if self.static_maker is not None:
            jobs["static"] = calculation(self.static_maker, current, prev_dir, self.packages)
        return list(jobs), jobs


@job
def formation_energy_of(
    maker: FormationEnergyMaker, structure: Any, prev_dir: str | None, element_energies: Any
) -> Response[Any]:
    """Replace itself by the flow of a crystal that another job made, which must be known to tell its elements.

    Args:
        maker: Of the flow.
        structure: What the other job made.
        prev_dir: Where an earlier calculation of it ran.
        element_energies: Documents of elements that are computed already, by symbol.
    """
    return Response(replace=maker.make(structure, prev_dir, element_energies))


def _known_flow(symbol: str, energy: float) -> Flow:
    known = shipped_element(symbol, energy)
    known.name = f"energy of {symbol}"
    return Flow([known], output=known.output, name=f"element {symbol}")


def _plain(maker: Maker) -> dict[str, Any]:
    """Return a maker's settings as plain data, which no decoder turns into a maker again."""
    values = jsanitize(maker.as_dict())
    return {"maker": f"{values['@module']}:{values['@class']}"} | {k: v for k, v in values.items() if k[0] != "@"}


def no_reference(symbols: Iterable[str]) -> str:
    """Return the sentence about elements without a reference."""
    names = ", ".join(symbols)
    return f"there is no crystal of the element {names} to measure against; give one with 'elements' (--element FILE)"


def _symbols(structure: Structure) -> set[str]:
    return {element.symbol for element in structure.composition.remove_charges().elements}
