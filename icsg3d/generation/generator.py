"""The generator of crystals: structures to latent vectors and back, samples, and paths between crystals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from icsg3d import pretrained
from icsg3d.arguments import noise_level, real_number, several, whole_number
from icsg3d.crystals.cells import widest_gap
from icsg3d.crystals.display import CrystalList
from icsg3d.crystals.elements import symbols
from icsg3d.crystals.structures import CellSetting, Crystal, as_structure, from_arrays
from icsg3d.crystals.taking import is_one_crystal
from icsg3d.defaults import GENERATOR
from icsg3d.errors import InputError
from icsg3d.generation.decoded import DecodedCrystal, Located
from icsg3d.generation.grid_space import GridSpace
from icsg3d.generation.spaces import VectorSpace
from icsg3d.models.checkpoints import GENERATOR_FORMAT, read_format
from icsg3d.models.decoding import BATCH, SYMMETRY_TOLERANCE
from icsg3d.models.density import SCALE
from icsg3d.models.generator import energy_bins
from icsg3d.models.grid_generator import GRID_GENERATOR_FORMAT
from icsg3d.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.generation.spaces import DecodedMap, Latents, LatentSpace, SpaceConfig

_WIDEST_GAP = 8.5
"""Angstrom from every atom. Nearly all crystals have places up to 5 from every atom, layered ones of the Materials
Project up to 8.2; of 7,140 binaries and ternaries four are single layers or molecules in more vacuum than that."""

_SPACES: Mapping[str, Callable[[Path, str | torch.device], tuple[LatentSpace, str]]] = {
    GENERATOR_FORMAT: VectorSpace.load,
    GRID_GENERATOR_FORMAT: GridSpace.load,
}
"""How models are read, by the format that their configuration names."""


class CrystalGenerator:
    """A trained generator: crystals to latents of its space and back, and draws.

    Args:
        space: The latent space.
        name: Name of the model.
        digest: SHA-256 of its weights.
        folder: Where it was read from.
        symmetry_tolerance: What is decoded is brought to the symmetry that it has within this distance, in angstrom;
            0 for none.
    """

    def __init__(
        self,
        space: LatentSpace,
        *,
        name: str = "",
        digest: str = "",
        folder: Path | None = None,
        symmetry_tolerance: float = SYMMETRY_TOLERANCE,
    ) -> None:
        self.space = space
        self.name = name
        self.digest = digest
        self.folder = folder
        self.symmetry_tolerance = symmetry_tolerance

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = GENERATOR,
        device: str | torch.device = "cpu",
        symmetry_tolerance: float = SYMMETRY_TOLERANCE,
    ) -> CrystalGenerator:
        """Load a model that the package ships, or one from a folder that ``icsg3d train generator`` wrote.

        Args:
            model: Name or path.
            device: Where it runs, such as ``cpu`` or ``cuda``.
            symmetry_tolerance: As in the class.

        Raises:
            InputError: if there is no such model, its files are damaged, or the tolerance is negative.
        """
        symmetry_tolerance = real_number(symmetry_tolerance, "the tolerance of symmetry, a distance in angstrom,")
        if symmetry_tolerance < 0:
            msg = f"the tolerance of symmetry is a distance in angstrom, 0 or more; got {symmetry_tolerance}"
            raise InputError(msg)
        folder = pretrained.find(model, *_SPACES)
        load = _SPACES.get(read_format(folder) or "", VectorSpace.load)
        space, digest = load(folder, device)
        return cls(space, name=folder.name, digest=digest, folder=folder, symmetry_tolerance=symmetry_tolerance)

    @property
    def config(self) -> SpaceConfig:
        """Limits and condition of the model."""
        return self.space.config

    @property
    def vectors(self) -> VectorSpace:
        """The space of a model whose latents are vectors of one length.

        Raises:
            InputError: if they are not.
        """
        if not isinstance(self.space, VectorSpace):
            msg = f"the model {self.name} has no latent vectors of one length; name another with --model, such as cubic"
            raise InputError(msg)
        return self.space

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols of the elements that the model knows."""
        return tuple(symbols()[number] for number in self.config.elements)

    def training_formulas(self) -> frozenset[str] | None:
        """Return the reduced formulas of the training crystals, for checks of novelty; None if there is no list."""
        return pretrained.training_formulas(self.folder) if self.folder else None

    def prepare(self, crystal: Crystal) -> tuple[CrystalArrays, CellSetting]:
        """Return the cell that the networks see of a crystal, and how it was given.

        Raises:
            InputError: if the crystal is none, is disordered, has an element that the model does not know, or a cell
                larger than the model takes or with vacuum in it.
        """
        structure = as_structure(crystal)
        arrays, setting = self.space.cell(structure)
        name = structure.composition.reduced_formula
        unknown = sorted(set(arrays.numbers.tolist()) - set(self.config.elements))
        if unknown:
            names = ", ".join(symbols()[number] for number in unknown)
            msg = (
                f"{name} has {names}, which the model {self.name} was not trained on; exchange it or name another "
                f"--model, as this one knows {self._elements()}"
            )
            raise InputError(msg)
        refusal = self.space.refusal(arrays)
        if refusal:
            msg = (
                f"the cell of {name} that the networks of the model {self.name} see {refusal}; "
                "use a smaller crystal or another --model"
            )
            raise InputError(msg)
        gap = widest_gap(arrays)
        if gap > _WIDEST_GAP:
            msg = (
                f"{name} is a molecule in a box or a slab, as a place of its cell is {gap:.1f} angstrom from every "
                "atom; give a crystal that fills its cell"
            )
            raise InputError(msg)
        return arrays, setting

    def _elements(self) -> str:
        return " ".join(self.elements)

    def bins(self, condition: Sequence[float | None] | float | None, count: int) -> torch.Tensor:
        """Return condition bins of energies in eV/atom (those of ``config.condition``), -1 where None.

        Raises:
            InputError: if there are not as many energies as crystals, or the model has no condition.
        """
        values: list[Any] = [condition] * count if np.ndim(condition) == 0 else list(condition)  # type: ignore[arg-type]
        if len(values) != count:
            msg = f"{len(values)} conditions were given for {count} crystals; give one, or one for each"
            raise InputError(msg)
        if any(value is not None for value in values) and not self.config.energy_edges:
            msg = f"the model {self.name} was trained without formation energies; leave the condition out"
            raise InputError(msg)
        energies = torch.tensor(
            [float("nan") if value is None else real_number(value, "a condition in eV per atom") for value in values]
        )
        return energy_bins(energies, self.config.energy_edges)

    def encode(self, crystals: Sequence[Crystal], condition: Sequence[float | None] | float | None = None) -> Latents:
        """Return the latent means of crystals.

        Args:
            crystals: Structures, Atoms or paths.
            condition: Formation energies in eV/atom, where known.

        Returns:
            An array of shape (n, latent), or a list of grids.

        Raises:
            InputError: as in :meth:`prepare`, :meth:`bins`.
        """
        return self.encode_arrays(
            [self.prepare(crystal)[0] for crystal in _listed(crystals)], self.bins(condition, len(crystals))
        )

    def encode_arrays(self, arrays: Sequence[CrystalArrays], bins: torch.Tensor) -> Latents:
        """Return the latent means of cells with their condition bins.

        Raises:
            InputError: if there is no cell.
        """
        if not arrays:
            msg = "no crystal was given; give at least one"
            raise InputError(msg)
        return self.space.encode(arrays, bins)

    def locate(self, crystals: Sequence[Crystal], condition: Sequence[float | None] | float | None = None) -> Latents:
        """Return latents that decode to crystals: their means or, where these do not, better ones.

        Args:
            crystals: Structures, Atoms or paths.
            condition: Energies per atom in eV, where known.

        Returns:
            An array of shape (n, latent), or a list of grids.

        Raises:
            InputError: as in :meth:`encode`.
        """
        return self.space.checked([each.latent for each in self.place(crystals, condition)])

    def place(
        self, crystals: Sequence[Crystal], condition: Sequence[float | None] | float | None = None
    ) -> list[Located]:
        """Prepare and locate crystals, once for all that follows; the arguments are those of :meth:`locate`.

        Raises:
            InputError: as in :meth:`encode`.
        """
        structures = [as_structure(crystal) for crystal in _listed(crystals)]
        prepared = [self.prepare(structure) for structure in structures]
        latent = self._locate([arrays for arrays, _ in prepared], self.bins(condition, len(prepared)))
        return [Located(s, *cell, vector) for s, cell, vector in zip(structures, prepared, latent, strict=True)]

    def placed(self, crystal: Crystal | Located) -> Located:
        """Return a crystal in latent space, which it may be already."""
        return crystal if isinstance(crystal, Located) else self.place([crystal])[0]

    def _locate(self, arrays: Sequence[CrystalArrays], bins: torch.Tensor) -> Latents:
        return self.space.locate(arrays, bins) if arrays else self.encode_arrays(arrays, bins)

    def decode(
        self, latent: Latents, condition: Sequence[float | None] | float | None = None
    ) -> CrystalList[DecodedCrystal]:
        """Decode latent vectors: for each either a structure or the reason why there is none.

        Args:
            latent: Shape (n, latent).
            condition: Formation energies in eV/atom asked for; one for all, or one for each.

        Raises:
            InputError: if the vectors have the wrong length or are not finite.
        """
        return CrystalList(self.iter_decode(latent, condition))

    def iter_decode(
        self, latent: Latents, condition: Sequence[float | None] | float | None = None
    ) -> Iterator[DecodedCrystal]:
        """Decode latent vectors one after the other, as :meth:`decode` does, so that each can be used at once."""
        latents = self.space.checked(latent)
        decoded = self.space.decode(latents, self.bins(condition, len(latents)), self.symmetry_tolerance)
        for each, found in zip(latents, decoded, strict=True):
            structure = None if found.crystal is None else from_arrays(found.crystal)
            yield DecodedCrystal(structure, found.reason, each, found.certainty)

    def decode_maps(self, latent: Latents, condition: float | None = None) -> list[DecodedMap]:
        """Return what up to 32 latents decode to before atoms are looked for."""
        latents = self.space.checked(latent)[:BATCH]
        return self.space.maps(latents, self.bins(condition, len(latents)))

    def reconstruct(
        self, crystals: Sequence[Crystal], condition: Sequence[float | None] | float | None = None
    ) -> CrystalList[DecodedCrystal]:
        """Encode crystals and decode them again, in the cells in which they were given.

        Raises:
            InputError: as in :meth:`encode`.
        """
        located = self.place(crystals, condition)
        decoded = self.decode([each.latent for each in located], condition)
        return CrystalList(made.in_setting(each.setting) for made, each in zip(decoded, located, strict=True))

    def sample_around(
        self, structure: Crystal | Located, n: int, scale: float = SCALE, seed: int = 0
    ) -> CrystalList[DecodedCrystal]:
        """Decode neighbours of a crystal, in the cell in which it was given.

        The crystal's latent vector is mixed with noise and carried on by the latent flow
        (:meth:`icsg3d.models.density.LatentDensity.around`), so that neighbours lie where crystals do.

        Args:
            structure: Where to start; what :meth:`place` returned spares the way into latent space.
            n: Number of draws; the first of them do not depend on it.
            scale: Noise level: 0 is the crystal itself, 1 draws that know nothing of it.
            seed: Of the draws. The noise depends on it, on the number of the draw and on the crystal's composition.

        Raises:
            InputError: as in :meth:`prepare`, and if ``n`` or ``scale`` is out of range.
        """
        return CrystalList(track(self.iter_sample_around(structure, n, scale, seed), "generating", n))

    def iter_sample_around(
        self, structure: Crystal | Located, n: int, scale: float = SCALE, seed: int = 0
    ) -> Iterator[DecodedCrystal]:
        """Decode the draws of :meth:`sample_around` one after the other, so that one may stop early."""
        base = self.placed(structure)
        latent = self.latent_around(base, n, scale, seed)
        return (decoded.in_setting(base.setting) for decoded in self.iter_decode(latent))

    def latent_around(
        self,
        structure: Crystal | Located,
        n: int,
        scale: float = SCALE,
        seed: int = 0,
        first: int = 0,
        within: Collection[str] = (),
    ) -> Latents:
        """Return the latents that :meth:`sample_around` decodes, those of the draws from number ``first`` on.

        With ``within``, symbols of elements that are allowed, a model whose space ``steers`` reads each atom as the
        most probable of them.
        """
        _check_count(n)
        level, seed = noise_level(scale), whole_number(seed, "a seed")
        base = self.placed(structure)
        return self.space.around(base.latent, base.arrays, n, level, seed, first, _numbers(within))

    def sample(
        self, n: int, condition: float | None = None, seed: int = 0, elements: Sequence[str] = ()
    ) -> CrystalList[DecodedCrystal]:
        """Decode draws from the density of the training crystals in latent space.

        Args:
            n: Number of draws; the first of them do not depend on it.
            condition: Energy asked for, in eV/atom; what counts is the bin in which it lies
                (:meth:`icsg3d.models.generator.GeneratorConfig.energy_range`).
            seed: Of the draws.
            elements: Symbols of the elements asked for, where the model can be asked for them.

        Raises:
            InputError: if ``n`` is below 1, the seed is negative, the condition is no number, the model has none, or it
                does not know an element.
        """
        latents = self.latent_sample(n, condition, seed, elements)
        return CrystalList(track(self.iter_decode(latents, condition), "generating", n))

    def latent_sample(
        self,
        n: int,
        condition: float | None = None,
        seed: int = 0,
        elements: Sequence[str] = (),
        first: int = 0,
        within: Collection[str] = (),
    ) -> Latents:
        """Return the latents that :meth:`sample` decodes, those of the draws from number ``first`` on.

        With ``within``, symbols of elements that are allowed, draws of a model whose space ``steers`` begin at training
        crystals of no others.
        """
        _check_count(n)
        seed = whole_number(seed, "a seed")
        if condition is not None:
            condition = real_number(condition, "the energy to ask for, in eV per atom,")
        elements = [str(symbol) for symbol in several(elements, "elements")]
        unknown = [symbol for symbol in elements if symbol not in self.elements]
        if unknown:
            msg = f"the model {self.name} does not know {', '.join(unknown)}; it knows {self._elements()}"
            raise InputError(msg)
        energy_bin = int(self.bins(condition, 1)[0])
        return self.space.sample(n, energy_bin, seed, _numbers(elements), first, _numbers(within))

    def interpolate(
        self, start: Crystal | Located, end: Crystal | Located, steps: int = 10
    ) -> CrystalList[DecodedCrystal]:
        """Decode points between two crystals, on an arc in the noise of the latent flow and carried along it.

        Args:
            start: First crystal.
            end: Last crystal.
            steps: Number of points with both ends.

        Raises:
            InputError: as in :meth:`prepare`, and if there are fewer than two steps.
        """
        if whole_number(steps, "the number of steps") < 2:
            msg = f"a path has at least 2 steps, its ends; got {steps}"
            raise InputError(msg)
        first, last = self.placed(start).latent, self.placed(end).latent
        return CrystalList(track(self.iter_decode(self.space.path(first, last, steps)), "interpolating", steps))

    def latent_distance(self, latent: Latents, origin: Any) -> np.ndarray:
        """Return root-mean-square distances in standard deviations of the training crystals, shape (n,)."""
        return self.space.distance(latent, origin)

    def as_dict(self) -> dict[str, Any]:
        """Return what identifies the model: its name and the hash of its weights."""
        return {"model": self.name, "model_sha256": self.digest}


def _listed(crystals: Any) -> list[Any]:
    if is_one_crystal(crystals):
        raise InputError("several crystals are asked for, got one; put it in a list")
    return several(crystals, "crystals")


def _numbers(elements: Collection[str]) -> frozenset[int]:
    """Return the atomic numbers of elements."""
    return frozenset(symbols().index(symbol) for symbol in elements)


def _check_count(n: int) -> None:
    whole_number(n, "the number of crystals", 1)
