"""How much generated crystals are like real ones, and how much they are not.

Definitions: Xie et al. 2021 (arXiv:2110.06197), section 5.2 and appendix.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from pymatgen.analysis.structure_matcher import ElementComparator, StructureMatcher
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from icsg3d.crystals.matching import Duplicates
from icsg3d.errors import InputError
from icsg3d.progress import task
from icsg3d.screening.validity import composition_valid, structure_valid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from icsg3d.evaluation.fingerprints import Fingerprint
    from icsg3d.properties.predictor import PropertyPredictor

_CHUNK = 1000
"""Fingerprints whose distances to all others are held at once, and crystals whose energies are predicted together."""

_CHOICES = 20
"""Choices of valid crystals over which distances of distributions are averaged."""


@dataclass(frozen=True)
class Cutoffs:
    """Distances of fingerprints below which one crystal covers another.

    Attributes:
        sites: Of site fingerprints.
        composition: Of composition fingerprints.
    """

    sites: float
    composition: float


CUTOFFS = {"perovskites": Cutoffs(0.2, 4.0), "mp20": Cutoffs(0.4, 10.0)}
"""Those of the benchmark's data sets."""


@dataclass(frozen=True)
class Validity:
    """Whether a crystal is valid: its distances, and its composition by two sets of oxidation states."""

    structure: bool
    composition: bool
    composition_strict: bool

    @property
    def both(self) -> bool:
        """Whether structure and composition are valid as the benchmark has it."""
        return self.structure and self.composition


def validity(structure: Structure) -> Validity:
    """Return whether a crystal is valid."""
    composition = structure.composition
    return Validity(structure_valid(structure), composition_valid(composition), composition_valid(composition, None))


def coverage(
    generated: Sequence[Fingerprint | None], real: Sequence[Fingerprint | None], cutoffs: Cutoffs
) -> tuple[float, float]:
    """Return recall and precision.

    Recall is the share of real crystals near which, by sites and by composition, there is a generated one (not
    necessarily the same by both, as in the benchmark); precision the same with the roles exchanged. A generated
    crystal without a fingerprint is not covered; a real one is left out.

    Raises:
        InputError: if no real crystal has a fingerprint.
    """
    known = [each for each in real if each is not None]
    made = [each for each in generated if each is not None]
    if not known:
        msg = "none of the real crystals has a fingerprint; give other --data"
        raise InputError(msg)
    if not made:
        return 0.0, 0.0
    near_real, near_made = np.ones(len(known), dtype=bool), np.ones(len(made), dtype=bool)
    for name in ("sites", "composition"):
        first, second = (np.stack([getattr(each, name) for each in group]) for group in (made, known))
        cutoff = getattr(cutoffs, name)
        nearest = np.full(len(known), np.inf)
        for start in range(0, len(made), _CHUNK):
            distances = cdist(first[start : start + _CHUNK], second)
            near_made[start : start + _CHUNK] &= distances.min(axis=1) <= cutoff
            nearest = np.minimum(nearest, distances.min(axis=0))
        near_real &= nearest <= cutoff
    return float(near_real.mean()), float(near_made.sum() / len(generated))


def repeats(structures: Sequence[Structure], others: Sequence[Structure] = (), jobs: int = -1) -> np.ndarray:
    """Return which crystals repeat one of ``others`` or an earlier one, by pymatgen's StructureMatcher.

    Args:
        structures: Crystals.
        others: Crystals known before.
        jobs: Processes; -1 for one for each core.

    Returns:
        Shape (n, 2), boolean: repeats an earlier one; repeats one of the others.
    """
    groups: dict[str, tuple[list[int], list[Structure]]] = defaultdict(lambda: ([], []))
    for index, structure in enumerate(structures):
        groups[structure.composition.reduced_formula][0].append(index)
    for other in others:
        formula = other.composition.reduced_formula
        if formula in groups:
            groups[formula][1].append(other)
    found = Parallel(n_jobs=jobs, batch_size=16)(
        delayed(_repeats_in_group)([structures[i] for i in own], known) for own, known in groups.values()
    )
    result = np.zeros((len(structures), 2), dtype=bool)
    for (own, _), rows in zip(groups.values(), found, strict=True):
        result[own] = rows
    return result


def _repeats_in_group(structures: Sequence[Structure], others: Sequence[Structure]) -> np.ndarray:
    matcher = StructureMatcher(comparator=ElementComparator())
    own = Duplicates(matcher)
    rows = np.zeros((len(structures), 2), dtype=bool)
    for row, structure in enumerate(structures):
        rows[row, 0] = own.first_of(row, structure) is not None
        rows[row, 1] = any(matcher.fit(structure, other) for other in others)
    return rows


@dataclass(frozen=True)
class Energies:
    """Formation energies that one network predicts of crystals, in eV/atom; NaN where it cannot take a crystal.

    Attributes:
        generated: Of generated crystals; NaN also for those that are not valid.
        real: Of real ones.
        left_out: Valid generated crystals that the network cannot take.
        model: SHA-256 of the network's weights.
    """

    generated: np.ndarray
    real: np.ndarray
    left_out: int
    model: str = ""

    def figures(self) -> dict[str, Any]:
        """Return what ``generation.json`` tells of them beside their distance."""
        return {
            "energy_left_out": self.left_out,
            "energy_left_out_real": int(np.isnan(self.real).sum()),
            "energy_model": self.model,
        }


def predicted_energies(
    predictor: PropertyPredictor, generated: Sequence[Structure], valid: Sequence[Validity], real: Sequence[Structure]
) -> Energies:
    """Return the energies of valid generated crystals and of real ones.

    Args:
        predictor: Of the formation energy.
        generated: Crystals.
        valid: Of each.
        real: Crystals that they are compared with.
    """
    rows = [row for row, each in enumerate(valid) if each.both]
    values = np.full(len(generated), np.nan)
    values[rows] = _energies(predictor, [generated[row] for row in rows], "energies of generated crystals")
    known = _energies(predictor, real, "energies of real crystals")
    return Energies(values, known, int(np.isnan(values[rows]).sum()), predictor.digest)


def _energies(predictor: PropertyPredictor, structures: Sequence[Structure], text: str) -> np.ndarray:
    values = np.empty(len(structures))
    with task(text, len(structures)) as running:
        for start in range(0, len(structures), _CHUNK):
            chunk = structures[start : start + _CHUNK]
            values[start : start + _CHUNK] = predictor.predict_possible(chunk).values
            running.advance(len(chunk))
    return values


def distances_of_distributions(
    generated: Sequence[Structure],
    valid: Sequence[Validity],
    real: Sequence[Structure],
    n: int = 1000,
    seed: int = 0,
    energies: Energies | None = None,
) -> dict[str, float | None]:
    """Return Wasserstein distances of density (g/cm^3), number of elements and, where given, energies (eV/atom).

    Each is None where there is no crystal to compare.

    Args:
        generated: Crystals.
        valid: Of each.
        real: All of these count.
        n: Valid generated crystals that are taken; fewer if there are not so many.
        seed: Of their choice.
        energies: Of all crystals; of those chosen and of the real ones the unknown are left out.
    """
    rows = np.random.default_rng(seed).permutation(np.flatnonzero([each.both for each in valid]))[:n]
    chosen = [generated[row] for row in rows]
    found = {
        "wdist_density": _distance([s.density for s in chosen], [s.density for s in real]),
        "wdist_num_elements": _distance(
            [len(set(s.atomic_numbers)) for s in chosen], [len(set(s.atomic_numbers)) for s in real]
        ),
    }
    if energies is not None:
        found["wdist_energy"] = _distance(energies.generated[rows], energies.real)
    return found


def _distance(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float | None:
    """Return the Wasserstein distance of two sets of numbers without those that are NaN; None where one is empty."""
    known = [np.asarray(values, dtype=float) for values in (first, second)]
    known = [values[~np.isnan(values)] for values in known]
    return float(wasserstein_distance(*known)) if all(map(len, known)) else None


def mean_distances(
    generated: Sequence[Structure],
    valid: Sequence[Validity],
    real: Sequence[Structure],
    seed: int = 0,
    energies: Energies | None = None,
) -> dict[str, float | None]:
    """Return the means of :func:`distances_of_distributions` over several choices of the valid crystals.

    One choice of 1,000 moves the distances by a tenth and more, as much as models differ.
    """
    found = [
        distances_of_distributions(generated, valid, real, seed=seed + choice, energies=energies)
        for choice in range(_CHOICES)
    ]
    values = {f"{name}_mean": [each[name] for each in found] for name in found[0]}
    return {name: None if None in each else float(np.mean(each)) for name, each in values.items()}  # type: ignore[arg-type]


@dataclass(frozen=True)
class GenerationReport:
    """Figures of a set of generated crystals.

    Attributes:
        samples: Draws, those that gave no crystal with them.
        valid: Of each crystal.
        prints: Fingerprint of each crystal.
        repeated: What :func:`repeats` gave.
        figures: What goes into ``generation.json``.
        energies: Predicted ones, where there was a network.
    """

    samples: int
    valid: list[Validity]
    prints: list[Fingerprint | None]
    repeated: np.ndarray
    figures: dict[str, Any]
    energies: Energies | None = None


def report(
    samples: int,
    generated: Sequence[Structure],
    prints: Sequence[Fingerprint | None],
    real: Sequence[Structure],
    real_prints: Sequence[Fingerprint | None],
    *,
    cutoffs: Cutoffs,
    training: Sequence[Structure] | None = None,
    predictor: PropertyPredictor | None = None,
    jobs: int = -1,
    seed: int = 0,
) -> GenerationReport:
    """Judge generated crystals.

    Args:
        samples: Number of draws; what is missing in ``generated`` gave no crystal and is neither valid nor covered.
        generated: Crystals.
        prints: Fingerprint of each.
        real: Crystals that they are compared with.
        real_prints: Fingerprint of each.
        cutoffs: Of coverage.
        training: Crystals the model learned from, for novelty.
        predictor: Of the formation energy; without it distributions of the energy are not compared.
        jobs: Processes; -1 for one for each core.
        seed: Of the choice of valid crystals whose distributions are compared.
    """
    valid = [validity(structure) for structure in generated]
    missing = [None] * (samples - len(generated))
    recall, precision = coverage([*prints, *missing], real_prints, cutoffs)
    repeated = repeats(generated, training or (), jobs)
    first = ~repeated[:, 0]
    energies = None if predictor is None else predicted_energies(predictor, generated, valid, real)
    figures: dict[str, Any] = {
        "samples": samples,
        "decoded": len(generated) / samples,
        "structural_validity": sum(each.structure for each in valid) / samples,
        "compositional_validity": sum(each.composition for each in valid) / samples,
        "compositional_validity_strict": sum(each.composition_strict for each in valid) / samples,
        "cov_recall": recall,
        "cov_precision": precision,
        **distances_of_distributions(generated, valid, real, seed=seed, energies=energies),
        **mean_distances(generated, valid, real, seed, energies),
        **({} if energies is None else energies.figures()),
        "unique": float(first.sum()) / samples,
        "novel": None if training is None else float((first & ~repeated[:, 1]).sum()) / samples,
    }
    return GenerationReport(samples, valid, list(prints), repeated, figures, energies)
