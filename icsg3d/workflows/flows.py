"""Flows: validation of one candidate, and the whole way from a crystal to Table S1."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

from jobflow import Flow, Job, Maker, OutputReference, Response, job

from icsg3d.arguments import whole_number
from icsg3d.errors import InputError
from icsg3d.workflows.calculations import tolerant
from icsg3d.workflows.engines import engine_named
from icsg3d.workflows.formation import FormationEnergyMaker, no_reference
from icsg3d.workflows.jobs import GenerateMaker, ScreenMaker, ValidationSummaryMaker, compare, validation
from icsg3d.workflows.schemas import CandidateDoc, CandidatesDoc, SelectionDoc, ValidationDoc
from icsg3d.workflows.shards import DesignFlowMaker
from icsg3d.workflows.taking import a_candidate, energies_of_elements, split_candidates, taking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from icsg3d.crystals.structures import Crystal
    from icsg3d.generation.candidates import Candidate


@dataclass
class CandidateValidationMaker(Maker):
    """Validation of one candidate: its formation energy by an engine beside the predicted one, and how it relaxes.

    Args:
        name: Of the flow.
        formation_energy_maker: The engine.
        phases: Files of phases to add to the shipped hull (:func:`icsg3d.hull.phases.read_phases`), of which the
            distance is told; the same path on all machines.
    """

    name: str = "validate"
    formation_energy_maker: FormationEnergyMaker = field(default_factory=FormationEnergyMaker)
    phases: list[str] = field(default_factory=list)

    @classmethod
    def from_engine(cls, engine: str) -> Self:
        """Return the maker with an engine: ``chgnet``, ``gpaw``, ``vasp`` or ``module:Maker``.

        Raises:
            InputError: if there is no such engine, or it is not installed.
        """
        return cls(formation_energy_maker=engine_named(engine))

    @classmethod
    def from_force_field_name(cls, name: str) -> Self:
        """Return the maker with a force field that atomate2 knows, such as ``MACE-MP-0``."""
        return cls(formation_energy_maker=FormationEnergyMaker.from_force_field_name(name))

    @taking(candidate=a_candidate, element_energies=energies_of_elements)
    def make(
        self,
        candidate: CandidateDoc | Candidate | Crystal | OutputReference,
        prev_dir: str | None = None,
        element_energies: Mapping[str, Any] | OutputReference | None = None,
    ) -> Flow:
        """Return the flow of one candidate; its output is a :class:`~icsg3d.workflows.schemas.ValidationDoc`.

        Args:
            candidate: A document with a crystal and a predicted formation energy, a crystal, or a reference to one.
            prev_dir: Where an earlier calculation of it ran.
            element_energies: Documents of the elements, or references to them, where they are computed already.

        Raises:
            InputError: if the candidate has no crystal, or an element has no reference.
        """
        if isinstance(candidate, OutputReference):
            later = validation_of(self, candidate, prev_dir, element_energies)
            later.name = self.name
            return Flow([later], output=later.output, name=self.name)
        candidate = cast("CandidateDoc", candidate)
        if candidate.structure is None:
            msg = f"candidate {candidate.index} has no crystal ({candidate.reason}), so it cannot be validated"
            raise InputError(msg)
        energy = self.formation_energy_maker.make(candidate.structure, prev_dir, element_energies)
        compared = tolerant(compare(candidate, energy.output, self.formation_energy_maker, self.phases))
        name = f"{self.name} {candidate.structure.composition.reduced_formula} #{candidate.index}"
        compared.name = name
        return Flow([energy, compared], output=compared.output, name=name)


@job
def validation_of(
    maker: CandidateValidationMaker, candidate: Any, prev_dir: str | None, element_energies: Any
) -> Response[Any]:
    """Replace itself by the flow of a candidate that another job made.

    Args:
        maker: Of the flow.
        candidate: What the other job made.
        prev_dir: Where an earlier calculation of it ran.
        element_energies: Documents of elements that are computed already, by symbol.
    """
    return Response(replace=maker.make(candidate, prev_dir, element_energies))


@job
def validate_shard(
    maker: CandidateValidationMaker, candidates: list[CandidateDoc], element_energies: dict[str, Any]
) -> Response[Any]:
    """Replace itself by the flows of its candidates; the output is the list of their documents.

    Args:
        maker: Of one candidate.
        candidates: Of this shard.
        element_energies: Documents of the elements by symbol; None where a calculation failed.
    """
    flows: list[Flow | Job] = [
        maker.make(each, element_energies=_of(each.structure, element_energies)) for each in candidates
    ]
    return Response(replace=Flow(flows, output=[flow.output for flow in flows], name="shard"))


def _of(structure: Any, element_energies: Mapping[str, Any]) -> dict[str, Any]:
    return {element.symbol: element_energies.get(element.symbol) for element in structure.composition.elements}


@job
def validate_all(
    screened: CandidatesDoc | SelectionDoc,
    maker: CandidateValidationMaker,
    summary_maker: ValidationSummaryMaker,
    top: int,
    shard_size: int,
) -> Response[Any]:
    """Replace itself by the flows of the best candidates, with each element computed once, and the summary.

    Args:
        screened: Candidates with results of screening, or those that were selected of many draws; best first.
        maker: Of one candidate.
        summary_maker: Of the summary.
        top: How many of those that passed are validated.
        shard_size: Candidates of one job.
    """
    drawn = screened.counts() if isinstance(screened, SelectionDoc) else None
    everyone = screened.documents() if isinstance(screened, SelectionDoc) else screened.candidates
    passed = [each for each in everyone if each.screening.get("passed")]
    chosen = passed[:top]
    left_out = passed[top:] + [each for each in everyone if not each.screening.get("passed")]
    energies = maker.formation_energy_maker
    refused = [doc for each in chosen if (doc := _refused(each, energies))]
    computed = [each for each in chosen if each.index not in {doc.candidate.index for doc in refused}]
    elements = energies.element_flows({e.symbol for each in computed for e in _composition(each).elements})
    shards = []
    for start in range(0, len(computed), shard_size):
        part = computed[start : start + shard_size]
        needed = {e.symbol for each in part for e in _composition(each).elements}
        shard = tolerant(validate_shard(maker, part, {symbol: elements[symbol].output for symbol in sorted(needed)}))
        shard.name = f"shard {start // shard_size + 1}"
        shards.append(shard)
    rows: list[Any] = [*(shard.output for shard in shards), refused]
    summed = tolerant(summary_maker.make(chosen, rows, energies, left_out, drawn))
    return Response(replace=Flow([*elements.values(), *shards, summed], output=summed.output, name="validate"))


def _refused(candidate: CandidateDoc, energies: FormationEnergyMaker) -> ValidationDoc | None:
    """Return the failed row of a candidate with an element that has no reference, None where all have one."""
    missing = [] if candidate.structure is None else energies.missing_elements(candidate.structure)
    if not missing:
        return None
    return validation(candidate, None, energies.document()).model_copy(update={"reason": no_reference(missing)})


def _composition(candidate: CandidateDoc) -> Any:
    return candidate.structure.composition.remove_charges()  # type: ignore[union-attr]


@dataclass
class ScreeningFlowMaker(Maker):
    """From a crystal, or from candidates, to the paper's Table S1: draw, screen, relax, compare, sum up.

    What is drawn is judged in shards (:class:`~icsg3d.workflows.shards.DesignFlowMaker`); those refused are counted.
    Candidates that are given are screened by one job, and those refused are in the summary.

    Args:
        name: Of the flow.
        generate_maker: Draws candidates.
        screen_maker: Screens and ranks them.
        validation_maker: Validates one, with the engine; against the phases of the screening where it has none itself.
        summary_maker: Sums up.
        draws: Candidates to draw where none are given.
        top: How many of those that passed the screening are validated, nearest to the hull of known phases first.
        shard_size: Draws or candidates of one job, so that a manager can spread jobs over machines.
    """

    name: str = "icsg3d screening"
    generate_maker: GenerateMaker = field(default_factory=GenerateMaker)
    screen_maker: ScreenMaker = field(default_factory=ScreenMaker)
    validation_maker: CandidateValidationMaker = field(default_factory=CandidateValidationMaker)
    summary_maker: ValidationSummaryMaker = field(default_factory=ValidationSummaryMaker)
    draws: int = 100
    top: int = 10
    shard_size: int = 100

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: if one is below 1.
        """
        for name in ("draws", "top", "shard_size"):
            setattr(self, name, whole_number(getattr(self, name), name, 1))

    @classmethod
    def from_engine(cls, engine: str, **arguments: Any) -> Self:
        """Return the maker with an engine by name, and other arguments as in the class.

        Raises:
            InputError: if there is no such engine, or it is not installed.
        """
        return cls(validation_maker=CandidateValidationMaker.from_engine(engine), **arguments)

    def make(
        self,
        base_structure: Crystal | OutputReference | None = None,
        candidates: Sequence[CandidateDoc | Candidate | Crystal | OutputReference] | OutputReference | None = None,
    ) -> Flow:
        """Return the flow; its output is a :class:`~icsg3d.workflows.schemas.ValidationSummaryDoc`.

        Args:
            base_structure: Crystal to draw around, or a reference to one; without it, and without candidates, draws
                are free.
            candidates: To validate instead of drawing any: documents or any crystals, or references to one or to a list
                of them. Crystals without a number are numbered in their order.

        Raises:
            InputError: if the base is no crystal, there is no candidate, one of them is no crystal, two have the same
                index, or a base is given as well.
        """
        if isinstance(base_structure, list | tuple):
            msg = "a base is one crystal, got a list; give crystals to validate as 'candidates'"
            raise InputError(msg)
        if base_structure is not None and candidates is not None:
            msg = "there is a base to draw around, and there are candidates instead; give one of the two"
            raise InputError(msg)
        screened = self._drawn(base_structure) if candidates is None else self._given(candidates)
        validation = self.validation_maker
        if self.screen_maker.phases and not validation.phases:
            validation = dataclasses.replace(validation, phases=list(self.screen_maker.phases))
        validated = validate_all(screened.output, validation, self.summary_maker, self.top, self.shard_size)
        validated.name = "validate"
        return Flow([screened, validated], output=validated.output, name=self.name)

    def _drawn(self, base_structure: Any) -> Flow:
        maker = DesignFlowMaker(
            name="draw",
            generate_maker=self.generate_maker,
            screen_maker=self.screen_maker,
            keep=self.top,
            told=[],
            shard_size=self.shard_size,
        )
        return maker.make(base_structure, self.draws)

    def _given(self, candidates: Any) -> Job:
        return self.screen_maker.make(split_candidates(candidates))
