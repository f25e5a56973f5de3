"""Small data that would take much memory or time: of every kind of compression that is read."""

import io
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import PIL.Image

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
    start = b'text\0\0\0\0\0' if name == b'iTXt' else b'text\0\0'
    start = b'text\0\1\0\0\0' if name == b'iTXt' else start
    text = png_part(name, start + zeros_of_zlib(size))
    return png(GRAY.shape[::-1], zlib.compress(bytes(48 * 65)), text * count)


def tiff_of_tiles(width: int, height: int, samples: int = 1) -> bytes:
    """Return a TIFF of 16 x 16 pixels in one tile of that size, with deflate."""
    pixels = zeros_of_zlib(width * height * samples)
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: samples, 322: width, 323: height, 324: 0, 325: len(pixels)}
    at = 8 + 2 + 12 * len(tags) + 4
    tags[324] = at
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items())
    return b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + bytes(4) + pixels


def gif_of_comments(size: int) -> bytes:
    """Return a GIF with a comment of that size before its picture."""
    file = io.BytesIO()
    PIL.Image.fromarray(GRAY).save(file, 'GIF')
    data = file.getvalue()
    begin = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:begin] + b'\x21\xfe' + (b'\xff' + b'x' * 255) * (size // 256) + b'\0' + data[begin:]


def gif_of_frames(count: int) -> bytes:
    """Return a GIF with many pictures."""
    file = io.BytesIO()
    PIL.Image.fromarray(GRAY).save(
        file, 'GIF', save_all=True, append_images=[PIL.Image.fromarray(np.roll(GRAY, i, 1)) for i in range(count)]
    )
    return file.getvalue()


def webp_of_frames(count: int) -> bytes:
    """Return a WebP with many pictures."""
    file = io.BytesIO()
    frames = [PIL.Image.fromarray(np.roll(GRAY, i, 1)) for i in range(count)]
    frames[0].save(file, 'WEBP', save_all=True, append_images=frames[1:])
    return file.getvalue()


def picture(data: bytes, text: str = 'jpeg') -> SimpleNamespace:
    """Return a compressed image."""
    return SimpleNamespace(format=text, data=data)
