import numpy as np
import pytest
import torch

from diffcut_ros.core import FeatureMap, Segmenter, SegmenterConfig
from diffcut_ros.evaluation.methods import METHODS, Sample
from diffcut_ros.features import create_extractor
from support.scenes import quadrants

METHOD = METHODS['diffcut']
# What the method has from the paper, not from the node.
PAPER = {'instances': 'segments', 'refine': 'none'}


def noisy_quadrants() -> np.ndarray:
    image, _ = quadrants(96, 128)
    noise = np.random.default_rng(0).integers(-40, 40, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    'options', [{}, {'tau': 0.9}, {'alpha': 2.0, 'tau': 0.95}, {'refine': 'pamr'}, {'refine': 'watershed'}]
)
def test_is_the_pipeline_of_the_node(options):
    image = noisy_quadrants()
    extractor = create_extractor('color', device='cpu')
    expected = Segmenter(extractor, SegmenterConfig(**PAPER | options)).segment(image).labels
    found = METHOD.run(Sample(image, extractor(image)), METHOD.config(**options))
    assert np.array_equal(found, expected.astype(np.int64) - 1)


def test_its_settings_are_those_of_the_pipeline():
    ours, theirs = METHOD.config(), SegmenterConfig(**PAPER)
    assert {name: getattr(ours, name) for name in vars(theirs)} == vars(theirs)


def test_nearest_upsampling_is_the_cell_of_the_pixel():
    cells = torch.eye(3)[torch.tensor([[0, 0, 1], [0, 2, 1]])]
    sample = Sample(np.zeros((4, 9, 3), np.uint8), FeatureMap(cells, (4, 9)))
    found = METHOD.run(sample, METHOD.config(upsampling='nearest'))
    by_cell = found[::2, ::3]
    assert np.array_equal(found, np.kron(by_cell, np.ones((2, 3), np.int64)))
    assert len(np.unique(found)) == 3
    assert (by_cell[0, 0], by_cell[0, 2]) == (by_cell[1, 0], by_cell[1, 2])


def test_pixels_of_small_segments_are_one_segment():
    cells = torch.eye(4)[torch.tensor([[0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 3]])]
    sample = Sample(np.zeros((3, 4, 3), np.uint8), FeatureMap(cells, (3, 4)))
    found = METHOD.run(sample, METHOD.config(min_segment_area=2))
    assert found.tolist() == [[1, 1, 1, 0]] * 3


def test_refinement_of_nearest_cells_is_refused():
    image, _ = quadrants()
    sample = Sample(image, create_extractor('color', device='cpu')(image))
    with pytest.raises(ValueError, match="refine: expected none with upsampling nearest, received 'pamr'"):
        METHOD.run(sample, METHOD.config(upsampling='nearest', refine='pamr'))


def test_another_tau_of_the_same_sample_computes_no_hierarchy():
    image = noisy_quadrants()
    sample = Sample(image, create_extractor('color', device='cpu')(image))
    METHOD.run(sample, METHOD.config(tau=0.7))
    assert sample.frame.cells is not None
    tree = sample.frame.tree(METHOD.config.alpha, 0.7)
    found = METHOD.run(sample, METHOD.config(tau=0.3))
    assert sample.frame.tree(METHOD.config.alpha, 0.3) is tree
    assert np.array_equal(found, METHOD.run(Sample(image, sample.feature_map), METHOD.config(tau=0.3)))
