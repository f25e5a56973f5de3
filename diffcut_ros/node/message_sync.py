"""The part of `message_filters` that `sync` needs, for where it is not installed: the Python registry lacks it.

Names and arguments are those of `message_filters`.
"""

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from diffcut_ros.stream.message_sync import ApproximateTimeSynchronizer, SimpleFilter, TimeSynchronizer

__all__ = ['ApproximateTimeSynchronizer', 'SimpleFilter', 'Subscriber', 'TimeSynchronizer']


class Subscriber(SimpleFilter):
    """Gives out what a subscription receives; further arguments are those of `Node.create_subscription`.

    `sub` is the subscription.
    """

    def __init__(
        self, node: Node, msg_type: type, topic: str, qos_profile: QoSProfile | int = 10, **kwargs: Any
    ) -> None:
        super().__init__()
        self.sub = node.create_subscription(msg_type, topic, self.signalMessage, qos_profile, **kwargs)
