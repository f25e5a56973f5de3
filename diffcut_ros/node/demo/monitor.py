"""What the demo sees of the node: rates, latency, segments and pictures, from its topics alone."""

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

from diffcut_ros.core import PinholeCamera, SegmentGeometry
from diffcut_ros.core.colors import number_colors
from diffcut_ros.node.images import decode_image
from diffcut_ros.node.messages_3d import geometry_of
from diffcut_ros.stream.calibration import pinhole_camera
from diffcut_ros.stream.depth import decode_depth

# Images whose messages are kept until all of them have arrived.
_WAITING_IMAGES = 60


@dataclass
class Interval:
    """What was received of a stretch of time; an image that is cut again is no other image.

    The first stamp of each kind may be the last one of the interval before: a rate needs two.
    """

    image_stamps_ns: list[int] = field(default_factory=list)
    output_stamps_ns: list[int] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)

    def next(self) -> 'Interval':
        """Return the interval that follows."""
        return Interval(self.image_stamps_ns[-1:], self.output_stamps_ns[-1:])


def rate_hz(stamps_ns: Sequence[int]) -> float | None:
    """Return how often images were taken by their ascending stamps, however late or close together they arrived.

    None for fewer than two: there is no rate.
    """
    return (len(stamps_ns) - 1) * 1e9 / (stamps_ns[-1] - stamps_ns[0]) if len(stamps_ns) > 1 else None


@dataclass(frozen=True)
class Space:
    """Segments in space: arguments of `draw_scene`."""

    depth_m: np.ndarray
    camera: PinholeCamera
    labels: np.ndarray
    colors: np.ndarray
    geometries: list[SegmentGeometry | None]


@dataclass(frozen=True)
class Named:
    """What has which name in an image.

    Attributes:
        class_id: uint8 [H, W], 0 = unknown.
        names: of the other values.
        colors: uint8 [K, 3] RGB, of the values from 1.
    """

    class_id: np.ndarray
    names: dict[int, str]
    colors: np.ndarray


@dataclass(frozen=True)
class Shot:
    """One cut of a camera image.

    Attributes:
        stamp_ns: the image's; equal for two cuts of one image.
        image_rgb, overlay_rgb: uint8 [H, W, 3].
        segments: their number.
        tau: that it was cut at; None where that is not certain.
        space: where things are, with depth.
        named: what has which name, once there are names.
    """

    stamp_ns: int
    image_rgb: np.ndarray
    overlay_rgb: np.ndarray
    segments: int
    tau: float | None
    space: Space | None = None
    named: Named | None = None


class Monitor(Node):
    """Listens to the camera and to the node under test; pauses the one, sets the other's tau.

    Args:
        camera: fully qualified name of the virtual camera, whose topics are `image_raw`, `depth`, `camera_info` under
            /camera.
        node: fully qualified name of the node under test.
        tau: the tau it started with.
        depth: whether there is depth.
        names: whether names are taught.

    Attributes:
        names: that the node knows, by class id.
        tau: of a cut that arrives now; None while that is not certain.
        camera_parameters, node_parameters: their parameter services.
        newest_ns: stamp of the newest camera image.
        shown_ns: stamp of the last shot.
        size_hw: of the last camera image, px.
        labels: of the last shot, uint8 or uint16 [H, W], 0 = none, where names are taught.
    """

    def __init__(self, camera: str, node: str, tau: float, depth: bool, names: bool = False) -> None:
        super().__init__('demo_monitor')
        self.tau: float | None = tau
        self.newest_ns = self.shown_ns = self._counted_ns = 0
        self.size_hw = (0, 0)
        self.labels = np.zeros((0, 0), np.uint8)
        self.shots: deque[Shot] = deque()
        self.interval = Interval()
        self._asked_tau, self._answered_ns, self._shown_before_ns = tau, math.inf, 0
        self.camera_parameters = AsyncParameterClient(self, camera)
        self.node_parameters = AsyncParameterClient(self, node)
        self._inputs = {'image_raw': Image} | ({'depth': Image, 'camera_info': CameraInfo} if depth else {})
        self._outputs = {'segments': Detection2DArray, 'overlay': Image}
        self._outputs |= {'labels': Image, 'segments_3d': Detection3DArray} if depth else {}
        self._outputs |= {'labels': Image, 'classes': Image, 'classes_color': Image} if names else {}
        self.names: dict[int, str] = {}
        self._click = self.create_publisher(Point, f'{node}/click', 1)
        if names:
            latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            self.create_subscription(LabelInfo, f'{node}/class_info', self._take_names, latched)
        # Stamp -> topic -> messages that no shot has been made of; those of the camera stay, for another cut.
        self._parts: OrderedDict[int, dict[str, deque[Any]]] = OrderedDict()
        for prefix, topics in (('/camera', self._inputs), (node, self._outputs)):
            for topic, kind in topics.items():
                self.create_subscription(kind, f'{prefix}/{topic}', partial(self._take, topic), _WAITING_IMAGES)

    @property
    def connected(self) -> bool:
        """Whether camera and node can be asked for other parameters."""
        return self.camera_parameters.services_are_ready() and self.node_parameters.services_are_ready()

    def take_interval(self) -> Interval:
        """Return what was received since the last call, or since `interval` was replaced."""
        taken, self.interval = self.interval, self.interval.next()
        return taken

    def pause_camera(self, paused: bool) -> Future:
        """Ask the camera to pause, or to go on; when it answers to a pause, all its images have arrived."""
        return self.camera_parameters.set_parameters([Parameter('paused', value=paused)])

    def show_only(self, photograph: str) -> Future:
        """Ask the camera for one photograph from now on."""
        return self.camera_parameters.set_parameters([Parameter('photographs', value=[photograph])])

    def set_tau(self, tau: float) -> Future:
        """Ask the node's parameter service for another tau; once, since a second one could meet what the first does."""
        self._asked_tau, self._shown_before_ns, self.tau = tau, self.shown_ns, None
        answer = self.node_parameters.set_parameters([Parameter('tau', value=tau)])
        answer.add_done_callback(self._on_answer)
        return answer

    @property
    def can_click(self) -> bool:
        """Whether the node hears clicks."""
        return self._click.get_subscription_count() > 0

    def teach(self, name: str, file: Path) -> Future:
        """Ask the node to take clicks for examples of a name from now on, and to keep them in a file; '' ends it."""
        values = {'teach': name, 'classes_file': str(file)} if name else {'teach': name}
        changes = [Parameter(parameter, value=value) for parameter, value in values.items()]
        return self.node_parameters.set_parameters_atomically(changes)

    def click(self, x: float, y: float) -> None:
        """Click on a pixel of the last image."""
        self._click.publish(Point(x=float(x), y=float(y)))

    def _take_names(self, message: LabelInfo) -> None:
        self.names = {one.class_id: one.class_name for one in message.class_map if one.class_id}

    def _on_answer(self, _: Future) -> None:
        self._answered_ns = self.get_clock().now().nanoseconds

    def _take(self, topic: str, message: Any) -> None:
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        if topic == 'image_raw':
            self.newest_ns, self.size_hw = stamp_ns, (message.height, message.width)
            self.interval.image_stamps_ns.append(stamp_ns)
        elif topic == 'segments':
            self._count(message, stamp_ns)
        parts = self._parts.setdefault(stamp_ns, {name: deque() for name in (*self._inputs, *self._outputs)})
        if len(self._parts) > _WAITING_IMAGES:
            self._parts.popitem(last=False)
        parts[topic].append(message)
        if all(parts.values()):
            self._update_tau(stamp_ns)
            self.shots.append(self._shot(stamp_ns, parts))
            self.shown_ns = stamp_ns
            for name in self._outputs:
                parts[name].popleft()

    def _count(self, message: Detection2DArray, stamp_ns: int) -> None:
        # The node never goes back to an older image, and cuts none but the last one again.
        if stamp_ns > self._counted_ns:
            self._counted_ns = stamp_ns
            age = self.get_clock().now() - Time.from_msg(message.header.stamp)
            self.interval.latencies_s.append(age.nanoseconds / 1e9)
            self.interval.output_stamps_ns.append(stamp_ns)
            self.interval.segments.append(len(message.detections))

    def _update_tau(self, stamp_ns: int) -> None:
        """Let `tau` be that of a cut that has just arrived.

        No output tells it, but the node publishes none at the old tau after one at the new. What has arrived before the
        call is at the old one. The first that is certainly at the new one is an image that had arrived before the call,
        again, or one that was taken after the answer; between the two nothing is certain.
        """
        if stamp_ns == self._shown_before_ns or stamp_ns > self._answered_ns:
            self.tau = self._asked_tau

    def _shot(self, stamp_ns: int, parts: dict[str, deque[Any]]) -> Shot:
        found = {name: messages[0] for name, messages in parts.items()}
        images = decode_image(found['image_raw']), decode_image(found['overlay'])
        space = _space(found) if 'depth' in found else None
        named = None
        if 'classes' in found:
            named, self.labels = _named(found, self.names), _labels(found['labels'])
        return Shot(stamp_ns, *images, len(found['segments'].detections), self.tau, space, named)


def _named(found: dict[str, Any], names: dict[int, str]) -> Named | None:
    message = found['classes']
    class_id = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
    if not class_id.any():
        return None
    tints = decode_image(found['classes_color'])
    colors = np.zeros((int(class_id.max()), 3), np.uint8)
    for value, index in zip(*np.unique(class_id, return_index=True), strict=True):
        if value:
            colors[value - 1] = tints.reshape(-1, 3)[index]
    return Named(class_id, names, colors)


def _labels(message: Image) -> np.ndarray:
    values = np.frombuffer(message.data, np.uint8 if message.encoding == 'mono8' else np.uint16)
    return values.reshape(message.height, message.width)


def _space(found: dict[str, Any]) -> Space | None:
    values = _labels(found['labels'])
    flat = found['segments'].detections
    if int(values.max(initial=0)) > len(flat):
        return None  # where a message got lost, those of two cuts of one image may come together
    located = {d.id: geometry_of(d) for d in found['segments_3d'].detections}
    return Space(
        decode_depth(found['depth']),
        pinhole_camera(found['camera_info']),
        values,
        number_colors(np.array([int(d.id) for d in flat], np.int64)),
        [located.get(d.id) for d in flat],
    )
