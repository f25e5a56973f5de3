"""Outlines of segments with few points, and places inside of them for a name."""

from collections.abc import Iterator

import cv2
import numpy as np
import scipy.ndimage

from diffcut_ros.core.compiled import compiled
from diffcut_ros.core.types import Segmentation

# How far, in pixels, a simplified outline may be from the pixels at first; then by how much farther each time.
_TOLERANCE_PX, _COARSER = 1.0, 1.4
_SQUARE = np.ones((3, 3), np.uint8)
# Of a pixel, from its middle.
_CORNERS = np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)], np.float32)


def outlines(segmentation: Segmentation, max_points: int) -> list[list[np.ndarray]]:
    """Return the outer outlines of each segment, one for each connected part; holes have none.

    They run through the middles of the outermost pixels, so that those of neighbours lie beside each other; around what
    has no inside then, such as a single pixel.

    Args:
        segmentation: of K segments.
        max_points: of each outline, at least 6. It is simplified by Douglas and Peucker's method: by up to 1 px, and
            farther as far as the points ask for it.

    Returns:
        For each segment its outlines, float32 [N, 2] each with N >= 3: x y in pixels from the upper left corner of the
        image, so that the middle of its first pixel is 0.5 0.5; closed, without the first point at the end.
    """
    return [_around(mask, (x0, y0), max_points) for x0, y0, mask in _masks(segmentation)]


def outlines_by_label(labels: np.ndarray, max_points: int) -> dict[int, list[np.ndarray]]:
    """Return the outlines of each label of an image that is there, 0 left out; otherwise as `outlines`.

    Args:
        labels: integers [H, W], at least 0.
        max_points: as for `outlines`.
    """
    found = {}
    for label, box in enumerate(scipy.ndimage.find_objects(labels), 1):
        if box is not None:
            rows, columns = box
            found[label] = _around((labels[box] == label).view(np.uint8), (columns.start, rows.start), max_points)
    return found


def _around(mask: np.ndarray, corner_xy: tuple[int, int], max_points: int) -> list[np.ndarray]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=corner_xy)
    return [_simplified(contour, max_points) + np.float32(0.5) for contour in contours]


def _simplified(contour: np.ndarray, max_points: int) -> np.ndarray:
    """Return the points of a contour that matter, float32 [N, 2]; contour is int32 [M, 1, 2]."""
    tolerance_px, simple = _TOLERANCE_PX, cv2.approxPolyDP(contour, _TOLERANCE_PX, True)
    while len(simple) > max_points:
        tolerance_px *= _COARSER
        simple = cv2.approxPolyDP(contour, tolerance_px, True)
    if len(simple) < 3:  # a pixel, or a line of them: around their corners
        simple = cv2.convexHull((contour.astype(np.float32) + _CORNERS).reshape(-1, 2))
    return simple[:, 0].astype(np.float32)


def places(segmentation: Segmentation, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return where there is most room in each segment: the middle of the largest circle inside.

    Args:
        segmentation: of K segments.
        step: only every so many rows and columns are looked at, which takes less time and is less exact.

    Returns:
        x y of the middles, float64 [K, 2], in pixels from the upper left corner of the image, and the circles' radii,
        float64 [K], in pixels; every pixel whose middle is in the circle is the segment's.
    """
    labels = np.ascontiguousarray(segmentation.labels[::step, ::step])
    inner = cv2.erode(labels, _SQUARE) == cv2.dilate(labels, _SQUARE)
    inner[[0, -1]] = inner[:, [0, -1]] = False
    room = cv2.distanceTransform(inner.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    at = np.full(len(segmentation.segments), -1)
    _roomiest(labels.astype(np.uint16), room, at)
    y, x = np.divmod(at, labels.shape[1])
    middles = step * np.stack([x, y], 1) + 0.5
    box = segmentation.segments.box_xyxy
    middles[at < 0] = (box[:, :2] + box[:, 2:])[at < 0] / 2
    return middles, np.where(at < 0, 0.0, step * room.ravel()[at])


@compiled('void(uint16[:, ::1], float32[:, ::1], int64[::1])')
def _roomiest(labels: np.ndarray, room: np.ndarray, at: np.ndarray) -> None:
    """Write where each label from 1 on has the most room, the first of equal pixels; -1 stays where it has none.

    Args:
        labels: uint16 [h, w], 0 = none.
        room: float32 [h, w], at least 0.
        at: int64 [K], -1, written to: pixels counted row by row.
    """
    most = np.full(len(at), np.float32(-1))
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            row = np.int64(labels[y, x]) - 1
            if row >= 0 and room[y, x] > most[row]:
                most[row], at[row] = room[y, x], y * labels.shape[1] + x


def _masks(segmentation: Segmentation) -> Iterator[tuple[int, int, np.ndarray]]:
    """Give of each segment the upper left corner of its box, x y, and which pixels of the box are its own, uint8."""
    for label, (x0, y0, x1, y1) in enumerate(segmentation.segments.box_xyxy.tolist(), 1):
        yield x0, y0, (segmentation.labels[y0:y1, x0:x1] == label).view(np.uint8)
