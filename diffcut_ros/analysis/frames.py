"""How a recording's camera lay to the frame that places are wanted in, by the /tf and /tf_static of the recording."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from rosbags.serde import SerdeError

from diffcut_ros.core import Scene
from diffcut_ros.core.tracking import JUMP_BACK_NS
from diffcut_ros.core.transform import Transform
from diffcut_ros.printable import printable, quoted
from diffcut_ros.recordings.bag import Bag, BagError, open_bag
from diffcut_ros.recordings.message_types import STORE
from diffcut_ros.stream.stamps import stamp_ns
from diffcut_ros.stream.transforms import TransformTree, named

TF, TF_STATIC = '/tf', '/tf_static'
# The second is of ROS 1, with the same fields.
TF_MESSAGE = 'tf2_msgs/msg/TFMessage'
_TYPES = (TF_MESSAGE, 'tf/msg/tfMessage')
_ALL_S = 1e9  # of a recording nothing is forgotten
_MOST_TROUBLE = 3
# Topics are recorded in no order: so near to where the stamps of /tf jump, by at least so much, an image goes with the
# transforms whose stamps are nearer to its own. s.
_DISORDER_S, _CLEAR_JUMP_S = 1.0, 2.0
# Without transforms for longer than this, s, where a camera was is a guess.
GAP_S = 0.5


@dataclass
class _Span:
    """What /tf says while its stamps do not jump back, and when that was recorded.

    Attributes:
        jump_ns: stamps before and after the jump with which it begins; equal for the first.
    """

    tree: TransformTree
    begin_ns: int
    end_ns: int
    jump_ns: tuple[int, int] = (0, 0)
    last_ns: dict[str, int] = field(default_factory=dict)


class RecordedFrames:
    """The frames of a recording; what /tf_static says, wherever it was recorded, always holds.

    Args:
        bag: the recording.
        target: the frame that places are wanted in.

    Raises:
        BagError: for a recording that does not have that frame, naming those it has.
    """

    def __init__(self, bag: Bag, target: str) -> None:
        self.target, self._camera = target, ''
        self._damaged: Counter[str] = Counter()
        self._static_trouble: Counter[str] = Counter()
        with open_bag(bag.path) as again:  # what cannot be read is told as the images are read
            found = {name: one for name, one in again.topics.items() if one.type_name in _TYPES and one.count}
            if not {TF, TF_STATIC} & found.keys():
                others = f'; there are {", ".join(found)}, which are not read' if found else ''
                lost = f'; not all could be read: {again.lost}' if again.lost else ''
                raise BagError(f'{bag.path}: target frame {quoted(target)}: expected /tf, received none{others}{lost}')
            static = list(self._messages(again, TF_STATIC))
            self._spans = [self._span(static, 0)]
            self._static_trouble.update(self._spans[0].tree.trouble)
            for time_ns, message in self._messages(again, TF):
                if (jump_ns := self._jump(message)) is not None:
                    self._spans.append(self._span(static, time_ns, jump_ns))
                span = self._spans[-1]
                span.tree.add(message, static=False)
                span.end_ns = max(span.end_ns, time_ns)
            lost = again.lost
        for span, later in pairwise(self._spans):
            if later.begin_ns > span.end_ns:
                span.end_ns = later.begin_ns - 1
        self._spans[-1].end_ns = 2**63
        frames = sorted({frame for span in self._spans for frame in span.tree.frames})
        if target not in frames:
            there = f'there are {named(frames)}' if frames else 'there are no transforms'
            there += f'; not all could be read: {lost}' if lost else ''
            raise BagError(f'{bag.path}: target frame {quoted(target)}: there is no such frame in /tf; {there}')

    def _messages(self, bag: Bag, topic: str) -> Iterator[tuple[int, Any]]:
        for one in bag.messages({topic}):
            try:
                yield one.time_ns, STORE.deserialize_cdr(one.cdr, TF_MESSAGE)
            except SerdeError as error:
                self._damaged[f'{topic}: {error}'] += 1

    def _span(self, static: list[tuple[int, Any]], begin_ns: int, jump_ns: tuple[int, int] = (0, 0)) -> _Span:
        tree = TransformTree(_ALL_S)
        for _, message in static:
            tree.add(message, static=True)
        return _Span(tree, begin_ns, begin_ns, jump_ns)

    def _jump(self, message: Any) -> tuple[int, int] | None:
        """Return the stamps between which a frame goes back, by more than messages overtake each other; else None."""
        last_ns, jump_ns = self._spans[-1].last_ns, None
        stamps = {one.child_frame_id: stamp_ns(one) for one in message.transforms}
        for child, at_ns in stamps.items():
            before_ns = last_ns.get(child, at_ns)
            if at_ns < before_ns - JUMP_BACK_NS:
                jump_ns = before_ns, at_ns
            last_ns[child] = max(at_ns, before_ns)
        return jump_ns

    @property
    def moves_with_camera(self) -> bool:
        """Whether the target frame moves with the camera of the scenes that were placed: to know after the last one."""
        return bool(self._camera) and any(span.tree.moves_with(self.target, self._camera) for span in self._spans)

    @property
    def note(self) -> str:
        """What is wrong with the transforms, as text; empty: nothing."""
        trouble = self._damaged.copy()
        for span in self._spans:
            trouble += span.tree.trouble
        for text, count in self._static_trouble.items():  # once, however often the stamps jump
            trouble[text] -= count * (len(self._spans) - 1)
        words = [f'tf: {printable(text)} ({count} times)' for text, count in trouble.most_common(_MOST_TROUBLE)]
        if more := sum(trouble.values()) - sum(count for _, count in trouble.most_common(_MOST_TROUBLE)):
            words.append(f'tf: {more} more')
        if jumps := len(self._spans) - 1:
            words.append(f'the stamps of /tf step back (times: {jumps}): transforms of before do not hold after that')
        return '; '.join(words)

    def place(self, scene: Scene, recorded_ns: int) -> tuple[Scene, str, bool]:
        """Return a scene whose places are wanted in the target frame, and how they are known.

        That is: why they are not known, as text, empty where they are; and whether it lies in a gap of /tf, so that
        they are interpolated between transforms that are more than `GAP_S` apart.

        Args:
            scene: of the camera.
            recorded_ns: when its image was recorded.
        """
        found, problem, in_gap = None, '', False
        self._camera = scene.header.frame_id.lstrip('/')
        try:
            found, in_gap = self._look_up(self._camera, scene.stamp_ns, recorded_ns)
        except ValueError as error:
            problem = f'no places in {quoted(self.target)}: {printable(error)}'
        return replace(scene, look_up=lambda: found), problem, in_gap

    def _look_up(self, frame: str, at_ns: int, recorded_ns: int) -> tuple[Transform, bool]:
        if frame == self.target:
            return Transform(), False
        if not frame:
            raise ValueError('the image names no frame')
        if at_ns <= 0:  # which would mean the last transforms
            raise ValueError('the image has no stamp')
        holding = [place for place, span in enumerate(self._spans) if span.begin_ns <= recorded_ns <= span.end_ns]
        if len(holding) != 1:
            raise ValueError('stamps and times of recording of /tf step back: which transforms hold is not known')
        tree = self._spans[self._beside(holding[0], at_ns, recorded_ns)].tree
        return tree.lookup(self.target, frame, at_ns), tree.gap_s(self.target, frame, at_ns) > GAP_S

    def _beside(self, place: int, at_ns: int, recorded_ns: int) -> int:
        """Return the place of the span that an image goes with, which was recorded during one."""
        for later in self._spans[place : place + 2]:
            before_ns, after_ns = later.jump_ns
            if abs(recorded_ns - later.begin_ns) > 1e9 * _DISORDER_S or before_ns - after_ns < 1e9 * _CLEAR_JUMP_S:
                continue
            is_of_before = 2 * at_ns > before_ns + after_ns
            if later is self._spans[place] and is_of_before:
                return place - 1
            if later is not self._spans[place] and not is_of_before:
                return place + 1
        return place


def transform_topics(bag: Bag) -> tuple[str, ...]:
    """Return which of /tf and /tf_static a recording has messages of."""
    found = {name: bag.topics[name] for name in (TF, TF_STATIC) if name in bag.topics}
    return tuple(name for name, one in found.items() if one.type_name in _TYPES and one.count)


def transforms_ns(cdr: bytes) -> int:
    """Return the stamp of the first of the transforms of a message, 0 where there is none.

    Raises:
        SerdeError: for a message that is damaged.
    """
    transforms = STORE.deserialize_cdr(cdr, TF_MESSAGE).transforms
    return stamp_ns(transforms[0]) if transforms else 0


def in_gaps(images: int) -> str:
    """Say how many images lie in gaps of /tf, as text; empty: none."""
    if not images:
        return ''
    one = images == 1
    return (
        f'{images} image{"" if one else "s"} lie{"s" if one else ""} in gaps of /tf of more than {GAP_S:g} s; '
        f'{"its" if one else "their"} places are interpolated'
    )
