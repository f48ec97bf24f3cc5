"""The latent space of crystals of any cell: a periodic grid of latent vectors for each, as large as its cell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from icsg3d.arguments import several, whole_number
from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, canonical_origin, centred
from icsg3d.crystals.cells import reduced_cell
from icsg3d.crystals.structures import CellSetting, primitive_cell
from icsg3d.errors import InputError
from icsg3d.generation.grid_inversion import located_grid
from icsg3d.generation.spaces import DecodedMap, composition_number, too_long
from icsg3d.models.decoding import SYMMETRY_TOLERANCE
from icsg3d.models.grid_decoding import LatentGrid, Orbits, decode_grid, encode_crystal, grid_maps
from icsg3d.models.grid_generator import load_grid_networks
from icsg3d.processors import torch_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from icsg3d.generation.spaces import Latents
    from icsg3d.models.decoding import Decoded
    from icsg3d.models.grid_flow import GridConditions
    from icsg3d.models.grid_generator import GridNetworks
    from icsg3d.representation.fields import GridShape

_TOGETHER = 2
"""Latent grids of one shape that go through the flow at once. It is always exactly this many, padded if need be: the
last bits of a product depend on the number of its rows. Eight take a quarter less time for each, but few draws without
a base have one shape, and the padding takes as long as a draw."""


class GridSpace:
    """Latent grids of crystals of any cell. A translation by a block is a roll of the grid.

    Args:
        networks: Autoencoder, density and known crystals.
        device: Where the autoencoder runs; the density runs on the processor.
    """

    steers = True
    """Draws begin at training crystals, which can be those of allowed elements."""

    def __init__(self, networks: GridNetworks, device: str | torch.device = "cpu") -> None:
        self.networks = networks
        self.device = torch_device(device)
        self.config = networks.config
        self.vae = networks.vae.to(self.device).eval()
        self.flow = networks.flow.eval()

    @classmethod
    def load(cls, folder: Path, device: str | torch.device) -> tuple[GridSpace, str]:
        """Read a model's folder; return the space and the SHA-256 of its weights.

        Raises:
            InputError: if a file is missing or damaged.
        """
        networks, digest = load_grid_networks(folder)
        return cls(networks, device), digest

    def cell(self, structure: Structure) -> tuple[CrystalArrays, CellSetting]:
        """Return the reduced cell of a crystal, and how the crystal was given."""
        arrays, setting = primitive_cell(structure)
        reduced = reduced_cell(arrays)
        change = np.rint(arrays.lattice @ np.linalg.inv(reduced.lattice)).astype(int)
        origin = canonical_origin(CrystalBatch.from_arrays([reduced]))[0].double().numpy()
        return reduced, CellSetting(setting.transformation @ change, origin)

    def refusal(self, cell: CrystalArrays) -> str:
        """Return what of a cell is beyond the model; empty if nothing is."""
        most = self.config.most_atoms
        if len(cell) > most:
            return f"has {len(cell)} atoms, and it takes up to {most} in a primitive cell"
        points = int(np.prod(self.config.vae.fields.shape(cell.lattice)))
        if points > self.config.most_points:
            volume = abs(np.linalg.det(cell.lattice))
            largest = self.config.most_points * self.config.vae.fields.spacing**3
            return f"has a volume of {volume:.0f} cubic angstrom, and it takes up to about {largest:.0f}"
        return too_long(cell, self.config.max_length)

    def encode(self, cells: Sequence[CrystalArrays], bins: torch.Tensor) -> list[LatentGrid]:  # noqa: ARG002
        """Return the latent means of reduced cells; the autoencoder has no condition."""
        return [encode_crystal(self.vae, cell, self.device) for cell in cells]

    def locate(self, cells: Sequence[CrystalArrays], bins: torch.Tensor) -> list[LatentGrid]:  # noqa: ARG002
        """Return latent grids that decode to reduced cells: their means or, where these do not, better ones."""
        return [located_grid(self.vae, cell, self.config.reading, self.device) for cell in cells]

    def checked(self, latents: Latents) -> list[LatentGrid]:
        """Return latent grids as a list.

        Raises:
            InputError: if one is none, has another shape than its cell asks for, or is not finite.
        """
        found = several(latents, "latent grids")
        for each in found:
            if not isinstance(each, LatentGrid):
                msg = f"expected latent grids, got {type(each).__name__}; use encode or sample"
                raise InputError(msg)
            expected = (*self.networks.blocks(each.lattice), self.config.vae.latent)
            if each.grid.shape != expected or not np.isfinite(each.grid).all():
                msg = f"expected a finite latent grid of shape {expected}, got {each.grid.shape}; use encode or sample"
                raise InputError(msg)
        return found

    def decode(self, latents: list[LatentGrid], bins: torch.Tensor, symmetry_tolerance: float) -> Iterator[Decoded]:  # noqa: ARG002
        """Decode latent grids one after the other; the autoencoder has no condition."""
        for each in latents:
            yield decode_grid(self.vae, each, symmetry_tolerance, self.config.reading, self.device)

    def maps(self, latents: Sequence[LatentGrid], bins: torch.Tensor) -> list[DecodedMap]:  # noqa: ARG002
        """Return what latent grids decode to before atoms are read."""
        return [DecodedMap(*grid_maps(self.vae, each, self.config.reading, self.device)) for each in latents]

    def around(
        self,
        origin: LatentGrid,
        cell: CrystalArrays,
        n: int,
        scale: float,
        seed: int,
        first: int = 0,
    ) -> list[LatentGrid]:
        """Return latent grids that a crystal's grid is carried back to after noise was added to it.

        Atoms that stay at their sites are read as one element for each orbit of the crystal
        (:func:`icsg3d.models.grid_decoding.alike_by_orbit`).

        The grid is mixed with noise, whose share is ``scale * config.renoising``, and the flow carries the mixture back
        to the data, with the crystal's own cell and number of atoms.
        """
        base = replace(origin, orbits=self._orbits(origin))
        start = 1 - scale * self.config.renoising
        latent = torch.as_tensor(base.grid)[None]
        noise = _noise(_randoms(n, seed, first, composition_number(cell)), base.grid.shape)
        points = self.flow.between(latent, noise, torch.full((n,), start))
        conditions = self.networks.conditions(
            np.repeat(base.lattice[None], n, axis=0), np.full(n, base.atoms), -1, frozenset()
        )
        grids = self._carry(points, conditions, start)
        return [replace(base, grid=grid) for grid in grids]

    def _orbits(self, origin: LatentGrid) -> Orbits | None:
        """Return which sites of what a latent grid decodes to are equivalent; None where it decodes to nothing."""
        decoded = decode_grid(self.vae, replace(origin, orbits=None), 0.0, self.config.reading, self.device)
        return None if decoded.crystal is None else Orbits.of(decoded.crystal, SYMMETRY_TOLERANCE)

    def sample(
        self,
        n: int,
        condition: int,
        seed: int,
        elements: frozenset[int],
        first: int = 0,
        within: frozenset[int] = frozenset(),
    ) -> list[LatentGrid]:
        """Return draws: each a neighbour of a training crystal taken at random, at the model's ``free_scale``.

        With ``within`` they begin at compounds of no other elements, and each atom is read as the most probable of
        these.

        Raises:
            InputError: if the seed is negative, or no training crystal has an energy in the bin, or only elements that
                it may have.
        """
        within = frozenset() if elements else within
        rows = self.networks.known.rows(condition, elements, within)
        begins, noises = [], []
        for random in _randoms(n, seed, first):
            begins.append(self._begin(rows[random.integers(len(rows))]))
            noises.append(random.standard_normal(begins[-1].grid.shape, dtype=np.float32))
        drawn: dict[int, LatentGrid] = {}
        for shape in sorted({noise.shape for noise in noises}):
            alike = [row for row in range(n) if noises[row].shape == shape]
            chosen = [begins[row] for row in alike]
            noise = np.stack([noises[row] for row in alike])
            drawn |= dict(zip(alike, self._renoised(chosen, noise, condition, elements), strict=True))
        return [replace(drawn[row], allowed=within) for row in range(n)]

    def _renoised(
        self, begins: list[LatentGrid], noise: np.ndarray, condition: int, elements: frozenset[int]
    ) -> list[LatentGrid]:
        """Return neighbours of crystals with latent grids of one shape, one for each."""
        start = 1 - self.config.free_scale * self.config.renoising
        latents = torch.as_tensor(np.stack([begin.grid for begin in begins]))
        points = self.flow.between(latents, torch.as_tensor(noise), torch.full((len(begins),), start))
        lattices, atoms = np.stack([begin.lattice for begin in begins]), np.array([begin.atoms for begin in begins])
        grids = self._carry(points, self.networks.conditions(lattices, atoms, condition, elements), start)
        return [replace(begin, grid=grid) for begin, grid in zip(begins, grids, strict=True)]

    def _begin(self, row: int) -> LatentGrid:
        """Return the latent grid of a training crystal, with its orbits."""
        crystal = centred(CrystalBatch.from_arrays([self.networks.known.crystal(row)])).arrays()[0]
        return replace(encode_crystal(self.vae, crystal, self.device), orbits=Orbits.of(crystal, SYMMETRY_TOLERANCE))

    def _carry(self, points: torch.Tensor, conditions: GridConditions, start: float) -> list[np.ndarray]:
        """Carry points of one shape to the data in batches of one size."""
        grids: list[np.ndarray] = []
        for first in range(0, len(points), _TOGETHER):
            rows = torch.arange(first, min(first + _TOGETHER, len(points)))
            filled = torch.cat([rows, rows[:1].expand(_TOGETHER - len(rows))])
            carried = self.flow.carry(points[filled], conditions[filled], start=start, guidance=self.config.guidance)
            grids += list(carried[: len(rows)].numpy())
        return grids

    def path(self, first: LatentGrid, last: LatentGrid, steps: int) -> list[LatentGrid]:
        """Return points on the straight line between two latent grids and cells of one shape.

        Raises:
            InputError: if the grids differ in shape, or a cell on the way asks for another.
        """
        shares = np.linspace(0, 1, steps)
        points = [
            LatentGrid(
                (1 - share) * first.grid + share * last.grid if first.grid.shape == last.grid.shape else first.grid,
                (1 - share) * first.lattice + share * last.lattice,
                round((1 - share) * first.atoms + share * last.atoms),
            )
            for share in shares
        ]
        shapes: set[GridShape] = {self.networks.blocks(point.lattice) for point in points}
        if len(shapes) > 1:
            msg = (
                "the cells of the two crystals have latent grids of different shapes, between which there is no "
                "straight line; choose crystals with cells alike, or another --model"
            )
            raise InputError(msg)
        return points

    def distance(self, latents: Sequence[LatentGrid], origin: LatentGrid) -> np.ndarray:
        """Return root-mean-square distances of grids of one shape in spreads of the training crystals, shape (n,)."""
        scale = self.flow.scale.numpy()
        return np.array([np.sqrt((((each.grid - origin.grid) / scale) ** 2).mean()) for each in latents])


def _randoms(n: int, seed: int, first: int, *base: int) -> list[np.random.Generator]:
    """Return a source of randomness for each draw, so that it depends on its number, the seed and the base alone.

    Raises:
        InputError: if the seed is negative.
    """
    seed = whole_number(seed, "a seed")
    if seed < 0:
        msg = f"a seed is a whole number of 0 or more, got {seed}"
        raise InputError(msg)
    return [np.random.default_rng((seed, index, *base)) for index in range(first, first + n)]


def _noise(randoms: Sequence[np.random.Generator], shape: tuple[int, ...]) -> torch.Tensor:
    """Return standard normal noise for each draw, shape (n, ...)."""
    return torch.as_tensor(np.stack([random.standard_normal(shape, dtype=np.float32) for random in randoms]))
