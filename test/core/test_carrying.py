"""Between two images that are computed: their segments are carried along by motion, and keep their track ids."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from skimage import data

from diffcut_ros.core import PinholeCamera, Pipeline, Result, Scene, SegmenterConfig
from diffcut_ros.core.clicks import clicked
from diffcut_ros.core.frame import Frame
from diffcut_ros.core.motion import Trail
from diffcut_ros.features import create_extractor

SIZE_HW = 240, 320
STEP_NS = 33_333_333
# Photograph pixels that the camera moves by from image to image: rows, columns.
STEP = 2, 3
PHOTO = data.astronaut()
CONFIG = SegmenterConfig(tau=0.6)


def image(i: float) -> np.ndarray:
    y, x = round(60 + STEP[0] * i), round(20 + STEP[1] * i)
    return np.ascontiguousarray(PHOTO[y : y + SIZE_HW[0], x : x + SIZE_HW[1]])


def scene(i: int) -> Scene:
    return Scene(image(i), i * STEP_NS)


def pipeline(config: SegmenterConfig = CONFIG, **options) -> Pipeline:
    return Pipeline(create_extractor('color', cells=16), config, **options)


def ids_of_pixels(result: Result) -> np.ndarray:
    return result.segmentation.labels_by_track()


def agreement(key: np.ndarray, later: np.ndarray, steps: int) -> float:
    """Return the share of pixels, of those that both images show, with the value that they had."""
    dy, dx = STEP[0] * steps, STEP[1] * steps
    return float((key[dy:, dx:] == later[: SIZE_HW[0] - dy, : SIZE_HW[1] - dx]).mean())


def check_described(result: Result) -> None:
    """Areas, boxes and centres are those of the labels."""
    labels = result.segmentation.labels
    for segment in result.segmentation.segments:
        y, x = np.nonzero(labels == segment.label)
        assert segment.area_px == len(y)
        assert segment.box_xyxy == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        assert segment.centroid_xy == pytest.approx((x.mean(), y.mean()))


def test_labels_follow_the_image_and_ids_stay():
    camera = pipeline()
    key = camera.process(scene(0))
    for i in range(1, 16):
        result = camera.carry(scene(i))
        assert result.scene.stamp_ns == i * STEP_NS
        assert result.carried_ns == i * STEP_NS
        assert (result.segmentation.labels > 0).all()
        assert agreement(ids_of_pixels(key), ids_of_pixels(result), i) > 0.96
        assert set(result.segmentation.segments.track_id) <= set(key.segmentation.segments.track_id)
        check_described(result)
    features = dict(zip(key.segmentation.segments.track_id, key.segmentation.segments.feature, strict=True))
    for segment in result.segmentation.segments:
        assert np.array_equal(segment.feature, features[segment.track_id])


def test_a_result_that_comes_late_goes_on_from_its_own_image():
    camera, alone = pipeline(), pipeline()
    before = camera.process(scene(0))
    for i in range(1, 6):
        before = camera.carry(scene(i))
    begun = camera.begin()
    assert begun.stamp_ns == 5 * STEP_NS
    prepared = camera.prepare(begun)
    for i in range(6, 12):
        before = camera.carry(scene(i))
        assert before.carried_ns == i * STEP_NS
    assert camera.arrive(prepared, lambda _: pytest.fail('this image has come out'))
    result = camera.carry(scene(12))
    assert result.carried_ns == 7 * STEP_NS
    expected = alone.process(scene(5)).segmentation.labels
    assert len(result.segmentation.segments) <= expected.max()
    segment = result.cut.segment[result.cut.parts]
    assert agreement(alone.process(scene(5)).cut.segment[alone.process(scene(5)).cut.parts], segment, 7) > 0.96
    # As if both images had been computed: most of what is seen keeps its track id.
    plain = pipeline()
    first, second = plain.process(scene(11)), plain.process(scene(12))
    kept = agreement(ids_of_pixels(first), ids_of_pixels(second), 1)
    assert agreement(ids_of_pixels(before), ids_of_pixels(result), 1) > kept - 0.1
    assert camera.carry(scene(13)).carried_ns == 8 * STEP_NS


def test_an_image_that_did_not_come_out_comes_out_once_its_result_is_there():
    camera, out = pipeline(), []
    assert camera.begin() is None
    assert camera.carry(scene(0)) is None
    prepared = camera.prepare(camera.begin())
    assert camera.arrive(prepared, out.append)
    assert out[0].carried_ns is None
    assert np.array_equal(out[0].segmentation.labels, pipeline().process(scene(0)).segmentation.labels)
    camera = pipeline()
    camera.carry(scene(0))
    prepared = camera.prepare(camera.begin())
    assert camera.carry(scene(1)) is None
    assert camera.arrive(prepared, out.append)
    assert out[1].carried_ns == STEP_NS
    assert out[1].scene.stamp_ns == STEP_NS


OTHERS = {
    'an earlier stamp': replace(scene(4), stamp_ns=-STEP_NS),
    'a pause': replace(scene(4), stamp_ns=10**10),
    'another size': Scene(np.ascontiguousarray(image(4)[::2, ::2]), 4 * STEP_NS),
    'another view': Scene(np.ascontiguousarray(data.coffee()[: SIZE_HW[0], : SIZE_HW[1]]), 4 * STEP_NS),
}


@pytest.mark.parametrize('other', OTHERS.values(), ids=OTHERS)
def test_nothing_is_carried_to_what_does_not_go_on(other):
    camera = pipeline()
    last = camera.process(scene(0)).segmentation.segments.track_id.max()
    camera.carry(scene(1))
    prepared = camera.prepare(camera.begin())
    assert camera.carry(other) is None
    assert camera.recut() is None
    assert not camera.arrive(prepared, lambda _: pytest.fail('of another scene'))
    out = []
    assert camera.arrive(camera.prepare(camera.begin()), out.append)
    assert out[0].scene is other
    if other.stamp_ns != 4 * STEP_NS:
        assert out[0].segmentation.segments.track_id.min() > last


def test_one_that_was_begun_later_replaces_another():
    camera = pipeline()
    camera.carry(scene(0))
    first = camera.prepare(camera.begin())
    camera.carry(scene(1))
    second = camera.prepare(camera.begin())
    assert not camera.arrive(first)
    assert camera.arrive(second)


def test_an_image_that_is_processed_ends_what_was_begun():
    """As when network_hz becomes 0: no image follows a newer one."""
    camera = pipeline()
    camera.carry(scene(0))
    prepared = camera.prepare(camera.begin())
    assert camera.process(scene(1)).carried_ns is None
    assert not camera.arrive(prepared, lambda _: pytest.fail('older than the last'))
    assert camera.carry(scene(2)).carried_ns == STEP_NS


def test_another_cut_of_a_carried_image():
    camera = pipeline()
    camera.process(scene(0))
    before = camera.carry(scene(3))
    for i, tau in ((3, 0.85), (4, 0.3)):
        result = camera.recut(replace(CONFIG, tau=tau))
        alone = pipeline(replace(CONFIG, tau=tau)).process(scene(0))
        assert result.scene.stamp_ns == i * STEP_NS
        assert result.segmentation.tau == tau
        assert agreement(alone.cut.parts, result.cut.parts, i) > 0.96
        after = camera.carry(scene(i + 1))
        assert after.segmentation.tau == tau
        assert agreement(ids_of_pixels(result), ids_of_pixels(after), 1) > 0.96
    assert set(before.segmentation.segments.track_id) & set(result.segmentation.segments.track_id)


def test_a_result_that_comes_while_the_last_image_is_cut_anew_is_shown(monkeypatch):
    """Or a camera that stops now would keep the segments of before."""
    camera, cut, arrived = pipeline(), Frame.cut, []
    key = camera.process(scene(0)).frame
    camera.carry(scene(1))
    prepared = camera.prepare(camera.begin())
    camera.carry(scene(2))

    def cut_while_another_arrives(frame, config):
        found = cut(frame, config)
        if frame is key:
            arrived.append(camera.arrive(prepared))
        return found

    monkeypatch.setattr(Frame, 'cut', cut_while_another_arrives)
    result = camera.recut(replace(CONFIG, tau=0.8))
    assert arrived == [True]
    assert (result.scene.stamp_ns, result.carried_ns, result.segmentation.tau) == (2 * STEP_NS, STEP_NS, 0.8)


def test_segments_that_leave_vanish_and_come_back():
    camera = pipeline(replace(CONFIG, min_segment_area=200))
    first = camera.process(Scene(image(0), 0)).segmentation.segments
    there = [*range(1, 31), *range(29, -1, -1)]
    ids = []
    for stamp, i in enumerate(there, 1):
        segments = camera.carry(Scene(image(i), stamp * STEP_NS)).segmentation.segments
        assert (segments.area_px >= 200).all()
        ids.append(set(segments.track_id))
    assert len(ids[29]) < len(first)
    assert ids[-1] >= set(first[first.area_px > 400].track_id)


def test_damping_follows_what_was_carried():
    config = replace(CONFIG, damping=0.3)
    camera, plain = pipeline(config), pipeline(config)
    still = image(0)
    camera.process(Scene(still, 0))
    plain.process(Scene(still, 0))
    camera.config = plain.config = replace(config, tau=0.55)
    expected = plain.process(Scene(still, STEP_NS))
    assert not np.array_equal(expected.cut.cells, pipeline(camera.config).process(Scene(still)).cut.cells)
    camera.carry(Scene(still, STEP_NS))
    prepared = camera.prepare(camera.begin())
    camera.arrive(prepared)
    result = camera.carry(Scene(still, 2 * STEP_NS))
    assert np.array_equal(result.cut.cells, expected.cut.cells)


def test_a_click_means_the_segment_that_is_shown():
    camera = pipeline(replace(CONFIG, tau=0.85))
    camera.process(scene(0))
    result = camera.carry(scene(8))
    x, y = 150, 120
    found = clicked(result, x, y)
    assert found.segment.label == result.segmentation.labels[y, x]
    assert np.array_equal(found.mask, result.segmentation.labels == found.segment.label)
    larger = clicked(result, x, y, 2)
    assert larger.level == 2
    assert larger.mask[found.mask].all()
    # Its feature is of where it was, up to what has left the view.
    before = clicked(pipeline(replace(CONFIG, tau=0.85)).process(scene(0)), x + 8 * STEP[1], y + 8 * STEP[0], 2)
    cosine = larger.segment.feature @ before.segment.feature
    assert cosine > 0.97 * np.linalg.norm(larger.segment.feature) * np.linalg.norm(before.segment.feature)


def test_places_are_of_the_own_depth():
    camera = pipeline()
    model = PinholeCamera(300.0, 300.0, 160.0, 120.0, SIZE_HW)
    for i in range(4):
        depth_m = np.full(SIZE_HW, 1.0 + i, np.float32)
        given = replace(scene(i), depth_m=depth_m, camera=model)
        result = camera.carry(given) if i else camera.process(given)
        assert {round(float(place.position_m[2]), 3) for place in result.geometries} == {1.0 + i}


def test_images_are_carried_cut_and_computed_at_the_same_time():
    camera, delivered, done = pipeline(), [], threading.Event()
    errors = []

    def again(work):
        def loop():
            try:
                while not done.is_set():
                    work()
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    def compute():
        begun = camera.begin()
        if begun is not None:
            camera.arrive(camera.prepare(begun), deliver)

    def deliver(result):
        delivered.append((result.scene.stamp_ns, result.carried_ns))

    taus = iter(np.linspace(0.3, 0.9, 10**5).tolist())
    threads = [again(compute), again(lambda: camera.recut(replace(CONFIG, tau=next(taus)), deliver))]
    stamp, keys = 0, set()
    while (len(keys) < 4 or stamp < 60) and not errors:
        stamp += 1
        camera.carry(Scene(image(abs(stamp % 40 - 20)), stamp * STEP_NS), deliver)
        keys = {shown - (carried or 0) for shown, carried in delivered}
    done.set()
    for thread in threads:
        thread.join()
    assert not errors
    stamps = [shown for shown, _ in delivered]
    assert stamps == sorted(stamps)
    key = [shown - (carried or 0) for shown, carried in delivered]
    assert key == sorted(key)


@pytest.mark.parametrize('size_hw', [(1, 1), (1, 90), (90, 1), (33, 64)])
def test_images_of_any_size(size_hw):
    still = np.random.default_rng(0).integers(0, 255, (*size_hw, 3), np.uint8)
    camera = Pipeline(create_extractor('color', cells=4))
    labels = camera.process(Scene(still, 0)).segmentation.labels
    assert camera.carry(Scene(still, STEP_NS)).segmentation.labels.shape == labels.shape


def test_a_trail_begins_at_its_own_image():
    segments = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert Trail(image(0)).carry(segments) is segments
