"""The node's side of a bond with its lifecycle manager, as Nav2's servers have one."""

import uuid

from rclpy.clock import Clock
from rclpy.node import Node

try:
    from bond.msg import Status
except ModuleNotFoundError as error:
    if error.name not in ('bond', 'bond.msg'):  # it is there, and broken: say so
        raise
    Status = None

# Those of Nav2's servers.
_PERIOD_S, _TIMEOUT_S = 0.1, 4.0
_DEPTH = 5


class Bond:
    """Says on topic `bond`, from `begin` to `end`, that a node is alive; nothing where the package `bond` is missing.

    A manager that hears nothing for its own timeout takes the node for dead. The manager is not listened to: like
    Nav2's servers, the node goes on without it.

    Args:
        node: whose name is that of the bond.
        clock: that does not stand still.
    """

    def __init__(self, node: Node, clock: Clock) -> None:
        self._node, self._clock, self._timer = node, clock, None
        # Kept: with the publisher, its last message might go, too.
        self._publisher = None if Status is None else node.create_publisher(Status, 'bond', _DEPTH)

    def begin(self) -> None:
        """Be alive, as somebody new."""
        if self._publisher is not None:
            self._instance_id = str(uuid.uuid4())
            self._timer = self._node.create_timer(_PERIOD_S, self._say, clock=self._clock)

    def end(self) -> None:
        """Say that the node leaves."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
            if self._node.context.ok():
                self._say(active=False)

    def _say(self, active: bool = True) -> None:
        status = Status(id=self._node.get_name(), instance_id=self._instance_id, active=active)
        status.header.stamp = self._clock.now().to_msg()
        status.heartbeat_period, status.heartbeat_timeout = _PERIOD_S, _TIMEOUT_S
        self._publisher.publish(status)
