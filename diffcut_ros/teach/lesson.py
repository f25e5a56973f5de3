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
from diffcut_ros.printable import quoted
from diffcut_ros.teach.frames import Frame, Region, Run
from diffcut_ros.teach.proposal import most_instructive

# Steps that can be taken back.
_MOST_STEPS = 200
# What an example is called by those of other frames, where no other frame has its name.
NOT_COMPARED = -1
Change = Callable[[Classes], Classes]


@dataclass(frozen=True, eq=False)
class Answers:
    """What the segments of all frames are called, by the classes of one moment.

    Attributes:
        class_id: int64 [S], of the segments of all frames, one frame after the other; 0: unknown.
        confidence: float64 [S].
        held_out: int64 [E], what each example is called by those of other frames; `NOT_COMPARED` where none of them has
            its name.
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
        unsaved: whether something was changed that the file lacks.
        note: what people should know of the last change; empty: nothing.
        version: rises with each change.

    Raises:
        ValueError: for a file that cannot be read, or is of another backend.
    """

    path: Path
    backend: str
    probe: np.ndarray
    frames: tuple[Frame, ...] = ()
    classes: Classes = field(default_factory=Classes)
    unsaved: bool = False
    note: str = ''
    version: int = 0
    _digest: str = ''
    _past: list[Classes] = field(default_factory=list)
    _future: list[Classes] = field(default_factory=list)
    _known: tuple[Classes, Answers] | None = None
    _foreign: str = ''  # why the file, which others have changed, is not to be written
    _lost: str = ''  # or why it is not as it was written
    _turn: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._digest = digest_of(self.path)
        if self._digest:
            content = self._read()
            self.classes, self._digest = content.classes, content.digest

    @property
    def problem(self) -> str:
        """Why the file is not as it should be, as text; empty: it is."""
        return self._foreign or self._lost

    # What people do --------------------------------------------------------------------------------------------------

    def teach(self, frame: int, x: int, y: int, run: Run | None, name: str) -> None:
        """Take an example: what a click means, see `Frame.region`, has a name.

        Another example at the same place, which shows the same pixels, is replaced: somebody has changed his mind.

        Raises:
            ValueError: for a frame that is not there, a click that means nothing, and a name that cannot be one.
        """
        region = self._frame(frame).region(x, y, run)
        self._change(lambda classes: _taught(classes, region, name), tell_gone=True)

    def remove(self, key: str) -> None:
        """Take an example away, by its key in `state`, and its name with the last one; ValueError where it has gone."""
        self._change(lambda classes: _without(classes, _index(classes, key)), tell_gone=True)

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
            self._follow()

    def answer(self, frame: int, label: int, name: str) -> None:
        """Take an answer to a question of the check; empty: none of the names.

        Raises:
            ValueError: for a frame or segment that is not there, and a name that cannot be one.
        """
        source = self._frame(frame).segment(label).source

        def answered(classes: Classes) -> Classes:
            classes = classes.with_class(name) if name else classes
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
                        'key': _key(source, classes.name(key)),
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

    def question(self, random: np.random.Generator, passed: Sequence[tuple[int, int]] = ()) -> tuple[int, int] | None:
        """Return the frame and the label of a segment to ask about: that of a random pixel, so that the share of right
        answers is that of pixels. Frames without an example are asked about first. None where there is nothing left.

        Args:
            random: chooses.
            passed: frame and label of segments that somebody could not say.
        """
        with self._turn:
            shown = self._shown()
            left = ~self._marked({*shown, *self._checked(), *passed})
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
            held_out = np.where(self.classes.in_one_image(), NOT_COMPARED, self.classes.held_out()[0])
            self._known = self.classes, Answers(ids, sure, held_out)
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

    def _change(self, change: Change, tell_gone: bool = False) -> None:
        """Make a change, and write it; `tell_gone`: note which names it takes away, of which nobody has spoken."""
        with self._turn, in_turn(self.path):
            self.note = ''
            self._follow()
            after = change(self.classes)
            if after is self.classes:
                return
            if tell_gone and (gone := _names(self.classes) - _names(after)):
                had = f'{", ".join(map(quoted, sorted(gone)))} had no other example and is gone (Undo)'
                self.note = '; '.join(filter(None, (self.note, had)))
            # A copy, without what was computed of it.
            self._past = [*self._past, replace(self.classes)][-_MOST_STEPS:]
            self._future = []
            self._hold(after)

    def _step(self, source: list[Classes], target: list[Classes], nothing: str) -> None:
        with self._turn, in_turn(self.path):
            self.note = ''
            self._follow()
            if not source:
                raise ValueError(f'{nothing}{self.note and f": {self.note}"}')
            target.append(replace(self.classes))
            self._hold(source.pop())

    def _hold(self, classes: Classes) -> None:
        self.classes, self.unsaved = classes, True
        self._write()

    def _read(self) -> ClassesFile:
        content = read_classes(self.path)
        check_backend(self.path, content, self.backend, self.probe)
        return content

    def _follow(self) -> None:
        """Take over what others have changed in the file; examples of here that are in no file yet are kept."""
        before, self._foreign = self.problem, ''
        try:
            digest = digest_of(self.path)
            if not digest:
                if self._digest:
                    self._lost = 'the file has gone; the next change or "Save again" writes it anew'
            elif digest != self._digest:
                self._take(self._read())
            elif not self.unsaved:
                self._lost = ''
        except (ValueError, OSError) as error:
            self._foreign = f'somebody else has changed the file, which is left as it is: {error}'
        if self.problem != before:
            self.version += 1

    def _take(self, content: ClassesFile) -> None:
        """Go on from what others have written; ValueError where examples of here do not fit into it."""
        note = 'somebody else has changed the file: read again, and gone on from there; steps before cannot be undone'
        if self.unsaved:
            self.classes = _joined(content.classes, self.classes)
            note += '. Your examples that were not saved yet are kept; names changed or removed since then are not'
        else:
            self.classes, self._lost = content.classes, ''
        self._digest = content.digest
        self._past.clear()
        self._future.clear()
        self.note = note
        self.version += 1

    def _write(self) -> None:
        self.version += 1
        if self._foreign:
            return
        try:
            self._digest = write_classes(self.path, ClassesFile(self.classes, self.backend, self.probe))
            self.unsaved, self._lost = False, ''
        except (OSError, ValueError) as error:
            self._lost = f'not saved: {error}'


def _taught(classes: Classes, region: Region, name: str) -> Classes:
    """Return classes with an example, and without another one of the same pixels."""
    check_class_name(name)
    same = [
        index
        for index, source in enumerate(classes.sources)
        if (source.image, source.box_xyxy) == (region.source.image, region.source.box_xyxy)
        and np.allclose(classes.feature[index], region.feature, atol=1e-6)
    ]
    classes = classes.with_example(name, region.feature, region.score, region.source)
    for index in same[::-1]:
        classes = _without(classes, index)
    return classes


def _joined(classes: Classes, others: Classes) -> Classes:
    """Return classes with the names and examples of others that they do not have; without any, the others."""
    if not classes.classes and not classes.checked:
        return others
    for key, feature, score, source in zip(
        others.class_id.tolist(), others.feature, others.score, others.sources, strict=True
    ):
        if source not in classes.sources:
            classes = classes.with_example(others.name(key), feature, score, source)
    known = {source for _, source in classes.checked}
    return replace(classes, checked=(*classes.checked, *(one for one in others.checked if one[1] not in known)))


def _names(classes: Classes) -> set[str]:
    return {one.name for one in classes.classes.values()}


def _known_name(classes: Classes, name: str) -> str:
    if all(one.name != name for one in classes.classes.values()):
        raise ValueError(f'name: expected one that is there, received {name!r:.80}')
    return name


def _key(source: Source, name: str) -> str:
    """Return what tells an example from others, also where others have been added or removed."""
    return '|'.join(map(str, (*source.image, *source.point_xy, *source.box_xyxy, name)))


def _index(classes: Classes, key: str) -> int:
    names = (classes.name(one) for one in classes.class_id.tolist())
    keys = [_key(source, name) for source, name in zip(classes.sources, names, strict=True)]
    if key not in keys:
        raise ValueError('this example is not there any more: somebody has changed or removed it')
    return keys.index(key)


def _without(classes: Classes, index: int) -> Classes:
    """Return classes without an example, and without its name if it was the only one."""
    name = classes.name(int(classes.class_id[index]))
    alone = (classes.class_id == classes.class_id[index]).sum() == 1
    classes = classes.without_example(index)
    return classes.without_class(name) if alone else classes


def _share(frame: Frame) -> np.ndarray:
    """Return which share of its image each segment is, float64 [K]."""
    return frame.segments.area_px / (frame.size_wh[0] * frame.size_wh[1])
