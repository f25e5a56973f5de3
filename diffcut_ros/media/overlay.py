"""Overlays: segments drawn over their image."""

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np

from diffcut_ros.core import Segmentation, Segments
from diffcut_ros.core.classes import Classes
from diffcut_ros.core.outlines import places

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Height of a name's capitals as a share of the image's shorter side: at most, and at least, or it is not written.
_LARGEST, _SMALLEST = 1 / 28, 1 / 55
# Nobody can read smaller ones.
_SMALLEST_PX = 7


def segment_colors(count: int) -> np.ndarray:
    """Return distinct colours for labels 0..count, the same for a label in every image.

    Returns:
        uint8 [count + 1, 3] RGB; label 0 (none) is black.
    """
    # Steps of the golden ratio around the hue circle keep neighbouring labels far apart, however many there are.
    hues = (np.arange(count) * 0.6180339887498949) % 1.0
    colors = [colorsys.hsv_to_rgb(hue, 0.75 if i % 2 else 0.95, 1.0 if i % 3 else 0.8) for i, hue in enumerate(hues)]
    return np.round(255 * np.array([(0.0, 0.0, 0.0), *colors])).astype(np.uint8)


# Track ids grow as long as a node runs: colours come again after so many.
_TRACK_COLORS = segment_colors(1000)[1:]


def track_colors(segments: Segments) -> np.ndarray:
    """Return a colour for each segment that its track keeps from frame to frame: by track id, else by label.

    Returns:
        uint8 [K, 3] RGB.
    """
    return number_colors(np.where(segments.track_id > 0, segments.track_id, segments.label))


def number_colors(numbers: np.ndarray) -> np.ndarray:
    """Return the colour of each track id or label.

    Args:
        numbers: integers [...] from 1.

    Returns:
        uint8 [..., 3] RGB.
    """
    return _TRACK_COLORS[(numbers - 1) % len(_TRACK_COLORS)]


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
        # Inside of the circle, where the name's corners are.
        scale = min(_LARGEST * height / tall, 2 * room / math.hypot(width, tall))
        if scale * tall < smallest:
            continue
        at = round(x - scale * width / 2), round(y + scale * tall / 2)
        write_name(overlay, name, at, scale)


def write_name(image: np.ndarray, name: str, at: tuple[int, int], scale: float = 1.0) -> None:
    """Write a name onto an image, uint8 [H, W, 3], white with a dark rim; `at`: column and row of its lower left."""
    thick = max(1, round(scale * 2))
    cv2.putText(image, name, at, _FONT, scale, (0, 0, 0), 3 * thick, cv2.LINE_AA)
    cv2.putText(image, name, at, _FONT, scale, (255, 255, 255), thick, cv2.LINE_AA)


def track_names(segments: Segments) -> list[str]:
    """Return what each segment is called without classes: its track id, else nothing."""
    return [str(track_id) if track_id else '' for track_id in segments.track_id.tolist()]
