"""A `Segmentation` as messages. Pure functions; every message carries the header it is given."""

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

from diffcut_ros.core import Segment, Segmentation
from diffcut_ros.node.images import encode_image


def label_image(segmentation: Segmentation, header: Header) -> Image:
    """Return the labels as mono8, or mono16 when there are more than 255 segments; 0 = none, step without padding."""
    encoding = 'mono8' if segmentation.labels.dtype == np.uint8 else 'mono16'
    return encode_image(segmentation.labels, encoding, header)


def label_info(segmentation: Segmentation, header: Header) -> LabelInfo:
    """Return the name of each value in the label image."""
    none = VisionClass(class_id=0, class_name='none')
    named = [VisionClass(class_id=s.label, class_name=f'segment {s.label}') for s in segmentation.segments]
    return LabelInfo(header=header, class_map=[none, *named])


def detections(segmentation: Segmentation, header: Header) -> Detection2DArray:
    """Return one detection per segment, in the order of the labels."""
    return Detection2DArray(header=header, detections=[_detection(s, header) for s in segmentation.segments])


def _detection(segment: Segment, header: Header) -> Detection2D:
    hypothesis = ObjectHypothesis(class_id=str(segment.label), score=segment.score)
    # `id` is for identities that persist from frame to frame; a label does not, so it is left empty.
    detection = Detection2D(header=header, results=[ObjectHypothesisWithPose(hypothesis=hypothesis)])
    x0, y0, x1, y1 = segment.box_xyxy
    # Pixel i covers [i, i + 1): a box around one pixel has size 1 and its centre in the pixel's middle.
    detection.bbox.center.position.x = (x0 + x1) / 2
    detection.bbox.center.position.y = (y0 + y1) / 2
    detection.bbox.size_x = float(x1 - x0)
    detection.bbox.size_y = float(y1 - y0)
    return detection
