"""Finds the messages of an SQLite file that was cut off, page by page, where SQLite finds none.

SQLite goes from the root of a table down to its rows, by pages that may lie anywhere: those of the first rows may be
among what is cut off. It also takes the missing part of the last page for zeros.
Format: https://www.sqlite.org/fileformat2.html
"""

import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEADER_BYTES = 100
# First byte of a page with rows of a table.
_LEAF = 0x0D
# Bytes of an integer in a row, by its type; types 8 and 9 are 0 and 1 themselves.
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
# What a row of `messages` has before its data, at most.
_BEFORE_DATA = 64


class CutOff(NamedTuple):
    """Sizes of a file that is shorter than it says: bytes that are there, bytes that were, bytes of a page."""

    bytes: int
    whole_bytes: int
    page_bytes: int


def cut_off(path: Path) -> CutOff | None:
    """Say how much of an SQLite file is missing at its end; None: nothing, as far as it says."""
    with path.open('rb') as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or header[24:28] != header[92:96]:
        return None  # written by a program that does not say how many pages there are
    page_bytes = int.from_bytes(header[16:18], 'big')
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    whole, size = page_bytes * int.from_bytes(header[28:32], 'big'), path.stat().st_size
    return CutOff(size, whole, page_bytes) if page_bytes >= 512 and size < whole else None


class MessagePages:
    """The rows of the table `messages` of rosbag2 in whole pages, by the number that they were written with.

    Args:
        path: of the file.
        cut: its sizes.

    Attributes:
        topic_id: of each row.
        time_ns: likewise.
    """

    def __init__(self, path: Path, cut: CutOff) -> None:
        self._file = path.open('rb')
        self._page_bytes, self._pages = cut.page_bytes, cut.bytes // cut.page_bytes
        self._file.seek(20)
        self._usable = cut.page_bytes - self._file.read(1)[0]
        rows = array('q')  # five numbers each: rowid, topic_id, time_ns, where its data begin and how long they are
        for page in range(2, self._pages + 1):
            rows.extend(self._rows(page))
        order = sorted(range(0, len(rows), 5), key=rows.__getitem__)
        columns = [array('q', (rows[row + column] for row in order)) for column in range(1, 5)]
        self.topic_id, self.time_ns, self._begin, self._size = columns

    def __len__(self) -> int:
        return len(self.topic_id)

    def data(self, row: int) -> bytes:
        """Return the data of a row.

        Raises:
            ValueError: where they are not whole.
        """
        at, left = self._begin[row], self._size[row]
        # A row ends in its page, or goes on in others, each of which begins with the number of the next one.
        local = self._local(left)
        own = self._read(at, local + 4)
        *_, begin = _message(own)
        parts, following = [own[:local]], int.from_bytes(own[local:], 'big')
        left -= local
        while left:
            if not 1 < following <= self._pages:
                raise ValueError('it goes on in what is cut off')
            page = self._read((following - 1) * self._page_bytes, self._usable)
            parts.append(page[4 : 4 + left])
            left -= len(parts[-1])
            following = int.from_bytes(page[:4], 'big')
        return b''.join(parts)[begin:]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, at: int, count: int) -> bytes:
        self._file.seek(at)
        return self._file.read(count)

    def _local(self, size: int) -> int:
        """Return how many bytes of a row lie in its own page."""
        most, least = self._usable - 35, (self._usable - 12) * 32 // 255 - 23
        if size <= most:
            return size
        local = least + (size - least) % (self._usable - 4)
        return local if local <= most else least

    def _rows(self, number: int) -> Iterator[int]:
        """Yield five numbers for each row of `messages` in a page."""
        start = (number - 1) * self._page_bytes
        if self._read(start, 1) != bytes([_LEAF]):
            return
        page = self._read(start, self._usable)
        count = int.from_bytes(page[3:5], 'big')
        for pointer in set(struct.unpack_from(f'>{count}H', page, 8)) if 8 + 2 * count <= len(page) else ():
            try:
                size, at = _number(page, pointer)
                rowid, at = _number(page, at)
                topic_id, time_ns, length, begin = _message(page[at : at + _BEFORE_DATA])
            except (ValueError, IndexError):
                continue  # of another table, or damaged
            if begin + length == size <= self._pages * self._page_bytes:
                yield from (rowid, topic_id, time_ns, start + at, size)


def _message(row: bytes) -> tuple[int, int, int, int]:
    """Return topic_id and timestamp of a row of `messages`, the bytes of its data, and where in it they begin.

    Raises:
        ValueError, IndexError: for a row of another table.
    """
    end, at = _number(row, 0)
    kinds = []
    while at < end and len(kinds) < 4:
        kind, at = _number(row, at)
        kinds.append(kind)
    if at != end or len(kinds) != 4 or kinds[0] != 0 or kinds[3] < 12 or kinds[3] % 2:
        raise ValueError('expected an empty column, two numbers and data')
    numbers = []
    for kind in kinds[1:3]:
        if kind not in _INTEGER_BYTES:
            raise ValueError('expected a number')
        size = _INTEGER_BYTES[kind]
        numbers.append(int.from_bytes(row[at : at + size], 'big', signed=True) if size else kind - 8)
        at += size
    return *numbers, (kinds[3] - 12) // 2, at


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, and where it ends."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    value = value << 8 | data[at + 8]
    return value - 2**64 if value >= 2**63 else value, at + 9
