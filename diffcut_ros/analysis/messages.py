"""A frame's results as the messages that the node publishes, serialized."""

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from diffcut_ros.analysis.frame_result import FrameResult
from diffcut_ros.analysis.settings import NODE
from diffcut_ros.recordings.message_types import STORE
from diffcut_ros.stream.messages import (
    COMPRESSED_IMAGE,
    DETECTIONS_2D,
    DETECTIONS_3D,
    IMAGE,
    LABEL_INFO,
    MessageBuilder,
    label_values,
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


def _labels(result: FrameResult, by_track: bool) -> Any:
    return MESSAGES.label_image(result.segmentation, result.header, by_track)


def _compressed_labels(result: FrameResult, by_track: bool) -> Any:
    values, encoding = label_values(result.segmentation, by_track)
    _, data = cv2.imencode('.png', values, _PNG_FILTER_UP)
    # As image_transport writes it, by which its subscribers know the encoding.
    make = MESSAGES.type_of(COMPRESSED_IMAGE)
    return make(header=result.header, format=f'{encoding}; png compressed ', data=MESSAGES.pack(data))


def _label_info(result: FrameResult, by_track: bool) -> Any:
    segments, _ = shown(result.segmentation, result.geometries, by_track)
    return MESSAGES.label_info(segments, result.header, by_track)


def _detections(result: FrameResult, by_track: bool) -> Any:
    segments, geometries = shown(result.segmentation, result.geometries, by_track)
    return MESSAGES.detections(segments, result.header, by_track, geometries)


def _detections_3d(result: FrameResult, by_track: bool) -> Any:
    segments, geometries = shown(result.segmentation, result.geometries, by_track)
    return MESSAGES.detections_3d(segments, result.header, geometries, by_track)
