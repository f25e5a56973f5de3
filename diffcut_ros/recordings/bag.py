"""Opens recordings: ROS 1, and ROS 2 in SQLite and MCAP."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from diffcut_ros.recordings.mcap_reader import McapReader
from diffcut_ros.recordings.message_types import STORE


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
    """A topic of a recording: the type of its messages and how many there are."""

    type_name: str
    count: int


class Bag:
    """An open recording.

    Attributes:
        path: of it.
        topics: by name.
        start_ns: when the first message was recorded.
        end_ns: when the last one was.
    """

    def __init__(self, path: Path, reader: Ros1Reader | Ros2Reader | McapReader) -> None:
        self.path = path
        self._reader, self._is_ros1 = reader, isinstance(reader, Ros1Reader)
        self.topics: dict[str, BagTopic] = {}
        for connection in reader.connections:
            before = self.topics.get(connection.topic, BagTopic(connection.msgtype, 0))
            self.topics[connection.topic] = BagTopic(connection.msgtype, before.count + connection.msgcount)
        self.start_ns, self.end_ns = reader.start_time, reader.end_time
        self._broken_off = ''

    @property
    def lost(self) -> str:
        """What could not be read, for people; empty while all could. Complete after `messages` has ended."""
        return '; '.join(filter(None, [getattr(self._reader, 'lost', ''), self._broken_off]))

    def messages(self, topics: set[str]) -> Iterator[BagMessage]:
        """Yield the messages of some topics in the order in which they were recorded, as far as they can be read."""
        connections = [connection for connection in self._reader.connections if connection.topic in topics]
        count = 0
        try:
            for connection, time_ns, raw in self._reader.messages(connections):
                cdr = STORE.ros1_to_cdr(raw, connection.msgtype) if self._is_ros1 else raw
                count += 1
                yield BagMessage(connection.topic, connection.msgtype, time_ns, bytes(cdr))
        except Exception as error:
            # A boundary: damage to a file shows as any exception of the reader, the database or a decompressor.
            expected = sum(self.topics[topic].count for topic in topics)
            missing = max(0, expected - count)
            self._broken_off = f'{missing} of {expected} messages: {type(error).__name__}: {error}'


@contextmanager
def open_bag(path: Path, may_be_empty: bool = False) -> Iterator[Bag]:
    """Open a recording: a folder with metadata.yaml, an .mcap or .db3 file, or a .bag file of ROS 1.

    Args:
        path: of it.
        may_be_empty: whether one without messages is fine.

    Raises:
        BagError: when it is missing, damaged, of another kind, or empty.
    """
    if not path.exists():
        raise BagError(f'{path}: expected a recording, found nothing there')
    if path.is_dir() and not (path / 'metadata.yaml').exists():
        raise BagError(
            f'{path}: expected metadata.yaml in this folder, found none; give the .mcap or .db3 file in it, or write '
            f'it anew: ros2 bag reindex {path}'
        )
    try:
        reader = _reader(path)
        reader.open()
    except Exception as error:  # see `Bag.messages`
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BagError(f'{path}: expected a recording (folder, .mcap, .db3, .bag), cannot read it: {text}') from error
    try:
        if not reader.message_count and not may_be_empty:
            why = f': {reader.lost}' if isinstance(reader, McapReader) and reader.lost else ''
            raise BagError(f'{path}: expected messages, received an empty recording{why}')
        yield Bag(path, reader)
    finally:
        reader.close()


def _reader(path: Path) -> Ros1Reader | Ros2Reader | McapReader:
    if path.suffix == '.bag' and path.is_file():
        return Ros1Reader(path)
    if path.suffix == '.mcap' and path.is_file():
        return McapReader([path])
    if path.is_dir():
        with suppress(YAMLError, LookupError, TypeError):  # the other reader says what is wrong with metadata
            about = YAML(typ='safe').load((path / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
            files = [path / Path(name).name for name in about['relative_file_paths']]
            if about['storage_identifier'] == 'mcap':
                return McapReader(files, about.get('compression_mode'))
    return Ros2Reader(path)
