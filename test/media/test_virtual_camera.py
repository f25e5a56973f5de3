import numpy as np
import pytest

from diffcut_ros.core import back_project
from diffcut_ros.media.rgbd_photograph import load_rgbd_photograph
from diffcut_ros.media.virtual_camera import (
    PHOTOGRAPHS,
    load_photograph,
    render_depth,
    render_view,
    view_camera,
    view_matrix,
)


@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_the_view_never_leaves_the_photograph(name):
    photo = load_photograph(name)
    height, width = photo.shape[:2]
    corners = np.array([[0, 0, 1], [639, 0, 1], [0, 479, 1], [639, 479, 1]]).T
    for time_s in np.linspace(0, 100, 301):
        x, y = view_matrix(time_s, (height, width), (480, 640)) @ corners
        assert -0.51 <= x.min() <= x.max() <= width - 0.49
        assert -0.51 <= y.min() <= y.max() <= height - 0.49


def test_the_matrix_says_what_a_view_pixel_shows():
    # A photograph whose colours are its coordinates.
    yy, xx = np.mgrid[:200, :250]
    photo = np.stack([xx, yy, np.zeros_like(xx)], 2).astype(np.uint8)
    matrix = view_matrix(3.3, (200, 250), (60, 80))
    view = render_view(photo, matrix, (60, 80))
    for x, y in ((0, 0), (79, 0), (40, 30), (79, 59)):
        assert np.abs(view[y, x, :2] - matrix @ (x, y, 1)).max() < 1


def test_it_moves():
    assert not np.allclose(view_matrix(0.0, (400, 600), (480, 640)), view_matrix(1.0, (400, 600), (480, 640)))


def test_unknown_photograph():
    with pytest.raises(ValueError, match=r"expected one of coffee, .*received 'moon'"):
        load_photograph('moon')


def test_a_view_shows_the_same_points_in_space():
    rgbd = load_rgbd_photograph()
    everywhere = back_project(rgbd.depth_m, rgbd.camera)
    size_hw = (240, 320)
    for time_s in (0.0, 3.7):
        matrix = view_matrix(time_s, rgbd.depth_m.shape, size_hw)
        points = back_project(render_depth(rgbd.depth_m, matrix, size_hw), view_camera(rgbd.camera, matrix, size_hw))
        for row, column in ((0, 0), (120, 160), (239, 319)):
            x, y = np.rint(matrix @ [column, row, 1]).astype(int)
            seen, expected = points[row, column], everywhere[y, x]
            # Rays of pixels half a pixel apart.
            assert np.allclose(seen, expected, atol=expected[2] / rgbd.camera.fx, equal_nan=True)
