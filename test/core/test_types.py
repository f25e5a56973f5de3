from dataclasses import replace

import numpy as np
import pytest
import torch

from diffcut_ros.core import FeatureMap, Segment, Segmentation, Segments

# Two segments of an image of 2 x 3 pixels.
SEGMENTS = Segments(
    label=np.array([1, 2]),
    segment=np.array([1, 1]),
    area_px=np.array([4, 2]),
    box_xyxy=np.array([(0, 0, 2, 2), (2, 0, 3, 2)]),
    centroid_xy=np.array([(0.5, 0.5), (2.0, 0.5)]),
    score=np.array([0.9, 0.8]),
    feature=np.ones((2, 3), np.float32),
    track_id=np.array([7, 0]),
)
SEGMENTATION = Segmentation(np.array([[1, 1, 2]] * 2, np.uint8), SEGMENTS, tau=0.5)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'label': np.array([1, 0])}, r'label: expected at least 1 .* received 0 in row 1'),
        ({'segment': np.array([1, 0])}, 'segment: expected at least 1, received 0 in row 1'),
        ({'box_xyxy': np.array([(0, 0, 2, 2), (2, 0, 2, 2)])}, 'box_xyxy: expected 0 <= x0 < x1 .* in row 1'),
        ({'area_px': np.array([5, 2])}, 'area_px: expected 1 to the area of its box, received 5 in row 0'),
        ({'centroid_xy': np.array([(2.0, 0.0), (2.0, 0.5)])}, 'centroid_xy: expected a point inside'),
        ({'score': np.array([1.5, 0.8])}, 'score: expected 0 to 1, received 1.5'),
        ({'score': np.array([np.nan, 0.8])}, 'score: expected 0 to 1, received nan'),
        ({'feature': np.ones((2, 3))}, r'feature: expected float32 \[K, C\] with K = 2, received float64 \(2, 3\)'),
        ({'feature': np.ones(2, np.float32)}, r'feature: expected float32 \[K, C\]'),
        ({'area_px': np.array([4])}, r'area_px: expected int64 \[K\] with K = 2, received int64 \(1,\)'),
        ({'box_xyxy': np.ones((2, 3), np.int64)}, r'box_xyxy: expected int64 \[K, 4\]'),
        ({'track_id': np.array([-1, 0])}, r'track_id: expected 0 \(not tracked\) to 65535, received -1'),
        ({'track_id': np.array([0, 65536])}, 'received 65536'),
    ],
)
def test_segments_are_validated(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SEGMENTS, **change)


def test_segments_are_chosen_like_rows_of_an_array():
    large = SEGMENTS[SEGMENTS.area_px > 3]
    assert (large.label.tolist(), large.feature.shape) == ([1], (1, 3))
    assert SEGMENTS[::-1].label.tolist() == [2, 1]
    assert SEGMENTS[np.array([1])].box_xyxy.tolist() == [[2, 0, 3, 2]]
    assert SEGMENTS[np.array([[True, False]])[0]].label.tolist() == [1]
    for nothing in ([], np.zeros(2, bool), slice(0, 0)):
        assert len(SEGMENTS[nothing]) == 0
        assert SEGMENTS[nothing].feature.shape == (0, 3)
        assert list(SEGMENTS[nothing]) == []


def test_segments_one_at_a_time():
    first, second = SEGMENTS
    assert (first.label, first.area_px, first.box_xyxy, first.track_id) == (1, 4, (0, 0, 2, 2), 7)
    assert (second.centroid_xy, second.score, second.feature.tolist()) == ((2.0, 0.5), 0.8, [1, 1, 1])
    assert isinstance(first, Segment)
    assert SEGMENTS[-1].label == SEGMENTS[np.int64(1)].label == 2
    assert SEGMENTS[np.array(1)].label == 2
    assert first != second


@pytest.mark.parametrize('rows', [2, -3, [0, 2], np.ones(3, bool), np.ones((1, 2), int), 0.5, True])
def test_segments_that_are_not_there(rows):
    with pytest.raises(IndexError):
        SEGMENTS[rows]


def test_labels_by_track():
    values = SEGMENTATION.labels_by_track()
    assert (values.dtype, values.tolist()) == (np.uint16, [[7, 7, 0]] * 2)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'labels': np.ones((2, 2), np.uint16)}, 'labels: expected a contiguous uint8 array'),
        ({'labels': np.ones((2, 4), np.uint8)[:, ::2]}, 'contiguous'),
        ({'labels': np.full((2, 2), 3, np.uint8)}, 'labels: expected values up to 2'),
        ({'segments': SEGMENTS[1:]}, r'expected labels 1 to 1 in order, received \[2\]'),
    ],
)
def test_segmentation_is_validated(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SEGMENTATION, **change)


@pytest.mark.parametrize(
    ('features', 'size', 'message'),
    [
        (torch.ones(4, 4), (8, 8), r'features: expected a tensor \[h, w, C\]'),
        (torch.ones(0, 4, 3), (8, 8), 'every side at least 1'),
        (torch.ones(4, 4, 3).double(), (8, 8), r'expected torch\.float32'),
        (torch.ones(4, 4, 3), (0, 8), 'image_size_hw: expected'),
    ],
)
def test_feature_map_is_validated(features, size, message):
    with pytest.raises(ValueError, match=message):
        FeatureMap(features, size)


def test_results_are_frozen():
    with pytest.raises(AttributeError):
        SEGMENTATION.tau = 0.1
