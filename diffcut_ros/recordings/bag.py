"""Opens recordings: ROS 1, and ROS 2 in SQLite and MCAP."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from diffcut_ros.recordings.connection import CDR, ROS1, Connection
from diffcut_ros.recordings.files import ZSTD, find_files, kind_of, unpacked
from diffcut_ros.recordings.mcap_reader import McapFile
from diffcut_ros.recordings.message_types import STORE
from diffcut_ros.recordings.ros1_reader import Ros1File
from diffcut_ros.recordings.sqlite_reader import SqliteFile
from diffcut_ros.recordings.unpacking import unpack

# More places of damage are counted, not listed.
_MOST_WORDS = 10
# What skipped messages are called where somebody may miss them.
_PICTURES = re.compile('image|video|camera|depth', re.IGNORECASE)


class BagError(ValueError):
    """A recording that cannot be analysed; says what was expected, received, and what to do."""


class BagMessage(NamedTuple):
    """One recorded message."""

    topic: str
    type_name: str
    time_ns: int  # when it was recorded
    cdr: bytes  # the message in the serialization of ROS 2


@dataclass(frozen=True)
class BagTopic:
    """A topic of a recording: the type of its messages, with their encoding where they are skipped, and how many."""

    type_name: str
    count: int


class _File(Protocol):
    """An open file of a recording."""

    connections: Collection[Connection]
    start_ns: int
    end_ns: int  # 0 without messages
    lost: list[str]  # what could not be read so far, as text
    steps: int  # how often the times of recording step back, as far as it was read

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]: ...

    def close(self) -> None: ...


_FILES: dict[str, Any] = {'mcap': McapFile, 'sqlite': SqliteFile, 'ros1': Ros1File}


class Bag:
    """An open recording.

    Attributes:
        path: of it.
        topics: by name.
        count: messages that can be read.
        skipped: topics with messages that are not of ROS, or of no type, as text.
        start_ns: when the first message was recorded.
        end_ns: when the last one was.
    """

    def __init__(self, path: Path, files: Collection[_File], guess: str = '', lost: Collection[str] = ()) -> None:
        self.path = path
        self._files, self._guess, self._lost = files, guess, list(lost)
        self._left_out: Counter[str] = Counter()
        connections = [connection for file in files for connection in file.connections]
        self.topics = _topics([one for one in connections if not _is_read(one)])
        self.skipped = [
            f'{name} ({one.type_name}, {one.count} messages)' for name, one in self.topics.items() if one.count
        ]
        self.topics |= _topics([one for one in connections if _is_read(one)])
        self.count = sum(one.count for one in connections if _is_read(one))
        self.start_ns = min((file.start_ns for file in files if file.end_ns), default=0)
        self.end_ns = max((file.end_ns for file in files), default=0)

    @property
    def lost(self) -> str:
        """What could not be read, as text; empty while all could. Complete after `messages` has ended."""
        words = [*self._lost, *(words for file in self._files for words in file.lost)]
        words += [f'{count} messages of {about}' for about, count in self._left_out.items()]
        if len(words) > _MOST_WORDS:
            words[_MOST_WORDS - 1 : -1] = [f'{len(words) - _MOST_WORDS} more places']
        return '; '.join(words)

    @property
    def note(self) -> str:
        """What was guessed, or read in another order, and what is skipped that looks like images, as text.

        Complete after `messages` has ended; empty: nothing.
        """
        pictures = ', '.join(filter(_PICTURES.search, self.skipped))
        steps = sum(file.steps for file in self._files)
        words = [
            self._guess,
            steps and f'the times of recording step back (times: {steps}): messages are taken as they lie in the file',
            pictures and f'skipped, being no messages of ROS: {pictures}',
        ]
        return '; '.join(filter(None, words))

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Yield the messages of some topics, as far as they can be read.

        By time in each file where that is possible; as they lie in it where the times of recording step back.
        Those of other encodings than CDR and that of ROS 1 are skipped.
        """
        for file in self._files:
            connections = {one for one in file.connections if one.topic in topics and _is_read(one)}
            expected, count = sum(connection.count for connection in connections), 0
            try:
                for connection, time_ns, data in file.messages(connections) if connections else ():
                    count += 1
                    try:
                        cdr = _cdr(data, connection)
                    except Exception as error:  # a boundary: damage shows as any exception of what unpacks or converts
                        self._left_out[f'{connection.topic}: {_words(error)}'] += 1
                        continue
                    yield BagMessage(connection.topic, connection.type_name, time_ns, cdr)
            except Exception as error:  # as above, of the reader or the database
                missing = f'{expected - count} of {expected} messages: ' if count < expected else ''
                self._lost.append(f'{missing}{_words(error)}')


@contextmanager
def open_bag(path: Path, may_be_empty: bool = False) -> Iterator[Bag]:
    """Open a recording: MCAP, SQLite or a bag of ROS 1, whatever it is called, also compressed with zstd.

    Args:
        path: its file, or its folder, with metadata.yaml or without.
        may_be_empty: whether one without messages is fine.

    Raises:
        BagError: when it is missing, damaged, of another kind, or empty.
    """
    if not path.exists():
        raise BagError(f'{path}: expected a recording, found nothing there')
    with ExitStack() as stack:
        try:
            paths, guess = find_files(path)
        except (OSError, ValueError) as error:
            raise BagError(f'{path}: {error}') from error
        files: list[_File] = []
        lost: list[str] = []
        for one in paths:
            try:
                open_file = _FILES[kind_of(one)]
                whole, damage = unpacked(one, stack)
                lost += [damage] if damage else []
                files.append(stack.enter_context(closing(open_file(whole))))
            except FileNotFoundError:
                lost.append(f'{one.name} is missing')
            except Exception as error:  # see `Bag.messages`
                lost.append(_words(error) if one == path else f'{one.name}: {_words(error)}')
        bag = Bag(path, files, guess, lost)
        if not files:
            raise BagError(f'{path}: expected a recording, cannot read it: {bag.lost}')
        if not bag.count and not may_be_empty:
            received = f'only {", ".join(bag.skipped)}' if bag.skipped else 'an empty recording'
            advice = '; record or convert them as messages of ROS with the names of their types' if bag.skipped else ''
            lost = bag.lost and f': {bag.lost}'
            raise BagError(f'{path}: expected messages of ROS, received {received}{lost}{advice}')
        yield bag


def _is_read(connection: Connection) -> bool:
    return connection.encoding in (CDR, ROS1) and bool(connection.type_name)


def _topics(connections: Collection[Connection]) -> dict[str, BagTopic]:
    """The topics of these connections; one whose messages are of several types has that of most of them."""
    counts: dict[str, Counter[str]] = {}
    for one in connections:
        type_name = one.type_name or 'no type'
        type_name = type_name if _is_read(one) else f'{type_name} in {one.encoding or "an unknown encoding"}'
        counts.setdefault(one.topic, Counter())[type_name] += one.count
    return {topic: BagTopic(types.most_common(1)[0][0], types.total()) for topic, types in counts.items()}


def _cdr(data: bytes, connection: Connection) -> bytes:
    """A message in the serialization of ROS 2, which never begins as zstd does."""
    if connection.encoding == ROS1:
        return bytes(STORE.ros1_to_cdr(data, connection.type_name))
    if data[:4] != ZSTD:
        return bytes(data)
    return unpack('zstd', data)


def _words(error: Exception) -> str:
    name = '' if isinstance(error, ValueError) and str(error) else f'{type(error).__name__}: '
    return name + (str(error).splitlines() or [''])[0]
