"""The core leaves all tensors where the features are, and waits for a device no more often than it has to.

On a device without one, see `support.device`. The hierarchy is left out: it goes on from what the host has read.
"""

import pytest
import torch

from diffcut_ros.core import FeatureMap, affinity_matrix, assign_concepts, pamr
from diffcut_ros.core.upsampling import upsampled_at
from support.device import DEVICE, on_device


def feature_map() -> FeatureMap:
    return FeatureMap(torch.empty(6, 8, 32, device=DEVICE), (60, 80))


def test_the_affinity_waits_once():
    with on_device(0.5):
        assert affinity_matrix(feature_map().flat()).shape == (48, 48)
    with on_device(0.0):  # no spread
        assert affinity_matrix(feature_map().flat()).shape == (48, 48)


@pytest.mark.parametrize('count', [1, 40])
def test_the_assignment_never_waits(count):
    with on_device():
        labels = assign_concepts(feature_map(), torch.empty(count, 32, device=DEVICE))
        assert (labels.shape, labels.dtype) == ((60, 80), torch.int64)


def test_values_at_pixels_never_wait():
    with on_device():
        maps, y, x = (torch.zeros(shape, dtype=torch.int64, device=DEVICE) for shape in ((2, 9), 9, 9))
        assert upsampled_at(torch.empty(7, 6, 8, device=DEVICE), (60, 80), maps, y, x).shape == (2, 9)


def test_the_refinement_never_waits():
    with on_device():
        image, masks = (torch.empty(count, 24, 32, device=DEVICE) for count in (3, 5))
        assert pamr(image, masks).shape == (5, 24, 32)
