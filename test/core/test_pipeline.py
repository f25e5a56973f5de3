"""The pipeline of one camera: its order, its state, and what is computed when."""

import queue
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffcut_ros.core import FeatureMap, PinholeCamera, Pipeline, Result, Scene, SegmenterConfig, TrackerConfig
from diffcut_ros.core.frame import Frame
from diffcut_ros.core.plain import pack, unpack
from diffcut_ros.core.transform import Transform
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


def drawn_settings(draw: np.random.Generator) -> SegmenterConfig:
    return SegmenterConfig(
        tau=draw.choice([0.2, 0.5, 0.8]),
        alpha=draw.choice([4.0, 10.0]),
        target_segments=int(draw.choice([0, 0, 0, 7])),
        damping=draw.choice([0.0, 0.1, 0.3]),
        instances=str(draw.choice(['segments', 'connected'])),
        refine=str(draw.choice(['none', 'watershed', 'pamr'])),
    )


def same(one: Result, other: Result) -> bool:
    segments, others = one.segmentation.segments, other.segmentation.segments
    return np.array_equal(one.segmentation.labels, other.segmentation.labels) and all(
        np.array_equal(getattr(segments, name), getattr(others, name)) for name in ('track_id', 'segment', 'feature')
    )


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('most_cells_ahead', [0, 4096])
def test_images_prepared_ahead_give_the_same_results(seed, most_cells_ahead, monkeypatch):
    """Whatever settings held when they were prepared, and when the image before was finished."""
    monkeypatch.setattr('diffcut_ros.core.pipeline._MOST_CELLS_AHEAD', most_cells_ahead)
    draw = np.random.default_rng(seed)
    plain, ahead = Pipeline(cell_colors), Pipeline(cell_colors)
    # One longer gap, after which nothing is followed.
    scenes = [Scene(np.roll(noise(seed), i // 2, 1), (i + 100 * (i > 8)) * STEP_NS) for i in range(12)]
    prepared = ahead.prepare(scenes[0])
    for i, scene in enumerate(scenes):
        following = ahead.prepare(scenes[i + 1]) if i + 1 < len(scenes) else None
        plain.config = ahead.config = drawn_settings(draw)
        assert same(ahead.finish(prepared), plain.process(scene))
        if draw.random() < 0.5:
            config = drawn_settings(draw)
            assert same(ahead.recut(config), plain.recut(config))
        prepared = following


def test_one_thread_prepares_while_others_finish_and_cut_again():
    """The same as one after the other, in order, and no image goes back to settings of before."""
    pipeline, delivered = Pipeline(cell_colors, SegmenterConfig(tau=0.0)), []
    scenes = [Scene(noise(i % 5), (i + 1) * STEP_NS) for i in range(60)]
    prepared, done = queue.Queue(1), threading.Event()

    def prepare():
        for scene in scenes:
            prepared.put(pipeline.prepare(scene))
        prepared.put(None)

    def recut():
        for tau in np.linspace(0.01, 0.9, 100):
            pipeline.recut(SegmenterConfig(tau=float(tau)), delivered.append)
            if done.is_set():
                return

    pipeline.process(Scene(noise(0), 0), deliver=delivered.append)
    threads = [threading.Thread(target=prepare), threading.Thread(target=recut)]
    for thread in threads:
        thread.start()
    while (one := prepared.get()) is not None:
        pipeline.finish(one, delivered.append)
    done.set()
    for thread in threads:
        thread.join()
    stamps = [result.scene.stamp_ns for result in delivered]
    taus = [result.segmentation.tau for result in delivered]
    assert stamps == sorted(stamps)
    assert {scene.stamp_ns for scene in scenes} < set(stamps)
    assert taus == sorted(taus)
    for result in delivered[:: len(delivered) // 10]:
        alone = Pipeline(cell_colors, SegmenterConfig(tau=result.segmentation.tau)).process(result.scene)
        assert np.array_equal(result.segmentation.labels, alone.segmentation.labels)


def test_a_hierarchy_is_computed_ahead_unless_it_is_too_large():
    """As deep as the cut looks into it, with damping too: nothing is left to grow."""
    for config, least in (
        (SegmenterConfig(), 0.5),
        (SegmenterConfig(damping=0.3), 0.65),
        (SegmenterConfig(target_segments=9), 0.4),
    ):
        pipeline = Pipeline(cell_colors, config)
        pipeline.process(Scene(noise(0), 0))
        prepared = pipeline.prepare(Scene(noise(1), STEP_NS))
        tree = prepared.frame.tree(config.alpha, 0.0)
        assert len(tree.cut(tree.tau)) == 144
        assert tree.tau >= least
        assert pipeline.finish(prepared).cut.tree is tree
    large = np.random.default_rng(0).integers(0, 255, (4 * 65, 4 * 64, 3)).astype(np.uint8)
    assert Pipeline(cell_colors).prepare(Scene(large)).frame.tree(10.0, 0.0).tau == 0.0


def test_a_cut_of_an_image_that_is_not_the_last_is_not_delivered():
    pipeline = Pipeline(cell_colors)
    assert pipeline.recut() is None  # no image yet
    pipeline.process(Scene(noise(0), 1))
    newer = Scene(noise(1), 2)
    delivered = []
    cut = Frame.cut

    def cut_while_the_next_image_comes(frame, config):
        found = cut(frame, config)
        if not delivered:
            delivered.append('newer')
            pipeline.process(newer)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Frame, 'cut', cut_while_the_next_image_comes)
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


def test_an_image_whose_transform_fails_leaves_the_last_one():
    def look_up():
        raise RuntimeError('no transform')

    camera, depth_m = PinholeCamera(48.0, 48.0, 24.0, 24.0, (48, 48)), np.ones((48, 48), np.float32)
    pipeline = Pipeline(cell_colors, SegmenterConfig(damping=0.2))
    first = pipeline.process(Scene(quadrants(48, 48)[0], STEP_NS))
    with pytest.raises(RuntimeError, match='no transform'):
        pipeline.process(Scene(noise(0), 2 * STEP_NS, depth_m, camera, look_up=look_up))
    again = pipeline.recut()
    assert again.scene is first.scene
    assert np.array_equal(again.segmentation.labels, first.segmentation.labels)
    state, untouched = pipeline.save()['before'], first.cut.parts
    assert np.array_equal(state['parts'], untouched)


def looked_up(into: Transform | None):
    """Return a function that returns a transform, and a list that grows with each call."""
    calls = []

    def look_up() -> Transform | None:
        calls.append(into)
        return into

    return look_up, calls


@pytest.mark.parametrize('known', [True, False])
def test_ids_come_back_by_places_in_a_frame_that_does_not_move(known):
    image, _ = quadrants(48, 48)
    camera, depth_m = PinholeCamera(50.0, 50.0, 23.5, 23.5, (48, 48)), np.full((48, 48), 2.0, np.float32)
    pipeline, found = Pipeline(cell_colors), []
    for stamp_s in (0, 0.1, 60):
        # The camera comes nearer by half a metre.
        forward_m = 0.5 * (stamp_s == 60)
        look_up, calls = looked_up(Transform(translation_m=np.array([0, 0, forward_m])) if known else None)
        scene = Scene(image, round(stamp_s * 1e9), depth_m - np.float32(forward_m), camera, look_up=look_up)
        result = pipeline.process(scene)
        assert (result.geometries[0] is not None) == known
        assert result.into is calls[0]
        assert len(calls) == 1
        found.append(result.segmentation.segments.track_id.tolist())
        if stamp_s == 0.1:
            other = Pipeline(cell_colors)
            other.load(unpack(pack(pipeline.save())))
    first = found[0]
    assert found[1] == first
    assert found[2] == first if known else min(found[2]) > max(first)
    assert other.process(scene).segmentation.segments.track_id.tolist() == found[-1]


def test_depth_of_another_aspect_is_told_by_places_alone():
    image, _ = quadrants(48, 48)
    camera = PinholeCamera(50.0, 50.0, 23.5, 23.5, (48, 48))
    result = Pipeline(cell_colors).process(
        Scene(image, 0, np.ones((48, 96), np.float32), camera, look_up=lambda: Transform())
    )
    assert len(result.segmentation.segments) == 4
    with pytest.raises(ValueError, match='aspect'):
        result.geometries  # noqa: B018
