"""Whether a search of latent space finds crystals of low energy, as judged by a model that it did not use.

Definition: Xie et al. 2021 (arXiv:2110.06197), section 5.3: from each start, ten crystals; the search succeeds if the
best of them lies in the lowest 5, 10 or 15 % of the training crystals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from icsg3d.crystals.structures import structure_from_dict
from icsg3d.errors import InputError
from icsg3d.generation.search import different, optimize_property

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pymatgen.core import Structure

    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.properties.predictor import PropertyPredictor

SHARES = (0.05, 0.10, 0.15)
"""Lowest shares of the training crystals that count as success."""

BEST = 10
"""Crystals that are judged for each start."""


@dataclass(frozen=True)
class SearchResult:
    """What came of one start.

    Attributes:
        start: Formula of the start.
        structures: The different crystals that the searching model holds for the best, best first.
        searched: Their values by that model.
        judged: Their values by the judge.
    """

    start: str
    structures: list[Structure]
    searched: np.ndarray
    judged: np.ndarray

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> SearchResult:
        """Return the result that :meth:`as_dict` gave."""
        structures = list(map(structure_from_dict, row["structures"]))
        return cls(row["start"], structures, np.array(row["searched"]), np.array(row["judged"]))

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it."""
        return {
            "start": self.start,
            "structures": [structure.as_dict() for structure in self.structures],
            "searched": self.searched.tolist(),
            "judged": self.judged.tolist(),
        }


def search_from(
    generator: CrystalGenerator,
    searcher: PropertyPredictor,
    judge: Callable[[list[Structure]], np.ndarray],
    start: Structure,
    target: float,
    *,
    rounds: int = 8,
    draws: int = 64,
    seed: int = 0,
) -> SearchResult:
    """Search from one crystal for low values and judge the best that were found.

    Args:
        generator: Whose latent space is searched.
        searcher: The model that leads the search.
        judge: Another one, or an engine: structures to values.
        start: Where to begin.
        target: Value to aim at.
        rounds: Steps of the search.
        draws: Crystals decoded in each.
        seed: Of the draws.
    """
    visited = optimize_property(generator, searcher, start, target, rounds=rounds, draws=draws, seed=seed)
    best = different(sorted(visited, key=lambda each: abs(each.value - target)), BEST)
    structures = [each.structure for each in best]
    return SearchResult(
        start.composition.reduced_formula, structures, np.array([each.value for each in best]), judge(structures)
    )


def success_rates(results: Sequence[SearchResult], training: np.ndarray) -> dict[str, Any]:
    """Return the figures of ``property_search.json``.

    ``sr5`` and its like count a start whose best crystal by the judge is low enough; ``sr5_first`` and its like look
    only at the crystal that the searching model holds for the best.

    Args:
        results: One for each start.
        training: Values of the training crystals.

    Raises:
        InputError: if there is no result or no finite training value.
    """
    known = training[np.isfinite(training)]
    if not results or not len(known):
        msg = "success rates need at least one start and training crystals with values"
        raise InputError(msg)
    figures: dict[str, Any] = {"starts": len(results)}
    for share in SHARES:
        limit = float(np.quantile(known, share))
        name = f"sr{round(100 * share)}"
        figures |= {
            f"{name}_limit": limit,
            name: float(np.mean([result.judged.min() <= limit for result in results])),
            f"{name}_first": float(np.mean([result.judged[0] <= limit for result in results])),
        }
    return figures
