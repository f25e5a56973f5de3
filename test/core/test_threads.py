"""How many threads PyTorch computes with."""

import numpy as np
import pytest
import torch

from diffcut_ros.core.frame import Frame, SegmenterConfig
from diffcut_ros.core.types import FeatureMap


@pytest.mark.parametrize(('side', 'expected'), [(20, 1), (42, 3)])
def test_small_grids_are_cut_on_one_thread(side: int, expected: int):
    image = np.zeros((4 * side, 4 * side, 3), np.uint8)
    feature_map = FeatureMap(torch.rand(side, side, 4, generator=torch.Generator().manual_seed(0)), image.shape[:2])
    seen = []

    def before(of: np.ndarray) -> np.ndarray:
        seen.append(torch.get_num_threads())
        return np.full(of.shape[:2], -1)

    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        Frame(image, feature_map, before).cut(SegmenterConfig(damping=0.2))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert seen == [expected]
