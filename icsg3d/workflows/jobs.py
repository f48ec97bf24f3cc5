"""Jobs around the calculations: draw candidates, screen them, compare with predictions, sum up.

Makers hold plain values; networks load inside the jobs, where they run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from jobflow import Maker, job

from icsg3d.arguments import real_number, whole_number
from icsg3d.crystals.structures import Crystal
from icsg3d.defaults import GENERATOR
from icsg3d.errors import InputError
from icsg3d.evaluation.relaxation import delocalised, mean_of_known, relaxation_change
from icsg3d.generation.sources import LatentDraws
from icsg3d.hull import ReferenceHull
from icsg3d.models.decoding import SYMMETRY_TOLERANCE
from icsg3d.models.density import SCALE
from icsg3d.screening.constraints import Constraints
from icsg3d.screening.screen import Screening
from icsg3d.workflows.calculations import MP2020, value_of
from icsg3d.workflows.schemas import (
    CandidateDoc,
    CandidatesDoc,
    CountsDoc,
    EngineDoc,
    FormationEnergyDoc,
    ValidationDoc,
    ValidationSummaryDoc,
)
from icsg3d.workflows.taking import a_count, a_crystal_or_none, a_list, a_start, candidates_of, taking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from icsg3d.screening.pipeline import Judge


ENERGY = "formation_energy_per_atom"
"""Name of the property that is predicted, ranks the candidates and is compared."""


@dataclass
class GenerateMaker(Maker):
    """Draws of a generator, around a crystal or free.

    Args:
        name: Of the job.
        model: Shipped generator, or folder of a trained one.
        seed: The same seed gives the same candidates.
        scale: Noise level of draws around a crystal, above 0 and up to 1.
        condition: Energy per atom to ask for in free draws, in eV.
        device: Where the networks run.
        symmetry_tolerance: Draws are brought to the symmetry they have within this distance in angstrom; 0 for
            none.
    """

    name: str = "generate"
    model: str = GENERATOR
    seed: int = 0
    scale: float = SCALE
    condition: float | None = None
    device: str = "cpu"
    symmetry_tolerance: float = SYMMETRY_TOLERANCE

    def __post_init__(self) -> None:
        """Check the numbers, which may be numpy's.

        Raises:
            InputError: if one is none, or out of range.
        """
        self.seed = whole_number(self.seed, "seed", 0)
        self.scale = real_number(self.scale, "scale")
        self.condition = None if self.condition is None else real_number(self.condition, "condition")
        self.symmetry_tolerance = real_number(self.symmetry_tolerance, "symmetry_tolerance")

    def source(self, structure: Crystal | None, limit: int, constraints: Constraints | None = None) -> LatentDraws:
        """Return the draws by number.

        Args:
            structure: Where to start; None to draw freely.
            limit: How many there are, at most.
            constraints: What is asked of them; a model that can leads draws by the elements.

        Raises:
            InputError: if the model is missing, cannot take the crystal, has no condition, or lacks an element that is
                asked for.
        """
        from icsg3d.generation.generator import CrystalGenerator

        generator = CrystalGenerator.from_pretrained(self.model, self.device, self.symmetry_tolerance)
        asked = constraints or Constraints()
        asked.check_known(generator.elements, f"the model {generator.name}")
        return LatentDraws(
            generator,
            structure,
            limit,
            scale=self.scale,
            condition=self.condition,
            seed=self.seed,
            within=asked.possible(generator.elements),
        )

    @taking(structure=a_crystal_or_none, count=a_count, start=a_start)
    @job(output_schema=CandidatesDoc)
    def make(self, structure: Crystal | None = None, count: int = 100, start: int = 0) -> CandidatesDoc:
        """Return the draws ``start`` to ``start + count - 1``; each depends on the seed and its number alone.

        Args:
            structure: Where to start: whatever stands for a crystal, or a reference to one; None to draw freely.
            count: Number of draws.
            start: Number of the first.

        Raises:
            InputError: if the model cannot take the crystal, or has no condition.
        """
        found = self.source(structure, start + count).candidates(range(start, start + count))
        return CandidatesDoc(candidates=[CandidateDoc.from_candidate(each) for each in found])


@dataclass
class ScreenMaker(Maker):
    """Screening and ranking of candidates before expensive calculations.

    Args:
        name: Of the job.
        screening: What is asked for: the arguments of :class:`icsg3d.screening.screen.Screening`.
        predictor: Shipped model of the formation energy, or folder of a trained one.
        constraints: What else every candidate has to meet.
        scale_cells: Whether cells are first brought to their equilibrium volumes (:mod:`icsg3d.properties.sizing`).
        relax: Whether what passes is brought to the minimum of the predicted energy, and judged again there.
        symmetry_tolerance: Candidates are brought to the symmetry they have within this distance in angstrom; 0 for
            none.
        device: Where the network runs.
        hull: Whether candidates are placed against the hull of the Materials Project that the package ships.
        phases: Files of phases to add to it (:func:`icsg3d.hull.phases.read_phases`).
    """

    name: str = "screen"
    screening: dict[str, Any] = field(default_factory=dict)
    constraints: Constraints = field(default_factory=Constraints)
    predictor: str = ENERGY
    scale_cells: bool = True
    relax: bool = False
    symmetry_tolerance: float = 0.1
    device: str = "cpu"
    hull: bool = True
    phases: list[str] = field(default_factory=list)

    @taking(parts=a_list)
    @job(output_schema=CandidatesDoc)
    def make(self, parts: list[Any]) -> CandidatesDoc:
        """Return all candidates with results of screening and predictions, the best of those that passed first.

        What is nearer to the hull is better or, without a hull, what has the lower predicted formation energy.

        Args:
            parts: Candidates of one or several jobs: documents, crystals, lists of them, or references to those.

        Raises:
            InputError: if a criterion is none, or the model is missing.
        """
        candidates = [each.to_candidate() for each in candidates_of(parts)]
        return CandidatesDoc(candidates=[CandidateDoc.from_candidate(each) for each in self.judge().judge(candidates)])

    def judge(self, base: Structure | None = None, told: Sequence[str] = ()) -> Judge:
        """Return what candidates are judged by.

        Args:
            base: Crystal that is no candidate itself.
            told: Properties to predict of what is kept, beside those that constraints ask for.

        Raises:
            InputError: if a criterion is none, or a model or file is missing.
        """
        from icsg3d.screening.pipeline import Judge

        return Judge.load(
            self.criteria(),
            predictor=self.predictor,
            scale_cells=self.scale_cells,
            relax=self.relax,
            hull=self.hull,
            phases=self.phases,
            told=[name for name in told if name not in self.constraints.ranges],
            symmetry_tolerance=self.symmetry_tolerance,
            base=base,
            device=self.device,
        )

    def criteria(self) -> Screening:
        """Return what is asked for.

        Raises:
            InputError: if a criterion is none, or has a value that it cannot have.
        """
        unknown = sorted(set(self.screening) - {each.name for each in fields(Screening)})
        if unknown:
            msg = f"there is no criterion {unknown[0]!r}; see icsg3d.screening.screen.Screening"
            raise InputError(msg)
        if "constraints" in self.screening:
            msg = "constraints are an argument of their own; give constraints=Constraints(...) beside the screening"
            raise InputError(msg)
        return Screening(**self.screening, constraints=self.constraints)


@job(output_schema=ValidationDoc)
def compare(
    candidate: CandidateDoc, energy: FormationEnergyDoc | None, maker: Any, phases: Sequence[str] = ()
) -> ValidationDoc:
    """Return a candidate beside its formation energy by an engine; the job runs also where there is none.

    Args:
        candidate: With the predicted formation energy.
        energy: What the engine found; None where its jobs failed altogether.
        maker: The :class:`~icsg3d.workflows.formation.FormationEnergyMaker` behind it.
        phases: Files of phases to add to the shipped hull.
    """
    return validation(candidate, energy, maker.document(), phases)


def validation(
    candidate: CandidateDoc, energy: FormationEnergyDoc | None, engine: EngineDoc, phases: Sequence[str] = ()
) -> ValidationDoc:
    """Return the document of :func:`compare`."""
    generated = candidate.structure
    if generated is None:
        msg = "a candidate without a crystal cannot be validated"
        raise ValueError(msg)
    common: dict[str, Any] = {
        "candidate": candidate,
        "engine": engine,
        "flags": delocalised(generated),
        "predicted_formation_energy_per_atom": candidate.predictions.get(ENERGY),
    }
    if energy is None:
        reason = "the calculations gave no result"
        return ValidationDoc.from_structure(meta_structure=generated, state="failed", reason=reason, **common)
    names = ("formation_energy_per_atom", "energy_per_atom", "elements_per_atom", "task_ids", "state", "reason")
    common |= {name: getattr(energy, name) for name in names}
    relaxed = energy.structure
    if relaxed is None or energy.state == "failed":
        return ValidationDoc.from_structure(meta_structure=generated, **common)
    change = None
    if "relax" in energy.task_ids:
        try:
            change = relaxation_change(generated, relaxed)
        except InputError as error:  # bonds that cannot be compared leave their cells empty, and say why
            common["reason"] = str(error)
    predicted, found = common["predicted_formation_energy_per_atom"], energy.formation_energy_per_atom
    return ValidationDoc.from_structure(
        meta_structure=relaxed,
        relaxed=relaxed,
        delta_e_form=None if predicted is None or found is None else abs(found - predicted),
        energy_above_hull=None if found is None else _above_hull(relaxed, found, engine, phases),
        delta_bonds_percent=None if change is None else change.bonds,
        delta_cell_percent=None if change is None else change.cell,
        delta_volume_percent=None if change is None else change.volume,
        **common,
    )


def _above_hull(crystal: Structure, energy: float, engine: EngineDoc, phases: Sequence[str]) -> float | None:
    """Return the distance from the hull of an energy of an engine that is on the scale of the hull, else None."""
    if engine.name != "chgnet" and engine.correction != MP2020:
        return None
    hull = ReferenceHull.shipped().with_files(phases)
    try:
        return hull.place(crystal.composition.remove_charges(), energy).energy_above_hull
    except InputError:  # the hull lacks an element
        return None


@dataclass
class ValidationSummaryMaker(Maker):
    """Summary of validated candidates: rows, and averages over those that finished.

    Args:
        name: Of the job.
    """

    name: str = "summarise"

    @taking(candidates=a_list, shards=a_list, screened_out=a_list)
    @job(output_schema=ValidationSummaryDoc)
    def make(
        self,
        candidates: list[CandidateDoc],
        shards: list[Any],
        maker: Any,
        screened_out: list[CandidateDoc],
        drawn: CountsDoc | None = None,
    ) -> ValidationSummaryDoc:
        """Return the summary; a candidate of which nothing came back is a row that says so.

        Args:
            candidates: That were to be validated.
            shards: Lists of their documents; None where a job failed.
            maker: The :class:`~icsg3d.workflows.formation.FormationEnergyMaker` that computed the energies.
            screened_out: What was left out before.
            drawn: What came of the draws, where candidates were drawn.
        """
        engine = maker.document()
        found = {doc.candidate.index: doc for shard in shards for doc in shard or [] if value_of(doc, "candidate")}
        rows = [found.get(candidate.index) or validation(candidate, None, engine) for candidate in candidates]
        return summary(rows, engine, screened_out, drawn)


def summary(
    rows: Sequence[ValidationDoc],
    engine: EngineDoc,
    screened_out: Sequence[CandidateDoc] = (),
    drawn: CountsDoc | None = None,
) -> ValidationSummaryDoc:
    """Return the summary of validated candidates, averages over those that finished."""
    finished = [row for row in rows if row.state == "finished"]
    return ValidationSummaryDoc(
        engine=engine,
        rows=list(rows),
        finished=len(finished),
        mean_delta_e_form=mean_of_known([row.delta_e_form for row in finished]),
        mean_delta_bonds_percent=mean_of_known([row.delta_bonds_percent for row in finished]),
        screened_out=list(screened_out),
        drawn=drawn,
    )
