"""Where candidates come from: draws of a generator, or exchanges of elements, each by its number."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from icsg3d.generation.candidates import Candidate, Draws
from icsg3d.generation.exchange import exchanges
from icsg3d.models.density import SCALE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pymatgen.core import Structure

    from icsg3d.crystals.structures import Crystal
    from icsg3d.generation.decoded import Located
    from icsg3d.generation.generator import CrystalGenerator

EXCHANGE = "exchange"
"""Stands for the name of a generator where elements were exchanged."""

_RISE = 0.1
"""By how much the noise level of widening draws rises at a time."""

_DRAWS_A_LEVEL = 250
"""Draws of one noise level, after twice as many at the first."""


class Source(Protocol):
    """Candidates by number; a number always gives the same one."""

    limit: int
    """How many there are, at most."""

    def candidates(self, numbers: Sequence[int]) -> Iterator[Candidate]:
        """Yield the candidates of some numbers, ascending and below the limit."""


class LatentDraws:
    """Draws of a generator, around a crystal or free; they depend on their number, the seed and the crystal alone.

    Args:
        generator: Draws and decodes.
        base: Where to start; None to draw freely.
        limit: Number of draws, at most.
        scale: Noise level of draws around the crystal, above 0 and up to 1.
        condition: Energy per atom to ask for in free draws, in eV.
        seed: Of the draws.
        within: Symbols of the elements that are allowed; a model that can leads draws by them.
        widening: Whether draws around a crystal go further away with their number, for where they are made until enough
            different ones pass: a small crystal has few near neighbours. From the 500th on the noise level rises by 0.1
            every 250 draws, up to 1.

    Raises:
        InputError: if the model cannot take the crystal, has no condition, or a number is out of range.
    """

    def __init__(
        self,
        generator: CrystalGenerator,
        base: Crystal | Located | None,
        limit: int,
        *,
        scale: float = SCALE,
        condition: float | None = None,
        seed: int = 0,
        within: Collection[str] | None = None,
        widening: bool = False,
    ) -> None:
        self.generator = generator
        self.base = None if base is None else generator.placed(base)
        self.limit = limit
        self.scale = scale if self.base is not None else None
        self.widening = widening and self.base is not None
        self.condition = condition
        self.seed = seed
        steered = within is not None and generator.space.steers
        self.within = sorted(set(within or ()) & set(generator.elements)) if steered else []
        self.draws(0, 1)  # what cannot be drawn is refused at once

    def scale_of(self, number: int) -> float:
        """Return the noise level of a draw around the crystal."""
        scale = SCALE if self.scale is None else self.scale
        if not self.widening or number < 2 * _DRAWS_A_LEVEL:
            return scale
        return min(1.0, round(scale + _RISE * (number // _DRAWS_A_LEVEL - 1), 6))

    def draws(self, first: int, n: int) -> Draws:
        """Return the latents of ``n`` draws from number ``first`` on, at the noise level of that one."""
        return Draws.make(
            self.generator,
            self.base,
            n,
            scale=self.scale_of(first),
            condition=self.condition,
            seed=self.seed,
            first=first,
            within=self.within,
        )

    def latents(self, n: int) -> list[Any]:
        """Return the latents of the first ``n`` draws."""
        return [latent for part in self._levels(range(n)) for latent in self.draws(part[0], len(part)).latent]

    def candidates(self, numbers: Sequence[int]) -> Iterator[Candidate]:
        """Yield the candidates of some draws, ascending."""
        for part in self._levels(numbers):
            draws = self.draws(part[0], part[-1] - part[0] + 1)
            yield from draws.candidates(self.generator, part)

    def _levels(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Yield the numbers of draws of one noise level together."""
        for _, part in groupby(numbers, key=self.scale_of):
            yield list(part)


class ElementExchanges:
    """The most probable exchanges of elements on a crystal, the most probable first.

    Args:
        base: The crystal.
        limit: How many, at most; there may be fewer.
        states: Oxidation state of each of its elements, where known.
        elements: Symbols that may be put in; None for all up to plutonium, noble gases left out.

    Raises:
        InputError: as :func:`icsg3d.generation.exchange.exchanges`.
    """

    def __init__(
        self,
        base: Structure,
        limit: int,
        states: Mapping[str, float] | None = None,
        elements: Collection[str] | None = None,
    ) -> None:
        self.base = base
        self.states = states
        self.elements = elements
        self._found = exchanges(base, limit, states, elements)
        self.limit = len(self._found)

    def candidates(self, numbers: Sequence[int]) -> Iterator[Candidate]:
        """Yield the candidates of some exchanges, ascending; their cells are those of the base."""
        formula = self.base.composition.reduced_formula
        for number in numbers:
            structure = self._found[number].apply(self.base)
            yield Candidate(number, structure, base=formula, model=EXCHANGE)


class GivenCandidates:
    """Candidates that there are already.

    Args:
        candidates: By number from 0, in memory or on disk.
        limit: How many there are.
    """

    def __init__(self, candidates: Numbered, limit: int) -> None:
        self._candidates = candidates
        self.limit = limit

    def candidates(self, numbers: Sequence[int]) -> Iterator[Candidate]:
        """Yield the candidates of some numbers."""
        return (self._candidates[number] for number in numbers)


class Numbered(Protocol):
    """Candidates by number."""

    def __getitem__(self, number: int, /) -> Candidate:
        """Return the candidate of a number."""
