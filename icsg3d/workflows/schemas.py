"""Documents of the workflows: candidates, formation energies, validated candidates and their summary.

They stand on emmet's ``StructureMetadata``, so that formulas, chemical systems and symmetry can be asked for in a
database as those of the Materials Project.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Self

from emmet.core.structure import StructureMetadata
from pydantic import BaseModel, Field, create_model
from pymatgen.core import Structure

from icsg3d.crystals.display import CrystalList, Markup, crystal_svg, html_table
from icsg3d.generation.candidates import Candidate
from icsg3d.screening.batches import LostDraws
from icsg3d.screening.merging import Part, from_lines, to_lines
from icsg3d.screening.screen import usable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

State = Literal["finished", "unconverged", "failed"]

S1_COLUMNS = (
    "formula",
    "a",
    "b",
    "c",
    "e_form_engine",
    "e_form_predicted",
    "delta_e_form",
    "delta_bonds_percent",
    "above_hull_engine",
    "above_hull_predicted",
    "state",
    "engine",
)
"""Columns of Table S1: the paper's, distances from the hull, and how the row ended and by what."""

PACKED = 100
"""Candidates in one object of a store."""

_FIELDS = tuple(each.name for each in dataclasses.fields(Candidate) if each.name != "structure")


def _field(each: dataclasses.Field[Any]) -> Any:
    """Return the field of a document that a field of a candidate becomes."""
    if each.default_factory is not dataclasses.MISSING:
        return Field(default_factory=each.default_factory, **each.metadata)
    return Field(... if each.default is dataclasses.MISSING else each.default, **each.metadata)


_DEFINITIONS: dict[str, Any] = {
    each.name: (Candidate.kinds()[each.name], _field(each)) for each in dataclasses.fields(Candidate)
}
_CandidateFields = create_model("_CandidateFields", __base__=StructureMetadata, **_DEFINITIONS)


class CandidateDoc(_CandidateFields):  # type: ignore[valid-type,misc]
    """A candidate, or the reason why a draw gave none; its fields are those of :class:`Candidate`."""

    structure: Structure | None = Field(None, description="The generated crystal")

    @classmethod
    def from_candidate(cls, candidate: Candidate) -> Self:
        """Return the document of a candidate; one that no network or engine can take has no crystal but a reason."""
        candidate = usable(candidate)
        values = {name: getattr(candidate, name) for name in _FIELDS}
        if candidate.structure is None:
            return cls(**values)
        return cls.from_structure(meta_structure=candidate.structure, structure=candidate.structure, **values)

    def to_candidate(self) -> Candidate:
        """Return the candidate of the document."""
        return Candidate(structure=self.structure, **{name: getattr(self, name) for name in _FIELDS})


class CandidatesDoc(BaseModel):
    """Candidates of one job."""

    candidates: list[CandidateDoc] = Field(description="The candidates, in the order of their draws")


class LostDoc(BaseModel):
    """Draws that could not be judged."""

    first: int = Field(description="Number of the first")
    last: int = Field(description="Number of the last")
    reason: str = Field(description="Why")


class CountsDoc(BaseModel):
    """What came of draws, in numbers."""

    first: int = Field(0, description="Number of the first draw")
    count: int = Field(description="Draws, those counted that could not be judged")
    judged: int = Field(description="Draws that were judged")
    passed: int = Field(description="Those that met all that is asked of each alone; repeats are counted")
    refused_for: dict[str, int] = Field(default_factory=dict, description="How many each criterion refused")
    lost: list[LostDoc] = Field(default_factory=list, description="Draws that could not be judged, up to 100 ranges")
    lost_count: int = Field(0, description="How many could not be judged, in all")


class ContendersDoc(BaseModel):
    """Up to 100 candidates that may be among the best, packed: it passes through a store and a merge as one text."""

    candidates: str = Field(description="A line of JSON each (icsg3d.screening.merging.to_lines)")


class ShardDoc(CountsDoc):
    """What came of some draws, judged by one job or merged of several."""

    base: str = Field("", description="Reduced formula of the crystal drawn around; empty without one")
    unique: bool = Field(default=True, description="Whether repeats are left out")
    parts: list[ContendersDoc] = Field(description="What may be among the best, best first")

    @classmethod
    def from_part(cls, part: Part) -> Self:
        """Return the document of judged or merged draws."""
        return cls(
            **_counts(part),
            base=part.base,
            unique=part.unique,
            parts=[ContendersDoc(candidates=to_lines(each)) for each in batched(part.contenders, PACKED)],
        )

    def to_part(self) -> Part:
        """Return the judged or merged draws of the document."""
        return Part(
            first=self.first,
            count=self.count,
            judged=self.judged,
            passed=self.passed,
            refused_for=Counter(self.refused_for),
            lost=tuple(LostDraws(each.first, each.last, each.reason) for each in self.lost),
            lost_count=self.lost_count,
            contenders=tuple(one for each in self.parts for one in from_lines(each.candidates)),
            base=self.base,
            unique=self.unique,
        )


class SelectionDoc(CountsDoc):
    """The best of all draws, and what came of the others in numbers."""

    kept: int = Field(description="How many are kept")
    keep: int | None = Field(None, description="How many were wanted; None for all that pass")
    judge: dict[str, Any] = Field(default_factory=dict, description="Criteria, models by their hashes, and the hull")
    parts: list[CandidatesDoc] = Field(description="Those that are kept, best first, up to 100 in each part")

    @classmethod
    def of(cls, part: Part, kept: Sequence[Candidate], keep: int | None, judge: dict[str, Any]) -> Self:
        """Return the document of merged draws and the candidates that are kept of them, best first."""
        documents = [CandidateDoc.from_candidate(each) for each in kept]
        parts = [CandidatesDoc(candidates=list(each)) for each in batched(documents, PACKED)]
        return cls(**_counts(part), kept=len(kept), keep=keep, judge=judge, parts=parts)

    def documents(self) -> list[CandidateDoc]:
        """Return the documents of those that are kept, best first."""
        return [each for part in self.parts for each in part.candidates]

    def candidates(self) -> CrystalList[Candidate]:
        """Return those that are kept, best first."""
        return CrystalList(each.to_candidate() for each in self.documents())

    def counts(self) -> CountsDoc:
        """Return the numbers alone."""
        return CountsDoc(**{name: getattr(self, name) for name in CountsDoc.model_fields})


def batched(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """Yield a sequence in parts of a size; the last may be shorter."""
    left = iter(items)
    while part := list(islice(left, size)):
        yield part


def _counts(part: Part) -> dict[str, Any]:
    names = ("first", "count", "judged", "passed", "lost_count")
    lost = [LostDoc(first=each.first, last=each.last, reason=each.reason) for each in part.lost]
    return {name: getattr(part, name) for name in names} | {"refused_for": dict(part.refused_for), "lost": lost}


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

    candidate: CandidateDoc = Field(
        description="As it went to the engine: at its equilibrium volume, symmetrised, with predictions"
    )
    relaxed: Structure | None = Field(None, description="As relaxed by the engine")
    formation_energy_per_atom: float | None = Field(None, description="By the engine, eV/atom")
    energy_above_hull: float | None = Field(
        None,
        description="By the engine, from known phases, eV/atom; None where its energies are on another scale",
    )
    predicted_formation_energy_per_atom: float | None = Field(None, description="By the graph network, eV/atom")
    delta_e_form: float | None = Field(None, description="Absolute difference of the two, eV/atom")
    delta_bonds_percent: float | None = Field(None, description="Mean absolute change of bond lengths, percent")
    delta_cell_percent: float | None = Field(None, description="Mean absolute change of a, b and c, percent")
    delta_volume_percent: float | None = Field(None, description="Change of the volume, percent")
    flags: list[str] = Field(default_factory=list, description="Why its electrons count as delocalised (Table S3)")
    energy_per_atom: float | None = Field(None, description="By the engine, eV/atom")
    elements_per_atom: dict[str, float] = Field(default_factory=dict, description="Energies of the elements, eV/atom")
    engine: EngineDoc = Field(description="What computed it, with versions and settings")
    task_ids: dict[str, str] = Field(default_factory=dict, description="Jobs by step")
    state: State = Field(description="How the validation ended")
    reason: str = Field("", description="Why it did not finish")

    def table_row(self) -> dict[str, Any]:
        """Return the row of Table S1 by column; None where something is not known."""
        crystal = self.candidate.structure
        lengths = (None, None, None) if crystal is None else crystal.lattice.abc
        numbers = (
            self.formation_energy_per_atom,
            self.predicted_formation_energy_per_atom,
            self.delta_e_form,
            self.delta_bonds_percent,
            self.energy_above_hull,
            self.candidate.predictions.get("energy_above_hull"),
        )
        values = (self.candidate.formula_pretty, *lengths, *numbers, self.state, self.engine.name)
        return dict(zip(S1_COLUMNS, values, strict=True))


class ValidationSummaryDoc(BaseModel):
    """All candidates of a run, and the averages over those that finished."""

    engine: EngineDoc = Field(description="What computed the energies")
    rows: list[ValidationDoc] = Field(description="One for each candidate, failed ones too")
    finished: int = Field(description="Candidates that finished")
    mean_delta_e_form: float | None = Field(None, description="Over those that finished, eV/atom")
    mean_delta_bonds_percent: float | None = Field(None, description="Over those that finished and were relaxed")
    screened_out: list[CandidateDoc] = Field(
        default_factory=list, description="What the screening left out of given candidates, and why"
    )
    drawn: CountsDoc | None = Field(None, description="What came of the draws, where candidates were drawn")

    def to_dataframe(self) -> pd.DataFrame:
        """Return Table S1: a row for each candidate, one that did not finish with what there is and its state.

        Lattice parameters in angstrom are those of the cell that went to the engine; energies are in eV/atom.
        """
        import pandas as pd

        return pd.DataFrame([row.table_row() for row in self.rows], columns=list(S1_COLUMNS))

    def _repr_html_(self) -> str:
        rows = [
            {
                "": Markup(crystal_svg(row.relaxed or row.candidate.structure, 64)),
                **row.table_row(),
                "reason": row.reason,
            }
            for row in self.rows
        ]
        out = self.drawn.judged - self.drawn.passed if self.drawn else len(self.screened_out)
        left = f"; {out} were screened out" if out else ""
        return f"<p>{self.finished} of {len(self.rows)} candidates finished{left}</p>{html_table(rows)}"
