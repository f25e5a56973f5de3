"""A ROS node that plays camera and consumer in tests."""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, get_parameter_value
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from diffcut_ros.node.images import encode_image
from support.waiting import PATIENCE_S

OUTPUTS = {
    'labels': (Image, QoSProfile(depth=10)),
    'segments': (Detection2DArray, QoSProfile(depth=10)),
    'label_info': (LabelInfo, QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)),
    'overlay': (Image, QoSProfile(depth=10)),
}
MORE_OUTPUTS = {
    'features': (Image, QoSProfile(depth=10)),
    'segments_3d': (Detection3DArray, QoSProfile(depth=10)),
    'points': (PointCloud2, QoSProfile(depth=10)),
    'markers': (MarkerArray, QoSProfile(depth=10)),
    **{
        topic: (Image, QoSProfile(depth=10))
        for topic in ('classes', 'confidence', 'classes_color', 'instances', 'mask')
    },
    **{
        topic: (kind, QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        for topic, kind in (('objects', Detection3DArray), ('object_markers', MarkerArray))
    },
    'class_info': (LabelInfo, QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)),
    'mask/camera_info': (CameraInfo, QoSProfile(depth=10)),
    'clicked': (Detection2DArray, QoSProfile(depth=10)),
    'clicked_mask': (Image, QoSProfile(depth=10)),
}
IN_SPACE = (Detection3DArray, PointCloud2, MarkerArray)


class Peer:
    """Publishes images, keeps all that `/diffcut` publishes in `received`, sets parameters and lifecycle states.

    Args:
        name: of the node.
        context: on which it is.
        camera: name of the camera that it plays; empty for the only one.
        topics: outputs that it subscribes to.
    """

    def __init__(self, name: str, context: Context, camera: str = '', topics: tuple[str, ...] = tuple(OUTPUTS)) -> None:
        self.received: dict[str, list] = defaultdict(list)
        self._stamps_s = itertools.count(1000)
        self._node = Node(name, context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        prefix = f'{camera}/' if camera else ''
        self._camera = self._node.create_publisher(Image, f'{prefix}image', 1)
        self._publishers = {Image: self._camera}
        self._publishers[CompressedImage] = self._node.create_publisher(CompressedImage, f'{prefix}image/compressed', 1)
        self.camera_info = self._node.create_publisher(CameraInfo, f'{prefix}camera_info', 1)
        self.depth = self._node.create_publisher(Image, f'{prefix}depth', 1)
        self.parameters = AsyncParameterClient(self._node, '/diffcut')
        self._change_state = self._node.create_client(ChangeState, '/diffcut/change_state')
        self._get_state = self._node.create_client(GetState, '/diffcut/get_state')
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self.received['diagnostics'].append, 10)
        self._prefix = prefix
        self._outputs = {topic: self._subscribe(topic) for topic in topics}

    def _subscribe(self, topic: str):
        kind, qos = (OUTPUTS | MORE_OUTPUTS)[topic]
        return self._node.create_subscription(kind, f'/diffcut/{self._prefix}{topic}', self.received[topic].append, qos)

    def subscribe(self, topic: str) -> None:
        """Subscribe to an output."""
        self._outputs[topic] = self._subscribe(topic)

    def subscribe_to(self, topic: str, kind: type = Image, qos: QoSProfile | int = 10) -> None:
        """Subscribe to any topic; its messages are kept under its whole name."""
        self._node.create_subscription(kind, topic, self.received[topic].append, qos)

    def subscribe_latched(self, topic: str) -> None:
        """Subscribe to an output that keeps its last message; they are kept under its whole name."""
        self.subscribe_to(topic, *MORE_OUTPUTS[topic.removeprefix('/diffcut/')])

    def subscribers(self, topic: str) -> list[str]:
        """Return the full names of the nodes that subscribe to a topic."""
        infos = self.subscription_infos(topic)
        return sorted(f'{info.node_namespace.rstrip("/")}/{info.node_name}' for info in infos)

    def subscription_infos(self, topic: str) -> list:
        """Return what the middleware tells of the subscriptions of a topic."""
        return self._node.get_subscriptions_info_by_topic(topic)

    def publisher_infos(self, topic: str) -> list:
        """Return what the middleware tells of the publishers of a topic."""
        return self._node.get_publishers_info_by_topic(topic)

    def publisher(self, kind: type, topic: str, qos: QoSProfile | int = 10):
        """Return a publisher of any topic."""
        return self._node.create_publisher(kind, topic, qos)

    def remove(self, publisher) -> None:
        """Take a publisher away."""
        self._node.destroy_publisher(publisher)

    def remove_all(self) -> None:
        """Take all publishers away."""
        for publisher in (*self._publishers.values(), self.camera_info, self.depth):
            self.remove(publisher)

    def replace_camera(self, qos: QoSProfile) -> None:
        """Publish images with another quality of service."""
        self.remove(self._camera)
        self._camera = self._publishers[Image] = self._node.create_publisher(Image, f'{self._prefix}image', qos)

    def client(self, kind: type, name: str):
        """Return a client of a service."""
        return self._node.create_client(kind, name)

    def call(self, client, request):
        """Return a service's answer."""
        assert self.spin_until(client.service_is_ready), client.srv_name
        return self._answer(lambda: client.call_async(request))

    def unsubscribe(self) -> None:
        """Leave all outputs."""
        for subscription in self._outputs.values():
            self._node.destroy_subscription(subscription)
        self._outputs = {}

    @property
    def camera_is_subscribed(self) -> bool:
        """Whether someone listens to the camera."""
        return self._camera.get_subscription_count() > 0

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()

    def spin_until(self, condition, timeout_s: float = PATIENCE_S) -> bool:
        """Handle messages until a condition holds; say whether it did in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def publish(self, message: Image | CompressedImage) -> None:
        """Publish an image once the node listens."""
        publisher = self._publishers[type(message)]
        assert self.spin_until(lambda: publisher.get_subscription_count() > 0), 'nobody subscribes to image'
        self.send(message)

    def send(self, message: Image | CompressedImage) -> None:
        """Publish an image, whether anyone listens or not."""
        self._publishers[type(message)].publish(message)

    def header(self) -> Header:
        """Return a header whose stamp no other has."""
        header = Header(frame_id=f'{self._prefix}camera_optical')
        header.stamp.sec, header.stamp.nanosec = next(self._stamps_s), 123456789
        return header

    def now(self) -> Header:
        """Return a header with the time of now."""
        return Header(frame_id='camera_optical', stamp=self._node.get_clock().now().to_msg())

    def outputs(self, header: Header) -> dict[str, list]:
        """Return what was received with this header, by topic."""

        def has_it(message) -> bool:
            own = (message.markers[0] if isinstance(message, MarkerArray) else message).header
            # What is in space may be in another frame.
            return own == header or (own.stamp == header.stamp and isinstance(message, IN_SPACE))

        return {topic: [m for m in self.received[topic] if has_it(m)] for topic in self._outputs}

    def wait_until_met(self) -> None:
        """Wait until this and a node with depth have found each other: from now on reliable messages arrive.

        A publisher that sees a subscriber may not be seen by it yet, and outputs go to those alone that the node sees.
        """
        for publisher in (self._camera, self.camera_info, self.depth):
            assert self.spin_until(lambda publisher=publisher: publisher.get_subscription_count() > 0)
        self.diagnostics(told=lambda _, values: values['subscribers'] == str(len(self._outputs)))

    def segment(self, image_rgb: np.ndarray) -> tuple[Header, dict[str, list]]:
        """Publish an image until every output of it has arrived; return its header and the outputs by topic."""
        return self.exchange(encode_image(image_rgb, 'rgb8', self.header()))

    def exchange_depth(self, image_rgb: np.ndarray, depth: Image, camera_info: CameraInfo):
        """Publish an image with depth until every output of it has arrived; return header and outputs by topic."""

        def publish(header: Header) -> None:
            depth.header = camera_info.header = header
            self.camera_info.publish(camera_info)
            self.depth.publish(depth)
            self.publish(encode_image(image_rgb, 'rgb8', header))

        return self._exchange(publish, self.header())

    def exchange(self, message: Image | CompressedImage) -> tuple[Header, dict[str, list]]:
        """Publish a message until every output of it has arrived; return its header and the outputs by topic."""

        def publish(header: Header) -> None:
            message.header = header
            self.publish(message)

        return self._exchange(publish, message.header)

    def _exchange(self, publish: Callable[[Header], None], header: Header) -> tuple[Header, dict[str, list]]:
        """Publish with one header after the other, until every output of one has arrived.

        The first image for a node may get lost, and so may its outputs while not all ends have found each other. Each
        further try has a header of its own: what comes late of an earlier one is not taken for an output of this one.
        """
        for patience_s in (1.0, 2.0, 4.0, 8.0, PATIENCE_S):
            publish(header)
            if self.spin_until(lambda header=header: all(self.outputs(header).values()), patience_s):
                return header, self.outputs(header)
            missing = [topic for topic, found in self.outputs(header).items() if not found]
            header = self.header()
        raise AssertionError(f'no {", ".join(missing)} for the image')

    def set(self, **values):
        """Set parameters through the node's service; return the result of the first."""
        assert self.spin_until(self.parameters.services_are_ready)
        wanted = [Parameter(name, value=value) for name, value in values.items()]
        return self._answer(lambda: self.parameters.set_parameters(wanted)).results[0]

    def set_text(self, name: str, text: str):
        """Set a parameter to what `ros2 param set` makes of a text; return the result."""
        return self.set_message(ParameterMessage(name=name, value=get_parameter_value(text)))

    def set_message(self, parameter: ParameterMessage):
        """Set a parameter to any message; return the result."""
        client = self.client(SetParameters, '/diffcut/set_parameters')
        assert self.spin_until(client.service_is_ready)
        request = SetParameters.Request(parameters=[parameter])
        result = self._answer(lambda: client.call_async(request)).results[0]
        self._node.destroy_client(client)
        return result

    def names(self) -> list[str]:
        """Return the names of all parameters."""
        assert self.spin_until(self.parameters.services_are_ready)
        return list(self._answer(lambda: self.parameters.list_parameters([], 10)).result.names)

    def get(self, name: str):
        """Return a parameter's value from the node's service."""
        assert self.spin_until(self.parameters.services_are_ready)
        value = self._answer(lambda: self.parameters.get_parameters([name])).values[0]
        return Parameter.from_parameter_msg(ParameterMessage(name=name, value=value)).value

    def describe(self, *names: str):
        """Return parameter descriptors from the node's service."""
        assert self.spin_until(self.parameters.services_are_ready)
        return self._answer(lambda: self.parameters.describe_parameters(list(names))).descriptors

    def transition(self, name: str) -> bool:
        """Ask the node for a lifecycle transition: 'configure', 'activate', ...; say whether it succeeded."""
        assert self.spin_until(self._change_state.service_is_ready)
        # Not repeated like other requests: a transition may take its time, and cannot be made twice.
        self.state()
        future = self._change_state.call_async(ChangeState.Request(transition=Transition(label=name)))
        assert self.spin_until(future.done)
        return future.result().success

    def state(self) -> str:
        """Return the node's lifecycle state: 'unconfigured', 'inactive', 'active', 'finalized'."""
        assert self.spin_until(self._get_state.service_is_ready)
        return self._answer(lambda: self._get_state.call_async(GetState.Request())).current_state.label

    def diagnostics(
        self,
        name: str = 'diffcut: camera',
        level: bytes | None = None,
        told: Callable[[str, dict[str, str]], bool] | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ):
        """Return the next diagnostic status that is asked for: level, message and a dict of values.

        Args:
            name: of the status.
            level: that it has; None: any.
            told: whether message and values are what is waited for; None: any that was made after this call.
            meanwhile: called again and again until it is there.
        """
        seen, found = len(self.received['diagnostics']), []
        if told is None and level is None:
            # Those on their way, and the next, may tell of before.
            self.spin_until(lambda: False, 0.2)
            seen = len(self.received['diagnostics']) + 1

        def fits() -> bool:
            meanwhile()
            for status in (status for message in self.received['diagnostics'][seen:] for status in message.status):
                values = {pair.key: pair.value for pair in status.values}
                meant = status.name == name and level in (None, status.level)
                if meant and (told is None or told(status.message, values)):
                    found.append((status.level, status.message, values))
            return bool(found)

        assert self.spin_until(fits), [message.status for message in self.received['diagnostics'][-1:]]
        return found[-1]

    def _answer(self, request):
        """Return the answer of a service of the node; `request` sends the request and returns its future.

        A client may see a server that does not see the client's end for answers yet: over DDS that answer is lost.
        """
        for patience_s in (2.0, 4.0, 8.0, PATIENCE_S):
            future = request()
            if self.spin_until(future.done, patience_s):
                return future.result()
        raise AssertionError('no answer from the node')
