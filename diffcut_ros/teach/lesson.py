"""What the page teaches: names and their examples, in a file; what all frames are called by them, as of now."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diffcut_ros.classes_file import ClassesFile, check_backend, digest_of, in_turn, read_classes, write_classes
from diffcut_ros.core import Classes
from diffcut_ros.core.classes import UNKNOWN, Source, check_class_name
from diffcut_ros.teach.frames import Frame, Region, Run
from diffcut_ros.teach.proposal import most_instructive

# Steps that can be taken back.
_MOST_STEPS = 1000
Change = Callable[[Classes], Classes]


@dataclass(frozen=True, eq=False)
class Answers:
    """What the segments of all frames are called, by the classes of one moment.

    Attributes:
        class_id: int64 [S], of the segments of all frames, one frame after the other; 0: unknown.
        confidence: float64 [S].
        held_out: int64 [E], what each example is called by those of other images, see `Classes.held_out`.
    """

    class_id: np.ndarray
    confidence: np.ndarray
    held_out: np.ndarray


@dataclass(eq=False)
class Lesson:
    """Names that are taught on frames. Its methods may be called by several threads.

    Every change is written into the file at once, after what others have changed in it was read. A file that cannot be
    written costs nothing: the change holds, `problem` says why, and the next change or `save` writes it.

    Attributes:
        path: of the file of classes; it need not be there yet.
        backend: description of the backend, as in `ClassesFile`.
        probe: likewise.
        frames: that can be clicked on.
        classes: the names and examples of now.
        problem: why the file is not as it should be, for people; empty: it is.
        note: what else people should know of the last change; empty: nothing.
        version: rises with each change.

    Raises:
        ValueError: for a file that cannot be read, or is of another backend.
    """

    path: Path
    backend: str
    probe: np.ndarray
    frames: tuple[Frame, ...] = ()
    classes: Classes = field(default_factory=Classes)
    problem: str = ''
    note: str = ''
    version: int = 0
    _digest: str = ''
    _past: list[Classes] = field(default_factory=list)
    _future: list[Classes] = field(default_factory=list)
    _known: tuple[Classes, Answers] | None = None
    _left_alone: bool = False
    _turn: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._digest = digest_of(self.path)
        if self._digest:
            content = self._read()
            self.classes, self._digest = content.classes, content.digest

    # What people do --------------------------------------------------------------------------------------------------

    def teach(self, frame: int, x: int, y: int, run: Run | None, name: str) -> None:
        """Take an example: what a click means, see `Frame.region`, has a name.

        Another example at the same place, which shows the same pixels, is replaced: somebody has changed his mind.

        Raises:
            ValueError: for a frame that is not there, a click that means nothing, and a name that cannot be one.
        """
        region = self._frame(frame).region(x, y, run)
        self._change(lambda classes: _taught(classes, region, name))

    def remove(self, index: int) -> None:
        """Take an example away; ValueError where there is none."""
        self._change(lambda classes: classes.without_example(_expected(index, len(classes))))

    def rename(self, name: str, new: str) -> None:
        """Give a class another name, or its examples to the one of that name; ValueError where it cannot be."""
        self._change(lambda classes: classes.renamed(_known_name(classes, name), new))

    def forget(self, name: str) -> None:
        """Take a name with all its examples away; ValueError where there is none."""

        def without(classes: Classes) -> Classes:
            key = classes.id_of(_known_name(classes, name))
            for index in np.flatnonzero(classes.class_id == key)[::-1].tolist():
                classes = classes.without_example(index)
            return classes.without_class(name)

        self._change(without)

    def take_over(self, others: Classes) -> None:
        """Take names and examples of elsewhere, beside those that are here."""
        self._change(lambda classes: _joined(classes, others))

    def tell(self, note: str) -> None:
        """Show people a note until the next change."""
        with self._turn:
            self.note = note
            self.version += 1

    def undo(self) -> None:
        """Take the last change back; ValueError where there is none."""
        self._step(self._past, self._future, 'nothing to take back')

    def redo(self) -> None:
        """Make the change again that was taken back last; ValueError where there is none."""
        self._step(self._future, self._past, 'nothing to make again')

    def save(self) -> None:
        """Write the file again, after it could not be written."""
        with self._turn, in_turn(self.path):
            self._follow()
            self._write()

    def follow(self) -> None:
        """Take over what others, such as a node, have changed in the file meanwhile."""
        with self._turn:
            if not self.problem:
                self._follow()

    def answer(self, frame: int, label: int, name: str) -> None:
        """Take an answer to a question of the check; empty: none of the names.

        Raises:
            ValueError: for a frame, segment or name that is not there.
        """
        source = self._frame(frame).segment(label).source

        def answered(classes: Classes) -> Classes:
            if name:
                _known_name(classes, name)
            kept = [one for one in classes.checked if self._where(one[1]) != (frame, label)]
            return replace(classes, checked=(*kept, (name, source)))

        self._change(answered)

    def forget_answers(self) -> None:
        """Begin the check anew."""
        self._change(lambda classes: replace(classes, checked=()) if classes.checked else classes)

    def add(self, frames: Sequence[Frame]) -> None:
        """Show more frames."""
        with self._turn:
            self.frames = (*self.frames, *frames)
            self.__dict__.pop('_feature', None)
            self.__dict__.pop('_of_frame', None)
            self.__dict__.pop('_number_of', None)
            self._known = None
            self.version += 1

    # What they see ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return all that changes, as for JSON."""
        with self._turn:
            classes, answers = self.classes, self._answers()
            ends = np.cumsum([len(one.segments) for one in self.frames])[:-1].astype(int)
            counts = Counter(classes.class_id.tolist())
            return {
                'version': self.version,
                'file': str(self.path),
                'problem': self.problem,
                'note': self.note,
                'undo': len(self._past),
                'redo': len(self._future),
                'frames': len(self.frames),
                'classes': [
                    {'id': key, 'name': one.name, 'color': list(one.color), 'examples': counts[key]}
                    for key, one in sorted(classes.classes.items())
                ],
                'examples': [
                    {
                        'class': key,
                        'frame': self._number_of.get(source.image),
                        'point': list(source.point_xy),
                        'box': list(source.box_xyxy),
                        'size': list(source.size_wh),
                        'from': f'{source.recording or "live"}, {source.topic}, {source.stamp_ns / 1e9:.3f} s',
                        'held_out': held_out,
                    }
                    for key, source, held_out in zip(
                        classes.class_id.tolist(), classes.sources, answers.held_out.tolist(), strict=True
                    )
                ],
                'answers': [
                    {'class': ids.tolist(), 'confidence': np.round(sure, 3).tolist()}
                    for ids, sure in zip(
                        np.split(answers.class_id, ends), np.split(answers.confidence, ends), strict=True
                    )
                ]
                if self.frames
                else [],
                'check': self._check(answers),
            }

    def proposal(self, passed: Sequence[tuple[int, int]] = ()) -> tuple[int, int] | None:
        """Return the frame and the label of the segment whose name would teach most; None where all have been shown.

        Args:
            passed: frame and label of segments that somebody has no name for.
        """
        with self._turn:
            answers = self._answers()
            area = np.concatenate([_share(one) for one in self.frames])
            without = self._marked({*passed})
            left = ~(self._marked(self._shown()) | without)
            best = most_instructive(self._feature, area, answers.confidence, left, without)
            return None if best is None else self._place(best)

    def question(self, random: np.random.Generator) -> tuple[int, int] | None:
        """Return the frame and the label of a segment to ask about: that of a random pixel, so that the share of right
        answers is that of pixels. Frames without an example are asked about first. None where there is nothing left.
        """
        with self._turn:
            shown = self._shown()
            left = ~self._marked({*shown, *self._checked()})
            taught = {frame for frame, _ in shown}
            fresh = left & ~np.isin(self._of_frame, list(taught))
            left = fresh if fresh.any() else left
            area = np.concatenate([_share(one) for one in self.frames]) * left
            if not area.any():
                return None
            return self._place(int(random.choice(len(area), p=area / area.sum())))

    # How -------------------------------------------------------------------------------------------------------------

    def _frame(self, index: int) -> Frame:
        if not 0 <= index < len(self.frames):
            raise ValueError(f'frame: expected one of {len(self.frames)}, received {index}')
        return self.frames[index]

    @cached_property
    def _feature(self) -> np.ndarray:
        """Float32 [S, C], of the segments of all frames."""
        none = np.zeros((0, self.probe.shape[1]), np.float32)
        return np.concatenate([none, *(one.segments.feature for one in self.frames)])

    @cached_property
    def _number_of(self) -> dict[tuple[str, str, int], int]:
        """Which frame an image is."""
        return {one.key: k for k, one in enumerate(self.frames)}

    @cached_property
    def _of_frame(self) -> np.ndarray:
        """Int64 [S], the frame of each segment."""
        return np.repeat(np.arange(len(self.frames)), [len(one.segments) for one in self.frames])

    def _place(self, index: int) -> tuple[int, int]:
        frame = int(self._of_frame[index])
        return frame, index - int(np.searchsorted(self._of_frame, frame)) + 1

    def _marked(self, segments: set[tuple[int, int]]) -> np.ndarray:
        """Return which segments are among some, (frame, label); bool [S]."""
        marked = np.zeros(len(self._of_frame), bool)
        for frame, label in segments:
            if label:
                marked[int(np.searchsorted(self._of_frame, frame)) + label - 1] = True
        return marked

    def _shown(self) -> set[tuple[int, int]]:
        """Return the segments that examples are in, (frame, label)."""
        return {place for source in self.classes.sources if (place := self._where(source)) is not None}

    def _checked(self) -> dict[tuple[int, int], str]:
        """Return the answers to questions: (frame, label) -> name."""
        places = ((self._where(source), name) for name, source in self.classes.checked)
        return {place: name for place, name in places if place is not None}

    def _where(self, source: Source) -> tuple[int, int] | None:
        """Return the frame and the label that something is from; None where that is not shown."""
        frame = self._number_of.get(source.image)
        if frame is None or self.frames[frame].size_wh != source.size_wh:
            return None
        x, y = self.frames[frame].reduced(*source.point_xy)
        return frame, int(self.frames[frame].labels[y, x])

    def _answers(self) -> Answers:
        if self._known is None or self._known[0] is not self.classes:
            ids, sure = (
                self.classes.classify_features(self._feature) if self.frames else (np.zeros(0, int), np.zeros(0))
            )
            self._known = self.classes, Answers(ids, sure, self.classes.held_out()[0])
        return self._known[1]

    def _check(self, answers: Answers) -> dict[str, Any]:
        """Return how right the names are, by the answers to questions; an example of such a segment is no question."""
        shown, begin, given = self._shown(), np.searchsorted(self._of_frame, np.arange(len(self.frames))), []
        names = {one.name for one in self.classes.classes.values()}
        for (frame, label), name in self._checked().items():
            if label and (frame, label) not in shown and (not name or name in names):
                row = int(begin[frame]) + label - 1
                given.append(
                    {
                        'frame': frame,
                        'label': label,
                        'true': self.classes.id_of(name) if name else UNKNOWN,
                        'class': int(answers.class_id[row]),
                        'confidence': round(float(answers.confidence[row]), 3),
                    }
                )
        return {'answers': given}

    def _change(self, change: Change) -> None:
        with self._turn, in_turn(self.path):
            self.note = ''
            self._follow()
            after = change(self.classes)
            if after is self.classes:
                return
            self._past = [*self._past, self.classes][-_MOST_STEPS:]
            self._future = []
            self._hold(after)

    def _step(self, source: list[Classes], target: list[Classes], nothing: str) -> None:
        with self._turn, in_turn(self.path):
            self.note = ''
            self._follow()
            if not source:
                raise ValueError(f'{nothing}{self.note and f": {self.note}"}')
            target.append(self.classes)
            self._hold(source.pop())

    def _hold(self, classes: Classes) -> None:
        self.classes = classes
        self._write()

    def _read(self) -> ClassesFile:
        content = read_classes(self.path)
        check_backend(self.path, content, self.backend, self.probe)
        return content

    def _follow(self) -> None:
        """Take over what others have changed in the file; what of here is in no file yet is kept."""
        self._left_alone = False
        try:
            digest = digest_of(self.path)
            if digest == self._digest:
                return
            if not digest:
                self.note = 'somebody else has removed the file; it is written anew with the next change'
                return
            content = self._read()
        except (ValueError, OSError) as error:
            self.problem, self._left_alone = (
                f'somebody else has changed the file, which is left as it is: {error}',
                True,
            )
            return
        theirs = content.classes
        if self.problem:  # not all is in the file
            theirs = _joined(theirs, self.classes)
        self.classes, self._digest = theirs, content.digest
        self._past.clear()
        self._future.clear()
        self.version += 1
        self.note = (
            'somebody else has changed the file: read again, and gone on from there; steps before cannot be undone'
        )

    def _write(self) -> None:
        self.version += 1
        if self._left_alone:
            return
        try:
            self._digest = write_classes(self.path, ClassesFile(self.classes, self.backend, self.probe))
            self.problem = ''
        except (OSError, ValueError) as error:
            self.problem = f'not saved: {error}'


def _taught(classes: Classes, region: Region, name: str) -> Classes:
    """Return classes with an example, and without another one of the same pixels."""
    check_class_name(name)
    same = [
        index
        for index, source in enumerate(classes.sources)
        if (source.image, source.box_xyxy) == (region.source.image, region.source.box_xyxy)
        and np.allclose(classes.feature[index], region.feature, atol=1e-6)
    ]
    for index in same[::-1]:
        classes = classes.without_example(index)
    return classes.with_example(name, region.feature, region.score, region.source)


def _joined(classes: Classes, others: Classes) -> Classes:
    """Return classes with the names and examples of others that they do not have; without any, the others."""
    if not classes.classes:
        return others
    for key, feature, score, source in zip(
        others.class_id.tolist(), others.feature, others.score, others.sources, strict=True
    ):
        if source not in classes.sources:
            classes = classes.with_example(others.name(key), feature, score, source)
    known = {source for _, source in classes.checked}
    return replace(classes, checked=(*classes.checked, *(one for one in others.checked if one[1] not in known)))


def _known_name(classes: Classes, name: str) -> str:
    if all(one.name != name for one in classes.classes.values()):
        raise ValueError(f'name: expected one that is there, received {name!r:.80}')
    return name


def _expected(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise ValueError(f'example: expected one of {count}, received number {index}')
    return index


def _share(frame: Frame) -> np.ndarray:
    """Return which share of its image each segment is, float64 [K]."""
    return frame.segments.area_px / (frame.size_wh[0] * frame.size_wh[1])
