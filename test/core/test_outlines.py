"""Outlines of segments and places for their names."""

import cv2
import numpy as np
import pytest

from diffcut_ros.core import Segmentation
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.core.outlines import outlines, places

LEAST_POINTS = 6


def segmentation(regions: np.ndarray) -> Segmentation:
    """A segment for each region 0, 1, ..."""
    return describe_segments(regions, np.full((int(regions.max()) + 1, 8), 0.3, np.float32), 0, 0.5)


def corners(points: np.ndarray) -> set[tuple[float, float]]:
    return {tuple(point) for point in points.tolist()}


def test_outlines_run_through_the_middles_of_the_outermost_pixels():
    regions = np.zeros((12, 20), np.uint8)
    regions[2:8, 3:15] = 1
    _, [outline] = outlines(segmentation(regions), 64)
    assert corners(outline) == {(3.5, 2.5), (14.5, 2.5), (14.5, 7.5), (3.5, 7.5)}


@pytest.mark.parametrize('rows', [slice(4, 5), slice(4, 6), slice(4, 9)])
def test_a_pixel_and_a_line_have_outlines_around_them(rows):
    regions = np.zeros((12, 20), np.uint8)
    regions[rows, 7] = 1
    _, [outline] = outlines(segmentation(regions), 64)
    assert corners(outline) == {(x, y) for x in (7, 8) for y in (rows.start, rows.stop)}


def test_a_zigzag_line_has_an_outline_with_an_inside():
    x = np.arange(400)
    regions = np.zeros((12, 402), np.uint8)
    regions[4 + np.abs(x % 4 - 2), x] = 1
    _, [outline] = outlines(segmentation(regions), 64)
    assert 3 <= len(outline) <= 64
    assert cv2.contourArea(outline) > 400


def test_parts_have_outlines_of_their_own_and_holes_none():
    regions = np.zeros((40, 60), np.uint8)
    regions[10:20, 10:20] = regions[25:35, 40:50] = 1
    whole, parts = outlines(segmentation(regions), 64)
    assert [corners(one) for one in whole] == [{(0.5, 0.5), (59.5, 0.5), (59.5, 39.5), (0.5, 39.5)}]
    assert sorted(tuple(one.min(0)) for one in parts) == [(10.5, 10.5), (40.5, 25.5)]


@pytest.mark.parametrize('most', [LEAST_POINTS, 20, 64])
def test_a_ragged_outline_keeps_to_its_points_and_to_its_segment(most):
    y, x = np.mgrid[:300, :400]
    angle = np.arctan2(y - 150, x - 200)
    inside = np.hypot(y - 150, x - 200) < 110 + 12 * np.sin(40 * angle)
    _, [outline] = outlines(segmentation(inside.astype(np.uint8)), most)
    assert 3 <= len(outline) <= most
    filled = np.zeros(inside.shape, np.uint8)
    cv2.fillPoly(filled, [np.rint(outline - 0.5).astype(np.int32)], 1)
    shared = (filled.astype(bool) & inside).sum() / (filled.astype(bool) | inside).sum()
    assert shared > {LEAST_POINTS: 0.7, 20: 0.8, 64: 0.85}[most]


@pytest.mark.parametrize('side', [30, 8])
def test_the_circle_around_a_place_is_inside(side):
    """Of squares in random order, and of a large one; more than 255 segments with the small squares."""
    y, x = np.mgrid[:200, :300]
    squares = y // side * 100 + x // side + 1
    squares[:, 140:] = 0
    regions = np.unique(squares, return_inverse=True)[1].reshape(200, 300)
    found = segmentation(np.random.default_rng(3).permutation(regions.max() + 1)[regions])
    middles, radii = places(found)
    for label, middle, radius in zip(found.segments.label, middles, radii, strict=True):
        assert (found.labels[np.hypot(x + 0.5 - middle[0], y + 0.5 - middle[1]) <= radius] == label).all()
    large = found.labels[0, -1] - 1
    assert radii[large] > 75
    assert np.allclose(middles[large, 0], 220, atol=6)
    assert np.median(radii) == (side - 1) // 2
