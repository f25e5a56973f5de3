"""Joins the images of a recording with depth by their stamps, in whatever order both were recorded."""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffcut_ros.core.parameters import parameters
from diffcut_ros.core.tracking import JUMP_BACK_NS
from diffcut_ros.settings import NodeConfig

# Bytes of messages that wait for partners. Beyond it the oldest image is given up: depth that was recorded so much
# later, or images that have none to the end.
_MAX_WAITING_BYTES = 1 << 29
# What sync_slop_s may be at most.
_LARGEST_SLOP_S = parameters(NodeConfig)['sync_slop_s'][1].maximum


@dataclass(eq=False)
class Stamped:
    """A message that is to be joined.

    Attributes:
        stamp_ns: its header stamp.
        size: its bytes.
        content: whatever belongs to it.
        run: how often the stamps of its topic have gone back before it.
    """

    stamp_ns: int
    size: int
    content: Any
    run: int = 0

    def __lt__(self, other: 'Stamped') -> bool:
        return self.stamp_ns < other.stamp_ns


class Joiner:
    """Gives each image the depth whose stamp is nearest to its own, each depth once, and images in their order.

    Nothing is assumed of when depth was recorded: an image waits until its depth has come and none that comes later
    can be nearer, or until an image after it has found depth, since stamps of a topic rise, or the recording ends.
    Where stamps go back, images after it take depth after it; other depth only where the recording has no such.

    Attributes:
        alone: stamps of the images without depth so far.
        given_up: how many of them had to be given up for lack of memory.

    Args:
        slop_ns: stamps differ by less than this; 0: they are equal.
        largest: bytes that may wait.
    """

    def __init__(self, slop_ns: int, largest: int = _MAX_WAITING_BYTES) -> None:
        self._slop_ns, self._largest, self._bytes = max(slop_ns, 1), largest, 0
        self._images: deque[Stamped] = deque()
        self._images_by_stamp: list[Stamped] = []
        self._depths: deque[Stamped] = deque()
        self._depths_by_stamp: list[Stamped] = []
        self._depth_stamps: list[int] = []
        self._last_image = self._last_depth = Stamped(0, 0, None)
        self._overtaken: Stamped | None = None
        self.alone: list[int] = []
        self.given_up = 0

    def add_image(self, image: Stamped) -> None:
        """Take the next image of the recording."""
        image.run = _run(self._last_image, image)
        self._last_image = image
        self._images.append(image)
        insort(self._images_by_stamp, image)
        self._bytes += image.size
        self._overtake(image, self._nearest(self._depths_by_stamp, image))

    def add_depth(self, depth: Stamped) -> None:
        """Take the next depth of the recording."""
        depth.run = _run(self._last_depth, depth)
        self._last_depth = depth
        self._depths.append(depth)
        insort(self._depths_by_stamp, depth)
        self._depth_stamps.append(depth.stamp_ns)
        self._bytes += depth.size
        image = self._nearest(self._images_by_stamp, depth)
        if image is not None:
            self._overtake(image, depth)

    @property
    def full(self) -> bool:
        """Whether more waits than may."""
        return self._bytes > self._largest

    def waiting(self) -> Iterator[Stamped]:
        """Iterate over the images that wait, the latest first."""
        return reversed(self._images)

    def joined(self, ended: bool = False) -> Iterator[tuple[Stamped, Stamped | None]]:
        """Yield the images about which all is known, each with its depth, or None.

        Args:
            ended: nothing comes after this.
        """
        while self._images:
            image, full = self._images[0], self.full
            depth = self._partner(image)
            if depth is not None and depth.run != image.run and not (ended or full):
                depth = None
            # A depth that is older than the image may be followed by a nearer one.
            decided = depth is not None and (
                self._last_depth.run > image.run or self._last_depth.stamp_ns >= image.stamp_ns
            )
            if not (decided or ended or full or self._overtaken is not None):
                return
            self.given_up += full and depth is None
            self._take(image, depth)
            yield image, depth
        while self._depths and self.full:
            self._drop(self._depths[0])

    def offset_ns(self) -> int | None:
        """Return how much later than the images without depth the nearest depth is, in the middle; None without any."""
        if not self.alone or not self._depth_stamps:
            return None
        depths, images = np.unique(self._depth_stamps), np.array(self.alone)
        after = np.searchsorted(depths, images)
        left, right = depths[np.maximum(after - 1, 0)] - images, depths[np.minimum(after, len(depths) - 1)] - images
        return int(np.median(np.where(abs(left) < abs(right), left, right)))

    def advice(self, some_joined: bool) -> str:
        """Return how far the images without depth are from it, and what helps, to follow a sentence about them.

        Args:
            some_joined: whether other images have depth.
        """
        offset_ns = self.offset_ns()
        if offset_ns is None:
            return ', since none of it has stamps or can be read; take another --depth-topic, or --no-depth'
        seconds = abs(offset_ns) / 1e9
        amount = f'{seconds * 1000:.3g} ms' if seconds < 1 else f'{seconds:.6g} s'
        nearest = f': the nearest is {amount} {"earlier" if offset_ns < 0 else "later"} (median)'
        if self.given_up:
            return (
                f'{nearest}; depth is recorded so much earlier or later than {self.given_up} of them that more than '
                f'{self._largest >> 20} MB would have to wait for each other'
            )
        if some_joined:  # what is missing, or comes less often
            return f'{nearest}, and each depth belongs to one image'
        if seconds >= _LARGEST_SLOP_S:
            return f'{nearest}, as by another clock; take another --depth-topic, or --no-depth'
        return f'{nearest}; take a larger sync_slop_s in a --params file, another --depth-topic, or --no-depth'

    def _partner(self, image: Stamped) -> Stamped | None:
        """The depth for an image, unless that is nearer to another image."""
        depth = self._nearest(self._depths_by_stamp, image)
        if depth is None:
            return None
        other = self._nearest(self._images_by_stamp, depth)
        nearer = other is not None and abs(other.stamp_ns - depth.stamp_ns) < abs(image.stamp_ns - depth.stamp_ns)
        return None if nearer else depth

    def _nearest(self, ordered: list[Stamped], to: Stamped) -> Stamped | None:
        """The nearest by stamp of the same run, or else of another."""
        first = bisect_right(ordered, to.stamp_ns - self._slop_ns, key=lambda one: one.stamp_ns)
        last = bisect_left(ordered, to.stamp_ns + self._slop_ns, key=lambda one: one.stamp_ns)
        near = ordered[first:last]
        return min(near, key=lambda one: (one.run != to.run, abs(one.stamp_ns - to.stamp_ns)), default=None)

    def _overtake(self, image: Stamped, depth: Stamped | None) -> None:
        """Note that an image has found depth: those before it have none, if it is not a matter of disorder."""
        first = self._images[0]
        found = depth is not None and depth.run == image.run
        if found and (image.run > first.run or image.stamp_ns >= first.stamp_ns + JUMP_BACK_NS):
            self._overtaken = image

    def _take(self, image: Stamped, depth: Stamped | None) -> None:
        self._images.popleft()
        self._bytes -= image.size
        _remove(self._images_by_stamp, image)
        if image is self._overtaken:
            self._overtaken = None
        if depth is None:
            self.alone.append(image.stamp_ns)
            return
        # Stamps rise: what was recorded before it is of earlier images, or of before a jump.
        kept = []
        while (first := self._depths[0]) is not depth:
            self._depths.popleft()
            if first.run == depth.run and first.stamp_ns > depth.stamp_ns:
                kept.append(first)
            else:
                self._forget(first)
        self._drop(depth)
        self._depths.extendleft(reversed(kept))

    def _drop(self, first: Stamped) -> None:
        self._depths.popleft()
        self._forget(first)

    def _forget(self, depth: Stamped) -> None:
        self._bytes -= depth.size
        _remove(self._depths_by_stamp, depth)


def _run(before: Stamped, message: Stamped) -> int:
    """Return the run of a message after another one of its topic."""
    return before.run + (message.stamp_ns < before.stamp_ns - JUMP_BACK_NS)


def _remove(ordered: list[Stamped], one: Stamped) -> None:
    first = bisect_left(ordered, one)
    last = bisect_right(ordered, one)
    del ordered[next(at for at in range(first, last) if ordered[at] is one)]
