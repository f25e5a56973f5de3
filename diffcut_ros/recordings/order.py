"""The order of messages: by the time of recording, unless the clock of that was set back."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import itemgetter

# Times of one topic that step back by more, as they lie in a file, are of a clock that was set back, or of a recorder
# that was started anew with the time of a simulation; less is disorder.
_STEP_NS = 10**8
_time = itemgetter(1)
# So many bytes of messages wait at most until it is their turn.
_MOST_WAITING = 2**29

# Number of its topic, time of recording in ns, and data.
Message = tuple[int, int, bytes]


class StepsBack:
    """Counts how often the times of recording step back, of messages as they lie in a file."""

    def __init__(self) -> None:
        self._last_ns: dict[int, int] = {}
        self._counts: Counter[int] = Counter()

    def add(self, topic: int, time_ns: int) -> None:
        """Take note of the next message."""
        if time_ns < self._last_ns.get(topic, time_ns) - _STEP_NS:
            self._counts[topic] += 1
        self._last_ns[topic] = time_ns

    def overlap(self) -> None:
        """Take note that more messages than may wait would have to be sorted: these count as a step back."""
        self._counts[-1] += 1

    @property
    def count(self) -> int:
        """How often, in the topic with most of them."""
        return max(self._counts.values(), default=0)


def in_order(pieces: Iterable[tuple[int, list[Message]]], steps: StepsBack, lie: bool) -> Iterator[Message]:
    """Yield messages by time, or, from where times step back on, as they lie in the file.

    Args:
        pieces: of the file, each with the time at which it begins; as they lie in the file, or by that time.
        steps: of what has been seen.
        lie: whether pieces are as they lie in the file.
    """
    waiting: list[Message] = []
    for start_ns, messages in pieces:
        if lie:
            for topic, time_ns, _ in messages:
                steps.add(topic, time_ns)
            if steps.count:
                yield from waiting
                yield from messages
                waiting = []
                continue
        # Pieces may overlap in time: the later messages of one wait for the earlier ones of those that follow.
        at = bisect_left(waiting, start_ns, key=_time)
        yield from waiting[:at]
        waiting = waiting[at:]
        if sum(len(data) for _, _, data in waiting) > _MOST_WAITING:
            steps.overlap()
            yield from waiting
            waiting = []
        waiting = sorted(waiting + messages, key=_time)
    yield from waiting
