"""Threads that do the node's slow work, so that its callbacks never wait."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from diffcut_ros.stream.rate import RateLimit

Frame = TypeVar('Frame')


class Source(Generic[Frame]):
    """Where frames come from: keeps the newest one that waits, at a limited rate.

    `limit.rate_hz` may be set at any time. `counts` holds frames by fate: 'skipped' (above the rate), 'replaced' (by a
    newer one), 'taken'.
    """

    def __init__(self, rate_hz: float) -> None:
        self.limit = RateLimit(rate_hz)
        self.counts: Counter[str] = Counter()
        self.waiting: tuple[Frame, int] | None = None

    def offer(self, frame: Frame, stamp_ns: int) -> bool:
        """Let a frame wait in place of an older one; say whether the rate allows it."""
        if not self.limit.ready(stamp_ns):
            self.counts['skipped'] += 1
            return False
        if self.waiting is not None:
            self.counts['replaced'] += 1
        self.waiting = frame, stamp_ns
        return True

    def take(self) -> Frame:
        """Return the frame that waits."""
        (frame, stamp_ns), self.waiting = self.waiting, None
        self.limit.passed(stamp_ns)
        self.counts['taken'] += 1
        return frame


class LatestFrameWorker(Generic[Frame]):
    """Runs a slow function in its own thread, always on the newest frame of every source that has one.

    Frames of several sources that wait at the same time are handed over together: none is served before another.

    Args:
        sources: by name.
        process: called with {name: frame}.
        on_error: called with what it raises; the thread goes on.
    """

    def __init__(
        self,
        sources: dict[str, Source[Frame]],
        process: Callable[[dict[str, Frame]], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._sources, self._process, self._on_error = sources, process, on_error
        self._wake = threading.Condition()
        self._closing = False
        self._counted_s: float | None = None  # since when the call under way counts
        self._thread = threading.Thread(target=self._run, name='diffcut-worker', daemon=True)
        self._thread.start()

    def submit(self, name: str, frame: Frame, stamp_ns: int) -> None:
        """Offer a frame of a source; returns at once."""
        with self._wake:
            if self._sources[name].offer(frame, stamp_ns):
                self._wake.notify()

    def overdue(self, period_s: float) -> bool:
        """Say whether the call under way has gone on for so long, in seconds, since it began or this was last true."""
        with self._wake:
            if self._counted_s is None or time.monotonic() - self._counted_s < period_s:
                return False
            self._counted_s = time.monotonic()
            return True

    def forgive(self, seconds: float) -> None:
        """Do not count some of that time, in which the process stood still."""
        with self._wake:
            if self._counted_s is not None:
                self._counted_s = min(self._counted_s + seconds, time.monotonic())

    @property
    def alive(self) -> bool:
        """Whether the thread runs, as it should until it is closed."""
        return self._thread.is_alive()

    def close(self, timeout_s: float) -> bool:
        """End the thread after the call that is under way; say whether it ended in time."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._closing:
            try:
                self._serve()
            except Exception as error:
                self._on_error(error)
            with self._wake:
                self._counted_s = None

    def _serve(self) -> None:
        """Wait for frames, and process them."""
        with self._wake:
            self._wake.wait_for(lambda: self._closing or any(s.waiting for s in self._sources.values()))
            if self._closing:
                return
            frames = {name: source.take() for name, source in self._sources.items() if source.waiting}
            self._counted_s = time.monotonic()
        self._process(frames)


# What waits for a thread at most: more than a person asks for while one call takes its time.
_MOST_WAITING = 20


class OnRequest:
    """Calls a function in its own thread whenever asked to; requests that meet become one.

    Args:
        function: what is called.
        on_error: called with what it raises; the thread goes on.
    """

    def __init__(self, function: Callable[[], None], on_error: Callable[[Exception], None]) -> None:
        self._function, self._on_error = function, on_error
        self._wake = threading.Condition()
        self._wanted = self._closing = False
        self._others: deque[Callable[[], None]] = deque()
        self._thread = threading.Thread(target=self._run, name='diffcut-request', daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Ask for a call; returns at once."""
        with self._wake:
            self._wanted = True
            self._wake.notify()

    def first(self, other: Callable[[], None]) -> bool:
        """Ask for another function to be called before, once; say whether there is room for it. Returns at once."""
        with self._wake:
            if len(self._others) >= _MOST_WAITING:
                return False
            self._others.append(other)
            self._wake.notify()
            return True

    @property
    def alive(self) -> bool:
        """Whether the thread runs, as it should until it is closed."""
        return self._thread.is_alive()

    def close(self, timeout_s: float) -> bool:
        """End the thread after the call that is under way; say whether it ended in time."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or self._wanted or self._others)
                if self._closing:
                    return
                if self._others:
                    function = self._others.popleft()
                else:
                    function, self._wanted = self._function, False
            try:
                function()
            except Exception as error:
                self._on_error(error)
            del function  # it may hold an image
