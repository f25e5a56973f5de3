"""Reads what there is of an MCAP file that is damaged or has no end: a bad disk, a recording that was cut off."""

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.storage_mcap import MAXSIZE, ChunkInfo, McapReader, Msg, msgsrc

_MAGIC = b'\x89MCAP0\r\n'
# Of a record: one byte for its kind, eight for the length of what follows.
_RECORD_HEAD = 9
# Ends the data: what follows is the index.
_DATA_END = 0x0F


class TolerantMcapReader(McapReader):
    """An `McapReader` that leaves damaged chunks out, and reads a file without end up to its last whole record."""

    _index_lost = ''

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self._damaged: dict[int, str] = {}

    @property
    def lost(self) -> str:
        """What could not be read so far, for people; empty for a whole file."""
        damaged = [f'{self.path.name} is damaged: {text}' for _, text in sorted(self._damaged.items())]
        return '; '.join([self._index_lost] * bool(self._index_lost) + damaged)

    def _open(self) -> None:
        """Read index and types from where they are."""
        size = self.path.stat().st_size
        with self.path.open('rb') as file:
            start = file.read(len(_MAGIC))
            file.seek(max(0, size - len(_MAGIC)))
            has_end = file.read() == _MAGIC and size > len(_MAGIC)
        damage = ''
        if start != _MAGIC or has_end:
            try:
                super()._open()
                return
            except Exception as error:  # see `_undamaged`
                if not self.data_start:  # it is no recording of ROS 2
                    raise
                damage = f'{type(error).__name__}: {error}'
                for part in (self.schemas, self.channels, self.chunks, self.connections):
                    part.clear()
        end = _end_of_whole_records(self.path, size)
        self.bio.seek(len(_MAGIC))
        self.data_start, self.data_end = len(_MAGIC), end
        self.meta_scan()
        times = self.statistics.start_time, self.statistics.end_time
        counts = self.statistics.channel_message_counts
        self.connections = [x._replace(msgcount=counts.get(x.id, 0)) for x in self.connections]
        if self.statistics.message_count:
            self.metadata = self.metadata._replace(
                duration=times[1] - times[0] + 1,
                start_time=times[0],
                end_time=times[1] + 1,
                message_count=self.statistics.message_count,
            )
        self._index_lost = (
            f'the index of {self.path.name} is damaged, and was done without: {damage}'
            if damage
            else f'{self.path.name} has no end: its last {size - end} of {size} bytes, and what was to follow'
        )

    def messages(self, connections: Any, start: int | None = None, stop: int | None = None) -> Any:
        """Yield connection, time and data; in the order of the file where it has no index."""
        if not self.chunks:
            yield from self.messages_scan(connections, start, stop)
            return
        wanted = {connection.id: connection for connection in connections}
        first, end = start or 0, MAXSIZE if stop is None else stop
        sources = [
            self._undamaged(chunk, msgsrc(chunk, wanted, first, end, self.bio), wanted)
            for chunk in self.chunks
            if first <= chunk.message_end_time
            and chunk.message_start_time < end
            and wanted.keys() & chunk.channel_count
        ]
        for message in heapq.merge(*sources):
            if message.connection is not None:
                yield message.connection, message.timestamp, message.data

    def _undamaged(self, chunk: ChunkInfo, messages: Iterable[Msg], wanted: Iterable[int]) -> Iterator[Msg]:
        """Yield the messages of a chunk, none of one that is damaged."""
        try:
            yield from messages
        except Exception as error:  # damage shows as any exception of a decompressor or of the parsing
            count = sum(chunk.channel_count.get(number, 0) for number in wanted)
            at = f'a chunk of {chunk.chunk_length} bytes at byte {chunk.chunk_start_offset}'
            self._damaged[chunk.chunk_start_offset] = f'{at}, {count} messages: {type(error).__name__}: {error}'


def _end_of_whole_records(path: Any, size: int) -> int:
    """Return where the last whole record before the index ends, in bytes."""
    at = len(_MAGIC)
    with path.open('rb') as file:
        while True:
            file.seek(at)
            head = file.read(_RECORD_HEAD)
            if len(head) < _RECORD_HEAD or head[0] == _DATA_END:
                break
            end = at + _RECORD_HEAD + int.from_bytes(head[1:], 'little')
            if end > size:
                break
            at = end
    if at == len(_MAGIC):
        raise ReaderError('File ends before its first record.')
    return at
