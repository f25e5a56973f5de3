"""Which images are shown where a browser could not take all of them."""

from collections import deque
from typing import Any

# Camera images wait for what is made of them, for so long by their stamps, and so many at most.
_WAIT_NS, _MOST_WAITING = 1_500_000_000, 60
# Without outputs for so long, camera images are shown by themselves.
_ALONE_NS = 1_000_000_000
# A stamp so far before the last one: the recording began again.
_BACK_NS = 1_000_000_000
# Stamps that are remembered: outputs of one image come one after the other, those of slow consumers later.
_MOST_CHOSEN = 50


class Selection:
    """Chooses messages by their stamps, so that all of an image are shown or none.

    An image is chosen by the first output that is made of it. Its camera image, which came before, waits for that.

    Args:
        rate_hz: so many images a second at most, by their stamps; 0 = all.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = round(1e9 / rate_hz) if rate_hz else 0
        self._chosen: deque[int] = deque(maxlen=_MOST_CHOSEN)
        self._waiting: deque[tuple[int, Any]] = deque(maxlen=_MOST_WAITING)
        self._last_ns: dict[str, int] = {}

    def take(self, role: str, message: Any) -> list[tuple[str, Any]]:
        """Return what is shown now: nothing, the message, or also the camera image that waited for it."""
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        # The map of objects is of all images, and comes once a second.
        if not self._period_ns or stamp_ns in self._chosen or role == 'objects':
            return [(role, message)]
        if role == 'camera_info':
            return [(role, message)] if self._is_due(role, stamp_ns) else []
        if role == 'image':
            return self._take_image(stamp_ns, message)
        if not self._is_due('output', stamp_ns):
            return []
        self._chosen.append(stamp_ns)
        return [*(('image', image) for waiting_ns, image in self._waiting if waiting_ns == stamp_ns), (role, message)]

    def _take_image(self, stamp_ns: int, message: Any) -> list[tuple[str, Any]]:
        if abs(stamp_ns - self._last_ns.get('output', -_ALONE_NS * 2**30)) > _ALONE_NS:
            return [('image', message)] if self._is_due('image', stamp_ns) else []
        self._waiting.append((stamp_ns, message))
        while stamp_ns - self._waiting[0][0] > _WAIT_NS:
            self._waiting.popleft()
        return []

    def _is_due(self, what: str, stamp_ns: int) -> bool:
        last_ns = self._last_ns.get(what)
        # Some tolerance: stamps of 10 Hz are not all 100 ms apart.
        if last_ns is not None and -_BACK_NS < stamp_ns - last_ns < 0.95 * self._period_ns:
            return False
        self._last_ns[what] = stamp_ns
        return True
