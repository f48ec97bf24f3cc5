"""The generator's two networks as one: crystals to latent vectors, latent vectors to species maps and lattices."""

from __future__ import annotations

import bisect
import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch
from torch import nn

from icsg3d.crystals.arrays import CrystalBatch, centred, lattice_from_parameters, lattice_parameters
from icsg3d.crystals.elements import N_CLASSES
from icsg3d.errors import InputError
from icsg3d.models.unet import SegmentationUNet, SegmentationUNetConfig
from icsg3d.models.vae import CrystalVAE, CrystalVAEConfig, Posterior
from icsg3d.representation.voxels import (
    VoxelBatch,
    VoxelConfig,
    coordinate_channels,
    lattice_from_coordinates,
    voxelize,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

GeneratorPreset = Literal["paper", "periodic"]


def energy_range(energy: float, inner: tuple[float, ...]) -> tuple[float, float]:
    """Return the edges of the bin in which an energy lies, of the inner edges of all bins, the outer ones infinite."""
    edges = (-math.inf, *inner, math.inf)
    above = bisect.bisect_left(edges, energy, 1, len(edges) - 1)
    return edges[above - 1], edges[above]


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that shapes a generator's networks.

    Attributes:
        voxels: How crystals become grids.
        vae: Size of the autoencoder.
        unet: Size of the segmentation network.
        elements: Atomic numbers that the model knows, ascending.
        condition: Name of the energy per atom that the condition's bins are of.
        energy_edges: The nine inner edges of the condition's ten bins in eV/atom; empty without a condition.
        max_length: Longest cell vector that the model takes, in angstrom.
        guidance: How many times draws count the difference that the condition makes. At 1 energies follow the bins
            loosely; too much drives draws for the outermost bins past all crystals (docs/evaluation.md).
        temperature: Standard deviation of the noise from which draws for a condition start. Below 1 they keep nearer to
            what is likely (Kingma and Dhariwal 2018, arXiv:1807.03039), follow the condition better and differ less.
    """

    voxels: VoxelConfig
    vae: CrystalVAEConfig
    unet: SegmentationUNetConfig
    elements: tuple[int, ...] = ()
    condition: str = "formation_energy_per_atom"
    energy_edges: tuple[float, ...] = ()
    max_length: float = 10.0
    guidance: float = 2.0
    temperature: float = 1.0

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "elements": (1, N_CLASSES - 1),
        "max_length": (1, 1000),
        "guidance": (0, 100),
        "temperature": (0, 1),
    }

    def __post_init__(self) -> None:
        """Check the elements, the guidance and the temperature.

        Raises:
            InputError: if one is not an atomic number from 1 to 94, the guidance is not between 0 and 100, or the
                temperature is not between 0 and 1.
        """
        if not 0 <= self.guidance <= 100:
            msg = f"the guidance must be between 0 and 100, got {self.guidance}"
            raise InputError(msg)
        if not 0 <= self.temperature <= 1:
            msg = f"the temperature must be between 0 and 1, got {self.temperature}"
            raise InputError(msg)
        for number in self.elements:
            if number not in range(1, N_CLASSES):
                msg = f"{number!r} is no atomic number from 1 to {N_CLASSES - 1}"
                raise InputError(msg)

    def energy_range(self, energy: float) -> tuple[float, float]:
        """Return the edges in eV/atom of the bin of the condition in which an energy lies, the outer ones infinite."""
        return energy_range(energy, self.energy_edges)

    @classmethod
    def preset(cls, name: GeneratorPreset, *, grid: int | None = None) -> GeneratorConfig:
        """Return the sizes of a name.

        ``paper``: the networks of Court et al. 2020 on a 32^3 grid with coordinate channels.
        ``periodic``: circular convolutions on a grid of the primitive cell with chemistry channels.

        Args:
            name: The preset.
            grid: Another number of points along each axis, which the networks halve: a multiple of 4 or, with
                ``paper``, of 16.

        Raises:
            InputError: if the name is unknown, or the networks cannot halve the grid as often as they need to.
        """
        points = {"paper": 32, "periodic": 12}
        if name not in points:
            msg = f"unknown generator preset {name!r}; there are {', '.join(points)}"
            raise InputError(msg)
        voxels = VoxelConfig.preset(name, grid=points[name] if grid is None else grid)
        if name == "paper":
            vae = dataclasses.replace(CrystalVAEConfig.paper(), grid=voxels.grid)
            return cls(voxels, vae, SegmentationUNetConfig.paper())
        vae = CrystalVAEConfig(grid=voxels.grid, channels=voxels.channels)
        return cls(voxels, vae, SegmentationUNetConfig(voxels.channels))


class DecodedGrids(NamedTuple):
    """What the networks make of latent vectors.

    Attributes:
        grid: Decoded input channels, shape (B, C, G, G, G).
        species: S', atomic numbers, 0 for background, shape (B, G, G, G).
        atom: S'_B, probability of an atom, shape (B, G, G, G).
        lattice: Lattice vectors as rows, shape (B, 3, 3), in angstrom.
    """

    grid: torch.Tensor
    species: torch.Tensor
    atom: torch.Tensor
    lattice: torch.Tensor


class GeneratorNetwork(nn.Module):
    """Autoencoder and segmentation network with the grids between them.

    Args:
        config: Sizes of both.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.vae = CrystalVAE(config.vae)
        self.unet = SegmentationUNet(config.unet)
        known = torch.zeros(N_CLASSES, dtype=torch.bool)
        known[[0, *(config.elements or range(1, N_CLASSES))]] = True
        self.register_buffer("known_classes", known, persistent=False)
        self.known_classes: torch.Tensor

    def draw(self, batch: CrystalBatch) -> tuple[VoxelBatch, torch.Tensor]:
        """Return the grids of crystals and the channels the networks see of them, (B, C, G, G, G)."""
        voxels = voxelize(batch, self.config.voxels)
        grid = voxels.inputs()
        if not self.config.vae.lattice_head:
            grid = torch.cat([grid, coordinate_channels(batch.lattice, self.config.voxels)], dim=1)
        return voxels, grid

    def encode(self, batch: CrystalBatch, condition: torch.Tensor) -> Posterior:
        """Encode crystals, with their canonical origin on a periodic grid.

        Args:
            batch: Crystals.
            condition: Bins, shape (B,), int64, negative where unknown.
        """
        if self.config.voxels.periodic:
            batch = centred(batch)
        return self.vae.encode(self.draw(batch)[1], condition, lattice_parameters(batch.lattice))

    def lattices(self, grid: torch.Tensor, parameters: torch.Tensor | None) -> torch.Tensor:
        """Return lattices (B, 3, 3) from the lattice head's numbers or, without one, from coordinate channels."""
        if parameters is not None:
            return lattice_from_parameters(parameters)
        return lattice_from_coordinates(grid[:, -3:], self.config.voxels).float()

    def decode(self, latent: torch.Tensor, condition: torch.Tensor) -> DecodedGrids:
        """Decode latent vectors to species maps and lattices.

        Args:
            latent: Shape (B, latent).
            condition: Bins, shape (B,), int64, negative where unknown.
        """
        grid, parameters = self.vae.decode(latent, condition)
        segmentation = self.unet(grid)
        logits = segmentation.species.masked_fill(~self.known_classes[:, None, None, None], -torch.inf)
        return DecodedGrids(
            grid.float(),
            logits.argmax(1),
            segmentation.atom.float().sigmoid(),
            self.lattices(grid, parameters),
        )


def energy_bins(energies: torch.Tensor, edges: Sequence[float]) -> torch.Tensor:
    """Return the condition bin of formation energies, -1 where the energy is NaN or there are no bins.

    Args:
        energies: eV/atom, shape (B,).
        edges: Ascending inner edges.
    """
    if not edges:
        return torch.full(energies.shape, -1, dtype=torch.int64, device=energies.device)
    bins = torch.bucketize(energies.nan_to_num(), torch.tensor(edges, dtype=energies.dtype, device=energies.device))
    return bins.masked_fill(energies.isnan(), -1)
