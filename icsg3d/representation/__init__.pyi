from .graphs import CrystalGraph, GraphBatch, GraphConfig, GraphSet, crystal_graph
from .segmentation import SegmentationParameters, Sites, segment, segment_batch
from .voxels import VoxelBatch, VoxelConfig, coordinate_channels, lattice_from_coordinates, voxelize

__all__ = [
    "CrystalGraph",
    "GraphBatch",
    "GraphConfig",
    "GraphSet",
    "SegmentationParameters",
    "Sites",
    "VoxelBatch",
    "VoxelConfig",
    "coordinate_channels",
    "crystal_graph",
    "lattice_from_coordinates",
    "segment",
    "segment_batch",
    "voxelize",
]
