import numpy as np
import pytest

from diffcut_ros.media.virtual_camera import PHOTOGRAPHS, load_photograph, render_view, view_matrix


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
