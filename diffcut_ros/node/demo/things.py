"""Things in a photograph of the demo: where a person would click to name them."""

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
