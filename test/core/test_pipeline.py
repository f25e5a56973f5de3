"""The pipeline of one camera: its order, its state, and what is computed when."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffcut_ros.core import FeatureMap, PinholeCamera, Pipeline, Scene, SegmenterConfig, TrackerConfig
from diffcut_ros.core.plain import pack, unpack
from support.scenes import quadrants

STEP_NS = 10**8


def cell_colors(image_rgb: np.ndarray) -> FeatureMap:
    """Features that are the mean colours of cells of 4 x 4 pixels, around grey."""
    height, width = image_rgb.shape[:2]
    cells = image_rgb.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3))
    return FeatureMap(torch.from_numpy(cells - 127.0).float(), (height, width))


def noise(seed: int) -> np.ndarray:
    """Return an image of 12 x 12 cells of random colours, which has more segments at each larger tau."""
    colors = np.random.default_rng(seed).integers(0, 255, (12, 12, 3))
    return np.kron(colors, np.ones((4, 4, 1))).astype(np.uint8)


def test_settings_that_change_while_an_image_is_in_work_hold_for_it():
    def slow(image_rgb):
        pipeline.config = replace(pipeline.config, tau=0.9)
        return cell_colors(image_rgb)

    pipeline = Pipeline(slow, SegmenterConfig(tau=0.3))
    assert pipeline.process(Scene(noise(0))).segmentation.tau == 0.9


def test_features_that_are_given_are_not_computed():
    pipeline = Pipeline(lambda _: pytest.fail('not wanted'))
    image, _ = quadrants(48, 48)
    assert len(pipeline.process(Scene(image), cell_colors(image)).segmentation.segments) == 4


def test_results_are_delivered_in_order_whoever_asks():
    """One thread segments images, another cuts the last one at other taus: no image and no tau goes back."""
    pipeline, delivered = Pipeline(cell_colors, SegmenterConfig(tau=0.0)), []
    done = threading.Event()

    def deliver(result):
        delivered.append((result.scene.stamp_ns, result.segmentation.tau))

    def recut():
        for tau in np.linspace(0.01, 0.9, 60):
            pipeline.recut(SegmenterConfig(tau=float(tau)), deliver)
        done.set()

    images = [noise(seed) for seed in range(5)]
    stamp_ns = 0
    pipeline.process(Scene(images[0]), deliver=deliver)
    thread = threading.Thread(target=recut)
    thread.start()
    while not done.is_set():
        stamp_ns += STEP_NS
        pipeline.process(Scene(images[stamp_ns // STEP_NS % 5], stamp_ns), deliver=deliver)
    thread.join()
    stamps, taus = zip(*delivered, strict=True)
    assert list(stamps) == sorted(stamps)
    assert list(taus) == sorted(taus)
    assert len(set(taus)) > 5


def test_a_cut_of_an_image_that_is_not_the_last_is_not_delivered():
    pipeline = Pipeline(cell_colors)
    assert pipeline.recut() is None  # no image yet
    pipeline.process(Scene(noise(0), 1))
    newer = Scene(noise(1), 2)
    delivered = []
    cut = type(pipeline._last[1]).cut

    def cut_while_the_next_image_comes(frame, config):
        found = cut(frame, config)
        if not delivered:
            delivered.append('newer')
            pipeline.process(newer)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(pipeline._last[1]), 'cut', cut_while_the_next_image_comes)
        assert pipeline.recut(deliver=delivered.append) is None
    assert delivered == ['newer']
    assert pipeline.recut().scene is newer


@pytest.mark.parametrize('damping', [0.0, 0.3])
def test_a_saved_pipeline_goes_on_as_if_it_had_not_been(damping):
    config = SegmenterConfig(tau=0.6, damping=damping)
    whole, first = Pipeline(cell_colors, config), Pipeline(cell_colors, config)
    scenes = [Scene(np.roll(noise(0), i, 1), i * STEP_NS) for i in range(6)]
    expected = [whole.process(scene).segmentation for scene in scenes]
    for scene in scenes[:3]:
        first.process(scene)
    second = Pipeline(cell_colors, config)
    second.load(unpack(pack(first.save())))
    for scene, one in zip(scenes[3:], expected[3:], strict=True):
        other = second.process(scene).segmentation
        assert np.array_equal(other.labels, one.labels)
        assert other.segments.track_id.tolist() == one.segments.track_id.tolist()


@pytest.mark.parametrize('state', [{}, {'tracker': {}, 'before': None}, {'tracker': 1, 'before': 2}, None, []])
def test_a_state_of_something_else_is_refused(state):
    with pytest.raises(ValueError, match='expected the state of a pipeline'):
        Pipeline(cell_colors).load(state)


def test_damping_ends_with_a_gap_between_images():
    config = SegmenterConfig(tau=0.6, damping=0.5)
    alone = Pipeline(cell_colors, config).process(Scene(noise(1))).segmentation
    pipeline = Pipeline(cell_colors, config, TrackerConfig(max_age_s=1.0))
    pipeline.process(Scene(np.roll(noise(1), 2, 1), 0))
    assert np.array_equal(pipeline.process(Scene(noise(1), 11 * STEP_NS)).segmentation.labels, alone.labels)


def test_places_are_computed_when_they_are_asked_for():
    image, _ = quadrants(48, 48)
    camera = PinholeCamera(50.0, 50.0, 23.5, 23.5, (48, 48))
    result = Pipeline(cell_colors).process(Scene(image, 0, np.full((48, 48), 2.0, np.float32), camera))
    assert [geometry.position_m[2] for geometry in result.geometries] == [pytest.approx(2.0)] * 4
    assert result.geometries is result.geometries
    assert Pipeline(cell_colors).process(Scene(image)).geometries == (None,) * 4
    # Of another aspect: told when it is asked for.
    wrong = Pipeline(cell_colors).process(Scene(image, 0, np.ones((48, 96), np.float32), camera))
    with pytest.raises(ValueError, match='aspect'):
        wrong.geometries  # noqa: B018


def test_a_failed_image_leaves_the_last_one_and_its_tracks():
    def extractor(image_rgb):
        if not image_rgb.any():
            raise RuntimeError('no features')
        return cell_colors(image_rgb)

    pipeline = Pipeline(extractor)
    first = pipeline.process(Scene(noise(0), 0))
    with pytest.raises(RuntimeError, match='no features'):
        pipeline.process(Scene(np.zeros((48, 48, 3), np.uint8), STEP_NS))
    again = pipeline.recut()
    assert again.scene is first.scene
    assert again.segmentation.segments.track_id.tolist() == first.segmentation.segments.track_id.tolist()
