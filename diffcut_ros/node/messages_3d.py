"""Segments in space as messages, and a camera as a camera_info. Every message carries the header it is given.

Coordinates are those of the camera's optical frame: x to the right, y down, z forward, in metres; or of another frame,
where a transform into it is given.
"""

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np
from geometry_msgs.msg import Point, Vector3
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from vision_msgs.msg import Detection3D
from visualization_msgs.msg import Marker, MarkerArray

from diffcut_ros.core import PinholeCamera, Segment, Segmentation, SegmentGeometry, Segments
from diffcut_ros.core.colors import number_colors
from diffcut_ros.core.geometry import NOT_TURNED, sample_at
from diffcut_ros.core.objects import MapObject
from diffcut_ros.core.transform import Transform
from diffcut_ros.media.overlay import track_colors
from diffcut_ros.node.messages import MESSAGES
from diffcut_ros.stream.messages import Geometries

# Six words of four bytes per point. Types as in PCL's point types (label is 32 bits wide there).
_FIELDS = ('x', 'y', 'z', 'rgb', 'label', 'id')
_FIELD_TYPES = 4 * (PointField.FLOAT32,) + 2 * (PointField.UINT32,)
_RGB, _LABEL, _ID = (_FIELDS.index(name) for name in ('rgb', 'label', 'id'))

# Sizes of markers, as a share of their distance: they look alike near and far.
_LINE_SHARE, _CENTROID_SHARE, _TEXT_SHARE = 0.003, 0.015, 0.03
# The same of objects of a map, in metres: they are looked at from anywhere.
_OBJECT_LINE_M, _OBJECT_TEXT_M = 0.01, 0.1
# Ends of the twelve edges of a box, in halves of its sides: corners that differ in one coordinate.
_EDGES = [
    corner
    for first, second in product(product((-0.5, 0.5), repeat=3), repeat=2)
    if first < second and sum(a != b for a, b in zip(first, second, strict=True)) == 1
    for corner in (first, second)
]


def camera_info(camera: PinholeCamera, header: Header) -> CameraInfo:
    """Return a camera without distortion as a camera_info."""
    height, width = camera.size_hw
    message = CameraInfo(header=header, height=height, width=width, distortion_model='plumb_bob', d=[0.0] * 5)
    message.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def geometry_of(detection: Detection3D) -> SegmentGeometry:
    """Return what a 3-D detection of this node says."""
    position, box = detection.results[0].pose.pose.position, detection.bbox
    at = np.array([position.x, position.y, position.z])
    middle = np.array([box.center.position.x, box.center.position.y, box.center.position.z])
    turned = box.center.orientation.x, box.center.orientation.y, box.center.orientation.z, box.center.orientation.w
    half = Rotation.from_quat(turned).apply([box.size.x / 2, box.size.y / 2, box.size.z / 2])
    low, high = middle - half, middle + half
    if turned == NOT_TURNED:  # centre and size are rounded: the position may lie beyond an end by as much
        low, high = np.minimum(low, at), np.maximum(high, at)
    share = detection.results[0].hypothesis.score
    return SegmentGeometry(tuple(at.tolist()), tuple(low.tolist()), tuple(high.tolist()), share, turned)


def point_cloud(
    points_m: np.ndarray,
    image_rgb: np.ndarray,
    segmentation: Segmentation,
    header: Header,
    organized: bool,
    by_track: bool = False,
) -> PointCloud2:
    """Return the points of a depth image with colour, value in the label image and track id.

    Fields x, y, z and rgb (float32, the colour packed as PCL and RViz do), label and id (uint32; 0 = no segment, not
    tracked).

    Args:
        points_m: float32 [H, W, 3], of `back_project`, in the frame of the header.
        image_rgb: uint8 [H', W', 3]; colours are those of the nearest pixels.
        segmentation: of the image.
        header: taken over as it is.
        organized: keep rows and columns, NaN where there is no depth; else the points with depth alone, in one row.
        by_track: whether the values in the label image are track ids.

    Raises:
        ValueError: when the image has another aspect than the depth image.
    """
    labels, colors = (sample_at(image, points_m.shape[:2]) for image in (segmentation.labels, image_rgb))
    track_ids = np.append(0, segmentation.segments.track_id).astype('<u4')
    words = np.empty((*labels.shape, len(_FIELDS)), '<u4')
    words.view('<f4')[:, :, :_RGB] = points_m
    # Bytes from the lowest: blue, green, red, 0. With another highest byte, the number could be none.
    words[:, :, _RGB] = cv2.cvtColor(colors, cv2.COLOR_RGB2BGRA).view('<u4')[:, :, 0] & 0xFFFFFF
    words[:, :, _ID] = track_ids.take(labels)
    words[:, :, _LABEL] = words[:, :, _ID] if by_track else labels
    valid = ~np.isnan(points_m[:, :, 2])
    if not organized:
        # A point at a time, not a word: several times as fast.
        words = words.view(f'V{4 * len(_FIELDS)}')[:, :, 0][valid][None]
    height, width = words.shape[:2]
    cloud = PointCloud2(header=header, height=height, width=width, is_bigendian=False)
    cloud.fields = [
        PointField(name=name, offset=4 * i, datatype=kind, count=1)
        for i, (name, kind) in enumerate(zip(_FIELDS, _FIELD_TYPES, strict=True))
    ]
    cloud.point_step = 4 * len(_FIELDS)
    cloud.row_step = cloud.point_step * width
    cloud.is_dense = not organized or bool(valid.all())
    cloud.data = words.tobytes()  # bytes: rclpy copies them at once, and an array value by value
    return cloud


def markers(segments: Segments, geometries: Geometries, header: Header, into: Transform | None = None) -> MarkerArray:
    """Return boxes, centroids (the segments' positions) and ids for RViz, in namespaces of these names.

    The first marker deletes those of earlier images. A marker's id is the segment's track id, and minus its label
    where it is not tracked; its text is the track id, else the label. Colours are those of `track_colors`. Their size
    follows the distance from the camera, which `into` takes into the frame of the header.
    """
    shown = [Marker(header=header, action=Marker.DELETEALL)]
    colors = track_colors(segments).tolist()
    for segment, geometry, color in zip(segments, geometries, colors, strict=True):
        if geometry is not None:
            shown += _markers(segment, geometry, color, header, into)
    return MarkerArray(markers=shown)


def object_markers(objects: Sequence[MapObject], names: Sequence[str], header: Header) -> MarkerArray:
    """Return boxes and names of the objects of a map for RViz, in namespaces of these words.

    The first marker deletes those of earlier maps. A marker's id is the object's; colours are those of its track id.
    """
    shown = [Marker(header=header, action=Marker.DELETEALL)]
    for one, name in zip(objects, names, strict=True):
        red, green, blue = (value / 255 for value in number_colors(np.array(one.object_id)).tolist())
        common = {'header': header, 'id': one.object_id, 'color': ColorRGBA(r=red, g=green, b=blue, a=1.0)}
        box = Marker(ns='boxes', type=Marker.LINE_LIST, scale=Vector3(x=_OBJECT_LINE_M), **common)
        box.pose, box.points = MESSAGES.pose(one.box_center_m, one.turned_xyzw), _edges(one.box_size_m)
        x, y, z = one.box_center_m
        text = Marker(ns='names', type=Marker.TEXT_VIEW_FACING, scale=Vector3(z=_OBJECT_TEXT_M), text=name, **common)
        text.pose = MESSAGES.pose((x, y, z + one.box_size_m[2] / 2 + _OBJECT_TEXT_M))
        shown += [box, text]
    return MarkerArray(markers=shown)


def _markers(
    segment: Segment, geometry: SegmentGeometry, color: list[int], header: Header, into: Transform | None
) -> list[Marker]:
    red, green, blue = (value / 255 for value in color)
    x, y, z = geometry.position_m
    if into is None:
        away, above = z, (x, y - _TEXT_SHARE * z, z)  # y points down
    else:
        away = into.rotation.apply(geometry.position_m - into.translation_m, inverse=True)[2]
        above = (x, y, z + _TEXT_SHARE * away)

    def marker(namespace: str, kind: int, at_m: tuple[float, float, float], share: float) -> Marker:
        return Marker(
            header=header,
            ns=namespace,
            id=segment.track_id or -segment.label,
            type=kind,
            pose=MESSAGES.pose(at_m),
            scale=Vector3(x=share * away, y=share * away, z=share * away),
            color=ColorRGBA(r=red, g=green, b=blue, a=1.0),
        )

    box = marker('boxes', Marker.LINE_LIST, geometry.center_m, _LINE_SHARE)
    box.pose, box.points = MESSAGES.pose(geometry.center_m, geometry.turned_xyzw), _edges(geometry.size_m)
    text = marker('ids', Marker.TEXT_VIEW_FACING, above, _TEXT_SHARE)
    text.text = str(segment.track_id or segment.label)
    return [box, marker('centroids', Marker.SPHERE, (x, y, z), _CENTROID_SHARE), text]


def _edges(sides_m: tuple[float, float, float]) -> list[Point]:
    """Return the ends of the twelve edges of a box around its centre, in pairs."""
    return [Point(x=a * sides_m[0], y=b * sides_m[1], z=c * sides_m[2]) for a, b, c in _EDGES]
