"""Networks on atomic environments: from a batch of crystals to one number each.

In each layer an atom's features become radial functions of its neighbours, which add them up with the moments of
:mod:`icsg3d.representation.environments`: sums of degree 0 as they are, those of higher degree as products that a
rotation does not change (three-body terms; angles). There is no pass over edges, so a layer costs the same for any
cutoff.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import nn

from icsg3d.crystals.elements import N_CLASSES, graph_features
from icsg3d.errors import InputError
from icsg3d.representation.moments import EnvironmentConfig

if TYPE_CHECKING:
    from icsg3d.representation.environments import EnvironmentBatch

Pooling = Literal["atomic", "crystal"]


@dataclass(frozen=True)
class EnvironmentNetConfig:
    """Sizes of a network on environments.

    Attributes:
        layers: Rounds in which atoms hear of their neighbours.
        width: Features of an atom.
        scalars: Channels of degree 0.
        tensors: Channels of higher degrees, an even number.
        hidden: Features of an atom before the mean over the crystal.
        pooling: ``atomic``, where the value is a mean over atoms, as an energy is, or ``crystal``, where it depends on
            the mean and the spread of the atoms' features.
        node_features: Length of the elements' feature vectors.
        graph: How environments are described.
    """

    layers: int = 3
    width: int = 96
    scalars: int = 64
    tensors: int = 16
    hidden: int = 128
    pooling: Pooling = "atomic"
    node_features: int = 92
    graph: EnvironmentConfig = field(default_factory=EnvironmentConfig)

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "layers": (1, 64),
        "width": (1, 16_384),
        "scalars": (1, 16_384),
        "tensors": (0, 16_384),
        "hidden": (1, 16_384),
        "node_features": (1, 16_384),
    }

    @property
    def pooled(self) -> int:
        """Features of a crystal."""
        return 2 * self.hidden


class EnvironmentLayer(nn.Module):
    """One round: atoms hear of their neighbours and change their features.

    Args:
        config: Sizes.
    """

    def __init__(self, config: EnvironmentNetConfig) -> None:
        super().__init__()
        self.config = config
        products = 3 * (config.tensors // 2) * config.graph.degree
        self.norm = nn.LayerNorm(config.width)
        self.radial = nn.Linear(config.width, config.graph.radial * (config.scalars + config.tensors))
        self.mix = nn.Linear(config.width + config.scalars + products, 2 * config.hidden)
        self.out = nn.Linear(config.hidden, config.width)

    def forward(self, atoms: torch.Tensor, batch: EnvironmentBatch) -> torch.Tensor:
        """Return new features of atoms, shape (R, width)."""
        config = self.config
        own = self.norm(atoms)
        spread = self.radial(own)
        split = config.graph.radial * config.scalars
        scalars = spread[:, :split].unflatten(1, (config.graph.radial, config.scalars))
        tensors = spread[:, split:].unflatten(1, (config.graph.radial, config.tensors))
        zero, higher = batch.gather(scalars, tensors)
        mixed = self.mix(torch.cat([own, _compressed(zero), _compressed(self._products(higher))], dim=1))
        gate, value = mixed.chunk(2, dim=1)
        return atoms + self.out(F.silu(gate) * value)

    def _products(self, higher: torch.Tensor) -> torch.Tensor:
        """Return products of channels, summed over each degree: (R, harmonics - 1, C) to (R, degree x 3 C / 2)."""
        found, start = [], 0
        for degree in range(1, self.config.graph.degree + 1):
            first, second = higher[:, start : start + 2 * degree + 1].chunk(2, dim=2)
            found += [(a * b).sum(1) for a, b in ((first, first), (second, second), (first, second))]
            start += 2 * degree + 1
        return torch.cat(found, dim=1)


def _compressed(values: torch.Tensor) -> torch.Tensor:
    """Return values with large ones drawn in, smoothly: x / sqrt(1 + |x|)."""
    return values * torch.rsqrt(1.0 + values.abs())


class EnvironmentNet(nn.Module):
    """A network on environments.

    Args:
        config: Sizes.
    """

    def __init__(self, config: EnvironmentNetConfig) -> None:
        super().__init__()
        self.config = config
        self.features: torch.Tensor
        self.register_buffer("features", torch.zeros(N_CLASSES, config.node_features))
        published = torch.tensor(graph_features())
        if published.shape == self.features.shape:
            self.features.copy_(published)
        self.embedding = nn.Linear(config.node_features, config.width)
        self.element = nn.Embedding(N_CLASSES, config.width)
        nn.init.normal_(self.element.weight, std=0.1)
        self.layers = nn.ModuleList([EnvironmentLayer(config) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.width)
        self.dense = nn.Linear(config.width, config.hidden)
        self.output = nn.Linear(config.hidden, 1)
        self.crystal = None if config.pooling == "atomic" else nn.Linear(config.pooled, config.hidden)

    def rounds(self, batch: EnvironmentBatch) -> list[torch.Tensor]:
        """Return the normed features of all atoms after each layer, each of shape (R, width)."""
        atoms = self.embedding(self.features[batch.numbers]) + self.element(batch.numbers)
        found = []
        for layer in self.layers:
            atoms = layer(atoms, batch)
            found.append(self.norm(atoms))
        return found

    def atoms(self, batch: EnvironmentBatch) -> torch.Tensor:
        """Return the features of all atoms after the last layer, shape (R, width)."""
        return self.rounds(batch)[-1]

    def pool(self, atoms: torch.Tensor, batch: EnvironmentBatch) -> torch.Tensor:
        """Return mean and standard deviation of each crystal's dense features, shape (B, 2 x hidden).

        Args:
            atoms: Normed features of all atoms, shape (R, width).
            batch: Their crystals.
        """
        dense = F.silu(self.dense(atoms))
        mean = batch.mean(dense)
        variance = batch.mean(dense.square()) - mean.square()
        return torch.cat([mean, (variance.clamp(min=0.0) + 1e-4).sqrt()], dim=1)

    def embed(self, batch: EnvironmentBatch) -> torch.Tensor:
        """Return mean and standard deviation of each crystal's atoms, shape (B, 2 x hidden)."""
        return self.pool(self.atoms(batch), batch)

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return one number per crystal, shape (B,)."""
        if self.crystal is not None:
            return cast("torch.Tensor", self.output(F.silu(self.crystal(pooled)))).squeeze(1)
        return cast("torch.Tensor", self.output(pooled[:, : self.config.hidden])).squeeze(1)

    def forward(self, batch: EnvironmentBatch) -> torch.Tensor:
        """Return one number per crystal, shape (B,)."""
        return self.head(self.embed(batch))

    def grown(self, degree: int) -> EnvironmentNet:
        """Return a network that takes moments up to a higher degree as well, and gives the same numbers.

        Args:
            degree: Highest degree; what its products add is multiplied by zero.

        Raises:
            InputError: if the degree is below the network's own.
        """
        own = self.config.graph.degree
        if degree < own:
            raise InputError(f"a network of degree {own} cannot be brought to degree {degree}; take {own} or more")
        config = replace(self.config, graph=replace(self.config.graph, degree=degree))
        found = EnvironmentNet(config)
        state = self.state_dict()
        for number, layer in enumerate(found.layers):
            name = f"layers.{number}.mix.weight"
            added = cast("EnvironmentLayer", layer).mix.in_features - state[name].shape[1]
            state[name] = F.pad(state[name], (0, added))
        found.load_state_dict(state)
        return found

    def graph_layers(self) -> nn.ModuleList:
        """Return what comes before pooling."""
        return nn.ModuleList([self.embedding, self.element, self.layers, self.norm, self.dense])
