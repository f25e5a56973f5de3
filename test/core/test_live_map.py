"""The map of objects while images come: what it remembers, and when it forgets."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diffcut_ros.core import Classes, PinholeCamera, Scene, TrackerConfig
from diffcut_ros.core.classes import Source
from diffcut_ros.core.live_map import LiveMap
from diffcut_ros.core.objects import join, look, object_map
from diffcut_ros.core.transform import Transform

from .test_tracking import GREEN, RED, without_ground

CAMERA = PinholeCamera(100.0, 100.0, 79.5, 59.5, (120, 160))
AHEAD = Rotation.from_euler('x', -90, degrees=True)
S = 10**9
CONFIG = TrackerConfig()


def show(x_m: float, track_id: int, stamp_ns: int, feature=RED, depth_m: float = 2.0):
    """Return what a camera at x sees: a square of 0.6 m in its middle, 2 m ahead."""
    labels = np.zeros((120, 160), np.int64)
    labels[45:75, 65:95] = 1
    segmentation = without_ground(labels, np.array([GREEN, feature]))
    segments = replace(segmentation.segments, track_id=np.array([track_id]))
    depth = np.full((120, 160), depth_m, np.float32)
    scene = Scene(np.full((120, 160, 3), 90, np.uint8), stamp_ns, depth, CAMERA)
    return scene, replace(segmentation, segments=segments), Transform(AHEAD, np.array([x_m, 0.0, 0.0]))


def places(live: LiveMap, config: TrackerConfig = CONFIG) -> dict[int, float]:
    return {one.object_id: round(one.position_m[0], 1) for one in live.map(config).objects}


def test_it_is_the_map_of_all_images_however_often_it_is_settled():
    shown = [show(0.1 * (k % 40), 1 + k % 40, k * S) for k in range(200)]
    whole = object_map(join([
        look(scene.image_rgb, segmentation, scene.stamp_ns, scene.depth_m, CAMERA, into, CONFIG.voxel_m)
        for scene, segmentation, into in shown
    ]), CONFIG.voxel_m)  # fmt: skip
    for settled in (10**9, 30, 7, 1):
        live = LiveMap()
        for k, one in enumerate(shown, start=1):
            live.add(*one, CONFIG)
            if k % settled == 0:
                live.settle(CONFIG)
        found = live.map(CONFIG)
        assert len(live._kept) <= 9  # sums of few images, each at least half as large as the next
        assert np.allclose(found.points_m, whole.points_m)
        for one, other in zip(found.objects, whole.objects, strict=True):
            assert (one.track_ids, one.views, one.first_ns, one.last_ns) == (
                *(other.track_ids, other.views), *(other.first_ns, other.last_ns),
            )  # fmt: skip
            assert one.box_size_m == pytest.approx(other.box_size_m)


def test_objects_stay_what_they_were_in_the_map_before():
    """Squares that lie closer and closer: two that were one thing stay one, where all at once they would be two."""
    near, far = [show(0.0, 1, 0), show(0.3, 2, S)], [show(0.0, 1, k * S) for k in range(2, 9)]
    far += [show(0.4, 2, k * S) for k in range(9, 30)]
    live, asked = LiveMap(), LiveMap()
    for one in near:
        live.add(*one, CONFIG)
        asked.add(*one, CONFIG)
    assert len(places(asked)) == 1
    for one in far:
        live.add(*one, CONFIG)
        asked.add(*one, CONFIG)
    assert len(places(live)) == 2
    assert len(places(asked)) == 1
    asked.forget('a test')
    for one in near + far:
        asked.add(*one, CONFIG)
    assert len(places(asked)) == 2


def test_an_image_that_is_cut_again_counts_once():
    live = LiveMap()
    for track_id in (1, 2, 3):
        live.add(*show(0.0, track_id, S), CONFIG)
        live.settle(CONFIG)
    (found,) = live.map(CONFIG).objects
    assert (found.track_ids, found.views) == ((3,), 1)


@pytest.mark.parametrize(
    ('stamp_s', 'config', 'reason'),
    [
        (-30.0, CONFIG, 'the stamp of an image went back by 30.0 s'),
        (1.0, TrackerConfig(voxel_m=0.2), 'tracking.voxel_m is 0.2 now'),
        (1.0, TrackerConfig(max_remembered=0), 'tracking.max_remembered is 0 now'),
    ],
)
def test_it_begins_anew_and_says_so(stamp_s, config, reason):
    told = []
    live = LiveMap(told.append)
    for k in range(3):
        live.add(*show(float(k), 1 + k, 100 * S), CONFIG)
        live.add(*show(float(k), 1 + k, 100 * S + 1 + k), CONFIG)
        live.settle(CONFIG)
    changes = live.changes
    live.add(*show(9.0, 9, round((100 + stamp_s) * S)), config)
    assert told == [f'the map of objects, of 3 track ids, begins anew: {reason}']
    assert places(live, config) == ({9: 9.0} if config.max_remembered else {})
    assert live.changes > changes
    live.add(*show(9.0, 9, round((101 + stamp_s) * S)), config)
    assert len(told) == 1


def test_disorder_of_some_milliseconds_forgets_nothing():
    live = LiveMap(pytest.fail)
    live.add(*show(0.0, 1, 10 * S), CONFIG)
    live.add(*show(1.0, 2, 10 * S - 10**7), CONFIG)
    assert places(live) == {1: 0.0, 2: 1.0}


def test_an_image_without_a_place_is_not_in_it():
    live = LiveMap(pytest.fail)
    scene, segmentation, into = show(0.0, 1, S)
    for k, one in enumerate((replace(scene, depth_m=None), replace(scene, camera=None))):
        live.add(replace(one, stamp_ns=S + k), segmentation, into, CONFIG)
    live.add(scene, segmentation, None, CONFIG)
    assert places(live) == {}
    live.add(*show(0.0, 1, 2 * S), CONFIG)
    assert places(live) == {1: 0.0}
    with pytest.raises(ValueError, match='aspect'):
        live.add(replace(scene, stamp_ns=3 * S, depth_m=scene.depth_m[:60]), segmentation, into, CONFIG)
    assert places(live) == {1: 0.0}


@pytest.mark.parametrize(
    ('config', 'most', 'told'),
    [
        (TrackerConfig(max_remembered=10), 10, 'tracking.max_remembered: 10'),
        (TrackerConfig(max_voxels=1000), 1000 // 36, 'tracking.max_voxels: 1000'),
    ],
)
@pytest.mark.parametrize('asked', [1, 1000])
def test_it_is_bounded_and_that_is_told_once(config, most, told, asked):
    said = []
    live = LiveMap(said.append)
    for k in range(1, 120):
        live.add(*show(float(k), k, k * S), config)
        live.settle(config)
        assert sum(len(one.track_id) for one in live._kept) <= 2 * config.max_remembered
        assert sum(map(len, live._kept)) <= 2 * config.max_voxels
        if k % asked == 0:
            live.map(config)
    assert said == [f'the map of objects: {told} are reached; from now on those seen longest ago are left out']
    found = places(live, config)
    # The last image is in it, and others up to 10 % less than there is room for.
    assert list(found) == list(range(120 - len(found), 120))
    assert 0.85 * most <= len(found) <= most + 1


def test_a_thing_that_needs_more_than_there_is_room_for_keeps_what_most_images_show():
    live, config = LiveMap(), TrackerConfig(max_voxels=1000)
    for k in range(100):
        live.add(*show(0.6 * k, 1, k * S), config)
        live.settle(config)
    (found,) = live.map(config).objects
    assert 800 <= found.voxels <= 1000 + 49


def test_images_may_come_while_a_map_is_made():
    live, end = LiveMap(), threading.Event()
    failed = []

    def make() -> None:
        while not end.is_set():
            try:
                live.map(CONFIG)
            except Exception as error:
                failed.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    for k in range(300):
        live.add(*show(0.1 * (k % 20), 1 + k % 20, k * S), CONFIG)
        if k == 150:
            live.forget('asked to')
    end.set()
    thread.join()
    assert failed == []
    assert sum(one.views for one in live.map(CONFIG).objects) == 149


def test_names_are_those_of_the_mean_feature():
    live = LiveMap()
    live.add(*show(0.0, 1, S), CONFIG)
    live.add(*show(2.0, 2, 2 * S, GREEN), CONFIG)
    found = live.map(CONFIG)
    classes = Classes()
    assert [one.class_id for one in found.named(classes, 0.0).objects] == [0, 0]
    for name, feature in (('door', RED), ('plant', GREEN)):
        classes = classes.with_example(name, feature.astype(np.float32), 1.0, Source('film', name, 0, 0))
    named = found.named(classes, 0.0).objects
    assert [classes.name(one.class_id) for one in named] == ['door', 'plant']
    assert all(0 < one.confidence <= 1 for one in named)
    assert [(one.class_id, one.confidence) for one in found.named(classes, 1.01).objects] == [(0, 0.0)] * 2
