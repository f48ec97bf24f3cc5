"""What a latent space of crystals is to a generator, and the one whose latents are vectors of one length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, canonical_origin
from icsg3d.crystals.structures import CellSetting, network_cell
from icsg3d.errors import InputError
from icsg3d.files import sha256
from icsg3d.generation.inversion import inverted_latents
from icsg3d.models.checkpoints import load_network
from icsg3d.models.decoding import BATCH, Decoded, decode_crystals, padded
from icsg3d.models.density import LatentDensity
from icsg3d.models.encoding import encode_posteriors
from icsg3d.models.generator import DecodedGrids
from icsg3d.processors import torch_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from icsg3d.models.generator import GeneratorConfig, GeneratorNetwork

Latents = Any
"""Latents of crystals, one after the other: what a space gives and takes, an array (n, latent) or a list of grids."""


class DecodedMap(NamedTuple):
    """What a latent decodes to before atoms are read, on the grid of a cell.

    Attributes:
        density: Of atoms, shape (X, Y, Z).
        species: Atomic number at each point, 0 where no atom is near, shape (X, Y, Z).
        heights: Of the points along the third axis, fractional, shape (Z,).
    """

    density: np.ndarray
    species: np.ndarray
    heights: np.ndarray


class SpaceConfig(Protocol):
    """What a generator must know of its space."""

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that the model knows, ascending."""

    @property
    def condition(self) -> str:
        """Name of the energy per atom that draws may ask for."""

    @property
    def energy_edges(self) -> tuple[float, ...]:
        """Inner edges of its bins in eV/atom; empty without a condition."""

    def energy_range(self, energy: float) -> tuple[float, float]:
        """Return the edges in eV/atom of the bin in which an energy lies."""


class LatentSpace(Protocol):
    """Latent space of crystals: cells to latents and back, and draws. Bins are those of the condition, -1 for any."""

    @property
    def config(self) -> SpaceConfig:
        """Limits and condition of the model."""

    def cell(self, structure: Structure) -> tuple[CrystalArrays, CellSetting]:
        """Return the cell that the networks see of a crystal, and how it was given."""

    def refusal(self, cell: CrystalArrays) -> str:
        """Return what of a cell is beyond the model, as "is 31.0 angstrom long, and ..."; empty if nothing is."""

    def encode(self, cells: Sequence[CrystalArrays], bins: torch.Tensor) -> Latents:
        """Return the latent means of cells."""

    def locate(self, cells: Sequence[CrystalArrays], bins: torch.Tensor) -> Latents:
        """Return latents that decode to cells: their means or, where these do not, better ones."""

    def checked(self, latents: Latents) -> Latents:
        """Return latents as the space gives them.

        Raises:
            InputError: if they are of another shape, or not finite.
        """

    def decode(self, latents: Latents, bins: torch.Tensor, symmetry_tolerance: float) -> Iterator[Decoded]:
        """Decode latents one after the other."""

    def maps(self, latents: Latents, bins: torch.Tensor) -> list[DecodedMap]:
        """Return what a few latents decode to before atoms are read."""

    def around(
        self,
        origin: Any,
        cell: CrystalArrays,
        n: int,
        scale: float,
        seed: int,
        first: int = 0,
        within: frozenset[int] = frozenset(),
    ) -> Latents:
        """Return draws around the latent of a cell at a noise level, each by its number and the seed.

        If any elements are given as ``within``, atoms in a space that :attr:`steers` become no others.
        """

    def coordinates(self, latents: Latents) -> np.ndarray:
        """Return coordinates in which the training crystals have unit covariance, shape (n, coordinates)."""

    def at(self, coordinates: np.ndarray, base: Any) -> Any:
        """Return the latent that has coordinates, (coordinates,), in the cell of a base's latent."""

    fixed_cells: bool
    """Whether draws keep the cell of their base, so that they have another volume than their own."""

    steers: bool
    """Whether draws can be led to elements that are allowed."""

    def sample(
        self,
        n: int,
        condition: int,
        seed: int,
        elements: frozenset[int],
        first: int = 0,
        within: frozenset[int] = frozenset(),
    ) -> Latents:
        """Return free draws, from number ``first`` on, of a bin of the condition.

        If any ``elements`` are given, they are what is asked for; if any are given as ``within``, a space that
        :attr:`steers` has draws begin where there are no others.
        """

    def path(self, first: Any, last: Any, steps: int) -> Latents:
        """Return points at equal distances on the way between two latents.

        Raises:
            InputError: if there is no way between them.
        """

    def distance(self, latents: Latents, origin: Any) -> np.ndarray:
        """Return root-mean-square distances in standard deviations of the training crystals, shape (n,)."""


class VectorSpace:
    """Latent vectors of one length: crystals on a cubic grid.

    Args:
        network: Autoencoder and segmentation network.
        density: Density of the training crystals in latent space.
        device: Where it runs.
    """

    fixed_cells = False
    """Cells are decoded with the atoms."""

    steers = False
    """The density knows no elements."""

    def __init__(self, network: GeneratorNetwork, density: LatentDensity, device: str | torch.device = "cpu") -> None:
        self.device = torch_device(device)
        self.network = network.to(self.device).eval()
        self.density = density

    @property
    def config(self) -> GeneratorConfig:
        """Sizes, limits and condition of the model."""
        return self.network.config

    @classmethod
    def load(cls, folder: Path, device: str | torch.device) -> tuple[VectorSpace, str]:
        """Read a model's folder; return the space and the SHA-256 of its weights.

        Raises:
            InputError: if a file is missing or damaged.
        """
        network, extra, digest = load_network(folder)
        return cls(network, LatentDensity.from_tensors(extra), device), digest

    def cell(self, structure: Structure) -> tuple[CrystalArrays, CellSetting]:
        """Return the cell that the networks see of a crystal, and how it was given."""
        arrays, setting = network_cell(structure, primitive=self.config.voxels.periodic)
        if not self.config.voxels.periodic:
            return arrays, setting
        origin = canonical_origin(CrystalBatch.from_arrays([arrays]))[0].double().numpy()
        return arrays, CellSetting(setting.transformation, origin)

    def refusal(self, cell: CrystalArrays) -> str:
        """Return what of a cell is beyond the model; empty if nothing is."""
        return too_long(cell, self.config.max_length)

    def encode(self, cells: Sequence[CrystalArrays], bins: torch.Tensor) -> np.ndarray:
        """Return the latent means of cells, shape (n, latent)."""
        return encode_posteriors(self.network, cells, bins, self.device).mean.numpy()

    def locate(self, cells: Sequence[CrystalArrays], bins: torch.Tensor) -> np.ndarray:
        """Return latent vectors that decode to cells, shape (n, latent).

        About one crystal in fifty of a kind that the model knows needs a better one than its mean, and then five to ten
        seconds (:func:`icsg3d.generation.inversion.inverted_latents`).
        """
        latent = self.encode(cells, bins)
        parts = []
        for start in range(0, len(cells), BATCH):
            part = slice(start, start + BATCH)
            batch = CrystalBatch.from_arrays(cells[part], device=self.device)
            vectors = torch.as_tensor(latent[part], dtype=torch.float32, device=self.device)
            parts.append(inverted_latents(self.network, batch, bins[part].to(self.device), vectors).cpu().numpy())
        return np.concatenate(parts)

    def checked(self, latents: Latents) -> np.ndarray:
        """Return latent vectors as an array of shape (n, latent).

        Raises:
            InputError: if they have another length or are not finite.
        """
        try:
            vectors = np.atleast_2d(np.asarray(latents, dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise InputError(f"expected latent vectors, got {type(latents).__name__}; use encode or sample") from error
        size = self.config.vae.latent
        if vectors.ndim != 2 or vectors.shape[1] != size or not np.isfinite(vectors).all():
            msg = f"expected finite latent vectors of shape (n, {size}), got {vectors.shape}; use encode or sample"
            raise InputError(msg)
        return vectors

    def decode(self, latents: np.ndarray, bins: torch.Tensor, symmetry_tolerance: float) -> Iterator[Decoded]:
        """Decode latent vectors one after the other."""
        for start in range(0, len(latents), BATCH):
            part = latents[start : start + BATCH]
            yield from decode_crystals(
                self.network,
                *self.padded(part, bins[start : start + BATCH]),
                count=len(part),
                symmetry_tolerance=symmetry_tolerance,
            )

    def padded(self, latents: np.ndarray, bins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return latent vectors and bins on the device, padded to the size of batches."""
        vectors = torch.as_tensor(latents, dtype=torch.float32, device=self.device)
        return padded(vectors, bins.to(self.device))

    @torch.no_grad()
    def grids(self, latents: np.ndarray, bins: torch.Tensor) -> DecodedGrids:
        """Return the grids of up to :data:`icsg3d.models.decoding.BATCH` latent vectors, on the CPU."""
        grids = self.network.decode(*self.padded(latents, bins))
        return DecodedGrids(*(tensor[: len(latents)].cpu() for tensor in grids))

    @torch.no_grad()
    def maps(self, latents: np.ndarray, bins: torch.Tensor) -> list[DecodedMap]:
        """Return what up to :data:`icsg3d.models.decoding.BATCH` latent vectors decode to before atoms are read."""
        grids = self.network.decode(*self.padded(latents, bins))
        heights = self.config.voxels.axis()
        return [
            DecodedMap(grid[0].cpu().numpy(), species.cpu().numpy(), heights)
            for grid, species in zip(grids.grid[: len(latents)], grids.species[: len(latents)], strict=True)
        ]

    def around(
        self,
        origin: np.ndarray,
        cell: CrystalArrays,
        n: int,
        scale: float,
        seed: int,
        first: int = 0,
        within: frozenset[int] = frozenset(),  # noqa: ARG002 (it does not steer)
    ) -> np.ndarray:
        """Return neighbours of a latent vector, (latent,), where crystals are."""
        return self.density.around(origin, n, scale, seed, composition_number(cell), first=first)

    def coordinates(self, latents: np.ndarray) -> np.ndarray:
        """Return coordinates in which the training crystals have unit covariance, shape (n, components)."""
        return self.density.white(np.asarray(latents))

    def at(self, coordinates: np.ndarray, base: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Return the latent vector that has coordinates, shape (latent,)."""
        return self.density.coloured(coordinates[None])[0]

    def sample(
        self,
        n: int,
        condition: int,
        seed: int,
        elements: frozenset[int],
        first: int = 0,
        within: frozenset[int] = frozenset(),  # noqa: ARG002 (it does not steer)
    ) -> np.ndarray:
        """Return draws from the density, shape (n, latent).

        Raises:
            InputError: if elements are asked for, which this density does not know.
        """
        if elements:
            msg = "this model cannot be asked for elements; leave them out, or name another --model"
            raise InputError(msg)
        return self.density.sample(n, condition, seed, self.config.guidance, self.config.temperature, first)

    def path(self, first: np.ndarray, last: np.ndarray, steps: int) -> np.ndarray:
        """Return points on an arc in the noise of the flow between two latent vectors."""
        return self.density.path(first, last, steps)

    def distance(self, latents: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """Return root-mean-square distances in standard deviations of the training crystals, shape (n,)."""
        return np.sqrt((((np.asarray(latents) - origin) / self.density.scale()) ** 2).mean(-1))


def composition_number(crystal: CrystalArrays) -> int:
    """Return a number that belongs to the composition of a primitive cell, so that each base meets noise of its own."""
    numbers = np.sort(crystal.numbers).astype("<i8")
    return int(sha256(numbers.tobytes())[:8], 16)


def too_long(cell: CrystalArrays, longest: float) -> str:
    """Return what is to be said of a cell with a longer vector than a model takes; nothing of another."""
    length = float(np.linalg.norm(cell.lattice, axis=1).max())
    return (
        "" if length <= longest else f"is {length:.1f} angstrom long, and it takes cells up to {longest:.1f} angstrom"
    )
