"""Compressed pictures to arrays: which kind they are, how large, whether they are complete, and their values."""

import io
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import cv2
import numpy as np

from diffcut_ros.missing import MissingPackageError, needed
from diffcut_ros.printable import quoted
from diffcut_ros.stream.encodings import check_size
from diffcut_ros.stream.video_packets import check_no_video

# What data begin with, by kind of picture.
_BYTES = {
    'JPEG': rb'\xff\xd8',
    'PNG': rb'\x89PNG\r\n\x1a\n',
    'WebP': rb'RIFF....WEBP',
    'TIFF': rb'II\*\0|MM\0\*',
    'AVIF': rb'....ftypavi[fs]|....ftypmi.{,40}avif',
    'JPEG 2000': rb'\0\0\0\x0cjP  |\xff\x4f\xff\x51',
    'BMP': rb'BM',
    'JPEG XL': rb'\xff\x0a|\0\0\0\x0cJXL ',
    'HEIC': rb'....ftyp(?:hei|hev|mif1|msf1)',
    'GIF': rb'GIF8',
    'PNM': rb'P[1-6][\s#]',
}
_BEGINNINGS = {kind: re.compile(beginning, re.DOTALL) for kind, beginning in _BYTES.items()}
# Those that OpenCV may not know, by their names in Pillow.
_OF_PILLOW = {'AVIF': 'AVIF', 'JPEG 2000': 'JPEG2000', 'BMP': 'BMP', 'GIF': 'GIF', 'PNM': 'PPM'}

# A picture may begin after so many other bytes, such as a driver's header; one that is no JPEG, after zeros.
_BEFORE = 1024
# Of what OpenCV prints, which is the same for all threads.
_LEVEL = threading.Lock()
# The end mark of a PNG, a part without content.
_PNG_END = b'\0\0\0\0IEND\xae\x42\x60\x82'
# So many bytes of it are decompressed at once.
_PNG_PIECE = 2**16
# The next marker of a JPEG's header, as decoders look for it: past all bytes that are none, and past FF 00.
_MARKER = re.compile(rb'\xff([^\x00\xff])', re.DOTALL)
# Frame headers of a JPEG: C0 to CF without the tables among them.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_START, _JPEG_END = 0xDA, 0xD8, b'\xff\xd9'
# Markers that carry no length, beside those.
_JPEG_BARE = {0x01, *range(0xD0, 0xD8)}
# Decoders show a JPEG's pixels whose data are missing in this gray, and ignore data beyond its last pixel.
_JPEG_MISSING, _BEYOND = 128, b'\x35\x9a\xc6\x57\x6b\x2e\x94\xd3' * 8


def source_encoding(compressed_format: str) -> tuple[str, str]:
    """Return what image_transport says in a format: the encoding of the image, and how it was compressed."""
    source, _, codec = compressed_format.partition(';')
    return source.strip(), codec.strip()


def check_picture(message: Any, max_pixels: int, smallest: int = 1) -> str:
    """Check a compressed image without decoding its pixels; return its kind, such as 'JPEG'.

    Args:
        message: with format and data.
        max_pixels: width * height at most.
        smallest: width and height at least.

    Raises:
        ValueError: for depth, another kind, data that are damaged or end too early, and a size out of range; says what
            was expected and received.
        MissingPackageError: for a picture that Pillow decodes, where that is not installed.
    """
    kind, _ = _checked(message, max_pixels, smallest)
    return kind


def decode_picture(message: Any, max_pixels: int, smallest: int = 1) -> tuple[str, np.ndarray]:
    """Return the kind of a compressed image, and its values: [H, W], or [H, W, 3] in the order blue, green, red.

    Raises:
        ValueError: see `check_picture`; also where the decoder gives up.
    """
    kind, data = _checked(message, max_pixels, smallest)
    about = f'{kind} image of {len(data)} bytes'
    if kind in _OF_PILLOW:
        return kind, _decode_with_pillow(kind, data, about)
    values = decode_values(data, about)
    if kind == 'JPEG' and (values[-4:, -4:] == _JPEG_MISSING).all() and _ends_early(data, values, about):
        raise ValueError(f'{about}: expected data for all pixels, received less: the image is cut off or damaged')
    return kind, values


def _ends_early(data: bytes, values: np.ndarray, about: str) -> bool:
    """Whether a JPEG's data end before its last pixel, which is no error to decoders: then more of them change it."""
    end = data.rfind(_JPEG_END)
    more = data[:end] + _BEYOND + data[end:]
    try:  # OpenCV complains on the terminal of what is beyond the last pixel
        import PIL.Image

        return not np.array_equal(*(np.asarray(PIL.Image.open(io.BytesIO(one))) for one in (data, more)))
    except Exception:  # not there, or it gives up
        return not np.array_equal(values, decode_values(more, about))


def _behind_others(data: bytes) -> tuple[str | None, bytes]:
    """Kind and data of a picture that begins behind other bytes; None: there is none."""
    begin = data.find(b'\xff\xd8\xff', 0, _BEFORE)
    if begin > 0:
        return 'JPEG', data[begin:]
    zeros = len(data[:_BEFORE]) - len(data[:_BEFORE].lstrip(b'\0'))
    for begin in range(max(1, zeros - 3), zeros + 1):  # some kinds begin with zeros, up to 3
        if kind := kind_of(data[begin : begin + 64]):
            return kind, data[begin:]
    return None, data


def _checked(message: Any, max_pixels: int, smallest: int) -> tuple[str, bytes]:
    """Kind and data of a picture, without what decoders complain about."""
    expected = f'expected a picture, {", ".join(_READERS)}'
    if 'compressedDepth' in source_encoding(message.format)[1]:
        raise ValueError(f'format: {expected}, received {quoted(message.format)}, which holds depth')
    data = bytes(message.data)
    # What the data are is said by the data: drivers write all kinds of formats.
    kind = kind_of(data)
    if kind is None:
        kind, data = _behind_others(data)
    if kind is None:
        check_no_video(message)
    if kind not in _READERS:
        start = f'{len(data)} bytes that begin with {data[:8].hex(" ")}' if data else 'no data'
        raise ValueError(f'format {quoted(message.format)}: {expected}, received {f"{kind}, " if kind else ""}{start}')
    return kind, read_header(kind, data, max_pixels, smallest)[1]


def kind_of(data: bytes) -> str | None:
    """Return the kind of picture that data begin as, such as 'JPEG'; None: they are none."""
    return next((kind for kind, beginning in _BEGINNINGS.items() if beginning.match(data)), None)


def read_header(kind: str, data: bytes, max_pixels: int, smallest: int = 1) -> tuple[tuple[int, int], bytes]:
    """Return height and width of a picture, and its data without what decoders complain about.

    Raises:
        ValueError: for data that are damaged or end too early, and a size out of range.
        MissingPackageError: for a picture that Pillow decodes, where that is not installed.
    """
    about = f'{kind} image of {len(data)} bytes'
    try:
        width, height, data = _READERS[kind](data)
    except (struct.error, IndexError):
        raise ValueError(f'{about}: expected a header, received its beginning only') from None
    except MissingPackageError:
        raise
    except ValueError as error:
        raise ValueError(f'{about}: {error}') from None
    check_size(f'{about}, {width} x {height}', width, height, smallest, max_pixels)
    return (height, width), data


def decode_values(data: bytes, about: str) -> np.ndarray:
    """Return the values of a picture that OpenCV knows: [H, W], or [H, W, 3] in the order blue, green, red.

    Raises:
        ValueError: the decoder gives up; begins with `about`.
    """
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with _quiet() if _BEGINNINGS['TIFF'].match(data) else nullcontext():
            values = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f'{about}: expected data that can be decoded, received: {error.err}') from None
    if values is None:
        raise ValueError(f'{about}: expected data that can be decoded, received others')
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV from printing lines about a damaged TIFF: the error says what there is to say."""
    with _LEVEL:
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(level)


# Each of these returns width and height from a picture's header, and its data, fit for the decoder.


def _read_jpeg(data: bytes) -> tuple[int, int, bytes]:
    """As decoders do, past bytes between the parts of the header, which are left out of the data.

    Raises:
        ValueError: no header, or no end where it cannot be added.
    """
    parts, stray, size, at = [data[:2]], False, None, 2
    while True:
        found = _MARKER.search(data, at)
        if found is None or found.end() + 2 > len(data):
            raise ValueError('expected a header, received its beginning only')
        stray |= found.start() > at
        marker, at = found[1][0], found.end()
        if marker in _JPEG_BARE:
            continue
        if marker in (_JPEG_START, _JPEG_END[1]):
            raise ValueError(f'expected a marker of the header at byte {found.start()}, received ff {marker:02x}')
        length = int.from_bytes(data[at : at + 2], 'big')
        if marker in _JPEG_FRAMES:
            height, width, components = struct.unpack('>HHB', data[at + 3 : at + 8])
            size, sequential = (width, height), marker in (0xC0, 0xC1)
        if marker == _JPEG_SCAN:
            break
        parts.append(data[found.start() : at + length])
        at += max(2, length)
    if size is None:
        raise ValueError('expected width and height before the pixels, received none')
    whole = sequential and data[at + 2] == components  # one scan holds all
    if stray:
        begin = len(data) - found.start()
        data = b''.join([*parts, data[found.start() :]])
        at = len(data) - begin
    # Within the pixels, FF is always followed by another byte than D9. What follows the end mark is padding.
    if not data.endswith(_JPEG_END) and data.find(_JPEG_END, at) < 0:
        if not whole:
            raise ValueError('expected an end mark, received none: the image is cut off')
        data += _JPEG_END
    return *size, data


def _read_png(data: bytes) -> tuple[int, int, bytes]:
    """After all checksums; with an end mark, if only that is missing.

    Raises:
        ValueError: the PNG is damaged or cut off.
    """
    view = memoryview(data)
    parts: list[memoryview] = []
    first = at = 8
    while True:
        name = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], 'big')
        if at + 12 > len(data) or end > len(data):
            if not _is_whole(parts):
                raise ValueError('expected an end mark, received none: the image is cut off')
            return *struct.unpack_from('>II', data, first + 8), data[:at] + _PNG_END
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], 'big'):
            raise ValueError(f'expected another checksum of the part {name!r} at byte {at}: the image is damaged')
        if at == first and name != b'IHDR':
            raise ValueError(f'expected the part IHDR first, received {name!r}')
        if name == b'IEND':
            return *struct.unpack_from('>II', data, first + 8), data
        if name == b'IDAT':
            parts.append(view[at + 8 : end - 4])
        at = end


def _is_whole(parts: list[memoryview]) -> bool:
    """Whether compressed data are there to their end; they are not kept, since their size is still to be checked."""
    stream = zlib.decompressobj()
    try:
        for part in parts:
            stream.decompress(part, _PNG_PIECE)
            while stream.unconsumed_tail:
                stream.decompress(stream.unconsumed_tail, _PNG_PIECE)
    except zlib.error:
        return False
    while not stream.eof and stream.decompress(b'', _PNG_PIECE):
        pass
    return stream.eof


def _read_webp(data: bytes) -> tuple[int, int, bytes]:
    if 8 + int.from_bytes(data[4:8], 'little') > len(data):
        raise ValueError('expected as many bytes as it says, received fewer: the image is cut off')
    match data[12:16]:
        case b'VP8 ':
            width, height = (side & 0x3FFF for side in struct.unpack_from('<HH', data, 26))
        case b'VP8L':
            bits = int.from_bytes(data[21:25], 'little')
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b'VP8X':
            width, height = (1 + int.from_bytes(data[at : at + 3], 'little') for at in (24, 27))
        case other:
            raise ValueError(f'expected a part VP8, VP8L or VP8X, received {other!r}')
    return width, height, data


def _read_tiff(data: bytes) -> tuple[int, int, bytes]:
    order = '<' if data[:1] == b'I' else '>'
    (at,) = struct.unpack_from(f'{order}I', data, 4)
    (count,) = struct.unpack_from(f'{order}H', data, at)
    sides = {256: 0, 257: 0}  # width and height
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f'{order}HH', data, entry)
        if tag in sides:
            (side,) = struct.unpack_from(order + ('H' if kind == 3 else 'I'), data, entry + 8)
            sides[tag] = max(sides[tag], side)
    return sides[256], sides[257], data


def _read_other(kind: str, data: bytes) -> tuple[int, int, bytes]:
    picture = _open_with_pillow(kind, data)
    return *picture.size, data


_READERS = {
    'JPEG': _read_jpeg,
    'PNG': _read_png,
    'WebP': _read_webp,
    'TIFF': _read_tiff,
    **{kind: partial(_read_other, kind) for kind in _OF_PILLOW},
}


def _open_with_pillow(kind: str, data: bytes) -> Any:
    """Return a picture of which the header is read.

    Raises:
        ValueError: it cannot be.
    """
    with needed(f'pictures in {kind}', 'analyze'):
        import PIL.Image
    PIL.Image.init()
    if _OF_PILLOW[kind] not in PIL.Image.OPEN:
        raise ValueError(f'expected a Pillow that knows it, received {PIL.__version__}; next: pip install -U pillow')
    try:
        return PIL.Image.open(io.BytesIO(data), formats=[_OF_PILLOW[kind]])
    except PIL.UnidentifiedImageError:  # which says where in memory they are
        raise ValueError(
            'expected data that can be decoded, received others: the image is cut off or damaged'
        ) from None
    except Exception as error:  # what a decoder raises for data that are none is its own choice
        raise ValueError(f'expected data that can be decoded, received: {error}') from None


def _decode_with_pillow(kind: str, data: bytes, about: str) -> np.ndarray:
    try:
        picture = _open_with_pillow(kind, data)
        if picture.mode in ('L', 'F') or picture.mode.startswith('I'):
            return np.asarray(picture)
        return np.asarray(picture.convert('RGB'))[..., ::-1]
    except Exception as error:
        raise ValueError(f'{about}: expected data that can be decoded, received: {error}') from None
