from dataclasses import replace

import numpy as np
import pytest
import torch

from diffcut_ros.core import FeatureMap, Segment, Segmentation

SEGMENT = Segment(
    label=1,
    area_px=4,
    box_xyxy=(0, 0, 2, 2),
    centroid_xy=(0.5, 0.5),
    score=0.9,
    feature=np.ones(3, np.float32),
)
SEGMENTATION = Segmentation(np.ones((2, 2), np.uint8), (SEGMENT,), tau=0.5)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'label': 0}, 'label: expected at least 1'),
        ({'box_xyxy': (0, 0, 0, 2)}, 'box_xyxy: expected 0 <= x0 < x1'),
        ({'area_px': 5}, 'area_px: expected 1 to the area'),
        ({'centroid_xy': (2.0, 0.0)}, 'centroid_xy: expected a point inside'),
        ({'score': 1.5}, 'score: expected 0 to 1'),
        ({'feature': np.ones(3)}, 'feature: expected float32'),
        ({'track_id': -1}, r'track_id: expected 0 \(not tracked\) to 65535, received -1'),
        ({'track_id': 65536}, 'received 65536'),
    ],
)
def test_segment_is_validated(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SEGMENT, **change)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'labels': np.ones((2, 2), np.uint16)}, 'labels: expected a contiguous uint8 array'),
        ({'labels': np.ones((2, 4), np.uint8)[:, ::2]}, 'contiguous'),
        ({'labels': np.full((2, 2), 2, np.uint8)}, 'labels: expected values up to 1'),
        ({'segments': (replace(SEGMENT, label=2),)}, r'expected labels 1 to 1 in order, received \[2\]'),
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
