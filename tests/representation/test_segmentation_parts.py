from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from icsg3d.representation.segmentation.components import label_regions
from icsg3d.representation.segmentation.convexity import convexity, is_convex


def test_components_of_a_box_are_those_of_scipy():
    keys = (np.random.default_rng(1).random((3, 12, 12, 12)) < 0.3).astype(int)
    regions = label_regions(keys, periodic=False)
    assert len(regions) == sum(ndimage.label(one)[1] for one in keys)
    assert len(label_regions(keys, periodic=True)) < len(regions)


def test_components_are_unwrapped():
    keys = np.zeros((1, 8, 8, 8), dtype=int)
    keys[0, [6, 7, 0, 1], 3, 3] = 5
    regions = label_regions(keys, periodic=True)
    assert len(regions) == 1
    assert sorted(regions.coords[:, 0]) == [6, 7, 8, 9]
    assert regions.centroids().tolist() == [[7.5, 3, 3]]


def test_convexity_of_known_bodies():
    grid = np.argwhere(np.ones((5, 5, 5), dtype=bool))
    ball = grid[((grid - 2) ** 2).sum(axis=1) <= 5]
    assert convexity(ball) == 1.0
    # Two arms of a corner, 9 voxels; its hull, the triangle (0,0) (4,0) (0,4), has 15 points a layer.
    corner = np.array([(x, y, z) for x in range(5) for y in range(5) for z in range(2) if x * y == 0])
    assert convexity(corner) == pytest.approx(9 / 15)
    both = np.concatenate([ball, corner])
    assert is_convex(both, np.array([0, len(ball)]), 0.7).tolist() == [True, False]
    assert is_convex(both, np.array([0, len(ball)]), 0.59).tolist() == [True, True]
