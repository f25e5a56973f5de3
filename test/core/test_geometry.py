import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diffcut_ros.core.distortion import Distortion
from diffcut_ros.core.geometry import (
    MIN_DEPTH_PIXELS,
    MIN_VALID_SHARE,
    NOT_TURNED,
    PinholeCamera,
    SegmentGeometry,
    back_project,
    locate_segments,
    moved,
    project,
    sample_at,
)
from diffcut_ros.core.transform import Transform

CAMERA = PinholeCamera(fx=585.0, fy=580.0, cx=321.3, cy=239.1, size_hw=(480, 640))
WALL, RAMP, BOX = 1, 2, 3


def ramp_z(columns: np.ndarray) -> np.ndarray:
    """Depth of the plane z = 1.5 + 0.5 x where each column of the image meets it: z = 1.5 / (1 - 0.5 x / z)."""
    return 1.5 / (1 - 0.5 * (columns - CAMERA.cx) / CAMERA.fx)


def room() -> tuple[np.ndarray, np.ndarray]:
    """Return labels, uint8 [480, 640], and depth, float32 in metres, of a wall, a slanted board and a box before it."""
    labels, depth_m = np.full((480, 640), WALL, np.uint8), np.full((480, 640), 4.0, np.float32)
    columns = np.arange(640)
    labels[100:300, 50:250] = RAMP
    depth_m[100:300, 50:250] = ramp_z(columns[50:250])
    # The front of a box, 1.2 m away.
    labels[200:400, 350:550] = BOX
    depth_m[200:400, 350:550] = 1.2
    return labels, depth_m


def corners(segment: SegmentGeometry) -> np.ndarray:
    return np.array([segment.box_min_m, segment.box_max_m])


def at(column: float, row: float, z: float) -> tuple[float, float, float]:
    """The point at a depth that a pixel sees."""
    return (column - CAMERA.cx) * z / CAMERA.fx, (row - CAMERA.cy) * z / CAMERA.fy, z


def test_known_planes_and_box():
    wall, ramp, box = locate_segments(*room(), CAMERA, 3)
    assert corners(box) == pytest.approx(np.array([at(350, 200, 1.2), at(549, 399, 1.2)]), abs=0.003)
    assert box.position_m == pytest.approx(at(449.5, 299.5, 1.2), abs=1e-4)
    assert box.size_m == pytest.approx((199 * 1.2 / 585, 199 * 1.2 / 580, 0), abs=0.003)
    assert box.center_m == pytest.approx(box.position_m, abs=0.003)
    assert corners(wall) == pytest.approx(np.array([at(0, 0, 4), at(639, 479, 4)]), abs=0.03)
    z = ramp_z(np.arange(50, 250))
    expected = np.array([at(50, 100, z[0]), at(249, 299, z[-1])])
    assert corners(ramp)[:, 2] == pytest.approx(expected[:, 2], abs=0.01)
    assert corners(ramp)[:, 0] == pytest.approx(expected[:, 0], abs=0.02)
    assert ramp.position_m[2] == pytest.approx(np.median(z), abs=1e-4)
    assert (wall.valid_share, ramp.valid_share, box.valid_share) == (1, 1, 1)


def cuboid(low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and depth of a cuboid (label 2) before a wall 3 m away (label 1), every ray cut with its slabs."""
    rays = np.stack(
        [*np.meshgrid((np.arange(640) - CAMERA.cx) / CAMERA.fx, (np.arange(480) - CAMERA.cy) / CAMERA.fy)], 2
    )
    rays = np.concatenate([rays, np.ones((480, 640, 1))], axis=2)
    ends = np.sort(np.stack([np.array(low) / rays, np.array(high) / rays]), axis=0)
    enter, leave = ends[0].max(2), ends[1].min(2)
    return np.where(enter < leave, 2, 1).astype(np.uint8), np.where(enter < leave, enter, 3.0).astype(np.float32)


def test_known_cuboid():
    # Below and to the right: its front, its left side and its top are seen.
    low, high = (0.2, 0.1, 1.2), (0.6, 0.4, 1.6)
    _, found = locate_segments(*cuboid(low, high), CAMERA, 2)
    assert found.box_min_m == pytest.approx(low, abs=0.005)
    assert found.box_max_m[:2] == pytest.approx(high[:2], abs=0.005)
    # Side and top are seen at a flat angle: their far ends have few pixels and are trimmed.
    assert 1.4 < found.box_max_m[2] < 1.6
    # Most pixels are of the front.
    assert found.position_m == pytest.approx((0.38, 0.24, 1.2), abs=0.01)


def test_the_middle_of_an_even_number_lies_between():
    depth_m = np.full((2, 10), 1.0, np.float32)
    depth_m[1] = 3.0
    (segment,) = locate_segments(np.ones((2, 10), np.uint8), depth_m, PinholeCamera(1, 1, 4.5, 0.5, (2, 10)), 1)
    # y is -0.5 in one row and 1.5 in the other.
    assert segment.position_m == pytest.approx((0, 0.5, 2))


def test_flying_pixels_do_not_move_a_box():
    labels, depth_m = room()
    exact = locate_segments(labels, depth_m, CAMERA, 3)
    rng = np.random.default_rng(0)
    flying = rng.random(depth_m.shape) < 0.04
    depth_m[flying] = rng.uniform(depth_m[flying], 9.0)
    found = locate_segments(labels, depth_m, CAMERA, 3)
    for k in (RAMP - 1, BOX - 1):
        assert found[k].position_m == pytest.approx(exact[k].position_m, abs=0.01)
        assert corners(found[k]) == pytest.approx(corners(exact[k]), abs=0.04)


def test_half_the_depth_missing():
    labels, depth_m = room()
    exact = locate_segments(labels, depth_m, CAMERA, 3)
    depth_m[::2] = np.nan
    found = locate_segments(labels, depth_m, CAMERA, 3)
    for segment, complete in zip(found, exact, strict=True):
        assert segment.valid_share == 0.5
        assert segment.position_m == pytest.approx(complete.position_m, abs=0.01)
        assert corners(segment) == pytest.approx(corners(complete), abs=0.01)


def test_a_segment_without_enough_depth_is_nowhere():
    labels, depth_m = room()
    depth_m[labels == BOX] = np.nan
    depth_m[200:219, 350:550] = 1.2  # 3800 of 40000 pixels
    assert [segment is None for segment in locate_segments(labels, depth_m, CAMERA, 3)] == [False, False, True]
    depth_m[200 : 200 + round(200 * MIN_VALID_SHARE), 350:550] = 1.2
    assert locate_segments(labels, depth_m, CAMERA, 3)[2].valid_share == MIN_VALID_SHARE


@pytest.mark.parametrize('pixels', [MIN_DEPTH_PIXELS - 1, MIN_DEPTH_PIXELS])
def test_a_segment_of_few_pixels_is_nowhere(pixels):
    labels = np.zeros((4, 20), np.uint8)
    labels[1, :pixels] = 1
    (segment,) = locate_segments(labels, np.ones((4, 20), np.float32), PinholeCamera(10, 10, 9.5, 1.5, (4, 20)), 1)
    assert (segment is not None) == (pixels == MIN_DEPTH_PIXELS)


@pytest.mark.parametrize('depth', [0.0, np.nan, -1.0, np.inf, 1e38])
def test_no_depth_at_all(depth):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = locate_segments(room()[0], np.full((480, 640), depth, np.float32), CAMERA, 3)
        points = back_project(np.full((480, 640), np.nan, np.float32), CAMERA)
    assert found == (None, None, None)
    assert np.isnan(points).all()


def test_garbled_pixels_leave_the_others_alone():
    labels, depth_m = room()
    exact = locate_segments(labels, depth_m, CAMERA, 3)
    depth_m[0, :4] = 1e38, 999.0, -1e38, np.inf
    for one, other in zip(exact, locate_segments(labels, depth_m, CAMERA, 3), strict=True):
        assert other.position_m == pytest.approx(one.position_m, abs=0.02)


def test_no_segments_and_labels_without_pixels():
    depth_m = np.ones((480, 640), np.float32)
    assert locate_segments(np.zeros((480, 640), np.uint8), depth_m, CAMERA, 0) == ()
    found = locate_segments(np.full((480, 640), 2, np.uint8), depth_m, CAMERA, 3)
    assert [segment is None for segment in found] == [True, False, True]


def test_many_segments_match_one_at_a_time():
    # 500 patches of 24 x 25 pixels; percentiles by NumPy on each patch alone.
    labels = (np.arange(480)[:, None] // 24 * 25 + np.arange(625) // 25 + 1).astype(np.uint16)
    rng = np.random.default_rng(1)
    depth_m = rng.uniform(0.5, 5.0, labels.shape).astype(np.float32)
    depth_m[rng.random(labels.shape) < 0.3] = np.nan
    camera = replace(CAMERA, size_hw=(480, 625))
    found = locate_segments(labels, depth_m, camera, 500)
    points = back_project(depth_m, camera)
    for label in (1, 2, 250, 499, 500):
        mine = points[(labels == label) & ~np.isnan(depth_m)].astype(float)
        low, middle, high = np.quantile(mine, [0.05, 0.5, 0.95], axis=0)
        segment = found[label - 1]
        assert segment.position_m == pytest.approx(middle, abs=1e-4)
        assert segment.box_min_m == pytest.approx(np.maximum(low - (high - low) / 18, mine.min(0)), abs=1e-4)
        assert segment.box_max_m == pytest.approx(np.minimum(high + (high - low) / 18, mine.max(0)), abs=1e-4)
        assert segment.valid_share == len(mine) / 600


# Into a map whose origin is far away, as with coordinates of a country.
FAR = Transform(Rotation.from_euler('xyz', [-100, 15, 37], degrees=True), np.array([4e5, -5e6, 120.0]))


def test_places_in_another_frame_are_measured_along_its_axes():
    labels, depth_m = room()
    depth_m[150:170, 400:420] = np.nan
    points = FAR(back_project(depth_m, CAMERA))
    for label, segment in enumerate(locate_segments(labels, depth_m, CAMERA, 3, FAR), start=1):
        mine = points[(labels == label) & ~np.isnan(depth_m)]
        low, middle, high = np.quantile(mine, [0.05, 0.5, 0.95], axis=0)
        assert segment.position_m == pytest.approx(middle, abs=2e-4, rel=0)
        expected = np.maximum(low - (high - low) / 18, mine.min(0)), np.minimum(high + (high - low) / 18, mine.max(0))
        assert corners(segment) == pytest.approx(np.array(expected), abs=2e-4, rel=0)
        assert segment.turned_xyzw == NOT_TURNED


def test_through_a_lens_in_another_frame():
    labels, depth_m = room()
    lens = replace(CAMERA, distortion=Distortion('plumb_bob', LENSES['plumb_bob']))
    points = FAR(back_project(depth_m, lens))
    for label, segment in enumerate(locate_segments(labels, depth_m, lens, 3, FAR), start=1):
        assert segment.position_m == pytest.approx(np.nanmedian(points[labels == label], 0), abs=2e-4, rel=0)


def test_no_other_frame_is_the_same_as_one_that_lies_in_the_camera():
    assert locate_segments(*room(), CAMERA, 3, Transform()) == locate_segments(*room(), CAMERA, 3)


def test_moved_boxes_are_the_same_boxes():
    before = locate_segments(*room(), CAMERA, 3)
    after = moved((*before, None), FAR)
    assert after[3] is None
    for one, other in zip(before, after, strict=False):
        assert other.position_m == pytest.approx(FAR(one.position_m), rel=0, abs=1e-8)
        assert other.center_m == pytest.approx(FAR(one.center_m), rel=0, abs=1e-8)
        assert other.size_m == pytest.approx(one.size_m, abs=1e-8)
        assert min(other.size_m) >= 0
        assert (Rotation.from_quat(other.turned_xyzw).inv() * FAR.rotation).magnitude() < 1e-9
        assert other.valid_share == one.valid_share
    for one, back in zip(before, moved(after, FAR.inverse()), strict=False):
        assert back.position_m == pytest.approx(one.position_m, abs=1e-8)


def test_points_in_another_frame():
    _, depth_m = room()
    depth_m[:5] = np.nan
    near = Transform(FAR.rotation, np.array([10.0, -20.0, 1.0]))
    expected = near(back_project(depth_m, CAMERA))
    assert np.allclose(back_project(depth_m, CAMERA, near), expected, atol=1e-5, equal_nan=True)
    assert np.isnan(back_project(depth_m, CAMERA, near)[:5]).all()


@pytest.mark.parametrize('depth', [1e-45, 1e-30, 1e-6, 999.0])
def test_equal_depth_of_any_size(depth):
    depth_m = np.full((480, 640), depth, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = locate_segments(room()[0], depth_m, CAMERA, 3)
    assert found[2].position_m == pytest.approx(at(449.5, 299.5, depth), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize('size', [(1, 1), (3, 700), (2160, 3840)])
def test_any_size(size):
    camera = PinholeCamera(500, 500, size[1] / 2, size[0] / 2, size)
    (segment,) = locate_segments(np.ones(size, np.uint8), np.full(size, 2.0, np.float32), camera, 1)
    if size == (1, 1):
        assert segment is None
    else:
        assert segment.position_m == pytest.approx((-1 / 500, -1 / 500, 2), abs=1e-4)


def test_round_trip_of_pixels():
    depth_m = np.random.default_rng(0).uniform(0.3, 9.0, (480, 640)).astype(np.float32)
    points = back_project(depth_m, CAMERA)
    assert points.dtype == np.float32
    pixels = project(points, CAMERA)
    assert np.abs(pixels[:, :, 0] - np.arange(640)).max() < 1e-3
    assert np.abs(pixels[:, :, 1] - np.arange(480)[:, None]).max() < 1e-3
    assert np.array_equal(points[:, :, 2], depth_m)


def test_back_projection_by_hand():
    depth_m = np.array([[2.0, np.nan], [1.0, 4.0]], np.float32)
    points = back_project(depth_m, PinholeCamera(fx=2, fy=4, cx=0, cy=1, size_hw=(2, 2)))
    assert points[0, 0].tolist() == [0, -0.5, 2]
    assert np.isnan(points[0, 1]).all()
    assert points[1, 1].tolist() == [2, 0, 4]


def test_a_smaller_depth_image_gives_the_same_places():
    labels, depth_m = room()
    full = locate_segments(labels, depth_m, CAMERA, 3)
    # Every block of 2 x 2 pixels has one depth there, which its middle sees.
    small = locate_segments(labels, depth_m[::2, ::2], CAMERA, 3)
    for one, other in zip(full, small, strict=True):
        assert one.position_m == pytest.approx(other.position_m, abs=0.005)
        assert corners(one) == pytest.approx(corners(other), abs=0.01)


def test_scaled_camera_sees_the_same():
    half = CAMERA.scaled_to((240, 320))
    assert half == PinholeCamera(292.5, 290, 160.4, 119.3, (240, 320))
    point = np.array([0.3, -0.2, 1.7])
    # The outlines of both images coincide: pixel u covers u - 0.5 to u + 0.5.
    assert (project(point, half) + 0.5) * 2 == pytest.approx(project(point, CAMERA) + 0.5)
    assert half.scaled_to((480, 640)) == CAMERA
    assert CAMERA.scaled_to((480, 640)) is CAMERA
    # Rounding of a side is no other aspect.
    assert CAMERA.scaled_to((160, 213)).size_hw == (160, 213)


def test_another_aspect_is_refused():
    labels, depth_m = room()
    message = r'camera_info of 640 x 480 for images of 640 x 400: expected the same aspect'
    with pytest.raises(ValueError, match=message):
        back_project(depth_m[:400], CAMERA)
    with pytest.raises(ValueError, match=message):
        locate_segments(labels[:400], depth_m[:400], CAMERA, 3)
    with pytest.raises(ValueError, match='image of 640 x 400 for depth of 640 x 480: expected the same aspect'):
        locate_segments(labels[:400], depth_m, CAMERA, 3)


def test_more_labels_than_segments_are_refused():
    labels, depth_m = room()
    with pytest.raises(ValueError, match='labels: expected values up to 2, the number of segments, received 3'):
        locate_segments(labels, depth_m, CAMERA, 2)


def test_nearest_pixels():
    image = np.arange(16).reshape(4, 4)
    assert sample_at(image, (2, 2)).tolist() == [[5, 7], [13, 15]]
    assert sample_at(image, (8, 8)).tolist() == image.repeat(2, 0).repeat(2, 1).tolist()
    assert sample_at(image, (4, 4)) is image
    assert sample_at(np.zeros((4, 8, 3)), (2, 4)).shape == (2, 4, 3)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'fx': 0.0}, 'expected focal lengths above 0 px, received 0 and 580: camera_info is uncalibrated; calibrate'),
        ({'fy': -1.0}, 'received 585 and -1'),
        ({'cx': np.nan}, 'expected finite numbers'),
        ({'fx': np.inf}, 'expected finite numbers'),
        ({'size_hw': (0, 640)}, 'size_hw: expected height and width of at least 1'),
    ],
)
def test_camera_is_validated(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CAMERA, **change)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'position_m': (0, 0, 3)}, 'position_m: expected a point inside the box'),
        ({'position_m': (0, np.nan, 1)}, 'position_m: expected a point inside the box'),
        ({'box_max_m': (np.inf, 1, 2)}, 'position_m: expected a point inside the box'),
        ({'valid_share': 0.0}, 'valid_share: expected above 0 to 1'),
        ({'valid_share': 1.1}, 'valid_share: expected above 0 to 1'),
        ({'turned_xyzw': (0, 0, 1, 0), 'box_max_m': (np.nan, 1, 2)}, 'position, box and turned_xyzw: expected finite'),
        ({'turned_xyzw': (0, 0, np.nan, 1)}, 'position, box and turned_xyzw: expected finite'),
    ],
)
def test_geometry_is_validated(change, message):
    segment = SegmentGeometry((0, 0, 1), (-1, -1, 0), (1, 1, 2), 1.0)
    with pytest.raises(ValueError, match=message):
        replace(segment, **change)


# Lenses as those of a USB camera, of a webcam, of a wide depth camera (8 coefficients), and of a fisheye.
LENSES = {
    'plumb_bob': (-0.361976, 0.110510, 0.001014, 0.000505, 0.0),
    'plumb_bob of 4': (-0.30, 0.09, 0.0010, -0.0007),
    'rational_polynomial': (0.52, -2.73, 0.0004, -0.0002, 1.58, 0.40, -2.55, 1.50),
    'plumb_bob of 12': (-0.3, 0.09, 0.001, -0.0007, 0.01, 0.02, 0.03, -0.01, 0.002, -0.001, 0.001, 0.002),
    'equidistant': (-0.004, 0.04, -0.037, 0.006),
}


def projected(points: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """Where OpenCV images points [N, 3] of a camera."""
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    model, lens = (camera.distortion.model, np.array(camera.distortion.coefficients))
    project_points = cv2.fisheye.projectPoints if model == 'equidistant' else cv2.projectPoints
    return project_points(points.reshape(-1, 1, 3).astype(float), np.zeros(3), np.zeros(3), matrix, lens)[0][:, 0]


@pytest.mark.parametrize('size_hw', [(480, 640), (160, 213), (576, 768)])
@pytest.mark.parametrize('name', LENSES)
def test_positions_through_a_lens_are_imaged_where_they_were_seen(name, size_hw):
    camera = replace(CAMERA, distortion=Distortion(name.partition(' ')[0], LENSES[name]))
    depth_m = np.random.default_rng(0).uniform(0.3, 9.0, size_hw).astype(np.float32)
    points = back_project(depth_m, camera)
    assert np.array_equal(points[:, :, 2], depth_m)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    seen_at = projected(points.reshape(-1, 3), camera.scaled_to(size_hw)).reshape(*size_hw, 2)
    assert np.abs(seen_at - np.stack([columns, rows], -1)).max() < 0.05
    assert np.allclose(project(points, camera.scaled_to(size_hw)), seen_at, atol=1e-3)
    # Without the lens they would be elsewhere.
    assert np.abs(project(points, CAMERA.scaled_to(size_hw)) - seen_at).max() > size_hw[0] / 240


def test_a_segment_seen_through_a_lens_is_where_it_is():
    camera = replace(CAMERA, distortion=Distortion('plumb_bob', LENSES['plumb_bob']))
    # The corner of a wall 2 m away, from (-1, -0.7) to (-0.6, -0.5), in an image of that lens.
    corner = np.array([[x, y, 2.0] for x in np.linspace(-1.0, -0.6, 500) for y in np.linspace(-0.7, -0.5, 300)])
    columns, rows = np.round(projected(corner, camera)).astype(int).T
    labels = np.zeros((480, 640), np.uint8)
    labels[rows, columns] = 1
    (segment,) = locate_segments(labels, np.full((480, 640), 2.0, np.float32), camera, 1)
    assert segment.position_m == pytest.approx((-0.8, -0.6, 2.0), abs=0.015)  # more pixels see what is near the middle
    assert corners(segment) == pytest.approx(np.array([(-1.0, -0.7, 2.0), (-0.6, -0.5, 2.0)]), abs=0.012)
    (pinhole,) = locate_segments(labels, np.full((480, 640), 2.0, np.float32), CAMERA, 1)
    assert pinhole.position_m[0] > -0.77


def test_pixels_that_a_distortion_gives_no_direction_have_no_position():
    # At x / z = 0.96, a pinhole's 0.64, the polynomial folds: nothing is imaged further out.
    camera = PinholeCamera(50, 50, 63.5, 47.5, (96, 128), Distortion('plumb_bob', (-0.36, 0.0, 0.0, 0.0)))
    points = back_project(np.ones((96, 128), np.float32), camera)
    none = np.isnan(points)
    radius = np.hypot(np.arange(128) - 63.5, np.arange(96)[:, None] - 47.5) / 50
    assert none[radius > 0.645].all()
    assert not none[radius < 0.635].any()
    assert np.nanmax(np.hypot(points[..., 0], points[..., 1])) < 0.97
    labels = np.where(radius > 0.65, 1, 2).astype(np.uint8)
    outside, inside = locate_segments(labels, np.ones((96, 128), np.float32), camera, 2)
    assert outside is None
    assert inside.position_m == pytest.approx((0, 0, 1), abs=0.01)


def test_a_lens_without_distortion_changes_nothing():
    depth_m = np.random.default_rng(0).uniform(0.3, 9.0, (48, 64)).astype(np.float32)
    flat = replace(CAMERA, distortion=Distortion('rational_polynomial', (0.0,) * 8))
    assert np.allclose(back_project(depth_m, flat), back_project(depth_m, CAMERA), atol=1e-6)


@pytest.mark.parametrize(
    ('model', 'coefficients', 'problem'),
    [
        ('omnidirectional', (), "expected one of the models plumb_bob, .*, received 'omnidirectional'"),
        ('equidistant', (0.1,) * 5, 'equidistant: expected at most 4 coefficients other than 0, received'),
        ('plumb_bob', (0.1, np.nan), 'plumb_bob: expected finite coefficients'),
    ],
)
def test_a_distortion_that_is_none_is_refused(model, coefficients, problem):
    with pytest.raises(ValueError, match=problem):
        Distortion(model, coefficients)
