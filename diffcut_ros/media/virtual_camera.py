"""A virtual camera that pans and zooms over a photograph, with motion that is known exactly."""

import math

import cv2
import numpy as np
from skimage import data

from diffcut_ros.core import PinholeCamera

# Photographs that scikit-image ships inside its package.
PHOTOGRAPHS = {
    'coffee': data.coffee,
    'astronaut': data.astronaut,
    'chelsea': data.chelsea,
    'motorcycle': lambda: data.stereo_motorcycle()[0],
}


def load_photograph(name: str) -> np.ndarray:
    """Return one of `PHOTOGRAPHS` as uint8 [H, W, 3] RGB.

    Raises:
        ValueError: for another name.
    """
    if name not in PHOTOGRAPHS:
        raise ValueError(f'photograph: expected one of {", ".join(PHOTOGRAPHS)}, received {name!r}')
    return np.ascontiguousarray(PHOTOGRAPHS[name]()[:, :, :3])


def view_matrix(time_s: float, photo_hw: tuple[int, int], size_hw: tuple[int, int]) -> np.ndarray:
    """Return where the camera looks at a time: the affine map from view pixels to photograph pixels.

    The view sways slowly to and fro and its zoom breathes between 1.0 (as much of the photograph as fits the view's
    aspect) and 1.5; it never leaves the photograph.

    Args:
        time_s: seconds since the start.
        photo_hw: height and width of the photograph, px.
        size_hw: height and width of the view, px.

    Returns:
        float64 [2, 3]: photograph (x, y) = M @ (view x, view y, 1), pixel centres at whole numbers.
    """
    (photo_h, photo_w), (h, w) = photo_hw, size_hw
    zoom = 1.25 - 0.25 * math.cos(2 * math.pi * time_s / 9)
    scale = min(photo_h / h, photo_w / w) / zoom
    free_x, free_y = photo_w - scale * w, photo_h - scale * h
    x = free_x * (0.5 + 0.5 * math.sin(2 * math.pi * time_s / 11))
    y = free_y * (0.5 + 0.5 * math.sin(2 * math.pi * time_s / 13))
    # Half a pixel: areas, not centres, line up at the corners.
    return np.array([[scale, 0, x + scale / 2 - 0.5], [0, scale, y + scale / 2 - 0.5]])


def render_view(photo: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return what the camera sees, uint8 [H, W, 3], for a photograph and a matrix of `view_matrix`."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(photo, matrix, (size_hw[1], size_hw[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def render_depth(depth_m: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return the depth image of a view, float32 [H, W] in metres, NaN where there is none; nearest pixels."""
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(depth_m, matrix, (size_hw[1], size_hw[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def view_camera(camera: PinholeCamera, matrix: np.ndarray, size_hw: tuple[int, int]) -> PinholeCamera:
    """Return the camera of a view on what another camera saw: a view turns no ray, it magnifies a part of the image."""
    scale, x, y = matrix[0, 0], matrix[0, 2], matrix[1, 2]
    focal = camera.fx / scale, camera.fy / scale
    return PinholeCamera(*focal, (camera.cx - x) / scale, (camera.cy - y) / scale, size_hw)
