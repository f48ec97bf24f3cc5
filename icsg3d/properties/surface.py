"""The predicted energy as a surface over positions and cell: forces and stress, by differentiating the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from icsg3d.errors import InputError
from icsg3d.models.environment_net import EnvironmentNet
from icsg3d.representation.environments import EnvironmentBatch, joining_vectors
from icsg3d.representation.moments import EnvironmentConfig, pair_moments

if TYPE_CHECKING:
    from icsg3d.models.properties import PropertyModel


class SurfacePoint(NamedTuple):
    """The surface at one geometry.

    Attributes:
        energy: Of the whole cell, in eV.
        forces: On the atoms, shape (N, 3), in eV per angstrom.
        stress: Derivative of the energy by the strain over the volume, shape (3, 3), in eV per cubic angstrom.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray


class EnergySurface:
    """Energy, forces and stress of crystals by the networks of an energy per atom.

    Args:
        model: Of networks on environments whose value is a mean over atoms; the mean of the networks counts.

    Raises:
        InputError: if it is of another kind.
    """

    def __init__(self, model: PropertyModel) -> None:
        if not has_surface(model):
            msg = (
                f"the model of {model.config.property.name} gives no forces; that takes an energy by networks on "
                "environments, such as the shipped formation_energy_per_atom"
            )
            raise InputError(msg)
        self._model = model
        self._config = model.config.network.graph
        self._device = next(model.parameters()).device

    def at(self, numbers: np.ndarray, positions: np.ndarray, lattice: np.ndarray) -> SurfacePoint:
        """Return the surface at a geometry.

        Args:
            numbers: Atomic numbers, shape (N,).
            positions: In angstrom, shape (N, 3).
            lattice: Lattice vectors as rows, shape (3, 3), in angstrom.
        """
        assert isinstance(self._config, EnvironmentConfig)  # noqa: S101 (has_surface has seen to it)
        first, second, vectors = joining_vectors(positions, lattice, self._config)
        centres, neighbours = torch.from_numpy(first), torch.from_numpy(second)
        moved = torch.zeros(len(numbers), 3, dtype=torch.float64, requires_grad=True)
        strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        joined = torch.from_numpy(vectors) + moved[neighbours] - moved[centres]
        moments = pair_moments(joined + joined @ (strain + strain.T) / 2, self._config)
        kinds = torch.from_numpy(numbers.astype(np.int64))
        energy = self._energy(EnvironmentBatch.of_pairs(kinds, centres, neighbours, moments)) * len(numbers)
        down, slope = torch.autograd.grad(energy, [moved, strain])
        volume = abs(np.linalg.det(lattice))
        return SurfacePoint(float(energy.detach()), -down.numpy(), slope.numpy() / volume)

    def _energy(self, batch: EnvironmentBatch) -> torch.Tensor:
        here = batch.to(self._device)
        values = torch.stack([network(here)[0] for network in self._model.members]).mean()
        return values * self._model.config.scale + self._model.config.mean


def has_surface(model: PropertyModel) -> bool:
    """Whether a model has networks on environments whose value is a mean over atoms, as an energy per atom is."""
    network = model.members[0]
    return isinstance(network, EnvironmentNet) and network.config.pooling == "atomic"
