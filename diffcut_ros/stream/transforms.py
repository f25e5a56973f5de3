"""How frames lie to each other over time, by what /tf and /tf_static say; as tf2 (ros2/geometry2) understands it."""

import bisect
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from diffcut_ros.core.tracking import JUMP_BACK_NS
from diffcut_ros.core.transform import Transform
from diffcut_ros.printable import quoted
from diffcut_ros.stream.stamps import stamp_ns as stamp_of

# As long as tf2 keeps them.
KEPT_S = 10.0
# Lengths of quaternions that are off by more are told; as tf2 does, rotations are taken as if they were of length 1.
_UNIT = 1e-2
# What changes less is at rest: m, and parts of a quaternion.
_MOVED = 1e-4
# Frames that an error names.
_NAMED = 8
# For how long messages of before time went back may still come, s.
_STRAGGLERS_S = 1.0
# Messages of one moment come on several topics in any order, that far apart at most, s.
_DISORDER_S = 0.5
# Stamps of one frame that went back by themselves, by less than is kept: once they have gone on for so long without
# coming back, it is neither disorder nor a second publisher that lags behind the first.
_GONE_ON_NS = 5 * 10**8
# Of one frame, that are taken again.
_MOST_AGAIN = 1000


class TransformError(ValueError):
    """What is not known of two frames."""


# Translation x y z, quaternion x y z w: what there is of them is many, what is looked up few.
_Numbers = tuple[float, float, float, float, float, float, float]


def _numbers(message: Any) -> _Numbers:
    """Return a geometry_msgs/Transform; ValueError for numbers that are not finite, and a quaternion of length 0."""
    t, q = message.translation, message.rotation
    numbers = t.x, t.y, t.z, q.x, q.y, q.z, q.w
    if not all(map(math.isfinite, numbers)):
        raise ValueError('expected finite numbers')
    if not any(numbers[3:]):
        raise ValueError('expected a quaternion of length 1, received one of length 0')
    return numbers


def transform_of(message: Any) -> Transform:
    """Return a geometry_msgs/Transform; ValueError for an invalid one."""
    return _transform(_numbers(message))


def _transform(numbers: _Numbers) -> Transform:
    return Transform(Rotation.from_quat(numbers[3:]), np.array(numbers[:3]))


@dataclass
class _History:
    """Where a frame was: rising stamps, and for each its parent and the transform into it."""

    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    links: list[tuple[str, _Numbers]] = field(default_factory=list)

    @property
    def moves(self) -> bool:
        """Whether it changes, by more than poses are rounded to."""
        turned = np.array([numbers[3:] for _, numbers in self.links])
        turned *= np.sign(turned @ turned[0] + 1e-12)[:, None]  # a quaternion and its negative are one turn
        numbers = np.hstack([[numbers[:3] for _, numbers in self.links], turned])
        return bool((np.abs(numbers - numbers[0]) > _MOVED).any()) or len({parent for parent, _ in self.links}) > 1

    def gap_ns(self, stamp_ns: int) -> int:
        """Return how far the two transforms lie apart that it is interpolated between; 0: not at all, or it rests."""
        place = bisect.bisect_left(self.stamps_ns, stamp_ns)
        if self.static or place in (0, len(self.stamps_ns)) or self.stamps_ns[place] == stamp_ns:
            return 0
        pair = replace(self, links=self.links[place - 1 : place + 1])
        return self.stamps_ns[place] - self.stamps_ns[place - 1] if pair.moves else 0

    def at(self, stamp_ns: int) -> tuple[str, Transform]:
        """Return parent and transform; TransformError outside of what is known."""
        if self.static:
            parent, numbers = self.links[-1]
            return parent, _transform(numbers)
        place = bisect.bisect_left(self.stamps_ns, stamp_ns)
        if place < len(self.stamps_ns) and self.stamps_ns[place] == stamp_ns:
            parent, numbers = self.links[place]
            return parent, _transform(numbers)
        if place in (0, len(self.stamps_ns)):
            begin_s, end_s = self.stamps_ns[0] / 1e9, self.stamps_ns[-1] / 1e9
            known = f'from {begin_s:.3f} to {end_s:.3f} s' if begin_s < end_s else f'at {begin_s:.3f} s alone'
            raise TransformError(f'is known {known}, not at {stamp_ns / 1e9:.3f} s')
        (parent, numbers), (later_parent, later) = self.links[place - 1 : place + 1]
        before, after = _transform(numbers), _transform(later)
        if parent != later_parent:
            return parent, before
        begin_ns, end_ns = self.stamps_ns[place - 1 : place + 1]
        share = (stamp_ns - begin_ns) / (end_ns - begin_ns)
        turned = Slerp([0, 1], Rotation.concatenate([before.rotation, after.rotation]))(share)
        return parent, Transform(turned, (1 - share) * before.translation_m + share * after.translation_m)


class TransformTree:
    """Frames, each with a parent. Its methods may be called by several threads.

    Args:
        kept_s: of each frame, what is older than the latest by more is forgotten.

    Attributes:
        trouble: what is wrong with transforms that came, such as NaN (which are not taken), and how often.
        refused_s: when transforms were not taken last, by what was wrong with them; by `time.monotonic`.
    """

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_ns = round(kept_s * 1e9)
        self._of: dict[str, _History] = {}
        self._changed = threading.Condition()
        self.trouble: Counter[str] = Counter()
        self.refused_s: dict[str, float] = {}

    def add(self, message: Any, static: bool) -> None:
        """Take a tf2_msgs/TFMessage of /tf or /tf_static; what cannot be used is counted."""
        self.take(message.transforms, static)

    def take(self, transforms: Iterable[Any], static: bool) -> None:
        """Take geometry_msgs/TransformStamped; what cannot be used is counted."""
        with self._changed:
            self._take(transforms, static)
            self._changed.notify_all()

    def restart(self, transforms: Iterable[Any]) -> None:
        """Forget what changes over time, and take others in its place at once; what /tf_static says still holds."""
        with self._changed:
            self._clear()
            self._take(transforms, static=False)
            self._changed.notify_all()

    def _take(self, transforms: Iterable[Any], static: bool) -> None:
        for one in transforms:
            parent, child = one.header.frame_id.lstrip('/'), one.child_frame_id.lstrip('/')
            try:
                if not parent or not child or parent == child:
                    raise ValueError('expected two frames')
                numbers = _numbers(one.transform)
            except ValueError as error:
                self._refuse(f'{quoted(child)} in {quoted(parent)}: {error}')
                continue
            if abs(math.hypot(*numbers[3:]) - 1) > _UNIT:
                self.trouble[f'{quoted(child)} in {quoted(parent)}: the quaternion is not of length 1'] += 1
            self._insert(child, (parent, numbers), static, stamp_of(one))

    def _refuse(self, text: str) -> None:
        self.trouble[text] += 1
        self.refused_s[text] = time.monotonic()

    def _insert(self, child: str, link: tuple[str, _Numbers], static: bool, stamp_ns: int) -> None:
        history = self._of.get(child)
        if history is not None and history.links[-1][0] != link[0]:
            self.trouble[f'{quoted(child)} has two parents, {quoted(history.links[-1][0])} and {quoted(link[0])}'] += 1
        if history is None or static or history.static:
            history = self._of[child] = _History(static)
        stamps, links = history.stamps_ns, history.links
        if stamps and stamp_ns < stamps[-1] - self._kept_ns:
            self._refuse(f'{quoted(child)} came over {self._kept_ns / 1e9:g} s late, and was not taken')
            return
        place = bisect.bisect_left(stamps, stamp_ns)
        if place < len(stamps) and stamps[place] == stamp_ns:
            links[place] = link  # as in tf2, the last one counts
        else:
            stamps.insert(place, stamp_ns)
            links.insert(place, link)
        old = bisect.bisect_left(stamps, stamps[-1] - self._kept_ns)
        if 2 * old > len(stamps):  # not at each one
            del stamps[:old], links[:old]

    def _clear(self) -> None:
        self._of = {child: history for child, history in self._of.items() if history.static}

    @property
    def frames(self) -> list[str]:
        """All frames, sorted."""
        with self._changed:
            parents = {parent for history in self._of.values() for parent, _ in history.links}
            return sorted(parents | self._of.keys())

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float = 0.0) -> Transform:
        """Return what takes points of a frame into another, as they lay to each other at a time.

        Args:
            target: the other frame.
            source: theirs.
            stamp_ns: when, ns; 0: the last time of which all is known.
            timeout_s: how long to wait until it is known.

        Raises:
            TransformError: where it is not.
        """
        target, source = target.lstrip('/'), source.lstrip('/')
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                try:
                    return self._lookup(target, source, stamp_ns)
                except TransformError:
                    if not self._changed.wait(end_s - time.monotonic()):
                        raise

    def gap_s(self, target: str, source: str, stamp_ns: int) -> float:
        """Return the longest time without transforms, in s, that a `lookup` at this stamp was interpolated over.

        Where nothing moves meanwhile, it does not count.
        """
        with self._changed:
            ups = [self._above(frame.lstrip('/')) for frame in (target, source)]
            common = next((frame for frame in ups[0] if frame in ups[1]), None)
            between = [] if common is None else [frame for up in ups for frame in up[: up.index(common)]]
            return max((self._of[frame].gap_ns(stamp_ns) for frame in between), default=0) / 1e9

    def moves_with(self, target: str, source: str) -> bool:
        """Say whether a frame moves in a frame above it, while another one stands still in it.

        Args:
            target: the frame, such as base_link.
            source: the other one, such as a camera's that is mounted there.
        """
        with self._changed:
            ups = [self._above(frame.lstrip('/')) for frame in (target, source)]
            common = next((frame for frame in ups[0] if frame in ups[1]), None)
            if common is None:
                return False
            moves = {frame: frame in self._of and self._of[frame].moves for up in ups for frame in up}
            between = [frame for up in ups for frame in up[: up.index(common)]]
            above = ups[0][ups[0].index(common) :]
            return not any(moves[frame] for frame in between) and any(moves[frame] for frame in above)

    def _above(self, frame: str) -> list[str]:
        """Return a frame, its last parent, and so on."""
        up = [frame]
        while (history := self._of.get(up[-1])) is not None and history.links[-1][0] not in up:
            up.append(history.links[-1][0])
        return up

    def _lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        if stamp_ns == 0:
            stamp_ns = self._last_common(target, source)
        ups: list[dict[str, Transform]] = []
        trouble: list[TransformError] = []
        for frame in (source, target):
            up, made = {frame: Transform()}, Transform()
            try:
                for parent, link in self._links(frame, stamp_ns):
                    made = link @ made
                    up[parent] = made
            except TransformError as error:
                trouble.append(error)
            ups.append(up)
        common = next((frame for frame in ups[0] if frame in ups[1]), None)
        if common is not None:
            return ups[1][common].inverse() @ ups[0][common]
        raise trouble[0] if trouble else self._unconnected(target, source, list(ups[1])[-1], list(ups[0])[-1])

    def _links(self, frame: str, stamp_ns: int) -> Iterator[tuple[str, Transform]]:
        """Yield parent and transform of a frame, of its parent, and so on."""
        seen = {frame}
        while (history := self._of.get(frame)) is not None:
            try:
                parent, link = history.at(stamp_ns)
            except TransformError as error:
                parent = history.links[-1][0]
                raise TransformError(f'{quoted(frame)} in {quoted(parent)} {error}') from None
            if parent in seen:
                raise TransformError(f'the frames form a loop: {quoted(parent)} is above itself')
            yield parent, link
            seen.add(parent)
            frame = parent

    def _last_common(self, target: str, source: str) -> int:
        stamps, ups = [], [self._above(frame) for frame in (source, target)]
        for own, other in (ups, ups[::-1]):
            for frame in own:
                if frame in other:  # what is above does not count
                    break
                history = self._of.get(frame)
                if history is not None and not history.static:
                    stamps.append(history.stamps_ns[-1])
        return min(stamps, default=0)

    def _unconnected(self, target: str, source: str, target_top: str, source_top: str) -> TransformError:
        frames = sorted({parent for one in self._of.values() for parent, _ in one.links} | self._of.keys())
        missing = [frame for frame in (target, source) if frame not in frames]
        if missing:
            known = f'there are {named(frames)}' if frames else 'there are no transforms'
            return TransformError(f'there is no frame {" and no ".join(map(quoted, missing))}; {known}')
        return TransformError(
            f'nothing connects {quoted(source)}, which leads up to {quoted(source_top)}, with {quoted(target)}, which '
            f'leads up to {quoted(target_top)}; there are {named(frames)}'
        )


class Buffer(Protocol):
    """What keeps transforms; see `TransformTree`."""

    def take(self, transforms: Iterable[Any], static: bool) -> None:
        """Take geometry_msgs/TransformStamped."""

    def restart(self, transforms: Iterable[Any]) -> None:
        """Forget what changes over time, and take others in its place."""


@dataclass
class _Child:
    """What is known of the stamps of a frame that moves.

    Attributes:
        latest_ns: the latest one, since they went back.
        begun_s: when it came first since then, by `time.monotonic`.
        first_ns: its stamp then.
        before_ns: the latest one before they went back, while it is not sure that time did; else None.
        again: what came since then, while it may have to be taken again.
    """

    latest_ns: int
    begun_s: float
    first_ns: int
    before_ns: int | None = None
    again: deque[Any] | None = None


class Arrivals:
    """Hands on transforms as they come, and has those forgotten that are of before time went back.

    Time goes back where somebody says so who knows (`went_back`: by the clock, by the stamps of a camera), and where
    the stamps of a frame do: by more than `kept_s`, or by more than `JUMP_BACK_NS` if they go on from there. Then all
    that changes is forgotten but what has come since. Topics come in no order: what came of the new time before it was
    known that time went back is kept, and what comes of the old time just after that is forgotten, too.

    A frame of two publishers, whose stamps jump to and fro, is told, and no longer says what time it is.

    Args:
        buffer: keeps them. Of it, what is older than the latest by more than `kept_s` is refused.
        tell: called with a readable line when time went back.
        kept_s: as above.
    """

    def __init__(self, buffer: Buffer, tell: Callable[[str], object], kept_s: float = KEPT_S) -> None:
        self._buffer, self._tell, self._kept_ns = buffer, tell, round(kept_s * 1e9)
        self._of: dict[str, _Child] = {}
        self._restarted_s = -math.inf
        self._said: tuple[str, int] | None = None  # the frame that said so last, and its stamp before
        self._torn: set[str] = set()
        self._turn = threading.Lock()

    def add(self, message: Any, static: bool) -> None:
        """Take a tf2_msgs/TFMessage of /tf or /tf_static."""
        with self._turn:
            if static:
                self._buffer.take(message.transforms, static=True)
                return
            taken: list[Any] = []
            for one in message.transforms:
                if self._restarts(one.child_frame_id.lstrip('/'), one, time.monotonic()):
                    taken = []  # those of now were taken again, this one with them
                else:
                    taken.append(one)
            self._buffer.take(taken, static=False)

    def went_back(self, cause: str, known_s: float) -> None:
        """Take note that time went back.

        Args:
            cause: readable, such as 'the stamp of an image on /image went back by 13.0 s'.
            known_s: until when it had not, by `time.monotonic`. Where that was noticed since, nothing is done.
        """
        with self._turn:
            since_s = known_s - _DISORDER_S
            if self._restarted_s < since_s:
                self._torn.clear()
                self._said = None
                self._restart(cause, since_s)

    def _restarts(self, name: str, one: Any, now_s: float) -> bool:
        """Take note of a transform; say whether time went back with it, and what is of now was taken again."""
        at_ns, late = stamp_of(one), now_s - self._restarted_s < _STRAGGLERS_S
        child = self._of.get(name)
        if child is None:
            self._of[name] = _Child(at_ns, now_s, at_ns, None, deque([one], _MOST_AGAIN) if late else None)
            return False
        if late and self._said is not None and self._said[0] == name and at_ns >= self._said[1]:
            # Unless they went on to there: recordings may be played fast.
            if 2 * (at_ns - child.latest_ns) > self._said[1] - child.first_ns:
                self._torn.add(name)
                self._tell(
                    f'the stamps of {quoted(name)} jump to and fro by {(at_ns - child.latest_ns) / 1e9:.1f} s, as of '
                    'two nodes that publish it: they no longer tell whether time goes back'
                )
            self._said = None
        if child.before_ns is not None and at_ns >= child.before_ns:  # time had not gone back
            self._of[name] = _Child(at_ns, now_s, at_ns)
            return False
        if (step_ns := child.latest_ns - at_ns) > JUMP_BACK_NS:
            before_ns = max(child.latest_ns, child.before_ns or 0)
            self._of[name] = _Child(at_ns, now_s, at_ns, before_ns, deque([one], _MOST_AGAIN))
            if name in self._torn:
                return False
            if late and child.before_ns is None:  # what came of it before was of the old time
                self._again({name: one for name, one in self._of.items() if one.again})
                return True
            if step_ns > self._kept_ns:
                self._by_stamps(name)
                return True
            return False
        child.latest_ns = max(child.latest_ns, at_ns)
        if child.again is not None:
            child.again.append(one)
        if child.before_ns is None:
            child.again = child.again if late else None
        elif at_ns - child.first_ns >= _GONE_ON_NS and name not in self._torn:
            self._by_stamps(name)
            return True
        return False

    def _by_stamps(self, name: str) -> None:
        child = self._of[name]
        assert child.before_ns is not None  # it went back
        self._said = name, child.before_ns
        back_s = (child.before_ns - child.first_ns) / 1e9
        self._restart(f'the stamps of {quoted(name)} went back by {back_s:.1f} s', child.begun_s - _DISORDER_S)

    def _restart(self, cause: str, since_s: float) -> None:
        """Forget all but what came of frames since their stamps went back, where that was after a moment."""
        kept = {name: one for name, one in self._of.items() if one.again and one.begun_s >= since_s}
        forgotten = len(self._of) - sum(one.before_ns is None for one in kept.values())
        self._restarted_s = time.monotonic()
        self._again(kept)
        if forgotten:
            self._tell(f'{cause}: the transforms of before are forgotten; those of /tf_static stay')

    def _again(self, kept: dict[str, _Child]) -> None:
        self._of = {name: replace(one, before_ns=None) for name, one in kept.items()}
        self._buffer.restart([one for child in kept.values() for one in child.again or ()])


def named(frames: Sequence[str]) -> str:
    """Return the names of frames, of many the first ones."""
    more = f' and {len(frames) - _NAMED} more' if len(frames) > _NAMED else ''
    return ', '.join(map(quoted, frames[:_NAMED])) + more
