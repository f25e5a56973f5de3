"""Reads bags of ROS 1; those without an index, of a recorder that crashed or cut off, as far as they are whole."""

from collections import Counter
from collections.abc import Collection, Iterator
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import BinaryIO

from rosbags.rosbag1 import Reader
from rosbags.rosbag1.reader import Header, RecordType, decompressors, normalize, read_bytes, read_uint32
from rosbags.typesys.msg import normalize_msgtype

from diffcut_ros.recordings.connection import ROS1, Connection


class Ros1File:
    """An open bag of ROS 1.

    Attributes:
        start_ns: when the first message was recorded.
        end_ns: when the last one was; 0 without messages.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._reader = path, Reader(path)
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
        """What could not be read so far, for people."""
        return [words for _, words in sorted(self._lost.items())]

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, time in ns and data: by time where there is an index, else as they lie in the file."""
        if self._reader.bio is None:
            for number, time_ns, data in self._scanned():
                if self._connections[number] in connections:
                    yield self._connections[number], time_ns, data
            return
        own = [one for one in self._reader.connections if self._connections[one.id] in connections]
        for one, time_ns, data in self._reader.messages(own) if own else ():
            yield self._connections[one.id], time_ns, data

    def close(self) -> None:
        """Close it."""
        if self._reader.bio is not None:
            self._reader.close()

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
                self._lost[chunk or begin] = f'{self._path.name} breaks off after byte {chunk or begin}: {error}'
                return
            at, begin = begin, file.tell()
            if kind == RecordType.CHUNK:
                try:
                    content = decompressors[header.get_string('compression')](data)
                except Exception as error:  # as in `__init__`
                    self._lost[at] = (
                        f'{self._path.name} is damaged: the chunk of {begin - at} bytes at byte {at}: {error}'
                    )
                else:
                    yield from self._records(BytesIO(content), at)
            elif kind in (RecordType.MSGDATA, RecordType.CONNECTION):
                yield kind, header, data
