"""DBSCAN and K-means on the foreground of species maps, the methods that Court et al. 2020 compared Algorithm S1 with.

Both see the coordinates of the foreground voxels of S_B, in grid spacings, and nothing else; the species of a cluster
is the majority of the species map in it. On a periodic grid both respect periodicity, so that no atom is counted twice
at a face: DBSCAN by distances on the torus, K-means by putting each axis on a circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree
from sklearn.cluster import DBSCAN, KMeans
from sklearn.metrics import silhouette_score

from icsg3d.representation.segmentation import Sites

if TYPE_CHECKING:
    from icsg3d.representation.voxels import VoxelConfig


@dataclass(frozen=True)
class ClusteringParameters:
    """Settings of the clustering methods.

    Attributes:
        neighbour_distance: Distance of neighbours in DBSCAN, in grid spacings; 1.5 takes the 18 voxels that share a
            face or an edge.
        min_neighbours: Neighbours, itself included, that make a voxel the core of a cluster in DBSCAN.
        max_clusters: Largest number of clusters that K-means tries; of 2 to this the one with the highest silhouette
            is taken, as the number of atoms is not known.
        silhouette_voxels: Voxels drawn at random for a silhouette, which costs their number squared.
        seed: Of the initial centres and the drawn voxels.
    """

    neighbour_distance: float = 1.5
    min_neighbours: int = 5
    max_clusters: int = 20
    silhouette_voxels: int = 300
    seed: int = 0


def dbscan_sites(species: np.ndarray, config: VoxelConfig, params: ClusteringParameters) -> Sites:
    """Take each cluster that DBSCAN finds in a species map, shape (G, G, G), as an atom; its noise is left out."""
    coords = np.argwhere(species > 0)
    if len(coords) == 0:
        return _sites(coords, np.zeros(0, dtype=int), species, config)
    tree = KDTree(coords, boxsize=config.grid if config.periodic else None)
    distances = tree.sparse_distance_matrix(tree, params.neighbour_distance, output_type="coo_matrix").tocsr()
    distances.setdiag(0)  # a voxel is its own neighbour
    model = DBSCAN(eps=params.neighbour_distance, min_samples=params.min_neighbours, metric="precomputed")
    return _sites(coords, model.fit_predict(distances), species, config)


def kmeans_sites(species: np.ndarray, config: VoxelConfig, params: ClusteringParameters) -> Sites:
    """Take each of the K-means clusters of a species map, shape (G, G, G), as an atom, K by the silhouette."""
    coords = np.argwhere(species > 0)
    points = _on_circles(coords, config.grid) if config.periodic else coords.astype(float)
    best, best_score = np.zeros(len(coords), dtype=int), -np.inf
    sample = min(len(coords), params.silhouette_voxels)
    for clusters in range(2, min(params.max_clusters, sample - 1) + 1):
        labels = KMeans(clusters, n_init=1, random_state=params.seed).fit_predict(points)
        score = silhouette_score(points, labels, sample_size=sample, random_state=params.seed)
        if score > best_score:
            best, best_score = labels, score
    return _sites(coords, best, species, config)


def _on_circles(coords: np.ndarray, grid: int) -> np.ndarray:
    """Return points on a product of three circles, shape (V, 6), for small distances as far apart as on the grid."""
    angles = coords * (2 * np.pi / grid)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * (grid / (2 * np.pi))


def _sites(coords: np.ndarray, labels: np.ndarray, species: np.ndarray, config: VoxelConfig) -> Sites:
    """Return one atom for each label that is not negative: majority of species, centroid, number of voxels."""
    axis = config.axis()
    numbers, centres, sizes = [], [], []
    for label in np.unique(labels[labels >= 0]):
        own = coords[labels == label]
        numbers.append(np.bincount(species[tuple(own.T)]).argmax())
        sizes.append(len(own))
        if config.periodic:
            phase = np.exp(2j * np.pi * own / config.grid).mean(axis=0)
            centres.append(np.angle(phase) / (2 * np.pi) % 1.0)
        else:
            centres.append(axis[0] + own.mean(axis=0) * (axis[1] - axis[0]))
    return Sites(np.array(numbers, dtype=int), np.array(centres).reshape(-1, 3), np.array(sizes, dtype=int))
