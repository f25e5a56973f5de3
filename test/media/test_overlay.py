from dataclasses import replace

import cv2
import numpy as np
import pytest

from diffcut_ros.core.colors import segment_colors
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.core.outlines import places
from diffcut_ros.media.overlay import draw_overlay, track_colors, track_names, write_names, write_text
from support.scenes import quadrants


def test_colors_are_distinct_and_the_same_whatever_the_count():
    colors = segment_colors(40)
    assert colors[0].tolist() == [0, 0, 0]
    assert len(np.unique(colors, axis=0)) == 41
    assert np.array_equal(segment_colors(5), colors[:6])


def test_numbers_that_are_close_have_other_lightnesses():
    lightness = cv2.cvtColor(np.float32(segment_colors(200)[None, 1:] / 255), cv2.COLOR_RGB2LAB)[0, :, 0]
    for apart in (1, 2):
        assert np.abs(lightness[apart:] - lightness[:-apart]).min() > 20


def test_a_track_keeps_its_color_and_a_label_has_its_own():
    labels = quadrants(4, 4)[1]
    segments = describe_segments(labels, np.full((4, 8), 0.3, np.float32), 0, 0.5).segments
    colors = track_colors(replace(segments, track_id=np.array([3, 0, 1, 54321])))
    assert colors.dtype == np.uint8
    assert np.array_equal(colors[:3], segment_colors(3)[[3, 2, 1]])
    assert colors[3].any()
    assert track_colors(segments[:0]).shape == (0, 3)


def test_blends_borders_and_none():
    image, labels = quadrants(8, 8)
    labels = labels.astype(np.uint8)  # 0 = none is the upper left quadrant
    drawn = draw_overlay(image, labels, segment_colors(3)[1:], opacity=0.5)
    assert np.array_equal(drawn[:4, :4], image[:4, :4])
    assert (drawn[:4, 4] == 255).all()
    expected = (image[6, 6].astype(float) + segment_colors(3)[3]) / 2
    assert np.abs(drawn[6, 6] - expected).max() <= 1


def test_opacity_zero_leaves_the_image_but_for_borders():
    image, labels = quadrants(8, 8)
    drawn = draw_overlay(image, (labels + 1).astype(np.uint8), segment_colors(4)[1:], opacity=0.0)
    changed = (drawn != image).any(2)
    assert not changed[:4, :4].any()
    assert not changed[5:, 5:].any()


@pytest.mark.parametrize('count', [3, 300])
def test_each_label_has_its_colour(count):
    labels = np.arange(count + 1).repeat(4).reshape(count + 1, 4).astype(np.uint8 if count < 256 else np.uint16)
    colors = segment_colors(count)[:0:-1]  # not the usual ones
    drawn = draw_overlay(np.zeros((5 * count + 5, 4, 3), np.uint8), labels.repeat(5, 0), colors, 1.0)
    assert np.array_equal(drawn[7::5, 2], colors)


def test_bad_input():
    with pytest.raises(ValueError, match=r'labels: expected the image size \(4, 4\), received \(2, 2\)'):
        draw_overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2), np.uint8), segment_colors(1))


def test_names_stand_in_the_middle_of_segments_that_have_room():
    labels = np.full((240, 320), 1, np.uint8)
    labels[:, 160:] = 2
    labels[:10, :10] = 3  # too small for a name
    segmentation = describe_segments(labels - 1, np.full((3, 8), 0.3, np.float32), 0, 0.5)
    overlay = np.full((240, 320, 3), 100, np.uint8)
    write_names(overlay, segmentation, ['road', 'Straße', 'tree'])
    changed = (overlay != 100).any(2)
    y, x = np.nonzero(changed)
    assert (overlay.min(2) > 200).any()
    assert x.max() < 160  # a name that the font does not have is left out
    assert not changed[:10, :10].any()
    middles, radii = places(segmentation)
    assert (np.hypot(x - middles[0, 0], y - middles[0, 1]) <= radii[0] + 4).all()
    coarse, room = places(segmentation, 3)
    assert np.abs(coarse - middles)[:2].max() <= 45  # along the middle of a band, any place is as good
    assert np.abs(room - radii)[:2].max() <= 6
    assert track_names(replace(segmentation.segments, track_id=np.array([7, 0, 12]))) == ['7', '', '12']


@pytest.mark.parametrize('middle', [(0, 0), (319, 239), (318, 120), (160, 2), (-50, 400)])
def test_a_text_at_the_edge_is_moved_inside(middle):
    inside, moved = (np.full((240, 320, 3), 100, np.uint8) for _ in range(2))
    write_text(inside, 'second', (160, 120), 16)
    write_text(moved, 'second', middle, 16)
    # As much of it as in the middle, and nothing at the very edge but its rim.
    assert (moved == 255).sum() == (inside == 255).sum()
    assert (moved < 50).sum() == (inside < 50).sum()


def test_a_text_that_is_wider_than_the_picture_is_smaller():
    picture = np.full((60, 80, 3), 100, np.uint8)
    write_text(picture, 'a long name', (70, 30), 30)
    columns = np.nonzero((picture.max(2) > 200).any(0))[0]
    assert columns.min() > 0
    assert columns.max() < 79
    assert np.ptp(columns) > 50
    write_text(np.full((2, 3, 3), 100, np.uint8), 'a long name', (1, 1), 30)  # nothing to be read, and no error
