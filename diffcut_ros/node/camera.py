"""One camera: its topics, its last image, and what became of its images."""

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, PointStamped
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.exceptions import InvalidTopicNameException
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from diffcut_ros.core import Classes, Pipeline, Result, Segmentation, back_project
from diffcut_ros.core.clicks import Clicked
from diffcut_ros.core.geometry import sample_at
from diffcut_ros.core.live_map import LiveMap
from diffcut_ros.core.tracking import JUMP_BACK_NS
from diffcut_ros.core.upright import Upright
from diffcut_ros.media.overlay import draw_overlay, track_colors, track_names, write_names
from diffcut_ros.node import sync
from diffcut_ros.node.diagnostics import RATE_WINDOW_S, CameraRecord
from diffcut_ros.node.instance_ids import MAX_INSTANCE, InstanceIds
from diffcut_ros.node.messages import MESSAGES, installed
from diffcut_ros.node.messages_3d import markers, object_markers, point_cloud
from diffcut_ros.node.subscription import OVERRIDABLE, Subscription, overridable
from diffcut_ros.node.target_frame import TargetFrame
from diffcut_ros.node.worker import Source
from diffcut_ros.printable import counted, quoted
from diffcut_ros.settings import NodeConfig, PointsConfig
from diffcut_ros.stream.decoder import Decoder
from diffcut_ros.stream.inputs import Inputs, calibration
from diffcut_ros.stream.messages import ANNOTATIONS, FEATURE_IMAGE, shown
from diffcut_ros.stream.stamps import is_stamp, stamp_ns

# Deeper: an image and its cut at a new tau may follow each other within a millisecond.
_OUTPUT_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

_OUTPUTS = {
    'labels': (Image, _OUTPUT_QOS),
    'segments': (Detection2DArray, _OUTPUT_QOS),
    'label_info': (LabelInfo, _LATCHED_QOS),
    'features': (Image, _OUTPUT_QOS),
    'overlay': (Image, _OUTPUT_QOS),
    'class_info': (LabelInfo, _LATCHED_QOS),
    'classes': (Image, _OUTPUT_QOS),
    'confidence': (Image, _OUTPUT_QOS),
    'classes_color': (Image, _OUTPUT_QOS),
    'instances': (Image, _OUTPUT_QOS),
    'mask': (Image, _OUTPUT_QOS),
    'mask/camera_info': (CameraInfo, _OUTPUT_QOS),
    'clicked': (Detection2DArray, _OUTPUT_QOS),
    'clicked_mask': (Image, _OUTPUT_QOS),
}
# What is clicked on: in pixels, and in space.
CLICKS = {'click': Point, 'clicked_point': PointStamped}
_MOST_CLICKS = 10
_OUTPUTS_3D = {
    'segments_3d': (Detection3DArray, _OUTPUT_QOS),
    'points': (PointCloud2, _OUTPUT_QOS),
    'markers': (MarkerArray, _OUTPUT_QOS),
}
# Of the map of objects.
_OUTPUTS_OF_MAP = {
    'objects': (Detection3DArray, _LATCHED_QOS),
    'object_markers': (MarkerArray, _LATCHED_QOS),
    'object_labels': (Image, _OUTPUT_QOS),
}
# Where their packages are installed: who reads them has these.
_OUTPUTS_IF_INSTALLED = {'annotations': ANNOTATIONS, 'feature_image': FEATURE_IMAGE}

# What hangs on the classes of segments.
_OF_CLASSES = ('classes', 'confidence', 'classes_color', 'instances', 'mask', 'mask/camera_info', 'annotations')

# An age beyond this is no age: stamps of another clock, or of a bag that is played without simulated time.
_LARGEST_AGE_S = 1000.0
# Images after which it is told that z of the target frame does not seem to point up.
_TELL_UPRIGHT = 10
# Stamps of images that wait for the first depth or camera_info.
_MOST_WAITING = 1000
# Share of a core that maps of objects may take.
_MAP_SHARE = 0.1
# How often a changed calibration is logged at most: that of a lens that zooms changes with each image.
_REPEAT_CHANGE_S = 60.0


def check_name(name: str) -> None:
    """Make sure that topics can have a camera's name.

    Raises:
        ValueError: with the reason.
    """
    try:
        validate_full_topic_name(f'/{name}/image')
    except InvalidTopicNameException as error:
        (reason, *_) = str(error).splitlines()
        raise ValueError(
            f'cameras: expected names as topics have them, such as front, received {name!r}: {reason.rstrip(":")}'
        ) from error


class Camera:
    """The topics of one camera, and the last result.

    In: `image`, and where they are wanted `camera_info` and `depth`. Out: `~/labels`, `~/segments`, `~/label_info`,
    `~/features`, `~/overlay`; with depth `~/segments_3d`, `~/points` and `~/markers`, too, and with a target frame
    `~/objects`, `~/object_markers` and `~/object_labels`; what they are called by example: `~/class_info`,
    `~/classes`, `~/confidence`, `~/classes_color`, `~/instances`, `~/mask`; where the packages of their types are
    installed `~/annotations` and `~/feature_image`. What is clicked on comes in on `~/click` and `~/clicked_point`, and
    is answered on `~/clicked` and `~/clicked_mask`.

    Args:
        node: on which they are.
        name: puts the topics under NAME/ and ~/NAME/; empty: not.
        config: settings; like `points` they may be replaced at any time.
        points: settings of the point cloud.
        decoder: from messages to images.
        pipeline: from image to result.
        on_image: called with what comes, image by image.
        on_bad_input: called with what is wrong with a message that cannot be joined with others.
        on_click: called with what comes on one of `CLICKS`.
        tell: called with what is said of the map of objects.
        went_back: called when the stamps of its images went back, by which tracks begin anew: with that as text, and
            until when they had not, by `time.monotonic`.

    Attributes:
        source: of what comes, image by image.
        network: of those that are computed while others are carried along: the newest image, see `Pipeline.begin`.
        shown: the result that was published last; None before the first since it listens to the camera.
        target: the frame that places are wanted in; None: the camera's.
        objects: the map of objects so far; None without a target frame.

    Raises:
        ValueError: for an invalid QoS override.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        config: NodeConfig,
        points: PointsConfig,
        decoder: Decoder,
        pipeline: Pipeline,
        on_image: Callable[['Camera', Inputs], None],
        on_bad_input: Callable[['Camera', str], None],
        on_click: Callable[['Camera', Point | PointStamped], None] = lambda *_: None,
        tell: Callable[[str], object] = lambda _: None,
        went_back: Callable[[str, float], object] = lambda *_: None,
    ) -> None:
        self.name, self.config, self.points = name, config, points
        self.decoder, self.pipeline = decoder, pipeline
        self.record = CameraRecord()
        self.source: Source[Inputs] = Source(config.rate_hz)
        self.network: Source[None] = Source(config.network_hz)
        self._node, self._on_image, self._on_bad_input = node, on_image, on_bad_input
        self._prefix = f'{name}/' if name else ''
        decoder.topic = self.topic
        self._subscribers: list[Subscription] = []
        self._told: dict[str, str] = {}
        self._heard_s: dict[str, float] = {}
        self._came_s: dict[str, float] = {}
        self._told_silent: set[str] = set()
        # Since it listens: when the first message came on each topic; until the first image is joined, their stamps.
        self._first_s: dict[str, float] = {}
        self._waiting_ns: deque[int] | None = None
        self._went_back = went_back
        self._last_ns, self._last_s = 0, -math.inf  # stamp of the last image, and when it came
        self._camera_info: CameraInfo | None = None
        self._before_camera_info: tuple[Any, ...] = ()
        # A subscriber that comes or goes may change whether the camera is needed.
        self._events = PublisherEventCallbacks(matched=lambda _: self.update_subscription())
        self._active = False
        self.classes = Classes()
        self.shown: Result | None = None
        self.target: TargetFrame | None = None
        self._on_click = on_click
        self._clicks: list[Any] = []
        self.points_come = False  # whether somebody may click in space
        self._instance_ids = InstanceIds()
        self._outputs: dict[str, Publisher] = {}
        self.objects = LiveMap(tell) if config.depth and config.target_frame else None
        self._tell, self._shown_map, self._next_map_s = tell, (0, self.classes, 0.0), 0.0
        self._upright, self._told_tilted = Upright(), False
        outputs = _OUTPUTS | (_OUTPUTS_3D if config.depth else {}) | (_OUTPUTS_OF_MAP if self.objects else {})
        for topic, (kind, qos) in outputs.items():
            self._outputs[topic] = self._publisher(kind, topic, qos)
        # Why an output is not there, and what is to be done.
        self._left_out: dict[str, tuple[str, str]] = {}
        if self.objects is None:
            frame = 'target_frame to a frame that does not move, such as map'
            if not config.depth:  # target_frame needs it
                lacks, wanted = 'there is no depth', f'set depth: true, and {frame}'
            else:
                lacks, wanted = 'target_frame is empty', f'set {frame}'
            for topic in _OUTPUTS_OF_MAP:
                self._left_out[node.resolve_topic_name(f'~/{self._prefix}{topic}')] = lacks, wanted
        for topic, name in _OUTPUTS_IF_INSTALLED.items():
            kind, reason = installed(name)
            if kind is None:
                self._left_out[node.resolve_topic_name(f'~/{self._prefix}{topic}')] = (
                    reason,
                    'install it where this node runs',
                )
            else:
                self._outputs[topic] = self._publisher(kind, topic, _OUTPUT_QOS)
        # A bad QoS override shall be found now, and not when the first subscriber comes.
        self._made = False
        self._subscribe()
        self._unsubscribe()
        self._made = True

    def _publisher(self, kind: type, topic: str, qos: QoSProfile):
        overrides = QoSOverridingOptions(OVERRIDABLE)
        with overridable(self._node.resolve_topic_name(f'~/{self._prefix}{topic}')):
            return self._node.create_lifecycle_publisher(
                kind,
                f'~/{self._prefix}{topic}',
                copy.copy(qos),  # overrides change the object that they are given
                event_callbacks=self._events,
                qos_overriding_options=overrides,
            )

    @property
    def topic(self) -> str:
        """The full name of the camera's topic."""
        topic = self._node.resolve_topic_name(f'{self._prefix}image')
        # As image_transport does: the transport's name follows the remapped topic.
        return f'{topic}/compressed' if self.config.image_transport == 'compressed' else topic

    @property
    def depth_topic(self) -> str:
        """The full name of the topic of its depth; empty: none is wanted."""
        return self._node.resolve_topic_name(self._depth[1]) if self.config.depth else ''

    @property
    def subscribed(self) -> bool:
        """Whether the node listens to the camera now."""
        return bool(self._subscribers)

    def activate(self, active: bool) -> None:
        """Let the camera be listened to, or not."""
        self._active = active
        while self._clicks:
            self._node.destroy_subscription(self._clicks.pop())
        if active:
            self.publish_class_info()
            self._clicks = [self._listen_to_clicks(*one) for one in CLICKS.items()]
        self.update_subscription()

    def _listen_to_clicks(self, topic: str, kind: type):
        def matched(status: Any) -> None:
            if kind is PointStamped:
                self.points_come = status.current_count > 0
                self.update_subscription()  # camera_info says where in the image they are

        return self._node.create_subscription(
            kind,
            self.click_topic(topic),
            lambda message: self._on_click(self, message),
            _MOST_CLICKS,
            event_callbacks=SubscriptionEventCallbacks(matched=matched),
        )

    def click_topic(self, topic: str) -> str:
        """Return the full name of one of `CLICKS`."""
        return self._node.resolve_topic_name(f'~/{self._prefix}{topic}')

    def update_subscription(self) -> None:
        """Subscribe to the camera if its images are wanted, and only then.

        Raises:
            ValueError: for an invalid QoS override.
        """
        wanted = self._active and (not self.config.lazy or self.listeners() > 0 or bool(self.config.teach))
        if not wanted:  # at the node's end: rclpy must not be asked any more whether camera_info is
            self._unsubscribe()
        elif not self.subscribed:
            self._subscribe()
        elif len(inputs := self._inputs) > len(self._subscribers):
            self._listen(*inputs[1], 'camera_info')  # images go on meanwhile
        elif len(inputs) < len(self._subscribers):
            self._subscribers.pop().destroy()

    def listeners(self) -> int:
        """Return the number of subscribers to the outputs."""
        return sum(publisher.get_subscription_count() for publisher in self._outputs.values())

    def missed(self) -> Iterator[str]:
        """Say, once each, why there are not the outputs that somebody subscribes to."""
        for topic in [topic for topic in self._left_out if self._node.count_subscribers(topic)]:
            reason, next_step = self._left_out.pop(topic)
            yield f'{topic}: not advertised, since {reason}. Next: {next_step}, and start it again'

    @property
    def topics(self) -> set[str]:
        """The full names of all topics, in and out."""
        return {publisher.topic_name for publisher in self._outputs.values()} | set(self.input_topics)

    @property
    def input_topics(self) -> list[str]:
        """The full names of the topics that it subscribes to: image, camera_info, depth."""
        return [self._node.resolve_topic_name(topic) for _, topic in self._inputs]

    @property
    def _inputs(self) -> list[tuple[type, str]]:
        image = CompressedImage if self.config.image_transport == 'compressed' else Image
        inputs = [(image, self.topic)]
        # A mask and points in space are no good without; which topics there may be is asked before anybody listens.
        if self.config.depth or not self._made or self._wanted('mask/camera_info') or self.points_come:
            inputs.append((CameraInfo, f'{self._prefix}camera_info'))
        if self.config.depth:
            inputs.append(self._depth)
        return inputs

    @property
    def _depth(self) -> tuple[type, str]:
        topic, transport = self._node.resolve_topic_name(f'{self._prefix}depth'), self.config.depth_transport
        return (Image, topic) if transport == 'raw' else (CompressedImage, f'{topic}/{transport}')

    def _subscribe(self) -> None:
        for (kind, topic), name in zip(self._inputs, ('image', 'camera_info', 'depth'), strict=False):
            self._listen(kind, topic, name)
        self._first_s, self._waiting_ns = {}, deque(maxlen=_MOST_WAITING)
        self.record.listening()
        subscribers = self._subscribers
        subscribers[0].registerCallback(self._take_time)
        joined = [subscribers[0], *subscribers[2:]]
        sync.synchronize(
            joined,
            self._receive,
            lambda index: self._on_bad_input(
                self, f'{joined[index].topic}: expected a stamp, to join it by, received 0 or what can be none'
            ),
            self.config.sync_slop_s,
        )

    def _take_time(self, image: Image | CompressedImage) -> None:
        """Take note of the stamp of an image as it comes: its transform is looked up before tracks follow it."""
        at_ns = stamp_ns(image)
        self.record.received(at_ns)
        if not is_stamp(image):
            return
        if self._waiting_ns is not None:
            self._waiting_ns.append(at_ns)
        if at_ns < self._last_ns - JUMP_BACK_NS:
            back_s = (self._last_ns - at_ns) / 1e9
            self._went_back(f'the stamp of an image on {self.topic} went back by {back_s:.1f} s', self._last_s)
        self._last_ns, self._last_s = at_ns, time.monotonic()

    def _listen(self, kind: type, topic: str, name: str) -> None:
        subscriber = Subscription(
            self._node,
            kind,
            topic,
            f'{self._prefix}{name}',
            self.record.lost,
            joined=self.config.depth,
            replaceable=kind is CameraInfo,
        )
        self._subscribers.append(subscriber)
        self._heard_s[subscriber.topic] = time.monotonic()
        subscriber.registerCallback(self._hear, subscriber.topic)
        if kind is CameraInfo:
            subscriber.registerCallback(self._calibrate)

    def follow(self) -> None:
        """Ask for the best quality of service that all publishers of each topic offer now; a change is logged."""
        for subscriber in self._subscribers:
            subscriber.follow()
            told = self._told.get(subscriber.topic, 'reliable')
            if subscriber.delivery != told:
                self._node.get_logger().info(
                    f'{subscriber.topic}: {subscriber.delivery} from now on, {subscriber.reason}'
                )
            self._told[subscriber.topic] = subscriber.delivery

    @property
    def subscriptions(self) -> list[Subscription]:
        """What it listens to now: image, camera_info, depth."""
        return list(self._subscribers)

    @property
    def delivery(self) -> dict[str, str]:
        """How each topic that it listens to now is delivered, such as 'reliable'."""
        return {subscriber.topic: subscriber.delivery for subscriber in self._subscribers}

    def count_from_now(self) -> None:
        """Let nothing be missing yet."""
        self._heard_s = {subscriber.topic: time.monotonic() for subscriber in self._subscribers}
        self.record.listening()

    def _hear(self, _: Image | CompressedImage | CameraInfo, topic: str) -> None:
        before_s, self._heard_s[topic] = self._heard_s[topic], time.monotonic()
        if topic in self._told_silent:
            self._told_silent.discard(topic)
            what = 'images' if topic == self.topic else 'messages'
            silent_s = self.came_s(topic)
            come = 'come now' if silent_s is None else f'come again, after {silent_s:.0f} s'
            self._node.get_logger().info(f'{topic}: {what} {come}')
        self._came_s[topic] = self._heard_s[topic]
        self._first_s.setdefault(topic, self._heard_s[topic])
        if self._heard_s[topic] - before_s > RATE_WINDOW_S:
            self.record.resumed()

    def came_s(self, topic: str) -> float | None:
        """Return how long ago the last message came on a topic, in seconds; None where none has yet."""
        return time.monotonic() - self._came_s[topic] if topic in self._came_s else None

    def lacks(self) -> str:
        """Return what images are not joined with, where they are not: camera_info, depth, or depth at their stamps."""
        silent = {one.topic for one in self.silent(RATE_WINDOW_S)}
        missing = [one for one in self._needed if one.topic in silent or one.topic not in self._first_s]
        if not missing:
            return f'no depth within {self.config.sync_slop_s:g} s (sync_slop_s) of their stamps on {self.depth_topic}'
        return ', '.join(f'nothing on {one.topic} ({one.count_publishers()})' for one in missing)

    def told_silent(self, topic: str) -> None:
        """Take note that the log says of a topic that nothing comes: it will say when something comes again."""
        self._told_silent.add(topic)

    @property
    def gets_depth(self) -> bool:
        """Whether depth has come."""
        return self.depth_topic in self._came_s

    def silent(self, seconds: float) -> list[Subscription]:
        """Return the subscriptions that nothing came on for so long."""
        now_s = time.monotonic()
        listened = [*self._subscribers[:1], *self._needed]
        return [one for one in listened if now_s - self._heard_s[one.topic] >= seconds]

    @property
    def _needed(self) -> list[Subscription]:
        """What images wait for: depth, and camera_info until it has come, as it may be sent once."""
        return self._subscribers[1 if self._camera_info is None else 2 :]

    def _unsubscribe(self) -> None:
        for subscriber in self._subscribers:
            subscriber.destroy()
        self._subscribers = []
        self._told_silent.clear()
        self.shown = None  # nobody clicks on what was seen before
        self.record.resumed()

    def _calibrate(self, camera_info: CameraInfo) -> None:
        """Take note of a camera_info: it holds until another comes, whatever its stamp."""
        before, self._camera_info = self._camera_info, camera_info
        if before is None:
            waiting, self._before_camera_info = self._before_camera_info, ()
            if waiting:
                self._receive(*waiting)
        elif calibration(before) != calibration(camera_info):
            topic = self._subscribers[1].topic
            text = f'{topic}: the calibration has changed; positions follow it'
            self._node.get_logger().info(text, throttle_duration_sec=_REPEAT_CHANGE_S)

    def _receive(self, *messages: Image | CompressedImage) -> None:
        if not self.config.depth:
            inputs = Inputs(*messages)
        elif self._camera_info is None:
            self._before_camera_info = messages
            return
        else:
            image, depth = messages
            inputs = Inputs(image, self._camera_info, depth)
        self.record.joined()
        self._tell_waited(stamp_ns(inputs.image))
        if inputs.warning:
            self._node.get_logger().warning(f'{self.topic}: {inputs.warning}', once=True)
        self._on_image(self, inputs)

    def _tell_waited(self, joined_ns: int) -> None:
        """Say how many images had come, and why they are left out, before the first one that is joined."""
        waiting_ns, self._waiting_ns = self._waiting_ns, None
        count = sum(at_ns < joined_ns for at_ns in waiting_ns or ())
        if not count:
            return
        first_s = self._first_s[self.topic]
        others = [topic for topic in self._first_s if topic != self.topic]
        last = max(others, key=self._first_s.__getitem__, default=self.topic)
        late_s = self._first_s[last] - first_s
        # Each topic is found by itself, which may take seconds.
        cause = f'{last} came {late_s:.1f} s after them' if late_s > 0 else f'{last} had nothing at their stamps'
        more = '; with lazy: false the node listens from its start on' if self.config.lazy else ''
        self._node.get_logger().info(f'{self.topic}: the first {counted(count, "image")} left out, since {cause}{more}')

    def publish(self, result: Result) -> None:
        """Publish all outputs of an image that somebody listens to."""
        self.shown = result
        header, by_track = result.scene.header, self.config.labels == 'track'
        segmentation, scene = result.segmentation, result.scene
        located = any(map(self._wanted, ('segments', 'segments_3d', 'markers')))
        geometries = result.geometries if located else [None] * len(segmentation.segments)
        segments, geometries = shown(segmentation, geometries, by_track)
        if not located and not any(map(self._wanted, ('points', *_OUTPUTS_OF_MAP))):
            self.record.no_transform = ''  # none is looked up
        space = header if self.target is None else self.target.header(header)
        # What is needed to read the others comes first.
        self._outputs['label_info'].publish(MESSAGES.label_info(segments, header, by_track))
        self._outputs['labels'].publish(MESSAGES.label_image(segmentation, header, by_track))
        self._outputs['segments'].publish(
            MESSAGES.detections(segments, header, by_track, geometries, self.target is not None)
        )
        if self._wanted('features'):
            self._outputs['features'].publish(MESSAGES.features(segments, header))
        if self._wanted('segments_3d'):
            self._outputs['segments_3d'].publish(MESSAGES.detections_3d(segments, space, geometries, by_track))
        if self._wanted('overlay'):
            colors = track_colors(segmentation.segments)
            overlay = draw_overlay(scene.image_rgb, segmentation.labels, colors, self.config.overlay_opacity)
            write_names(overlay, segmentation, track_names(segmentation.segments))
            self._outputs['overlay'].publish(MESSAGES.image(overlay, 'rgb8', header))
        if self._wanted('markers'):
            into = None if self.target is None else result.into
            self._outputs['markers'].publish(markers(segments, geometries, space, into))
        if self._wanted('points'):
            organized = self.points.organized
            depth_m = sample_at(scene.depth_m, segmentation.labels.shape) if organized else scene.depth_m
            if scene.camera is None or result.into is None:  # see `Decoder.no_space`; the place is not known
                points_m = np.full((*depth_m.shape, 3), np.nan, np.float32)
            else:
                points_m = back_project(depth_m, scene.camera, None if self.target is None else result.into)
            cloud = point_cloud(points_m, scene.image_rgb, segmentation, space, organized, by_track)
            self._outputs['points'].publish(cloud)
        if self._wanted('feature_image'):
            self._outputs['feature_image'].publish(MESSAGES.feature_image(segmentation, header, by_track))
        if any(map(self._wanted, _OF_CLASSES)):
            self._publish_classes(segmentation, header, by_track)
        if self.objects is not None:  # once all others are out
            into = None if scene.depth_m is None or scene.camera is None else result.into  # not to wait in vain
            self._upright = self._upright if into is None else self._upright.seen(into)
            try:
                self.objects.add(scene, segmentation, into, self.pipeline.tracking)
            except ValueError as error:
                self._tell(f'the map of objects: an image is not in it: {error}')
            else:
                if self._wanted('object_labels'):
                    object_id = np.append(0, self.objects.shown(segmentation.segments)).astype(np.uint16)
                    self._outputs['object_labels'].publish(
                        MESSAGES.image(object_id[segmentation.labels], 'mono16', header)
                    )

    def publish_objects(self) -> None:
        """Bring the map of objects up to date, and publish it if it has changed and somebody listens to it.

        To be called each second. A map that takes longer than a tenth of that is made the more rarely.
        """
        if self.objects is None or self.target is None:
            return
        tracking, start_s = self.pipeline.tracking, time.monotonic()
        shows = _, classes, least = self.objects.changes, self.classes, self.config.min_confidence
        listened = any(map(self._wanted, _OUTPUTS_OF_MAP))
        if listened and not tracking.max_remembered:
            self._tell('the map of objects is empty, since tracking.max_remembered is 0')
        enough = self._upright.images >= _TELL_UPRIGHT
        if listened and enough and self._upright.is_tilted and not self._told_tilted:
            self._told_tilted = True
            self._tell(
                f'the map of objects: z of {quoted(self.target.name)} does not seem to point up: boxes are tilted, '
                'unless the camera is mounted on its side or upside down'
            )
        if not listened or shows == self._shown_map or start_s < self._next_map_s:
            self.objects.settle(tracking)
            return
        stamp_ns = self.objects.stamp_ns
        objects = self.objects.map(tracking).named(classes, least).objects
        header = Header(frame_id=self.target.name)
        header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
        names = [classes.name(one.class_id) if one.class_id else str(one.object_id) for one in objects]
        self._outputs['objects'].publish(MESSAGES.objects(objects, header))
        self._outputs['object_markers'].publish(object_markers(objects, names, header))
        self._shown_map = shows
        self._next_map_s = start_s + (time.monotonic() - start_s) / _MAP_SHARE

    @property
    def camera_info(self) -> CameraInfo | None:
        """The last one that came; None before."""
        return self._camera_info

    def publish_clicked(self, found: Clicked, header: Header) -> None:
        """Publish what was clicked on, in the image with a header."""
        answer = MESSAGES.detections(
            found.segments, header, self.config.labels == 'track', [found.place], self.target is not None
        )
        if found.level:  # no segment of the image has this box
            answer.detections[0].id = ''
        self._outputs['clicked'].publish(answer)
        mask = np.multiply(found.mask, 255, dtype=np.uint8)
        self._outputs['clicked_mask'].publish(MESSAGES.image(mask, 'mono8', header))

    def publish_class_info(self) -> None:
        """Tell the names of the classes, before the first image that they are of."""
        if not self._active:
            return  # it is told at activation
        header = Header(stamp=self._node.get_clock().now().to_msg())
        info = MESSAGES.class_info(self.classes, header, self.config.min_confidence)
        self._outputs['class_info'].publish(info)

    def _publish_classes(self, segmentation: Segmentation, header: Header, by_track: bool) -> None:
        classes = self.classes  # others may come meanwhile
        class_id, confidence = classes.classify(segmentation.segments, self.config.min_confidence)
        if self._wanted('classes'):
            self._outputs['classes'].publish(MESSAGES.class_image(segmentation, class_id, header))
        if self._wanted('confidence'):
            self._outputs['confidence'].publish(MESSAGES.confidence_image(segmentation, confidence, header))
        if self._wanted('classes_color'):
            colors = np.zeros((len(class_id) + 1, 3), np.uint8)
            for row in np.flatnonzero(class_id):
                colors[row + 1] = classes.classes[class_id[row]].color
            self._outputs['classes_color'].publish(
                MESSAGES.image(colors.take(segmentation.labels, axis=0), 'rgb8', header)
            )
        if self._wanted('annotations'):
            colors = track_colors(segmentation.segments)
            self._outputs['annotations'].publish(
                MESSAGES.annotations(segmentation, header, colors, classes, class_id, by_track)
            )
        if self._wanted('instances'):
            value = self._instance_ids.of(segmentation.segments.track_id) << 16 | class_id
            image = np.append(0, value).astype(np.int32).take(segmentation.labels)
            self._outputs['instances'].publish(MESSAGES.image(image, '32SC1', header))
            if self._instance_ids.reused:
                self._node.get_logger().warning(
                    f'{self._outputs["instances"].topic_name}: ids of more than {MAX_INSTANCE} tracks do not fit; '
                    'those seen longest ago are given again',
                    once=True,
                )
        if any(map(self._wanted, ('mask', 'mask/camera_info'))):
            names = set(filter(None, self.config.mask_classes))
            if not names:
                self._node.get_logger().warning(
                    f'{self._outputs["mask"].topic_name}: empty, since mask_classes names no class', once=True
                )
            shown = [key for key, one in classes.classes.items() if one.name in names]
            values = np.append(0, 255 * np.isin(class_id, shown)).astype(np.uint8)
            self._outputs['mask'].publish(MESSAGES.image(values.take(segmentation.labels), 'mono8', header))
            if self._camera_info is not None:
                camera_info = copy.copy(self._camera_info)
                camera_info.header = header
                self._outputs['mask/camera_info'].publish(camera_info)
                height, width = segmentation.labels.shape
                if (camera_info.height, camera_info.width) != (height, width):
                    self._node.get_logger().warning(
                        f'{self._outputs["mask/camera_info"].topic_name}: camera_info of {camera_info.width} x '
                        f'{camera_info.height} for an image of {width} x {height}; receivers of the mask expect the '
                        'same size',
                        once=True,
                    )

    def _wanted(self, topic: str) -> bool:
        return topic in self._outputs and self._outputs[topic].get_subscription_count() > 0

    def age_s(self, message: Any) -> float | None:
        """Return the age of a message in seconds; None where its stamp tells none."""
        # Not as rclpy's Time, which raises for a negative one.
        seconds = (self._node.get_clock().now().nanoseconds - stamp_ns(message)) / 1e9
        return seconds if 0 <= seconds < _LARGEST_AGE_S else None

    def destroy(self) -> None:
        """Take the topics away."""
        self.activate(False)
        for publisher in self._outputs.values():
            self._node.destroy_lifecycle_publisher(publisher)
