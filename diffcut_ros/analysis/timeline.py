"""A time that goes on where the stamps of a recording jump."""

from diffcut_ros.core.tracking import JUMP_BACK_NS

# Stamps that go on by so much more than the time of recording does are those of another clock.
_JUMP_FORWARD_NS = 60 * 10**9


class Timeline:
    """Follows the stamps of images, and goes on by the time of recording where they jump: back, or far ahead.

    Attributes:
        jumps_ns: by how much they have jumped, and at which image, from 1.
    """

    def __init__(self) -> None:
        self.jumps_ns: list[tuple[int, int]] = []
        self._shift_ns = self._images = 0
        self._last_ns = (0, 0)

    def advance(self, stamp_ns: int, recorded_ns: int) -> None:
        """Take note of the next image."""
        self._images += 1
        step_ns, recorded_step_ns = stamp_ns - self._last_ns[0], max(recorded_ns - self._last_ns[1], 0)
        self._last_ns = stamp_ns, recorded_ns
        jump_ns = step_ns - recorded_step_ns
        if self._images > 1 and (step_ns < -JUMP_BACK_NS or jump_ns > _JUMP_FORWARD_NS):
            self.jumps_ns.append((jump_ns, self._images))
            self._shift_ns -= jump_ns

    def note(self, topic: str) -> str:
        """Return how the stamps of this topic jump, as text; empty: they do not."""
        if not self.jumps_ns:
            return ''
        jump_ns, image = self.jumps_ns[0]
        more = f', and {times(len(self.jumps_ns) - 1)} more' if len(self.jumps_ns) > 1 else ''
        return f'the stamps of {topic} jump by {jump_ns / 1e9:+.6g} s at image {image}{more}: tracks end there'

    def log_ns(self, stamp_ns: int) -> int:
        """Return when a message of that stamp, near the last image, takes place."""
        return stamp_ns + self._shift_ns


def times(count: int) -> str:
    """Return how often, in words."""
    return 'once' if count == 1 else f'{count} times'
