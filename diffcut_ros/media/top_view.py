"""Points seen from above."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from diffcut_ros.core import SegmentGeometry

_BACKGROUND, _GRID, _INK = 24, (56, 56, 56), (190, 190, 190)
# Share of points left out at each end of an axis when the view is chosen.
_OUTSIDE = 0.002
_MARGIN_PX = 12
# A point covers these pixels.
_DOT = ((0, 0), (1, 0), (0, 1), (1, 1))


def draw_top_view(
    points_m: np.ndarray,
    colors: np.ndarray,
    boxes: Sequence[SegmentGeometry],
    box_colors: np.ndarray,
    size_hw: tuple[int, int],
) -> np.ndarray:
    """Draw points and the outlines of boxes from above: x to the right, z upwards, the highest points on top.

    The view takes in nearly all points. Its grid has a line for each metre, with the distance from the camera.

    Args:
        points_m: float32 [N, 3] in the camera's optical frame, without NaN.
        colors: uint8 [N, 3] RGB of the points.
        boxes: whose outlines are drawn.
        box_colors: uint8 [K, 3] RGB.
        size_hw: of the view.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    height, width = size_hw
    if not len(points_m):
        return np.full((height, width, 3), _BACKGROUND, np.uint8)
    (left, near), (right, far) = np.quantile(points_m[:, ::2], (_OUTSIDE, 1 - _OUTSIDE), axis=0)
    px_per_m = min(
        (width - 2 * _MARGIN_PX) / max(right - left, 1e-3), (height - 2 * _MARGIN_PX) / max(far - near, 1e-3)
    )
    middle_x, middle_z = (left + right) / 2, (near + far) / 2

    def at(x: float | np.ndarray, z: float | np.ndarray) -> np.ndarray:
        """Column and row, [..., 2], of places on the ground."""
        column, row = width / 2 + (x - middle_x) * px_per_m, height / 2 - (z - middle_z) * px_per_m
        return np.round(np.stack(np.broadcast_arrays(column, row), axis=-1)).astype(int)

    drawn = np.full((height, width, 3), _BACKGROUND, np.uint8)
    half_x, half_z = width / 2 / px_per_m, height / 2 / px_per_m
    for x in range(math.ceil(middle_x - half_x), math.floor(middle_x + half_x) + 1):
        column = int(at(x, 0)[0])
        cv2.line(drawn, (column, 0), (column, height), _GRID, 1)
    rows = [(z, int(at(0, z)[1])) for z in range(math.ceil(middle_z - half_z), math.floor(middle_z + half_z) + 1)]
    for _, row in rows:
        cv2.line(drawn, (0, row), (width, row), _GRID, 1)
    order = np.argsort(-points_m[:, 1])  # y points down: the lowest first
    pixels, colors = at(points_m[order, 0], points_m[order, 2]), colors[order]
    for shift in _DOT:
        dots = pixels + shift
        inside = ((dots >= 0) & (dots < (width, height))).all(1)
        drawn[dots[inside, 1], dots[inside, 0]] = colors[inside]
    for box, color in zip(boxes, box_colors.tolist(), strict=True):
        (x0, _, z0), (x1, _, z1) = box.box_min_m, box.box_max_m
        first, second = at(x0, z0).tolist(), at(x1, z1).tolist()
        cv2.rectangle(drawn, first, second, (0, 0, 0), 3)
        cv2.rectangle(drawn, first, second, color, 1)
    for z, row in rows:
        cv2.putText(drawn, f'{z} m', (6, row - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    return drawn
