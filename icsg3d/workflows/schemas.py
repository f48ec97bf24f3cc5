"""Documents of the workflows: candidates, formation energies, validated candidates and their summary.

They stand on emmet's ``StructureMetadata``, so that formulas, chemical systems and symmetry can be asked for in a
database as those of the Materials Project.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from emmet.core.structure import StructureMetadata
from pydantic import BaseModel, Field
from pymatgen.core import Structure

from icsg3d.generation.candidates import Candidate
from icsg3d.screening.screen import usable

State = Literal["finished", "unconverged", "failed"]

_ORIGIN = ("index", "reason", "base", "seed", "scale", "latent_distance", "condition", "model", "model_sha256")
_FOUND = ("duplicate_of", "in_training", "predictions", "screening")


class CandidateDoc(StructureMetadata):
    """A candidate, or the reason why a draw gave none."""

    structure: Structure | None = Field(None, description="The generated crystal")
    index: int = Field(description="Number of the draw, from 0")
    reason: str = Field("", description="Why there is no crystal")
    base: str = Field("", description="Formula of the crystal it was drawn around")
    seed: int | None = Field(None, description="Seed of the draw")
    scale: float | None = Field(None, description="Noise level of the draw, 0 to 1")
    latent_distance: float | None = Field(None, description="Length of the step per dimension, in the same unit")
    condition: float | None = Field(None, description="Energy asked for, eV/atom")
    model: str = Field("", description="Name of the generator")
    model_sha256: str = Field("", description="SHA-256 of its weights")
    duplicate_of: int | None = Field(None, description="Index of an earlier draw that gave the same crystal")
    in_training: bool | None = Field(None, description="Whether the composition is among the training crystals'")
    predictions: dict[str, float] = Field(default_factory=dict, description="Predicted properties by name")
    screening: dict[str, Any] = Field(default_factory=dict, description="Results of the screening by name")

    @classmethod
    def from_candidate(cls, candidate: Candidate) -> Self:
        """Return the document of a candidate; one that no network or engine can take has no crystal but a reason."""
        candidate = usable(candidate)
        values = {name: getattr(candidate, name) for name in (*_ORIGIN, *_FOUND)}
        if candidate.structure is None:
            return cls(**values)
        return cls.from_structure(meta_structure=candidate.structure, structure=candidate.structure, **values)

    def to_candidate(self) -> Candidate:
        """Return the candidate of the document."""
        return Candidate(structure=self.structure, **{name: getattr(self, name) for name in (*_ORIGIN, *_FOUND)})


class CandidatesDoc(BaseModel):
    """Candidates of one job."""

    candidates: list[CandidateDoc] = Field(description="The candidates, in the order of their draws")


class EngineDoc(BaseModel):
    """What computed energies."""

    name: str = Field(description="Name of the engine, or module:Maker")
    versions: dict[str, str] = Field(default_factory=dict, description="Versions of the packages behind it")
    settings: dict[str, Any] = Field(default_factory=dict, description="Its makers, as dictionaries")
    correction: str | None = Field(None, description="Correction of the energies, such as MP2020")


class ElementDoc(BaseModel):
    """Energy of an element, against which formation energies are measured."""

    symbol: str = Field(description="Of the element")
    energy_per_atom: float | None = Field(None, description="eV/atom; None where the calculation failed")
    reason: str = Field("", description="Why there is no energy")
    structure: Structure | None = Field(None, description="The crystal of the element, as computed")
    task_ids: dict[str, str] = Field(default_factory=dict, description="Jobs by step")


class FormationEnergyDoc(StructureMetadata):
    """Formation energy of one crystal."""

    structure: Structure | None = Field(None, description="The relaxed crystal; as given where nothing was relaxed")
    energy_per_atom: float | None = Field(None, description="eV/atom, corrected where the engine says so")
    correction_per_atom: float = Field(0.0, description="Correction in that energy, eV/atom")
    elements_per_atom: dict[str, float] = Field(default_factory=dict, description="Energies of the elements, eV/atom")
    formation_energy_per_atom: float | None = Field(None, description="eV/atom")
    state: State = Field(description="How the calculation ended")
    reason: str = Field("", description="Why it did not finish")
    engine: EngineDoc = Field(description="What computed it")
    task_ids: dict[str, str] = Field(default_factory=dict, description="Jobs by step")


class ValidationDoc(StructureMetadata):
    """A candidate beside what an engine says of it: a row of Table S1."""

    candidate: CandidateDoc = Field(description="As it went to the engine: scaled, refined, with its predictions")
    relaxed: Structure | None = Field(None, description="As relaxed by the engine")
    formation_energy_per_atom: float | None = Field(None, description="By the engine, eV/atom")
    predicted_formation_energy_per_atom: float | None = Field(None, description="By the graph network, eV/atom")
    delta_e_form: float | None = Field(None, description="Absolute difference of the two, eV/atom")
    delta_bonds_percent: float | None = Field(None, description="Mean absolute change of bond lengths, percent")
    delta_cell_percent: float | None = Field(None, description="Mean absolute change of edges, percent")
    delta_volume_percent: float | None = Field(None, description="Change of the volume, percent")
    flags: list[str] = Field(default_factory=list, description="Why its electrons count as delocalised (Table S3)")
    energy_per_atom: float | None = Field(None, description="By the engine, eV/atom")
    elements_per_atom: dict[str, float] = Field(default_factory=dict, description="Energies of the elements, eV/atom")
    engine: EngineDoc = Field(description="What computed it, with versions and settings")
    task_ids: dict[str, str] = Field(default_factory=dict, description="Jobs by step")
    state: State = Field(description="How the validation ended")
    reason: str = Field("", description="Why it did not finish")


class ValidationSummaryDoc(BaseModel):
    """All candidates of a run, and the averages over those that finished."""

    engine: EngineDoc = Field(description="What computed the energies")
    rows: list[ValidationDoc] = Field(description="One for each candidate, failed ones too")
    finished: int = Field(description="Candidates that finished")
    mean_delta_e_form: float | None = Field(None, description="Over those that finished, eV/atom")
    mean_delta_bonds_percent: float | None = Field(None, description="Over those that finished and were relaxed")
    screened_out: list[CandidateDoc] = Field(default_factory=list, description="What the screening left out, and why")
