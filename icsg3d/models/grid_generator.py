"""Everything a generator for crystals of any cell is made of, as arrays: autoencoder, density, and known cells."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from icsg3d.crystals.arrays import lattice_from_parameters, lattice_parameters
from icsg3d.crystals.elements import MAX_NUMBER
from icsg3d.errors import InputError
from icsg3d.models.checkpoints import build, read_model, write_model
from icsg3d.models.generator import energy_range
from icsg3d.models.grid_flow import GridConditions, GridFlow, GridFlowConfig
from icsg3d.models.grid_vae import GridVAE, GridVAEConfig
from icsg3d.representation.fields import FieldConfig
from icsg3d.representation.sites import ReadingConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from icsg3d.crystals.arrays import CrystalArrays
    from icsg3d.representation.fields import GridShape

GRID_GENERATOR_FORMAT = "icsg3d-generator-grid-1"


@dataclass(frozen=True)
class GridGeneratorConfig:
    """Everything that shapes a latent-grid generator.

    Attributes:
        vae: Size of the autoencoder.
        flow: Size of the density.
        reading: How atoms are read from fields.
        elements: Atomic numbers that the model knows, ascending.
        condition: Name of the energy per atom that the condition's bins are of.
        energy_edges: The nine inner edges of the condition's ten bins in eV/atom; empty without a condition.
        max_length: Longest cell vector that the model takes, in angstrom.
        most_points: Largest grid that the model takes.
        most_atoms: Most atoms in a primitive cell.
        guidance: How many times draws count the difference that the condition makes.
        temperature: Standard deviation of the noise from which draws for a condition start.
        renoising: Share of noise in the mixture from which neighbours at a scale of 1 are carried back.
        volume_spread: Standard deviation of the logarithm of the volume of drawn cells about that of known ones.
    """

    vae: GridVAEConfig = field(default_factory=GridVAEConfig)
    flow: GridFlowConfig = field(default_factory=GridFlowConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    elements: tuple[int, ...] = ()
    condition: str = "formation_energy_per_atom"
    energy_edges: tuple[float, ...] = ()
    max_length: float = 30.0
    most_points: int = 8000
    most_atoms: int = 20
    guidance: float = 1.5
    temperature: float = 1.0
    renoising: float = 0.44
    volume_spread: float = 0.03

    def energy_range(self, energy: float) -> tuple[float, float]:
        """Return the edges in eV/atom of the bin in which an energy lies, the outer ones infinite."""
        return energy_range(energy, self.energy_edges)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GridGeneratorConfig:
        """Return the configuration that ``dataclasses.asdict`` wrote.

        Raises:
            KeyError: if a name is missing or unknown.
        """
        vae = build(GridVAEConfig, {**values["vae"], "fields": build(FieldConfig, values["vae"]["fields"])})
        parts = {"vae": vae, "flow": build(GridFlowConfig, values["flow"])}
        return build(cls, {**values, **parts, "reading": build(ReadingConfig, values["reading"])})


@dataclass(frozen=True)
class KnownCells:
    """Cells of the training crystals with what is known of each: where draws take their cells from.

    Attributes:
        parameters: Log lengths and cosines of the angles, shape (n, 6), float32.
        atoms: Number of atoms, shape (n,), uint8.
        bins: Bin of the energy, shape (n,), int8, negative where unknown.
        elements: Which of the elements 1 to 94 are there, as bits, shape (n, 12), uint8.
    """

    parameters: np.ndarray
    atoms: np.ndarray
    bins: np.ndarray
    elements: np.ndarray

    @classmethod
    def of(cls, crystals: Sequence[CrystalArrays], bins: np.ndarray) -> KnownCells:
        """Collect the cells of crystals in reduced cells with their bins."""
        lattices = torch.as_tensor(np.stack([crystal.lattice for crystal in crystals]), dtype=torch.float32)
        present = np.zeros((len(crystals), MAX_NUMBER), dtype=np.uint8)
        for row, crystal in enumerate(crystals):
            present[row, crystal.numbers - 1] = 1
        return cls(
            lattice_parameters(lattices).numpy(),
            np.array([len(crystal) for crystal in crystals], dtype=np.uint8),
            bins.astype(np.int8),
            np.packbits(present, axis=1),
        )

    def rows(self, bins: int, elements: frozenset[int]) -> np.ndarray:
        """Return the rows of the crystals of a bin (any, where negative) whose elements are all among those given.

        Where no crystal has but these elements, those that have as many elements count.

        Args:
            bins: Of the energy.
            elements: Atomic numbers; none for any.

        Raises:
            InputError: if no crystal is in the bin.
        """
        present = np.unpackbits(self.elements, axis=1, count=MAX_NUMBER).astype(bool)
        fits = (self.bins == bins) if bins >= 0 else np.ones(len(self.atoms), dtype=bool)
        if not fits.any():
            msg = f"no training crystal has an energy in bin {bins}; ask for another"
            raise InputError(msg)
        if not elements:
            return np.flatnonzero(fits)
        asked = np.zeros(MAX_NUMBER, dtype=bool)
        asked[np.array(sorted(elements)) - 1] = True
        same = fits & ~(present ^ asked).any(1)
        alike = fits & (present.sum(1) == len(elements))
        return np.flatnonzero(same if same.any() else alike if alike.any() else fits)

    def lattices(self, rows: np.ndarray) -> np.ndarray:
        """Return lattice vectors, shape (n, 3, 3), in angstrom."""
        return lattice_from_parameters(torch.as_tensor(self.parameters[rows]).double()).numpy()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the cells as tensors for a weights file."""
        arrays = dataclasses.asdict(self)
        return {f"cells.{name}": torch.as_tensor(array) for name, array in arrays.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> KnownCells:
        """Return what :meth:`tensors` gave.

        Raises:
            KeyError: if one is missing.
        """
        return cls(**{each.name: tensors[f"cells.{each.name}"].numpy() for each in dataclasses.fields(cls)})


@dataclass(frozen=True)
class GridNetworks:
    """The networks of a latent-grid generator with their configuration.

    Attributes:
        config: Sizes and limits.
        vae: The autoencoder.
        flow: The density.
        cells: Known cells.
    """

    config: GridGeneratorConfig
    vae: GridVAE
    flow: GridFlow
    cells: KnownCells

    def blocks(self, lattice: np.ndarray) -> GridShape:
        """Return the shape of the latent grid of a cell."""
        fields = self.config.vae.fields
        return fields.blocks(fields.shape(lattice))

    def conditions(
        self, lattices: np.ndarray, atoms: np.ndarray, bins: int, elements: frozenset[int]
    ) -> GridConditions:
        """Return conditions of crystals with cells, (B, 3, 3), numbers of atoms, (B,), and one bin and element set."""
        asked = torch.zeros(len(lattices), MAX_NUMBER)
        asked[:, torch.tensor(sorted(elements), dtype=torch.int64) - 1] = 1
        return GridConditions(
            torch.as_tensor(lattices, dtype=torch.float32),
            torch.as_tensor(atoms, dtype=torch.int64),
            torch.full((len(lattices),), bins),
            asked,
        )


def save_grid_networks(networks: GridNetworks, folder: Path) -> str:
    """Write a latent-grid generator into a folder, parameters in 16 bits, and return the SHA-256 of its weights."""
    parts = {"vae": networks.vae, "flow": networks.flow}
    settings = dataclasses.asdict(networks.config)
    return write_model(folder, GRID_GENERATOR_FORMAT, settings, parts, networks.cells.tensors(), half=True)


def load_grid_networks(folder: Path) -> tuple[GridNetworks, str]:
    """Read what :func:`save_grid_networks` wrote, and the SHA-256 of the weights.

    Raises:
        InputError: if a file is missing, damaged, or does not fit the sizes.
    """
    configs: list[GridGeneratorConfig] = []

    def networks(values: Mapping[str, Any]) -> dict[str, Any]:
        configs.append(GridGeneratorConfig.from_dict(values))
        return {"vae": GridVAE(configs[0].vae), "flow": GridFlow(configs[0].flow)}

    built, extra, digest = read_model(folder, GRID_GENERATOR_FORMAT, networks)
    try:
        cells = KnownCells.from_tensors(extra)
    except KeyError as error:
        msg = f"the model {folder} lacks its known cells ({error}); train or copy it again"
        raise InputError(msg) from error
    return GridNetworks(configs[0], cast("GridVAE", built["vae"]), cast("GridFlow", built["flow"]), cells), digest
