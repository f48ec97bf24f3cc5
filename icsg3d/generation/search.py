"""Search of latent space for crystals with a wanted property."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import Ridge

from icsg3d.arguments import noise_level, real_number, whole_number
from icsg3d.errors import InputError
from icsg3d.progress import track

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from icsg3d.crystals.structures import Crystal
    from icsg3d.generation.generator import CrystalGenerator, Located
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
    neighbours of the current point are drawn (:meth:`icsg3d.models.density.LatentDensity.around`), decoded and
    predicted, and a ridge regression on all of them so far gives the gradient in coordinates in which the training
    crystals have unit covariance. The next point is the best crystal so far, moved along the gradient by the step that
    would reach the target if the property were linear, at most half as far as noise of the level goes.

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
    density, base = generator.vectors.density, generator.placed(start)
    points, values, visited = list[np.ndarray](), list[np.ndarray](), list[Visited]()
    current = base.latent
    for number in track(range(rounds), "searching"):
        latent = density.around(current, draws, scale, seed, number)
        white = density.white(latent)
        decoded = [each.in_setting(base.setting) for each in generator.decode(latent)]
        rows = [row for row, each in enumerate(decoded) if each.structure is not None]
        structures = [each.structure for each in decoded if each.structure is not None]
        found = predictor.predict_possible(structures)
        good = np.isfinite(found.values)
        if good.any():
            rows = np.array(rows)[good]
            structures = [structure for structure, usable in zip(structures, good, strict=True) if usable]
            distances = generator.latent_distance(latent[rows], base.latent)
            numbers = zip(found.values[good].tolist(), found.stds[good].tolist(), distances.tolist(), strict=True)
            visited += [Visited(s, *each, number) for s, each in zip(structures, numbers, strict=True)]
            points.append(white[rows])
            values.append(found.values[good])
            following = _next_point(np.concatenate(points), np.concatenate(values), target, scale)
            current = density.coloured(following[None])[0]
    if not visited:
        formula = base.structure.composition.reduced_formula
        msg = f"none of {rounds * draws} draws around {formula} gave a crystal; try a smaller scale than {scale:g}"
        raise InputError(msg)
    return visited


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
