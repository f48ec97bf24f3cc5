"""The graph network of Xie and Grossman as published, rendered plainly: the reference of :mod:`benchmarks.properties`.

Code of our own after the article and its Supporting Information: pymatgen's neighbours sorted in a Python loop over
sites and cut after the twelfth, atom, neighbour and edge features concatenated before each linear map.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from icsg3d.crystals.elements import graph_features
from icsg3d.representation.graphs import CrystalGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

NEIGHBOURS, CUTOFF = 12, 8.0
_CENTRES = np.arange(0.0, 8.01, 0.2)


def plain_graph(structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return neighbour indices and distances, each (N, 12), and Gaussians of the distances, (N, 12, 41)."""
    indices, distances = [], []
    for neighbours in structure.get_all_neighbors(CUTOFF, include_index=True):
        nearest = sorted(neighbours, key=lambda neighbour: neighbour.nn_distance)[:NEIGHBOURS]
        missing = NEIGHBOURS - len(nearest)
        indices.append([neighbour.index for neighbour in nearest] + [0] * missing)
        distances.append([neighbour.nn_distance for neighbour in nearest] + [CUTOFF + 1] * missing)
    spread = np.array(distances)
    return np.array(indices), spread, np.exp(-(((spread[..., None] - _CENTRES) / 0.2) ** 2))


def cut_graph(structure: Structure) -> CrystalGraph:
    """Return the graph of twelve neighbours whatever shell they cut, for the package's network."""
    indices, distances, _ = plain_graph(structure)
    count = len(structure)
    return CrystalGraph(
        np.array([site.specie.Z for site in structure]),
        np.repeat(np.arange(count), NEIGHBOURS),
        indices.ravel(),
        distances.ravel().astype(np.float32),
        np.ones(count * NEIGHBOURS, dtype=np.float32),
    )


class PlainConvolution(nn.Module):
    """Equation 5 of the article with the batch norms of the published code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.full = nn.Linear(2 * width + len(_CENTRES), 2 * width)
        self.first_norm, self.second_norm = nn.BatchNorm1d(2 * width), nn.BatchNorm1d(width)

    def forward(self, nodes: torch.Tensor, edges: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
        """Return new features of atoms."""
        count, degree = neighbours.shape
        own = nodes[:, None].expand(count, degree, -1)
        mixed = self.full(torch.cat([own, nodes[neighbours], edges], dim=2))
        gate, core = self.first_norm(mixed.flatten(0, 1)).view(mixed.shape).chunk(2, dim=2)
        summed = (torch.sigmoid(gate) * F.softplus(core)).sum(1)
        return F.softplus(nodes + self.second_norm(summed))


class PlainCGCNN(nn.Module):
    """The published network: three convolutions of 64 features, 128 after pooling."""

    def __init__(self, layers: int = 3, width: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Linear(92, width)
        self.layers = nn.ModuleList([PlainConvolution(width) for _ in range(layers)])
        self.dense, self.output = nn.Linear(width, hidden), nn.Linear(hidden, 1)

    def forward(
        self, features: torch.Tensor, edges: torch.Tensor, neighbours: torch.Tensor, sizes: list[int]
    ) -> torch.Tensor:
        """Return one number per crystal."""
        nodes = self.embedding(features)
        for layer in self.layers:
            nodes = layer(nodes, edges, neighbours)
        pooled = torch.stack([part.mean(0) for part in nodes.split(sizes)])
        return self.output(F.softplus(self.dense(F.softplus(pooled)))).squeeze(1)


class PlainData:
    """Crystals as the plain network takes them, made once."""

    def __init__(self, structures: Sequence[Structure]) -> None:
        table = graph_features()
        self.parts = []
        for structure in structures:
            indices, _, gaussians = plain_graph(structure)
            numbers = [site.specie.Z for site in structure]
            self.parts.append(
                (
                    torch.tensor(table[numbers]),
                    torch.tensor(gaussians, dtype=torch.float32),
                    torch.tensor(indices),
                )
            )

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
        """Put crystals one after another, neighbours counted on."""
        chosen = [self.parts[row] for row in rows]
        sizes = [len(features) for features, _, _ in chosen]
        starts = np.cumsum([0, *sizes[:-1]])
        neighbours = torch.cat([n + int(start) for (_, _, n), start in zip(chosen, starts, strict=True)])
        return torch.cat([c[0] for c in chosen]), torch.cat([c[1] for c in chosen]), neighbours, sizes


def train_plain(
    data: PlainData,
    values: np.ndarray,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    seed: int,
    epochs: int = 30,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
) -> tuple[float, float]:
    """Train the plain network with Adam; return its test error at the best validation epoch, and seconds an epoch."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    training, validation, test = parts
    mean, scale = values[training].mean(), values[training].std()
    targets = torch.tensor((values - mean) / scale, dtype=torch.float32)
    network = PlainCGCNN()
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)

    def error(rows: np.ndarray) -> float:
        network.eval()
        with torch.no_grad():
            found = torch.cat([network(*data.batch(rows[s : s + 256])) for s in range(0, len(rows), 256)])
        network.train()
        return float((found - targets[rows]).abs().mean() * scale)

    best, chosen, seconds = np.inf, np.nan, 0.0
    for _ in range(epochs):
        begin = time.perf_counter()
        order = random.permutation(training)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            loss = F.mse_loss(network(*data.batch(rows)), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds += time.perf_counter() - begin
        if (judged := error(validation)) < best:
            best, chosen = judged, error(test)
    return chosen, seconds / epochs
