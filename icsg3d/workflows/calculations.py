"""Calculations that are run once and found again, with any engine and manager, and formation energies from them."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from jobflow import CURRENT_JOB, JobConfig, Maker, OnMissing, Response, job
from monty.json import jsanitize
from pymatgen.core import Structure
from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
from pymatgen.entries.computed_entries import ComputedStructureEntry

from icsg3d.data.elemental import elemental_ground_states
from icsg3d.errors import InputError
from icsg3d.workflows.oxidation import runs_vasp, with_oxidation_states
from icsg3d.workflows.schemas import ElementDoc, EngineDoc, FormationEnergyDoc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import Job, JobStore

MP2020 = "MP2020"
"""The Materials Project's corrections of 2020, of anions and of elements with a Hubbard U."""

MAX_RISE = 0.005
"""Largest rise of the energy along a relaxation in eV/atom: what the discretisation of a plane-wave basis makes."""

MAX_GROWTH = 1.6
"""Ratio of the volumes after and before a relaxation above which a crystal has come apart."""

_KEY = "icsg3d_calculation"

_STEPS = {"relax": "relaxation", "static": "static calculation"}


def calculation_key(maker: Maker, structure: Structure, packages: Sequence[str] = ()) -> str:
    """Return what names a calculation: a digest of settings, versions of packages, and crystal.

    Args:
        maker: Whose settings count, but not its name, nor the versions of the packages that define it.
        structure: Whose lattice vectors (angstrom) and fractional coordinates count to eight decimals.
        packages: Distributions whose versions matter for the result, such as that of a force field with its weights.
    """
    settings = _without_versions(jsanitize(maker.as_dict(), strict=True, enum_values=True))
    settings.pop("name", None)
    crystal = [
        (structure.lattice.matrix.round(8) + 0.0).tolist(),  # a negative zero is a zero
        [site.species_string for site in structure],
        (structure.frac_coords.round(8) + 0.0).tolist(),
        jsanitize(structure.site_properties),
        _charge(structure),
    ]
    text = json.dumps([settings, versions_of(packages), crystal], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _charge(structure: Structure) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is not the sum of the oxidation states, which is no matter here
        return float(structure.charge)


def _without_versions(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_versions(item) for name, item in value.items() if name != "@version"}
    return [_without_versions(item) for item in value] if isinstance(value, list) else value


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of distributions."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@job
def calculate(
    maker: Maker, structure: Structure, prev_dir: str | None = None, packages: list[str] | None = None
) -> Response[Any]:
    """Run a maker on a structure, or take the result from the store if it is there.

    So a workflow that was cut off, or another with the same engine, does not compute anything twice. The store must be
    open to the job (``expose_store``), as :func:`calculation` sees to.

    VASP gets the crystal with its oxidation states (:mod:`icsg3d.workflows.oxidation`), by which its input sets choose
    magnetic moments; every other engine gets it as it is.

    Args:
        maker: Any atomate2 maker whose ``make`` takes a structure and ``prev_dir``.
        structure: The crystal.
        prev_dir: Where an earlier calculation of it ran.
        packages: Distributions whose versions matter for the result.
    """
    given = with_oxidation_states(structure) if runs_vasp(maker) else structure
    key = calculation_key(maker, given, packages or ())
    found = _finished(CURRENT_JOB.store, key)
    if found is not None:
        return Response(output=found)
    # The document of the calculation takes over the metadata of this job, and with them the key.
    CURRENT_JOB.job.metadata[_KEY] = key
    new = maker.make(given, prev_dir=prev_dir)
    new.append_name(f" {structure.composition.reduced_formula}")
    return Response(replace=new)


def calculation(maker: Maker, structure: Any, prev_dir: Any, packages: list[str]) -> Job:
    """Return the job of :func:`calculate`, named after the maker; the arguments may be references to outputs."""
    new = calculate(maker, structure, prev_dir, packages)
    new.name = f"look up {maker.name}"
    new.config = JobConfig(expose_store=True)
    return new


def _finished(store: JobStore, key: str) -> Any:
    document = store.query_one({f"metadata.{_KEY}": key, "output": {"$ne": None}}, ["output"], sort={"index": -1})
    return None if document is None else document["output"]


def tolerant(new: Job) -> Job:
    """Return a job that runs also when what it refers to is missing, with None in its place."""
    new.config = JobConfig(on_missing_references=OnMissing.NONE)
    return new


def value_of(document: Any, *names: str) -> Any:
    """Return a nested attribute or entry of an output, None where any of them is missing."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else getattr(document, name, None)
    return document


def energy_of(document: Any) -> float | None:
    """Return the energy of an output in eV, None where there is none or it is no number."""
    energy = value_of(document, "output", "energy")
    return float(energy) if isinstance(energy, int | float) and math.isfinite(energy) else None


@job(output_schema=ElementDoc)
def shipped_element(symbol: str, energy: float) -> ElementDoc:
    """Return the energy of an element that the package ships, in eV/atom, with its crystal as it went to the engine."""
    return ElementDoc(symbol=symbol, energy_per_atom=energy, reason="", structure=elemental_ground_states()[symbol])


@job(output_schema=ElementDoc)
def element_energy(
    symbol: str, structure: Structure, relaxation: Any, last: Any, task_ids: dict[str, str]
) -> ElementDoc:
    """Return the energy of an element from its last calculation, None with the reason if that is not to be trusted.

    Args:
        symbol: Of the element.
        structure: Its crystal, as given.
        relaxation: Output of the relaxation, None if there was none.
        last: Output of the last step.
        task_ids: Jobs by step.
    """
    energy = energy_of(last)
    if energy is None:
        step = list(task_ids)[-1]
        reason = f"its {_STEPS[step]} gave no result"
        return ElementDoc(symbol=symbol, energy_per_atom=None, reason=reason, structure=None, task_ids=task_ids)
    found = value_of(last, "structure") or structure
    # Molecules of fluorine and the like drift apart where an engine knows no dispersion; their energy is what counts.
    state, reason = _judged(structure, relaxation, most_growth=math.inf)
    trusted = energy / len(found) if state == "finished" else None
    return ElementDoc(symbol=symbol, energy_per_atom=trusted, reason=reason, structure=found, task_ids=task_ids)


@job(output_schema=FormationEnergyDoc)
def formation_energy(
    structure: Structure,
    relaxation: Any,
    static: Any,
    elements: dict[str, ElementDoc | None],
    maker: Any,
    steps: list[str],
    task_ids: dict[str, str],
) -> FormationEnergyDoc:
    r"""Return :math:`E_f = (E - \sum_i n_i \mu_i) / N` of a crystal, :math:`\mu_i` the energy per atom of element i.

    Args:
        structure: As given.
        relaxation: Output of the relaxation, None if it failed or there was none.
        static: Output of the calculation of the energy, likewise.
        elements: Energies of the elements by the same engine.
        maker: The :class:`~icsg3d.workflows.formation.FormationEnergyMaker` that made the flow.
        steps: Which of ``relax`` and ``static`` there were.
        task_ids: Jobs by step.
    """
    outputs = {"relax": relaxation, "static": static}
    relaxed = value_of(relaxation, "structure") if "relax" in steps else structure
    engine: EngineDoc = maker.document()
    common: dict[str, Any] = {"engine": engine, "task_ids": task_ids}
    for step in steps:
        if energy_of(outputs[step]) is None:
            reason = f"the {_STEPS[step]} gave no result"
            return _document(structure, relaxed, state="failed", reason=reason, **common)
    last = outputs[steps[-1]]
    try:
        energy, correction = corrected_energy(last, relaxed, engine.correction)
    except InputError as error:
        return _document(structure, relaxed, state="failed", reason=str(error), **common)
    common |= {"energy_per_atom": energy / len(relaxed), "correction_per_atom": correction / len(relaxed)}
    fractions = relaxed.composition.remove_charges().fractional_composition.as_dict()
    known = {symbol: value_of(elements.get(symbol), "energy_per_atom") for symbol in fractions}
    missing = sorted(symbol for symbol, value in known.items() if value is None)
    common["elements_per_atom"] = {symbol: value for symbol, value in known.items() if value is not None}
    if missing:
        causes = [f"{symbol} ({value_of(elements.get(symbol), 'reason') or 'no result'})" for symbol in missing]
        reason = f"there is no energy of the element {', '.join(causes)}"
        for symbol in missing:
            jobs = value_of(elements.get(symbol), "task_ids") or {}
            common["task_ids"] = common["task_ids"] | {f"{symbol} {step}": job for step, job in jobs.items()}
        return _document(structure, relaxed, state="failed", reason=reason, **common)
    formation = energy / len(relaxed) - sum(share * known[symbol] for symbol, share in fractions.items())
    state, reason = _judged(structure, relaxation if "relax" in steps else None)
    return _document(
        structure, relaxed, formation_energy_per_atom=float(formation), state=state, reason=reason, **common
    )


def _document(given: Structure, relaxed: Structure | None, **values: Any) -> FormationEnergyDoc:
    return FormationEnergyDoc.from_structure(meta_structure=relaxed or given, structure=relaxed, **values)


def _judged(before: Structure, relaxation: Any, most_growth: float = MAX_GROWTH) -> tuple[str, str]:
    """Return state and reason of a relaxation that gave a result: it may not have converged, or blown up."""
    if relaxation is None:
        return "finished", ""
    after = value_of(relaxation, "structure")
    growth = (after.volume / len(after)) / (before.volume / len(before))
    if not 1 / MAX_GROWTH < growth < most_growth:
        return "failed", f"the crystal did not hold together: its volume changed by a factor of {growth:.2f}"
    energies = _energies_along(relaxation)
    rise = (energies[-1] - energies[0]) / len(after) if energies else 0.0
    if rise > MAX_RISE:
        return "unconverged", f"the energy rose by {rise:.4f} eV/atom along the relaxation"
    state = value_of(relaxation, "state")
    if str(getattr(state, "value", state)) == "failed":
        return "unconverged", "the relaxation used up its steps"
    return "finished", ""


def _energies_along(relaxation: Any) -> list[float]:
    """Return the energies of the steps of a relaxation in eV, by ASE or by VASP; none where they were not kept."""
    steps = value_of(relaxation, "output", "ionic_steps")
    runs = value_of(relaxation, "calcs_reversed")
    if not steps and runs:
        steps = value_of(runs[0], "output", "ionic_steps")
    energies = [value_of(step, "energy") or value_of(step, "e_0_energy") for step in steps or []]
    return [float(energy) for energy in energies if energy is not None]


def corrected_energy(document: Any, structure: Structure, correction: str | None) -> tuple[float, float]:
    """Return the energy of a cell in eV with a correction, and the correction.

    Args:
        document: Output of a calculation; with ``MP2020`` its ``entry`` must tell functional, Hubbard U and POTCARs.
        structure: What was computed.
        correction: None or ``MP2020``.

    Raises:
        InputError: if the corrections do not fit the calculation.
    """
    energy = float(value_of(document, "output", "energy"))
    if correction is None:
        return energy, 0.0
    if correction != MP2020:
        msg = f"there is no correction {correction!r}; give {MP2020} or none"
        raise InputError(msg)
    entry = value_of(document, "entry")
    if entry is None:
        msg = "the calculation has no entry to correct; give an engine without corrections"
        raise InputError(msg)
    full = ComputedStructureEntry(structure, energy, parameters=dict(entry.parameters))
    processed = MaterialsProject2020Compatibility().process_entry(full, on_error="ignore")
    if processed is None:
        formula = structure.composition.reduced_formula
        msg = f"the Materials Project's corrections do not fit the calculation of {formula}: other POTCARs or U values"
        raise InputError(msg)
    return float(processed.energy), float(processed.correction)
