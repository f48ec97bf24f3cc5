"""The one way from crystals to candidates worth a calculation: volume, energy, hull, charges, constraints, rank."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from icsg3d.crystals.display import CrystalList
from icsg3d.errors import InputError
from icsg3d.generation.aflow import prototype_name
from icsg3d.hull.reference import ReferenceHull
from icsg3d.progress import track
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.relaxing import relaxed
from icsg3d.properties.sizing import CellSizer
from icsg3d.properties.surface import EnergySurface
from icsg3d.properties.volume import at_volume
from icsg3d.screening.judging import ABOVE_HULL, ENERGY, placed, ranked
from icsg3d.screening.screen import Screening, checked, unscreened, usable, with_symmetry, without_repeats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from icsg3d.generation.candidates import Candidate

VOLUME = "volume_per_atom"

JUDGED = frozenset({ENERGY, ABOVE_HULL, VOLUME})
"""Properties that every candidate gets, whatever is asked for."""

SYMMETRY = 0.1
"""Angstrom within which candidates are brought to the symmetry they have."""


@dataclass(frozen=True)
class Judge:
    """What candidates are judged by; :meth:`load` takes what the package ships.

    Attributes:
        energy: Predicts formation energies.
        screening: What is asked for, constraints included.
        sizer: Brings cells to their equilibrium volumes; None leaves them as they are.
        surface: Predicted energy at whose minimum what passes is judged again; None leaves it where it is.
        hull: Of known phases; None for none.
        asked: Predict the properties that constraints ask for, for what meets all else.
        told: Predict what is told of those that are kept.
        symmetry_tolerance: Candidates are brought to the symmetry they have within this distance in angstrom; 0 for
            none.
        base: Crystal that is no candidate itself.
    """

    energy: PropertyPredictor
    screening: Screening = field(default_factory=Screening)
    sizer: CellSizer | None = None
    surface: EnergySurface | None = None
    hull: ReferenceHull | None = None
    asked: tuple[PropertyPredictor, ...] = ()
    told: tuple[PropertyPredictor, ...] = ()
    symmetry_tolerance: float = SYMMETRY
    base: Structure | None = None

    @classmethod
    def load(
        cls,
        screening: Screening | None = None,
        *,
        predictor: str | Path = ENERGY,
        scale_cells: bool = True,
        relax: bool = False,
        hull: bool = True,
        phases: Sequence[str | Path] = (),
        told: Sequence[str] = (),
        symmetry_tolerance: float = SYMMETRY,
        base: Structure | None = None,
        device: str = "cpu",
    ) -> Judge:
        """Return the judge with shipped models and the shipped hull.

        Args:
            screening: What is asked for.
            predictor: Shipped model of the formation energy, or folder of a trained one.
            scale_cells: Whether cells are brought to their equilibrium volumes.
            relax: Whether what passes is brought to the minimum of the predicted energy, and judged there.
            hull: Whether candidates are placed against the hull of the Materials Project.
            phases: Files of phases to add to it (:func:`icsg3d.hull.phases.read_phases`).
            told: Properties to predict of what is kept, beside those that constraints ask for.
            symmetry_tolerance: As in the class.
            base: As in the class.
            device: Where the networks run.

        Raises:
            InputError: if there is no such model or file, or the constraints ask for what nothing can tell.
        """
        screening = screening or Screening()
        energy = PropertyPredictor.from_pretrained(predictor, device)
        asked = [
            (name, PropertyPredictor.from_pretrained(name, device))
            for name in screening.constraints.ranges
            if name not in JUDGED
        ]
        named = {each.property.name for _, each in asked}
        more = [PropertyPredictor.from_pretrained(name, device) for name in told]
        known = ReferenceHull.shipped().with_files(phases) if hull else None
        if known is None and (screening.above_hull is not None or ABOVE_HULL in screening.constraints.ranges):
            msg = "a limit on the energy above the hull needs a hull; leave one of the two out"
            raise InputError(msg)
        if known is not None:
            screening.constraints.check_known(known.elements, f"the hull ({known.source})")
        return cls(
            energy,
            _renamed(screening, {name: each.property.name for name, each in asked}),
            CellSizer.best(energy, device) if scale_cells else None,
            EnergySurface(energy.model) if relax else None,
            known,
            tuple(each for _, each in asked if each.property.name not in JUDGED),
            tuple(each for each in more if each.property.name not in named),
            symmetry_tolerance,
            base,
        )

    def assess(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates with all that decides on each alone: everything but whether it repeats another.

        What has the wrong elements or formula is refused before anything is predicted.

        Args:
            candidates: Of any origin; they are left as they are.

        Returns:
            Copies in the order given, at their equilibrium volumes and symmetrised, with predictions and the results
            of :func:`icsg3d.screening.screen.checked`; those that passed at the minimum of the predicted energy, if
            there is a :attr:`surface`.
        """
        assessed = [usable(unscreened(candidate)) for candidate in candidates]
        rows = [row for row, each in enumerate(assessed) if not self._hopeless(each)]
        found = [with_symmetry(each, self.symmetry_tolerance) for each in self._sized([assessed[row] for row in rows])]
        found = self._settled(self._weighed(found))
        for row, each in zip(rows, found, strict=True):
            assessed[row] = each
        judged = set(rows)
        return [each if row in judged else self._refused(each) for row, each in enumerate(assessed)]

    def unrepeated(self, assessed: Sequence[Candidate]) -> CrystalList[Candidate]:
        """Return assessed candidates of which those that repeat a better one, or the base, do not pass any more."""
        return without_repeats(assessed, self.screening, self.base)

    def judge(self, candidates: Sequence[Candidate]) -> CrystalList[Candidate]:
        """Return candidates assessed and ranked, those that passed first, the best first among them."""
        return CrystalList(ranked(self.unrepeated(self.assess(candidates))))

    def tell(self, kept: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates with what is told of those that are kept: the name of the prototype, more properties."""
        found = [
            dataclasses.replace(each, screening=each.screening | {"prototype": prototype_name(each.structure)})
            for each in track(kept, "naming prototypes")
            if each.structure is not None
        ]
        return _predicted(found, self.told)

    def as_dict(self) -> dict[str, Any]:
        """Return what identifies the judge: criteria, models by their hashes, and the hull."""
        criteria = {each.name: getattr(self.screening, each.name) for each in dataclasses.fields(Screening)}
        return criteria | {
            "constraints": self.screening.constraints.as_dict(),
            "energy_sha256": self.energy.digest,
            "volume_sha256": None if self.sizer is None else self.sizer.digest,
            "relaxed": self.surface is not None,
            "properties_sha256": {each.property.name: each.digest for each in (*self.asked, *self.told)},
            "hull": None if self.hull is None else f"{self.hull.source}, {len(self.hull)} phases",
            "hull_sha256": None if self.hull is None else self.hull.digest,
        }

    def _hopeless(self, candidate: Candidate) -> bool:
        crystal = candidate.structure
        return crystal is None or bool(self.screening.constraints.unmet_by_composition(crystal.composition))

    def _refused(self, candidate: Candidate) -> Candidate:
        crystal = candidate.structure
        unmet = (
            ["no crystal"] if crystal is None else self.screening.constraints.unmet_by_composition(crystal.composition)
        )
        failed = {"passed": False, "failed_on": unmet}
        return dataclasses.replace(candidate, screening=candidate.screening | failed)

    def _sized(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        return list(candidates) if self.sizer is None else sized(candidates, self.sizer)

    def _weighed(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates with energies, placed against the hull and checked."""
        found = with_energies([_with_volume(each) for each in candidates], self.energy)
        return self._checked(found if self.hull is None else placed(found, self.hull))

    def _settled(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates of which those that passed are relaxed and weighed again."""
        if self.surface is None:
            return list(candidates)
        settled = list(candidates)
        rows = [row for row, each in enumerate(candidates) if each.screening["passed"]]
        moved = [relaxed_candidate(settled[row], self.surface) for row in track(rows, "relaxing")]
        again = self._weighed([with_symmetry(each, self.symmetry_tolerance) for each in moved])
        for row, each in zip(rows, again, strict=True):
            settled[row] = each
        return settled

    def _checked(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates checked; properties that are asked for are predicted where all else is met."""
        names = {each.property.name for each in self.asked}
        constraints = self.screening.constraints
        first = dataclasses.replace(constraints, ranges={n: r for n, r in constraints.ranges.items() if n not in names})
        found = [checked(each, dataclasses.replace(self.screening, constraints=first)) for each in candidates]
        if not names:
            return found
        rows = [row for row, each in enumerate(found) if each.screening["passed"]]
        for row, each in zip(rows, _predicted([found[row] for row in rows], self.asked), strict=True):
            unmet = constraints.unmet_by_values(each.predictions)
            told = {"passed": not unmet, "failed_on": unmet}
            found[row] = dataclasses.replace(each, screening=each.screening | told)
        return found


def _with_volume(candidate: Candidate) -> Candidate:
    """Return a candidate with its volume per atom; that of its cell where it was neither scaled nor relaxed."""
    crystal = candidate.structure
    if crystal is None or VOLUME in candidate.predictions:
        return candidate
    return dataclasses.replace(candidate, predictions=candidate.predictions | {VOLUME: crystal.volume / len(crystal)})


def sized(candidates: Sequence[Candidate], sizer: CellSizer) -> list[Candidate]:
    """Return candidates at their equilibrium volumes.

    Args:
        candidates: They are left as they are.
        sizer: Estimates the volumes.

    Returns:
        Copies with ``volume_per_atom`` (cubic angstrom) and ``volume_per_atom_std`` among the predictions and the
        factor of the lattice parameters in ``screening["scaled_by"]``; where there is no estimate the cell stays as it
        is, and that is None. What is at a minimum of the predicted energy already stays there.
    """
    crystals = [crystal for crystal in map(_to_be_sized, candidates) if crystal is not None]
    volumes = sizer.volumes(crystals)
    found = iter(zip(volumes.values, volumes.stds, strict=True))
    result = []
    for each in candidates:
        crystal = _to_be_sized(each)
        if crystal is None:
            result.append(each)
            continue
        volume, std = (float(value) for value in next(found))
        if not np.isfinite(volume):
            result.append(dataclasses.replace(each, screening=each.screening | {"scaled_by": None}))
            continue
        factor = (volume * len(crystal) / crystal.volume) ** (1 / 3)
        told = {VOLUME: volume} | ({f"{VOLUME}_std": std} if np.isfinite(std) else {})
        result.append(
            dataclasses.replace(
                each,
                structure=at_volume(crystal, volume),
                predictions=each.predictions | told,
                screening=each.screening | {"scaled_by": round(factor, 5)},
            )
        )
    return result


def _to_be_sized(candidate: Candidate) -> Structure | None:
    """Return the crystal of a candidate, None where there is none or it is at a minimum of the energy already."""
    return candidate.structure if candidate.screening.get("moved_by") is None else None


def relaxed_candidate(candidate: Candidate, surface: EnergySurface) -> Candidate:
    """Return a candidate at the minimum of the predicted energy.

    Returns:
        A copy with the root-mean-square displacement of its atoms in angstrom in ``screening["moved_by"]``, and its
        ``volume_per_atom`` among the predictions; where the energy leads nowhere
        (:func:`icsg3d.properties.relaxing.relaxed`) the crystal stays as it is, and ``moved_by`` is None.
    """
    found = None if candidate.structure is None else relaxed(candidate.structure, surface)
    if found is None:
        return dataclasses.replace(candidate, screening=candidate.screening | {"moved_by": None})
    return dataclasses.replace(
        candidate,
        structure=found.structure,
        predictions=candidate.predictions | {VOLUME: found.structure.volume / len(found.structure)},
        screening=candidate.screening | {"moved_by": round(found.moved, 4)},
    )


def with_energies(candidates: Sequence[Candidate], model: PropertyPredictor) -> list[Candidate]:
    """Return candidates with predicted formation energies and their uncertainties in eV/atom.

    A crystal that the network cannot take, say with an atom far from all others, is left without:
    ``screening["predicted"]``.
    """
    found = _predicted(candidates, (model,), ENERGY)
    return [
        each
        if each.structure is None
        else dataclasses.replace(each, screening=each.screening | {"predicted": ENERGY in each.predictions})
        for each in found
    ]


def _predicted(
    candidates: Sequence[Candidate], predictors: Sequence[PropertyPredictor], name: str | None = None
) -> list[Candidate]:
    """Return candidates with more predictions, under the names of the properties or another one."""
    found = list(candidates)
    rows = [row for row, each in enumerate(found) if each.structure is not None]
    for predictor in predictors:
        key = name or predictor.property.name
        values = predictor.predict_possible([found[row].structure for row in rows])  # type: ignore[misc]
        for row, value, std in zip(rows, values.values, values.stds, strict=True):
            known = {n: v for n, v in found[row].predictions.items() if n not in (key, f"{key}_std")}
            new = {key: float(value), f"{key}_std": float(std)} if np.isfinite(value) else {}
            found[row] = dataclasses.replace(found[row], predictions=known | new)
    return found


def _renamed(screening: Screening, names: dict[str, str]) -> Screening:
    """Return a screening whose constraints name properties as their models do."""
    constraints = screening.constraints
    ranges = {names.get(name, name): both for name, both in constraints.ranges.items()}
    if len(ranges) < len(constraints.ranges):
        msg = f"a range is given twice for one property ({', '.join(constraints.ranges)}); give it once"
        raise InputError(msg)
    return dataclasses.replace(screening, constraints=dataclasses.replace(constraints, ranges=ranges))
