"""Candidates: generated crystals with where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from monty.json import MSONable
from pymatgen.core import Structure  # noqa: TC002 (the kinds of fields are asked for when it runs)

from icsg3d.crystals.display import html_card
from icsg3d.crystals.structures import structure_from_dict
from icsg3d.errors import InputError
from icsg3d.models.density import SCALE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from icsg3d.crystals.structures import Crystal
    from icsg3d.generation.decoded import Located
    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.generation.spaces import Latents


_ENERGIES = ("energy_above_hull", "formation_energy_per_atom", "band_gap")
_FIRST = (
    *("rank", "index", "source", "formula"),
    *(f"{name}{ending}" for name in _ENERGIES for ending in ("", "_std")),
    *("oxidation_states", "space_group", "prototype", "scaled_by", "moved_by", "in_training", "known_phase", "novel"),
    *("decomposition", "passed", "failed_on", "reason"),
)
"""Columns that come first in a table."""


@dataclass
class Candidate(MSONable):
    """A latent vector's crystal, or the reason why it has none.

    This is the one list of what is known of a candidate: the table, the document of the workflows, the files of a
    folder and the ASE database take names, kinds and descriptions from its fields.
    """

    index: int = field(metadata={"description": "Number of the draw, from 0"})
    structure: Structure | None = field(metadata={"description": "The crystal; none where decoding failed"})
    reason: str = field(default="", metadata={"description": "Why decoding failed; empty where it did not"})
    source: str = field(default="", metadata={"description": "Name of the crystal where it was read from"})
    base: str = field(
        default="", metadata={"description": "Formula of the crystal it was drawn around; empty without one"}
    )
    seed: int | None = field(default=None, metadata={"description": "Seed of the draw"})
    scale: float | None = field(
        default=None,
        metadata={"description": "Noise level of the draw around a base, 0 to 1"},
    )
    latent_distance: float | None = field(
        default=None,
        metadata={
            "description": "Distance from the base per dimension, in standard deviations of the training crystals"
        },
    )
    certainty: float | None = field(
        default=None,
        metadata={"description": "Probability of the element of the atom that was read least certainly, 0 to 1"},
    )
    attempts: int | None = field(
        default=None, metadata={"description": "How many times it was drawn until its atoms were what they should be"}
    )
    condition: float | None = field(default=None, metadata={"description": "Energy per atom asked for, in eV"})
    model: str = field(default="", metadata={"description": "Name of the generator"})
    model_sha256: str = field(default="", metadata={"description": "SHA-256 of its weights"})
    duplicate_of: int | None = field(
        default=None, metadata={"description": "Index of an earlier draw that gave the same crystal"}
    )
    in_training: bool | None = field(
        default=None, metadata={"description": "Whether the composition is among the training crystals'"}
    )
    predictions: dict[str, float] = field(
        default_factory=dict, metadata={"description": "Predicted properties by name"}
    )
    screening: dict[str, Any] = field(
        default_factory=dict, metadata={"description": "Results of the screening by name"}
    )

    @classmethod
    @cache
    def kinds(cls) -> dict[str, Any]:
        """Return the annotation of each field, by name."""
        return {name: kind for name, kind in get_type_hints(cls).items() if name in cls.__dataclass_fields__}

    @classmethod
    def from_checked(cls, values: Mapping[str, Any]) -> Candidate:
        """Return a candidate made of values from any source.

        Raises:
            TypeError: if a name is unknown or missing, or a value is not of its field's kind.
        """
        kinds = cls.kinds()
        wrong = [name for name, value in values.items() if name not in kinds or not _is_kind(value, kinds[name])]
        if wrong:
            raise TypeError(f"{', '.join(wrong)} is unknown or of the wrong kind")
        return cls(**values)

    @property
    def formula(self) -> str:
        """Reduced formula, empty where decoding failed."""
        return "" if self.structure is None else self.structure.composition.reduced_formula

    def _repr_html_(self) -> str:
        return html_card(self.structure, self.row())

    def row(self) -> dict[str, Any]:
        """Return the candidate as a row of a table, what decides first; lengths in angstrom, angles in degrees."""
        row: dict[str, Any] = {"index": self.index, "source": self.source, "formula": self.formula}
        lattice = None if self.structure is None else self.structure.lattice
        for position, name in enumerate(("a", "b", "c", "alpha", "beta", "gamma")):
            row[name] = "" if lattice is None else round(lattice.parameters[position], 4)
        row["sites"] = 0 if self.structure is None else len(self.structure)
        for name in ("latent_distance", "certainty", "attempts", "duplicate_of", "in_training", "condition"):
            value = getattr(self, name)
            row[name] = "" if value is None else round(value, 4) if isinstance(value, float) else value
        row |= {"reason": self.reason} | {name: round(value, 5) for name, value in self.predictions.items()}
        row |= self.screening
        first = [name for name in _FIRST if name in row]
        return {name: row[name] for name in dict.fromkeys((*first, *row))}


def candidate_from_dict(values: Mapping[str, Any]) -> Candidate:
    """Return a candidate of its monty dictionary, making nothing but a Candidate and its Structure.

    Raises:
        InputError: if the dictionary is something else.
    """
    try:
        fields = {name: value for name, value in values.items() if not name.startswith("@")}
        if fields["structure"] is not None:
            fields["structure"] = structure_from_dict(fields["structure"])
        return Candidate.from_checked(fields)
    except Exception as error:
        msg = f"an entry is no candidate of icsg3d ({type(error).__name__}: {error}); give a file of icsg3d generate"
        raise InputError(msg) from error


def _is_kind(value: Any, kind: Any) -> bool:
    """Return whether a value is of the kind of an annotation: a class, a union, or a dictionary."""
    if get_origin(kind) in (Union, UnionType):
        return any(_is_kind(value, each) for each in get_args(kind))
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return isinstance(value, dict) and all(inner is Any or _is_kind(each, inner) for each in value.values())
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


@dataclass(frozen=True)
class Draws:
    """Latent vectors to decode to candidates, and where they come from.

    Attributes:
        latent: The latents, one after the other.
        base: Crystal they were drawn around; None for free draws.
        seed: Of the draws.
        scale: Noise level; None for free draws.
        condition: Energy asked for, in eV/atom; None where it was left open.
        first: Number of the first draw.
    """

    latent: Latents
    base: Located | None
    seed: int
    scale: float | None
    condition: float | None
    first: int = 0

    @classmethod
    def make(
        cls,
        generator: CrystalGenerator,
        base: Crystal | Located | None,
        n: int,
        *,
        scale: float = SCALE,
        condition: float | None = None,
        seed: int = 0,
        first: int = 0,
        within: Collection[str] = (),
    ) -> Draws:
        """Draw latent vectors around a crystal, or freely; each depends on its number, the seed and the crystal alone.

        Args:
            generator: Whose latent space it is.
            base: Where to start; None to draw freely.
            n: Number of draws.
            scale: Noise level of draws around the crystal, above 0 and up to 1.
            condition: Energy per atom to ask for in free draws, in eV.
            seed: Of the draws.
            first: Number of the first draw.
            within: Elements that are allowed, to lead draws by; none for any.

        Raises:
            InputError: if the model cannot take the crystal, has no condition, or a number is out of range.
        """
        if base is None:
            return cls(
                generator.latent_sample(n, condition, seed, first=first, within=within),
                None,
                seed,
                None,
                condition,
                first,
            )
        located = generator.placed(base)
        latents = generator.latent_around(located, n, scale, seed, first, within)
        return cls(latents, located, seed, scale, None, first)

    def candidates(self, generator: CrystalGenerator, numbers: Sequence[int] | None = None) -> Iterator[Candidate]:
        """Decode the vectors of some draws, or of all, in the cell of the crystal they were drawn around."""
        wanted = list(range(self.first, self.first + len(self.latent)) if numbers is None else numbers)
        formulas = generator.training_formulas()
        base, distances = "", None
        if self.base is not None:
            base = self.base.structure.composition.reduced_formula
            distances = generator.latent_distance(self.latent, self.base.latent)
        decoded_ones = (
            generator.iter_decode([self.latent[number - self.first] for number in wanted], self.condition)
            if wanted
            else iter(())
        )
        for index, decoded in zip(wanted, decoded_ones, strict=True):
            made = decoded if self.base is None else decoded.in_setting(self.base.setting)
            crystal = made.structure
            candidate = Candidate(
                index,
                crystal,
                decoded.reason,
                base=base,
                seed=self.seed,
                scale=self.scale,
                latent_distance=None if distances is None else float(distances[index - self.first]),
                certainty=decoded.certainty,
                attempts=getattr(decoded.latent, "attempts", None),
                condition=self.condition,
                **generator.as_dict(),
            )
            if crystal is not None and formulas is not None:
                candidate.in_training = candidate.formula in formulas
            yield candidate
