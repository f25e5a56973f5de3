"""Messages of segments in space, read back as other nodes would."""

from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from diffcut_ros.core import PinholeCamera, Segmentation, SegmentGeometry, back_project
from diffcut_ros.core.colors import segment_colors
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.core.geometry import moved
from diffcut_ros.core.transform import Transform
from diffcut_ros.node.messages import MESSAGES
from diffcut_ros.node.messages_3d import (
    camera_info,
    geometry_of,
    markers,
    point_cloud,
)
from diffcut_ros.stream.calibration import pinhole_camera
from support.scenes import quadrants

HEADER = Header(stamp=Time(sec=12, nanosec=345), frame_id='camera_optical')
CAMERA = PinholeCamera(10.0, 10.0, 2.5, 1.5, (4, 6))
GEOMETRIES = (
    SegmentGeometry((0.0, 0.3, 1.75), (-0.5, 0.0, 1.5), (0.7, 0.4, 2.5), 0.8),
    None,
    SegmentGeometry((-1.0, 0.5, 4.0), (-2.0, 0.0, 4.0), (0.0, 1.0, 4.0), 1.0),
    SegmentGeometry((1.0, 0.5, 3.0), (0.0, 0.0, 2.0), (2.0, 1.0, 4.0), 0.5),
)


def scene(track_ids: tuple[int, ...] = (7, 8, 0, 60000)) -> tuple[np.ndarray, Segmentation]:
    """Four quadrants of 4 x 6 pixels, labels 1 to 4, of which the first pixel has none."""
    image, labels = quadrants(4, 6)
    segmentation = describe_segments(labels, np.full((4, 8), 0.3, np.float32), 0, 0.5)
    tracked = replace(segmentation.segments, track_id=np.array(track_ids))
    labels = segmentation.labels.copy()
    labels[0, 0] = 0
    return image, Segmentation(labels, tracked, 0.5)


def transmitted(message):
    """The message as it comes out at the other end."""
    return deserialize_message(serialize_message(message), type(message))


def fields(cloud: PointCloud2) -> dict[str, np.ndarray]:
    """Each field of a cloud, [height, width], read by the message's own description."""
    kinds = {PointField.FLOAT32: '<f4', PointField.UINT32: '<u4'}
    data = np.frombuffer(bytes(cloud.data), np.uint8).reshape(cloud.height, cloud.width, cloud.point_step)
    assert cloud.row_step == cloud.width * cloud.point_step
    assert not cloud.is_bigendian
    return {
        field.name: np.ascontiguousarray(data[:, :, field.offset : field.offset + 4]).view(kinds[field.datatype])[
            :, :, 0
        ]
        for field in cloud.fields
    }


def xyz(point) -> tuple[float, float, float]:
    return point.x, point.y, point.z


def test_detections_of_both_kinds_join():
    segments = scene()[1].segments
    flat, found = (
        MESSAGES.detections(segments, HEADER),
        transmitted(MESSAGES.detections_3d(segments, HEADER, GEOMETRIES)),
    )
    assert isinstance(found, Detection3DArray)
    assert found.header == HEADER
    assert [d.results[0].hypothesis.class_id for d in found.detections] == ['1', '3', '4']
    by_class = {d.results[0].hypothesis.class_id: d for d in flat.detections}
    for detection in found.detections:
        assert detection.header == HEADER
        assert len(detection.results) == 1
        mate = by_class[detection.results[0].hypothesis.class_id]
        assert detection.results[0].hypothesis.class_id == mate.results[0].hypothesis.class_id
        assert detection.id == mate.id


def test_detections_hold_position_and_box():
    found = MESSAGES.detections_3d(scene()[1].segments, HEADER, GEOMETRIES).detections[0]
    pose = found.results[0].pose.pose
    assert xyz(pose.position) == (0.0, 0.3, 1.75)
    assert found.results[0].hypothesis.score == GEOMETRIES[0].valid_share
    assert xyz(found.bbox.center.position) == pytest.approx((0.1, 0.2, 2.0))
    assert xyz(found.bbox.size) == pytest.approx((1.2, 0.4, 1.0))
    for orientation in (pose.orientation, found.bbox.center.orientation):
        assert (orientation.x, orientation.y, orientation.z, orientation.w) == (0, 0, 0, 1)


def test_positions_in_2d_detections():
    segments = scene()[1].segments
    flat, before = MESSAGES.detections(segments, HEADER, False, GEOMETRIES), MESSAGES.detections(segments, HEADER)
    positions = [xyz(d.results[0].pose.pose.position) for d in flat.detections]
    assert positions == [(0.0, 0.3, 1.75), (0, 0, 0), (-1.0, 0.5, 4.0), (1.0, 0.5, 3.0)]
    assert flat.detections[1] == before.detections[1]
    assert [d.bbox for d in flat.detections] == [d.bbox for d in before.detections]
    assert flat.detections[0].results[0].hypothesis == before.detections[0].results[0].hypothesis


def test_as_many_geometries_as_detections():
    segments = scene()[1].segments
    with pytest.raises(ValueError, match='zip'):
        MESSAGES.detections(segments, HEADER, False, GEOMETRIES[:2])
    with pytest.raises(ValueError, match='zip'):
        MESSAGES.detections_3d(segments, HEADER, GEOMETRIES[:2])


def test_organized_cloud():
    image, segmentation = scene()
    depth_m = np.arange(1, 25, dtype=np.float32).reshape(4, 6)
    depth_m[2, 3] = np.nan
    points = back_project(depth_m, CAMERA)
    cloud = transmitted(point_cloud(points, image, segmentation, HEADER, organized=True))
    assert cloud.header == HEADER
    assert (cloud.height, cloud.width, cloud.is_dense) == (4, 6, False)
    assert [field.name for field in cloud.fields] == ['x', 'y', 'z', 'rgb', 'label', 'id']
    assert all(field.count == 1 for field in cloud.fields)
    read = fields(cloud)
    assert np.array_equal(np.stack([read['x'], read['y'], read['z']], 2), points, equal_nan=True)
    assert np.isnan(read['z']).sum() == 1
    assert read['rgb'].dtype == np.float32
    packed = np.ascontiguousarray(read['rgb']).view(np.uint32)
    assert np.array_equal(np.stack([packed >> 16, packed >> 8 & 255, packed & 255], 2), image)
    assert np.array_equal(read['label'], segmentation.labels)
    assert read['id'].tolist() == [[0, 7, 7, 8, 8, 8], [7, 7, 7, 8, 8, 8], *2 * [[0, 0, 0, 60000, 60000, 60000]]]


def test_a_complete_organized_cloud_is_dense():
    image, segmentation = scene()
    points = back_project(np.ones((4, 6), np.float32), CAMERA)
    assert point_cloud(points, image, segmentation, HEADER, organized=True).is_dense


def test_cloud_of_valid_points():
    image, segmentation = scene()
    depth_m = np.full((4, 6), np.nan, np.float32)
    depth_m[0, 1], depth_m[3, 5] = 2.0, 3.0
    points = back_project(depth_m, CAMERA)
    cloud = transmitted(point_cloud(points, image, segmentation, HEADER, organized=False))
    assert (cloud.height, cloud.width, cloud.is_dense) == (1, 2, True)
    read = fields(cloud)
    assert read['x'].tolist() == [[points[0, 1, 0], points[3, 5, 0]]]
    assert read['z'].tolist() == [[2, 3]]
    assert read['label'].tolist() == [[1, 4]]
    assert read['id'].tolist() == [[7, 60000]]
    assert np.ascontiguousarray(read['rgb']).view(np.uint32).tolist() == [[0xFEFEFE, 0x0000FE]]


def test_cloud_without_points():
    image, segmentation = scene()
    points = np.full((4, 6, 3), np.nan, np.float32)
    cloud = point_cloud(points, image, segmentation, HEADER, organized=False)
    assert (cloud.height, cloud.width, len(cloud.data), cloud.is_dense) == (1, 0, 0, True)


def test_cloud_of_a_depth_image_of_another_size():
    image, segmentation = scene()
    points = back_project(np.ones((2, 3), np.float32), CAMERA)
    read = fields(point_cloud(points, image, segmentation, HEADER, organized=True))
    # Each pixel of depth sees the nearest one of the image.
    assert read['label'].tolist() == [[1, 2, 2], [3, 4, 4]]
    assert np.ascontiguousarray(read['rgb']).view(np.uint32).tolist()[1] == [0x00FE00, 0x0000FE, 0x0000FE]
    with pytest.raises(ValueError, match='image of 6 x 4 for depth of 3 x 3: expected the same aspect'):
        point_cloud(np.ones((3, 3, 3), np.float32), image, segmentation, HEADER, organized=True)


def test_more_labels_than_a_byte_holds():
    labels = np.arange(300).reshape(15, 20)
    segmentation = describe_segments(labels, np.full((300, 8), 0.3, np.float32), 0, 0.5)
    points = back_project(np.ones((15, 20), np.float32), PinholeCamera(10, 10, 10, 7, (15, 20)))
    cloud = point_cloud(points, np.zeros((15, 20, 3), np.uint8), segmentation, HEADER, organized=False)
    assert fields(cloud)['label'].ravel().tolist() == list(range(1, 301))


def test_markers_replace_those_of_earlier_images():
    message = transmitted(markers(scene()[1].segments, GEOMETRIES, HEADER))
    assert isinstance(message, MarkerArray)
    first, *others = message.markers
    assert first.action == Marker.DELETEALL
    assert all(marker.action == Marker.ADD for marker in others)
    assert all(marker.header == HEADER for marker in message.markers)
    named = [(marker.ns, marker.id) for marker in others]
    # The third segment is not tracked: minus its label, which is nobody's track id.
    assert named == [(ns, i) for i in (7, -3, 60000) for ns in ('boxes', 'centroids', 'ids')]


def test_markers_show_box_position_and_id():
    _, box, centroid, text, *_ = markers(scene()[1].segments, GEOMETRIES, HEADER).markers
    assert (box.type, centroid.type, text.type) == (Marker.LINE_LIST, Marker.SPHERE, Marker.TEXT_VIEW_FACING)
    ends = np.array([xyz(p) for p in box.points]) + xyz(box.pose.position)
    assert ends.min(0) == pytest.approx((-0.5, 0.0, 1.5))
    assert ends.max(0) == pytest.approx((0.7, 0.4, 2.5))
    edges = {frozenset(map(tuple, pair)) for pair in ends.reshape(-1, 2, 3).round(6).tolist()}
    assert len(edges) == len(box.points) / 2 == 12
    # Each edge runs along one axis.
    assert (np.count_nonzero(np.ptp(ends.reshape(-1, 2, 3), axis=1) > 1e-6, axis=1) == 1).all()
    assert xyz(centroid.pose.position) == (0.0, 0.3, 1.75)
    assert text.text == '7'
    assert text.pose.position.y < centroid.pose.position.y
    assert 0.02 < text.scale.z < 0.2


def test_a_marker_has_the_color_of_its_track():
    message = markers(scene()[1].segments, GEOMETRIES, HEADER)
    colors = {m.id: (m.color.r, m.color.g, m.color.b) for m in message.markers if m.ns == 'boxes'}
    assert colors[7] == pytest.approx(segment_colors(7)[7] / 255)
    assert colors[-3] == pytest.approx(segment_colors(3)[3] / 255)
    assert len({m.color.a for m in message.markers if m.action == Marker.ADD} | {1.0}) == 1


def test_no_segment_located():
    _, segmentation = scene()
    assert [m.action for m in markers(segmentation.segments, (None,) * 4, HEADER).markers] == [Marker.DELETEALL]
    assert MESSAGES.detections_3d(segmentation.segments, HEADER, (None,) * 4).detections == []


def test_what_a_detection_says_is_read_back():
    found = MESSAGES.detections_3d(scene()[1].segments, HEADER, GEOMETRIES).detections
    for detection, geometry in zip(found, [g for g in GEOMETRIES if g is not None], strict=True):
        read = geometry_of(detection)
        for name in ('position_m', 'box_min_m', 'box_max_m', 'valid_share'):
            assert getattr(read, name) == pytest.approx(getattr(geometry, name))


def test_what_a_detection_of_a_turned_box_says_is_read_back():
    into = Transform(Rotation.from_euler('xyz', [40, 50, 60], degrees=True), np.array([1.0, 2.0, 3.0]))
    turned = moved(GEOMETRIES, into)
    found = MESSAGES.detections_3d(scene()[1].segments, HEADER, turned).detections
    for detection, geometry in zip(found, [g for g in turned if g is not None], strict=True):
        read = geometry_of(detection)
        for name in ('position_m', 'box_min_m', 'box_max_m', 'valid_share', 'turned_xyzw'):
            assert getattr(read, name) == pytest.approx(getattr(geometry, name))


def test_positions_that_are_not_known_are_no_place_of_a_target_frame():
    segments = scene()[1].segments
    for in_target, expected in ((False, (0, 0, 0)), (True, (np.nan,) * 3)):
        message = MESSAGES.detections(segments, HEADER, False, (None,) * 4, in_target)
        for one in message.detections:
            assert xyz(one.results[0].pose.pose.position) == pytest.approx(expected, nan_ok=True)


def test_a_camera_is_read_back():
    camera = PinholeCamera(500.0, 510.0, 320.0, 240.0, (480, 640))
    assert pinhole_camera(camera_info(camera, HEADER)) == camera
