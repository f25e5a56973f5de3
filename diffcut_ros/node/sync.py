"""Joins messages of several topics by their stamps, with `message_filters` or, without it, `message_sync`."""

from collections.abc import Callable, Sequence
from typing import Any

from diffcut_ros.core.tracking import JUMP_BACK_NS
from diffcut_ros.node import message_sync
from diffcut_ros.stream.stamps import is_stamp, stamp_ns

try:
    import message_filters as filters
except ModuleNotFoundError as error:
    if error.name != 'message_filters':  # it is there, and broken: say so
        raise
    filters = message_sync

SimpleFilter = filters.SimpleFilter


class Synchronizer:
    """Joins the messages of `subscriptions`; see `synchronize`."""

    def __init__(
        self,
        subscriptions: Sequence[Any],
        callback: Callable[..., None],
        on_unstamped: Callable[[int], None],
        slop_s: float,
        queue_size: int,
    ) -> None:
        self._callback, self._on_unstamped = callback, on_unstamped
        self._count, self._slop_s, self._queue_size = len(subscriptions), slop_s, queue_size
        self._found = ()
        self._restart()
        for index, subscription in enumerate(subscriptions):
            subscription.registerCallback(self._receive, index)

    def _restart(self) -> None:
        """Forget all messages.

        With a new synchronizer: that of `message_filters` cannot be emptied, and when time jumps back, it keeps the
        messages of later stamps in its queues and drops the new ones.
        """
        self._last_ns = [0] * self._count
        self._delivered_ns = 0
        self._inputs = [filters.SimpleFilter() for _ in range(self._count)]
        if self._slop_s > 0:
            joined = filters.ApproximateTimeSynchronizer(self._inputs, self._queue_size, self._slop_s)
        else:  # the approximate one finds nothing with slop 0
            joined = filters.TimeSynchronizer(self._inputs, self._queue_size)
        joined.registerCallback(self._keep)

    def _keep(self, *messages: Any) -> None:
        self._found = messages

    def _receive(self, message: Any, index: int) -> None:
        if len(self._inputs) == 1:  # nothing to join, and no stamp needed
            self._callback(message)
            return
        new_ns = stamp_ns(message)
        if not is_stamp(message):  # unset, which would match any other unset one, or what `message_filters` raises for
            self._on_unstamped(index)
            return
        if new_ns < self._last_ns[index] - JUMP_BACK_NS:
            self._restart()
        self._last_ns[index] = new_ns
        self._inputs[index].signalMessage(message)
        # Called from here, not from the synchronizer: that of message_filters holds a lock meanwhile, for good if the
        # callback raises.
        found, self._found = self._found, ()
        if found and stamp_ns(found[0]) >= self._delivered_ns:
            self._delivered_ns = stamp_ns(found[0])
            self._callback(*found)


def synchronize(
    subscriptions: Sequence[Any],
    callback: Callable[..., None],
    on_unstamped: Callable[[int], None],
    slop_s: float = 0.0,
    queue_size: int = 10,
) -> Synchronizer:
    """Have `callback` called with one message of each subscription, joined by their stamps.

    The set is delivered as soon as its last message arrives, each message at most once. Where several would do, those
    nearest to that last message in time are taken, of the ones that are there. Sets whose first message is older than
    the one delivered before are left out. When the stamps of a topic jump back, all pending messages are forgotten.

    Args:
        subscriptions: `SimpleFilter` objects; subscribers in one mutually exclusive callback group (a node's default).
            With a single one, every message is delivered.
        callback: called with the messages in the order of the subscriptions.
        on_unstamped: called with the index of a subscription whose message was left out because it has no stamp.
        slop_s: stamps of a set differ by less than this, in seconds; 0: they are equal. Above half the period of the
            fastest topic, a message may be joined with its partner's neighbour.
        queue_size: messages of each topic that wait for partners; beyond it, the oldest are dropped.

    Raises:
        ValueError: for no subscriptions, a negative slop or a queue size below 1.
    """
    if not subscriptions or slop_s < 0 or queue_size < 1:
        raise ValueError(
            f'expected subscriptions, slop_s >= 0 and queue_size >= 1, '
            f'received {len(subscriptions)} subscriptions, slop_s {slop_s}, queue_size {queue_size}'
        )
    return Synchronizer(subscriptions, callback, on_unstamped, slop_s, queue_size)
