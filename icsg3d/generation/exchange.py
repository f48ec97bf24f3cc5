"""Neighbours of a crystal by exchange of elements: the plain way, beside which a generator has to show its worth.

Ions are exchanged with the probabilities that Hautier et al. (Inorg. Chem. 50, 656, 2011) found in the ICSD
(pymatgen's ``SubstitutionProbability``); elements without an oxidation state with those near them in Pettifor's
chemical scale (pymatgen's ``mendeleev_no``; D. G. Pettifor, Mater. Sci. Technol. 4, 675, 1988).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pymatgen.analysis.structure_prediction.substitution_probability import SubstitutionProbability
from pymatgen.core import Element, Species

from icsg3d.crystals.elements import MAX_NUMBER, symbols
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pymatgen.core import Structure

_REACH = 5.0
"""Steps on the chemical scale over which the weight of an element falls by a factor of e; an assumption."""

_TRIED = 200_000
"""Combinations that are looked at before a search gives up."""


@dataclass(frozen=True)
class Exchange:
    """Elements that take the places of others.

    Attributes:
        replaced: New symbol by old symbol, for all elements of the base, those that stay included.
        log_probability: Sum of the logs of the probabilities of each; comparable within one base.
    """

    replaced: Mapping[str, str]
    log_probability: float

    def apply(self, structure: Structure) -> Structure:
        """Return a copy of a crystal with its elements exchanged and its cell as it was."""
        copy = structure.copy()
        copy.remove_oxidation_states()
        changes: dict[Any, Any] = dict(self.replaced)
        copy.replace_species(changes)
        return copy


@dataclass(frozen=True)
class _Option:
    symbol: str
    state: int
    log_probability: float


def exchanges(
    structure: Structure,
    n: int,
    states: Mapping[str, float] | None = None,
    elements: Collection[str] | None = None,
) -> list[Exchange]:
    """Return the most probable exchanges of elements on a crystal, the most probable first.

    Elements of the base stay different from each other, at least one changes, and the charges add up to what they did.
    Fewer than asked for come if there are no more.

    Args:
        structure: The base.
        n: How many.
        states: Oxidation state of each of its elements; where there are none, as in metals, the chemical scale counts.
        elements: Symbols that may be put in; None for all up to plutonium, noble gases left out.

    Raises:
        InputError: if ``n`` is below 1, an element is none, or nothing can be exchanged.
    """
    if n < 1:
        msg = f"the number of exchanges is 1 or more, got {n}"
        raise InputError(msg)
    amounts = {str(symbol): int(count) for symbol, count in structure.composition.get_el_amt_dict().items()}
    allowed = _allowed(elements)
    old = {symbol: round(states[symbol]) if states and symbol in states else 0 for symbol in amounts}
    options = {symbol: _options(symbol, old[symbol], allowed) for symbol in amounts}
    found: list[Exchange] = []
    for chosen in _best_first(list(options.values())):
        change = sum(amounts[symbol] * (new.state - old[symbol]) for symbol, new in zip(options, chosen, strict=True))
        replaced = {symbol: new.symbol for symbol, new in zip(options, chosen, strict=True)}
        if change or len(set(replaced.values())) < len(replaced) or all(a == b for a, b in replaced.items()):
            continue
        found.append(Exchange(replaced, sum(new.log_probability for new in chosen)))
        if len(found) == n:
            break
    if not found:
        formula = structure.composition.reduced_formula
        msg = f"no element of {formula} can be exchanged with those allowed; allow more elements"
        raise InputError(msg)
    return found


def allowed_elements() -> frozenset[str]:
    """Return the symbols of the elements up to plutonium, noble gases left out."""
    return frozenset(symbol for symbol in symbols()[1 : MAX_NUMBER + 1] if not Element(symbol).is_noble_gas)


def _allowed(elements: Collection[str] | None) -> frozenset[str]:
    known = symbols()[1 : MAX_NUMBER + 1]
    if elements is None:
        return allowed_elements()
    unknown = sorted(set(elements) - set(known))
    if unknown:
        msg = f"{', '.join(unknown)} is no element up to plutonium; write symbols such as Sr"
        raise InputError(msg)
    return frozenset(elements)


@cache
def _table() -> SubstitutionProbability:
    return SubstitutionProbability()


def _options(symbol: str, state: int, allowed: frozenset[str]) -> list[_Option]:
    """Return what may take the place of an element, itself included, the most probable first."""
    ion = Species(symbol, state) if state else None
    if ion is not None and ion in _table().species:
        weights = {
            (other.symbol, int(other.oxi_state)): _table().cond_prob(other, ion)  # type: ignore[arg-type]
            for other in _table().species
            if other.symbol in allowed | {symbol} and (other.oxi_state > 0) == (state > 0)  # type: ignore[operator]
        }
    else:
        place, metal = Element(symbol).mendeleev_no, Element(symbol).is_metal
        weights = {
            (other, state): math.exp(-abs(Element(other).mendeleev_no - place) / _REACH)
            for other in allowed | {symbol}
            if Element(other).is_metal == metal
        }
    total = sum(weights.values())
    options = [_Option(name, charge, math.log(weight / total)) for (name, charge), weight in weights.items()]
    return sorted(options, key=lambda option: (-option.log_probability, option.symbol, option.state))


def _best_first(options: Sequence[Sequence[_Option]]) -> Iterator[tuple[_Option, ...]]:
    """Yield combinations of one option from each list, those of the greatest sum first."""
    start = (0,) * len(options)
    waiting = [(-sum(each[0].log_probability for each in options), start)]
    seen = {start}
    for _ in range(_TRIED):
        if not waiting:
            return
        cost, places = heapq.heappop(waiting)
        yield tuple(each[place] for each, place in zip(options, places, strict=True))
        for which, place in enumerate(places):
            if place + 1 < len(options[which]):
                following = (*places[:which], place + 1, *places[which + 1 :])
                if following not in seen:
                    seen.add(following)
                    step = options[which][place].log_probability - options[which][place + 1].log_probability
                    heapq.heappush(waiting, (cost + step, following))
