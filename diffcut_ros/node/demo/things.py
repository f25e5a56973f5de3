"""Where a person would click to name things: in a photograph of the demo, and in any image."""

import cv2
import numpy as np

from diffcut_ros.media.virtual_camera import load_photograph, view_matrix

NAMED_PHOTOGRAPH = 'astronaut'
# Name -> places, x and y in pixels of the photograph; one of each of two names at least is in any view.
_THINGS = {
    'suit': [(140, 310), (90, 420), (200, 470), (190, 330)],
    'wall': [(330, 90), (330, 180), (120, 60)],
    'helmet': [(380, 410), (330, 450)],
    'face': [(225, 110)],
    'ring': [(125, 215)],
    'badge': [(170, 385)],
}
# What the two largest segments are called in an image that nobody has described.
_LARGEST = 'A', 'B'
# From the border of the view, px.
_MARGIN_PX = 8


def things_in_view(time_s: float, size_hw: tuple[int, int]) -> dict[str, tuple[float, float]]:
    """Return names of things that a view of that photograph shows, and a pixel of each, x and y.

    Args:
        time_s: of the view, see `virtual_camera.view_matrix`.
        size_hw: height and width of the view, px.
    """
    matrix = view_matrix(time_s, load_photograph(NAMED_PHOTOGRAPH).shape[:2], size_hw)
    found: dict[str, tuple[float, float]] = {}
    for name, places in _THINGS.items():
        for place in places:
            x, y = np.linalg.solve(matrix[:, :2], place - matrix[:, 2]).tolist()
            if _MARGIN_PX <= x < size_hw[1] - _MARGIN_PX and _MARGIN_PX <= y < size_hw[0] - _MARGIN_PX:
                found.setdefault(name, (x, y))
    return found


def largest_segments(labels: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return names for the two largest segments of any image, and the pixel with most room in each, x and y.

    Args:
        labels: uint8 or uint16 [H, W], 0 = none.
    """
    areas_px = np.bincount(labels.ravel())
    areas_px[0] = 0
    largest = [label for label in np.argsort(-areas_px, kind='stable')[: len(_LARGEST)] if areas_px[label]]
    found = {}
    for name, label in zip(_LARGEST, largest, strict=False):
        room = cv2.distanceTransform(np.pad((labels == label).view(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(room.argmax(), room.shape)
        found[name] = float(x), float(y)
    return found
