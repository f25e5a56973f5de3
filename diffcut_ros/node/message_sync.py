"""The part of `message_filters` that `sync` needs, for where it is not installed: the Python registry lacks it.

Names and arguments are those of `message_filters`.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from diffcut_ros.stream.stamps import stamp_ns


class SimpleFilter:
    """Passes messages to whoever registered."""

    def __init__(self) -> None:
        self._callbacks: list[tuple[Callable[..., None], tuple]] = []

    def registerCallback(self, cb: Callable[..., None], *args: Any) -> None:
        """Have `cb` called with each output of this filter, followed by `args`."""
        self._callbacks.append((cb, args))

    def signalMessage(self, *msg: Any) -> None:
        """Give out messages: call all that registered."""
        for callback, args in self._callbacks:
            callback(*msg, *args)


class ApproximateTimeSynchronizer(SimpleFilter):
    """Gives out sets of one message per input whose stamps differ by less than `slop` seconds, each message once.

    A message makes a set as soon as it arrives and one is possible, with the messages whose stamps are nearest to its
    own. Each input keeps the `queue_size` newest messages that found no set.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int, slop: float) -> None:
        super().__init__()
        self._queue_size, self._slop_ns = queue_size, round(slop * 1e9)
        self._queues: list[dict[int, Any]] = [{} for _ in fs]
        for index, source in enumerate(fs):
            source.registerCallback(self._add, index)

    def _add(self, message: Any, index: int) -> None:
        new_ns = stamp_ns(message)
        queue = self._queues[index]
        queue[new_ns] = message
        if len(queue) > self._queue_size:
            del queue[min(queue)]
        if new_ns not in queue:
            return
        # In message_filters, too, earlier inputs choose first.
        near = [[s for s in q if abs(s - new_ns) < self._slop_ns] for q in self._queues]
        near[index] = [new_ns]
        nearest_first = [sorted(stamps, key=lambda s: abs(s - new_ns)) for stamps in near]
        for stamps in itertools.product(*nearest_first):
            if max(stamps) - min(stamps) < self._slop_ns:
                self.signalMessage(*[q.pop(s) for q, s in zip(self._queues, stamps, strict=True)])
                return


class TimeSynchronizer(ApproximateTimeSynchronizer):
    """Gives out sets of one message per input with equal stamps."""

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__(fs, queue_size, 1e-9)  # stamps are whole nanoseconds
