"""The classes of a node and what clicks teach it: read from a file, written with each example, taken back."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffcut_ros.classes_file import ClassesFile, check_backend, digest_of, in_turn, read_classes, write_classes
from diffcut_ros.core import Classes, Segment
from diffcut_ros.core.classes import Source
from diffcut_ros.features.probe import comparable
from diffcut_ros.printable import quoted

# Description and probe of a backend, see `ClassesFile`.
Backend = tuple[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class _Example:
    """One that was shown here.

    Attributes:
        name: of its class.
        segment: that was shown.
        source: where.
        made: whether its class was made for it.
        saved: whether the file has it.
    """

    name: str
    segment: Segment
    source: Source
    made: bool
    saved: bool = False


@dataclass(frozen=True, eq=False)
class Taught:
    """Classes, and what of them was taught here.

    Attributes:
        path: of their file; None: there is none.
        digest: of the file as it was read or written last; empty: it is not there yet.
        classes: all of them.
        shown: the examples that were shown here, in this order.
    """

    path: Path | None = None
    digest: str = ''
    classes: Classes = field(default_factory=Classes)
    shown: tuple[_Example, ...] = ()

    @property
    def unsaved(self) -> int:
        """How many examples no file has."""
        return sum(not one.saved for one in self.shown)

    def with_example(self, one: _Example) -> 'Taught':
        """Return it with one more, the last; ValueError as `Classes.with_example`."""
        classes = self.classes.with_example(one.name, one.segment.feature, one.segment.score, one.source)
        return replace(self, classes=classes, shown=(*self.shown, one))

    def without_last(self) -> 'Taught':
        """Return it without the example shown last, and without its class if that was made for it."""
        *shown, last = self.shown
        classes = self.classes
        if (index := self.index(last)) is not None:
            name = classes.name(int(classes.class_id[index]))
            classes = classes.without_example(index)
            if last.made and not (classes.class_id == classes.id_of(name)).any():
                classes = classes.without_class(name)
        return replace(self, classes=classes, shown=tuple(shown))

    def is_last(self, name: str, source: Source) -> bool:
        """Say whether an example is the one that was shown last."""
        return bool(self.shown) and (self.shown[-1].name, self.shown[-1].source) == (name, source)

    def index(self, one: _Example) -> int | None:
        """Return which of the examples of the classes is one that was shown here; None where it is gone."""
        found = [k for k, source in enumerate(self.classes.sources) if source == one.source]
        return found[-1] if found else None


class Teaching:
    """Keeps classes and their file; its methods may be called by several threads.

    Args:
        log: what tells, with `info`, `warning` and `error`.

    Attributes:
        state: the classes of now.
        turn: whoever holds it is the only one who changes `state`.
    """

    def __init__(self, log: Any) -> None:
        self.state = Taught()
        self.turn = threading.RLock()
        self._log = log
        self._backend: Callable[[], Backend] | None = None
        self._known: Backend | None = None
        self._advised = False

    @property
    def classes(self) -> Classes:
        """The classes of now."""
        return self.state.classes

    def is_last(self, name: str, source: Source) -> bool:
        """Say whether an example is the one that was shown last, and not taken back."""
        return self.state.is_last(name, source)

    def configure(self, path: str, teach: str, backend: Callable[[], Backend]) -> None:
        """Begin with a backend: read the file, if there is one.

        Args:
            path: of the file; empty: none. Examples of before, without a file, stay if they are of the same backend.
            teach: see `prepared`.
            backend: tells it; it is asked once, when it has to be known.

        Raises:
            ValueError: as `prepared`.
        """
        with self.turn:
            before, self._known, self._backend = self._known, None, backend
            count = self.state.unsaved
            if count and (before is None or not comparable(before[1], self._described()[1])):
                self._log.warning(f'{_examples(count)} in no file, lost: of another backend than that of now')
                self.state = Taught()
            self.state = self.prepared(path, teach)

    def release(self) -> None:
        """End with the backend; examples stay."""
        self._backend = None

    def prepared(self, path: str | None, teach: str) -> Taught:
        """Return what `state` shall be with another file or name to teach. Nothing changes but, maybe, a new file.

        Args:
            path: of the file; empty: none; None: as it is. One that is not there is begun anew while a name is taught,
                and written at once where there are examples that no file has.
            teach: the name that is taught; empty: none.

        Raises:
            ValueError: for a file that is missing or cannot be used, or that would cost examples that no file has; for
                a name that is one too many.
        """
        with self.turn:
            state = self.state if path is None else self._opened(path, teach)
            state.classes.prepare()
            if teach:
                state.classes.with_class(teach)
            return state

    def advise(self, teach: str) -> None:
        """Warn where what is taught will be lost: with the first name, not with each one after it."""
        lost = bool(teach) and self.state.path is None
        if lost and not self._advised:
            self._log.warning(
                f'teach without classes_file: examples of {quoted(teach)}, and of names after it, are lost when the '
                'node ends; set classes_file to the path of a new file to keep them'
            )
        self._advised = lost or (self._advised and self.state.path is None)

    def learn(self, name: str, segment: Segment, source: Source, instead_of: Source | None = None) -> None:
        """Take an example, and write the file.

        Args:
            name: of its class.
            segment: what it shows.
            source: where it is from.
            instead_of: another example that this one replaces, if it is the last and of the same name.

        Raises:
            ValueError: for an example that cannot be taken: of another length, or of a class too many.
        """
        self._described()  # this may take time, in which others may have their turn
        with self.turn, in_turn(self.state.path):
            state, problem = self._followed()
            replaces = instead_of is not None and state.is_last(name, instead_of)
            if replaces:
                state = state.without_last()
            made = all(one.name != name for one in state.classes.classes.values())
            state = state.with_example(_Example(name, segment, source, made))
            state.classes.prepare()  # not while an image is published
            self.state, problem = self._written(state, problem)
            count = int((self.classes.class_id == self.classes.id_of(name)).sum())
            examples = f'{_examples(count)} of {name!r}'
            if problem:
                self._log.error(f'{problem}; kept in memory ({examples}), and written with the next')
            else:
                where = '' if state.path is None else f', in {state.path}'
                self._log.info(f'{examples} now{where}{"; the last one is replaced" if replaces else ""}')

    def undo(self) -> str:
        """Take the last example back that was shown here, and write the file; return what to tell.

        Raises:
            ValueError: where there is none; OSError where the file cannot be written.
        """
        if self.state.shown:
            self._described()
        with self.turn, in_turn(self.state.path):
            if not self.state.shown:
                raise ValueError('no example to take back: none was taught since the classes were read')
            state, problem = self._followed()
            if not state.shown:
                self.state = state
                raise ValueError('no example to take back: somebody else has taken it out of the file')
            last = state.shown[-1]
            self.state, problem = self._written(state.without_last(), problem)
            if problem:
                raise OSError(f'{last.name!r} is taken back in memory alone: {problem}')
            x, y = last.source.point_xy
            return f'the last example of {last.name!r}, at ({x}, {y}) on {last.source.topic}, is taken back'

    def _opened(self, text: str, teach: str) -> Taught:
        state = self.state
        try:
            path = Path(text).expanduser().resolve() if text else None
            there = path is not None and path.exists()
        except (OSError, ValueError, RuntimeError) as error:  # too long, with a 0 in it, of nobody's home
            raise ValueError(f'classes_file: expected the path of a file, received {text!r:.80}: {error}') from error
        if path is None and state.path is None:
            return state  # with what was taught without a file
        if state.unsaved and path != state.path and (path is None or there):
            raise ValueError(
                f'classes_file: {_examples(state.unsaved)} in no file yet; expected the path of a new file, to write '
                f'them to, received {"none" if path is None else path}; or take them back (~/undo)'
            )
        if path is None:
            return Taught()
        if not there:
            return self._begun(state, path, teach)
        content = self._read(path)
        if (path, content.digest) == (state.path, state.digest) and not state.unsaved:
            return state  # as it was: told anew, receivers would begin anew
        names = _count(len(content.classes.classes), 'class', 'es')
        self._log.info(f'{path}: {names}, {_examples(len(content.classes))}')
        again = self._joined(
            Taught(path, content.digest, content.classes), [one for one in state.shown if not one.saved]
        )
        if not again.shown:
            return again
        again, problem = self._written(again)
        if problem:
            self._log.error(problem)
        return again

    def _begun(self, state: Taught, path: Path, teach: str) -> Taught:
        """Return the state with a file that is not there yet."""
        if not (teach or state.unsaved):
            raise ValueError(
                f'{path}: expected a file of classes, cannot read it: there is none; correct classes_file, or set '
                'teach to a name to begin a file there'
            )
        if not path.parent.is_dir():
            raise ValueError(f'{path}: expected a folder that is there, to begin a file in, found none')
        if not state.unsaved:
            self._log.info(f'{path}: not there yet, written with the first example')
            return Taught(path)
        begun, problem = self._written(replace(state, path=path, digest=''))
        if problem:
            raise ValueError(f'classes_file: {problem}')
        return begun

    def _read(self, path: Path) -> ClassesFile:
        content = read_classes(path)
        if self._backend is not None:
            check_backend(path, content, *self._described())
        return content

    def _described(self) -> Backend:
        if self._known is None:
            if self._backend is None:
                raise ValueError('expected a node that is configured, with a backend')
            self._known = self._backend()
        return self._known

    def _followed(self) -> tuple[Taught, str]:
        """Return the state with what others have changed in the file; and why the file must not be written."""
        state = self.state
        if state.path is None:
            return state, ''
        try:
            digest = digest_of(state.path)
            if digest == state.digest:
                return state, ''
            if not digest:
                self._log.warning(f'{state.path}: somebody else has removed it; it is written anew')
                return state, ''
            content = self._read(state.path)
            others = Taught(state.path, content.digest, content.classes)
            state = self._joined(others, [one for one in state.shown if not one.saved or others.index(one) is not None])
        except (ValueError, OSError) as error:
            return state, f'somebody else has changed the file, which is left as it is: {error}'
        self._log.warning(f'{state.path}: somebody else has changed it; read again, and gone on from there')
        return state, ''

    @staticmethod
    def _joined(state: Taught, examples: list[_Example]) -> Taught:
        """Return classes read from a file with examples that were shown here; the file has those that are saved."""
        for one in examples:
            state = replace(state, shown=(*state.shown, one)) if one.saved else state.with_example(one)
        return state

    def _written(self, state: Taught, problem: str = '') -> tuple[Taught, str]:
        """Write the file, unless there is a problem; return the state of then, and the problem."""
        if problem or state.path is None:
            return state, problem
        try:
            digest = write_classes(state.path, ClassesFile(state.classes, *self._described()))
        except (OSError, ValueError) as error:
            return state, str(error)
        return replace(state, digest=digest, shown=tuple(replace(one, saved=True) for one in state.shown)), ''


def _examples(count: int) -> str:
    return _count(count, 'example')


def _count(count: int, what: str, plural: str = 's') -> str:
    return f'{count} {what}{plural if count != 1 else ""}'
