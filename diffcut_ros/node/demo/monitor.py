"""What the demo sees of the node: rates, latency, segments and pictures, from its topics alone."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.task import Future
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray

from diffcut_ros.core import PinholeCamera, SegmentGeometry
from diffcut_ros.media.overlay import number_colors
from diffcut_ros.node.images import decode_image
from diffcut_ros.node.messages_3d import geometry_of
from diffcut_ros.stream.images import decode_depth
from diffcut_ros.stream.inputs import pinhole_camera

# Camera images kept until the overlay of the same stamp arrives.
_WAITING_IMAGES = 60


@dataclass
class Interval:
    """What was received since the last call of `Monitor.take_interval`."""

    images: int = 0
    outputs: int = 0
    latencies_s: list[float] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Space:
    """Segments in space: arguments of `draw_scene`."""

    depth_m: np.ndarray
    camera: PinholeCamera
    labels: np.ndarray
    colors: np.ndarray
    geometries: list[SegmentGeometry | None]


@dataclass(frozen=True)
class Shot:
    """One overlay beside the camera image it was made from, both uint8 [H, W, 3] RGB; with depth, where things are."""

    stamp_ns: int
    image_rgb: np.ndarray
    overlay_rgb: np.ndarray
    tau: float
    space: Space | None = None


class Monitor(Node):
    """Listens to the camera and to the node under test; sets its tau.

    Args:
        camera_topic: where the images come from.
        node_name: fully qualified name of the node under test.
        tau: the tau it started with.
        depth: whether there is depth.
    """

    def __init__(self, camera_topic: str, node_name: str, tau: float, depth: bool) -> None:
        super().__init__('demo_monitor')
        self.tau = self._shown_tau = tau
        self.shots: deque[Shot] = deque()
        self._interval = Interval()
        self._last_stamp_ns = 0
        self._answered_ns: int | None = None
        self._last_count = (Header(), 0)
        # Segments of one image at the old and the new tau, once it was cut again.
        self.counts_of_one_image: tuple[int, int] | None = None
        # Topic -> stamp -> the last message.
        self._images: OrderedDict[int, Image] = OrderedDict()
        self._kept: dict[str, OrderedDict[int, Any]] = {}
        self._parameters = AsyncParameterClient(self, node_name)
        self.create_subscription(Image, camera_topic, self._on_image, _WAITING_IMAGES)
        self.create_subscription(Detection2DArray, f'{node_name}/segments', self._on_segments, 10)
        if depth:
            self._keep(Image, camera_topic.replace('image_raw', 'depth'), 'depth')
            self._keep(CameraInfo, camera_topic.replace('image_raw', 'camera_info'), 'camera_info')
            self._keep(Image, f'{node_name}/labels', 'labels')
            self._keep(Detection2DArray, f'{node_name}/segments', 'segments')
            self._keep(Detection3DArray, f'{node_name}/segments_3d', 'segments_3d')
        # The last: of messages that wait, rclpy hands out those of earlier subscriptions first, and a shot needs them.
        self.create_subscription(Image, f'{node_name}/overlay', self._on_overlay, 10)

    def take_interval(self) -> Interval:
        """Return what was received since the last call."""
        taken, self._interval = self._interval, Interval()
        return taken

    def set_tau(self, tau: float) -> Future:
        """Ask the node's parameter service for another tau."""
        self.tau = tau
        answer = self._parameters.set_parameters([Parameter('tau', value=tau)])
        answer.add_done_callback(self._on_answer)
        return answer

    def _on_answer(self, _: Future) -> None:
        self._answered_ns = self.get_clock().now().nanoseconds

    def _on_image(self, message: Image) -> None:
        self._interval.images += 1
        self._images[_stamp_ns(message)] = message
        if len(self._images) > _WAITING_IMAGES:
            self._images.popitem(last=False)

    def _on_segments(self, message: Detection2DArray) -> None:
        self._interval.outputs += 1
        count = len(message.detections)
        self._interval.segments.append(count)
        if message.header == self._last_count[0]:
            self.counts_of_one_image = self._last_count[1], count
        self._last_count = message.header, count
        age = self.get_clock().now() - Time.from_msg(message.header.stamp)
        self._interval.latencies_s.append(age.nanoseconds / 1e9)

    def _on_overlay(self, message: Image) -> None:
        stamp_ns = _stamp_ns(message)
        taken_later = self._answered_ns is not None and stamp_ns > self._answered_ns
        if stamp_ns == self._last_stamp_ns or taken_later:
            # The same image again is the first at the new tau; others may still come at the old one until then.
            self._shown_tau = self.tau
        self._last_stamp_ns = stamp_ns
        if stamp_ns in self._images:
            image_rgb, overlay_rgb = decode_image(self._images[stamp_ns]), decode_image(message)
            self.shots.append(Shot(stamp_ns, image_rgb, overlay_rgb, self._shown_tau, self._space(stamp_ns)))

    def _keep(self, kind: type, topic: str, name: str) -> None:
        kept = self._kept[name] = OrderedDict()

        def keep(message: Any) -> None:
            kept[_stamp_ns(message)] = message
            if len(kept) > _WAITING_IMAGES:
                kept.popitem(last=False)

        self.create_subscription(kind, topic, keep, _WAITING_IMAGES)

    def _space(self, stamp_ns: int) -> Space | None:
        if not self._kept or not all(stamp_ns in kept for kept in self._kept.values()):
            return None
        found = {name: kept[stamp_ns] for name, kept in self._kept.items()}
        labels = found['labels']
        values = np.frombuffer(labels.data, np.uint8 if labels.encoding == 'mono8' else np.uint16)
        flat = found['segments'].detections
        located = {d.id: geometry_of(d) for d in found['segments_3d'].detections}
        return Space(
            decode_depth(found['depth']),
            pinhole_camera(found['camera_info']),
            values.reshape(labels.height, labels.width),
            number_colors(np.array([int(d.id) for d in flat], np.int64)),
            [located.get(d.id) for d in flat],
        )


def _stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
