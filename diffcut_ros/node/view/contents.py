"""What messages show: each as rerun's things and the entities they belong to."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from vision_msgs.msg import Detection2D, Detection2DArray, Detection3D, Detection3DArray

from diffcut_ros.media import rerun_scene as scene
from diffcut_ros.node.images import decode_compressed, decode_image
from diffcut_ros.printable import quoted
from diffcut_ros.stream.calibration import pinhole_camera
from diffcut_ros.stream.images import decode_compressed_labels

# Entity and what is logged there.
Contents = list[tuple[str, Any]]

_LABEL_TYPES = {'mono8': 'u1', 'mono16': 'u2'}
_POINT_TYPES = {'x': 'f4', 'y': 'f4', 'z': 'f4', 'rgb': 'u4', 'label': 'u4', 'id': 'u4'}
_WORDS = (PointField.FLOAT32, PointField.UINT32)


class Shrinking:
    """Makes images smaller whose longer side is longer than `max_px`; 0: none.

    Attributes:
        scale: of the last image, 1 or less, for boxes, whose messages do not tell how large the image is.
    """

    def __init__(self, max_px: int = 0) -> None:
        self._max_px = max_px
        self.scale = 1.0

    def of(self, size_hw: tuple[int, int]) -> float:
        """Return how large images of this size are shown, 1 for as they are."""
        self.scale = min(1.0, self._max_px / max(*size_hw, 1)) if self._max_px else 1.0
        return self.scale

    def image(self, image: np.ndarray, interpolation: int = cv2.INTER_AREA) -> np.ndarray:
        """Return an image [H, W] or [H, W, 3] as it is shown."""
        scale = self.of(image.shape[:2])
        height, width = (max(1, round(scale * side)) for side in image.shape[:2])
        return image if scale == 1 else cv2.resize(image, (width, height), interpolation=interpolation)


def of_image(message: Image | CompressedImage, shrinking: Shrinking) -> Contents:
    """Return the camera's image; raises ValueError for one that cannot be decoded."""
    return [(scene.IMAGE, scene.picture(shrinking.image(_decode(message))))]


def of_overlay(message: Image, shrinking: Shrinking) -> Contents:
    """Return the overlay; raises ValueError for one that cannot be decoded."""
    return [(scene.OVERLAY, scene.picture(shrinking.image(_decode(message))))]


def of_labels(message: Image | CompressedImage, shrinking: Shrinking) -> Contents:
    """Return the label image and the outlines of its labels.

    Raises:
        ValueError: for another encoding than mono8 and mono16, or data that are damaged or end too early.
    """
    if isinstance(message, CompressedImage):
        return _labelled(decode_compressed_labels(message), shrinking)
    if message.encoding not in _LABEL_TYPES:
        raise ValueError(f'encoding: expected {" or ".join(_LABEL_TYPES)}, received {quoted(message.encoding)}')
    kind = np.dtype(_LABEL_TYPES[message.encoding]).newbyteorder('>' if message.is_bigendian else '<')
    labels = _grid(message.data, (message.height, message.width), kind, message.step)
    return _labelled(labels.astype(kind.newbyteorder('=')), shrinking)


def _labelled(labels: np.ndarray, shrinking: Shrinking) -> Contents:
    labels = shrinking.image(labels, cv2.INTER_NEAREST)
    return [(scene.LABELS, scene.label_image(labels)), (scene.SEGMENTS, scene.outlines(labels))]


def of_names(labels: np.ndarray, numbers: np.ndarray) -> Contents:
    """Return what labels [K] and their outlines are called, and how they are coloured: by numbers [K]."""
    return [(entity, scene.label_names(labels, numbers)) for entity in (scene.LABELS, scene.SEGMENTS)]


def of_segments(message: Detection2DArray, _: Shrinking) -> Contents:
    """Return what the labels are called, and how many there are; raises ValueError for ids that are none."""
    detections = message.detections
    return [*of_names(_labels(detections), _numbers(detections)), (scene.COUNT, scene.count(len(detections)))]


def of_boxes(message: Detection2DArray, shrinking: Shrinking) -> Contents:
    """Return the boxes of segments of the last image; raises ValueError for ids that are none."""
    detections = message.detections
    numbers = _numbers(detections)
    boxes = [detection.bbox for detection in detections]
    centers = [(box.center.position.x, box.center.position.y) for box in boxes]
    sizes = [(box.size_x, box.size_y) for box in boxes]
    scale = shrinking.scale
    return [(scene.BOXES_2D, scene.boxes_2d(scale * _array(centers, 2), scale * _array(sizes, 2), numbers))]


def of_segments_3d(message: Detection3DArray, _: Shrinking) -> Contents:
    """Return boxes in space and how many there are; raises ValueError for ids that are none."""
    shown = _boxes_3d(message, of_objects=False)
    return [(scene.BOXES, shown), (scene.COUNT_IN_SPACE, scene.count(len(message.detections)))]


def of_objects(message: Detection3DArray, _: Shrinking) -> Contents:
    """Return the boxes of the map of objects; raises ValueError for ids that are none."""
    return [(scene.OBJECTS, _boxes_3d(message, of_objects=True))]


def _boxes_3d(message: Detection3DArray, of_objects: bool) -> Any:
    boxes = [detection.bbox for detection in message.detections]
    centers = [(box.center.position.x, box.center.position.y, box.center.position.z) for box in boxes]
    turns = [box.center.orientation for box in boxes]
    quaternions = [(turn.x, turn.y, turn.z, turn.w) for turn in turns]
    sizes = [(box.size.x, box.size.y, box.size.z) for box in boxes]
    numbers = (
        np.array([_number(d.id) for d in message.detections], np.int64) if of_objects else _numbers(message.detections)
    )
    return scene.boxes_3d(_array(centers, 3), _array(sizes, 3), _array(quaternions, 4), numbers, of_objects)


def of_points(message: PointCloud2, _: Shrinking) -> Contents:
    """Return the point cloud; raises ValueError for one without the node's fields, or whose data end too early."""
    cloud = read_points(message).ravel()
    points_m = np.stack([cloud[axis] for axis in 'xyz'], 1)
    rgb = np.stack([cloud['rgb'] >> 16 & 255, cloud['rgb'] >> 8 & 255, cloud['rgb'] & 255], 1).astype(np.uint8)
    numbers = np.where(cloud['id'] > 0, cloud['id'], cloud['label']).astype(np.int64)
    return [(scene.POINTS, scene.points(points_m, rgb, numbers))]


def of_camera_info(message: CameraInfo, shrinking: Shrinking) -> Contents:
    """Return the camera; raises ValueError for one that is not calibrated."""
    camera = pinhole_camera(message)
    return [(scene.PINHOLE, scene.pinhole(camera, shrinking.of(camera.size_hw)))]


CONTENTS: dict[str, Callable[[Any, Shrinking], Contents]] = {
    'image': of_image,
    'camera_info': of_camera_info,
    'labels': of_labels,
    'segments': of_segments,
    'overlay': of_overlay,
    'segments_3d': of_segments_3d,
    'points': of_points,
    'objects': of_objects,
}
# Where it is seen.
PANELS = {
    'image': 'image',
    'labels': 'labels',
    'segments': 'image',
    'overlay': 'overlay',
    'segments_3d': 'space',
    'points': 'space',
    'objects': 'space',
}


def read_points(message: PointCloud2) -> np.ndarray:
    """Return a cloud of the node as an array [height, width] with the fields x, y, z, rgb (packed), label and id.

    Raises:
        ValueError: when fields are missing or the data end too early.
    """
    fields = {field.name: field for field in message.fields if field.count == 1 and field.datatype in _WORDS}
    missing = [name for name in _POINT_TYPES if name not in fields]
    if missing:
        received = ', '.join(field.name for field in message.fields) or 'none'
        raise ValueError(f'points: expected fields {", ".join(_POINT_TYPES)} of 4 bytes, received {received}')
    kind = np.dtype(
        {
            'names': list(_POINT_TYPES),
            'formats': list(_POINT_TYPES.values()),
            'offsets': [fields[name].offset for name in _POINT_TYPES],
            'itemsize': message.point_step,
        }
    ).newbyteorder('>' if message.is_bigendian else '<')
    return _grid(message.data, (message.height, message.width), kind, message.row_step)


def _grid(data: Any, size_hw: tuple[int, int], kind: np.dtype, row_bytes: int) -> np.ndarray:
    """Rows of values as they lie in a message, the padding of rows left out."""
    height, width = size_hw
    if row_bytes < width * kind.itemsize or len(data) < height * row_bytes:
        raise ValueError(
            f'{width} x {height} values of {kind.itemsize} bytes: expected {height} rows of at least '
            f'{width * kind.itemsize} bytes, received {len(data)} bytes in rows of {row_bytes}'
        )
    return np.ndarray(size_hw, kind, np.frombuffer(data, np.uint8), strides=(row_bytes, kind.itemsize))


def _decode(message: Image | CompressedImage) -> np.ndarray:
    return decode_compressed(message) if isinstance(message, CompressedImage) else decode_image(message)


def _array(rows: list[tuple[float, ...]], width: int) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, width)


def _labels(detections: Sequence[Detection2D | Detection3D]) -> np.ndarray:
    return np.array([_number(d.results[0].hypothesis.class_id if d.results else '') for d in detections], np.int64)


def _numbers(detections: Sequence[Detection2D | Detection3D]) -> np.ndarray:
    """The track id of each detection, its label where it has none."""
    numbers = _labels(detections)
    for i, detection in enumerate(detections):
        if detection.id:
            numbers[i] = _number(detection.id)
    return numbers


def _number(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise ValueError(f'id or class_id of a detection: expected a whole number from 1, received {quoted(text)}')
    return int(text)
