"""Depth messages to metres. The one place that knows how they are compressed.

Raw (REP 118), as `compressedDepth` of image_transport, and as a plain CompressedImage: a PNG of 16 bits, or a TIFF.
"""

import struct
from array import array
from typing import Any, NamedTuple

import numpy as np

from diffcut_ros.printable import quoted
from diffcut_ros.stream.encodings import (
    DEPTH_ENCODINGS,
    check_layout,
    check_size,
    known_name,
    read_rows,
    read_values,
)
from diffcut_ros.stream.guesses import Guesses
from diffcut_ros.stream.images import MAX_PIXELS, is_compressed
from diffcut_ros.stream.pictures import decode_values, kind_of, read_header

# What compressedDepth writes before the picture: an enum, and the two numbers by which inverse depth was made 16 bits.
_HEADER = struct.Struct('<iff')
# For depth of 16 bits, image_transport leaves any numbers there. For floats: the first of them at least, and between
# which depths in metres the largest is that they can stand for, with room.
_LEAST_A, _LARGEST_M = 2.0, (0.5, 1000.0)
# What RVL begins with: width and height.
_RVL_SIZE = struct.Struct('<II')
# Of a PNG, behind its size: bits per value, and that these are gray.
_PNG_ABOUT, _GRAY_OF_16_BITS = slice(24, 26), bytes((16, 0))
# What formats say beside the encoding.
_WORDS = ('compressedDepth', 'compressed', 'rvl', 'png', 'tiff')
# Of 3 bits each: more than MAX_PIXELS may ever be.
_RVL_DIGITS = 10
# Bytes of RVL at most for a value: of 6 digits for itself and one each for the counts of a run. So many bytes are read
# at once.
_RVL_BYTES, _RVL_PIECE = 4, 2**20


class _Packed(NamedTuple):
    """What a compressed message holds.

    Attributes:
        kind: 'PNG', 'TIFF' or 'RVL'.
        size_hw: height and width, px.
        data: the picture, or what follows the size of RVL.
        quantization: a and b, where a value v stands for a / (v - b) metres; None: values are counts.
        guess: what was guessed of it, as text; empty: nothing.
    """

    kind: str
    size_hw: tuple[int, int]
    data: bytes
    quantization: tuple[float, float] | None
    guess: str = ''


def depth_size(message: Any, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return height and width of a depth image, checked so far as that tells without decompressing it.

    Args:
        message: as for `decode_depth`.
        max_pixels: width * height at most.

    Raises:
        ValueError: for what is no depth, a size out of range, or data that are damaged or of another length; says what
            was expected and received.
    """
    if is_compressed(message):
        return _unpacked(message, max_pixels).size_hw
    check_layout(message, DEPTH_ENCODINGS, max_pixels)
    return message.height, message.width


def decode_depth(
    message: Any, max_pixels: int = MAX_PIXELS, scale_mm: float = 1.0, guesses: Guesses | None = None
) -> np.ndarray:
    """Return a depth image as float32 [H, W] in metres, NaN where there is none (0, negative, infinite or NaN).

    Args:
        message: sensor_msgs/Image of 16UC1 or mono16, or of 32FC1 in metres; CompressedImage as compressedDepth (PNG or
            RVL, of either), or as a PNG of 16 bits or a TIFF.
        max_pixels: width * height at most.
        scale_mm: millimetres per count of 16 bits.
        guesses: of the images before, added to; None: this image is the only one.

    Raises:
        ValueError: see `depth_size`; also where decompressing finds damage.
    """
    quantization, guesses = None, guesses or Guesses()
    if is_compressed(message):
        packed = _unpacked(message, max_pixels)
        values, quantization = _decompressed(packed), packed.quantization
        if packed.guess:
            guesses.note('quantization', packed.guess)
    else:
        layout = check_layout(message, DEPTH_ENCODINGS, max_pixels)
        rows, _ = read_rows(message, layout, guesses)
        values = read_values(message, rows, layout)
    depth = values.astype(np.float32)
    # A signalling NaN among the values, or one that stands for infinity.
    with np.errstate(invalid='ignore', divide='ignore'):
        if quantization is not None:
            a, b = quantization
            depth = np.where(values > 0, np.float32(a) / (depth - np.float32(b)), np.float32(np.nan))
        elif values.dtype == np.uint16:
            depth /= 1000 / scale_mm
        if scale_mm != 1 and (quantization is not None or values.dtype != np.uint16):
            guesses.note('depth_scale', f'depth_scale {scale_mm:g} is not used: depth is of floats, which are metres')
        depth[~((depth > 0) & (depth < np.inf))] = np.nan
    return depth


def never_depth(message: Any) -> str:
    """Say why all messages of this kind are no depth, whether damaged or not; empty: they may be."""
    if not is_compressed(message):
        return (
            '' if known_name(message.encoding) in DEPTH_ENCODINGS else f'their encoding is {quoted(message.encoding)}'
        )
    data = bytes(message.data[: _HEADER.size + _PNG_ABOUT.stop])
    kind = kind_of(data)
    if kind not in (None, 'PNG', 'TIFF'):
        return f'they are {kind}, which changes depth'
    picture = data if kind else data[_HEADER.size :]
    if kind_of(picture) == 'PNG' and picture[_PNG_ABOUT] not in (_GRAY_OF_16_BITS, b''):  # cut off: not known
        return 'they are PNG of colours or of 8 bits'
    others = [word for word in _words(message) if word not in _WORDS and known_name(word) not in DEPTH_ENCODINGS]
    return f'they are {others[-1]}, which is not known' if others and kind_of(picture) is None else ''


def _words(message: Any) -> list[str]:
    return str(message.format).replace(';', ' ').split()


def _unpacked(message: Any, max_pixels: int) -> _Packed:
    data = bytes(message.data)
    about = f'format {quoted(message.format)}, {len(data)} bytes'
    if reason := never_depth(message):
        raise ValueError(
            f'{about}: expected compressedDepth or PNG of 16 bits, received others: {reason}; take the raw topic, or '
            'compressedDepth'
        )
    # What the data are is said by the data, for texts differ: old ones lack the codec, some drivers the rest.
    start = 0 if kind_of(data) else _HEADER.size
    packed, words = data[start:], _words(message)
    kind = kind_of(packed)
    if kind in ('PNG', 'TIFF'):
        size_hw, packed = read_header(kind, packed, max_pixels)
    elif 'png' in words or len(packed) < _RVL_SIZE.size:
        found = f'{data[:24].hex(" ")} ...' if data else 'no data'
        raise ValueError(f'{about}: expected a PNG of 16 bits, compressedDepth before it or not, received {found}')
    else:
        (width, height), kind = _RVL_SIZE.unpack_from(packed), 'RVL'
        check_size(f'{about}, RVL of {width} x {height}', width, height, 1, max_pixels)
        size_hw, packed = (height, width), packed[_RVL_SIZE.size :]
    quantization = None if kind == 'TIFF' else _quantization(about, data[:start], words)
    guess = ''
    if quantization and '32FC1' not in words and not _likely(*quantization):
        a, b = quantization
        quantization = None
        guess = (
            f'format {quoted(message.format)} does not say whether depth is of 16UC1 or 32FC1: taken as 16UC1, since '
            f'the quantization before it, {a:g} and {b:g}, is unlikely'
        )
    return _Packed(kind, size_hw, packed, quantization, guess)


def _likely(a: float, b: float) -> bool:
    """Whether image_transport may have written this quantization, rather than left any numbers in its place."""
    return a >= _LEAST_A and b < 1 and _LARGEST_M[0] <= a / (1 - b) <= _LARGEST_M[1]


def _quantization(about: str, header: bytes, words: list[str]) -> tuple[float, float] | None:
    """What makes metres of values; the encoding says whether they are floats, or the header where that is left out."""
    if {'16UC1', 'mono16'} & {*words} or not (header or '32FC1' in words):
        return None
    _, a, b = _HEADER.unpack(header) if header else (0, 0.0, 0.0)
    usable = 0 < a < np.inf and abs(b) < np.inf
    if '32FC1' in words and not usable:
        received = f'{a:g} and {b:g}' if header else 'none'
        raise ValueError(f'{about}: expected the quantization before the picture, numbers above 0, received {received}')
    return (a, b) if usable else None


def _decompressed(packed: _Packed) -> np.ndarray:
    """Return the values, uint16 or, of a TIFF, float32 [H, W]."""
    height, width = packed.size_hw
    about = f'{packed.kind} of {width} x {height}, {len(packed.data)} bytes'
    if packed.kind == 'RVL':
        try:
            return decode_rvl(packed.data, height * width).reshape(height, width)
        except ValueError as error:
            raise ValueError(f'{about}: {error}') from None
    values = decode_values(packed.data, about)
    if values.ndim != 2 or values.dtype not in (np.uint16, np.float32):
        raise ValueError(f'{about}: expected one channel of 16 bits or floats, received {values.dtype} {values.shape}')
    return values


def decode_rvl(data: bytes, count: int) -> np.ndarray:
    """Return `count` values, uint16, of RVL data (Wilson, Fast Lossless Depth Image Compression, 2017).

    Numbers are written in digits of 3 bits, lowest first, each in 4 bits, of which the highest says that more follow. 8
    of these make a word of 32 bits, the first in its highest bits. The numbers are, in turn: a count of zeros, one of
    others, and of each of those the difference from the one before, as 2 d or, negative, as -2 d - 1.

    Raises:
        ValueError: for data that are damaged or end too early.
    """
    numbers = _rvl_numbers(data[: min(len(data), _RVL_BYTES * count + 8) // 4 * 4])
    # Only this goes from run to run: where each stands depends on the one before.
    number, stop = memoryview(numbers), len(numbers) - 1
    at = filled = 0
    heads, starts, ends = array('q'), array('q'), array('q')  # a list takes five times the memory
    while filled < count and at < stop:
        zeros, others = number[at], number[at + 1]
        if not zeros and not others:
            break
        start = filled + zeros
        filled = start + others
        heads.append(at)
        starts.append(start)
        ends.append(filled)
        at += 2 + others
    if filled != count or at > len(numbers):
        raise ValueError(f'expected runs of {count} values, received others: the data are damaged or cut off')
    inside, edges = np.ones(at, bool), np.zeros(count + 1, np.int8)
    heads = np.asarray(heads)
    inside[heads] = inside[heads + 1] = False
    # Added one by one, for a run of none begins where it ends and another may begin there.
    np.add.at(edges, starts, 1)
    np.add.at(edges, ends, -1)
    coded = numbers[:at][inside]
    differences = (coded >> np.uint32(1)) ^ -(coded & np.uint32(1))
    values = np.zeros(count, np.uint16)
    values[edges[:-1].cumsum(dtype=np.int8).view(bool)] = differences.astype(np.uint16).cumsum(dtype=np.uint16)
    return values


def _rvl_numbers(data: bytes) -> np.ndarray:
    """Return the numbers of RVL data of whole words, uint32; by pieces, since their places take 60 times its memory."""
    octets = np.frombuffer(data, '<u4').astype('>u4').view(np.uint8)
    found, begin = [np.zeros(0, np.uint32)], 0  # in digits
    while begin < 2 * len(octets):
        piece = octets[begin // 2 : begin // 2 + _RVL_PIECE]
        digits = np.stack([piece >> 4, piece & 15], -1).ravel()[begin % 2 :]
        last = np.flatnonzero(digits < 8)
        if not len(last):
            break  # the end of the data, or no number of any use
        first = np.concatenate([[0], last[:-1] + 1])
        lengths = last - first + 1
        if lengths.max() > _RVL_DIGITS:
            raise ValueError(f'expected numbers of at most {_RVL_DIGITS} digits, received one of {lengths.max()}')
        numbers = (digits[first] & 7).astype(np.uint32)
        longer = np.flatnonzero(lengths > 1)
        for place in range(1, _RVL_DIGITS):
            numbers[longer] |= (digits[first[longer] + place] & 7).astype(np.uint32) << np.uint32(3 * place)
            longer = longer[lengths[longer] > place + 1]
        found.append(numbers)
        begin += int(last[-1]) + 1
    return np.concatenate(found)
