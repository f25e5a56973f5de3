import numpy as np
import pytest
from skimage import data

from diffcut_ros.core import back_project
from diffcut_ros.media.rgbd_photograph import load_rgbd_photograph


def test_depth_is_that_of_a_workshop():
    photograph = load_rgbd_photograph()
    depth_m = photograph.depth_m
    assert photograph.image_rgb.shape == (*depth_m.shape, 3) == (500, 741, 3)
    assert photograph.camera.size_hw == (500, 741)
    assert (photograph.image_rgb.dtype, depth_m.dtype) == (np.uint8, np.float32)
    assert 2 < np.nanmin(depth_m) < np.nanmax(depth_m) < 6


def test_no_depth_where_there_is_no_disparity():
    disparity = data.stereo_motorcycle()[2]
    depth_m = load_rgbd_photograph().depth_m
    assert np.array_equal(np.isnan(depth_m), ~np.isfinite(disparity))
    assert 0.01 < np.isnan(depth_m).mean() < 0.2
    assert depth_m[250, 370] == pytest.approx(994.978 * 0.193001 / (disparity[250, 370] + 31.086))


def test_the_floor_is_a_plane():
    photograph = load_rgbd_photograph()
    points = back_project(photograph.depth_m, photograph.camera)
    floor = points[430:495:8, 20:320:20].reshape(-1, 3)
    # Below the camera, which looks down a little.
    plane = np.linalg.lstsq(np.column_stack([floor[:, [0, 2]], np.ones(len(floor))]), floor[:, 1], rcond=None)[0]
    assert np.abs(floor[:, [0, 2]] @ plane[:2] + plane[2] - floor[:, 1]).max() < 0.01
    assert abs(plane[0]) < 0.1
    assert -0.4 < plane[1] < 0
    assert plane[2] > 0.3
