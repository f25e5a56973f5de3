"""Boxes in space drawn over their image."""

from collections.abc import Sequence

import cv2
import numpy as np

from diffcut_ros.core import PinholeCamera, SegmentGeometry
from diffcut_ros.core.geometry import project

# Edges end here on their way to the camera: what is beside it or behind has no place in the image.
_NEAREST_M = 0.01
_CORNERS = np.array([(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)])
# Pairs of corners: the face at the back, the sides, the face in front.
_EDGES = np.array([(4, 5), (5, 7), (7, 6), (6, 4), (0, 4), (1, 5), (2, 6), (3, 7), (0, 1), (1, 3), (3, 2), (2, 0)])
_BACK_EDGES = 4
# cv2 takes coordinates as whole numbers of 1/16 pixel.
_SUBPIXEL_BITS = 4
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_boxes(
    image_rgb: np.ndarray,
    camera: PinholeCamera,
    boxes: Sequence[SegmentGeometry],
    colors: np.ndarray,
    texts: Sequence[str],
) -> np.ndarray:
    """Draw boxes as wireframes over an image, far ones first, their far faces darker.

    Args:
        image_rgb: uint8 [H, W, 3].
        camera: of any size; scaled to that of the image.
        boxes: the K boxes.
        colors: uint8 [K, 3] RGB.
        texts: K short texts, each at the position of its box; left out where a nearer one is in the way, or empty.

    Returns:
        uint8 [H, W, 3] RGB, a new array.

    Raises:
        ValueError: when the camera has another aspect than the image, or boxes, colours and texts are not as many.
    """
    camera = camera.scaled_to(image_rgb.shape[:2])
    drawn = np.ascontiguousarray(image_rgb).copy()
    items = sorted(zip(boxes, colors.tolist(), texts, strict=True), key=lambda item: -item[0].box_min_m[2])
    width = max(1, round(image_rgb.shape[0] / 500))
    for box, color, _ in items:
        low, high = np.array(box.box_min_m), np.array(box.box_max_m)
        lines = _in_front((low + _CORNERS * (high - low))[_EDGES])
        back = np.arange(len(_EDGES)) < _BACK_EDGES
        dark = [value // 2 for value in color]
        visible = ~np.isnan(lines).any((1, 2))
        pixels = np.round(project(lines[visible], camera) * (1 << _SUBPIXEL_BITS)).astype(int)
        # Black below, so that lines are seen on any background.
        for colors_of, extra in (((0, 0, 0), (0, 0, 0)), 2), ((dark, color), 0):
            for (first, second), at_back in zip(pixels.tolist(), back[visible], strict=True):
                cv2.line(drawn, first, second, colors_of[not at_back], width + extra, cv2.LINE_AA, _SUBPIXEL_BITS)
    _write_texts(drawn, camera, items[::-1])
    return drawn


def _in_front(lines: np.ndarray) -> np.ndarray:
    """Cut lines [N, 2, 3] off at `_NEAREST_M`; NaN where nothing is left."""
    first, way = lines[:, 0], lines[:, 1] - lines[:, 0]
    behind = lines[:, :, 2:] < _NEAREST_M
    crosses = behind.any(1) & ~behind.all(1)
    share = np.divide(_NEAREST_M - first[:, 2:], way[:, 2:], out=np.zeros((len(lines), 1)), where=crosses)
    cut = np.where(behind, (first + share * way)[:, None], lines)
    return np.where(behind.all(1, keepdims=True), np.nan, cut)


def _write_texts(
    drawn: np.ndarray, camera: PinholeCamera, items: Sequence[tuple[SegmentGeometry, list[int], str]]
) -> None:
    """Write texts into the image, each on a plate of its colour where no other is."""
    scale = max(0.35, drawn.shape[0] / 1500)
    taken = np.zeros(drawn.shape[:2], bool)
    for box, color, text in items:
        if not text:
            continue
        (w, h), _ = cv2.getTextSize(text, _FONT, scale, 1)
        u, v = project(np.array(box.position_m), camera)
        margin = round(h / 2)
        if not (0 <= u < drawn.shape[1] and 0 <= v < drawn.shape[0]):
            continue
        # Inside the picture with its plate, where there is room for it at all.
        x, y = (
            max(margin, min(round(middle - size / 2), room - size - margin))
            for middle, size, room in ((u, w, drawn.shape[1]), (v, h, drawn.shape[0]))
        )
        plate = slice(y - margin, y + h + margin), slice(x - margin, x + w + margin)
        if taken[plate].any():
            continue
        taken[plate] = True
        drawn[plate] = color
        # Black or white, whichever stands out (BT.601 luminance).
        bright = np.dot(color, (0.299, 0.587, 0.114)) > 127
        ink = (0, 0, 0) if bright else (255, 255, 255)
        cv2.putText(drawn, text, (x, y + h), _FONT, scale, ink, 1, cv2.LINE_AA)
