"""Compressed pictures to arrays: which kind they are, how large, whether they are complete, and their values."""

import io
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
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
    'BMP': rb'BM',
    # Known only to be told from damage. Of JPEG 2000, 200 bytes take 6 GB: a decoder has room for all parts of parts.
    'JPEG 2000': rb'\0\0\0\x0cjP  |\xff\x4f\xff\x51',
    'JPEG XL': rb'\xff\x0a|\0\0\0\x0cJXL ',
    'HEIC': rb'....ftyp(?:hei|hev|mif1|msf1)',
    'GIF': rb'GIF8',
    'PNM': rb'P[1-6][\s#]',
}
_BEGINNINGS = {kind: re.compile(beginning, re.DOTALL) for kind, beginning in _BYTES.items()}
# Those that OpenCV may not know, by their names in Pillow.
_OF_PILLOW = {'AVIF': 'AVIF', 'BMP': 'BMP', 'GIF': 'GIF', 'PNM': 'PPM'}

# A picture may begin after so many other bytes, such as a driver's header; one that is no JPEG, after zeros.
_BEFORE = 1024
# Of what OpenCV prints, which is the same for all threads.
_LEVEL = threading.Lock()
# The end mark of a PNG, a part without content.
_PNG_END = b'\0\0\0\0IEND\xae\x42\x60\x82'
# Parts of it that are compressed, and of no use here: texts and colour profiles.
_PNG_PACKED = {b'zTXt', b'iTXt', b'iCCP'}
# The signature and the first part of a PNG.
_PNG_BEGIN = 33
# Values per pixel of a PNG by its kind of colour.
_PNG_VALUES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Decoders unpack all data of a PNG, those beyond its last pixel, too: up to 1000 times as many, at 0.5 GB/s. Of more
# bytes than this, or than its pixels have, it is made sure before that there are none.
_PNG_TRUSTED = 2**22
# Parts of a PNG, and of a JPEG's header: writers make some dozen, of a PNG one for each 8 kB.
_MOST_PARTS, _MOST_JPEG_PARTS = 2**16, 1000
# Other bytes between the parts of a JPEG's header.
_MOST_STRAY = 2**16
# Scans of a JPEG, for each of which decoders go through all pixels: libjpeg writes up to 24.
_MOST_SCANS = 64
# Tags of a TIFF that say how much memory it takes: sides of it and of its tiles, channels, their bits, rows at once.
_TIFF_SIDES, _TIFF_TILE = (256, 257), (322, 323)
_TIFF_BITS, _TIFF_SAMPLES, _TIFF_ROWS = 258, 277, 278
_TIFF_SIZES = {*_TIFF_SIDES, *_TIFF_TILE, _TIFF_BITS, _TIFF_SAMPLES, _TIFF_ROWS}
# By their number, as `struct` calls them.
_TIFF_TYPES = {3: 'H', 4: 'I'}
_TIFF_CHANNELS, _TIFF_MOST_BITS = 4, 32
# Of a tile; and rows of a strip where the picture has fewer.
_TIFF_TILE_SIDES, _TIFF_MOST_ROWS = (16, 4096), 2**16
# The next marker of a JPEG's header, as decoders look for it: past all bytes that are none, and past FF 00.
_MARKER = re.compile(rb'\xff([^\x00\xff])', re.DOTALL)
# Frame headers of a JPEG: C0 to CF without the tables among them.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_START, _JPEG_END, _JPEG_SCAN_MARKER = 0xDA, 0xD8, b'\xff\xd9', b'\xff\xda'
# Sizes, and the largest value where there are shades, between spaces and comments.
_PNM_HEADER = re.compile(
    rb'P(?:[14](?:SPACE\d+){2}|[2356](?:SPACE\d+){3})\s'.replace(b'SPACE', rb'(?:\s|#[^\r\n]*[\r\n])+')
)
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
    with _explained(about):
        width, height, complete = _READERS[kind](data)
    check_size(f'{about}, {width} x {height}', width, height, smallest, max_pixels)
    with _explained(about):
        return (height, width), complete()


@contextmanager
def _explained(about: str) -> Iterator[None]:
    """Say which picture it is that an error of its header is about."""
    try:
        yield
    except (struct.error, IndexError):
        raise ValueError(f'{about}: expected a header, received its beginning only') from None
    except MissingPackageError:
        raise
    except ValueError as error:
        raise ValueError(f'{about}: {error}') from None


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


# Each of these returns width and height from a picture's header, and a function that returns its data, fit for the
# decoder: that may take memory, and is called once the size is known to be allowed.
_Read = tuple[int, int, Callable[[], bytes]]


def _read_jpeg(data: bytes) -> _Read:
    """As decoders do, past bytes between the parts of the header, which are left out of the data.

    Raises:
        ValueError: no header; with the function: no end where it cannot be added, or too many scans.
    """
    parts, size, at, stray = [data[:2]], None, 2, 0
    for _ in range(_MOST_JPEG_PARTS):
        found = _MARKER.search(data, at, at + _MOST_STRAY - stray + 2)
        if found is None and len(data) > at + _MOST_STRAY - stray + 2:
            raise ValueError(f'expected at most {_MOST_STRAY} bytes between the parts of its header, received more')
        if found is None or found.end() + 2 > len(data):
            raise ValueError('expected a header, received its beginning only')
        stray += found.start() - at
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
    else:
        raise ValueError(f'expected at most {_MOST_JPEG_PARTS} parts of its header, received more')
    if size is None:
        raise ValueError('expected width and height before the pixels, received none')
    whole = sequential and data[at + 2] == components  # one scan holds all
    return *size, partial(_complete_jpeg, data, found.start(), parts if stray else [], whole)


def _complete_jpeg(data: bytes, scans_at: int, header: list[bytes], whole: bool) -> bytes:
    if not whole and (count := data.count(_JPEG_SCAN_MARKER, scans_at)) > _MOST_SCANS:
        raise ValueError(f'expected at most {_MOST_SCANS} scans, received {count}')
    # Within the pixels, FF is always followed by another byte than D9. What follows the end mark is padding.
    end = b''
    if not data.endswith(_JPEG_END) and data.find(_JPEG_END, scans_at) < 0:
        if not whole:
            raise ValueError('expected an end mark, received none: the image is cut off')
        end = _JPEG_END
    if header:
        return b''.join([*header, data[scans_at:], end])
    return data + end


def _read_png(data: bytes) -> _Read:
    if len(data) < _PNG_BEGIN:
        raise ValueError('expected a header, received its beginning only: the image is cut off')
    if data[12:16] != b'IHDR':
        raise ValueError(f'expected the part IHDR first, received {data[12:16]!r}')
    _check_part(memoryview(data), 8, _PNG_BEGIN)
    return *struct.unpack_from('>II', data, 16), partial(_complete_png, data)


def _complete_png(data: bytes) -> bytes:
    """Return a PNG after all checksums; with an end mark, if only that is missing, and without what is not used.

    Raises:
        ValueError: the PNG is damaged or cut off, or holds more than its pixels.
    """
    view = memoryview(data)
    kept, pixels, at = [view[:8]], [], 8
    is_cut = left_out = False
    for _ in range(_MOST_PARTS):
        name = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], 'big')
        is_cut = at + 12 > len(data) or end > len(data)
        if is_cut:
            break
        _check_part(view, at, end)
        if name == b'IEND':
            break
        if name == b'IDAT':
            pixels.append(view[at + 8 : end - 4])
        if name in _PNG_PACKED:
            left_out = True
        else:
            kept.append(view[at:end])
        at = end
    else:
        raise ValueError(f'expected at most {_MOST_PARTS} parts, received more')
    width, height, bits, colour = struct.unpack_from('>IIBB', data, 16)
    row = -(-width * bits * _PNG_VALUES.get(colour, 4) // 8)
    most = (
        height * (row + 4) + 64
    )  # with a byte before each row; also interlaced, with up to 2 such bytes and 15 bits more
    if is_cut or sum(map(len, pixels)) > min(_PNG_TRUSTED, most):
        is_whole = _is_whole(pixels, most)
        if is_cut and not is_whole:
            raise ValueError('expected an end mark, received none: the image is cut off')
    return b''.join([*kept, _PNG_END]) if is_cut or left_out else data


def _check_part(view: memoryview, at: int, end: int) -> None:
    if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], 'big'):
        name = bytes(view[at + 4 : at + 8])
        raise ValueError(f'expected another checksum of the part {name!r} at byte {at}: the image is damaged')


def _is_whole(parts: list[memoryview], most: int) -> bool:
    """Whether compressed pixels are there to their end; raises ValueError for more than `most` bytes of them."""
    stream = zlib.decompressobj()
    try:
        size = len(stream.decompress(b''.join(parts), most + 1))
    except zlib.error:
        return False
    if size > most:
        raise ValueError(f'expected at most {most} bytes of pixels, received more')
    return stream.eof


def _read_webp(data: bytes) -> _Read:
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
    return width, height, lambda: data


def _read_tiff(data: bytes) -> _Read:
    """As far as memory follows from its header: libtiff takes more spellings of it, and might read other numbers.

    Raises:
        ValueError: a number that is there twice, or of another type than all writers use, or that no writer has.
    """
    order = '<' if data[:1] == b'I' else '>'
    (at,) = struct.unpack_from(f'{order}I', data, 4)
    (count,) = struct.unpack_from(f'{order}H', data, at)
    found: dict[int, int] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f'{order}HHI', data, entry)
        if tag not in _TIFF_SIZES:
            continue
        most = _TIFF_CHANNELS if tag == _TIFF_BITS else 1
        if tag in found or kind not in _TIFF_TYPES or not 1 <= values <= most:
            raise ValueError(
                f'expected the tag {tag} once, with up to {most} numbers of 16 or 32 bits, received it again, or '
                f'{values} of the type {kind}'
            )
        form = f'{order}{values}{_TIFF_TYPES[kind]}'
        place = entry + 8
        if struct.calcsize(form) > 4:
            (place,) = struct.unpack_from(f'{order}I', data, place)
        found[tag] = max(struct.unpack_from(form, data, place))
    width, height, *tile = (found.get(tag, 0) for tag in (*_TIFF_SIDES, *_TIFF_TILE))
    bits, channels = found.get(_TIFF_BITS, 1), found.get(_TIFF_SAMPLES, 1)
    if bits > _TIFF_MOST_BITS or channels > _TIFF_CHANNELS:
        raise ValueError(
            f'expected up to {_TIFF_CHANNELS} channels of up to {_TIFF_MOST_BITS} bits, received {channels} of {bits}'
        )
    rows = found.get(_TIFF_ROWS, 0)
    # A decoder has room for a whole tile, or for so many rows at once, however small the picture.
    if any(tile) and (min(tile) < _TIFF_TILE_SIDES[0] or max(tile) > _TIFF_TILE_SIDES[1]):
        raise ValueError(f'expected tiles of {_TIFF_TILE_SIDES[0]} to {_TIFF_TILE_SIDES[1]} px, received {tile}')
    if _TIFF_MOST_ROWS < rows < 2**32 - 1 and rows > height:
        raise ValueError(f'expected strips of at most {max(height, _TIFF_MOST_ROWS)} rows, received {rows}')
    return width, height, lambda: data


def _read_other(kind: str, data: bytes) -> _Read:
    if kind == 'PNM' and not _PNM_HEADER.match(data[:_BEFORE]):
        raise ValueError(f'expected a header within {_BEFORE} bytes, received none')
    picture = _open_with_pillow(kind, data)
    return *picture.size, lambda: data


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
        # As `open` does it, which would warn on the terminal of sizes that are refused here.
        factory, _ = PIL.Image.OPEN[_OF_PILLOW[kind]]
        return factory(io.BytesIO(data), '')
    except (SyntaxError, LookupError, TypeError, EOFError, struct.error):
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
