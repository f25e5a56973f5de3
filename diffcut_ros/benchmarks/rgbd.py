"""Recordings of RGB-D cameras with known poses: folders laid out as those of 7-Scenes and TSDF fusion.

frame-N.color.jpg, frame-N.depth.png (uint16, mm; 0 and 65535 = no reading), frame-N.pose.txt (4 x 4, camera to world),
and camera-intrinsics.txt (3 x 3).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from diffcut_ros.core import PinholeCamera
from diffcut_ros.core.transform import Transform

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
        ValueError: when it is missing or no such matrix.
    """
    path = root / 'camera-intrinsics.txt'
    matrix = _matrix(path, 3)
    try:
        fx, fy, cx, cy = (float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
        return PinholeCamera(fx, fy, cx, cy, size_hw)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def to_world(pose: np.ndarray) -> Transform:
    """Return what takes points of the camera into the world, from a pose, float64 [4, 4]."""
    return Transform(Rotation.from_matrix(pose[:3, :3]), pose[:3, 3])


def load_image(color_path: Path, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """Return a colour image, uint8 [H, W, 3] RGB.

    Args:
        color_path: of the file.
        size_hw: that it has to have; None: any.

    Raises:
        ValueError: when it cannot be read, or has another size.
    """
    image_rgb = _pixels(color_path, lambda image: image.convert('RGB'))
    _check_size(color_path, image_rgb, size_hw)
    return image_rgb


def load_depth(color_path: Path, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return depth, float32 [H, W] in metres with NaN where there is none, and pose of a frame.

    Args:
        color_path: of its colour image.
        size_hw: of that image, which depth has, too.

    Raises:
        ValueError: when one is missing or damaged.
    """
    start = str(color_path).removesuffix('.color.jpg')
    path = Path(f'{start}.depth.png')
    raw = _pixels(path)
    if raw.ndim != 2 or raw.dtype not in (np.uint16, np.int32):  # Pillow gives some PNG of 16 bits as 32
        raise ValueError(f'{path}: expected one channel of 16 bits (mm), received {raw.dtype} {raw.shape}')
    _check_size(path, raw, size_hw)
    depth_m = raw.astype(np.float32) / 1000
    depth_m[np.isin(raw, _NO_READING)] = np.nan
    return depth_m, _matrix(Path(f'{start}.pose.txt'), 4)


def load_frame(color_path: Path, size_hw: tuple[int, int] | None = None) -> RgbdFrame:
    """Return a frame by the path of its colour image; see `load_image`.

    Raises:
        ValueError: when a file is missing or damaged.
    """
    image_rgb = load_image(color_path, size_hw)
    return RgbdFrame(image_rgb, *load_depth(color_path, image_rgb.shape[:2]))


def _check_size(path: Path, image: np.ndarray, size_hw: tuple[int, int] | None) -> None:
    if size_hw is not None and image.shape[:2] != size_hw:
        (height, width), (own_height, own_width) = size_hw, image.shape[:2]
        raise ValueError(
            f'{path}: expected {width} x {height} px as the first image, received {own_width} x {own_height}'
        )


def _pixels(path: Path, convert: Callable[[Image.Image], Image.Image] = lambda image: image) -> np.ndarray:
    """Return the pixels of an image file. By Pillow: OpenCV takes what is cut off for black, and says nothing."""
    try:
        with Image.open(_existing(path)) as image:
            return np.array(convert(image))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'{path}: expected an image, cannot read it: {error}') from error


def _matrix(path: Path, side: int) -> np.ndarray:
    """Return the square matrix of a text file, float64 [side, side]."""
    try:
        matrix = np.array([line.split() for line in _existing(path).read_text().splitlines() if line.strip()], float)
    except (ValueError, OSError) as error:
        if not path.exists():
            raise
        raise ValueError(f'{path}: expected {side} rows of {side} numbers, cannot read it: {error}') from error
    if matrix.shape != (side, side) or not np.isfinite(matrix).all():
        received = 'numbers that are not finite' if matrix.shape == (side, side) else f'the shape {matrix.shape}'
        raise ValueError(f'{path}: expected {side} rows of {side} finite numbers, received {received}')
    return matrix


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f'{path}: expected this file beside the frames, found none')
    return path
