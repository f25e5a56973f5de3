import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffcut_ros.core import FeatureMap, Frame, Segmenter, SegmenterConfig
from diffcut_ros.core.segmenter import describe_segments
from support.scenes import quadrants, same_partition


def mean_color(image_rgb: np.ndarray, cell: int = 4) -> FeatureMap:
    """Features that are the cells' mean colours, centred so that other colours point elsewhere."""
    h, w = max(1, image_rgb.shape[0] // cell), max(1, image_rgb.shape[1] // cell)
    cells = image_rgb[: h * cell, : w * cell].reshape(h, -1, w, image_rgb.shape[1] // w if w == 1 else cell, 3)
    return FeatureMap(torch.from_numpy(cells.mean((1, 3)) - 127.0).float(), image_rgb.shape[:2])


def test_quadrants_come_out_exactly():
    image, expected = quadrants(64, 96)
    found = Segmenter(mean_color).segment(image)
    assert found.labels.shape == (64, 96)
    assert same_partition(found.labels, expected)
    assert [s.box_xyxy for s in found.segments] == [(0, 0, 48, 32), (48, 0, 96, 32), (0, 32, 48, 64), (48, 32, 96, 64)]
    assert [s.area_px for s in found.segments] == [48 * 32] * 4
    assert found.segments[0].centroid_xy == (23.5, 15.5)
    assert all(s.score == pytest.approx(1.0) for s in found.segments)


def test_recut_needs_no_features():
    calls = []

    def counting(image_rgb):
        calls.append(image_rgb.shape)
        return mean_color(image_rgb)

    image, _ = quadrants()
    segmenter = Segmenter(counting)
    fine = segmenter.segment(image)
    coarse = segmenter.recut(tau=0.0)
    assert (len(fine.segments), len(coarse.segments)) == (4, 1)
    assert np.array_equal(segmenter.recut(tau=0.5).labels, fine.labels)
    # All four fall apart at tau 0, so there is no cut into two or three.
    for target, expected in ((3, 1), (4, 4), (9, 4)):
        segmenter.config = replace(segmenter.config, target_segments=target)
        assert len(segmenter.recut().segments) == expected
    assert len(calls) == 1


@pytest.mark.parametrize('change', [{'tau': 0.9}, {'alpha': 2.0}, {'target_segments': 3}])
def test_recut_equals_segmenting_anew(change):
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (12, 12, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    segmenter = Segmenter(mean_color)
    segmenter.segment(image)
    segmenter.config = replace(SegmenterConfig(), **change)
    again = Segmenter(mean_color, segmenter.config).segment(image)
    assert np.array_equal(segmenter.recut().labels, again.labels)


def noise(seed: int = 0) -> np.ndarray:
    """Return an image of 12 x 12 cells of random colours, whose hierarchy has a split at many a tau."""
    colors = np.random.default_rng(seed).integers(0, 255, (12, 12, 3))
    return np.kron(colors, np.ones((4, 4, 1))).astype(np.uint8)


def test_without_damping_each_image_stands_for_itself():
    segmenter = Segmenter(mean_color)
    segmenter.segment(noise(1))
    assert np.array_equal(segmenter.segment(noise(0)).labels, Segmenter(mean_color).segment(noise(0)).labels)


def test_with_damping_a_small_change_of_tau_changes_nothing():
    counts = {}
    for damping in (0.0, 0.2):
        segmenter = Segmenter(mean_color, SegmenterConfig(tau=0.6, damping=damping))
        segmenter.segment(noise())
        first = segmenter.segment(noise())
        segmenter.config = replace(segmenter.config, tau=0.66)
        second = segmenter.segment(noise())
        counts[damping] = len(first.segments), len(second.segments)
        if damping:
            assert np.array_equal(second.labels, first.labels)
            assert np.array_equal(segmenter.recut().labels, first.labels)
            # A large change does: more than a fifth.
            assert len(segmenter.recut(tau=0.9).segments) > len(first.segments)
    # Without damping, tau alone counts.
    assert counts[0.0][0] == counts[0.2][0] < counts[0.0][1]


def test_damping_keeps_the_limit_of_segments_and_survives_another_image_size():
    config = SegmenterConfig(target_segments=5, damping=0.5)
    segmenter = Segmenter(mean_color, config)
    for image in (noise(1), noise(2), noise(3)[:24], noise(4)):
        assert len(segmenter.segment(image).segments) <= 5
    alone = Segmenter(mean_color, config).segment(noise(5)[:24])
    assert np.array_equal(segmenter.segment(noise(5)[:24]).labels, alone.labels)


def test_a_frame_does_not_hold_the_one_before():
    image, _ = quadrants()
    first = Frame(image, mean_color(image))
    assert first.cells is None
    first.cut(SegmenterConfig())
    assert first.cells.shape == (16 * 24,)
    second, gone = Frame(image, mean_color(image), first), weakref.ref(first)
    del first
    assert gone() is None
    assert len(second.cut(SegmenterConfig(damping=0.2)).segments) == 4


def test_small_segments_become_none():
    labels = np.zeros((4, 5), np.int64)
    labels[0, 0] = 1
    labels[2:, 3:] = 2
    concepts = np.eye(4, dtype=np.float32)  # the last has no pixels
    found = describe_segments(labels, concepts, min_segment_area=2, tau=0.5)
    assert [s.area_px for s in found.segments] == [15, 4]
    assert found.labels.tolist() == [[0, 1, 1, 1, 1], [1] * 5, [1, 1, 1, 2, 2], [1, 1, 1, 2, 2]]
    assert found.segments[1].box_xyxy == (3, 2, 5, 4)
    assert describe_segments(labels, concepts, min_segment_area=100, tau=0.5).segments == ()


def test_more_than_255_segments_need_16_bits():
    labels = np.arange(300).reshape(15, 20)
    found = describe_segments(labels, np.ones((300, 1), np.float32), 0, tau=0.5)
    assert found.labels.dtype == np.uint16
    assert np.array_equal(found.labels, labels + 1)


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (9, 1), (3, 40)])
def test_tiny_and_thin_images(shape):
    image = np.full((*shape, 3), 90, np.uint8)
    found = Segmenter(lambda rgb: FeatureMap(torch.from_numpy(rgb / 255).float(), rgb.shape[:2])).segment(image)
    assert np.array_equal(found.labels, np.ones(shape))
    assert found.segments[0].area_px == shape[0] * shape[1]


@pytest.mark.parametrize(
    'image',
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))],
)
def test_bad_image(image):
    with pytest.raises(ValueError, match=r'image_rgb: expected a uint8 array \[H, W, 3\]'):
        Segmenter(mean_color).segment(image)


def test_a_failed_image_leaves_the_last_one():
    image, _ = quadrants()

    def extractor(image_rgb):
        if image_rgb.max() == 0:
            raise RuntimeError('no features')
        if image_rgb.max() == 1:
            return FeatureMap(torch.full((4, 4, 3), float('nan')), image_rgb.shape[:2])
        return mean_color(image_rgb)

    segmenter = Segmenter(extractor)
    with pytest.raises(RuntimeError, match='expected an image to have been segmented before'):
        segmenter.recut()
    before = segmenter.segment(image)
    with pytest.raises(RuntimeError, match='no features'):
        segmenter.segment(np.zeros_like(image))
    with pytest.raises(ValueError, match='received NaN'):
        segmenter.segment(np.ones_like(image))
    assert np.array_equal(segmenter.recut().labels, before.labels)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'tau': 1.5}, r'tau: expected 0\.0 to 1\.0, received 1\.5'),
        ({'tau': float('nan')}, 'tau: expected a finite number'),
        ({'alpha': 0.0}, r'alpha: expected 0\.1 to'),
        ({'min_segment_area': -1}, 'min_segment_area: expected 0 to .* px, received -1'),
        ({'target_segments': 2.5}, r'target_segments: expected int, received 2\.5 \(float\)'),
        ({'damping': 0.6}, r'damping: expected 0\.0 to 0\.5, received 0\.6'),
        ({'tau': True}, r'tau: expected float, received True \(bool\)'),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        SegmenterConfig(**settings)
