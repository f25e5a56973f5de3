import numpy as np
import pytest

from diffcut_ros.media.heat_map import draw_heat_map


def test_brightness_follows_the_values():
    image = np.full((30, 40, 3), 100, np.uint8)
    values = np.array([[0.2, 0.2, 0.4, 0.9], [0.2, 0.2, 0.4, 0.9], [0.2, 0.2, 0.4, 0.9]])
    drawn = draw_heat_map(image, values)
    brightness = drawn[15, 3::10].astype(int).sum(1)
    assert brightness[0] == brightness[1] < brightness[2] < brightness[3]
    assert drawn.dtype == np.uint8
    assert (image == 100).all()


def test_limits_are_those_of_several_maps():
    """The same value has the same colour; what is beyond the limits has theirs."""
    image = np.full((30, 40, 3), 100, np.uint8)
    drawn = [
        draw_heat_map(image, np.array([values]), limits=(0.0, 1.0))[0, [2, -2]]
        for values in ((0.0, 0.5), (0.5, 1.0), (-3.0, 3.0))
    ]
    assert np.array_equal(drawn[0][1], drawn[1][0])
    assert np.array_equal(drawn[2], [drawn[0][0], drawn[1][1]])


def test_the_image_shows_through():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:10] = 200
    drawn = draw_heat_map(image, np.zeros((2, 2)))
    assert (drawn[0].astype(int) - drawn[19]).min() > 50
    assert np.array_equal(draw_heat_map(image, np.zeros((2, 2)), opacity=0.0), image)


def test_marks_the_centre_of_a_cell():
    image = np.zeros((30, 40, 3), np.uint8)
    values = np.zeros((3, 4))
    drawn = draw_heat_map(image, values, marked=(1, 3))
    changed = (drawn != draw_heat_map(image, values)).any(2)
    assert changed[15, 35]
    assert not changed[:10].any()
    assert not changed[20:].any()
    assert not changed[:, :29].any()


@pytest.mark.parametrize('cell', [(-1, 0), (3, 0), (0, 4)])
def test_a_cell_that_is_not_there(cell):
    with pytest.raises(ValueError, match=r'marked: expected \(row, column\) within a grid of 3 x 4 cells'):
        draw_heat_map(np.zeros((30, 40, 3), np.uint8), np.zeros((3, 4)), marked=cell)


def test_values_that_are_not_finite():
    with pytest.raises(ValueError, match='values: expected a finite array'):
        draw_heat_map(np.zeros((30, 40, 3), np.uint8), np.full((3, 4), np.nan))
