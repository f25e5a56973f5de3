import numpy as np
import pytest
from skimage import data

from diffcut_ros.core.motion import carry_segments, thumbnail
from diffcut_ros.media.virtual_camera import render_view

VIEW_HW = (240, 320)


def view(x: float, y: float, scale: float = 1.0, photo: np.ndarray | None = None) -> np.ndarray:
    """Return what a camera sees from there, in photograph pixels."""
    photo = data.astronaut() if photo is None else photo
    return render_view(photo, np.array([[scale, 0, x], [0, scale, y]]), VIEW_HW)


def tiles(x: float, y: float, scale: float = 1.0) -> np.ndarray:
    """Return the tile of 40 x 40 photograph pixels that each pixel of a view shows, 0 to 168, uint16 [H, W]."""
    rows, columns = np.indices(VIEW_HW)
    return (13 * ((y + scale * rows) // 40) + (x + scale * columns) // 40).astype(np.uint16)


@pytest.mark.parametrize('there', [(100, 100, 1.0), (104, 97, 1.0), (118, 92, 1.0), (100, 100, 0.94), (101, 105, 1.05)])
def test_segments_move_with_the_camera(there):
    before, after = view(100, 100), view(*there)
    found, expected = carry_segments(tiles(100, 100), before, after), tiles(*there).astype(int)
    both = carry_segments(np.stack([tiles(100, 100), 3 * tiles(100, 100)]), before, after)
    assert np.array_equal(both[0], found)
    assert np.array_equal(both[1][found >= 0], 3 * found[found >= 0])
    assert found.shape == VIEW_HW
    assert found.dtype == np.int32
    x, y, scale = there
    rows, columns = np.indices(VIEW_HW)
    row, column = y + scale * rows - 100, x + scale * columns - 100
    inside = (row >= 0) & (row < VIEW_HW[0] - 1) & (column >= 0) & (column < VIEW_HW[1] - 1)
    assert (found == expected)[inside].mean() > 0.94
    # Of what was out of view some gets the segment beside it, where motion ends a pixel or two too early.
    assert ((found < 0) | (found == expected))[~inside].sum() >= 0.75 * (~inside).sum()


def test_what_appears_belongs_to_no_segment():
    photo = data.astronaut().copy()
    photo[180:260, 200:280] = 255 - photo[180:260, 200:280]
    found = carry_segments(tiles(100, 100), view(100, 100), view(103, 101, photo=photo))
    appeared = np.zeros(VIEW_HW, bool)
    appeared[79:159, 97:177] = True
    assert (found[appeared] < 0).mean() > 0.7
    assert (found[~appeared] < 0).mean() < 0.1


def test_a_thumbnail_is_all_that_is_needed():
    before, after = np.repeat(np.repeat(view(100, 100), 3, 0), 3, 1), np.repeat(np.repeat(view(104, 97), 3, 0), 3, 1)
    segments = np.repeat(np.repeat(tiles(100, 100), 3, 0), 3, 1)
    small = thumbnail(before)
    assert small.shape == (240, 320)
    assert small is thumbnail(small)
    found = carry_segments(segments, before, after)
    assert np.array_equal(carry_segments(segments, small, after), found)
    assert np.array_equal(found, carry_segments(segments, before, after))
    assert (found == np.repeat(np.repeat(tiles(104, 97), 3, 0), 3, 1)).mean() > 0.9


def test_images_of_another_size_have_nothing_in_common():
    image = view(100, 100)
    assert (carry_segments(tiles(0, 0)[:-1], image[:-1], image) == -1).all()


@pytest.mark.parametrize('size_hw', [(1, 1), (1, 900), (900, 1), (3, 5), (31, 64), (640, 360)])
def test_images_of_any_size(size_hw):
    image = np.random.default_rng(0).integers(0, 255, (*size_hw, 3), np.uint8)
    segments = np.full(size_hw, 65534, np.uint16)
    assert (carry_segments(segments, image, image) == 65534).all()
