"""What holds for every method, whatever it does."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from diffcut_ros.core import FeatureMap
from diffcut_ros.core.parameters import parameters
from diffcut_ros.evaluation.methods import METHODS, Method, Sample
from diffcut_ros.evaluation.metrics import contingency_table
from diffcut_ros.features import create_extractor
from support.scenes import quadrants


def color_sample(image: np.ndarray, count: int | None = None) -> Sample:
    """Return a sample with the features of the colour backend, and attention by their similarity."""
    feature_map = create_extractor('color', device='cpu')(image)
    unit = F.normalize(feature_map.flat(), dim=1)
    grid_hw = feature_map.grid_hw
    attention = (10 * unit @ unit.T).softmax(1).reshape(*grid_hw, *grid_hw)
    return Sample(image, feature_map, [attention], count)


def agreement(labels: np.ndarray, found: np.ndarray) -> float:
    """Return the share of pixels in segments paired one to one, as well as can be."""
    table = contingency_table(labels, found)
    return table[linear_sum_assignment(table, maximize=True)].sum() / table.sum()


@pytest.mark.parametrize('name', [name for name in METHODS if name not in ('autosc', 'maskcut', 'diffseg')])
def test_finds_four_quadrants(name):
    image, labels = quadrants(64, 128)
    if name == 'slic_ncut':
        image = 100 + image // 7  # colours this close to each other keep its graph of superpixels in one piece
    method = METHODS[name]
    # Felzenszwalb's smoothing would make the borders a segment of their own.
    config = method.config(sigma=0.0) if name == 'felzenszwalb' else method.config()
    found = method.run(color_sample(image, count=4), config)
    assert found.dtype == np.int64
    assert np.unique(found).tolist() == [0, 1, 2, 3]
    assert agreement(labels, found) > 0.95


@pytest.mark.parametrize('name', METHODS)
def test_an_image_of_one_colour_is_one_segment(name):
    method = METHODS[name]
    found = method.run(color_sample(np.full((33, 47, 3), 90, np.uint8), count=3), method.config())
    assert found.shape == (33, 47)
    assert not found.any()


@pytest.mark.parametrize('name', METHODS)
def test_one_pixel(name):
    method = METHODS[name]
    found = method.run(color_sample(np.full((1, 1, 3), 90, np.uint8), count=1), method.config())
    assert found.tolist() == [[0]]


@pytest.mark.parametrize('name', METHODS)
def test_options_are_frozen_described_and_checked(name):
    config = METHODS[name].config()
    described = parameters(type(config))
    assert set(described) == set(vars(config))
    for option, (field, info) in described.items():
        wrong = 'nonsense' if info.choices else field.type(info.minimum - 1)
        with pytest.raises(ValueError, match=f'{option}: expected'):
            type(config)(**{option: wrong})
    with pytest.raises(FrozenInstanceError):
        setattr(config, option, field.default)


@pytest.mark.parametrize('name', [name for name, method in METHODS.items() if method.needs == 'features'])
def test_without_features_the_error_says_so(name):
    method = METHODS[name]
    with pytest.raises(ValueError, match='feature_map: expected features of the image, received none'):
        method.run(Sample(quadrants()[0], count=4), method.config())


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        ({'image_rgb': np.zeros((4, 4), np.uint8)}, r'image_rgb: expected a uint8 array \[H, W, 3\]'),
        ({'image_rgb': np.zeros((4, 4, 3), np.float32)}, 'received float32'),
        ({'image_rgb': np.zeros((0, 4, 3), np.uint8)}, 'at least one pixel'),
        ({'feature_map': FeatureMap(torch.ones(2, 2, 3), (8, 8))}, r'of \(4, 4\) pixels, received one of \(8, 8\)'),
        ({'attention': [torch.ones(2, 3, 3, 2)]}, r'tensors \[h, w, h, w\], received torch.float32 \(2, 3, 3, 2\)'),
        ({'attention': [torch.ones(2, 2, 2, 2, dtype=torch.int64)]}, 'received torch.int64'),
        ({'count': 0}, 'count: expected at least 1 segment, received 0'),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        Sample(**{'image_rgb': np.zeros((4, 4, 3), np.uint8), **parts})


def test_an_unknown_need_is_refused():
    with pytest.raises(ValueError, match="needs: expected one of features, attention, image, received 'depth'"):
        Method(METHODS['diffcut'].run, METHODS['diffcut'].config, 'depth')
