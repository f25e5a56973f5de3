"""A photograph with depth that any machine has: the Middlebury 2014 motorcycle, shipped with scikit-image."""

from dataclasses import dataclass, field

import numpy as np
from skimage import data

from diffcut_ros.core import PinholeCamera

# From the docstring of `skimage.data.stereo_motorcycle`, in pixels and metres.
_FOCAL_LENGTH_PX = 994.978
_CENTER_X_PX, _CENTER_Y_PX = 311.193, 254.877
_DISPARITY_OFFSET_PX = 31.086
_BASELINE_M = 0.193001


@dataclass(frozen=True)
class RgbdPhotograph:
    """A photograph, its depth and the camera of both.

    Attributes:
        image_rgb: uint8 [H, W, 3].
        depth_m: float32 [H, W] in metres, NaN where there is none.
        camera: of this size, without distortion.
    """

    image_rgb: np.ndarray = field(repr=False)
    depth_m: np.ndarray = field(repr=False)
    camera: PinholeCamera


def load_rgbd_photograph() -> RgbdPhotograph:
    """Return a motorcycle in a workshop, 500 x 741 pixels, 2 to 5 m away.

    Depth is focal length * baseline / (disparity + offset). Pixels that the other camera does not see have none.
    """
    image_rgb, _, disparity_px = data.stereo_motorcycle()
    depth_m = (_FOCAL_LENGTH_PX * _BASELINE_M / (disparity_px + _DISPARITY_OFFSET_PX)).astype(np.float32)
    # Infinite where nothing matches, although the docstring says NaN.
    depth_m[~np.isfinite(disparity_px)] = np.nan
    camera = PinholeCamera(_FOCAL_LENGTH_PX, _FOCAL_LENGTH_PX, _CENTER_X_PX, _CENTER_Y_PX, depth_m.shape)
    return RgbdPhotograph(np.ascontiguousarray(image_rgb), depth_m, camera)
