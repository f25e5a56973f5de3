"""Limits the rate of a stream by its stamps."""

from diffcut_ros.core.tracking import JUMP_BACK_NS

# The lowest rate: an image in 1000 s.
LOWEST_HZ = 0.001


class RateLimit:
    """Lets a stamped stream through at a rate, by its stamps.

    Slots of a fixed length pass one frame each. A camera at 30 Hz whose stamps jitter thus gives 10 Hz at a limit of
    10 Hz, where a minimum gap would give 7.5.

    Args:
        rate_hz: 0: no limit; else at least `LOWEST_HZ`.
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._due_ns: int | None = None
        self._last_ns = 0
        self._before = self._due_ns, self._last_ns

    @property
    def rate_hz(self) -> float:
        """The rate; a new one begins with the next frame."""
        return self._rate_hz

    @rate_hz.setter
    def rate_hz(self, rate_hz: float) -> None:
        if rate_hz != self._rate_hz:  # what was due by the one before may be far off
            self._rate_hz, self._due_ns = rate_hz, None
            self._before = self._due_ns, self._last_ns

    def ready(self, stamp_ns: int) -> bool:
        """Say whether a frame of that stamp may pass."""
        if self.rate_hz <= 0 or self._due_ns is None:
            return True
        return stamp_ns >= self._due_ns or stamp_ns < self._last_ns - JUMP_BACK_NS

    def passed(self, stamp_ns: int) -> None:
        """Take note that a frame of that stamp passed."""
        self._before = self._due_ns, self._last_ns
        period_ns = round(1e9 / self.rate_hz) if self.rate_hz > 0 else 0
        on_time = self._due_ns is not None and 0 <= stamp_ns - self._due_ns < period_ns
        self._due_ns = (self._due_ns if on_time else stamp_ns) + period_ns
        self._last_ns = stamp_ns

    def take_back(self) -> None:
        """Let another frame pass in place of the last one, which was of no use."""
        self._due_ns, self._last_ns = self._before
