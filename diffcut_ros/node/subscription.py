"""A subscription with the best quality of service that all publishers of its topic offer, as they come and go."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.topic_endpoint_info import TopicEndpointInfo

from diffcut_ros.node import sync
from diffcut_ros.printable import counted

# What parameters may change of a topic's quality of service, as qos_overrides.TOPIC.subscription.POLICY.
OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)
# Only the newest message counts: a longer queue would only age. Where several topics are joined, it takes all of a
# moment: what reliable delivery sends again comes in bursts, of which a queue of one keeps the last.
_DEPTH, _DEPTH_JOINED = 1, 5
# What each policy is asked for, from less to more, and called. The middleware chooses the best only when a subscription
# is made; where it stands as the value of a parameter, `follow` chooses.
_BEST = {
    'reliability': (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE),
    'durability': (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL),
}
# Where no publisher is known yet. Most cameras offer reliable delivery, and asked for less, they would lose the images
# that come before this is noticed. What a latched topic holds comes whenever it is asked for.
_FIRST = {'reliability': ReliabilityPolicy.RELIABLE, 'durability': DurabilityPolicy.VOLATILE}


@contextmanager
def overridable(topic: str) -> Iterator[None]:
    """Say what the parameters of a topic's quality of service may be, where making it fails for what one of them is.

    Raises:
        ValueError: in place of what rclpy raises.
    """
    try:
        yield
    # Which one, depends on the policy and its type.
    except (RuntimeError, TypeError, AssertionError, ParameterException) as error:
        (reason, *_) = str(error).splitlines() or ['an empty list is no value']
        raise ValueError(
            f'qos_overrides: {reason} ({topic}; expected as history keep_last or keep_all, as depth 0 to 2147483647, '
            'as reliability reliable, best_effort or best_available, as durability volatile, transient_local or '
            'best_available)'
        ) from error


class Subscription(sync.SimpleFilter):
    """Gives out the messages of a topic.

    Args:
        node: on which it is.
        kind: type of the messages.
        topic: name.
        name: by which it can be remapped.
        on_lost: called with the topic and the number of messages that got lost on the way, or were replaced by the next
            ones before they were taken.
        joined: whether its messages are joined with those of others.
        replaceable: whether a message that the next one takes the place of is no loss.

    Raises:
        ValueError: for an invalid QoS override.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        topic: str,
        name: str,
        on_lost: Callable[[str, int], None],
        joined: bool = False,
        replaceable: bool = False,
    ) -> None:
        super().__init__()
        self._node, self._kind, self._on_lost, self.name = node, kind, on_lost, name
        self._depth, self._replaceable = _DEPTH_JOINED if joined else _DEPTH, replaceable
        # Number of the last message; lost ones that the middleware told of since; those that it did not, but may yet.
        self._number: int | None = None
        self._told_since = self._untold = 0
        self.topic = node.resolve_topic_name(topic)
        self.message_type = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
        # When each publisher was seen first, by `time.monotonic`: those that are there before it, long ago.
        self._seen_s = {tuple(info.endpoint_gid): -math.inf for info in self.publishers()}
        self._chosen = self._best(_FIRST)
        self._subscription = self._made()

    def _made(self) -> Any:
        best = QoSProfile(
            depth=self._depth, reliability=ReliabilityPolicy.BEST_AVAILABLE, durability=DurabilityPolicy.BEST_AVAILABLE
        )
        events = SubscriptionEventCallbacks(
            message_lost=self._lose,
            matched=lambda _: self._begin(),
            incompatible_qos=lambda _: self.follow(),
        )
        with overridable(self.topic):
            return self._node.create_subscription(
                self._kind,
                self.topic,
                self._receive,
                best,
                event_callbacks=events,
                # Called with the profile in which overrides are, before it is used.
                qos_overriding_options=QoSOverridingOptions(OVERRIDABLE, callback=self._choose),
            )

    def _begin(self) -> None:
        """Compare no number with that of another publisher."""
        self._number, self._told_since, self._untold = None, 0, 0

    def _receive(self, message: Any, info: dict[str, Any]) -> None:
        # The middleware does not tell what it replaces in the queue. Not all of them number messages, and publishers
        # number their own.
        number, before = info.get('publication_sequence_number'), self._number
        untold = 0 if number is None or before is None else number - before - 1 - self._told_since
        if untold > 0 and not self._replaceable and self._node.count_publishers(self.topic) == 1:
            self._untold += untold
            self._on_lost(self.topic, untold)
        self._number, self._told_since = number, 0
        self.signalMessage(message)

    def _lose(self, event: Any) -> None:
        known = min(event.total_count_change, self._untold)
        self._untold -= known
        self._told_since += event.total_count_change - known
        if event.total_count_change > known:
            self._on_lost(self.topic, event.total_count_change - known)

    def _choose(self, qos: QoSProfile) -> SetParametersResult:
        for policy, value in self._chosen.items():
            if getattr(qos, policy).name == 'BEST_AVAILABLE':
                setattr(qos, policy, value)
        return SetParametersResult(successful=True)

    def _best(self, otherwise: dict[str, Any]) -> dict[str, Any]:
        """Return the best of each policy that all known publishers offer; without any, what is given."""
        offers = [info.qos_profile for info in self.publishers()]
        if not offers:
            return otherwise
        return {
            policy: more if all(getattr(offer, policy) == more for offer in offers) else less
            for policy, (less, more) in _BEST.items()
        }

    def follow(self) -> None:
        """Subscribe anew if another quality of service has become the best; whoever registered stays."""
        present, now_s = {tuple(info.endpoint_gid) for info in self.publishers()}, time.monotonic()
        self._seen_s = {publisher: self._seen_s.get(publisher, now_s) for publisher in present}
        best, before = self._best(self._chosen), self._subscription
        if before is not None and any(best[p] != self._chosen[p] and not self.overridden(p) for p in best):
            self._chosen = best
            # In this order: a camera that runs only while someone listens need not stop.
            self._subscription = self._made()
            self._node.destroy_subscription(before)

    def publishers(self, of_type: bool = True) -> list[TopicEndpointInfo]:
        """Return what is known of the topic's publishers, of all or of those that send the right type."""
        infos = self._node.get_publishers_info_by_topic(self.topic)
        return [info for info in infos if not of_type or info.topic_type == self.message_type]

    def count_publishers(self) -> str:
        """Return how many publishers the topic has, of any type, in words."""
        return counted(len(self.publishers(of_type=False)), 'publisher')

    def newest_publisher_s(self) -> float:
        """Return how long the newest publisher of the right type has been there, in seconds; infinity without any."""
        now_s = time.monotonic()
        seen = (self._seen_s.get(tuple(info.endpoint_gid), now_s) for info in self.publishers())
        return min((now_s - first_s for first_s in seen), default=math.inf)

    @property
    def delivery(self) -> str:
        """What it asks its publishers for now, in words."""
        qos = self._subscription.qos_profile
        latched = ', latched' if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL else ''
        return f'{qos.reliability.name.lower().replace("_", " ")}{latched}'

    @property
    def reason(self) -> str:
        """Why it asks for that."""
        if any(map(self.overridden, _BEST)):
            return 'as qos_overrides say'
        if not (publishers := self.publishers()):
            return 'what most cameras offer: no publisher is known yet'
        return f'the best that all its publishers offer ({full_names(publishers)})'

    def unmet(self) -> list[tuple[str, TopicEndpointInfo]]:
        """Return the policies that an override asks more of than a publisher offers, with that publisher."""
        return [
            (policy, info)
            for policy, (less, more) in _BEST.items()
            if self.overridden(policy) and getattr(self._subscription.qos_profile, policy) == more
            for info in self.publishers()
            if getattr(info.qos_profile, policy) == less
        ]

    def overridden(self, policy: str) -> bool:
        """Say whether a parameter decides on a policy, such as 'reliability'."""
        return self._node.get_parameter(self.parameter(policy)).value != 'best_available'

    def parameter(self, policy: str) -> str:
        """Return the name of the parameter that decides on a policy."""
        return f'qos_overrides.{self.topic}.subscription.{policy}'

    def destroy(self) -> None:
        """Receive no more."""
        self._node.destroy_subscription(self._subscription)
        self._subscription = None  # an event of it may still come


def full_names(infos: list[TopicEndpointInfo]) -> str:
    """Return the nodes of publishers, sorted."""
    known = [info for info in infos if not info.node_name.startswith('_NODE_NAME_UNKNOWN')]
    names = sorted({f'{info.node_namespace.rstrip("/")}/{info.node_name}' for info in known})
    return ', '.join([*names, *['a node of unknown name'] * (len(known) < len(infos))])
