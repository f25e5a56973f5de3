"""A `Segmentation` as messages. Pure functions; every message carries the header it is given."""

from collections.abc import Sequence

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    VisionClass,
)

from diffcut_ros.core import Segment, Segmentation, labels_by_track
from diffcut_ros.node.images import encode_image


def shown_segments(segmentation: Segmentation, by_track: bool) -> list[Segment]:
    """Return the segments that a label image shows: all, or those that are tracked."""
    return [segment for segment in segmentation.segments if segment.track_id or not by_track]


def label_image(segmentation: Segmentation, header: Header, by_track: bool = False) -> Image:
    """Return the label image, 0 = none, step without padding.

    Its values are the labels, as mono8, or mono16 when there are more than 255 segments; with `by_track` the track ids,
    as mono16.
    """
    labels = labels_by_track(segmentation) if by_track else segmentation.labels
    return encode_image(labels, 'mono8' if labels.dtype == np.uint8 else 'mono16', header)


def label_info(segments: Sequence[Segment], header: Header, by_track: bool = False) -> LabelInfo:
    """Return the name of each value in the label image."""
    none = VisionClass(class_id=0, class_name='none')
    values = [_value(segment, by_track) for segment in segments]
    named = [VisionClass(class_id=value, class_name=f'segment {value}') for value in values]
    return LabelInfo(header=header, class_map=[none, *named])


def detections(segments: Sequence[Segment], header: Header, by_track: bool = False) -> Detection2DArray:
    """Return one detection per segment, in their order; `id` is the track id, empty where it is not tracked."""
    return Detection2DArray(header=header, detections=[_detection(s, header, by_track) for s in segments])


def features(segments: Sequence[Segment], header: Header) -> Image:
    """Return the segments' mean features, 32FC1 of N x C: row k is that of detection k; no rows without segments."""
    rows = np.stack([s.feature for s in segments]) if segments else np.zeros((0, 0), np.float32)
    return encode_image(rows, '32FC1', header)


def _value(segment: Segment, by_track: bool) -> int:
    return segment.track_id if by_track else segment.label


def _detection(segment: Segment, header: Header, by_track: bool = False) -> Detection2D:
    hypothesis = ObjectHypothesis(class_id=str(_value(segment, by_track)), score=segment.score)
    detection = Detection2D(header=header, results=[ObjectHypothesisWithPose(hypothesis=hypothesis)])
    detection.id = str(segment.track_id) if segment.track_id else ''
    x0, y0, x1, y1 = segment.box_xyxy
    # Pixel i covers [i, i + 1): a box around one pixel has size 1 and its centre in the pixel's middle.
    detection.bbox.center.position.x = (x0 + x1) / 2
    detection.bbox.center.position.y = (y0 + y1) / 2
    detection.bbox.size_x = float(x1 - x0)
    detection.bbox.size_y = float(y1 - y0)
    return detection
