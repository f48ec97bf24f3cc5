"""Crystals as voxel grids: electron-like density, species map and coordinate channels.

Formulas: Court et al. 2020, section 2.2, with the grid's fractional points, periodicity and input channels chosen by a
:class:`VoxelConfig`. Everything runs in batches on any torch device.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch

from icsg3d.crystals import elements
from icsg3d.errors import InputError

if TYPE_CHECKING:
    from icsg3d.crystals.arrays import CrystalBatch

Preset = Literal["paper", "periodic"]

_CHUNK_ELEMENTS = {"cpu": 2**19, "cuda": 2**27}
"""Voxel-atom pairs handled at once: on a CPU what stays in the cache, on a GPU what fits its memory."""

_MAX_SHIFTS = 50_000
"""Lattice translations that are looked at for nearest images; only absurd cells need more."""


@dataclass(frozen=True)
class VoxelConfig:
    """How a crystal becomes a grid.

    Attributes:
        grid: Points along each axis.
        periodic: Whether distances are to the nearest periodic image. If not, each atom of the cell is drawn once.
        margin: Space around the cell on each side, in cell lengths; 0 for a periodic grid.
        min_radius: Smallest radius of an atom in the species map in angstrom; ionic radii below it are raised to it.
        chemistry: Whether 39 channels with the one-hot period and column of each atom follow the density.
        width: Standard deviation in angstrom of an atom in the chemistry channels.
        log_density: Whether the density channel of :meth:`VoxelBatch.inputs` is ln(1 + M) rather than M.
    """

    grid: int = 16
    periodic: bool = True
    margin: float = 0.0
    min_radius: float = 0.6
    chemistry: bool = True
    width: float = 0.45
    log_density: bool = True

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "grid": (4, 256),
        "margin": (0, 1),
        "min_radius": (0, 3),
        "width": (0.01, 5),
    }

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: if the grid has fewer than 4 points or a periodic grid has a margin.
        """
        if self.grid < 4:
            msg = f"a voxel grid needs at least 4 points along each axis, got {self.grid}"
            raise InputError(msg)
        if self.periodic and self.margin:
            msg = f"a periodic grid has no margin, got {self.margin}"
            raise InputError(msg)

    @classmethod
    def preset(cls, name: Preset, **changes: object) -> VoxelConfig:
        """Return the configuration of a name.

        ``paper``: 32 points over the cell and a quarter of it on each side, no periodicity, density only.
        ``periodic``: 16 points over the fractional unit cell, nearest images, density and chemistry.

        Raises:
            InputError: if the name is unknown.
        """
        presets = {
            "paper": cls(grid=32, periodic=False, margin=0.25, min_radius=0.0, chemistry=False, log_density=False),
            "periodic": cls(),
        }
        if name not in presets:
            msg = f"unknown voxel preset {name!r}; there are {', '.join(presets)}"
            raise InputError(msg)
        return dataclasses.replace(presets[name], **changes)  # type: ignore[arg-type]

    @property
    def channels(self) -> int:
        """Number of channels of :meth:`VoxelBatch.inputs` (density and chemistry, without coordinates)."""
        return 1 + (elements.chemistry_vectors().shape[1] if self.chemistry else 0)

    def axis(self) -> np.ndarray:
        """Fractional coordinates of the grid points along an axis, shape (grid,).

        Periodic: k / grid. Otherwise from -margin to 1 + margin, both included, so that the paper's
        maximum minus minimum is exactly 1 + 2 margin cell lengths.
        """
        if self.periodic:
            return np.arange(self.grid) / self.grid
        return np.linspace(-self.margin, 1 + self.margin, self.grid)


@dataclass(frozen=True)
class VoxelBatch:
    """Grids of a batch of crystals, G points along each axis.

    Attributes:
        density: M(r), shape (B, G, G, G), electrons per cubic angstrom.
        species: S(r), atomic numbers, 0 for background, shape (B, G, G, G).
        chemistry: Period and column channels, shape (B, 39, G, G, G), or None.
        config: What made the grids.
    """

    density: torch.Tensor
    species: torch.Tensor
    chemistry: torch.Tensor | None
    config: VoxelConfig

    def inputs(self) -> torch.Tensor:
        """Density (ln(1 + M) if so configured) and chemistry as network input, shape (B, C, G, G, G)."""
        density = (self.density.log1p() if self.config.log_density else self.density)[:, None]
        return density if self.chemistry is None else torch.cat([density, self.chemistry], dim=1)


def voxelize(batch: CrystalBatch, config: VoxelConfig | None = None) -> VoxelBatch:
    """Draw crystals on grids.

    ``M(r) = sum_i Z_i / (sigma_i^3 (2 pi)^(3/2)) exp(-|r - r_i|^2 / (2 sigma_i^2))`` with the mean ionic radius of the
    element as sigma_i; S(r) is the atomic number of the nearest atom within its radius, else 0 (section 2.2).

    Args:
        batch: Crystals, of any lattice and size.
        config: The grid; by default the ``periodic`` preset.

    Returns:
        Grids on the batch's device, in its floating-point type.
    """
    config = config or VoxelConfig.preset("periodic")
    count, atoms = batch.numbers.shape
    points = config.grid**3
    density = batch.lattice.new_empty(count, points)
    species = torch.empty(count, points, dtype=torch.int64, device=density.device)
    chemistry = batch.lattice.new_empty(count, config.channels - 1, points)
    size = max(1, _CHUNK_ELEMENTS.get(density.device.type, 2**24) // (atoms * points))
    for start in range(0, count, size):
        part = slice(start, start + size)
        _draw(batch[part], config, density[part], species[part], chemistry[part])
    cube = (config.grid,) * 3
    return VoxelBatch(
        density.unflatten(-1, cube),
        species.unflatten(-1, cube),
        chemistry.unflatten(-1, cube) if config.chemistry else None,
        config,
    )


def coordinate_channels(lattice: torch.Tensor, config: VoxelConfig) -> torch.Tensor:
    """Return P(r), the Cartesian position of every grid point.

    Args:
        lattice: Lattice vectors as rows, shape (B, 3, 3), in angstrom.
        config: The grid.

    Returns:
        Positions in angstrom, shape (B, 3, G, G, G).
    """
    axis = torch.as_tensor(config.axis(), dtype=lattice.dtype, device=lattice.device)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    return torch.einsum("fxyz,bfc->bcxyz", points, lattice)


def lattice_from_coordinates(coordinates: torch.Tensor, config: VoxelConfig) -> torch.Tensor:
    """Read lattices back from coordinate channels by least squares against the grid's fractional coordinates.

    The grid is a product of axes, so that the normal equations are diagonal once the axis is centred, and a constant
    offset of the coordinates drops out.

    Args:
        coordinates: P(r) in angstrom, shape (B, 3, G, G, G).
        config: The grid.

    Returns:
        Lattice vectors as rows, shape (B, 3, 3), in angstrom, float64.
    """
    axis = torch.as_tensor(config.axis(), dtype=torch.float64, device=coordinates.device)
    axis = axis - axis.mean()
    scale = (axis**2).sum() * config.grid**2
    positions = coordinates.double()
    rows = [(positions.sum(dim=[d for d in (2, 3, 4) if d != kept]) * axis).sum(-1) / scale for kept in (2, 3, 4)]
    return torch.stack(rows, dim=1)


@cache
def _tables(device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    radii = torch.as_tensor(elements.ionic_radii().copy(), dtype=dtype, device=device)
    chemistry = torch.as_tensor(elements.chemistry_vectors().copy(), dtype=dtype, device=device)
    return radii, chemistry


def species_radii(numbers: torch.Tensor, config: VoxelConfig, dtype: torch.dtype) -> torch.Tensor:
    """Return the radius of each atom in the species map in angstrom, in the shape of ``numbers``."""
    return _tables(numbers.device, dtype)[0][numbers].clamp(min=config.min_radius)


def _draw(
    batch: CrystalBatch, config: VoxelConfig, density: torch.Tensor, species: torch.Tensor, chemistry: torch.Tensor
) -> None:
    """Draw a few crystals into grids that are there already, points flattened."""
    dtype = batch.lattice.dtype
    squared = squared_distances(batch, config).flatten(2)
    radii, vectors = _tables(batch.numbers.device, dtype)
    sigma = radii[batch.numbers]
    weight = (batch.numbers / (sigma**3 * (2 * math.pi) ** 1.5)).to(dtype)
    gaussians = (squared * (-0.5 / sigma**2)[..., None]).exp_()
    torch.bmm(weight[:, None], gaussians, out=density[:, None])
    if config.chemistry:
        torch.mul(squared, -0.5 / config.width**2, out=gaussians).exp_()
        torch.bmm(vectors[batch.numbers].transpose(1, 2), gaussians, out=chemistry)
    nearest, which = _nearest(batch, squared, config)
    torch.gather(batch.numbers, 1, which, out=species)
    species.masked_fill_(nearest.isinf(), 0)


def _nearest(batch: CrystalBatch, squared: torch.Tensor, config: VoxelConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the squared distance to the nearest atom that reaches a voxel, infinite if none does, and which it is.

    ``squared``, of shape (B, N, voxels), is overwritten.
    """
    reach = species_radii(batch.numbers, config, squared.dtype).masked_fill(~batch.mask, -1.0)
    outside = squared > (reach * reach.abs())[..., None]
    return squared.masked_fill_(outside, torch.inf).min(dim=1)


def atom_map(batch: CrystalBatch, config: VoxelConfig) -> torch.Tensor:
    """Return which atom of its crystal each voxel belongs to in the species map, -1 if none, shape (B, G, G, G)."""
    squared = squared_distances(batch, config)
    nearest, which = _nearest(batch, squared.flatten(2), config)
    return which.masked_fill_(nearest.isinf(), -1).unflatten(1, squared.shape[2:])


def squared_distances(batch: CrystalBatch, config: VoxelConfig) -> torch.Tensor:
    """Return the squared distance of every grid point from every atom (its nearest image on a periodic grid).

    ``|d L|^2 = d G d^T`` is a sum over pairs of axes, so that small two-dimensional tables are built and added up.

    Returns:
        Square angstrom, shape (B, N, G, G, G).
    """
    metric = batch.lattice @ batch.lattice.transpose(1, 2)
    axis = torch.as_tensor(config.axis(), dtype=batch.lattice.dtype, device=batch.lattice.device)
    offsets = axis - batch.frac_coords[..., None]
    if not config.periodic:
        return _quadratic_form(offsets, metric)
    offsets = offsets - offsets.round()
    best: torch.Tensor | None = None
    for shift in _image_shifts(metric):
        moved = offsets + torch.as_tensor(shift, dtype=offsets.dtype, device=offsets.device)[:, None]
        squared = _quadratic_form(moved, metric)
        best = squared if best is None else torch.minimum(best, squared, out=best)
    if best is None:
        msg = "a crystal without a nearest image: its lattice is not finite"
        raise InputError(msg)
    return best


def _quadratic_form(offsets: torch.Tensor, metric: torch.Tensor) -> torch.Tensor:
    """Return d G d^T for all d of a product grid; ``offsets`` (B, N, 3, G) along the axes, ``metric`` (B, 3, 3)."""
    x, y, z = offsets.unbind(2)

    def entry(i: int, j: int) -> torch.Tensor:
        return metric[:, None, None, None, i, j]

    xx, yy, zz = ((v**2)[..., None] * entry(i, i) for i, v in enumerate((x, y, z)))
    xy = xx + yy.transpose(2, 3) + 2 * entry(0, 1) * x[..., :, None] * y[..., None, :]
    xz = 2 * entry(0, 2) * x[..., :, None] * z[..., None, :]
    yz = zz.transpose(2, 3) + 2 * entry(1, 2) * y[..., :, None] * z[..., None, :]
    return (xy[..., None] + xz[..., :, None, :]).add_(yz[..., None, :, :])


def _image_shifts(metric: torch.Tensor) -> np.ndarray:
    """Return the lattice translations that can bring an atom nearer, for any offset within half a cell.

    A translation s can only win if |d + s| < |d| for some d in [-1/2, 1/2]^3, that is s G s < sum_i |(G s)_i|; and no
    nearest image lies further out than half the sum of the cell's lengths, which bounds the search. For orthogonal
    cells nothing but s = 0 is left.
    """
    gram = metric.detach().double().cpu().numpy()
    reach = 0.5 * np.sqrt(np.diagonal(gram, axis1=1, axis2=2)).sum(1)
    heights = 1 / np.sqrt(np.diagonal(np.linalg.inv(gram), axis1=1, axis2=2))
    limits = np.floor((reach[:, None] / heights + 0.5).max(0)).astype(int)
    if np.prod(2.0 * limits + 1) > _MAX_SHIFTS:
        msg = "a cell is too flat or skewed for its nearest images; reduce it first (Niggli)"
        raise InputError(msg)
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in limits))))
    products = shifts @ gram
    gain = np.abs(products).sum(-1) - (products * shifts).sum(-1)
    useful = (gain > 2e-7 * gram.trace(axis1=1, axis2=2)[:, None]).any(0)
    useful[len(shifts) // 2] = True
    return shifts[useful]
