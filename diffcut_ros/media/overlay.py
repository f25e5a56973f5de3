"""Overlays: segments drawn over their image."""

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from diffcut_ros.core import Segmentation, Segments
from diffcut_ros.core.classes import Classes
from diffcut_ros.core.colors import number_colors
from diffcut_ros.core.outlines import places

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Height of a name's capitals as a share of the image's shorter side: at most, and at least, or it is not written.
_LARGEST, _SMALLEST = 1 / 28, 1 / 55
# Nobody can read smaller ones.
_SMALLEST_PX = 7


def track_colors(segments: Segments) -> np.ndarray:
    """Return a colour for each segment that its track keeps from frame to frame: by track id, else by label.

    Returns:
        uint8 [K, 3] RGB.
    """
    return number_colors(np.where(segments.track_id > 0, segments.track_id, segments.label))


def class_colors(classes: Classes, class_id: np.ndarray) -> np.ndarray:
    """Return the colour of each segment's class, grey where it is unknown.

    Args:
        classes: names and colours.
        class_id: int [K], see `Classes.classify`.

    Returns:
        uint8 [K, 3] RGB.
    """
    return np.array([classes.color(key) for key in class_id.tolist()], np.uint8).reshape(-1, 3)


def draw_overlay(image_rgb: np.ndarray, labels: np.ndarray, colors: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Draw coloured segments with white borders over an image.

    Args:
        image_rgb: uint8 [H, W, 3].
        labels: uint8 or uint16 [H, W], 0 = none (the image shows through), 1..K.
        colors: uint8 [K, 3] RGB, of the labels from 1; see `track_colors` and `class_colors`.
        opacity: of the colours, 0 to 1.

    Returns:
        uint8 [H, W, 3] RGB, a new array.

    Raises:
        ValueError: when the sizes differ.
    """
    if image_rgb.shape[:2] != labels.shape:
        raise ValueError(f'labels: expected the image size {image_rgb.shape[:2]}, received {labels.shape}')
    # OpenCV throughout: indexing with masks takes NumPy many times as long.
    table = np.zeros((max(256, len(colors) + 1), 1, 3), np.uint8)
    table[1 : len(colors) + 1, 0] = colors
    # For 8 bits only, in a third of the time of cv2.LUT.
    tint = cv2.applyColorMap(labels, table) if labels.dtype == np.uint8 else table[:, 0].take(labels, axis=0)
    drawn = cv2.addWeighted(image_rgb, 1 - opacity, tint, opacity, 0)
    cv2.copyTo(image_rgb, (labels == 0).view(np.uint8), drawn)
    border = np.zeros(labels.shape, np.uint8)
    border[1:] = labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    return cv2.bitwise_or(drawn, cv2.cvtColor(border * np.uint8(255), cv2.COLOR_GRAY2RGB))


def write_names(overlay: np.ndarray, segmentation: Segmentation, names: Sequence[str]) -> None:
    """Write a name where there is most room in each segment, white with a dark rim; small segments get none.

    Args:
        overlay: uint8 [H, W, 3], drawn on.
        segmentation: K segments of that image.
        names: of the segments, K. One that the font does not have, as in other scripts, is left out.
    """
    height = min(overlay.shape[:2])
    smallest = max(_SMALLEST * height, _SMALLEST_PX)
    step = round(smallest / 3)
    for name, (x, y), room in zip(names, *places(segmentation, step), strict=True):
        if not name.isascii() or not name.isprintable():
            continue
        (width, tall), _ = cv2.getTextSize(name, _FONT, 1.0, 1)
        # Inside of the circle, where the name's corners are; whole pixels, or each image would ask for new stamps.
        tall_px = int(min(_LARGEST * height, 2 * room * tall / math.hypot(width, tall)))
        if tall_px < smallest:
            continue
        write_text(overlay, name, (x, y), tall_px)


def write_text(picture: np.ndarray, text: str, middle_xy: tuple[float, float], tall_px: int) -> None:
    """Write Latin letters around a point, white with a dark rim, moved so that they stay inside the picture.

    Args:
        picture: uint8 [H, W, 3], drawn on.
        text: printable ASCII.
        middle_xy: in pixels.
        tall_px: height of capitals; less where the text would be larger than the picture.
    """
    ink, left = _stamp(text, tall_px)
    if (fits := min(np.divide(picture.shape[:2], ink.shape[:2]))) < 1:
        ink, left = _stamp(text, max(1, int(tall_px * fits)))
    rows, columns = ink.shape[:2]
    top, begin = (
        max(0, min(round(middle) - size // 2, room - size))
        for middle, size, room in zip(middle_xy[::-1], (rows, columns), picture.shape[:2], strict=True)
    )
    under = picture[top : top + rows, begin : begin + columns]
    # Of a picture of a few pixels, where even the smallest letters are cut off.
    ink, left = (layer[: under.shape[0], : under.shape[1]] for layer in (ink, left))
    cv2.add(cv2.multiply(under, left, scale=1 / 255), ink, dst=under)


@lru_cache(1000)
def _stamp(name: str, tall_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a name with capitals of that height, and how much is left of what is under it, both uint8 [h, w, 3]."""
    (width, tall), below = cv2.getTextSize(name, _FONT, 1.0, 1)
    scale = tall_px / tall
    thick = max(1, round(scale * 2))
    margin = 2 * thick + math.ceil(scale * below)
    size_hw = tall_px + 2 * margin, math.ceil(scale * width) + 2 * margin
    layers = []
    for wide in (thick, 3 * thick):
        layer = np.zeros((*size_hw, 3), np.uint8)
        cv2.putText(layer, name, (margin, margin + tall_px), _FONT, scale, (255, 255, 255), wide, cv2.LINE_AA)
        layers.append(layer)
    return layers[0], 255 - layers[1]


def track_names(segments: Segments) -> list[str]:
    """Return what each segment is called without classes: its track id, else nothing."""
    return [str(track_id) if track_id else '' for track_id in segments.track_id.tolist()]
