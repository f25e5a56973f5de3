"""Transforms by /tf: with tf2_ros where it is installed, otherwise with `stream.transforms`."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import ClockChange, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from std_msgs.msg import Header

from diffcut_ros.core.transform import Transform
from diffcut_ros.printable import quoted
from diffcut_ros.stream.transforms import KEPT_S, Arrivals, TransformTree, transform_of

# How long is waited for a transform at the stamp of an image.
TRANSFORM_S = 0.3
# As tf2_ros has it.
_DEPTH = 100
# For how long it shows that transforms were refused.
_REFUSED_S = 5.0
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
        self._arrivals: Arrivals | None = None
        self._kept: list[Any] = []
        self.trouble: Counter[str] = Counter()
        self._refused_s: dict[str, float] = {}

    def listen(self) -> None:
        """Listen from now on: a click is later than the image that it is in."""
        if self._look is not None:
            return
        from tf2_msgs.msg import TFMessage

        log = self._node.get_logger()
        self._look, buffer = _by_tf2() or _by_own(log.warning, self.trouble, self._refused_s)
        arrivals = self._arrivals = Arrivals(buffer, lambda text: log.warning(f'tf: {text}'))
        group = ReentrantCallbackGroup()  # nobody who waits for a transform keeps it from coming
        for topic, static in (('/tf', False), ('/tf_static', True)):
            durability = DurabilityPolicy.TRANSIENT_LOCAL if static else DurabilityPolicy.VOLATILE
            take = partial(arrivals.add, static=static)
            qos = QoSProfile(depth=_DEPTH, durability=durability)
            self._kept.append(self._node.create_subscription(TFMessage, topic, take, qos, callback_group=group))
        # Where a recording begins anew, what it said of later is no longer true, and what it says would be too old.
        back = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
        self._kept.append(self._node.get_clock().create_jump_callback(back, post_callback=self._on_clock))

    def _on_clock(self, jump: TimeJump) -> None:
        changed = jump.clock_change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED)
        by = f'simulated time went back by {-jump.delta.nanoseconds / 1e9:.1f} s'
        self.went_back('use_sim_time was changed' if changed else by, time.monotonic())

    def went_back(self, cause: str, known_s: float) -> None:
        """Forget transforms of before, since time went back; see `Arrivals.went_back`."""
        if self._arrivals is not None:
            self._arrivals.went_back(cause, known_s)

    @property
    def refused(self) -> str:
        """Why transforms were not taken in the last seconds, as text; empty: all were, or that is not known."""
        now_s = time.monotonic()
        lately = [text for text, at_s in list(self._refused_s.items()) if now_s - at_s < _REFUSED_S]
        return f'tf: {lately[-1]} ({self.trouble[lately[-1]]} times)' if lately else ''

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


class Tf2Buffer:
    """A `tf2_ros.Buffer` as `stream.transforms.Buffer`.

    Args:
        buffer: that keeps them.
    """

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def take(self, transforms: Iterable[Any], static: bool) -> None:
        """Take geometry_msgs/TransformStamped."""
        put = self._buffer.set_transform_static if static else self._buffer.set_transform
        for one in transforms:
            put(one, 'default_authority')

    def restart(self, transforms: Iterable[Any]) -> None:
        """Forget what changes over time, and take others in its place."""
        self._buffer.clear()  # static ones stay
        self.take(transforms, static=False)


def _by_tf2() -> tuple[Look, Tf2Buffer] | None:
    try:
        import tf2_ros
    except ModuleNotFoundError as error:
        if error.name not in ('tf2_ros', 'tf2_py'):
            raise
        return None
    # Not its TransformListener: it hands on what comes, whatever time that is of.
    buffer = tf2_ros.Buffer(Duration(seconds=KEPT_S))

    def look(target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
        try:
            found = buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns), Duration(seconds=timeout_s))
        except tf2_ros.TransformException as error:
            raise ValueError(error) from error
        return transform_of(found.transform)

    return look, Tf2Buffer(buffer)


def _by_own(
    warn: Callable[[str], object], trouble: Counter[str], refused_s: dict[str, float]
) -> tuple[Look, TransformTree]:
    tree = TransformTree()
    tree.trouble, tree.refused_s, told = trouble, refused_s, set[str]()

    def look(target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
        try:
            return tree.lookup(target, source, stamp_ns, timeout_s)
        finally:
            for text in set(trouble) - told:
                told.add(text)
                warn(f'tf: {text} ({trouble[text]} times)')

    return look, tree
