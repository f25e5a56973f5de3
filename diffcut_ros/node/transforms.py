"""Transforms by /tf: with tf2_ros where it is installed, otherwise with `stream.transforms`."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from std_msgs.msg import Header

from diffcut_ros.core.transform import Transform
from diffcut_ros.printable import quoted

# How long is waited for a transform at the stamp of an image.
TRANSFORM_S = 0.3
# As tf2_ros has it.
_DEPTH = 100
# As `TransformTree.lookup`.
Look = Callable[[str, str, int, float], Transform]


class Transforms:
    """How frames lie to each other.

    Args:
        node: that listens.

    Attributes:
        trouble: what is wrong with transforms that came, and how often, where that is known.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._look: Look | None = None
        self._kept: list[Any] = []
        self.trouble: Counter[str] = Counter()

    def listen(self) -> None:
        """Listen from now on: a click is later than the image that it is in."""
        if self._look is None:
            self._look, clear, self._kept = _by_tf2(self._node) or _by_own(self._node, self.trouble)
            # Where a recording begins anew, what it said of later is no longer true, and what it says would be too old.
            back = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
            self._kept.append(self._node.get_clock().create_jump_callback(back, post_callback=lambda _: clear()))

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
        """Return what takes points of a frame into another; see `TransformTree.lookup`.

        Raises:
            ValueError: where it is not known.
        """
        self.listen()
        assert self._look is not None  # listens
        return self._look(target, source, stamp_ns, timeout_s)

    def into(self, header: Header, frame: str, point_m: np.ndarray) -> np.ndarray:
        """Return points, float64 [..., 3], of a frame in that of a header, as it was at its stamp; may wait for it.

        Raises:
            ValueError: where it is not known.
        """
        # ROS 1 began frames with a slash.
        own, frame = header.frame_id.lstrip('/'), frame.lstrip('/')
        if frame == own:
            return point_m
        if not frame or not own:
            raise ValueError(f'expected a frame, received {quoted(frame)} for an image in {quoted(own)}')
        try:
            return self.lookup(own, frame, Time.from_msg(header.stamp).nanoseconds, TRANSFORM_S)(point_m)
        except ValueError as error:
            raise ValueError(
                f"the point is in frame {quoted(frame)}, the image in {quoted(own)}; at the image's stamp tf tells "
                f'nothing of it: {error}'
            ) from error


def _by_tf2(node: Node) -> tuple[Look, Callable[[], None], list[Any]] | None:
    try:
        import tf2_ros
    except ModuleNotFoundError as error:
        if error.name not in ('tf2_ros', 'tf2_py'):
            raise
        return None
    from diffcut_ros.stream.transforms import transform_of

    buffer = tf2_ros.Buffer()

    def look(target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
        try:
            found = buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns), Duration(seconds=timeout_s))
        except tf2_ros.TransformException as error:
            raise ValueError(error) from error
        return transform_of(found.transform)

    return look, buffer.clear, [tf2_ros.TransformListener(buffer, node)]


def _by_own(node: Node, trouble: Counter[str]) -> tuple[Look, Callable[[], None], list[Any]]:
    from tf2_msgs.msg import TFMessage

    from diffcut_ros.stream.transforms import TransformTree

    tree, group = TransformTree(), ReentrantCallbackGroup()  # nobody who waits for a transform keeps it from coming
    tree.trouble, told = trouble, set()

    def subscribe(topic: str, static: bool) -> Any:
        durability = DurabilityPolicy.TRANSIENT_LOCAL if static else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=_DEPTH, durability=durability)
        return node.create_subscription(TFMessage, topic, lambda m: tree.add(m, static), qos, callback_group=group)

    def look(target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
        try:
            return tree.lookup(target, source, stamp_ns, timeout_s)
        finally:
            for text in set(trouble) - told:
                told.add(text)
                node.get_logger().warning(f'tf: {text} ({trouble[text]} times)')

    return look, tree.clear, [subscribe('/tf', False), subscribe('/tf_static', True)]
