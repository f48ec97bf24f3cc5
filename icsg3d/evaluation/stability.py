"""Whether generated crystals are stable, by CHGNet (Deng et al. 2023, doi:10.1038/s42256-023-00716-3)."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

from icsg3d.data.elemental import elemental_ground_states
from icsg3d.errors import InputError
from icsg3d.progress import track

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Composition, Structure

    from icsg3d.hull.reference import ReferenceHull

METASTABLE = 0.1
"""eV/atom above the hull up to which a crystal counts as metastable."""


class Energies(Protocol):
    """What gives energies of crystals in eV/atom."""

    def static(self, structures: Sequence[Structure]) -> np.ndarray:
        """Return the energies of crystals as they are, shape (n,), NaN where there is none."""

    def relaxed(self, structure: Structure) -> float:
        """Return the energy of a crystal after relaxation of sites and cell, NaN where it fails."""


class ChgnetEnergies:
    """Energies of CHGNet on the Materials Project's scale."""

    def __init__(self) -> None:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                from chgnet.model import CHGNet, StructOptimizer

                model = CHGNet.load(verbose=False)
                self._model: Any = model
                self._optimizer: Any = StructOptimizer(model=model)
        except ImportError as error:
            msg = "stability needs chgnet; install it with pip install 'icsg3d[workflows]'"
            raise InputError(msg) from error

    def static(self, structures: Sequence[Structure]) -> np.ndarray:
        """Return the energies of crystals as they are, shape (n,), NaN where CHGNet finds an atom isolated."""
        values = np.full(len(structures), np.nan)
        for row, structure in enumerate(structures):
            with contextlib.suppress(ValueError, RuntimeError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values[row] = float(self._model.predict_structure(structure, task="e")["e"])
        return values

    def relaxed(self, structure: Structure) -> float:
        """Return the energy after relaxation to forces below 0.1 eV/angstrom or for 200 steps, NaN where it fails."""
        return self.relax(structure)[1]

    def relax(self, structure: Structure) -> tuple[Structure | None, float]:
        """Return a crystal relaxed as by :meth:`relaxed` and its energy, None and NaN where that fails."""
        with contextlib.suppress(ValueError, RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self._optimizer.relax(structure, fmax=0.1, steps=200, verbose=False)
            return found["final_structure"], float(found["trajectory"].energies[-1]) / len(structure)
        return None, float("nan")


def stability(
    samples: Sequence[Structure],
    phases: Sequence[Structure],
    energies: Energies,
    hull: ReferenceHull | None = None,
    new: Sequence[bool] | None = None,
    draws: float | None = None,
) -> dict[str, Any]:
    """Relax crystals and place them above or below the hull of known phases and the elements.

    Args:
        samples: Generated crystals.
        phases: Known crystals; ordered ones of the samples' chemical systems compete, with energies of the engine. Too
            few make everything look stable.
        energies: Of the engine.
        hull: Taken instead of ``phases``: formation energies of the engine are placed against it, which must be on its
            scale.
        new: Whether each sample is new; they are taken to be different from each other.
        draws: Number of draws among which the samples are all that are valid and different; by default their number.

    Returns:
        ``chgnet_samples``; ``chgnet_failed``, the share without an energy or with an element that has no reference;
        ``stable``, the share at most 0 eV/atom above the hull; ``metastable``, at most 0.1; and the median distance.
        Where it is known which are new, ``sun`` is the share of the draws that is metastable, unique and new at once,
        and ``sun_stable`` the same with stable ones.
    """
    known: dict[str, float] = {}
    entries = [] if hull is not None else _entries(phases, samples, energies)

    def distance(sample: Structure) -> float:
        if hull is None:
            return _above_hull(sample, entries, known, energies)
        return above_reference_hull(sample, energies.relaxed(sample), hull, known, energies)

    found = np.array([distance(each) for each in track(samples, "relaxing with CHGNet")])
    good = found[np.isfinite(found)]
    figures = {
        "chgnet_samples": len(samples),
        "chgnet_failed": float(1 - len(good) / len(samples)),
        "chgnet_phases": len(entries) if hull is None else len(hull),
        "stable": float((good <= 0).sum() / len(samples)),
        "metastable": float((good <= METASTABLE).sum() / len(samples)),
        "median_above_hull": float(np.median(good)) if len(good) else None,
    }
    if new is not None:
        for name, limit in (("sun", METASTABLE), ("sun_stable", 0.0)):
            figures[name] = float(((found <= limit) & np.array(new)).sum() / (draws or len(samples)))
    return figures


def above_reference_hull(
    sample: Structure, energy: float, hull: ReferenceHull, known: dict[str, float], energies: Energies
) -> float:
    """Return a crystal's distance from a hull in eV/atom, NaN without an energy or where an element has no reference.

    Args:
        sample: The crystal.
        energy: Its energy by the engine, in eV/atom.
        hull: Of formation energies on the engine's scale.
        known: Energies of the elements in eV/atom by symbol; those that are missing are added.
        energies: Of the engine.
    """
    composition = _neutral(sample)
    if not np.isfinite(energy) or not _add_references(_symbols(composition), known, energies):
        return float("nan")
    elements = sum(known[str(each)] * composition.get_atomic_fraction(each) for each in composition.elements)
    try:
        return hull.place(composition, energy - elements).energy_above_hull
    except InputError:
        return float("nan")


def _add_references(symbols: frozenset[str], known: dict[str, float], energies: Energies) -> bool:
    """Add the energies of elements that are missing, and return whether all of them have one."""
    references = elemental_ground_states()
    if not symbols <= set(references):
        return False
    for symbol in sorted(symbols - set(known)):
        known[symbol] = float(energies.static([references[symbol]])[0])
    return all(np.isfinite(known[symbol]) for symbol in symbols)


def _entries(phases: Sequence[Structure], samples: Sequence[Structure], energies: Energies) -> list[PDEntry]:
    """Return the entries of the ordered phases that lie in the chemical system of any sample."""
    systems = {_symbols(_neutral(sample)) for sample in samples}
    near = [p for p in phases if p.is_ordered and any(_symbols(_neutral(p)) <= system for system in systems)]
    values = energies.static(near)
    return [
        PDEntry(_neutral(phase), value * len(phase))
        for phase, value in zip(near, values, strict=True)
        if np.isfinite(value)
    ]


def _above_hull(sample: Structure, entries: Sequence[PDEntry], known: dict[str, float], energies: Energies) -> float:
    """Return eV/atom above the hull of elements and phases, NaN where there is no energy or reference."""
    symbols = _symbols(_neutral(sample))
    if not _add_references(symbols, known, energies):
        return float("nan")
    value = energies.relaxed(sample)
    if not np.isfinite(value):
        return float("nan")
    competing = [entry for entry in entries if _symbols(entry.composition) <= symbols]
    elements = [PDEntry(symbol, known[symbol]) for symbol in symbols]
    hull = PhaseDiagram([*elements, *competing]).get_hull_energy_per_atom(_neutral(sample))
    return float(value - hull)


def _neutral(structure: Structure) -> Composition:
    """Return the composition without oxidation states: to a phase diagram, Cl and Cl- are different elements."""
    return structure.composition.remove_charges()


def _symbols(composition: Composition) -> frozenset[str]:
    return frozenset(element.symbol for element in composition.elements)
