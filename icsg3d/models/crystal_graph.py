"""Crystal-graph networks: from a batch of graphs to one number per crystal.

Only real atoms and real neighbours enter a computation: the padded batch is packed into lists of both first, so that
padding cannot matter to sums, means or batch norms (Supporting Information of Court et al. 2020, sections 2.2 to 2.5,
multiplies by masks after each step to the same effect).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import nn

from icsg3d.crystals.elements import N_CLASSES, graph_features
from icsg3d.errors import InputError
from icsg3d.representation.graphs import GraphConfig

if TYPE_CHECKING:
    from icsg3d.representation.graphs import GraphBatch

GraphPreset = Literal["paper", "cgcnn", "gated"]

_GAUSSIANS = 41
_GAUSSIAN_STEP = 0.2
"""Angstrom; the Gaussians of an edge stand at 0, 0.2, ... 8, and this is their width too."""


@dataclass(frozen=True)
class CrystalGraphConfig:
    """Sizes of a crystal-graph network.

    Attributes:
        convolution: ``cgcnn``, the gated convolution of Xie and Grossman, or ``gated``, ours with edges that learn.
        layers: Graph convolutions.
        width: Features of an atom.
        hidden: Features of the dense layer after pooling.
        dropout: Share of the pooled features that is hidden while training.
        node_features: Length of the elements' feature vectors.
        graph: Which atoms are neighbours.
    """

    convolution: Literal["cgcnn", "gated"] = "gated"
    layers: int = 4
    width: int = 96
    hidden: int = 128
    dropout: float = 0.0
    node_features: int = 92
    graph: GraphConfig = field(default_factory=GraphConfig)

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "layers": (1, 64),
        "width": (1, 16_384),
        "hidden": (1, 16_384),
        "dropout": (0, 1),
        "node_features": (1, 16_384),
    }

    @property
    def pooled(self) -> int:
        """Features of a crystal."""
        return self.width

    @classmethod
    def preset(cls, name: GraphPreset, **changes: Any) -> CrystalGraphConfig:
        """Return named sizes.

        Args:
            name: ``paper`` (one convolution), ``cgcnn`` (the official network of Xie and Grossman) or ``gated``.
            changes: Fields that differ.

        Raises:
            InputError: if there is no such preset.
        """
        presets = {
            "paper": cls("cgcnn", layers=1, width=64, hidden=128),
            "cgcnn": cls("cgcnn", layers=3, width=64, hidden=32),
            "gated": cls(),
        }
        if name not in presets:
            msg = f"there is no preset {name!r}; there are {', '.join(presets)}"
            raise InputError(msg)
        return replace(presets[name], **changes)


@dataclass(frozen=True)
class _Packed:
    """The real atoms and edges of a batch.

    Attributes:
        numbers: Atomic numbers, shape (R,).
        crystals: Crystal of each atom, shape (R,).
        centres: Atom that an edge belongs to, shape (E,).
        neighbours: Atom that an edge comes from, shape (E,).
        distances: Lengths of the edges, shape (E,).
        weights: Weights of the edges, shape (E, 1).
        size: Number of crystals.
    """

    numbers: torch.Tensor
    crystals: torch.Tensor
    centres: torch.Tensor
    neighbours: torch.Tensor
    distances: torch.Tensor
    weights: torch.Tensor
    size: int

    @classmethod
    def of(cls, batch: GraphBatch) -> _Packed:
        nodes, edges = batch.node_mask, batch.neighbour_mask
        row = (nodes.flatten().cumsum(0) - 1).view(nodes.shape)
        crystal, atom, place = edges.nonzero(as_tuple=True)
        return cls(
            batch.numbers[nodes],
            nodes.nonzero(as_tuple=True)[0],
            row[crystal, atom],
            row[crystal, batch.neighbours[crystal, atom, place]],
            batch.distances[edges],
            batch.weights[edges][:, None],
            len(batch),
        )

    def sum_of_edges(self, messages: torch.Tensor) -> torch.Tensor:
        """Add up the edges of each atom: (E, F) to (R, F)."""
        return messages.new_zeros(len(self.numbers), messages.shape[1]).index_add(0, self.centres, messages)

    def mean_of_atoms(self, nodes: torch.Tensor) -> torch.Tensor:
        """Average the atoms of each crystal: (R, F) to (B, F)."""
        total = nodes.new_zeros(self.size, nodes.shape[1]).index_add(0, self.crystals, nodes)
        return total / torch.bincount(self.crystals, minlength=self.size)[:, None]


class CGCNNConvolution(nn.Module):
    """The convolution of Xie and Grossman (2018, equation 5), with its two batch norms over real rows only.

    The linear map of atom, neighbour and edge features is split into three, so that atoms are mapped once and not once
    per edge.
    """

    def __init__(self, width: int, edge_features: int) -> None:
        super().__init__()
        self.centre = nn.Linear(width, 2 * width)
        self.neighbour = nn.Linear(width, 2 * width, bias=False)
        self.edge = nn.Linear(edge_features, 2 * width, bias=False)
        self.message_norm = nn.BatchNorm1d(2 * width)
        self.node_norm = nn.BatchNorm1d(width)

    def forward(self, nodes: torch.Tensor, edges: torch.Tensor, packed: _Packed) -> tuple[torch.Tensor, torch.Tensor]:
        """Return new features of atoms, shape (R, F), and the edges as they were."""
        mixed = self.edge(edges)
        mixed = mixed + F.embedding(packed.centres, self.centre(nodes))
        mixed = mixed + F.embedding(packed.neighbours, self.neighbour(nodes))
        gate, core = self.message_norm(mixed).chunk(2, dim=1)
        summed = packed.sum_of_edges(packed.weights * torch.sigmoid(gate) * F.softplus(core))
        return F.softplus(nodes + self.node_norm(summed)), edges


class GatedConvolution(nn.Module):
    """A residual convolution in which edges learn too and their gates share out the neighbours' messages.

    The gated graph convolution of Bresson and Laurent (2017) as used for crystals by Choudhary and DeCost (2021), with
    layer norms, which know of no batch.

    Args:
        width: Features of an atom, and of an edge.
        last: Whether no layer follows, so that the edges need not learn.
    """

    def __init__(self, width: int, *, last: bool) -> None:
        super().__init__()
        self.centre = nn.Linear(width, width)
        self.neighbour = nn.Linear(width, 2 * width)
        self.edge = nn.Linear(width, width)
        self.own = nn.Linear(width, width)
        self.edge_norm = None if last else nn.LayerNorm(width)
        self.node_norm = nn.LayerNorm(width)

    def forward(self, nodes: torch.Tensor, edges: torch.Tensor, packed: _Packed) -> tuple[torch.Tensor, torch.Tensor]:
        """Return new features of atoms, shape (R, F), and of edges, shape (E, F)."""
        key, value = F.embedding(packed.neighbours, self.neighbour(nodes)).chunk(2, dim=1)
        mixed = self.edge(edges) + F.embedding(packed.centres, self.centre(nodes)) + key
        gates = packed.weights * torch.sigmoid(mixed)
        shared = packed.sum_of_edges(gates * value) / (packed.sum_of_edges(gates) + 1e-3)
        nodes = nodes + F.silu(self.node_norm(self.own(nodes) + shared))
        return nodes, edges if self.edge_norm is None else edges + F.silu(self.edge_norm(mixed))


class CrystalGraphNet(nn.Module):
    """A crystal-graph network.

    Args:
        config: Sizes.
    """

    def __init__(self, config: CrystalGraphConfig) -> None:
        super().__init__()
        self.config = config
        self.features: torch.Tensor
        self.register_buffer("features", torch.zeros(N_CLASSES, config.node_features))
        published = torch.tensor(graph_features())
        if published.shape == self.features.shape:
            self.features.copy_(published)
        self.centres: torch.Tensor
        self.register_buffer("centres", torch.arange(_GAUSSIANS) * _GAUSSIAN_STEP, persistent=False)
        self.embedding = nn.Linear(config.node_features, config.width)
        if config.convolution == "cgcnn":
            self.edge_embedding: nn.Module = nn.Identity()
            layers: list[nn.Module] = [CGCNNConvolution(config.width, _GAUSSIANS) for _ in range(config.layers)]
        else:
            self.edge_embedding = nn.Sequential(nn.Linear(_GAUSSIANS, config.width), nn.SiLU())
            layers = [GatedConvolution(config.width, last=n == config.layers - 1) for n in range(config.layers)]
        self.convolutions = nn.ModuleList(layers)
        self.dense = nn.Linear(config.width, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, 1)

    def embed(self, batch: GraphBatch) -> torch.Tensor:
        """Return the mean of each crystal's atoms after the convolutions, shape (B, width)."""
        packed = _Packed.of(batch)
        nodes = self.embedding(self.features[packed.numbers])
        offsets = packed.distances[:, None] - self.centres
        edges = self.edge_embedding(torch.exp(-(offsets / _GAUSSIAN_STEP).square()))
        if self.config.convolution == "gated":
            # Gates share out messages, so distances cancel where all neighbours are alike, unless atoms know them.
            nodes = nodes + packed.sum_of_edges(packed.weights * edges) / packed.sum_of_edges(packed.weights)
        for layer in self.convolutions:
            nodes, edges = layer(nodes, edges, packed)
        return packed.mean_of_atoms(nodes)

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return one number per crystal, shape (B,), of the pooled atoms, shape (B, width)."""
        hidden = F.softplus(self.dense(F.softplus(self.dropout(pooled))))
        return cast("torch.Tensor", self.output(hidden)).squeeze(1)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return one number per crystal, shape (B,)."""
        return self.head(self.embed(batch))

    def graph_layers(self) -> nn.ModuleList:
        """Return what comes before pooling: embeddings and convolutions."""
        return nn.ModuleList([self.embedding, self.edge_embedding, self.convolutions])
