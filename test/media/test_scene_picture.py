import numpy as np
import pytest

from diffcut_ros.core import PinholeCamera, SegmentGeometry, locate_segments
from diffcut_ros.core.colors import segment_colors
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.media.overlay import track_colors
from diffcut_ros.media.scene_picture import draw_scene
from diffcut_ros.media.top_view import draw_top_view

WHITE, RED = [255, 255, 255], [255, 0, 0]


def has(image: np.ndarray, color) -> np.ndarray:
    """Where an image has a colour; lines are smoothed, so not to the last digit."""
    return (np.abs(image.astype(int) - color) < 40).all(2)


def shown(segmentation):
    return segmentation.labels, track_colors(segmentation.segments)


def test_top_view_is_to_scale():
    # Two high points and a box of 1 x 0.5 m between them; 2 m wide in 224 - 2 * 12 pixels.
    points = np.array([(-1, -1, 1), (1, -1, 2)], np.float32)
    box = SegmentGeometry((0.0, 0.0, 1.5), (-0.5, 0.0, 1.25), (0.5, 1.0, 1.75), 1.0)
    view = draw_top_view(
        points, np.array([WHITE, WHITE], np.uint8), [box], np.array([RED], np.uint8), size_hw=(224, 224)
    )
    assert view.shape == (224, 224, 3)
    rows, columns = np.nonzero(has(view, WHITE))
    # Near is below, far above.
    assert sorted(zip(columns.tolist(), rows.tolist(), strict=True))[0] == pytest.approx((12, 162), abs=2)
    assert sorted(zip(columns.tolist(), rows.tolist(), strict=True))[-1] == pytest.approx((213, 63), abs=2)
    rows, columns = np.nonzero(has(view, RED))
    assert (np.ptp(columns), np.ptp(rows)) == pytest.approx((100, 50), abs=2)


def test_top_view_shows_the_highest_point():
    # y points down: the second is higher.
    points = np.array([(0, 1, 1), (0, -1, 1), (1, 0, 2)], np.float32)
    view = draw_top_view(
        points, np.array([RED, WHITE, [0, 0, 255]], np.uint8), [], np.empty((0, 3), np.uint8), (100, 100)
    )
    assert has(view, WHITE).any()
    assert not has(view, RED).any()


def test_top_view_without_points():
    view = draw_top_view(
        np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), [], np.empty((0, 3), np.uint8), (10, 20)
    )
    assert view.shape == (10, 20, 3)
    assert np.ptp(view) == 0


def test_scene_shows_what_is_handy_in_color():
    labels = np.zeros((60, 80), np.int64)
    labels[20:40, 30:50] = 1
    depth_m = np.where(labels == 1, 1.0, 4.0).astype(np.float32)
    camera = PinholeCamera(80, 80, 39.5, 29.5, (60, 80))
    segmentation = describe_segments(labels, np.full((2, 8), 0.3, np.float32), 0, 0.5)
    geometries = locate_segments(segmentation.labels, depth_m, camera, 2)
    image = np.full((60, 80, 3), 100, np.uint8)
    picture = draw_scene(image, depth_m, camera, *shown(segmentation), geometries)
    assert picture.shape == (720, 960 + 540, 3)
    # Enlarged 12 times: the box covers 240 x 240 pixels around the middle; the wall of 4 x 3 m is gray, without box.
    color = segment_colors(2)[2]
    rows, columns = np.nonzero(has(picture[:, :960], color))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((240, 480, 360, 600), abs=14)
    assert np.ptp(picture[100, 100]) == 0
    assert np.ptp(picture[300, 400]) > 40
    assert not has(picture, segment_colors(1)[1]).any()
    assert has(picture[:, 960:], color).any()
    # All of it, where there is no limit.
    assert has(draw_scene(image, depth_m, camera, *shown(segmentation), geometries, 10.0), segment_colors(1)[1]).any()


def test_scene_without_depth():
    labels = np.zeros((60, 80), np.int64)
    segmentation = describe_segments(labels, np.full((1, 8), 0.3, np.float32), 0, 0.5)
    depth_m = np.full((30, 40), np.nan, np.float32)
    camera = PinholeCamera(80, 80, 39.5, 29.5, (60, 80))
    picture = draw_scene(np.full((60, 80, 3), 100, np.uint8), depth_m, camera, *shown(segmentation), (None,))
    assert picture.shape == (720, 1500, 3)
    assert np.ptp(picture[:, :960]) == 0
