"""A ROS node that plays camera and consumer in tests."""

import itertools
import time
from collections import defaultdict

import numpy as np
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from diffcut_ros.node.images import encode_image

OUTPUTS = {
    'labels': (Image, QoSProfile(depth=10)),
    'segments': (Detection2DArray, QoSProfile(depth=10)),
    'label_info': (LabelInfo, QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)),
    'overlay': (Image, QoSProfile(depth=10)),
}


class Peer:
    """Publishes images on `image`, keeps all that `/diffcut` publishes in `received`, and sets parameters."""

    def __init__(self, name: str, context: Context) -> None:
        self.received: dict[str, list] = defaultdict(list)
        self._stamps_s = itertools.count(1000)
        self._node = Node(name, context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._camera = self._node.create_publisher(Image, 'image', 1)
        self.parameters = AsyncParameterClient(self._node, '/diffcut')
        for topic, (kind, qos) in OUTPUTS.items():
            self._node.create_subscription(kind, f'/diffcut/{topic}', self.received[topic].append, qos)

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()

    def spin_until(self, condition, timeout_s: float = 20.0) -> bool:
        """Handle messages until a condition holds; say whether it did in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def publish(self, message: Image) -> None:
        """Publish an image once the node listens."""
        assert self.spin_until(lambda: self._camera.get_subscription_count() > 0), 'nobody subscribes to image'
        self._camera.publish(message)

    def header(self) -> Header:
        """Return a header whose stamp no other has."""
        header = Header(frame_id='camera_optical')
        header.stamp.sec, header.stamp.nanosec = next(self._stamps_s), 123456789
        return header

    def outputs(self, header: Header) -> dict[str, list]:
        """Return what was received with this header, by topic."""
        return {topic: [m for m in messages if m.header == header] for topic, messages in self.received.items()}

    def segment(self, image_rgb: np.ndarray) -> tuple[Header, dict[str, list]]:
        """Publish an image until every output of it has arrived; return its header and the outputs by topic."""
        return self.exchange(encode_image(image_rgb, 'rgb8', self.header()))

    def exchange(self, message: Image) -> tuple[Header, dict[str, list]]:
        """Publish a message until every output of it has arrived; return its header and the outputs by topic."""

        def complete() -> bool:
            return all(self.outputs(message.header)[topic] for topic in OUTPUTS)

        for _ in range(20):  # best effort: an image may be lost
            self.publish(message)
            if self.spin_until(complete, 1.0):
                return message.header, self.outputs(message.header)
        missing = [topic for topic in OUTPUTS if not self.outputs(message.header)[topic]]
        raise AssertionError(f'no {", ".join(missing)} for the image')

    def set(self, **values):
        """Set parameters through the node's service; return the result of the first."""
        wanted = [Parameter(name, value=value) for name, value in values.items()]
        return self._answer(lambda: self.parameters.set_parameters(wanted)).results[0]

    def describe(self, *names: str):
        """Return parameter descriptors from the node's service."""
        return self._answer(lambda: self.parameters.describe_parameters(list(names))).descriptors

    def _answer(self, request):
        """Return the answer of a service of the node; `request` sends the request and returns its future.

        A client may see a server that does not see the client's end for answers yet: over DDS that answer is lost.
        """
        assert self.spin_until(self.parameters.services_are_ready)
        for _ in range(5):
            future = request()
            if self.spin_until(future.done, 5.0):
                return future.result()
        raise AssertionError('no answer from the node')
