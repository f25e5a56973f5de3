"""Reads what there is of an MCAP file without an end: a recording that was cut off, an unfinished copy."""

from typing import Any

from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.storage_mcap import McapReader

_MAGIC = b'\x89MCAP0\r\n'
# Of a record: one byte for its kind, eight for the length of what follows.
_RECORD_HEAD = 9
# Ends the data: what follows is the index.
_DATA_END = 0x0F


class TolerantMcapReader(McapReader):
    """An `McapReader` that takes a file without index and end up to its last whole record.

    Attributes:
        lost: what could not be read, for people; empty for a whole file.
    """

    lost = ''

    def _open(self) -> None:
        """Read index and types from where they are."""
        size = self.path.stat().st_size
        with self.path.open('rb') as file:
            start = file.read(len(_MAGIC))
            file.seek(max(0, size - len(_MAGIC)))
            if start != _MAGIC or (file.read() == _MAGIC and size > len(_MAGIC)):
                super()._open()
                return
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
        self.lost = f'{self.path.name} has no end: its last {size - end} of {size} bytes, and what was to follow'

    def messages(self, connections: Any, start: int | None = None, stop: int | None = None) -> Any:
        """Yield connection, time and data; in the order of the file where it has no index."""
        scan = super().messages if self.chunks else self.messages_scan
        return scan(connections, start, stop)


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
