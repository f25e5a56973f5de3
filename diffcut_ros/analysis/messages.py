"""A frame's results as the messages that the node publishes, serialized."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from diffcut_ros.analysis.frame_result import FrameResult
from diffcut_ros.analysis.settings import NODE, Settings
from diffcut_ros.core.objects import ObjectMap
from diffcut_ros.recordings.message_types import STORE
from diffcut_ros.stream.messages import (
    COMPRESSED_IMAGE,
    DETECTIONS_2D,
    DETECTIONS_3D,
    IMAGE,
    LABEL_INFO,
    MessageBuilder,
    shown,
)

MESSAGES = MessageBuilder(lambda name: STORE.types[name], lambda array: np.ravel(array).view(np.uint8))

# Rows of a label image are like those above them: files are a third smaller than by OpenCV's own filter, in the same
# time. IMWRITE_PNG_FILTER, _FILTER_UP; OpenCV before 4.12 has no names for them, and ignores them.
_PNG_FILTER_UP = [19, 32]


class Output(NamedTuple):
    """A topic that is written, its type, and the function that makes its message."""

    topic: str
    type_name: str
    message: Callable[[FrameResult, bool], Any]


def outputs(raw_labels: bool, with_depth: bool, with_classes: bool = False) -> list[Output]:
    """Return what is written of each frame, in this order: what is needed to read the others comes first."""

    def image(name: str, message: Callable[[FrameResult, bool], Any]) -> Output:
        if raw_labels:
            return Output(f'{NODE}/{name}', IMAGE, message)
        return Output(f'{NODE}/{name}/compressed', COMPRESSED_IMAGE, lambda *given: _as_png(message(*given)))

    return [
        Output(f'{NODE}/label_info', LABEL_INFO, _label_info),
        *([Output(f'{NODE}/class_info', LABEL_INFO, _class_info)] if with_classes else []),
        image('labels', _labels),
        *([image('classes', _classes), image('confidence', _confidence)] if with_classes else []),
        Output(f'{NODE}/segments', DETECTIONS_2D, _detections),
        *([Output(f'{NODE}/segments_3d', DETECTIONS_3D, _detections_3d)] if with_depth else []),
    ]


def serialize(output: Output, result: FrameResult, by_track: bool) -> bytes:
    """Return the message of an output as CDR; `by_track`: values in the label image are track ids, as mono16."""
    return bytes(STORE.serialize_cdr(output.message(result, by_track), output.type_name))


def objects_message(found: ObjectMap, settings: Settings, stamp_ns: int) -> tuple[str, str, bytes]:
    """Return a map of objects as the node publishes it: topic, type and CDR; the stamp is the last image's."""
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    stamp = STORE.types['builtin_interfaces/msg/Time'](seconds, nanoseconds)
    header = STORE.types['std_msgs/msg/Header'](stamp, settings.node.target_frame)
    message = MESSAGES.objects(found.objects, header)
    return f'{NODE}/objects', DETECTIONS_3D, bytes(STORE.serialize_cdr(message, DETECTIONS_3D))


def _labels(result: FrameResult, by_track: bool) -> Any:
    return MESSAGES.label_image(result.segmentation, result.header, by_track)


def _as_png(image: Any) -> Any:
    """Return an image, mono8 or mono16, as CompressedImage."""
    values = image.data.view('<u2' if image.encoding == 'mono16' else np.uint8).reshape(image.height, image.width)
    _, data = cv2.imencode('.png', values.astype(values.dtype.newbyteorder('='), copy=False), _PNG_FILTER_UP)
    # As image_transport writes it, by which its subscribers know the encoding.
    make = MESSAGES.type_of(COMPRESSED_IMAGE)
    return make(header=image.header, format=f'{image.encoding}; png compressed ', data=MESSAGES.pack(data))


def _classes(result: FrameResult, _: bool) -> Any:
    return MESSAGES.class_image(result.segmentation, result.named.class_id, result.header)


def _confidence(result: FrameResult, _: bool) -> Any:
    return MESSAGES.confidence_image(result.segmentation, result.named.confidence, result.header)


def _class_info(result: FrameResult, _: bool) -> Any:
    return MESSAGES.class_info(result.named.classes, result.header, result.named.min_confidence)


def _label_info(result: FrameResult, by_track: bool) -> Any:
    segments, _ = shown(result.segmentation, result.geometries, by_track)
    return MESSAGES.label_info(segments, result.header, by_track)


def _detections(result: FrameResult, by_track: bool) -> Any:
    segments, geometries = shown(result.segmentation, result.geometries, by_track)
    return MESSAGES.detections(segments, result.header, by_track, geometries, bool(result.target_frame))


def _detections_3d(result: FrameResult, by_track: bool) -> Any:
    segments, geometries = shown(result.segmentation, result.geometries, by_track)
    header = result.header
    if result.target_frame:
        header = dataclasses.replace(header, frame_id=result.target_frame)
    return MESSAGES.detections_3d(segments, header, geometries, by_track)
