import numpy as np
import pytest

from diffcut_ros.core import PinholeCamera, SegmentGeometry
from diffcut_ros.media.boxes import draw_boxes

CAMERA = PinholeCamera(500.0, 500.0, 499.5, 499.5, (1000, 1000))
GRAY = np.full((1000, 1000, 3), 90, np.uint8)
RED, GREEN = [255, 0, 0], [0, 255, 0]


def box(low, high) -> SegmentGeometry:
    return SegmentGeometry(tuple((a + b) / 2 for a, b in zip(low, high, strict=True)), low, high, 1.0)


def drawn(boxes, colors=(RED, GREEN), texts=('', ''), image=GRAY) -> np.ndarray:
    count = len(boxes)
    return draw_boxes(image, CAMERA, boxes, np.array(colors[:count], np.uint8).reshape(-1, 3), texts[:count])


def pixels(image, color) -> np.ndarray:
    """Rows and columns of this colour, [N, 2]; lines are smoothed, so not to the last digit."""
    return np.argwhere((np.abs(image.astype(int) - color) < 50).all(2))


def test_edges_are_where_the_camera_sees_them():
    picture = drawn([box((-0.5, -0.25, 1.0), (0.5, 0.25, 2.0))])
    # Front face: 500 x 250 pixels around the middle; back face half of that, in half the brightness.
    rows, columns = pixels(picture, RED).T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((374.5, 624.5, 249.5, 749.5), abs=2)
    # Along the middle row and column, within the front face, whose smoothed lines have dark shades, too.
    across, down = (
        pixels(picture[499:500, 260:740], [127, 0, 0])[:, 1],
        pixels(picture[385:615, 499:500], [127, 0, 0])[:, 0],
    )
    assert (across[0] + 260, across[-1] + 260) == pytest.approx((374.5, 624.5), abs=2)
    assert (down[0] + 385, down[-1] + 385) == pytest.approx((437, 562), abs=2)
    assert picture[500, 500].tolist() == [90, 90, 90]
    assert np.ptp(picture[:360]) == 0


def test_the_nearest_is_on_top():
    far, near = box((-0.5, -0.5, 4.0), (0.5, 0.5, 5.0)), box((-0.05, -0.5, 1.0), (0.0, 0.5, 1.1))
    for order in ([far, near], [near, far]):
        colors = (RED, GREEN) if order[0] is far else (GREEN, RED)
        picture = drawn(order, colors)
        # The near box's left edge, column 474.5, crosses the upper edge of the far one's front, row 437.
        crossing = picture[435:440, 472:478]
        assert len(pixels(crossing, GREEN)) >= 5
        assert len(pixels(crossing, RED)) == 0


def test_a_box_around_the_camera_ends_at_it():
    picture = drawn([box((-1.0, -1.0, -1.0), (1.0, 1.0, 2.0))])
    assert len(pixels(picture[245:255], [127, 0, 0])) > 500
    rows, columns = pixels(picture, RED).T
    assert len(rows) > 500
    # What is left of the sides runs from the corners of the back face outwards, along the diagonals.
    assert np.abs(np.abs(rows - 499.5) - np.abs(columns - 499.5)).max() < 4
    assert np.abs(rows - 499.5).min() > 240


def test_a_box_behind_the_camera_is_not_drawn():
    behind = SegmentGeometry((0.0, 0.0, -1.5), (-1.0, -1.0, -2.0), (1.0, 1.0, -1.0), 1.0)
    assert np.array_equal(drawn([behind]), GRAY)


def test_texts_have_the_color_of_their_box_and_keep_apart():
    boxes = [box((-0.6, -0.6, 2.0), (0.6, 0.6, 2.0)), box((-0.5, -0.5, 1.0), (0.5, 0.5, 1.0))]
    picture = drawn(boxes, texts=('2.0 m', '1.0 m'))
    middle = picture[480:520, 450:550]
    # Both want the middle: the nearer has it.
    assert len(pixels(middle, GREEN)) > 300
    assert len(pixels(middle, RED)) == 0
    assert len(pixels(drawn(boxes[:1], texts=('2.0 m',))[480:520, 450:550], RED)) > 300


def test_a_larger_image_and_no_box():
    large = np.full((2000, 2000, 3), 90, np.uint8)
    picture = draw_boxes(large, CAMERA, [box((-0.5, -0.25, 1.0), (0.5, 0.25, 1.0))], np.array([RED], np.uint8), [''])
    rows, columns = pixels(picture, RED).T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((749, 1249, 499, 1499), abs=4)
    assert np.array_equal(drawn([]), GRAY)
    assert (GRAY == 90).all()


def test_bad_input():
    with pytest.raises(
        ValueError, match='camera_info of 1000 x 1000 for images of 1000 x 500: expected the same aspect'
    ):
        drawn([], image=GRAY[:500])
    with pytest.raises(ValueError, match='zip'):
        drawn([box((0.0, 0.0, 1.0), (1.0, 1.0, 2.0))], texts=())


@pytest.mark.parametrize(('x', 'y'), [(1.04, 0.0), (-1.04, 0.0), (0.0, 1.04), (1.04, -1.04)])
def test_texts_at_the_edge_are_inside(x, y):
    at = box((x - 0.02, y - 0.02, 1.0), (x + 0.02, y + 0.02, 1.1))
    middle = box((-0.02, -0.02, 1.0), (0.02, 0.02, 1.1))
    # Letters are black on the bright plate of a green box, lines have a black rim: the picture without text has those.
    plates = [(drawn([one], (GREEN,), ('1.0 m',)) != drawn([one], (GREEN,))).any(2).sum() for one in (at, middle)]
    assert plates[0] == pytest.approx(plates[1], rel=0.2)  # lines of the box are under one more than under the other
