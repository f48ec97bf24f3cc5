"""Search of latent space for crystals with a wanted property."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import Ridge

from icsg3d.arguments import noise_level, real_number, whole_number
from icsg3d.crystals.matching import Duplicates
from icsg3d.errors import InputError
from icsg3d.progress import task, track
from icsg3d.properties.volume import VolumePredictor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymatgen.core import Structure

    from icsg3d.crystals.structures import Crystal
    from icsg3d.generation.decoded import DecodedCrystal, Located
    from icsg3d.generation.generator import CrystalGenerator
    from icsg3d.properties.predictor import PropertyPredictor

_RIDGE = 10.0
"""Weight of the penalty on the fitted gradient, whose directions outnumber the crystals at first."""


@dataclass(frozen=True)
class Visited:
    """A crystal that a search came by.

    Attributes:
        structure: The crystal, in the cell in which the start was given.
        value: Predicted property, in its unit.
        std: Standard uncertainty of the value.
        latent_distance: Distance from the start, in standard deviations of the training crystals.
        round: Step of the search, from 0.
    """

    structure: Structure
    value: float
    std: float
    latent_distance: float
    round: int

    def expected_miss(self, target: float) -> float:
        """Return the root-mean-square distance from a target value: a doubtful prediction that hits it is no hit."""
        return math.hypot(self.value - target, self.std)


def different(visited: Iterable[Visited], count: int) -> list[Visited]:
    """Return the first crystals that repeat none before them, at most so many."""
    duplicates = Duplicates()
    found = (each for n, each in enumerate(visited) if duplicates.first_of(n, each.structure) is None)
    return list(itertools.islice(found, count))


def different_around(
    generator: CrystalGenerator, base: Located, count: int, draws: int, scale: float, seed: int
) -> list[tuple[int, DecodedCrystal]]:
    """Return draws around a crystal that gave different crystals, with their numbers.

    Args:
        generator: That draws.
        base: The crystal.
        count: How many are wanted.
        draws: How many are made, at most.
        scale: Noise level.
        seed: Of the draws.

    Raises:
        InputError: if none gave a crystal.
    """
    duplicates = Duplicates()
    found: list[tuple[int, DecodedCrystal]] = []
    with task("sampling", count) as running:
        for draw, crystal in enumerate(generator.iter_sample_around(base, draws, scale, seed)):
            if crystal.structure is not None and duplicates.first_of(draw, crystal.structure) is None:
                found.append((draw, crystal))
                running.advance()
            if len(found) == count:
                break
    if not found:
        raise _barren(base, draws, scale)
    return found


def optimize_property(
    generator: CrystalGenerator,
    predictor: PropertyPredictor,
    start: Crystal | Located,
    target: float,
    *,
    rounds: int = 8,
    draws: int = 64,
    scale: float = 0.6,
    seed: int = 0,
) -> list[Visited]:
    """Search around a crystal for others whose predicted property is near a target.

    Decoding is not differentiable (atoms are counted), so the gradient of the property is fitted: in each round
    neighbours of the current point are drawn (:meth:`icsg3d.generation.spaces.LatentSpace.around`), decoded,
    brought to their equilibrium volumes if the model keeps the cell of the start, and predicted. A ridge regression on
    all of them so far gives the gradient in coordinates in which the training crystals have unit covariance. The next
    point is the best crystal so far, moved along the gradient by the step that would reach the target if the property
    were linear, at most half as far as noise of the level goes.

    Args:
        generator: Whose latent space is searched.
        predictor: Of the property.
        start: The crystal, or what :meth:`CrystalGenerator.place` made of it.
        target: Value wanted, in the property's unit.
        rounds: Steps.
        draws: Crystals decoded in each step.
        scale: Noise level of the draws, above 0 and up to 1.
        seed: Of the draws.

    Returns:
        Every crystal that was decoded, in the order of the search.

    Raises:
        InputError: if the start cannot be encoded, a number is out of range, or no draw gave a crystal.
    """
    rounds, draws = whole_number(rounds, "rounds", 1), whole_number(draws, "draws", 2)
    scale, target, seed = noise_level(scale), real_number(target, "the target"), whole_number(seed, "a seed")
    space, base = generator.space, generator.placed(start)
    settle = VolumePredictor.from_pretrained().settle if space.fixed_cells else list
    points, values, visited = list[np.ndarray](), list[np.ndarray](), list[Visited]()
    current = base.latent
    for number in track(range(rounds), "searching"):
        latents = space.around(current, base.arrays, draws, scale, seed, first=number * draws)
        decoded = [each.in_setting(base.setting) for each in generator.decode(latents)]
        drawn = [(each, each.structure) for each in decoded if each.structure is not None]
        found = _predicted(predictor, [each for each, _ in drawn], settle([structure for _, structure in drawn]))
        if found:
            made = [each.latent for each, *_ in found]
            distances = generator.latent_distance(made, base.latent).tolist()
            visited += [
                Visited(structure, value, std, distance, number)
                for (_, structure, value, std), distance in zip(found, distances, strict=True)
            ]
            points.append(space.coordinates(made))
            values.append(np.array([value for *_, value, _ in found]))
            following = _next_point(np.concatenate(points), np.concatenate(values), target, scale)
            current = space.at(following, base.latent)
    if not visited:
        raise _barren(base, rounds * draws, scale)
    return visited


def _barren(base: Located, draws: int, scale: float) -> InputError:
    formula = base.structure.composition.reduced_formula
    return InputError(f"none of {draws} draws around {formula} gave a crystal; try a smaller scale than {scale:g}")


def _predicted(
    predictor: PropertyPredictor, drawn: Sequence[DecodedCrystal], settled: Sequence[Structure | None]
) -> list[tuple[DecodedCrystal, Structure, float, float]]:
    """Return the draws that have a prediction, with their settled crystals, values and uncertainties."""
    usable = [(each, structure) for each, structure in zip(drawn, settled, strict=True) if structure is not None]
    found = predictor.predict_possible([structure for _, structure in usable])
    rows = zip(usable, found.values.tolist(), found.stds.tolist(), strict=True)
    return [(each, structure, value, std) for (each, structure), value, std in rows if np.isfinite(value)]


def _next_point(points: np.ndarray, values: np.ndarray, target: float, scale: float) -> np.ndarray:
    """Return the point nearest to the target so far, moved along the fitted gradient."""
    best = int(np.abs(values - target).argmin())
    gradient = Ridge(_RIDGE).fit(points, values).coef_
    square = float(gradient @ gradient)
    if square <= 1e-12:
        return points[best]
    step = (target - values[best]) / square * gradient
    longest = scale * np.sqrt(len(step)) / 2
    return points[best] + step * min(1.0, longest / max(float(np.linalg.norm(step)), 1e-12))
