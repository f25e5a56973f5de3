"""Reads bags of ROS 1; those without an index, of a recorder that crashed or cut off, as far as they are whole."""

import mmap
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from io import SEEK_CUR, SEEK_END, BytesIO
from pathlib import Path
from typing import BinaryIO

from rosbags.rosbag1 import Reader
from rosbags.rosbag1.reader import (
    Header,
    IndexData,
    ReaderError,
    RecordType,
    normalize,
    read_bytes,
    read_uint32,
)
from rosbags.typesys.msg import normalize_msgtype

from diffcut_ros.recordings.connection import ROS1, Connection
from diffcut_ros.recordings.order import Message, StepsBack, in_order
from diffcut_ros.recordings.unpacking import LARGEST, unpack

# By which a chunk is found: this is the first field of its header, or the one after its kind.
_CHUNK, _CHUNK_KIND = b'compression=', b'op=\5'


class _Reader(Reader):
    """One whose index is not larger than its file; else chunks named again and again would take any memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._left = path.stat().st_size

    def read_index_data(self, pos: int, indexes: dict[int, list[IndexData]]) -> None:
        """Read a part of it; raises ReaderError when it is too much."""
        begin = self.bio.tell()
        super().read_index_data(pos, indexes)
        self._left -= self.bio.tell() - begin
        if self._left < 0:
            raise ReaderError('it names chunks several times')


class Ros1File:
    """An open bag of ROS 1.

    Attributes:
        start_ns: when the first message was recorded.
        end_ns: when the last one was; 0 without messages.
        steps: how often the times of recording step back, as far as it was read.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._reader, self.steps = path, _Reader(path), 0
        self._lost: dict[int, str] = {}  # by where in the file it was
        self._connections: dict[int, Connection] = {}
        try:
            self._reader.open()
        except Exception as error:  # a boundary: damage shows as any exception of the reader
            if 'encryption' in str(error):
                raise
            self._count()
            self._lost[0] = (
                f'{path.name} has no index ({error}), what is whole was read without; to write one: rosbag reindex '
                f'{path.name}'
            )
            return
        self._connections = {
            one.id: Connection(one.topic, one.msgtype, one.msgcount, ROS1) for one in self._reader.connections
        }
        self.start_ns, self.end_ns = self._reader.start_time, self._reader.end_time

    @property
    def connections(self) -> list[Connection]:
        """Its topics."""
        return list(self._connections.values())

    @property
    def lost(self) -> list[str]:
        """What could not be read so far, as text."""
        return [words for _, words in sorted(self._lost.items())]

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, time in ns and data: by time where there is an index, else as they lie in the file.

        They come as they lie in the file, too, where times of recording step back.
        """
        if self._reader.bio is None:
            for number, time_ns, data in self._scanned():
                if self._connections[number] in connections:
                    yield self._connections[number], time_ns, data
            return
        wanted = [number for number, connection in self._connections.items() if connection in connections]
        missing = expected = sum(self._connections[number].count for number in wanted)
        places = defaultdict(list)
        for number in wanted:
            for one in self._reader.indexes[number]:
                places[one.chunk_pos].append((one.offset, number, one.time))
        steps = StepsBack()
        for _, entries in sorted(places.items()):
            for _, number, time_ns in sorted(entries):
                steps.add(number, time_ns)
        self.steps = max(self.steps, steps.count)
        begins = {at: min(time_ns for _, _, time_ns in entries) for at, entries in places.items()}
        pieces = (
            (begins[at], self._piece(at, sorted(places[at])))
            for at in sorted(begins, key=None if steps.count else lambda at: (begins[at], at))
        )
        for number, time_ns, data in in_order(pieces, steps, bool(steps.count)):
            missing -= 1
            yield self._connections[number], time_ns, data
        if missing:
            self._lost[self._path.stat().st_size] = (
                f'in all {missing} of {expected} messages of {self._path.name} were not found'
            )

    def close(self) -> None:
        """Close it."""
        if self._reader.bio is not None:
            self._reader.close()

    def _piece(self, at: int, entries: list[tuple[int, int, int]]) -> list[Message]:
        """Return the messages of the chunk at this byte, those that are whole.

        Args:
            at: of it.
            entries: of its messages: place in the chunk, number of the connection, and time.
        """
        chunk, found = self._reader.chunks[at], []
        error: Exception | None = None
        try:
            self._reader.bio.seek(at)
            header = Header.read(self._reader.bio)
            self._reader.bio.seek(chunk.datapos)
            data = _unpacked(header, read_bytes(self._reader.bio, min(chunk.datasize, LARGEST + 1)))
            content, left = BytesIO(data), len(data)
        except Exception as damage:  # as in `__init__`
            error, entries = damage, []
        for place, number, time_ns in entries:
            content.seek(place)
            try:
                header = Header.read(content)
                while header.get_uint8('op') == RecordType.CONNECTION:
                    content.seek(read_uint32(content), SEEK_CUR)
                    header = Header.read(content)
                if (header.get_uint32('conn'), header.get_time('time')) != (number, time_ns):
                    raise ValueError('the index of it names another message')
                size = read_uint32(content)
                left -= size
                if left < 0:
                    raise ValueError('messages in it lie over each other')  # and would take any memory
                found.append((number, time_ns, read_bytes(content, size)))
            except Exception as damage:  # as in `__init__`
                error = damage
        if error:
            size = chunk.datapos + chunk.datasize - at
            self._lost[at] = f'{self._path.name} is damaged: the chunk of {size} bytes at byte {at}: {error}'
        return found

    def _count(self) -> None:
        """Find topics, numbers of messages and times where there is no index."""
        counts, self.start_ns, self.end_ns = Counter[int](), 2**63 - 1, 0
        for number, time_ns, _ in self._scanned():
            counts[number] += 1
            self.start_ns, self.end_ns = min(self.start_ns, time_ns), max(self.end_ns, time_ns)
        self._connections = {
            number: connection._replace(count=counts[number]) for number, connection in self._connections.items()
        }

    def _scanned(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield the number of its connection, time and data of each message, as they lie in the file."""
        with self._path.open('rb') as file:
            file.readline()
            for kind, header, data in self._records(file):
                number = header.get_uint32('conn')
                if kind == RecordType.MSGDATA and number in self._connections:
                    yield number, header.get_time('time'), data
                elif kind == RecordType.CONNECTION and number not in self._connections:
                    type_name = Header.read(BytesIO(len(data).to_bytes(4, 'little') + data)).get_string('type')
                    topic = normalize(header.get_string('topic'))
                    self._connections[number] = Connection(topic, normalize_msgtype(type_name), 0, ROS1)

    def _records(self, file: BinaryIO, chunk: int = 0) -> Iterator[tuple[int, Header, bytes]]:
        """Yield the records of connections and messages from here on, those in chunks, too, as far as they are whole.

        Args:
            file: where they are.
            chunk: where the chunk begins whose content this is; 0: it is the bag.
        """
        begin, end = file.tell(), file.seek(0, SEEK_END)
        while begin < end:
            file.seek(begin)
            try:
                header, size = Header.read(file), read_uint32(file)
                kind = header.get_uint8('op')
                # Of the last chunk, whatever is there. The size of one that was being written is 0.
                data = file.read(size) if kind == RecordType.CHUNK else read_bytes(file, size)
            except Exception as error:  # as in `__init__`
                following = 0 if chunk else self._next_chunk(begin)
                if not following:
                    self._lost[chunk or begin] = f'{self._path.name} breaks off after byte {chunk or begin}: {error}'
                    return
                self._lost[begin] = f'{self._path.name} is damaged: bytes {begin} to {following}: {error}'
                begin = following
                continue
            at, begin = begin, file.tell()
            if kind == RecordType.CHUNK:
                try:
                    content = _unpacked(header, data)
                except Exception as error:  # as in `__init__`
                    self._lost[at] = (
                        f'{self._path.name} is damaged: the chunk of {begin - at} bytes at byte {at}: {error}'
                    )
                else:
                    yield from self._records(BytesIO(content), at)
            elif kind in (RecordType.MSGDATA, RecordType.CONNECTION):
                yield kind, header, data

    def _next_chunk(self, begin: int) -> int:
        """Return where a chunk begins behind a record that is damaged; 0: there is none."""
        with self._path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.find(_CHUNK, begin + 17)
            return max(0, at - (16 if data[at - 8 : at - 4] == _CHUNK_KIND else 8))


def _unpacked(header: Header, data: bytes) -> bytes:
    """Return the content of a chunk; raises any exception where it is damaged."""
    return unpack(header.get_string('compression'), data, header.get_uint32('size'))
