"""What a network of the formation energy knows of a crystal, in few numbers: atoms, stiffness, exchanges, layers.

The network is smooth, so its energy has derivatives: how it curves under a change of volume is a bulk modulus, under
changes of shape a shear modulus (Voigt averages, atoms carried along with the cell). What it costs to exchange an
element for the next one of the periodic table, or for the one before, stands for what an electron more or a hole costs:
where both cost much, a gap is to be expected. Nothing but energies was learned for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F

from icsg3d.crystals.arrays import CrystalArrays
from icsg3d.crystals.structures import as_structure, to_arrays
from icsg3d.models.environment_net import EnvironmentNet
from icsg3d.properties.predictor import batches_of, graph_of
from icsg3d.representation.description import batch_of
from icsg3d.representation.environments import EnvironmentBatch, Environments, environments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icsg3d.crystals.structures import Crystal
    from icsg3d.models.properties import PropertyModel
    from icsg3d.models.uncertainty import Uncertainty
    from icsg3d.properties.predictor import PropertyPredictor
    from icsg3d.representation.moments import EnvironmentConfig

STRAINS = (0.09, *(0.03,) * 5)
"""Frobenius norms of the strains: a change of volume and five of shape. Under smaller ones the networks' errors in the
curvature count more; under larger ones the result depends on how the crystal is turned."""

GPA = 160.21766
"""One eV per cubic angstrom, in GPa."""

_DECIMALS = 5
"""To so many results are rounded: what lies below depends on the batch."""

NOBLE_GASES = frozenset({2, 10, 18, 36, 54, 86})

ATOMS = ("energy_mean", "energy_std", "energy_min", "energy_max")
STIFFNESS = ("bulk_stiffness", "shear_stiffness", "pressure", "shear_stress")
EXCHANGES = (
    *("exchange_before_min", "exchange_before_mean", "exchange_before_max"),
    *("exchange_next_min", "exchange_next_mean", "exchange_next_max"),
    "exchange_gap",
)


@dataclass(frozen=True)
class Probe:
    """A crystal, and what it is compared with.

    Attributes:
        still: Its environments.
        strained: Environments under each of :func:`strains`.
        volume: Per atom, in cubic angstrom.
    """

    still: Environments
    strained: tuple[Environments, ...]
    volume: float


def has_directions(model: PropertyModel) -> bool:
    """Whether a model has networks on environments and the main directions of its training crystals."""
    return model.uncertainty is not None and isinstance(model.members[0], EnvironmentNet)


def strains() -> np.ndarray:
    """Return strains of norms :data:`STRAINS`: a change of volume and five of shape, orthogonal, each with both signs.

    Returns:
        Shape (12, 3, 3): negative and positive one after the other.
    """
    unit = np.zeros((6, 3, 3))
    unit[0] = np.eye(3) / np.sqrt(3)
    unit[1] = np.diag([1, -1, 0]) / np.sqrt(2)
    unit[2] = np.diag([1, 1, -2]) / np.sqrt(6)
    for number, (i, j) in enumerate(((0, 1), (1, 2), (0, 2)), start=3):
        unit[number, i, j] = unit[number, j, i] = 1 / np.sqrt(2)
    unit *= np.array(STRAINS)[:, None, None]
    return np.stack([-unit, unit], axis=1).reshape(12, 3, 3)


def probe(crystal: Crystal, config: EnvironmentConfig) -> Probe:
    """Return a crystal and its strained copies.

    Raises:
        InputError: if it is none, is disordered, is none that a material can be, or is too large.
    """
    still = cast("Environments", graph_of(crystal, config))
    cell = to_arrays(as_structure(crystal))
    copies = (CrystalArrays(cell.numbers, cell.frac_coords, cell.lattice @ (np.eye(3) + each)) for each in strains())
    return Probe(
        still, tuple(environments(copy, config) for copy in copies), abs(np.linalg.det(cell.lattice)) / len(cell)
    )


def layer_labels(model: PropertyModel) -> list[str]:
    """Return the labels of :func:`layers`, as ``layer1_0``."""
    network, directions = cast("EnvironmentNet", model.members[0]), _directions(model)
    return [f"layer{layer}_{n}" for layer in range(1, network.config.layers + 1) for n in range(directions)]


def layers(predictor: PropertyPredictor, graphs: Sequence[Environments]) -> np.ndarray:
    """Return mean and spread of the atoms after each layer of the first network, along few directions.

    The directions are the main ones of the training crystals, which the model of uncertainty holds.

    Args:
        predictor: Of a model with networks on environments and a model of uncertainty.
        graphs: Environments of crystals.

    Returns:
        Shape (n, layers x directions), in standard deviations of the training crystals.
    """
    network, model = cast("EnvironmentNet", predictor.model.members[0]), predictor.model
    found = np.empty((len(graphs), network.config.layers * _directions(model)))
    for rows in batches_of(graphs):
        batch = _batch(predictor, [graphs[row] for row in rows])
        with torch.no_grad():
            pooled = (network.pool(atoms, batch) for atoms in network.rounds(batch))
            coordinates = [cast("Uncertainty", model.uncertainty).coordinates(each) for each in pooled]
        found[rows] = torch.cat(coordinates, dim=1).float().cpu().numpy()
    return found


def _directions(model: PropertyModel) -> int:
    return 0 if model.uncertainty is None else model.uncertainty.config.directions


def energy_features(predictor: PropertyPredictor, probes: Sequence[Probe]) -> np.ndarray:
    """Return what the energies of crystals tell: :data:`ATOMS`, :data:`STIFFNESS` and :data:`EXCHANGES`.

    Args:
        predictor: Of an energy per atom, with networks on environments.
        probes: Crystals.

    Returns:
        Shape (n, 15), in eV and GPa.
    """
    atoms = atomic_energies(predictor, [each.still for each in probes])
    still = np.array([each.mean() for each in atoms])
    strained = mean_energies(predictor, [copy for each in probes for copy in each.strained]).reshape(len(probes), -1)
    volumes = np.array([each.volume for each in probes])
    spread = [(each.mean(), each.std(), each.min(), each.max()) for each in atoms]
    exchanged = exchanges(predictor, [each.still for each in probes], still)
    found = np.concatenate([np.array(spread), stiffness(still, strained, volumes), exchanged], axis=1)
    return found.round(_DECIMALS)


def atomic_energies(predictor: PropertyPredictor, graphs: Sequence[Environments]) -> list[np.ndarray]:
    """Return what each atom adds to a crystal's energy per atom, in eV: their mean is the energy per atom.

    Args:
        predictor: Of an energy per atom; the mean of its networks is taken.
        graphs: Environments of crystals.

    Returns:
        For each crystal shape (N,).
    """
    networks, config = [cast("EnvironmentNet", each) for each in predictor.model.members], predictor.model.config
    found: list[np.ndarray] = [np.empty(0)] * len(graphs)
    for rows in batches_of(graphs):
        batch = _batch(predictor, [graphs[row] for row in rows])
        with torch.no_grad():
            outputs = [each.output(F.silu(each.dense(each.atoms(batch)))).squeeze(1) for each in networks]
        values = torch.stack(outputs).mean(0)
        energies = (values * config.scale + config.mean).double().cpu().numpy()
        owners, places = batch.crystals.cpu().numpy(), batch.places.cpu().numpy()
        for row, place in zip(rows, places, strict=True):
            found[row] = energies[owners == place]
    return found


def mean_energies(predictor: PropertyPredictor, graphs: Sequence[Environments]) -> np.ndarray:
    """Return energies per atom in eV, not rounded to single precision, shape (n,)."""
    return np.array([each.mean() for each in atomic_energies(predictor, graphs)])


def stiffness(still: np.ndarray, strained: np.ndarray, volumes: np.ndarray) -> np.ndarray:
    """Return bulk and shear modulus, pressure and the norm of the shear stress, by finite differences.

    An isotropic crystal has the energy density 3 K e^2 / 2 under a change of volume of norm e, and G e^2 under a change
    of shape. Means over the five changes of shape do not depend on how the crystal is turned.

    Args:
        still: Energies per atom in eV, shape (n,).
        strained: Under :func:`strains`, shape (n, 12).
        volumes: Per atom in cubic angstrom, shape (n,).

    Returns:
        In GPa, shape (n, 4).
    """
    minus, plus, norms = strained[:, 0::2], strained[:, 1::2], np.array(STRAINS)
    curvatures = GPA * (minus + plus - 2 * still[:, None]) / norms**2 / volumes[:, None]
    slopes = GPA * (plus - minus) / (2 * norms) / volumes[:, None]
    bulk, shear = curvatures[:, 0] / 3, curvatures[:, 1:].mean(1) / 2
    return np.stack([bulk, shear, -slopes[:, 0] / np.sqrt(3), np.linalg.norm(slopes[:, 1:], axis=1)], axis=1)


def exchanges(predictor: PropertyPredictor, graphs: Sequence[Environments], still: np.ndarray) -> np.ndarray:
    """Return what it costs to exchange one element of a crystal for that before it, or for the next one.

    Least and greatest cost are per exchanged atom, the mean is that of whole crystals per atom; ``exchange_gap`` is the
    sum of both least costs. Where no element has a neighbour that the network knows (noble gases do not count), the
    costs are 0.

    Args:
        predictor: Of an energy per atom.
        graphs: Environments of crystals.
        still: Their energies per atom in eV, shape (n,).

    Returns:
        In eV, shape (n, 7).
    """
    elements = set(predictor.model.config.elements) - NOBLE_GASES
    made, owners = [], []
    for row, graph in enumerate(graphs):
        for number in np.unique(graph.numbers):
            for step in (-1, 1):
                if int(number) + step in elements:
                    places = graph.numbers == number
                    made.append(replace(graph, numbers=np.where(places, number + step, graph.numbers)))
                    owners.append((row, step, places.mean()))
    costs = mean_energies(predictor, made) - still[[row for row, _, _ in owners]] if made else np.empty(0)
    found = np.zeros((len(graphs), 7))
    rows, steps, shares = (np.array(column) for column in zip(*owners, strict=True)) if owners else np.empty((3, 0))
    for row in range(len(graphs)):
        for first, step in ((0, -1), (3, 1)):
            mine = (rows == row) & (steps == step)
            if mine.any():
                each = costs[mine] / shares[mine]
                found[row, first : first + 3] = each.min(), costs[mine].mean(), each.max()
    found[:, 6] = found[:, 0] + found[:, 3]
    return found


def _batch(predictor: PropertyPredictor, graphs: Sequence[Environments]) -> EnvironmentBatch:
    return cast("EnvironmentBatch", batch_of(graphs)).to(predictor.device)
