import cv2
import numpy as np
import pytest
import torch

from diffcut_ros.core import FeatureMap, Segmenter, SegmenterConfig, pamr
from diffcut_ros.core.refinement import refine_borders
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
    segmenter = Segmenter(create_extractor('color', device='cpu', cells=16))

    def error(refine):
        segmenter.config = SegmenterConfig(target_segments=2, refine=refine)
        segmentation = segmenter.recut() if segmenter.config.refine != 'none' else segmenter.segment(image)
        assert len(segmentation.segments) == 2
        assert np.array_equal(segmentation.labels, segmenter.segment(image).labels)
        return ((segmentation.labels == segmentation.labels[120, 120]) != inside).mean()

    plain, by_pamr, by_watershed = (error(refine) for refine in ('none', 'pamr', 'watershed'))
    assert by_pamr < 0.7 * plain
    assert by_watershed < 0.5 * plain


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
def test_on_a_gpu():
    image, masks = torch.rand(3, 128, 128), torch.rand(10, 128, 128)
    assert (pamr(image.cuda(), masks.cuda()).cpu() - pamr(image, masks)).abs().max() < 1e-4


def test_tiny_grids_and_images_smaller_than_the_working_size():
    from diffcut_ros.core.refinement import refine_assignment

    feature_map = FeatureMap(torch.rand(2, 3, 4), (3, 5))
    labels = refine_assignment(np.zeros((3, 5, 3), np.uint8), feature_map, torch.rand(3, 4))
    assert labels.shape == (3, 5)


def photograph(size_hw):
    """Smooth colours with noise, as a photograph has them."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (6, 8, 3), np.uint8)
    smooth = cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def gray(size_hw):
    return np.repeat(photograph(size_hw)[:, :, :1], 3, 2)


def uniform(size_hw):
    return np.full((*size_hw, 3), 90, np.uint8)


def label_map(kind, size_hw):
    """Labels 0, 1, ..., each at least once."""
    generator = np.random.default_rng(1)
    if kind == 'one':
        return np.zeros(size_hw, np.uint16)
    if kind == 'halves':
        return np.broadcast_to(np.arange(size_hw[1]) * 2 // size_hw[1], size_hw).astype(np.uint16)
    if kind == 'lines':  # 1 pixel wide
        return np.broadcast_to(np.arange(size_hw[1]) % 7, size_hw).astype(np.uint16)
    if kind == 'regions':
        cells = generator.integers(0, 40, (9, 12)).astype(np.uint16)
        labels = cv2.resize(cells, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    else:  # single pixels
        labels = generator.integers(0, 3000, size_hw)
    return np.unique(labels, return_inverse=True)[1].reshape(size_hw).astype(np.uint16)


SIZES = [((1, 1), (1, 1)), ((1, 40), (1, 40)), ((50, 3), (16, 1)), ((7, 5), (7, 5)), ((33, 470), (12, 170))]
SIZES += [((120, 161), (32, 43)), ((480, 640), (32, 43)), ((1080, 1920), (32, 57)), ((240, 320), (120, 160))]


@pytest.mark.parametrize('image', [photograph, gray, uniform])
@pytest.mark.parametrize('kind', ['one', 'halves', 'lines', 'regions', 'pixels'])
@pytest.mark.parametrize(('size_hw', 'grid_hw'), SIZES)
def test_no_segment_is_lost_by_the_watershed(size_hw, grid_hw, kind, image):
    labels = label_map(kind, size_hw)
    given, shown = labels.copy(), image(size_hw)
    refined = refine_borders(shown, labels, grid_hw)
    assert refined.shape == labels.shape
    assert refined.dtype == np.uint16
    assert np.array_equal(np.unique(refined), np.unique(labels))
    assert np.array_equal(labels, given)
    assert np.array_equal(refined, refine_borders(shown, labels, grid_hw))


@pytest.mark.parametrize(('size_hw', 'grid_hw'), SIZES[5:])
def test_the_watershed_leaves_what_is_far_from_borders(size_hw, grid_hw):
    labels = label_map('halves', size_hw)
    refined = refine_borders(photograph(size_hw), labels, grid_hw)
    cell = size_hw[1] / grid_hw[1]
    far = np.abs(np.arange(size_hw[1]) - size_hw[1] / 2) > 3.5 * cell + 3
    assert far.any()
    assert np.array_equal(refined[:, far], labels[:, far])
    assert not np.array_equal(refined, labels)


@pytest.mark.parametrize('off_px', [-25, -12, -4, 4, 12, 25])
def test_the_watershed_finds_the_edge(off_px):
    """A border up to 1.7 cells off, in noise; it ends within a quarter of a cell."""
    truth = np.broadcast_to(np.arange(640) >= 300, (480, 640))
    noise = np.random.default_rng(0).normal(0, 10, (480, 640, 3))
    image = np.clip(np.where(truth[:, :, None], (150, 120, 90), (90, 100, 150)) + noise, 0, 255).astype(np.uint8)
    labels = np.broadcast_to(np.arange(640) >= 300 + off_px, (480, 640)).astype(np.uint16)
    assert 640 * (refine_borders(image, labels, (32, 43)) != truth).mean() < 15 / 4


@pytest.mark.parametrize('width_px', [4, 8, 15, 30])
@pytest.mark.parametrize('contrast', [60, 12])
def test_the_watershed_keeps_thin_things(width_px, contrast):
    """A pole from a bar to the lower side, a part of the bar's segment, drawn two pixels wider than it is."""
    thing = np.zeros((480, 640), bool)
    thing[60:160, 100:540] = True
    thing[160:, 320 : 320 + width_px] = True
    labels = thing.copy()
    labels[160:, 318 : 322 + width_px] = True
    noise = np.random.default_rng(0).normal(0, 3, (480, 640, 3))
    image = np.clip(100 + contrast * thing[:, :, None] + noise, 0, 255).astype(np.uint8)
    refined = refine_borders(image, labels.astype(np.uint16), (32, 43)).astype(bool)
    pole = thing.copy()
    pole[:160] = False
    assert refined[pole].mean() > 0.95
    assert (refined[170:] != thing[170:]).sum() < 0.5 * (labels[170:] != thing[170:]).sum()


def test_thousands_of_segments_are_numbered_as_they_were():
    labels = np.arange(256 * 256).reshape(256, 256).astype(np.uint16)
    assert np.array_equal(refine_borders(photograph((256, 256)), labels, (64, 64)), labels)


@pytest.mark.parametrize('instances', ['segments', 'connected'])
def test_the_watershed_in_the_pipeline_keeps_the_segments_of_the_cut(instances):
    image = photograph((480, 640))
    segmenter = Segmenter(create_extractor('color', device='cpu'))
    for tau in (0.3, 0.8, 0.95):
        segmenter.config = SegmenterConfig(tau=tau, instances=instances, min_part_share=0.0, refine='none')
        plain = segmenter.segment(image)
        segmenter.config = SegmenterConfig(tau=tau, instances=instances, min_part_share=0.0)
        refined = segmenter.recut()
        assert set(refined.segments.segment) == set(plain.segments.segment)
        assert not np.array_equal(refined.labels, plain.labels)


def test_favoured_segments_stay_against_noise():
    labels, size_hw = label_map('regions', (480, 640)), (480, 640)
    smooth = cv2.GaussianBlur(photograph(size_hw), (0, 0), 3).astype(float)
    noise = np.random.default_rng(2).normal(0, 12, (2, *smooth.shape))
    first, second = (np.clip(smooth + one, 0, 255).astype(np.uint8) for one in noise)
    before = refine_borders(first, labels, (32, 43))
    anew = refine_borders(second, labels, (32, 43))
    held = refine_borders(second, labels, (32, 43), before.astype(int), 0.2)
    assert (held != before).sum() < 0.5 * (anew != before).sum()
    unknown = np.full(size_hw, -1)
    assert np.array_equal(refine_borders(second, labels, (32, 43), unknown, 0.2), anew)


@pytest.mark.parametrize('kind', ['halves', 'regions', 'pixels'])
def test_borders_do_not_depend_on_how_segments_are_numbered(kind):
    image = photograph((120, 160))
    labels = label_map(kind, (120, 160))
    numbers = np.random.default_rng(0).permutation(int(labels.max()) + 1).astype(np.uint16)
    refined = refine_borders(image, labels, (12, 16))
    assert np.array_equal(refine_borders(image, numbers[labels], (12, 16)), numbers[refined])
