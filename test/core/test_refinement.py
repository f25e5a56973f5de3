import numpy as np
import pytest
import torch

from diffcut_ros.core import FeatureMap, Segmenter, SegmenterConfig, pamr
from diffcut_ros.features import create_extractor


def literal_pamr(image, masks, iterations, dilations):
    """The definition, pixel by pixel (Araslanov & Roth 2020, equations 4 to 6, as their code computes them)."""
    channels, h, w = image.shape
    steps = [(d * i, d * j) for d in dilations for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    clip = lambda r, c: (min(max(r, 0), h - 1), min(max(c, 0), w - 1))  # noqa: E731
    weights = {}
    for r in range(h):
        for c in range(w):
            around = [clip(r + i, c + j) for i, j in steps]
            values = np.array([[image[k][p] for p in around] for k in range(channels)])
            centre = np.repeat(image[:, r, c][:, None], len(dilations), 1)
            deviation = np.concatenate([values, centre], 1).std(1, ddof=1)
            kernel = -(np.abs(values - image[:, r, c][:, None]) / (1e-8 + 0.1 * deviation[:, None])).mean(0)
            weight = np.exp(kernel - kernel.max())
            weights[r, c] = around, weight / weight.sum()
    for _ in range(iterations):
        refined = np.zeros_like(masks)
        for (r, c), (around, weight) in weights.items():
            refined[:, r, c] = sum(a * masks[:, p[0], p[1]] for p, a in zip(around, weight, strict=True))
        masks = refined
    return masks


@pytest.mark.parametrize('dilations', [(1,), (1, 2, 4)])
def test_is_the_definition(dilations):
    generator = np.random.default_rng(0)
    image, masks = generator.random((3, 7, 9)), generator.random((4, 7, 9))
    found = pamr(torch.from_numpy(image).float(), torch.from_numpy(masks).float(), 3, dilations)
    assert np.abs(found.numpy() - literal_pamr(image, masks, 3, dilations)).max() < 1e-5


def test_masks_that_sum_to_one_still_do():
    image = torch.rand(3, 32, 24)
    masks = torch.softmax(torch.randn(5, 32, 24), 0)
    assert (pamr(image, masks).sum(0) - 1).abs().max() < 1e-5


@pytest.mark.parametrize('image', [torch.zeros(3, 16, 16), torch.full((1, 16, 16), 255.0)])
def test_a_uniform_image_blurs_and_stays_finite(image):
    masks = torch.zeros(2, 16, 16)
    masks[0, :8], masks[1, 8:] = 1, 1
    refined = pamr(image, masks, iterations=2)
    assert torch.isfinite(refined).all()
    assert 0.1 < refined[0, 7, 5] < 0.9


def test_a_border_moves_to_the_edge_of_the_image():
    image = torch.zeros(3, 64, 64)
    image[:, :, 30:] = 1
    image += 0.02 * torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(2, 64, 64)
    masks[0, :, :26], masks[1, :, 26:] = 1, 1  # four pixels off
    truth = (torch.arange(64) >= 30).long().expand(64, -1)
    assert (masks.argmax(0) != truth).float().mean() > 0.06
    assert (pamr(image, masks).argmax(0) != truth).float().mean() < 0.001


def test_no_iteration_changes_nothing():
    masks = torch.rand(2, 5, 6)
    assert torch.equal(pamr(torch.rand(3, 5, 6), masks, iterations=0), masks)


@pytest.mark.parametrize(
    ('image', 'masks', 'dilations', 'problem'),
    [
        ((3, 5, 6), (2, 5, 7), (1,), r'masks: expected \[K, h, w\] with h and w of the image'),
        ((5, 6), (2, 5, 6), (1,), r'masks: expected \[K, h, w\]'),
        ((3, 5, 6), (2, 5, 6), (), 'dilations: expected at least one'),
        ((3, 5, 6), (2, 5, 6), (0,), 'dilations: expected at least one, each at least 1 pixel'),
    ],
)
def test_bad_input(image, masks, dilations, problem):
    with pytest.raises(ValueError, match=problem):
        pamr(torch.zeros(image), torch.zeros(masks), 1, dilations)


def disc(size):
    """An orange disc on blue, and which pixels are it."""
    y, x = np.mgrid[:size, :size]
    inside = (y - size / 2) ** 2 + (x - size / 2) ** 2 < (size / 3.3) ** 2
    return np.where(inside[:, :, None], (240, 120, 20), (20, 60, 200)).astype(np.uint8), inside


def test_the_pipeline_gives_finer_borders_and_the_choice_is_live():
    image, inside = disc(240)
    segmenter = Segmenter(create_extractor('color', device='cpu', cells=16), SegmenterConfig(target_segments=2))

    def error(segmentation):
        wrong = ((segmentation.labels == segmentation.labels[120, 120]) != inside).mean()
        assert len(segmentation.segments) == 2
        return wrong

    plain = error(segmenter.segment(image))
    segmenter.config = SegmenterConfig(target_segments=2, refine='pamr')
    refined = error(segmenter.recut())
    assert refined < 0.7 * plain
    assert np.array_equal(segmenter.segment(image).labels, segmenter.recut().labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
def test_on_a_gpu():
    image, masks = torch.rand(3, 128, 128), torch.rand(10, 128, 128)
    assert (pamr(image.cuda(), masks.cuda()).cpu() - pamr(image, masks)).abs().max() < 1e-4


def test_tiny_grids_and_images_smaller_than_the_working_size():
    from diffcut_ros.core.refinement import refine_assignment

    feature_map = FeatureMap(torch.rand(2, 3, 4), (3, 5))
    labels = refine_assignment(np.zeros((3, 5, 3), np.uint8), feature_map, torch.rand(3, 4))
    assert labels.shape == (3, 5)
