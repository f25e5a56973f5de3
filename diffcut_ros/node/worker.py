"""Threads that do the node's slow work, so that its callbacks never wait."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

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
    """Does slow work in threads of its own, always on the newest frame of every source that has one.

    Work has two parts, which may overlap: while one frame is finished, the next is prepared. No frame is taken while a
    prepared one waits to be finished; so there is one more under way, and none is dropped once it was taken. Frames
    of several sources that wait at the same time are handed over together: none is served before another.

    Args:
        sources: by name.
        prepare: called with {name: frame}; yields one thing after the other that is to be finished.
        finish: called with each of them, in their order.
        on_error: called with what either raises; the threads go on.
        overlap: whether they overlap, in two threads; else one thread does one after the other.
        name: of the thread that prepares.
    """

    def __init__(
        self,
        sources: dict[str, Source[Frame]],
        prepare: Callable[[dict[str, Frame]], Iterable[Any]],
        finish: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        overlap: bool = False,
        name: str = 'diffcut-worker',
    ) -> None:
        self._sources, self._prepare, self._finish, self._on_error = sources, prepare, finish, on_error
        self._wake = threading.Condition()
        self._closing = self._all_prepared = self._all_finished = False
        self._overlap = overlap
        self._prepared: deque[Any] = deque()  # one at most
        self._under_way = 0
        self._counted_s: float | None = None  # since when the work under way counts
        self._threads = [threading.Thread(target=self._prepare_all, name=name, daemon=True)]
        if overlap:
            self._threads.append(threading.Thread(target=self._finish_all, name='diffcut-finisher', daemon=True))
        for thread in self._threads:
            thread.start()

    def submit(self, name: str, frame: Frame, stamp_ns: int) -> None:
        """Offer a frame of a source; returns at once."""
        with self._wake:
            if self._sources[name].offer(frame, stamp_ns):
                self._wake.notify_all()

    def overdue(self, period_s: float) -> bool:
        """Say whether work is under way, and for so long, in seconds, nothing was finished and this was not true."""
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
        """Whether all threads run, as they should until it is closed."""
        return all(thread.is_alive() for thread in self._threads)

    def close(self, timeout_s: float) -> bool:
        """End the threads after the work that is under way; say whether they ended in time."""
        end_s = time.monotonic() + timeout_s
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _prepare_all(self) -> None:
        try:
            while not self._closing:
                self._serve()
        finally:
            with self._wake:
                self._closing = self._all_prepared = True
                self._wake.notify_all()

    def _serve(self) -> None:
        """Wait for frames, prepare them, and hand them over."""
        try:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or (not self._prepared and self._frames_wait))
                if self._closing:
                    return
                frames = {name: source.take() for name, source in self._sources.items() if source.waiting}
                self._begin()
        except Exception as error:
            self._on_error(error)
            return
        try:
            for prepared in self._prepare(frames):
                self._hand_over(prepared)
        except Exception as error:
            self._on_error(error)
        self._end(finished=False)

    @property
    def _frames_wait(self) -> bool:
        return any(source.waiting for source in self._sources.values())

    def _hand_over(self, prepared: Any) -> None:
        with self._wake:
            self._begin()
            if self._overlap:
                self._wake.wait_for(lambda: not self._prepared or self._all_finished)
                self._prepared.append(prepared)
                self._wake.notify_all()
                return
        self._call_finish(prepared)

    def _finish_all(self) -> None:
        try:
            while True:
                with self._wake:
                    self._wake.wait_for(lambda: self._prepared or self._all_prepared)
                    if not self._prepared:
                        return
                    prepared = self._prepared.popleft()
                    self._wake.notify_all()
                self._call_finish(prepared)
                del prepared  # it holds an image
        finally:
            with self._wake:
                self._closing = self._all_finished = True
                self._wake.notify_all()

    def _call_finish(self, prepared: Any) -> None:
        try:
            self._finish(prepared)
        except Exception as error:
            self._on_error(error)
        self._end(finished=True)

    def _begin(self) -> None:
        self._under_way += 1
        if self._counted_s is None:
            self._counted_s = time.monotonic()

    def _end(self, finished: bool) -> None:
        with self._wake:
            self._under_way -= 1
            if not self._under_way:
                self._counted_s = None
            elif finished:  # what is behind it has waited
                self._counted_s = time.monotonic()


# What waits for a thread at most: more than a person asks for while one call takes its time.
_MOST_WAITING = 20


class OnRequest:
    """Calls a function in its own thread whenever asked to; requests that meet become one.

    Args:
        function: what is called.
        on_error: called with what it raises; the thread goes on.
        name: of the thread.
    """

    def __init__(
        self, function: Callable[[], None], on_error: Callable[[Exception], None], name: str = 'diffcut-request'
    ) -> None:
        self._function, self._on_error = function, on_error
        self._wake = threading.Condition()
        self._wanted = self._closing = False
        self._others: deque[Callable[[], None]] = deque()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
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
