"""The latent space of crystals of any cell: a periodic grid of latent vectors for each, as large as its cell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch

from icsg3d.arguments import several, whole_number
from icsg3d.crystals.arrays import CrystalArrays, CrystalBatch, canonical_origin, centred
from icsg3d.crystals.cells import reduced_cell
from icsg3d.crystals.charges import charge_balance
from icsg3d.crystals.structures import CellSetting, primitive_cell
from icsg3d.data.compact_arrays import reduced_formula
from icsg3d.errors import InputError
from icsg3d.generation.grid_inversion import located_grid
from icsg3d.generation.spaces import DecodedMap, composition_number, too_long
from icsg3d.models.decoding import SYMMETRY_TOLERANCE
from icsg3d.models.density import SCALE, arc
from icsg3d.models.grid_decoding import (
    LatentGrid,
    Orbits,
    as_symmetric,
    decoded_sites,
    encode_crystal,
    grid_maps,
    read_grid,
)
from icsg3d.models.grid_generator import load_grid_networks
from icsg3d.processors import torch_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from icsg3d.generation.spaces import Latents
    from icsg3d.models.decoding import Decoded
    from icsg3d.models.grid_flow import GridConditions
    from icsg3d.models.grid_generator import GridNetworks
    from icsg3d.representation.fields import GridShape
    from icsg3d.representation.sites import Sites

_ATTEMPTS = 6
"""Times that a draw is made, at most, until its atoms are what they should be."""

_STEPS = 4
"""Of the flow on its whole way; draws, which begin in its last half, end within 2.5 % of a latent vector's spread of
where ten times as many take them."""

_PATH_STEPS = 20
"""Of the flow on the way to noise and back."""


@dataclass(frozen=True)
class _Drawing:
    """Where draws begin and how they are made.

    Attributes:
        begin: Latent grid that noise is added to.
        conditions: Of the flow.
        start: Time of the flow from which it carries, 1 less the share of the noise.
        good: Says of the sorted atomic numbers of a draw, None where atoms have left their sites, whether it will do.
        temperature: Standard deviation of the noise.
        guidance: Of the flow.
    """

    begin: LatentGrid
    conditions: GridConditions
    start: float
    good: Callable[[np.ndarray | None], bool]
    temperature: float = 1.0
    guidance: float = 1.0


class GridSpace:
    """Latent grids of crystals of any cell. A translation by a block is a roll of the grid.

    Args:
        networks: Autoencoder, density and known crystals.
        device: Where the autoencoder runs; the density runs on the processor.
    """

    fixed_cells = True
    """Cells travel beside the latent grids."""

    steers = True
    """Free draws can begin at training crystals of allowed elements, and atoms be read as the most probable of them."""

    def __init__(self, networks: GridNetworks, device: str | torch.device = "cpu") -> None:
        self.networks = networks
        self.device = torch_device(device)
        self.config = networks.config
        self.vae = networks.vae.to(self.device).eval()
        self.flow = networks.flow.eval()
        self._read: WeakKeyDictionary[LatentGrid, Sites] = WeakKeyDictionary()

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
            yield decoded_sites(self._sites(each), each, symmetry_tolerance)

    def _sites(self, latent: LatentGrid) -> Sites:
        """Return the atoms of a latent grid, which are known from when it was drawn."""
        if latent not in self._read:
            self._read[latent] = read_grid(self.vae, latent, self.config.reading, self.device)
        return self._read[latent]

    def _elements(self, latent: LatentGrid) -> np.ndarray | None:
        """Return the atomic numbers of a draw, sorted; None if its atoms have left the sites of its base."""
        sites = self._sites(latent)
        if latent.orbits is None or latent.orbits.places(sites.frac_coords, latent.lattice) is None:
            return None
        return np.sort(as_symmetric(sites, latent.orbits, latent.lattice, moved=False).numbers)

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
        within: frozenset[int] = frozenset(),
    ) -> list[LatentGrid]:
        """Return latent grids that a crystal's grid is carried back to after noise was added to it.

        The crystal's grid is mixed with noise, whose share is ``scale * config.renoising``, and the flow carries the
        mixture back to the data, with the crystal's own cell and number of atoms. Atoms that stay at their sites keep
        the symmetry of the crystal (:func:`icsg3d.models.grid_decoding.as_symmetric`). What leaves them, has another
        anonymous formula or, where the crystal's charges balance, has charges that do not is drawn again, up to six
        times in all, as is, from the default scale on, what has the composition of the crystal itself. With ``within``
        each atom is read as the most probable of these elements.
        """
        base = replace(origin, orbits=self._orbits(origin), allowed=within)
        conditions = self.networks.conditions(base.lattice[None], np.array([base.atoms]), -1, frozenset())
        kind, balances = _anonymous(cell.numbers), _balanced(cell.numbers)

        def alike(numbers: np.ndarray | None) -> bool:
            if numbers is None or _anonymous(numbers) != kind or (balances and not _balanced(numbers)):
                return False
            return scale < SCALE or _differs(cell.numbers, numbers)

        drawing = _Drawing(base, conditions, 1 - scale * self.config.renoising, alike)
        randoms = _randoms(n, seed, first, composition_number(cell))
        return [self._drawn(lambda _random: drawing, each) for each in randoms]

    def coordinates(self, latents: Sequence[LatentGrid]) -> np.ndarray:
        """Return grids of one shape in spreads of the training crystals, shape (n, blocks * channels)."""
        mean, scale = self.flow.mean.numpy(), self.flow.scale.numpy()
        return np.stack([((each.grid - mean) / scale).ravel() for each in latents]).astype(np.float64)

    def at(self, coordinates: np.ndarray, base: LatentGrid) -> LatentGrid:
        """Return the latent grid that has coordinates, in the cell of a base."""
        grid = self.flow.mean.numpy() + coordinates.reshape(base.grid.shape) * self.flow.scale.numpy()
        return replace(base, grid=grid.astype(np.float32))

    def _orbits(self, origin: LatentGrid) -> Orbits | None:
        """Return which sites of what a latent grid decodes to are equivalent; None where it decodes to nothing."""
        plain = replace(origin, orbits=None, allowed=frozenset())
        crystal = decoded_sites(self._sites(plain), plain, 0.0).crystal
        return None if crystal is None else Orbits.of(crystal, SYMMETRY_TOLERANCE)

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

        Where no bin is asked for, each draw stays in that of its training crystal: more of them are near the hull so.
        What decodes to the composition at which it began is drawn again, as is what leaves its sites or has charges
        that do not balance, from another training crystal, up to six times in all. With ``within`` draws begin at
        compounds of no other elements, and each atom is read as the most probable of these.

        Raises:
            InputError: if the seed is negative, or no training crystal has an energy in the bin, or only elements that
                it may have.
        """
        within = frozenset() if elements else within
        known = self.networks.known
        fit = known.rows(condition, elements, within)
        guidance = self.config.guidance if condition >= 0 or elements else 1.0
        start = 1 - self.config.free_scale * self.config.renoising

        def drawing(random: np.random.Generator) -> _Drawing:
            row = int(fit[random.integers(len(fit))])
            begin = replace(self._begin(row), allowed=within)
            energy_bin = condition if condition >= 0 else int(known.bins[row])
            conditions = self.networks.conditions(begin.lattice[None], np.array([begin.atoms]), energy_bin, elements)
            begun = known.crystal(row).numbers

            def new(numbers: np.ndarray | None) -> bool:
                return numbers is not None and _differs(begun, numbers) and _balanced(numbers)

            return _Drawing(begin, conditions, start, new, self.config.temperature, guidance)

        return [self._drawn(drawing, random) for random in _randoms(n, seed, first)]

    def _drawn(self, drawing_by: Callable[[np.random.Generator], _Drawing], random: np.random.Generator) -> LatentGrid:
        """Return the first of :data:`_ATTEMPTS` draws that will do; the last of them if none does."""
        for attempt in range(1, _ATTEMPTS + 1):
            drawing = drawing_by(random)
            begin = torch.as_tensor(drawing.begin.grid)[None]
            noise = torch.as_tensor(random.standard_normal(begin.shape, dtype=np.float32)) * drawing.temperature
            mixed = self.flow.between(begin, noise, torch.tensor([drawing.start]))
            grid = self._carry(mixed, drawing.conditions, drawing.start, _STEPS, drawing.guidance)[0]
            drawn = replace(drawing.begin, grid=grid, attempts=attempt)
            if drawing.good(self._elements(drawn)):
                break
        return drawn

    def _begin(self, row: int) -> LatentGrid:
        """Return the latent grid of a training crystal, with its orbits."""
        crystal = centred(CrystalBatch.from_arrays([self.networks.known.crystal(row)])).arrays()[0]
        return replace(encode_crystal(self.vae, crystal, self.device), orbits=Orbits.of(crystal, SYMMETRY_TOLERANCE))

    def _carry(
        self, points: torch.Tensor, conditions: GridConditions, start: float, steps: int, guidance: float = 1.0
    ) -> list[np.ndarray]:
        """Carry points of one shape to the data, each alone: last bits depend on what else is in a batch, and where."""
        grids: list[np.ndarray] = []
        for row in range(len(points)):
            one = slice(row, row + 1)
            carried = self.flow.carry(points[one], conditions[one], start=start, steps=steps, guidance=guidance)
            grids.append(carried[0].numpy())
        return grids

    def path(self, first: LatentGrid, last: LatentGrid, steps: int) -> list[LatentGrid]:
        """Return points between two latent grids of one shape, on an arc in the noise of the flow and carried along it.

        Cells go straight from one to the other. Both ends are exact: by how much the flow misses them on its way back
        is added in proportion.

        Raises:
            InputError: if the grids differ in shape, or a cell on the way asks for another.
        """
        shares = np.linspace(0, 1, steps)[:, None, None]
        lattices = (1 - shares) * first.lattice + shares * last.lattice
        atoms = np.rint((1 - shares) * first.atoms + shares * last.atoms).astype(int).ravel()
        shapes: set[GridShape] = {self.networks.blocks(lattice) for lattice in lattices}
        if len(shapes) > 1:
            msg = (
                "the cells of the two crystals have latent grids of different shapes, between which there is no "
                "way; choose crystals with cells alike, or another --model, such as cubic"
            )
            raise InputError(msg)
        conditions = self.networks.conditions(lattices, atoms, -1, frozenset())
        ends = np.stack([first.grid, last.grid])
        noise = self.flow.noise(torch.as_tensor(ends), conditions[torch.tensor([0, -1])], steps=_PATH_STEPS)
        begin, end = noise.double().flatten(1).numpy()
        points = torch.as_tensor(arc(begin, end, shares[:, 0]), dtype=torch.float32).view(-1, *first.grid.shape)
        grids = np.stack(self._carry(points, conditions, 0.0, _PATH_STEPS))
        missed = ends - grids[[0, -1]]
        shares = shares[..., None, None]
        grids = grids + (1 - shares) * missed[0] + shares * missed[1]
        made = zip(grids.astype(np.float32), lattices, atoms.tolist(), strict=True)
        return [LatentGrid(*each) for each in made]

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


def _differs(begun: np.ndarray, numbers: np.ndarray) -> bool:
    """Whether sorted atomic numbers are not all those of a crystal."""
    return not np.array_equal(numbers, np.sort(begun))


def _balanced(numbers: np.ndarray) -> bool:
    """Whether oxidation states of atoms add up to nothing, or they make a metal."""
    return charge_balance(reduced_formula(numbers)).passes


def _anonymous(numbers: np.ndarray) -> list[int]:
    """Return how many atoms there are of each element, the rarest first."""
    return sorted(np.unique(numbers, return_counts=True)[1].tolist())
