"""The map of objects: things that several tracks were, from known poses of the camera."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diffcut_ros.core import PinholeCamera
from diffcut_ros.core.objects import (
    Sightings,
    _owned,
    in_one_piece,
    join,
    look,
    nothing,
    object_map,
    total,
    upright_box,
)
from diffcut_ros.core.plain import pack, unpack
from diffcut_ros.core.transform import Transform

from .test_tracking import BLUE, GREEN, RED, without_ground

CAMERA = PinholeCamera(100.0, 100.0, 79.5, 59.5, (120, 160))
WALL_M, VOXEL_M = 2.0, 0.1
# Along z of the map, as it lies in a room: x of the camera is x, y is -z, and it looks along y.
AHEAD = Rotation.from_euler('x', -90, degrees=True)
COLOR = {1: (200, 0, 0), 2: (0, 200, 0)}
PARTLY = RED + 0.4 * BLUE  # like RED, by 0.93


def see(eye_x: float, things, stamp_ns: int = 0, origin_m: float = 0.0) -> Sightings:
    """Return what a camera sees of a wall with things: x and z from and to, in m, their track id and feature."""
    rows, columns = np.mgrid[:120, :160]
    x, z = (columns - 79.5) / 100 * WALL_M + eye_x, (59.5 - rows) / 100 * WALL_M
    labels, image = np.zeros((120, 160), np.int64), np.full((120, 160, 3), 90, np.uint8)
    labels[0, 0] = 0
    for k, ((x0, x1, z0, z1), track_id, _) in enumerate(things, start=1):
        inside = (x0 <= x) & (x < x1) & (z0 <= z) & (z < z1)
        labels[inside], image[inside] = k, COLOR.get(track_id, (0, 0, 200))
    features = np.array([GREEN, *(feature for *_, feature in things)])
    segmentation = without_ground(labels, features)
    ids = np.array([track_id for _, track_id, _ in things])
    segmentation = replace(segmentation, segments=replace(segmentation.segments, track_id=ids))
    depth = np.full((120, 160), WALL_M, np.float32)
    into = Transform(AHEAD, np.array([eye_x + origin_m, origin_m, 0.0]))
    return look(image, segmentation, stamp_ns, depth, CAMERA, into, VOXEL_M)


def objects_of(sights, **options):
    return object_map(join(sights), VOXEL_M, **options).objects


LEFT, RIGHT = (-0.6, 0.0, -0.3, 0.3), (0.0, 0.6, -0.3, 0.3)


def test_a_thing_that_was_two_tracks_one_after_the_other_is_one():
    sights = [see(0.1 * k, [(LEFT, 7 if k < 3 else 3, RED if k < 3 else PARTLY)], stamp_ns=10 + k) for k in range(5)]
    (found,) = objects_of(sights)
    assert (found.object_id, found.track_ids, found.views) == (3, (3, 7), 5)
    assert (found.first_ns, found.last_ns) == (10, 14)
    assert found.position_m == pytest.approx((-0.3, 2.0, 0.0), abs=0.02)
    assert found.box_center_m == pytest.approx((-0.3, 2.0, 0.0), abs=0.02)
    # By the means of voxels, half a voxel is missing at each end. It is flat, and as thick as a voxel.
    assert found.box_size_m == pytest.approx((0.5, VOXEL_M, 0.5), abs=0.03)
    assert found.box_yaw_rad == pytest.approx(0, abs=1e-3)
    mean = 3 * RED + 2 * PARTLY / np.linalg.norm(PARTLY)
    assert found.feature == pytest.approx(mean / np.linalg.norm(mean), abs=0.02)


def test_what_looks_different_at_the_same_place_is_another_thing():
    found = objects_of([see(0.0, [(LEFT, 1, RED)])] * 3 + [see(0.0, [(LEFT, 2, GREEN)])] * 2)
    assert [one.track_ids for one in found] == [(1,)]  # the voxels are its, by how often it was seen there
    found = object_map(
        join([see(0.0, [(LEFT, 1, RED)])] * 3 + [see(0.0, [((-0.6, 0.3, -0.3, 0.3), 2, GREEN)])] * 2), VOXEL_M
    )
    assert [one.track_ids for one in found.objects] == [(1,), (2,)]
    assert [one.voxels for one in found.objects] == [36, 18]
    assert found.object_id.tolist() == [1] * 36 + [2] * 18


def test_things_side_by_side_stay_two_however_alike():
    found = objects_of([see(0.02 * k, [(LEFT, 1, RED), (RIGHT, 2, RED)]) for k in range(4)])
    assert [one.track_ids for one in found] == [(1,), (2,)]
    assert [round(one.position_m[0], 1) for one in found] == [-0.3, 0.3]


def test_a_track_that_joined_two_things_once_is_no_object():
    both = (-0.6, 0.6, -0.3, 0.3)
    found = objects_of([see(0.0, [(LEFT, 1, RED), (RIGHT, 2, RED)])] * 9 + [see(0.0, [(both, 3, RED)])])
    assert [one.track_ids for one in found] == [(1,), (2,)]


def test_a_small_track_between_two_things_joins_one_of_them_and_does_not_join_them():
    between = [((-0.6, -0.1, -0.3, 0.3), 1, RED), ((0.1, 0.6, -0.3, 0.3), 2, RED), ((-0.1, 0.1, -0.3, 0.3), 3, RED)]
    found = objects_of([see(0.0, [(LEFT, 1, RED), (RIGHT, 2, RED)]), see(0.0, between)] * 3)
    assert sorted(one.track_ids for one in found) == [(1, 3), (2,)]


def test_without_merging_each_track_is_its_own():
    sights = [see(0.0, [(LEFT, 1, RED)])] * 2 + [see(0.0, [((-0.7, 0.0, -0.3, 0.3), 2, RED)])]
    assert [one.track_ids for one in objects_of(sights)] == [(1, 2)]
    assert [one.track_ids for one in objects_of(sights, merges=False)] == [(1,), (2,)]


def test_points_and_colours():
    found = object_map(see(0.0, [(LEFT, 1, RED), (RIGHT, 2, RED)]), VOXEL_M)
    assert len(found.points_m) == len(found.object_id) == 72
    for object_id, color in COLOR.items():
        points_m = found.points_m[found.object_id == object_id]
        assert (found.colors[found.object_id == object_id] == color).all()
        assert np.ptp(points_m, 0) == pytest.approx((0.5, 0.0, 0.5), abs=0.03)


def test_a_map_whose_origin_is_far_away():
    (near,), (far,) = objects_of([see(0.0, [(LEFT, 1, RED)])]), objects_of([see(0.0, [(LEFT, 1, RED)], origin_m=5e6)])
    assert np.subtract(far.position_m, near.position_m) == pytest.approx((5e6, 5e6, 0), abs=1e-3)
    assert far.box_size_m == pytest.approx(near.box_size_m, abs=1e-3)


def test_the_best_view_is_the_largest_and_what_the_image_cuts_off_counts_by_half():
    found = objects_of([see(1.2, [(LEFT, 1, RED)], 1), see(0.5, [(LEFT, 1, RED)], 2), see(0.6, [(LEFT, 1, RED)], 3)])
    assert (found[0].best_ns, found[0].best_whole, found[0].best_area_px) == (2, True, 900)
    assert found[0].best_box_xyxy == (25, 45, 55, 75)
    # 85 columns of it at the edge against 50 or 35 inside the image; of one track, or of two of one object.
    for track_id in (1, 2):
        for inside_m, best_ns in ((1.0, 2), (0.7, 4)):
            inside = [see(0.5, [((-inside_m, 0.0, -0.3, 0.3), 1, RED)], 2)] * 2
            (found,) = objects_of([*inside, see(0.1, [((-1.7, 0.0, -0.3, 0.3), track_id, RED)], 4)])
            assert (found.best_ns, found.best_whole, found.last_ns) == (best_ns, best_ns == 2, 4)
    (cut,) = objects_of([see(1.5, [(LEFT, 1, RED)], 1), see(1.4, [(LEFT, 1, RED)], 2)])
    assert (cut.best_ns, cut.best_whole, cut.best_box_xyxy[0]) == (2, False, 0)


def test_the_area_of_a_view_is_that_of_its_segment_and_not_of_its_box():
    square, hole = (-0.9, 0.1, -0.5, 0.5), (-0.8, 0.0, -0.4, 0.4)
    views = [see(0.5, [(square, 1, RED), (hole, 2, GREEN)], 1), see(0.5, [(hole, 1, RED)], 2)]
    assert [one.best[0, 1] for one in views] == [50 * 50 - 40 * 40, 40 * 40]
    assert objects_of(views)[0].best_ns == 2


def test_images_without_depth_or_things_count():
    sights = [see(0.0, [(LEFT, 1, RED)]), nothing(images=1), nothing(without_places=1)]
    assert (join(sights).images, join(sights).without_places) == (2, 1)
    assert join([]).images == 0
    assert object_map(nothing(), VOXEL_M).objects == ()
    untracked = see(0.0, [(LEFT, 0, RED)])
    assert (untracked.images, len(untracked)) == (1, 0)


def test_the_sum_does_not_depend_on_what_was_added_first():
    sights = [see(0.1 * k, [(LEFT, 1 + k // 2, RED), (RIGHT, 9, GREEN)], k) for k in range(5)]
    whole, parts = join(sights), join([join(sights[3:]), join(sights[:2]), sights[2]])
    for name, values in vars(whole).items():
        assert np.allclose(values, getattr(parts, name)), name


def test_it_is_bounded():
    sights = [see(0.0, [(LEFT, 1, RED)])] * 2 + [see(0.0, [(LEFT, 1, RED), (RIGHT, 2, RED)])]
    bounded = total(sights, most=50)
    assert (len(bounded), bounded.left_out) == (45, 27)
    # Those that the most images show stay.
    assert np.bincount(bounded.track).tolist() == [0, 36, 9]
    assert total(sights, most=72).left_out == 0
    (one,) = object_map(total(sights, most=40), VOXEL_M).objects
    assert (one.object_id, total(sights, most=40).track_id.tolist()) == (1, [1])
    many = total([see(0.6 * k, [((0.6 * k, 0.6 * k + 0.6, 0, 0.6), k + 1, RED)]) for k in range(200)], most=100)
    assert len(many) <= 100
    assert len(many) + many.left_out == 7200


def test_what_was_saved_is_read():
    seen = see(0.0, [(LEFT, 1, RED), (RIGHT, 2, RED)])
    again = Sightings.load(unpack(pack(vars(seen))))
    for name, values in vars(seen).items():
        assert np.array_equal(values, getattr(again, name)), name


@pytest.mark.parametrize(
    'change',
    [
        {'voxel': np.zeros(3, np.int64)},
        {'track': np.full(72, 5)},
        {'samples': np.zeros(72, np.int64)},
        {'points_m': np.full((72, 3), np.nan)},
        {'feature': np.zeros((1, 8), np.float32)},
        {'images': -1},
        {'more': 1},
    ],
)
def test_another_state_is_refused(change):
    with pytest.raises((ValueError, TypeError)):
        Sightings.load(vars(see(0.0, [(LEFT, 1, RED), (RIGHT, 2, RED)])) | change)


@pytest.mark.parametrize('yaw', [-1.4, -0.5, 0.0, 0.7, np.pi / 2])
def test_a_box_stands_upright_along_its_longer_side(yaw):
    grid = np.stack(np.meshgrid(*(np.linspace(-0.5, 0.5, 12),) * 3), -1).reshape(-1, 3) * (2.0, 0.8, 3.0)
    points_m = Rotation.from_euler('z', yaw).apply(grid) + np.array([5, -3, 1])
    center_m, size_m, turned = upright_box(points_m, np.ones(len(points_m)), VOXEL_M)
    assert center_m == pytest.approx((5, -3, 1))
    assert size_m == pytest.approx((2.0, 0.8, 3.0))
    assert turned == pytest.approx(yaw)


def test_what_spreads_evenly_has_its_longer_side_first():
    # More points in a narrow cross than along the long side.
    x = np.concatenate([np.linspace(-1, 1, 40), np.zeros(400)])
    y = np.concatenate([np.zeros(40), np.tile([-0.4, 0.4], 200)])
    _, size_m, _ = upright_box(np.stack([x, y, 0 * x], 1), np.ones(len(x)), VOXEL_M)
    assert size_m[0] >= size_m[1]


def test_a_box_is_at_least_a_voxel_along_each_side():
    center_m, size_m, _ = upright_box(np.array([[1.0, 2.0, 3.0]]), np.ones(1), VOXEL_M)
    assert (center_m.tolist(), size_m.tolist()) == ([1, 2, 3], [VOXEL_M] * 3)
    (found,) = objects_of([see(0.0, [((-0.04, 0.0, 0.04, 0.08), 1, RED)])])
    assert (found.voxels, found.box_size_m) == (1, (VOXEL_M,) * 3)
    assert found.box_center_m == pytest.approx((-0.02, 2.0, 0.06), abs=0.03)


def test_points_that_fly_do_not_widen_the_box():
    """The depth behind the thing's border, in a tenth of the samples, 3 m behind it."""
    sights = [see(0.0, [(LEFT, 1, RED)]) for _ in range(5)]
    behind = see(0.0, [(LEFT, 1, RED)])
    few = replace(behind, points_m=behind.points_m * 2.5 / behind.samples[:, None], samples=np.ones(36, np.int64))
    few = replace(few, points_m=few.points_m + np.array([0, 3, 0]), voxel=few.voxel + (31 << 21))
    (clean,), (found,) = objects_of(sights), objects_of([*sights, few])
    assert found.voxels == 72
    assert found.position_m == pytest.approx(clean.position_m, abs=0.05)
    assert found.box_size_m == pytest.approx(clean.box_size_m, abs=0.1)


def test_the_object_of_a_group_is_the_one_that_most_samples_lie_in():
    found = object_map(see(0.0, [(LEFT, 1, RED), (RIGHT, 2, RED)]), VOXEL_M)
    left, right = (found.voxel[found.object_id == key] for key in (1, 2))
    voxel = np.array([left[0], right[0], right[1], left[0], right[0], 2**62, right[0]])
    group = np.array([0, 0, 0, 1, 1, 2, 4])
    samples = np.array([3, 2, 2, 5, 5, 9, 1])
    assert found.object_of(voxel, group, samples, 5).tolist() == [2, 1, 0, 0, 2]
    none = np.zeros(0, np.int64)
    assert object_map(nothing(), VOXEL_M).object_of(voxel, group, samples, 5).tolist() == [0] * 5
    assert found.object_of(none, none, none, 0).tolist() == []


def test_a_track_that_holds_nothing_shows_the_object_that_it_is_part_of():
    sights = [see(0.0, [(LEFT, 1, RED), (RIGHT, 2, GREEN)])] * 4 + [see(0.0, [((-0.6, 0.2, -0.3, 0.3), 3, BLUE)])]
    whole = join(sights)
    found = object_map(whole, VOXEL_M)
    assert [one.track_ids for one in found.objects] == [(1,), (2,)]
    of = found.object_of(whole.voxel, whole.track, whole.samples, 4)
    assert of.tolist() == [0, 1, 2, 1]


def test_what_was_seen_mostly_in_voxels_of_others_is_no_object():
    wide = (-0.6, 0.1, -0.3, 0.3)
    # In the strip on the right it is seen the most, but that is a seventh of it.
    sights = [see(0.0, [(LEFT, 1, RED)])] * 4 + [see(0.0, [(RIGHT, 2, GREEN)])] * 2 + [see(0.0, [(wide, 3, BLUE)])] * 3
    found = object_map(join(sights), VOXEL_M)
    assert [(one.track_ids, one.voxels) for one in found.objects] == [((1,), 36), ((2,), 36)]
    # Where nothing else was seen, it stays.
    found = object_map(join([see(0.0, [(LEFT, 1, RED)])] * 4 + [see(0.0, [(wide, 3, BLUE)])] * 3), VOXEL_M)
    assert [(one.track_ids, one.voxels) for one in found.objects] == [((1,), 36), ((3,), 6)]


def test_of_what_competes_for_voxels_only_the_smallest_is_left_out_at_a_time():
    """As one after the other, in random cases."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        pairs = np.unique(rng.integers(0, (8, 6), (30, 2)), axis=0)
        share = rng.choice([1.0, 2.0, 3.0], len(pairs)) + rng.random(len(pairs)) / 1000
        voxel, thing = pairs.T
        left = np.ones(6, bool)
        while True:
            rows = [
                max(np.flatnonzero((voxel == v) & left[thing]), key=share.__getitem__, default=None) for v in range(8)
            ]
            rows = [row for row in rows if row is not None]
            total = np.bincount(thing, share, 6)
            own = np.bincount(thing[rows], share[rows], 6) / np.maximum(total, 1e-12)
            alone = [row for row in rows if (left[thing] & (voxel == voxel[row])).sum() == 1]
            lost = np.bincount(thing[alone], share[alone], 6) / np.maximum(total, 1e-12)
            gone = [k for k in range(6) if left[k] and total[k] and own[k] < 0.4 and lost[k] < 0.05]
            if not gone:
                break
            left[min(gone, key=own.__getitem__)] = False
        assert sorted(_owned(voxel, thing, share, np.full(6, 0.4)).tolist()) == sorted(rows)


def test_what_was_an_object_stays_one_at_the_edge_of_being_none():
    wide = (-0.6, 0.3, -0.3, 0.3)
    # Of 9 columns of voxels the right 3 are its own: more than a quarter of what was seen of it, less than 0.4.
    sights = [see(0.0, [(LEFT, 1, RED)])] * 4 + [see(0.0, [(RIGHT, 2, GREEN)])] * 2 + [see(0.0, [(wide, 3, BLUE)])] * 3
    early = object_map(join(sights[4:]), VOXEL_M)
    assert [one.object_id for one in early.objects] == [2, 3]
    seen = join(sights)
    assert [one.object_id for one in object_map(seen, VOXEL_M).objects] == [1, 2]
    assert [one.object_id for one in object_map(seen, VOXEL_M, before=early).objects] == [1, 2, 3]
    # A seventh is too little for an object, whatever it was.
    wide = (-0.6, 0.1, -0.3, 0.3)
    late = join(sights[:6] + [see(0.0, [(wide, 3, BLUE)])] * 3)
    assert [one.object_id for one in object_map(late, VOXEL_M, before=early).objects] == [1, 2]


def test_what_was_one_thing_stays_one_while_it_shares_enough():
    def seen(x_m: float) -> Sightings:
        return join([see(0.0, [(LEFT, 1, RED)]), see(0.0, [((x_m, x_m + 0.6, -0.3, 0.3), 2, RED)])])

    def tracks(x_m: float, before=None):
        return [one.track_ids for one in object_map(seen(x_m), VOXEL_M, before=before).objects]

    early = object_map(seen(-0.3), VOXEL_M)  # half of each
    assert [one.track_ids for one in early.objects] == [(1, 2)]
    assert tracks(-0.2) == tracks(-0.1) == [(1,), (2,)]  # a third, a sixth
    assert tracks(-0.2, early) == [(1, 2)]
    assert tracks(-0.1, early) == [(1,), (2,)]


def test_the_share_of_the_largest_piece():
    far = (0.3, 0.6, -0.3, 0.3)
    sights = [see(0.0, [(LEFT, 1, RED), (far, 1, RED)]), see(0.0, [((-0.8, -0.7, -0.3, 0.3), 2, GREEN)])]
    found = object_map(join(sights), VOXEL_M)
    assert in_one_piece(found, VOXEL_M).tolist() == pytest.approx([36 / 54, 1])
    assert in_one_piece(object_map(nothing(), VOXEL_M), VOXEL_M).tolist() == []
