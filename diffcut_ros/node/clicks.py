"""Clicks: from a point in the image, or in space, to the segment that is shown there, which may be taught."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Point, PointStamped
from rclpy.node import Node

from diffcut_ros.core import PinholeCamera, Result
from diffcut_ros.core.classes import Source
from diffcut_ros.core.clicks import clicked
from diffcut_ros.core.geometry import project
from diffcut_ros.node.camera import Camera
from diffcut_ros.node.diagnostics import ErrorThrottle
from diffcut_ros.node.teaching import Teaching
from diffcut_ros.node.transforms import Transforms
from diffcut_ros.stream.calibration import read_calibration

# A click so soon after another, and so near, means what that one is part of: px, or this share of the longer side.
_AGAIN_S, _NEAR_PX, _NEAR_SHARE = 2.0, 5.0, 0.01
# The same refusal is told again after this.
_REPEAT_S = 1.0
# Directions that a lens bends to one pixel differ by less.
_SAME_DIRECTION = 1e-3


@dataclass(frozen=True)
class _Last:
    """The last click in the images of a camera: where, when, how many levels up, and as an example."""

    x: int
    y: int
    came_s: float
    level: int
    source: Source


class Clicks:
    """Answers clicks, one after the other.

    Args:
        node: whose log tells of those that cannot be answered.
        transforms: by /tf.
        teaching: learns what is clicked on while the parameter `teach` holds a name.
        show: called when it has learnt something.
    """

    def __init__(self, node: Node, transforms: Transforms, teaching: Teaching, show: Callable[[], None]) -> None:
        self._node, self._teaching, self._show = node, teaching, show
        self._log = node.get_logger()
        self._throttle = ErrorThrottle(_REPEAT_S)
        self._last: dict[str, _Last] = {}
        self._transforms = transforms

    def listen(self) -> None:
        """Listen to transforms from now on: points in space may come."""
        self._transforms.listen()

    def answer(self, camera: Camera, message: Point | PointStamped, came_s: float) -> None:
        """Publish what a click means in the image that is shown now, and learn it; takes time.

        Args:
            camera: in whose images it is.
            message: where.
            came_s: when it came, s.
        """
        topic = camera.click_topic('clicked_point' if isinstance(message, PointStamped) else 'click')
        try:
            self._answer(topic, camera, message, came_s)
        except ValueError as error:
            if self._throttle.allows(text := f'{topic}: {error}'):
                self._log.warning(text)
        except Exception as error:  # such as MemoryError; after a deactivation, nobody is concerned
            if camera.subscribed:
                self._log.error(f'{topic}: click not answered: {type(error).__name__}: {error}')

    def _answer(self, topic: str, camera: Camera, message: Point | PointStamped, came_s: float) -> None:
        result = camera.shown
        if not camera.subscribed:
            raise ValueError(
                f'no image is shown, since nobody subscribes to an output; subscribe to {topic.rpartition("/")[0]}'
                '/clicked, or set lazy to false'
            )
        if result is None:
            raise ValueError(f'no image has come yet on {camera.topic}')
        height, width = size_hw = result.segmentation.labels.shape
        if isinstance(message, PointStamped):
            x, y = _pixel(*self._project(camera, result, message), size_hw)
        else:
            x, y = rounded(message.x, message.y, size_hw)
        last, name, level = self._last.get(camera.name), camera.config.teach, 0
        near = max(_NEAR_PX, _NEAR_SHARE * max(size_hw))
        if (
            last is not None
            and came_s - last.came_s <= _AGAIN_S
            and math.hypot(x - last.x, y - last.y) <= near
            and last.source.size_wh == (width, height)
            and (not name or self._teaching.is_last(name, last.source))  # not taken back, nor of another name
        ):
            x, y, level = last.x, last.y, last.level + 1
        found = clicked(result, x, y, level)
        if found.level < level:
            self._log.info(f'{topic}: ({x}, {y}) is part of nothing larger than what is shown, {found.level} levels up')
        camera.publish_clicked(found, result.scene.header)
        segment = found.segment
        source = Source('', camera.topic, result.scene.stamp_ns, (x, y), segment.box_xyxy, (width, height))
        self._last[camera.name] = _Last(x, y, came_s, found.level, source)
        if name:
            self._teaching.learn(name, segment, source, last.source if level else None)
            self._show()

    def _project(self, camera: Camera, result: Result, message: PointStamped) -> tuple[float, float]:
        """Return where a point in space is in the image, column and row."""
        point_m = np.array([message.point.x, message.point.y, message.point.z])
        if not np.isfinite(point_m).all():
            raise ValueError(f'expected finite numbers, received {point_m.tolist()}')
        point_m = self._transforms.into(result.scene.header, message.header.frame_id, point_m)
        return visible(point_m, self._model(camera, result))

    def _model(self, camera: Camera, result: Result) -> PinholeCamera:
        """Return the camera of an image, with depth or without."""
        size_hw = result.scene.image_rgb.shape[:2]
        if result.scene.camera is not None:
            return result.scene.camera.scaled_to(size_hw)
        if camera.camera_info is None:
            raise ValueError('camera_info tells where a point is in the image; none has come yet, click again')
        names = camera.topic, result.scene.header.frame_id
        model, note = read_calibration(camera.camera_info, camera.config.calibration, names, size_hw)
        if note:
            self._log.warning(f'{camera.topic}: {note}', once=True)
        return model.scaled_to(size_hw)


def rounded(x: float, y: float, size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return column and row of a click as viewers give it, rounded: x may be the width, which is in the last column.

    Raises:
        ValueError: for one that is not in the image.
    """
    height, width = size_hw
    if not (0 <= x <= width and 0 <= y <= height):  # NaN is not
        raise ValueError(f'expected a point in the image of {width} x {height}, received ({x:g}, {y:g})')
    return min(int(x), width - 1), min(int(y), height - 1)


@np.errstate(over='ignore', invalid='ignore')  # what is so far aside is out of view, too
def visible(point_m: np.ndarray, camera: PinholeCamera) -> tuple[float, float]:
    """Return where a point is in the image, column and row; a pixel's centre has whole numbers.

    Args:
        point_m: float64 [3], in the camera's optical frame.
        camera: of the image.

    Raises:
        ValueError: for one that it does not see.
    """
    x, y, z = point_m
    if not z > 0:
        raise ValueError(f'expected a point before the camera, received one behind it: z is {z:.3g} m')
    u, v = project(point_m, camera)
    if camera.distortion is not None:
        # Beyond the fold of its polynomial, a lens seems to bend what it does not see into the image.
        bent = np.array([[(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy]])
        off = np.abs(camera.distortion.unbend(bent)[0] - (x / z, y / z)).max()
        if not off <= _SAME_DIRECTION * max(1.0, math.hypot(x, y) / z):  # NaN is not
            raise ValueError('expected a point in view, received one beyond what the lens sees')
    return float(u), float(v)


def _pixel(u: float, v: float, size_hw: tuple[int, int]) -> tuple[int, int]:
    height, width = size_hw
    if not (-0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5):
        raise ValueError(
            f'expected a point in view, received one at ({u:.0f}, {v:.0f}) of an image of {width} x {height}'
        )
    return math.floor(u + 0.5), math.floor(v + 0.5)
