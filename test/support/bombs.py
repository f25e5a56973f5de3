"""Small data that would take much memory or time: of every kind of compression that is read."""

import io
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import PIL.Image
import zstandard

GRAY = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))


def zeros_of_zlib(size: int) -> bytes:
    """Return zlib data of zeros, a thousandth of `size`."""
    stream = zlib.compressobj(9)
    return b''.join(stream.compress(bytes(2**20)) for _ in range(size >> 20)) + stream.flush()


def jpeg_of_scans(size_hw: tuple[int, int], scans: int) -> bytes:
    """Return a progressive JPEG whose last scan comes again and again."""
    file = io.BytesIO()
    PIL.Image.fromarray(np.zeros(size_hw, np.uint8)).save(file, 'JPEG', progressive=True)
    data = file.getvalue()
    begin = data.rindex(b'\xff\xda')
    return data[:begin] + data[begin:-2] * scans + data[-2:]


def jpeg_filled(between: bytes, size: int) -> bytes:
    """Return a JPEG with bytes before its first part, as often as give that size."""
    data = cv2.imencode('.jpg', GRAY)[1].tobytes()
    return data[:2] + between * (size // len(between)) + data[2:]


def png_part(name: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def png(size_wh: tuple[int, int], pixels: bytes, before: bytes = b'', end: bytes = png_part(b'IEND', b'')) -> bytes:
    """Return a gray PNG with these compressed pixels, and parts before them."""
    header = png_part(b'IHDR', struct.pack('>IIBBBBB', *size_wh, 8, 0, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + before + png_part(b'IDAT', pixels) + end


def png_of_texts(count: int, size: int, name: bytes = b'zTXt') -> bytes:
    """Return a PNG with compressed texts, or colour profiles, of that size each."""
    start = b'text\0\1\0\0\0' if name == b'iTXt' else b'text\0\0'
    text = png_part(name, start + zeros_of_zlib(size))
    return png(GRAY.shape[::-1], zlib.compress(bytes(48 * 65)), text * count)


def tiff(*others: tuple[int, int, int, int], width: int = 64) -> bytes:
    """Return a gray TIFF of that width and 48 rows with these entries (tag, type, count, value), too."""
    entries = [(256, 4, 1, width), (257, 4, 1, 48), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1), (273, 4, 1, 1000)]
    entries += [(277, 4, 1, 1), (278, 4, 1, 48), (279, 4, 1, width * 48)]
    entries = sorted([one for one in entries if one[0] not in {tag for tag, *_ in others}] + [*others])
    head = b'II*\0' + struct.pack('<IH', 8, len(entries)) + b''.join(struct.pack('<HHII', *one) for one in entries)
    return head.ljust(1000, b'\0') + bytes(width * 48)


def zeros_of_zstd(size: int, told: bool) -> bytes:
    """Return a frame of zstd that holds zeros, a twenty-thousandth of `size`, and says so or not."""
    stream = zstandard.ZstdCompressor().compressobj(size if told else -1)
    return b''.join(stream.compress(bytes(2**20)) for _ in range(size >> 20)) + stream.flush()


def mcap_chunk(content: bytes, size: int, compression: str = 'zstd') -> bytes:
    """Return the record of a chunk of MCAP with compressed content that has, as it says, `size` bytes."""
    name = compression.encode()
    data = struct.pack('<QQQII', 0, 0, size, 0, len(name)) + name + struct.pack('<Q', len(content)) + content
    return b'\x06' + struct.pack('<Q', len(data)) + data


def in_mcap(film: bytes, chunk: bytes) -> bytes:
    """Return an MCAP file without index with a chunk before all others."""
    begin = 8 + 9 + int.from_bytes(film[9:17], 'little')  # behind the header
    return film[:begin] + chunk + film[begin:]


def ros1_chunk(content: bytes, size: int, compression: str) -> bytes:
    """Return the record of a chunk of ROS 1."""
    fields = b'op=\5', b'compression=' + compression.encode(), b'size=' + struct.pack('<I', size)
    header = b''.join(struct.pack('<I', len(field)) + field for field in fields)
    return struct.pack('<I', len(header)) + header + struct.pack('<I', len(content)) + content


def in_ros1(film: bytes, chunk: bytes) -> bytes:
    """Return a bag of ROS 1, without its index, with a chunk before all others."""
    at = film.index(b'index_pos=') + 10
    film = film[:at] + bytes(8) + film[at + 8 :]
    begin = film.index(b'\n') + 1
    for _ in range(2):  # the header of the first record, and what it holds
        begin += 4 + int.from_bytes(film[begin : begin + 4], 'little')
    return film[:begin] + chunk + film[begin:]


def picture(data: bytes, text: str = 'jpeg') -> SimpleNamespace:
    """Return a compressed image."""
    return SimpleNamespace(format=text, data=data)
