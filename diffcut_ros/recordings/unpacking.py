"""Unpacks what is compressed in recordings: into no more memory than its size says, and than a recording needs."""

import bz2
from collections.abc import Callable
from functools import partial
from typing import Any

import lz4.frame
import zstandard

from diffcut_ros.printable import quoted

# What is larger is taken for damage: chunks, messages, and the index. Recorders write chunks of 1 to 4 MB, or of one
# message where that is larger: the largest, images of 50 megapixels or clouds of 10 million points, have 300 MB.
LARGEST = 2**29
# Of messages that are packed by themselves, several of which are in memory at a time: what becomes more than so many
# times larger, up to a size that only images of a single value reach.
_LARGEST_OF_ZEROS, _SMALLER = 2**28, 1000
# A stream that does not say its size is unpacked in pieces of so many bytes.
_PIECE = 2**20


def unpack(compression: str, data: bytes, size: int | None = None) -> bytes:
    """Return what compressed data hold.

    Args:
        compression: 'bz2', 'lz4', 'zstd', or 'none' or nothing.
        data: all of it.
        size: in bytes, that it is said to hold at most; None: nothing is said.

    Raises:
        ValueError: it holds more than `size` or `LARGEST`, or its end is missing; says what was expected and received.
            Damage shows as any exception of the decompressor.
    """
    if compression not in _UNPACK:
        raise ValueError(f'expected lz4, zstd or no compression, received {quoted(compression)}; convert it to one')
    if size is not None and size > LARGEST:
        raise ValueError(f'expected at most {LARGEST} bytes in it, received {size}')
    most = _most(data) if size is None else size
    unpacked = _UNPACK[compression](data, size)
    if len(unpacked) > most:
        raise ValueError(f'expected at most {most} bytes in it, received more')
    return unpacked


def _most(data: bytes) -> int:
    return max(_LARGEST_OF_ZEROS, min(LARGEST, _SMALLER * len(data)))


# Each of these returns what data hold, or, where that is more than is allowed, some more than that.


def _of_zstd(data: bytes, size: int | None) -> bytes:
    said = zstandard.frame_content_size(data)
    most = _most(data) if size is None else size
    if said > most:  # it would take so much memory
        raise ValueError(f'expected at most {most} bytes in it, received {said}')
    if said >= 0 or size is not None:
        return zstandard.decompress(data, most)
    pieces, left = [], most + 1
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        while left and (piece := reader.read(min(_PIECE, left))):
            pieces.append(piece)
            left -= len(piece)
    return b''.join(pieces)


def _of_stream(start: Callable[[], Any], data: bytes, size: int | None) -> bytes:
    stream, most = start(), _most(data) if size is None else size
    unpacked: bytes = stream.decompress(data, most + 1)
    if not stream.eof and len(unpacked) <= most:
        raise ValueError('expected an end of its compressed data, received none')
    return unpacked


_UNPACK: dict[str, Callable[[bytes, int | None], bytes]] = {
    **dict.fromkeys(('', 'none'), lambda data, _: data),
    'bz2': partial(_of_stream, bz2.BZ2Decompressor),
    'lz4': partial(_of_stream, lz4.frame.LZ4FrameDecompressor),
    'zstd': _of_zstd,
}
