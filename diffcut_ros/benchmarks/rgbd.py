"""Recordings of RGB-D cameras with known poses: folders laid out as those of 7-Scenes and TSDF fusion.

frame-N.color.jpg, frame-N.depth.png (uint16, mm; 0 and 65535 = no reading), frame-N.pose.txt (4 x 4, camera to world),
and camera-intrinsics.txt (3 x 3).
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from diffcut_ros.core import PinholeCamera

_NO_READING = (0, 65535)


@dataclass(frozen=True)
class RgbdFrame:
    """One moment of a recording.

    Attributes:
        image_rgb: uint8 [H, W, 3].
        depth_m: float32 [H, W] in metres, NaN where there is none.
        pose: float64 [4, 4], from the camera's optical frame to the world, in metres.
    """

    image_rgb: np.ndarray
    depth_m: np.ndarray
    pose: np.ndarray


def frame_paths(root: Path) -> list[Path]:
    """Return the colour images of a recording, in order.

    Raises:
        ValueError: when there is none.
    """
    paths = sorted(root.glob('frame-*.color.jpg'))
    if not paths:
        raise ValueError(f'{root}: expected frame-N.color.jpg, .depth.png and .pose.txt, found none')
    return paths


def load_camera(root: Path, size_hw: tuple[int, int]) -> PinholeCamera:
    """Return the camera of a recording from its 3 x 3 matrix.

    Raises:
        ValueError: when it is missing.
    """
    matrix = np.loadtxt(_existing(root / 'camera-intrinsics.txt'))
    fx, fy, cx, cy = (float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return PinholeCamera(fx, fy, cx, cy, size_hw)


def load_image(color_path: Path) -> np.ndarray:
    """Return a colour image, uint8 [H, W, 3] RGB.

    Raises:
        ValueError: when it cannot be read.
    """
    image = cv2.imread(str(color_path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f'{color_path}: expected an image, received a file that cannot be read as one')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def load_depth(color_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return depth, float32 [H, W] in metres with NaN where there is none, and pose of a frame by its colour image.

    Raises:
        ValueError: when one is missing.
    """
    start = str(color_path).removesuffix('.color.jpg')
    raw = cv2.imread(str(_existing(Path(f'{start}.depth.png'))), cv2.IMREAD_UNCHANGED)
    depth_m = raw.astype(np.float32) / 1000
    depth_m[np.isin(raw, _NO_READING)] = np.nan
    return depth_m, np.loadtxt(_existing(Path(f'{start}.pose.txt')))


def load_frame(color_path: Path) -> RgbdFrame:
    """Return a frame by the path of its colour image.

    Raises:
        ValueError: when a file is missing.
    """
    return RgbdFrame(load_image(color_path), *load_depth(color_path))


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f'{path}: expected this file beside the frames, found none')
    return path
