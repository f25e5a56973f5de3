"""Track ids by places: things that are seen again after a long time, from known poses of the camera."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diffcut_ros.core import PinholeCamera, Segmentation, Tracker, TrackerConfig
from diffcut_ros.core.geometry import points_at
from diffcut_ros.core.places import Places
from diffcut_ros.core.plain import pack, unpack
from diffcut_ros.core.tracking import SAMPLES_HW, View
from diffcut_ros.core.transform import Transform

from .test_tracking import BLUE, FRAME_NS, GREEN, GREY, RED, ids, without_ground

CAMERA = PinholeCamera(100.0, 100.0, 79.5, 59.5, (120, 160))
WALL_M = 2.0
S = 10**9
# On a wall at z = 2 m: x and y of the middle in m, half the side, feature, how far it stands out of the wall.
TABLE = (-0.5, 0.0, 0.3, RED, 0.0), (0.5, 0.3, 0.2, GREEN, 0.0)


def at(x: float, y: float = 0.0, z: float = 0.0, turned=(0.0, 0.0, 0.0)) -> Transform:
    """Return the pose of a camera that looks along z, but turned by degrees around x, y and z."""
    return Transform(Rotation.from_euler('xyz', turned, degrees=True), np.array([x, y, z]))


def look(pose: Transform, things, told: Transform | None = None) -> tuple[Segmentation, View]:
    """Return what a camera sees of square things on a wall, which is no segment, and where it is by the pose told."""
    rays = points_at(np.ones(CAMERA.size_hw, np.float32), CAMERA, Transform(pose.rotation), CAMERA.size_hw)
    labels, depth = np.zeros(CAMERA.size_hw, np.int64), np.full(CAMERA.size_hw, np.inf)
    eye = pose.translation_m
    for k, (x, y, half, _, out) in enumerate([(0, 0, np.inf, GREY, 0.0), *things]):
        length = (WALL_M - out - eye[2]) / rays[..., 2]
        hit = eye + rays * length[..., None]
        own = (np.abs(hit[..., 0] - x) <= half) & (np.abs(hit[..., 1] - y) <= half) & (length > 0) & (length <= depth)
        labels[own], depth[own] = k, length[own]
    told = told or pose
    depth[~np.isfinite(depth)] = np.nan
    points = points_at(depth.astype(np.float32), CAMERA, told, SAMPLES_HW)
    features = np.array([GREY, *(feature for *_, feature, _ in things)])
    labels[:2] = 0  # the ground is seen in each image
    present = np.unique(labels)
    return without_ground(np.searchsorted(present, labels), features[present]), View(points, told)


def show(tracker: Tracker, stamp_s: float, pose: Transform, things=TABLE, told: Transform | None = None, count=3):
    """Show a scene for some images; return the track ids of the last one by the place of their feature."""
    for k in range(count):
        segmentation, view = look(pose, things, told)
        found = tracker.update(segmentation, round(stamp_s * S) + k * FRAME_NS, view)
    return {int(one.feature.argmax()): one.track_id for one in found.segments}


AWAY = at(20.0)  # other things there, so that the tracker goes on
OTHERS = ((20.0, 0.0, 0.4, BLUE, 0.0),)


def away(tracker: Tracker, begin_s: float, end_s: float) -> int:
    """Look elsewhere, with an image in 2 s."""
    found = {}
    for stamp_s in np.arange(begin_s, end_s, 2.0):
        found = show(tracker, stamp_s, AWAY, OTHERS, count=1)
    return found[2]


@pytest.mark.parametrize('way', ['away', 'a pause'])
def test_what_is_seen_again_after_a_minute_has_its_ids(way):
    tracker = Tracker()
    before = show(tracker, 0, at(0))
    other = away(tracker, 1, 60) if way == 'away' else 0
    assert show(tracker, 61, at(0.4, 0.1, -0.5, (5, -8, 10))) == before
    assert other not in before.values()
    if other:
        assert show(tracker, 62, AWAY, OTHERS) == {2: other}


def test_without_places_they_are_new():
    tracker = Tracker()
    plain, _ = look(at(0), TABLE)
    assert ids(tracker.update(plain, 0)) == [1, 2]
    assert ids(tracker.update(plain, 61 * S)) == [3, 4]


def test_a_part_of_a_large_thing_is_that_thing():
    """The middle of what is seen is elsewhere each time."""
    wall, tracker = ((0.0, 0.0, 3.0, RED, 0.0), (0.0, 0.0, 0.3, GREEN, 0.0)), Tracker()
    (before, *_) = {show(tracker, k / 2, at(x), wall)[0] for k, x in enumerate((-2.5, -1.5, -0.5, 0.5, 1.5, 2.5))}
    assert show(tracker, 60, at(2.8), wall)[0] == before


def test_a_thing_at_another_place_is_another_one():
    tracker = Tracker()
    before = show(tracker, 0, at(0))
    away(tracker, 1, 20)
    moved = (-0.5, 0.0, 0.3, RED, 0.0), (0.0, -0.5, 0.2, GREEN, 0.0)
    after = show(tracker, 21, at(0), moved)
    assert after[0] == before[0]
    assert after[1] not in before.values()


def test_what_looks_different_at_the_same_place_is_another_one():
    tracker = Tracker()
    before = show(tracker, 0, at(0))
    away(tracker, 1, 20)
    after = show(tracker, 21, at(0), ((-0.5, 0.0, 0.3, BLUE, 0.0), TABLE[1]))
    assert after[2] not in before.values()
    assert after[1] == before[1]


def test_where_something_was_that_went_away_before_ones_eyes_a_like_thing_is_another_one():
    """Its places are looked through, at the wall behind it."""
    before_wall, tracker = (-0.5, 0.0, 0.3, RED, 0.8), Tracker()
    before = show(tracker, 0, at(0), (before_wall, TABLE[1]))
    show(tracker, 1, at(0), TABLE[1:], count=300)
    after = show(tracker, 61, at(0), (before_wall, TABLE[1]))
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_poses_that_are_off_cost_no_ids():
    """1 cm and 1 degree."""
    rng = np.random.default_rng(0)

    def off(pose: Transform) -> Transform:
        turn = Rotation.from_rotvec(rng.normal(0, 1, 3), degrees=True)
        return Transform(pose.rotation * turn, pose.translation_m + rng.normal(0, 0.01, 3))

    tracker = Tracker()
    for k in range(10):
        before = show(tracker, k / 10, at(0), told=off(at(0)), count=1)
    for k in range(10):
        assert show(tracker, 60 + k / 10, at(0.3), told=off(at(0.3)), count=1) == before


def test_what_is_one_segment_now_and_two_another_time_has_its_ids_either_way():
    whole = ((0.0, 0.0, 0.6, RED, 0.0),)
    parts = (*whole, (0.3, 0.3, 0.3, GREEN + RED / 4, 0.0))
    tracker = Tracker()
    one, two = show(tracker, 0, at(0), whole), show(tracker, 1, at(0), parts)
    assert two[0] == one[0]
    for k in range(3):
        assert show(tracker, 60 * (k + 1), at(0.2), parts) == two
        assert show(tracker, 60 * (k + 1) + 30, at(-0.2), whole)[0] == one[0]


def test_a_map_whose_origin_is_far_away():
    """As in UTM."""
    tracker = Tracker()
    far = np.array([500_000.0, 5_400_000.0, 300.0])
    found = []
    for stamp_s in (0, 60):
        for k in range(3):
            segmentation, view = look(at(0), TABLE)
            view = View(view.points_m + far, Transform(translation_m=far))
            found.append(ids(tracker.update(segmentation, stamp_s * S + k * FRAME_NS, view)))
    assert found == [[1, 2]] * 6


def test_an_image_without_places_neither_reads_nor_writes_them():
    tracker, plain = Tracker(), Tracker()
    for k in range(30):
        segmentation, view = look(at(0.02 * k), TABLE)
        nothing = View(np.full_like(view.points_m, np.nan), view.into)
        one = tracker.update(segmentation, k * S, nothing if k % 2 else None)
        assert ids(one) == ids(plain.update(segmentation, k * S))
    assert not len(tracker._places)


def test_places_are_kept_while_images_have_none():
    tracker = Tracker()
    before = show(tracker, 0, at(0))
    for k in range(20):
        tracker.update(look(AWAY, OTHERS)[0], (k + 1) * S)
    assert show(tracker, 22, at(0)) == before


@pytest.mark.parametrize(('back_s', 'kept'), [(0.05, True), (30.0, False)])
def test_a_jump_back_forgets_places_and_says_so(back_s, kept):
    told = []
    tracker = Tracker(tell=told.append)
    before = show(tracker, 100, at(0), count=1)
    assert (show(tracker, 100 - back_s, at(0), count=1) == before) == kept
    assert told == ([] if kept else ['places of 2 track ids are forgotten: the stamp of an image went back by 30.0 s'])


@pytest.mark.parametrize(
    ('settings', 'reason'),
    [({'voxel_m': 0.2}, 'tracking.voxel_m is 0.2 now'), ({'max_remembered': 0}, 'tracking.max_remembered is 0 now')],
)
def test_other_settings_forget_places_and_say_so(settings, reason):
    told = []
    tracker = Tracker(tell=told.append)
    before = show(tracker, 0, at(0))
    tracker.config = TrackerConfig(**settings)
    assert not show(tracker, 60, at(0)).items() & before.items()
    assert told == [f'places of 2 track ids are forgotten: {reason}']


def test_other_features_forget_places_and_say_so():
    told = []
    tracker = Tracker(tell=told.append)
    show(tracker, 0, at(0))
    segmentation, view = look(at(0), TABLE)
    segments = replace(segmentation.segments, feature=np.eye(2, 7, dtype=np.float32))
    assert ids(tracker.update(replace(segmentation, segments=segments), S, view)) == [3, 4]
    assert told == ['places of 2 track ids are forgotten: features are of another backend']


def test_remembered_tracks_are_bounded_and_that_is_told_once():
    told = []
    tracker = Tracker(TrackerConfig(max_remembered=10), told.append)
    for k in range(40):  # each elsewhere
        show(tracker, 10 * k, at(10.0 * k), [(10.0 * k, 0, 0.3, RED, 0.0)], count=1)
        assert len(tracker._ended) <= 10
    assert told == ['tracking.max_remembered: 10 are reached; from now on those seen longest ago are forgotten']
    assert show(tracker, 401, at(380.0), [(380.0, 0, 0.3, RED, 0.0)]) == {0: 39}
    assert show(tracker, 411, at(0.0), [(0.0, 0, 0.3, RED, 0.0)]) == {0: 41}
    assert len(tracker._places.ids) <= 12


def test_voxels_are_bounded_and_that_is_told_once():
    told = []
    tracker = Tracker(TrackerConfig(max_voxels=1000), told.append)
    for k in range(40):
        show(tracker, 10 * k, at(10.0 * k), [(10.0 * k, 0, 0.5, RED, 0.0)], count=1)
        assert len(tracker._places) <= 1000
    assert told == ['tracking.max_voxels: 1000 are reached; from now on those seen longest ago are forgotten']
    assert show(tracker, 401, at(380.0), [(380.0, 0, 0.5, RED, 0.0)]) == {0: 39}


def test_a_saved_tracker_goes_on_alike():
    tracker, other = Tracker(), Tracker()
    before = show(tracker, 0, at(0))
    away(tracker, 1, 20)
    other.load(unpack(pack(tracker.save())))
    assert show(other, 60, at(0)) == show(tracker, 60, at(0)) == before
    assert np.array_equal(other._places._weight, tracker._places._weight)


@pytest.mark.parametrize(
    'change',
    [
        {'voxel_m': 0.0},
        {'_claim': np.array([3, 2])},
        {'_claim': np.array([-1, 2])},
        {'_weight': np.array([np.nan, 1])},
        {'_seen_ns': np.zeros(3, np.int64)},
        {'voxel_m': 'x'},
        {'_looks': None},
    ],
)
def test_another_state_is_refused(change):
    places = Places(0.1)
    places.see(np.array([1, 2]), np.array([1, 2]), 0)
    state = places.save()
    assert len(Places.load(state)) == 2
    with pytest.raises((ValueError, TypeError)):
        Places.load(state | change)


def test_a_place_belongs_to_its_tracks_by_how_often_it_was_whose():
    places = Places(0.1)
    voxel = places.voxels(np.array([[0.05, 0.05, 0.05], [-0.05, 0, 0], [np.nan, 0, 0]]))
    assert voxel[2] == -1
    assert voxel[0] != voxel[1]
    for track_id in (7, 7, 7, 9):
        places.see(voxel, np.array([track_id, 5, 3]), 0)
    which, owner, share = places.owners(voxel)
    found = sorted(zip(which.tolist(), owner.tolist(), share.tolist(), strict=True))
    assert found == [(0, 7, 0.75), (0, 9, 0.25), (1, 5, 1.0)]
    for _ in range(800):  # it is another's by now
        places.see(voxel, np.array([9, 5, 0]), 0)
    _, owner, share = places.owners(voxel[:1])
    assert share[owner == 9] > 0.95
    places.forget(np.array([9]))
    assert places.ids.tolist() == [5, 7]


@pytest.mark.parametrize('name', ['voxel_m', 'max_remembered', 'max_voxels'])
def test_bad_settings(name):
    with pytest.raises(ValueError, match=rf'{name}: expected .*, received -1'):
        TrackerConfig(**{name: -1})


def test_a_frame_that_moves_with_the_camera_is_told_and_its_places_are_not_used():
    """base_link, by a static transform; the camera passes along the wall."""
    told = []
    tracker, plain = Tracker(tell=told.append), Tracker()
    wall = [(0.5 * k, 0.3 * (k % 2), 0.2, (RED, GREEN, BLUE)[k % 3], 0.0) for k in range(40)]
    for k in range(40):
        segmentation, view = look(at(0.15 * k), wall, told=at(0))
        found = ids(tracker.update(segmentation, k * FRAME_NS, view))
        without = ids(plain.update(segmentation, k * FRAME_NS))
        if k == 10:
            offset = np.array(found) - without
    assert len(told) == 1
    assert 'the target frame seems to move with the camera' in told[0]
    assert 'a map of objects in this frame is of no use. Next: ' in told[0]
    assert not len(tracker._places)
    assert len(set(np.array(found) - without)) == 1
    assert offset.any() or found == without
    # In the end it moves in its frame: it does not move with it.
    before = show(tracker, 5, at(0))
    assert show(tracker, 6, at(0.1)) == before
    assert show(tracker, 60, at(0.1)) == before
    assert len(told) == 1
