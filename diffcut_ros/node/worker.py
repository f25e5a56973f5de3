"""A thread that always works on the newest frame."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

Frame = TypeVar('Frame')

# A gap between stamps of this many nanoseconds, forwards or backwards, is a jump in time (a looped bag, a restarted
# simulation) and not a slow camera.
_JUMP_NS = 10 * 10**9


class RateLimit:
    """Lets a stamped stream through at a rate, by its stamps.

    Slots of a fixed length pass one frame each. A camera at 30 Hz whose stamps jitter thus gives 10 Hz at a limit of
    10 Hz, where a minimum gap would give 7.5.
    """

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._due_ns: int | None = None

    def ready(self, stamp_ns: int) -> bool:
        """Say whether a frame of that stamp may pass."""
        if self.rate_hz <= 0 or self._due_ns is None or abs(stamp_ns - self._due_ns) > _JUMP_NS:
            return True
        return stamp_ns >= self._due_ns

    def passed(self, stamp_ns: int) -> None:
        """Take note that a frame of that stamp passed."""
        period_ns = round(1e9 / self.rate_hz) if self.rate_hz > 0 else 0
        on_time = self._due_ns is not None and 0 <= stamp_ns - self._due_ns < period_ns
        self._due_ns = (self._due_ns if on_time else stamp_ns) + period_ns


class LatestFrameWorker(Generic[Frame]):
    """Runs a slow function on frames in its own thread; the newest frame wins, none is queued.

    Args:
        process: called with each frame that is taken.
        recut: called when `request_recut` asked for it, before the next frame.
        on_error: called with whatever `process` or `recut` raised; the worker goes on.
        rate_hz: see `RateLimit`; `limit.rate_hz` may be set at any time.

    `counts` holds the frames by fate: 'processed', 'failed', 'skipped' (above the rate), 'replaced' (by a newer one).
    """

    def __init__(
        self,
        process: Callable[[Frame], None],
        recut: Callable[[], None],
        on_error: Callable[[Exception], None],
        rate_hz: float,
    ) -> None:
        self.limit = RateLimit(rate_hz)
        self.counts: Counter[str] = Counter()
        self._process, self._recut, self._on_error = process, recut, on_error
        self._wake = threading.Condition()
        self._frame: tuple[Frame, int] | None = None
        self._recut_wanted = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name='diffcut-worker', daemon=True)
        self._thread.start()

    def submit(self, frame: Frame, stamp_ns: int) -> None:
        """Offer a frame; returns at once."""
        with self._wake:
            if not self.limit.ready(stamp_ns):
                self.counts['skipped'] += 1
                return
            if self._frame is not None:
                self.counts['replaced'] += 1
            self._frame = frame, stamp_ns
            self._wake.notify()

    def request_recut(self) -> None:
        """Ask for `recut` to be called; returns at once. Requests that meet become one."""
        with self._wake:
            self._recut_wanted = True
            self._wake.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread after the call that is under way."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or self._recut_wanted or self._frame is not None)
                if self._closing:
                    return
                if self._recut_wanted:
                    self._recut_wanted, frame = False, None
                else:
                    (frame, stamp_ns), self._frame = self._frame, None
                    self.limit.passed(stamp_ns)
            # The boundary between the pipeline and the robot: whatever fails in there, the node goes on and says so.
            try:
                self._recut() if frame is None else self._process(frame)
            except Exception as error:
                self.counts['failed'] += frame is not None
                self._on_error(error)
            else:
                self.counts['processed'] += frame is not None
