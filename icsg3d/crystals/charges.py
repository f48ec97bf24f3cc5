"""Oxidation states of compositions, by their frequency in known crystals.

A composition passes if its elements have oxidation states, each frequent in known crystals, that add up to nothing, or
if it is metallic. States and their frequencies are those that pymatgen found in the ICSD (its ``icsd_bv.yaml``); for
elements of which it found none they are the common ones it lists.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from monty.serialization import loadfn
from pymatgen.core import Composition, Element

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

Kind = Literal["ionic", "metallic", "unusual", "unbalanced"]


class _Assignment(NamedTuple):
    """States of the atoms of an element with how many have each, ascending, and the score."""

    counts: tuple[tuple[int, int], ...]
    score: float

    @property
    def charge(self) -> int:
        return sum(state * count for state, count in self.counts)

    @property
    def states(self) -> tuple[int, ...]:
        return tuple(state for state, count in self.counts for _ in range(count))


_Scored = tuple[float, tuple[tuple[str, _Assignment], ...]]
"""Score, and the states of each element."""

_LEAST_SHARE = 0.004
_LEAST_COUNT = 5
"""A state counts as known if so many atoms of the element in the ICSD have it, and this share of the charged ones."""

_MIXING = math.log(0.05)
"""What two states of one element add to the score; an assumption that prefers one state where it will do."""

LEAST_SCORE = -6.0
"""Salts of a lower score are unusual: few of the known ones are, and several times as many of those made up."""

_MULTIPLES = (1, 2, 3)
"""Formula units that are tried, so that Bi in BaBiO3 may be 3+ and 5+."""

_STRICT = frozenset({"O", "F", "Cl", "Br", "I"})
"""Elements that make salts: crystals with them are never taken for metals."""

_METALLIC_PARTNERS = frozenset({"B", "Si", "Ge", "Sb"})
"""Nonmetals whose compounds with metals are mostly metallic, whatever the numbers."""

_HYDRIDE_FORMERS = frozenset({"B"})
"""Other than metals: what H(1-) is found beside."""

_BARE_HALIDES = frozenset({"Cl", "Br", "I"})
"""What H(1+) is not found beside unless another anion binds it."""

_PROTON_BINDERS = frozenset({"N", "O", "F", "C", "P", "S", "Se", "As"})


@dataclass(frozen=True)
class ChargeBalance:
    """What was found of a composition.

    Attributes:
        kind: ``ionic`` where states add up to nothing, ``metallic`` where charges mean little, ``unusual`` for salts
            whose states add up only with rare ones, ``unbalanced`` otherwise.
        states: Oxidation state of each atom of the (multiplied) formula by element, ascending; may be empty.
        score: Sum over the elements of the mean log of their states' frequencies; 0 is the most usual. NaN
            where there are no states.
    """

    kind: Kind
    states: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    score: float = math.nan

    @property
    def passes(self) -> bool:
        """Whether the composition is balanced by usual states, or metallic."""
        return self.kind in ("ionic", "metallic")

    @property
    def means(self) -> dict[str, float]:
        """Mean oxidation state of each element, such as 8/3 of Fe in Fe3O4."""
        return {symbol: sum(states) / len(states) for symbol, states in self.states.items()}

    def describe(self) -> str:
        """Return the states as text, such as ``Fe(2+) 2Fe(3+) 4O(2-)``, or the kind where there are none."""
        if not self.states:
            return self.kind
        parts = []
        for symbol, states in self.states.items():
            for state, count in sorted(Counter(states).items()):
                sign = f"{abs(state)}{'+' if state > 0 else '-'}"
                parts.append(f"{count if count > 1 else ''}{symbol}({sign})")
        return " ".join(parts)


@cache
def frequencies() -> Mapping[str, Mapping[int, float]]:
    """Return the known oxidation states of each element with their shares among its charged atoms."""
    counts: dict[str, dict[int, int]] = defaultdict(dict)
    table = loadfn(str(_counted()))["occurrence"]
    for species, count in table.items():
        symbol = species.rstrip("+-0123456789.")
        charge = species[len(symbol) :]
        state = int(float(charge.rstrip("+-") or 1)) * (-1 if charge.endswith("-") else 1)
        if state:
            counts[symbol][state] = count
    known: dict[str, dict[int, float]] = {}
    for element in Element:
        found = counts.get(element.symbol, {})
        total = sum(found.values())
        shares = {s: n / total for s, n in found.items() if n >= _LEAST_COUNT and n / total >= _LEAST_SHARE}
        if not shares:
            common = [state for state in element.common_oxidation_states if state]
            shares = {state: 1 / len(common) for state in common}
        known[element.symbol] = dict(sorted(shares.items()))
    return known


def _counted() -> Traversable:
    """Return pymatgen's file of counts, which has moved from one of its packages to another."""
    places = (resources.files(f"pymatgen.{package}").joinpath("icsd_bv.yaml") for package in ("core", "analysis"))
    return next(place for place in places if place.is_file())


def charge_balance(composition: Composition | str) -> ChargeBalance:
    """Return the most usual oxidation states of a composition that add up to nothing, or what else it is.

    - One element may be in two neighbouring states (Fe in Fe3O4), in up to three formula units (Bi in BaBiO3).
    - An element is either positive or negative, and every positive one is less electronegative than every negative one.
    - H(1-) is found beside metals and B only; H(1+) not where Cl, Br or I alone could bind it.
    - Without states that add up, metals alone count as metallic, and those with B, Si, Ge and Sb; with other elements
      than O and the halogens where the metals, each in its lowest state, have electrons left (Fe4N, Mn3NiN, YH2).
      Single elements count as metallic as well: there is nothing to balance.

    Args:
        composition: Of the crystal, or its formula; amounts are whole numbers.
    """
    given = Composition(composition) if isinstance(composition, str) else composition.remove_charges()
    return _balance(given.reduced_formula)


@lru_cache(maxsize=2**14)
def _balance(formula: str) -> ChargeBalance:
    amounts = {element.symbol: int(n) for element, n in Composition(formula).items()}
    if len(amounts) == 1:
        return ChargeBalance("metallic")
    for multiple in _MULTIPLES:
        found = _most_usual({symbol: multiple * n for symbol, n in amounts.items()})
        if found is not None:
            score, states = found
            unusual = score < LEAST_SCORE and not _STRICT.isdisjoint(amounts)
            named = {symbol: each.states for symbol, each in states}
            return ChargeBalance("unusual" if unusual else "ionic", named, score)
    return ChargeBalance("metallic" if _metallic(amounts) else "unbalanced")


def _most_usual(amounts: Mapping[str, int]) -> _Scored | None:
    """Return the highest score, and the states of each element, with which charges add up to nothing; None if none.

    In the order of metals before others, then of electronegativity, the positive elements come first: there are as many
    ways to choose them as elements, less one.
    """
    ordered = sorted(amounts, key=_rank)
    found = [
        best
        for split in range(1, len(ordered))
        if _hydrogen_is_plausible(ordered[:split], ordered[split:])
        and (best := _balanced(amounts, ordered[:split], ordered[split:])) is not None
    ]
    return max(found, key=lambda each: each[0], default=None)


def _rank(symbol: str) -> tuple[bool, float]:
    element = Element(symbol)
    return not element.is_metal, element.X if math.isfinite(element.X) else 0.0


def _hydrogen_is_plausible(cations: list[str], anions: list[str]) -> bool:
    if "H" in anions:
        return all(Element(symbol).is_metal or symbol in _HYDRIDE_FORMERS for symbol in cations)
    if "H" in cations:
        return any(symbol in _PROTON_BINDERS for symbol in (*cations, *anions))
    return True


def _balanced(amounts: Mapping[str, int], cations: list[str], anions: list[str]) -> _Scored | None:
    """Return the best states of given positive and negative elements, element by element over all sums so far."""
    best: dict[tuple[int, bool], _Scored] = {(0, False): (0.0, ())}
    for symbol in (*cations, *anions):
        pure, blends = _assignments(symbol, amounts[symbol], positive=symbol in cations)
        longer: dict[tuple[int, bool], _Scored] = {}
        for (charge, mixed), (score, chosen) in best.items():
            for option in pure if mixed else (*pure, *blends):  # one element at most is in two states
                key, value = (charge + option.charge, mixed or len(option.counts) > 1), score + option.score
                if key not in longer or value > longer[key][0]:
                    longer[key] = value, (*chosen, (symbol, option))
        best = longer
    return max((best[0, mixed] for mixed in (False, True) if (0, mixed) in best), key=lambda e: e[0], default=None)


def _states(symbol: str, *, positive: bool) -> dict[int, float]:
    """Return the known states of one sign of an element, ascending, and their shares."""
    return {state: share for state, share in frequencies()[symbol].items() if (state > 0) == positive}


def _assignments(symbol: str, count: int, *, positive: bool) -> tuple[list[_Assignment], list[_Assignment]]:
    """Return the states that the atoms of an element may have: all in one state, and in two neighbouring ones."""
    scores = {state: math.log(share) for state, share in _states(symbol, positive=positive).items()}
    pure = [_Assignment(((state, count),), score) for state, score in scores.items()]
    blends = [
        _Assignment(
            ((lower, count - raised), (upper, raised)),
            ((count - raised) * scores[lower] + raised * scores[upper]) / count + _MIXING,
        )
        for lower, upper in pairwise(scores)
        for raised in range(1, count)
    ]
    return pure, blends


def _metallic(amounts: Mapping[str, int]) -> bool:
    """Whether a composition that is not balanced can be one of metals, or of metals and atoms between them.

    With B, Si, Ge and Sb anything can; with other elements that are no metals, only where the metals have electrons
    left when those are satisfied, as in Fe4N or Ba(MoSe)3. With O and the halogens that is a wrong formula instead.
    """
    metals = [symbol for symbol in amounts if Element(symbol).is_metal]
    others = set(amounts) - set(metals)
    if not metals or others & _STRICT:
        return False
    if others <= _METALLIC_PARTNERS:
        return True
    given = sum(amounts[symbol] * min(_states(symbol, positive=True), default=0) for symbol in metals)
    taken = sum(amounts[symbol] * -min(_states(symbol, positive=False), default=0) for symbol in others)
    return given > taken
