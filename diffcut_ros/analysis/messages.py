"""A frame's results as the messages that the node publishes, serialized. Every message carries the image's header."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from diffcut_ros.analysis.message_types import (
    COMPRESSED_IMAGE,
    DETECTIONS_2D,
    DETECTIONS_3D,
    IMAGE,
    LABEL_INFO,
    STORE,
)
from diffcut_ros.analysis.pipeline import FrameResult
from diffcut_ros.analysis.settings import NODE
from diffcut_ros.core import Segment, SegmentGeometry, labels_by_track

# Rows of a label image are like those above them: files are a third smaller than by OpenCV's own filter, in the same
# time. IMWRITE_PNG_FILTER, _FILTER_UP; OpenCV before 4.12 has no names for them, and ignores them.
_PNG_FILTER_UP = [19, 32]


class Output(NamedTuple):
    """A topic that is written, its type, and the function that makes its message."""

    topic: str
    type_name: str
    message: Callable[[FrameResult, bool], Any]


def outputs(raw_labels: bool, with_depth: bool) -> list[Output]:
    """Return what is written of each frame, in this order: what is needed to read the others comes first."""
    labels = Output(f'{NODE}/labels', IMAGE, _labels)
    compressed = Output(f'{NODE}/labels/compressed', COMPRESSED_IMAGE, _compressed_labels)
    return [
        Output(f'{NODE}/label_info', LABEL_INFO, _label_info),
        labels if raw_labels else compressed,
        Output(f'{NODE}/segments', DETECTIONS_2D, _detections),
        *([Output(f'{NODE}/segments_3d', DETECTIONS_3D, _detections_3d)] if with_depth else []),
    ]


def serialize(output: Output, result: FrameResult, by_track: bool) -> bytes:
    """Return the message of an output as CDR; `by_track`: values in the label image are track ids, as mono16."""
    return bytes(STORE.serialize_cdr(output.message(result, by_track), output.type_name))


def _type(name: str) -> Any:
    return STORE.types[name]


def _label_values(result: FrameResult, by_track: bool) -> tuple[np.ndarray, str]:
    labels = labels_by_track(result.segmentation) if by_track else result.segmentation.labels
    return labels, 'mono8' if labels.dtype == np.uint8 else 'mono16'


def _labels(result: FrameResult, by_track: bool) -> Any:
    values, encoding = _label_values(result, by_track)
    height, width = values.shape
    data = values.astype(values.dtype.newbyteorder('<'), copy=False).reshape(-1).view(np.uint8)
    return _type(IMAGE)(result.header, height, width, encoding, 0, width * values.itemsize, data)


def _compressed_labels(result: FrameResult, by_track: bool) -> Any:
    values, encoding = _label_values(result, by_track)
    _, data = cv2.imencode('.png', values, _PNG_FILTER_UP)
    # As image_transport writes it, by which its subscribers know the encoding.
    return _type(COMPRESSED_IMAGE)(result.header, f'{encoding}; png compressed ', data.reshape(-1))


def _shown(result: FrameResult, by_track: bool) -> list[tuple[Segment, SegmentGeometry | None]]:
    pairs = zip(result.segmentation.segments, result.geometries, strict=True)
    return [(segment, geometry) for segment, geometry in pairs if segment.track_id or not by_track]


def _value(segment: Segment, by_track: bool) -> int:
    return segment.track_id if by_track else segment.label


def _label_info(result: FrameResult, by_track: bool) -> Any:
    make = _type('vision_msgs/msg/VisionClass')
    values = [_value(segment, by_track) for segment, _ in _shown(result, by_track)]
    return _type(LABEL_INFO)(result.header, [make(0, 'none'), *(make(v, f'segment {v}') for v in values)], 0.0)


def _detections(result: FrameResult, by_track: bool) -> Any:
    detections = []
    for segment, geometry in _shown(result, by_track):
        x0, y0, x1, y1 = segment.box_xyxy
        middle = _type('vision_msgs/msg/Point2D')((x0 + x1) / 2, (y0 + y1) / 2)
        box = _type('vision_msgs/msg/BoundingBox2D')(
            _type('vision_msgs/msg/Pose2D')(middle, 0.0), float(x1 - x0), float(y1 - y0)
        )
        position_m = (0.0, 0.0, 0.0) if geometry is None else geometry.position_m
        found = [_hypothesis(_value(segment, by_track), segment.score, position_m)]
        detections.append(_type('vision_msgs/msg/Detection2D')(result.header, found, box, _id(segment)))
    return _type(DETECTIONS_2D)(result.header, detections)


def _detections_3d(result: FrameResult, by_track: bool) -> Any:
    detections = []
    for segment, geometry in _shown(result, by_track):
        if geometry is None:
            continue
        size = _type('geometry_msgs/msg/Vector3')(*geometry.size_m)
        box = _type('vision_msgs/msg/BoundingBox3D')(_pose(geometry.center_m), size)
        found = [_hypothesis(_value(segment, by_track), geometry.valid_share, geometry.position_m)]
        detections.append(_type('vision_msgs/msg/Detection3D')(result.header, found, box, _id(segment)))
    return _type(DETECTIONS_3D)(result.header, detections)


def _id(segment: Segment) -> str:
    return str(segment.track_id) if segment.track_id else ''


def _hypothesis(value: int, score: float, position_m: Sequence[float]) -> Any:
    pose = _type('geometry_msgs/msg/PoseWithCovariance')(_pose(position_m), np.zeros(36))
    hypothesis = _type('vision_msgs/msg/ObjectHypothesis')(str(value), score)
    return _type('vision_msgs/msg/ObjectHypothesisWithPose')(hypothesis, pose)


def _pose(position_m: Sequence[float]) -> Any:
    turned = _type('geometry_msgs/msg/Quaternion')(0.0, 0.0, 0.0, 1.0)
    return _type('geometry_msgs/msg/Pose')(_type('geometry_msgs/msg/Point')(*position_m), turned)
