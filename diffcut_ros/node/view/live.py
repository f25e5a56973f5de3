"""Topics of a running node."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from diffcut_ros.node.diagnostics import image_topic
from diffcut_ros.node.subscription import full_names
from diffcut_ros.node.view.topics import Topic, Wanted, find_camera, find_outputs, find_sources, instead
from diffcut_ros.printable import tell

_LOOK_PERIOD_S = 0.5
# Discovery of nodes takes up to a second.
_PATIENCE_S = 2.0
_DEPTH = 5


class Listener(Node):
    """Subscribes to the topics that are wanted as they appear.

    Args:
        wanted: whose topics.
        add: called with role and message.
    """

    def __init__(self, wanted: Wanted, add: Callable[[str, Any], None]) -> None:
        super().__init__('diffcut_view', enable_rosout=False, start_parameter_services=False)
        self._wanted, self._add = wanted, add
        self._subscribed: set[str] = set()
        self._told: set[str] = set()
        self._start_s = time.monotonic()
        self._found_s = math.inf
        self._asked = wanted  # without what the node tells
        self.create_subscription(DiagnosticArray, '/diagnostics', self._follow, _DEPTH)
        self.create_timer(_LOOK_PERIOD_S, self._look)

    def _follow(self, message: DiagnosticArray) -> None:
        """Look for the camera where the node listens to it, unless another topic was asked for."""
        topic = image_topic(message, self._asked.node, self._asked.camera)
        if topic and not self._asked.image:
            self._wanted = self._asked._replace(image=topic)

    def _look(self) -> None:
        # Subscribers make a topic known, too.
        topics = self.get_topic_names_and_types()
        types = {name: kinds[0] for name, kinds in topics if len(kinds) == 1 and self.count_publishers(name)}
        outputs = find_outputs(types, self._wanted)
        self._subscribe(outputs)
        now_s = time.monotonic()
        if outputs:
            self._found_s = min(self._found_s, now_s)
        elif now_s - self._start_s > _PATIENCE_S:
            self._tell(
                self._instead(types)
                or f'waiting for {self._wanted.node}: none of its topics is there. Is it running, on this '
                f'ROS_DOMAIN_ID and under this name (--node{", --camera" if self._wanted.camera else ""})?'
            )
        complete = now_s - self._found_s > _PATIENCE_S
        try:
            camera = find_camera(types, self._wanted, complete)
        except ValueError as error:
            self._tell(str(error))
            return
        self._subscribe(camera)
        if complete and 'image' not in self._subscribed:
            self._tell(self._no_camera())

    def _no_camera(self) -> str:
        if self._asked.image:
            return f'waiting for the camera on {self._asked.image}: nobody publishes images there; see --image'
        if self._wanted.image:
            return f'waiting for the camera on {self._wanted.image}, which {self._wanted.node} listens to'
        return (
            f'waiting for the camera on {self._wanted.default_image}: {self._wanted.node} does not tell where it '
            'listens (/diagnostics); if its image is remapped, give the topic with --image'
        )

    def _instead(self, types: Mapping[str, str]) -> str:
        publishers = {
            source: [full_names([one]) for one in self.get_publishers_info_by_topic(f'{source}/segments')]
            for source in find_sources(types)
        }
        return instead(publishers, self._wanted)

    def _subscribe(self, topics: dict[str, Topic]) -> None:
        for role, topic in topics.items():
            publishers = self.get_publishers_info_by_topic(topic.name)
            if role in self._subscribed or not publishers:
                continue
            # Reliable where it is offered: large images get lost otherwise.
            reliable = all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers)
            reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
            qos = QoSProfile(depth=_DEPTH, reliability=reliability)
            self.create_subscription(topic.kind, topic.name, partial(self._add, role), qos)
            self._subscribed.add(role)
            self._tell(f'listening to {topic.name}')

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            tell(text)
