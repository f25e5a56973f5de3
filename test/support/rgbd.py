"""Recordings of an RGB-D camera with known poses, as the benchmarks take them."""

from pathlib import Path

import cv2
import numpy as np

from diffcut_ros.benchmarks.rgbd import RgbdFrame
from diffcut_ros.core import Segmentation
from diffcut_ros.core.frame import describe_segments
from support.scenes import quadrants


def moved(meters: float) -> np.ndarray:
    """Pose of a camera that went to the right."""
    pose = np.eye(4)
    pose[0, 3] = meters
    return pose


def wall(meters: float) -> RgbdFrame:
    """A wall 2 m away, painted in quadrants, as a camera sees it from further to the right: 5 pixels for 0.1 m."""
    image = np.roll(quadrants(64, 96)[0], -round(50 * meters), axis=1)
    return RgbdFrame(image, np.full((64, 96), 2.0, np.float32), moved(meters))


def segmented(labels: np.ndarray) -> Segmentation:
    """Return the segmentation of a label image, int [H, W], 0..K-1."""
    return describe_segments(labels, np.full((int(labels.max()) + 1, 8), 0.3, np.float32), 0, 0.5)


def write_recording(root: Path, count: int) -> None:
    """Write frames of the wall as a recording has them, the camera moving by 0.02 m."""
    root.mkdir()
    np.savetxt(root / 'camera-intrinsics.txt', [[100, 0, 47.5], [0, 100, 31.5], [0, 0, 1]])
    for i in range(count):
        frame, start = wall(0.02 * i), root / f'frame-{i:06d}'
        # PNG data under the name of a JPEG: exact colours.
        data = cv2.imencode('.png', frame.image_rgb[:, :, ::-1])[1]
        Path(f'{start}.color.jpg').write_bytes(data.tobytes())
        raw = np.full((64, 96), 2000, np.uint16)
        raw[0, :2] = 0, 65535
        cv2.imwrite(f'{start}.depth.png', raw)
        np.savetxt(f'{start}.pose.txt', frame.pose)
