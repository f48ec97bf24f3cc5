"""Atoms from species maps: connected components, convexity, watershed, and sub-voxel refinement."""

from __future__ import annotations

from icsg3d.representation.segmentation.algorithm import segment, segment_batch
from icsg3d.representation.segmentation.parameters import SegmentationParameters, Sites

__all__ = ["SegmentationParameters", "Sites", "segment", "segment_batch"]
