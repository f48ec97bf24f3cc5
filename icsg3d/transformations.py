"""pymatgen transformations: new crystals from the latent space of a generator.

They work wherever pymatgen's own do: in ``TransformedStructure``, ``StandardTransmuter`` and atomate2. Each keeps to
plain arguments and loads its networks when they are first needed. The dictionaries that one-to-many transformations
return carry, beside the structure, its scores and where it came from; pymatgen writes them into the history.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.transformations.transformation_abc import AbstractTransformation

from icsg3d.arguments import first_ones, ranked_list, whole_number
from icsg3d.bars import bars
from icsg3d.crystals.structures import as_structure, structure_from_dict
from icsg3d.defaults import GENERATOR
from icsg3d.errors import InputError
from icsg3d.generation.generator import CrystalGenerator
from icsg3d.generation.search import different, different_around, optimize_property
from icsg3d.generation.sources import LatentDraws
from icsg3d.models.density import SCALE
from icsg3d.properties.predictor import PropertyPredictor
from icsg3d.properties.volume import VolumePredictor
from icsg3d.screening.constraints import Constraints
from icsg3d.screening.pipeline import Judge
from icsg3d.screening.screen import Screening
from icsg3d.screening.shortlist import best_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from icsg3d.crystals.structures import Crystal

_DRAWS_PER_STRUCTURE = 8
"""Draws tried for each structure asked for, before the transformation gives up."""


class LatentTransformation(AbstractTransformation):
    """What the transformations share: networks that load on first use and never travel."""

    use_multiprocessing = False
    inverse = None
    model: str
    device: str

    @cached_property
    def generator(self) -> CrystalGenerator:
        """The generator, loaded on first use."""
        return CrystalGenerator.from_pretrained(self.model, self.device)

    @property
    def is_one_to_many(self) -> bool:
        """Whether one crystal becomes many."""
        return True

    def _origin(self) -> dict[str, Any]:
        return {"transformation_class": type(self).__name__, **self.generator.as_dict()}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in {"generator", "predictor"}}


class LatentSamplingTransformation(LatentTransformation):
    """New crystals around the given one in latent space, at their equilibrium volumes, ranked by a predicted property.

    Args:
        n_structures: Different crystals to return.
        model: Shipped generator, or folder of a trained one.
        seed: The same seed gives the same crystals.
        scale: Noise level, above 0 and up to 1; more is further away.
        rank_by: Property whose predictor ranks the crystals, or folder of a trained one; None ranks by the distance in
            latent space.
        maximize: Whether the greatest value is the best; by default the least, as of an energy.
        device: Where the networks run.
        pbar: Whether a bar shows the progress of what takes more than two seconds.
    """

    def __init__(
        self,
        n_structures: int = 10,
        model: str = GENERATOR,
        seed: int = 0,
        scale: float = SCALE,
        rank_by: str | None = "formation_energy_per_atom",
        maximize: bool = False,  # noqa: FBT001, FBT002 (pymatgen passes arguments by name)
        device: str = "cpu",
        pbar: bool = True,  # noqa: FBT001, FBT002
    ) -> None:
        self.n_structures = n_structures
        self.model = model
        self.seed = seed
        self.scale = scale
        self.rank_by = rank_by
        self.maximize = maximize
        self.device = device
        self.pbar = pbar

    @cached_property
    def predictor(self) -> PropertyPredictor | None:
        """The predictor of the property that ranks, loaded on first use."""
        return None if self.rank_by is None else PropertyPredictor.from_pretrained(self.rank_by, self.device)

    def apply_transformation(self, structure: Crystal, return_ranked_list: bool | int = False) -> Any:  # noqa: FBT001, FBT002
        """Return new crystals, best first.

        Args:
            structure: Where to start, a Structure, Atoms or the path of a file; it is left as it is.
            return_ranked_list: False for the best structure alone, True for all, or how many.

        Returns:
            A Structure, or dictionaries with ``structure``, the ranking property with its uncertainty,
            ``latent_distance``, ``draw``, ``seed``, ``scale``, ``model`` and ``model_sha256``.

        Raises:
            InputError: if the crystal cannot be encoded, or no draw gave a crystal.
        """
        whole_number(self.n_structures, "n_structures", 1)
        with bars(show=self.pbar):
            return self._sampled(structure, return_ranked_list)

    def _sampled(self, structure: Crystal, wanted: bool | int) -> Any:  # noqa: FBT001
        base, draws = self.generator.place([structure])[0], self.n_structures * _DRAWS_PER_STRUCTURE
        found = different_around(self.generator, base, self.n_structures, draws, self.scale, self.seed)
        distances = self.generator.latent_distance([d.latent for _, d in found], base.latent)
        drawn = [decoded.structure for _, decoded in found if decoded.structure is not None]
        settled = VolumePredictor.from_pretrained(device=self.device).settle(drawn)
        entries = [
            {
                "structure": crystal if at_volume is None else at_volume,
                "latent_distance": float(distance),
                "draw": draw,
                "seed": self.seed,
                "scale": self.scale,
                **self._origin(),
            }
            for (draw, _), distance, crystal, at_volume in zip(found, distances, drawn, settled, strict=True)
        ]
        return ranked_list(self._ranked(entries), wanted)

    def _ranked(self, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the entries best first, with the property that ranks."""
        if self.predictor is None:
            return sorted(entries, key=lambda entry: entry["latent_distance"])
        name = self.predictor.property.name
        found = self.predictor.best_first([entry["structure"] for entry in entries], maximize=self.maximize)
        if not found:
            msg = f"the model of {name} can take none of the crystals that were drawn; rank them by another, or by None"
            raise InputError(msg)
        return [entries[row] | {name: value, f"{name}_std": std} for row, value, std in found]


class CandidateTransformation(LatentTransformation):
    """The best candidates around the given crystal, drawn until twice as many pass, as ``icsg3d generate`` does it.

    Args:
        n_structures: Different candidates to return.
        constraints: That each has to meet: a :class:`~icsg3d.screening.constraints.Constraints`, or its dictionary.
        above_hull: Largest energy above the hull of known phases in eV/atom; None for any.
        draws: Largest number of draws.
        model: Shipped generator, or folder of a trained one.
        seed: The same seed gives the same candidates.
        scale: Noise level, above 0 and up to 1; more is further away. From the 500th draw on it rises by 0.1 every 250.
        device: Where the networks run.
        relax: Whether what passes is brought to the minimum of the predicted energy, and judged there.
    """

    def __init__(
        self,
        n_structures: int = 10,
        constraints: Constraints | dict[str, Any] | None = None,
        above_hull: float | None = None,
        draws: int = 500,
        model: str = GENERATOR,
        seed: int = 0,
        scale: float = SCALE,
        device: str = "cpu",
        *,
        relax: bool = True,
    ) -> None:
        self.n_structures = n_structures
        self.constraints = Constraints.from_dict(constraints) if isinstance(constraints, dict) else constraints
        self.above_hull = above_hull
        self.draws = draws
        self.model = model
        self.seed = seed
        self.scale = scale
        self.device = device
        self.relax = relax

    def apply_transformation(self, structure: Crystal, return_ranked_list: bool | int = False) -> Any:  # noqa: FBT001, FBT002
        """Return candidates, the one nearest to the hull first.

        Args:
            structure: Where to start, a Structure, Atoms or the path of a file; it is left as it is.
            return_ranked_list: False for the best structure alone, True for all, or how many.

        Returns:
            A Structure, or dictionaries with ``structure``, the predictions with their uncertainties, the results of
            screening, ``draw``, ``seed``, ``scale``, ``model`` and ``model_sha256``.

        Raises:
            InputError: if the crystal cannot be encoded, or no draw passed.
        """
        whole_number(self.n_structures, "n_structures", 1)
        base = as_structure(structure)
        screening = Screening(constraints=self.constraints or Constraints(), above_hull=self.above_hull)
        judge = Judge.load(screening, base=base, device=self.device, relax=self.relax)
        source = LatentDraws(self.generator, base, self.draws, scale=self.scale, seed=self.seed, widening=True)
        entries = [
            {
                "structure": each.structure,
                **each.predictions,
                **each.screening,
                "draw": each.index,
                "seed": self.seed,
                "scale": each.scale,
                **self._origin(),
            }
            for each in best_of(source, judge, self.n_structures)
        ]
        return ranked_list(entries, return_ranked_list)


class ReconstructionTransformation(LatentTransformation):
    """The given crystal encoded and decoded again.

    Args:
        model: Shipped generator, or folder of a trained one.
        device: Where the network runs.
    """

    def __init__(self, model: str = GENERATOR, device: str = "cpu") -> None:
        self.model = model
        self.device = device

    @property
    def is_one_to_many(self) -> bool:
        """Whether one crystal becomes many."""
        return False

    def apply_transformation(self, structure: Crystal) -> Structure:
        """Return the rebuilt crystal, in the cell that was given.

        Raises:
            InputError: if the crystal cannot be encoded, or its latent mean decodes to no crystal.
        """
        structure = as_structure(structure)
        decoded = self.generator.reconstruct([structure])[0]
        if decoded.structure is None:
            msg = f"{structure.composition.reduced_formula} decodes to no crystal: {decoded.reason}"
            raise InputError(msg)
        return decoded.structure


class LatentInterpolationTransformation(LatentTransformation):
    """Crystals on the way through latent space from the given one to another.

    Args:
        end: The other crystal: a Structure or its dictionary, Atoms, or the path of a file.
        n_structures: Points with both ends.
        model: Shipped generator, or folder of a trained one.
        device: Where the network runs.
        pbar: Whether a bar shows the progress of what takes more than two seconds.
    """

    def __init__(
        self,
        end: Crystal | dict[str, Any],
        n_structures: int = 10,
        model: str = GENERATOR,
        device: str = "cpu",
        pbar: bool = True,  # noqa: FBT001, FBT002
    ) -> None:
        self.end = end if isinstance(end, dict) else as_structure(end).as_dict()
        self.n_structures = n_structures
        self.model = model
        self.device = device
        self.pbar = pbar

    def apply_transformation(self, structure: Crystal, return_ranked_list: bool | int = False) -> Any:  # noqa: FBT001, FBT002
        """Return the crystals of the path in its order; points that decode to none are passed over.

        Args:
            structure: Where the path begins, likewise; it is left as it is.
            return_ranked_list: False for the structure nearest to the middle, True for all, or how many from the start.

        Returns:
            A Structure, or dictionaries with ``structure``, ``path_fraction`` (0 at the start, 1 at the end), ``model``
            and ``model_sha256``.

        Raises:
            InputError: if an end cannot be encoded, or no point gave a crystal.
        """
        with bars(show=self.pbar):
            path = self.generator.interpolate(structure, structure_from_dict(self.end), self.n_structures)
        shares = np.linspace(0, 1, self.n_structures)
        entries = [
            {"structure": point.structure, "path_fraction": float(share), **self._origin()}
            for point, share in zip(path, shares, strict=True)
            if point.structure is not None
        ]
        if not entries:
            msg = f"none of {self.n_structures} points between the two crystals decodes to one: {path[0].reason}"
            raise InputError(msg)
        if return_ranked_list is False:
            return min(entries, key=lambda entry: abs(entry["path_fraction"] - 0.5))["structure"]
        return first_ones(entries, return_ranked_list)


class PropertyOptimizationTransformation(LatentTransformation):
    """New crystals near the given one whose predicted property comes close to a target value.

    Args:
        property_name: Property that is searched for, or folder of a trained model.
        target: Value wanted, in the property's unit.
        n_structures: Different crystals to return.
        rounds: Steps of the search.
        draws: Crystals decoded in each step.
        model: Shipped generator, or folder of a trained one.
        seed: The same seed gives the same crystals.
        scale: Noise level of the draws about the current point.
        device: Where the networks run.
        pbar: Whether a bar shows the progress of what takes more than two seconds.
    """

    def __init__(
        self,
        property_name: str = "formation_energy_per_atom",
        target: float = -3.0,
        n_structures: int = 10,
        rounds: int = 8,
        draws: int = 64,
        model: str = GENERATOR,
        seed: int = 0,
        scale: float = 0.6,
        device: str = "cpu",
        pbar: bool = True,  # noqa: FBT001, FBT002
    ) -> None:
        self.property_name = property_name
        self.target = target
        self.n_structures = n_structures
        self.rounds = rounds
        self.draws = draws
        self.model = model
        self.seed = seed
        self.scale = scale
        self.device = device
        self.pbar = pbar

    @cached_property
    def predictor(self) -> PropertyPredictor:
        """The predictor of the property, loaded on first use."""
        return PropertyPredictor.from_pretrained(self.property_name, self.device)

    def apply_transformation(self, structure: Crystal, return_ranked_list: bool | int = False) -> Any:  # noqa: FBT001, FBT002
        """Return new crystals, nearest to the target first, doubtful ones last.

        What counts is :meth:`icsg3d.generation.search.Visited.expected_miss`, prediction and uncertainty together.

        Args:
            structure: Where to start, a Structure, Atoms or the path of a file; it is left as it is.
            return_ranked_list: False for the best structure alone, True for all, or how many.

        Returns:
            A Structure, or dictionaries with ``structure``, the property with its uncertainty, ``target``,
            ``latent_distance``, ``round``, ``seed``, ``model`` and ``model_sha256``.

        Raises:
            InputError: if the crystal cannot be encoded, or no draw gave a crystal.
        """
        whole_number(self.n_structures, "n_structures", 1)
        with bars(show=self.pbar):
            visited = optimize_property(
                self.generator,
                self.predictor,
                structure,
                self.target,
                rounds=self.rounds,
                draws=self.draws,
                scale=self.scale,
                seed=self.seed,
            )
        best = different(sorted(visited, key=lambda each: each.expected_miss(self.target)), self.n_structures)
        name = self.predictor.property.name
        entries = [
            {
                "structure": each.structure,
                name: each.value,
                f"{name}_std": each.std,
                "target": self.target,
                "latent_distance": each.latent_distance,
                "round": each.round,
                "seed": self.seed,
                **self._origin(),
            }
            for each in best
        ]
        return ranked_list(entries, return_ranked_list)
