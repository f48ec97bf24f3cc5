"""Energies above the convex hull of known phases, by pymatgen's ``PhaseDiagram``."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

from icsg3d.errors import InputError
from icsg3d.hull.phases import Phase, composition_of, read_phases, shipped_phases, symbols_of
from icsg3d.hull.systems import subsystems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pymatgen.core import Composition

    from icsg3d.hull.systems import Symbols

_DIAGRAMS = 1024
"""Chemical systems whose phase diagrams are kept, some 30 kB each."""

_LEAST_SHARE = 1e-6
"""Shares of the atoms below it are rounding."""

_MOST_ELEMENTS = 9
"""Of a chemical system; Qhull's time and memory grow steeply with the dimension."""


@dataclass(frozen=True)
class Decomposition:
    """A phase of the mixture into which a crystal can decompose.

    Attributes:
        formula: Reduced formula of the phase.
        share: Share of the crystal's atoms that end in it; those of all phases add up to 1.
        space_group: Number of its space group; 0 where unknown.
    """

    formula: str
    share: float
    space_group: int = 0


@dataclass(frozen=True)
class HullPosition:
    """Where a crystal lies relative to the hull.

    Attributes:
        energy_above_hull: eV/atom; negative below the hull of what is known.
        hull_energy: Energy of the hull at the composition in eV/atom.
        products: Phases of lowest energy that the composition decomposes to, the largest first.
        std: Standard uncertainty of the crystal's formation energy in eV/atom, which is also that of its distance, as
            the hull's own is not known; NaN where none was given.
        known: Whether a phase of the hull has the composition.
    """

    energy_above_hull: float
    hull_energy: float
    products: tuple[Decomposition, ...]
    std: float = float("nan")
    known: bool = False

    def describe(self) -> str:
        """Return the decomposition as text, such as ``0.60 SrO + 0.40 TiO2`` (shares of atoms)."""
        return " + ".join(f"{each.share:.2f} {each.formula}" for each in self.products)


class ReferenceHull:
    """The convex hulls of all chemical systems of some phases.

    Elements are at 0 eV/atom. Phase diagrams are made when they are first asked for and kept.

    Args:
        phases: Competing phases on one scale of energies; of those of one composition the lowest counts.
        source: Where they are from, for tables and messages.
    """

    def __init__(self, phases: Iterable[Phase], source: str = "") -> None:
        self.source = source
        self._phases: dict[str, Phase] = {}
        self._systems: dict[Symbols, list[Phase]] = defaultdict(list)
        for phase in phases:
            if phase.formula not in self._phases or phase.energy < self._phases[phase.formula].energy:
                self._phases[phase.formula] = phase
        for phase in self._phases.values():
            self._systems[symbols_of(phase.formula)].append(phase)
        self._diagram = lru_cache(maxsize=_DIAGRAMS)(self._make_diagram)

    @classmethod
    def shipped(cls) -> ReferenceHull:
        """Return the hull of the Materials Project that comes with the package (docs/screening.md), read once."""
        return _shipped()

    def with_phases(self, phases: Iterable[Phase], source: str = "") -> ReferenceHull:
        """Return a hull to which phases were added; this one stays as it is.

        Args:
            phases: On the scale of the hull. That of the shipped one are the Materials Project's 2020 corrections.
            source: Where they are from.
        """
        names = ", ".join(name for name in (self.source, source) if name)
        return ReferenceHull([*self._phases.values(), *phases], names)

    def with_files(self, files: Sequence[str | Path]) -> ReferenceHull:
        """Return a hull to which the phases of files were added; this one where there are no files.

        Args:
            files: Tables or entries (:func:`~icsg3d.hull.phases.read_phases`).

        Raises:
            InputError: if a file is missing, or holds no phases.
        """
        added = tuple(phase for file in files for phase in read_phases(Path(file)))
        return _extended(self, added, ", ".join(map(str, files))) if added else self

    @property
    def formulas(self) -> frozenset[str]:
        """Reduced formulas of the phases."""
        return frozenset(self._phases)

    @cached_property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements of which there is a pure phase."""
        return frozenset(next(iter(symbols)) for symbols in self._systems if len(symbols) == 1)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the phases, in hexadecimal."""
        rows = sorted((each.formula, each.energy, each.space_group) for each in self._phases.values())
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def __len__(self) -> int:
        """Return the number of phases."""
        return len(self._phases)

    def phase(self, formula: str) -> Phase | None:
        """Return the phase of lowest energy of a reduced formula, None where the hull has none."""
        return self._phases.get(formula)

    def phases_of(self, symbols: Iterable[str]) -> list[Phase]:
        """Return the phases of a chemical system and of all systems inside it, elements first."""
        return [phase for part in subsystems(frozenset(symbols)) for phase in self._systems.get(part, ())]

    def check(self, composition: Composition) -> None:
        """Refuse a composition that the hull says nothing of.

        Raises:
            InputError: if it has an element of which there is no pure phase, or too many elements.
        """
        symbols = _symbols(composition)
        lacking = sorted(symbols - self.elements)
        if lacking:
            msg = (
                f"the hull has no phase of {', '.join(lacking)}, so nothing can be said of "
                f"{composition.reduced_formula}; leave it out, or add phases of the element"
            )
            raise InputError(msg)
        if len(symbols) > _MOST_ELEMENTS:
            msg = (
                f"{composition.reduced_formula} has {len(symbols)} elements; hulls are made of up to {_MOST_ELEMENTS}, "
                "so leave it out"
            )
            raise InputError(msg)

    def place(self, composition: Composition | str, energy: float, std: float = float("nan")) -> HullPosition:
        """Return where a crystal lies relative to the hull.

        Args:
            composition: Of the crystal, or its formula.
            energy: Its formation energy in eV/atom on the scale of the hull.
            std: Standard uncertainty of the energy.

        Raises:
            InputError: if the composition is none, has elements that the hull lacks or more than nine, or the energy is
                not finite.
        """
        given = composition_of(composition) if isinstance(composition, str) else composition.remove_charges()
        self.check(given)
        if not math.isfinite(energy):
            msg = f"the formation energy of {given.reduced_formula} is {energy}; give a number in eV/atom"
            raise InputError(msg)
        diagram = self._diagram(_symbols(given))
        products = {
            entry.composition.reduced_formula: float(amount)
            for entry, amount in diagram.get_decomposition(given).items()
            if amount > _LEAST_SHARE
        }
        hull_energy = sum(self._energy(formula) * amount for formula, amount in products.items())
        return HullPosition(
            float(energy) - hull_energy,
            hull_energy,
            tuple(
                Decomposition(formula, amount, self._phases[formula].space_group)
                for formula, amount in sorted(products.items(), key=lambda item: (-item[1], item[0]))
            ),
            std,
            given.reduced_formula in self._phases,
        )

    def place_all(
        self,
        compositions: Sequence[Composition],
        energies: Sequence[float],
        stds: Sequence[float] | None = None,
        report: Callable[[], None] = lambda: None,
    ) -> list[HullPosition | None]:
        """Return where crystals lie, None for those of elements or energies that nothing can be said of.

        Args:
            compositions: Of the crystals.
            energies: Formation energies in eV/atom; NaN where there is none.
            stds: Standard uncertainties.
            report: Called after each.
        """
        positions: list[HullPosition | None] = []
        for row, (composition, energy) in enumerate(zip(compositions, energies, strict=True)):
            try:
                positions.append(self.place(composition, energy, math.nan if stds is None else stds[row]))
            except InputError:
                positions.append(None)
            report()
        return positions

    def _energy(self, formula: str) -> float:
        phase = self._phases[formula]
        return 0.0 if len(symbols_of(formula)) == 1 else phase.energy

    def _make_diagram(self, symbols: Symbols) -> PhaseDiagram:
        entries = []
        for phase in self.phases_of(symbols):
            composition = composition_of(phase.formula)
            entries.append(PDEntry(composition, self._energy(phase.formula) * composition.num_atoms))
        return PhaseDiagram(entries)


def _symbols(composition: Composition) -> Symbols:
    return frozenset(element.symbol for element in composition.elements)


@lru_cache(maxsize=2)
def _extended(hull: ReferenceHull, phases: tuple[Phase, ...], source: str) -> ReferenceHull:
    """Return a hull with more phases; it is kept with its diagrams, as jobs ask for the same one again and again."""
    return hull.with_phases(phases, source)


@cache
def _shipped() -> ReferenceHull:
    return ReferenceHull(shipped_phases(), "Materials Project")
