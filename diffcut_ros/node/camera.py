"""One camera: its topics, its last image, and what became of its images."""

import copy
import threading
import time
from collections.abc import Callable

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from diffcut_ros.core import Frame, Segmentation, SegmenterConfig
from diffcut_ros.media.overlay import draw_overlay
from diffcut_ros.node import sync
from diffcut_ros.node.config import NodeConfig
from diffcut_ros.node.diagnostics import CameraRecord
from diffcut_ros.node.images import encode_image
from diffcut_ros.node.inputs import Inputs
from diffcut_ros.node.messages import detections, label_image, label_info
from diffcut_ros.node.worker import Source

# Only the newest image counts: a longer queue would only age.
_CAMERA_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
# Deeper: an image and its cut at a new tau may follow each other within a millisecond.
_OUTPUT_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# What parameters may change of each topic's quality of service, as qos_overrides.TOPIC.subscription.POLICY.
_OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)

# How long a new image waits for the last one's new cut.
_PATIENCE_S = 0.3

# An age beyond this is no age: stamps of another clock, or of a bag that is played without simulated time.
_LARGEST_AGE_S = 1000.0


class Camera:
    """The topics of one camera.

    In: `image`, and where they are wanted `camera_info` and `depth`. Out: `~/labels`, `~/segments`, `~/label_info` and
    `~/overlay`.

    Args:
        node: on which they are.
        name: puts the topics under NAME/ and ~/NAME/; empty: not.
        config: settings; `config` may be replaced at any time.
        on_image: called with what comes, image by image.
        on_bad_input: called with what is wrong with a message that cannot be joined with others.

    Raises:
        ValueError: for a QoS override that is none.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        config: NodeConfig,
        on_image: Callable[['Camera', Inputs], None],
        on_bad_input: Callable[['Camera', str], None],
    ) -> None:
        self.name, self.config = name, config
        self.record = CameraRecord()
        self.source: Source[Inputs] = Source(config.rate_hz)
        self._node, self._on_image, self._on_bad_input = node, on_image, on_bad_input
        self._prefix = f'{name}/' if name else ''
        self._subscribers: list[sync.Subscriber] = []
        self._last: tuple[Frame, Header] | None = None
        # Outputs of one image come one after the other, and never after those of a newer one.
        self._order = threading.Lock()
        self._not_cutting = threading.Event()
        self._not_cutting.set()
        # A subscriber that comes or goes may change whether the camera is needed.
        self._events = PublisherEventCallbacks(matched=lambda _: self.update_subscription())
        self._active = False
        self._labels = self._publisher(Image, 'labels', _OUTPUT_QOS)
        self._segments = self._publisher(Detection2DArray, 'segments', _OUTPUT_QOS)
        self._label_info = self._publisher(LabelInfo, 'label_info', _LATCHED_QOS)
        self._overlay = self._publisher(Image, 'overlay', _OUTPUT_QOS)
        # A bad QoS override shall be found now, and not when the first subscriber comes.
        self._subscribe()
        self._unsubscribe()

    def _publisher(self, kind: type, topic: str, qos: QoSProfile):
        overrides = QoSOverridingOptions(_OVERRIDABLE)
        try:
            return self._node.create_lifecycle_publisher(
                kind,
                f'~/{self._prefix}{topic}',
                copy.copy(qos),  # overrides change the object that they are given
                event_callbacks=self._events,
                qos_overriding_options=overrides,
            )
        except RuntimeError as error:  # rclpy's word for an unknown policy value
            raise ValueError(f'qos_overrides: {error}') from error

    @property
    def topic(self) -> str:
        """The full name of the camera's topic."""
        topic = self._node.resolve_topic_name(f'{self._prefix}image')
        # As image_transport does: the transport's name follows the remapped topic.
        return f'{topic}/compressed' if self.config.image_transport == 'compressed' else topic

    @property
    def subscribed(self) -> bool:
        """Whether the node listens to the camera now."""
        return bool(self._subscribers)

    def activate(self, active: bool) -> None:
        """Let the camera be listened to, or not."""
        self._active = active
        self.update_subscription()

    def update_subscription(self) -> None:
        """Subscribe to the camera if its images are wanted, and only then.

        Raises:
            ValueError: for a QoS override that is none.
        """
        wanted = self._active and (not self.config.lazy or self.listeners() > 0)
        if wanted and not self.subscribed:
            self._subscribe()
        elif self.subscribed and not wanted:
            self._unsubscribe()

    def listeners(self) -> int:
        """Return the number of subscribers to the outputs."""
        return sum(publisher.get_subscription_count() for publisher in self._publishers)

    @property
    def topics(self) -> set[str]:
        """The full names of all topics, in and out."""
        outputs = {publisher.topic_name for publisher in self._publishers}
        return outputs | {self._node.resolve_topic_name(topic) for _, topic in self._inputs}

    @property
    def _inputs(self) -> list[tuple[type, str]]:
        image = CompressedImage if self.config.image_transport == 'compressed' else Image
        inputs = [(image, self.topic)]
        if self.config.depth:
            inputs += [(CameraInfo, f'{self._prefix}camera_info'), (Image, f'{self._prefix}depth')]
        return inputs

    @property
    def _publishers(self) -> tuple:
        return self._labels, self._segments, self._label_info, self._overlay

    def _subscribe(self) -> None:
        for kind, topic in self._inputs:
            # Overridable: over Fast DDS as it comes, large images are often lost unless both ends are reliable.
            overrides = QoSOverridingOptions(_OVERRIDABLE)
            try:
                subscriber = sync.Subscriber(
                    self._node, kind, topic, qos_profile=copy.copy(_CAMERA_QOS), qos_overriding_options=overrides
                )
            except RuntimeError as error:
                raise ValueError(f'qos_overrides: {error}') from error
            self._subscribers.append(subscriber)
        subscribers = self._subscribers
        subscribers[0].registerCallback(lambda _: self.record.received())
        sync.synchronize(
            subscribers,
            self._receive,
            lambda index: self._on_bad_input(
                self, f'{subscribers[index].sub.topic_name}: expected a stamp, to join it by, received 0'
            ),
            self.config.sync_slop_s,
        )

    def _unsubscribe(self) -> None:
        for subscriber in self._subscribers:
            self._node.destroy_subscription(subscriber.sub)
        self._subscribers = []

    def _receive(self, *messages: Image | CompressedImage | CameraInfo) -> None:
        self.record.joined()
        self._on_image(self, Inputs(*messages))

    def publish(self, frame: Frame, segmentation: Segmentation, header: Header) -> None:
        """Publish all outputs for a new image; it is the last one from now on."""
        # First the last image as it is being cut anew, which is quick in general; it does not hold up the camera.
        self._not_cutting.wait(_PATIENCE_S)
        with self._order:
            self._last = frame, header
            self._publish(frame, segmentation, header)

    def publish_again(self, config: SegmenterConfig) -> None:
        """Publish the last image again, cut with other settings, unless there is none or a newer one by then."""
        last = self._last
        if last is None:
            return
        self._not_cutting.clear()
        try:
            segmentation = last[0].cut(config)
            with self._order:
                if self._last is last:
                    self._publish(last[0], segmentation, last[1])
        finally:
            self._not_cutting.set()

    def _publish(self, frame: Frame, segmentation: Segmentation, header: Header) -> None:
        self._label_info.publish(label_info(segmentation, header))
        self._labels.publish(label_image(segmentation, header))
        self._segments.publish(detections(segmentation, header))
        if self._overlay.get_subscription_count():
            overlay = draw_overlay(frame.image_rgb, segmentation.labels, self.config.overlay_opacity)
            self._overlay.publish(encode_image(overlay, 'rgb8', header))

    def age_s(self, header: Header) -> float | None:
        """Return the age of an image in seconds; None where its stamp tells none."""
        seconds = (self._node.get_clock().now() - Time.from_msg(header.stamp)).nanoseconds / 1e9
        return seconds if 0 <= seconds < _LARGEST_AGE_S else None

    def destroy(self) -> None:
        """Take the topics away."""
        self.activate(False)
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)


def stamp_ns(header: Header) -> int:
    """Return a stamp in nanoseconds.

    A driver that leaves stamps at zero still gets its rate limited, by the time of arrival.
    """
    stamp = header.stamp
    return stamp.sec * 10**9 + stamp.nanosec or time.monotonic_ns()
