"""A node that runs already: its parameters, and the images that it sees, for a program beside it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from diffcut_ros.node.diagnostics import image_topic
from diffcut_ros.settings import known_parameters

# Discovery, and a node that is busy with an image.
_PATIENCE_S = 20.0
_LOOK_S = 0.1
_DEPTH = 5
_TYPES = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}


class RunningNode:
    """A node of this package that runs in another process.

    Args:
        name: its full name.
        own: a node of this process, which is spun.
    """

    def __init__(self, name: str, own: Node) -> None:
        self.name, self._own = name, own

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the node that this package knows, by their full names.

        Raises:
            ValueError: where no such node runs, or it does not answer.
        """
        client = AsyncParameterClient(self._own, self.name)
        if not client.wait_for_services(_PATIENCE_S):
            raise ValueError(
                f'{self.name}: expected a node of this name that runs, found none in {_PATIENCE_S:g} s; is it on this '
                'ROS_DOMAIN_ID?'
            )
        there = set(self._answer(client.list_parameters([], 0)).result.names)
        names = [name for name in known_parameters() if name in there]
        values = self._answer(client.get_parameters(names)).values
        return dict(zip(names, map(parameter_value_to_python, values), strict=True))

    def image_topic(self, camera: str) -> str:
        """Return the topic of a camera's images, by the camera's name, as the node's diagnostics tell it.

        Raises:
            ValueError: where they do not.
        """
        found: list[str] = []
        told = threading.Event()

        def look(message: DiagnosticArray) -> None:
            if topic := image_topic(message, self.name, camera):
                found.append(topic)
                told.set()

        subscription = self._own.create_subscription(DiagnosticArray, '/diagnostics', look, _DEPTH)
        told.wait(_PATIENCE_S)
        self._own.destroy_subscription(subscription)
        if not found:
            raise ValueError(
                f'{self.name}: expected to be told on /diagnostics which topic camera {camera} has, within '
                f'{_PATIENCE_S:g} s, was not; is it active? Or take --image-topic'
            )
        return found[0]

    def listen(self, topic: str | None, add: Callable[[Any], None]) -> str:
        """Subscribe to the node's images; return their topic.

        Args:
            topic: of the images; None: the one that the node subscribes to.
            add: called with each, by another thread.

        Raises:
            ValueError: where there is not one such topic.
        """
        # Lazy, it sees images only while somebody wants something of it.
        wake = self._own.create_subscription(Detection2DArray, f'{self.name}/clicked', lambda _: None, 1)
        found: dict[str, str] = {}
        deadline_s = time.monotonic() + _PATIENCE_S
        while not found and time.monotonic() < deadline_s:
            time.sleep(_LOOK_S)
            found = self._images(topic)
        self._own.destroy_subscription(wake)
        if len(found) != 1:
            what = 'it subscribes to' if topic is None else 'somebody publishes'
            raise ValueError(
                f'{self.name}: expected one topic of images that {what}, found {", ".join(sorted(found)) or "none"}; '
                'take --image-topic'
            )
        ((name, kind),) = found.items()
        offered = self._own.get_publishers_info_by_topic(name)
        reliable = all(one.qos_profile.reliability == ReliabilityPolicy.RELIABLE for one in offered)
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self._own.create_subscription(_TYPES[kind], name, add, QoSProfile(depth=_DEPTH, reliability=reliability))
        return name

    def _images(self, topic: str | None) -> dict[str, str]:
        """Return topics of images and their types: the one that is wanted, or those that the node subscribes to."""
        if topic is not None:
            published = dict(self._own.get_topic_names_and_types())
            there = {topic: published[topic]} if topic in published else {}
        else:
            space, _, base = self.name.rpartition('/')
            try:
                there = dict(self._own.get_subscriber_names_and_types_by_node(base, space or '/'))
            except RuntimeError:  # rclpy's NodeNameNonExistentError: it has gone
                there = {}
        return {
            name: kinds[0] for name, kinds in there.items() if kinds[0] in _TYPES and (topic or 'depth' not in name)
        }

    @staticmethod
    def _answer(future: Any) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(_PATIENCE_S):
            raise ValueError(f'expected the node to tell its parameters within {_PATIENCE_S:g} s, it did not')
        return future.result()


@contextmanager
def running_node(name: str) -> Iterator[RunningNode]:
    """Give a node that runs in another process, by its full name."""
    context = Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    own = Node('diffcut_teach', context=context, enable_rosout=False, start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(own)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield RunningNode(name, own)
    finally:
        executor.shutdown()
        thread.join()
        own.destroy_node()
        rclpy.shutdown(context=context)
