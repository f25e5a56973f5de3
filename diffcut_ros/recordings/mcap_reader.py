"""Reads MCAP as far as it is whole: a bad disk, or a recording that was cut off, costs only what is damaged."""

import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Set
from io import SEEK_END, BytesIO
from itertools import takewhile
from operator import attrgetter, itemgetter
from pathlib import Path

from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, ChunkIndex, McapRecord, Message, Schema, Statistics
from mcap.stream_reader import StreamReader
from mcap.summary import Summary

from diffcut_ros.recordings.connection import CDR, ROS1, Connection, connect
from diffcut_ros.recordings.order import Message as Ordered
from diffcut_ros.recordings.order import StepsBack, in_order
from diffcut_ros.recordings.unpacking import LARGEST, unpack

_MAGIC = b'\x89MCAP0\r\n'
# A record begins with one byte for its kind, and eight for the length of what follows.
_HEAD = 9
# The record that ends the data, by its head, and the size of the one that ends the file, with the magic bytes.
_DATA_END, _DATA_END_SIZE = b'\x0f\x04\0\0\0\0\0\0\0', 13
_FOOTER_SIZE = 37
# Of a chunk's record: all but the name of its compression, and its content.
_CHUNK_SIZE, _LONGEST_NAME = 40, 100

# Records of a chunk, and entries in the index of one: empty ones, of which there may be 17 million, would take minutes
# and GB. Recorders write chunks of some thousand.
_MOST_RECORDS = 500_000
_log_time = attrgetter('log_time')
# Kinds of records that are read, and the first of those that anybody may add.
_DATA = Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.CHUNK
_PRIVATE = 0x80
# Of messages whose own encoding a writer leaves out.
_ENCODING_OF_SCHEMA = {'ros1msg': ROS1, 'ros2msg': CDR, 'ros2idl': CDR}


class McapFile:
    """An open MCAP file.

    Attributes:
        connections: its topics.
        start_ns: when the first message was recorded.
        end_ns: when the last one was; 0 without messages.
        steps: how often the times of recording step back, as far as it was read.
    """

    def __init__(self, path: Path) -> None:
        name = self._name = path.name
        self._file = path.open('rb')
        self._size = self._file.seek(0, SEEK_END)
        # By where in the file it was, what concerns all of it at 0 and 1.
        self._lost: dict[int, str] = {}
        self._has_end = self._size > _FOOTER_SIZE and self._read(self._size - len(_MAGIC), self._size) == _MAGIC
        index = None
        try:
            if self._has_end:
                index = self._index()
        except Exception as error:  # see `_pieces`
            self._lost[0] = f'the index of {name} is damaged, and was done without: {_words(error)}'
        index = index or Summary()
        self._schemas, self._channels = index.schemas, index.channels
        self._chunks = sorted(index.chunk_indexes, key=attrgetter('chunk_start_offset'))
        self.steps, self._lie = 0, True
        starts = [chunk.message_start_time for chunk in self._chunks]
        if starts != sorted(starts):
            self.steps = self._count_steps(self._chunks)
            self._lie = bool(self.steps)
        if not self._lie:
            self._chunks.sort(key=attrgetter('message_start_time'))
        if index.statistics and index.statistics.channel_message_counts.keys() <= self._channels.keys():
            counts = index.statistics.channel_message_counts
            self.start_ns, self.end_ns = index.statistics.message_start_time, index.statistics.message_end_time
        else:
            counts, self.start_ns, self.end_ns = Counter[int](), 2**63 - 1, 0
            for start_ns, messages in self._pieces(None):
                counts.update(message.channel_id for message in messages)
                self.start_ns, self.end_ns = min(self.start_ns, start_ns), max(self.end_ns, *map(_log_time, messages))
            if unknown := sum(count for number, count in counts.items() if number not in self._channels):
                self._lost[1] = f'{unknown} messages of {name}, the names of whose topics are damaged'
        self._connections = {
            number: _connection(channel, self._schemas.get(channel.schema_id), counts.get(number, 0))
            for number, channel in self._channels.items()
        }
        self.connections = list(self._connections.values())

    @property
    def lost(self) -> list[str]:
        """What could not be read so far, as text."""
        return [words for _, words in sorted(self._lost.items())]

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, time in ns and data; by time where the index is whole, else as they lie in the file.

        They come as they lie in the file, too, where times of recording step back.
        """
        wanted = {number: one for number, one in self._connections.items() if one in connections}
        missing = expected = sum(connection.count for connection in wanted.values())
        steps = StepsBack()
        for number, time_ns, data in in_order(self._ordered(wanted.keys()), steps, self._lie):
            missing -= 1
            yield wanted[number], time_ns, data
        self.steps = max(self.steps, steps.count)
        if missing > 0:
            self._lost[self._size] = f'in all {missing} of {expected} messages of {self._name} were not found'

    def _ordered(self, wanted: Set[int]) -> Iterator[tuple[int, list[Ordered]]]:
        for start_ns, messages in self._pieces(wanted):
            yield start_ns, [(message.channel_id, message.log_time, message.data) for message in messages]

    def _pieces(self, wanted: Set[int] | None) -> Iterator[tuple[int, list[Message]]]:
        """Yield the messages of one chunk, or one that is in none, and the time at which they begin, until the end.

        Args:
            wanted: the channels whose messages are; None: all.
        """
        for at, end in self._places(wanted):
            try:
                if at + _HEAD + int.from_bytes(self._read(at + 1, at + _HEAD), 'little') != end:
                    raise ValueError('its length differs')  # and could be anything, more than fits into memory
                records = _contents(self._read(at, end))
            except Exception as error:  # a boundary: damage shows as any exception of a decompressor or of the parsing
                count = self._count(end, wanted) or 'an unknown number of'
                chunk = f'a chunk of {end - at} bytes at byte {at}, {count} messages'
                self._lost[at] = f'{self._name} is damaged: {chunk}: {_words(error)}'
                continue
            self._schemas.update((record.id, record) for record in records if isinstance(record, Schema))
            self._channels.update((record.id, record) for record in records if isinstance(record, Channel))
            if messages := [record for record in records if isinstance(record, Message)]:
                start_ns = min(map(_log_time, messages))
                yield start_ns, [message for message in messages if wanted is None or message.channel_id in wanted]

    def _places(self, wanted: Set[int] | None) -> Iterator[tuple[int, int]]:
        """Yield where chunks, and records that are in none, begin and end: by the index, or else by the whole file."""
        for chunk in self._chunks:
            channels = chunk.message_index_offsets.keys()
            if not channels or wanted is None or channels & wanted:
                yield chunk.chunk_start_offset, chunk.chunk_start_offset + chunk.chunk_length
        if self._chunks:
            return
        end = len(_MAGIC)
        for kind, at, end in self._records(len(_MAGIC)):
            if kind in _DATA:
                yield at, end
            elif Opcode.DATA_END < kind < _PRIVATE:
                self._lost[at] = f'{self._name} is damaged: {end - at} bytes at byte {at}, of the unknown kind {kind}'
        last = f'its last {self._size - end} of {self._size} bytes'
        if not self._has_end:
            self._lost[end] = (
                f'{self._name} has no end: lost are {last}, which are no whole record, and whatever came after them'
            )
        elif self._read(end, end + _HEAD) != _DATA_END:
            self._lost[end] = f'{self._name} is damaged: {last}'

    def _records(self, at: int) -> Iterator[tuple[int, int, int]]:
        """Yield kind, begin and end of the whole records from here on, up to the end of the data."""
        while len(head := self._read(at, at + _HEAD)) == _HEAD and head != _DATA_END and head[0]:
            end = at + _HEAD + int.from_bytes(head[1:], 'little')
            if end > self._size:
                break
            yield head[0], at, end
            at = end

    def _count(self, begin: int, wanted: Set[int] | None) -> int:
        """Return how many messages a chunk has, by the records about it, which follow it; 0 where there are none."""
        return sum(len(entries) for channel, entries in self._indexes(begin) if wanted is None or channel in wanted)

    def _count_steps(self, chunks: list[ChunkIndex]) -> int:
        """Return how often times step back from one message of a topic to the next in the file, by its indexes."""
        steps = StepsBack()
        for chunk in chunks:
            for channel, entries in self._indexes(chunk.chunk_start_offset + chunk.chunk_length):
                for time_ns, _ in sorted(entries, key=itemgetter(1)):
                    steps.add(channel, time_ns)
        return steps.count

    def _indexes(self, begin: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Yield the channels of the messages of a chunk that ends here, with their times and places in the chunk."""
        indexes = takewhile(lambda record: record[0] == Opcode.MESSAGE_INDEX, self._records(begin))
        for _, at, end in takewhile(lambda record: record[2] - record[1] <= 16 * _MOST_RECORDS, indexes):
            data = self._read(at + _HEAD, end)
            entries = data[6 : 6 + (len(data) - 6) // 16 * 16]
            yield int.from_bytes(data[:2], 'little'), list(struct.iter_unpack('<QQ', entries))

    def _index(self) -> Summary | None:
        """Return the index, None where there is none; raises any exception where it is damaged."""
        footer = self._read(self._size - _FOOTER_SIZE, self._size)
        start, crc = int.from_bytes(footer[9:17], 'little'), int.from_bytes(footer[25:29], 'little')
        if not start:
            return None
        if self._read(start - _DATA_END_SIZE, start)[:_HEAD] != _DATA_END:
            raise ValueError(f'it is not at byte {start}')  # else much more than an index might be read
        data = self._read(start, self._size)
        if crc and zlib.crc32(data[:-12]) != crc:
            raise ValueError('its checksum differs')
        index = Summary()
        for record in StreamReader(BytesIO(data), skip_magic=True, emit_chunks=True).records:
            match record:
                case Schema():
                    index.schemas[record.id] = record
                case Channel():
                    index.channels[record.id] = record
                case ChunkIndex():
                    index.chunk_indexes.append(record)
                case Statistics():
                    index.statistics = record
        if len({chunk.chunk_start_offset for chunk in index.chunk_indexes}) < len(index.chunk_indexes):
            raise ValueError('it names chunks several times')  # and would take any time
        return index

    def _read(self, at: int, end: int) -> bytes:
        if end - at > LARGEST + _HEAD + _CHUNK_SIZE + _LONGEST_NAME:
            raise ValueError(f'expected at most {LARGEST} bytes, received {end - at}')
        self._file.seek(at)
        return self._file.read(end - at)


def _connection(channel: Channel, schema: Schema | None, count: int) -> Connection:
    encoding = channel.message_encoding or _ENCODING_OF_SCHEMA.get(schema.encoding if schema else '', '')
    return connect(channel.topic, schema.name if schema else '', count, encoding)


def _contents(data: bytes) -> list[McapRecord]:
    """Return the record that bytes are, or those in it if it is a chunk; raises any exception where it is damaged."""
    (record,) = _parse(data, emit_chunks=True)
    if not isinstance(record, Chunk):
        return [record]
    if len(data) != _HEAD + _CHUNK_SIZE + len(record.compression.encode()) + len(record.data):
        raise ValueError('the lengths in it differ from its own')
    unpacked = unpack(record.compression, record.data, record.uncompressed_size)
    if len(unpacked) != record.uncompressed_size:
        raise ValueError(f'expected {record.uncompressed_size} bytes in it, received {len(unpacked)}')
    if record.uncompressed_crc and zlib.crc32(unpacked) != record.uncompressed_crc:
        raise ValueError('its checksum differs')
    return _parse(unpacked)


def _parse(data: bytes, emit_chunks: bool = False) -> list[McapRecord]:
    stream = BytesIO(data)
    records = StreamReader(stream, skip_magic=True, emit_chunks=emit_chunks).records
    found = []
    while (at := stream.tell()) < len(data):  # at its end it would wait for a footer
        if data[at] not in _DATA and data[at] < _PRIVATE:
            raise ValueError(f'expected messages and their topics in it, received a record of kind {data[at]}')
        if len(found) == _MOST_RECORDS:
            raise ValueError(f'expected at most {_MOST_RECORDS} records in it, received more')
        found.append(next(records))
    return found


def _words(error: Exception) -> str:
    return str(error) if type(error) is ValueError else f'{type(error).__name__}: {error}'
