"""Everything a generator for crystals of any cell is made of, as arrays: autoencoder, density, and known crystals."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

from icsg3d.crystals.elements import MAX_NUMBER
from icsg3d.errors import InputError
from icsg3d.models.checkpoints import build, read_model, write_model
from icsg3d.models.compact_weights import GENERATOR_BITS
from icsg3d.models.generator import energy_range
from icsg3d.models.grid_flow import GridConditions, GridFlow, GridFlowConfig
from icsg3d.models.grid_vae import GridVAE, GridVAEConfig
from icsg3d.models.known_crystals import KnownCrystals
from icsg3d.representation.fields import FieldConfig
from icsg3d.representation.sites import ReadingConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

    from icsg3d.representation.fields import GridShape

GRID_GENERATOR_FORMAT = "icsg3d-generator-grid-2"


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
        temperature: Standard deviation of the noise of draws without a base.
        renoising: Share of noise in the mixture from which neighbours at a scale of 1 are carried back.
        free_scale: Scale of draws without a base: each is a neighbour of a training crystal, at this scale.
    """

    vae: GridVAEConfig = field(default_factory=GridVAEConfig)
    flow: GridFlowConfig = field(default_factory=GridFlowConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    elements: tuple[int, ...] = ()
    condition: str = "formation_energy_per_atom"
    energy_edges: tuple[float, ...] = ()
    max_length: float = 50.0
    most_points: int = 16_000
    most_atoms: int = 20
    guidance: float = 1.5
    temperature: float = 1.0
    renoising: float = 0.44
    free_scale: float = 0.65

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
class GridNetworks:
    """The networks of a latent-grid generator with their configuration.

    Attributes:
        config: Sizes and limits.
        vae: The autoencoder.
        flow: The density.
        known: Training crystals, at which draws begin.
    """

    config: GridGeneratorConfig
    vae: GridVAE
    flow: GridFlow
    known: KnownCrystals

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
    """Write a latent-grid generator into a folder, matrices in 8 bits, and return the SHA-256 of its weights."""
    parts = {"vae": networks.vae, "flow": networks.flow}
    settings = dataclasses.asdict(networks.config)
    return write_model(folder, GRID_GENERATOR_FORMAT, settings, parts, networks.known.tensors(), bits=GENERATOR_BITS)


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
        known = KnownCrystals.from_tensors(extra)
    except KeyError as error:
        msg = f"the model {folder} lacks its known crystals ({error}); train or copy it again"
        raise InputError(msg) from error
    return GridNetworks(configs[0], cast("GridVAE", built["vae"]), cast("GridFlow", built["flow"]), known), digest
