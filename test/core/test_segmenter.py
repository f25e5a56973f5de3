import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data

from diffcut_ros.core import FeatureMap, Frame, Segmenter, SegmenterConfig, pipeline
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.features import create_extractor
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


def still(segments: np.ndarray, image_before: np.ndarray, image_rgb: np.ndarray) -> np.ndarray:
    """Where segments are in the next image of a camera that stands still."""
    same = image_before.shape == image_rgb.shape
    return segments.astype(np.int32) if same else np.full(image_rgb.shape[:2], -1, np.int32)


def never(*_) -> np.ndarray:
    raise AssertionError('motion is not wanted')


def test_without_damping_each_image_stands_for_itself(monkeypatch):
    monkeypatch.setattr(pipeline, 'carry_segments', never)
    segmenter = Segmenter(mean_color)
    segmenter.segment(noise(1))
    assert np.array_equal(segmenter.segment(noise(0)).labels, Segmenter(mean_color).segment(noise(0)).labels)


def test_with_damping_a_small_change_of_tau_changes_nothing(monkeypatch):
    monkeypatch.setattr(pipeline, 'carry_segments', still)
    counts = {}
    for damping in (0.0, 0.2):
        segmenter = Segmenter(mean_color, SegmenterConfig(tau=0.6, damping=damping, refine='none'))
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


def test_damping_keeps_the_limit_of_segments_and_survives_another_image_size(monkeypatch):
    monkeypatch.setattr(pipeline, 'carry_segments', still)
    config = SegmenterConfig(target_segments=5, damping=0.5)
    segmenter = Segmenter(mean_color, config)
    for image in (noise(1), noise(2), noise(3)[:24], noise(4)):
        assert len(segmenter.segment(image).segments) <= 5
    alone = Segmenter(mean_color, config).segment(noise(5)[:24])
    assert np.array_equal(segmenter.segment(noise(5)[:24]).labels, alone.labels)


def test_damping_holds_borders_where_they_were_carried_to():
    # Between the cells' centres at 9.5 and 13.5 the similarity to the first segment falls by 0.64 a pixel, more than to
    # the second at 11 and before, less from 12 on.
    image = np.zeros((8, 32, 3), np.uint8)
    image[:, :12], image[:, 12:] = (255, 110, 110), (110, 255, 255)
    for damping, carried, border in (
        (0, 13, 12),
        (0.2, 13, 12),
        (0.5, 13, 13),
        (0.5, 16, 13),
        (0.5, 11, 11),
        (0.5, 8, 11),
    ):
        before = np.repeat([[0] * carried + [1] * (32 - carried)], 8, 0).astype(np.int32)
        frame = Frame(image, mean_color(image), lambda _, before=before: before)
        labels = frame.cut(SegmenterConfig(damping=damping, refine='none')).labels
        assert labels.tolist() == [[1] * border + [2] * (32 - border)] * 8, (damping, carried)
        assert np.array_equal(frame.parts + 1, labels)


def test_damping_holds_a_new_segment_back_by_half_as_much():
    # The second segment is more similar by 0.16 and 0.48 at 32 and 33; before, it had all pixels from 44 on, or none.
    image = np.zeros((8, 64, 3), np.uint8)
    image[:, :32], image[:, 32:] = (255, 110, 110), (110, 255, 255)
    for begin, damping, border in ((44, 0.5, 34), (64, 0.5, 33), (44, 0.2, 33), (64, 0.2, 32)):
        before = np.repeat([[0] * begin + [1] * (64 - begin)], 8, 0).astype(np.int32)
        frame = Frame(image, mean_color(image, cell=8), lambda _, before=before: before)
        labels = frame.cut(SegmenterConfig(damping=damping, refine='none')).labels
        assert labels.tolist() == [[1] * border + [2] * (64 - border)] * 8, (begin, damping)


def test_damping_leaves_what_is_not_known_as_it_is(monkeypatch):
    monkeypatch.setattr(pipeline, 'carry_segments', lambda segments, *_: np.full(segments.shape, -1, np.int32))
    alone = Segmenter(mean_color, SegmenterConfig(tau=0.6)).segment(noise())
    segmenter = Segmenter(mean_color, SegmenterConfig(tau=0.6, damping=0.3))
    segmenter.segment(noise(1))
    assert np.array_equal(segmenter.segment(noise()).labels, alone.labels)


def test_damping_may_be_turned_on_at_any_time(monkeypatch):
    monkeypatch.setattr(pipeline, 'carry_segments', still)
    segmenter = Segmenter(mean_color, SegmenterConfig(tau=0.6, refine='none'))
    first = segmenter.segment(noise())
    segmenter.config = SegmenterConfig(tau=0.66, damping=0.2, refine='none')
    assert np.array_equal(segmenter.segment(noise()).labels, first.labels)


def test_damping_holds_refined_borders_too(monkeypatch):
    monkeypatch.setattr(pipeline, 'carry_segments', still)
    image, extractor = data.coffee(), create_extractor('color', device='cpu')
    segmenter = Segmenter(extractor, SegmenterConfig(damping=0.2, instances='segments'))
    *_, before, after = (segmenter.segment(image).labels_by_track() for _ in range(8))
    assert (after != before).mean() < 0.001


def test_images_have_identities():
    image, _ = quadrants()
    segmenter = Segmenter(mean_color)
    first = set(segmenter.segment(image).segments.track_id.tolist())
    assert len(first) == 4
    assert min(first) == 1
    # The same image a little later has the same ones; a gap ends all tracks.
    assert set(segmenter.segment(image, stamp_ns=10**8).segments.track_id.tolist()) == first
    later = set(segmenter.segment(image, stamp_ns=10**11).segments.track_id.tolist())
    assert len(later) == 4
    assert not later & first


def test_a_frame_finds_the_segments_before_once_and_lets_them_go():
    image, _ = quadrants()

    class Before:
        calls = 0

        def __call__(self, image_rgb):
            Before.calls += 1
            return np.zeros(image_rgb.shape[:2], np.int32)

    before = Before()
    frame, gone = Frame(image, mean_color(image), before), weakref.ref(before)
    del before
    assert frame.parts is None
    for damping in (0.0, 0.2, 0.0, 0.3):
        assert len(frame.cut(SegmenterConfig(damping=damping)).segments) == 4
        assert (gone() is None) == (Before.calls == 1)
    assert Before.calls == 1


def test_small_segments_become_none():
    labels = np.zeros((4, 5), np.int64)
    labels[0, 0] = 1
    labels[2:, 3:] = 2
    concepts = np.eye(4, dtype=np.float32)  # the last has no pixels
    found = describe_segments(labels, concepts, min_segment_area=2, tau=0.5)
    assert [s.area_px for s in found.segments] == [15, 4]
    assert found.labels.tolist() == [[0, 1, 1, 1, 1], [1] * 5, [1, 1, 1, 2, 2], [1, 1, 1, 2, 2]]
    assert found.segments[1].box_xyxy == (3, 2, 5, 4)
    assert describe_segments(labels, concepts, min_segment_area=100, tau=0.5).segments.label.tolist() == []


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
    ('image', 'received'),
    [
        (np.zeros((4, 4), np.uint8), 'uint8 (4, 4); a gray image: np.dstack([gray] * 3)'),
        (np.zeros((4, 4, 4), np.uint8), 'uint8 (4, 4, 4); without its alpha: image[:, :, :3]'),
        (np.zeros((0, 4, 3), np.uint8), 'uint8 (0, 4, 3)'),
        (np.zeros((4, 4, 3)), 'float64 (4, 4, 3)'),
        ([[1]], 'list'),
    ],
)
def test_bad_image(image, received):
    with pytest.raises(ValueError, match='image_rgb: expected a uint8 array') as caught:
        Segmenter(mean_color).segment(image)
    assert str(caught.value).endswith(f'with at least one pixel, received {received}')


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
    with pytest.raises(RuntimeError, match='expected an image'):
        segmenter.recut(tau=0.9)
    assert segmenter.config == SegmenterConfig()
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


def test_a_graph_that_needs_more_memory_than_there_is_is_refused_before_it_is_made():
    """Linux would grant it and end the process later."""
    features = FeatureMap(torch.rand(1000, 1000, 1), (1000, 1000))
    with pytest.raises(MemoryError, match=r'a graph of 1000000 cells needs more; .* \(8800.0 GB, .* GB are free\)'):
        Frame(np.zeros((1000, 1000, 3), np.uint8), features).cut(SegmenterConfig())


def test_the_name_of_a_backend_is_no_extractor():
    with pytest.raises(TypeError, match=r"received 'color'; .*create_extractor\('color'\)"):
        Segmenter('color')
