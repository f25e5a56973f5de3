"""Image messages to arrays. The one place that knows encodings.

Messages are anything with the fields of sensor_msgs/Image or CompressedImage; `data` may be bytes or an array of bytes.
"""

import sys
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np

from diffcut_ros.stream.video_packets import check_no_video

# Turns an image message into an array of another encoding: `CvBridge.imgmsg_to_cv2` or `convert_with_rosbags`.
Convert = Callable[[Any, str], np.ndarray]

# Pixels of an image that is decoded at most, unless the caller says otherwise: 150 MB as RGB.
MAX_PIXELS = 50_000_000


class _Layout(NamedTuple):
    """How the pixels of an encoding lie in a message."""

    dtype: str  # of one value
    channels: int  # values per pixel in a row
    to_rgb: str | int | None  # encoding's 8-bit name in both conversion libraries, or a code of cv2.cvtColor
    multiple_wh: tuple[int, int] = (1, 1)  # width and height are multiples of these
    smallest: int = 1  # width and height are at least this


def _bayer(dtype: str, pattern: str) -> _Layout:
    # A colour needs a neighbour on each side: below 3 x 3, OpenCV gives a black image.
    return _Layout(dtype, 1, f'bayer_{pattern}8', smallest=3)


# A conversion library does what both of them do alike. YUV is done here, since each knows other names of it and neither
# NV12, and so is the way from 16 to 8 bits, since one rounds and the other truncates.
ENCODINGS = {
    'rgb8': _Layout('u1', 3, 'rgb8'),
    'bgr8': _Layout('u1', 3, 'bgr8'),
    'rgba8': _Layout('u1', 4, 'rgba8'),
    'bgra8': _Layout('u1', 4, 'bgra8'),
    'mono8': _Layout('u1', 1, 'mono8'),
    'mono16': _Layout('u2', 1, 'mono8'),
    **{f'bayer_{pattern}8': _bayer('u1', pattern) for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')},
    **{f'bayer_{pattern}16': _bayer('u2', pattern) for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')},
    # Each old name of ROS with its new one.
    **dict.fromkeys(('yuv422', 'uyvy'), _Layout('u1', 2, cv2.COLOR_YUV2RGB_UYVY, (2, 1))),
    **dict.fromkeys(('yuv422_yuy2', 'yuyv'), _Layout('u1', 2, cv2.COLOR_YUV2RGB_YUYV, (2, 1))),
    # `height` rows of Y, then height / 2 rows of U and V in turn, all `step` bytes long.
    'nv12': _Layout('u1', 1, cv2.COLOR_YUV2RGB_NV12, (2, 2)),
    'nv21': _Layout('u1', 1, cv2.COLOR_YUV2RGB_NV21, (2, 2)),
    # OpenCV's types without a meaning, in the meaning that OpenCV and RViz give them.
    '8UC1': _Layout('u1', 1, 'mono8'),
    '8UC3': _Layout('u1', 3, 'bgr8'),
}

# REP 118: 16 bits are millimetres, floats are metres.
DEPTH_ENCODINGS = {
    '16UC1': _Layout('u2', 1, None),
    'mono16': _Layout('u2', 1, None),
    '32FC1': _Layout('f4', 1, None),
}

_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
# Frame headers of a JPEG: C0 to CF without the tables among them.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA
# Markers that have no place before the first scan: they carry no length.
_JPEG_BARE = {0x00, 0x01, *range(0xD0, 0xDA)}


def convert_with_rosbags(message: Any, encoding: str) -> np.ndarray:
    """Return an image message as an array of another encoding; raises ModuleNotFoundError without rosbags."""
    from rosbags.image import message_to_cvimage  # a ROS distribution has cv_bridge instead

    return message_to_cvimage(message, encoding)


def is_compressed(message: Any) -> bool:
    """Say whether an image message is a CompressedImage, which has a format in place of an encoding."""
    return hasattr(message, 'format')


def check_image(message: Any, max_pixels: int = MAX_PIXELS) -> None:
    """Check that an image message can be decoded, without touching its pixels.

    `data` has height * step bytes; for nv12 and nv21 height * step * 3 / 2, where height is the image's.

    Raises:
        ValueError: for an unknown encoding, an empty image, one of more than `max_pixels`, or sizes that do not agree;
            says what was expected and received.
    """
    _check_layout(message, ENCODINGS, max_pixels)


def decode_image(message: Any, max_pixels: int = MAX_PIXELS, convert: Convert = convert_with_rosbags) -> np.ndarray:
    """Return an image message as uint8 [H, W, 3] RGB, contiguous; an rgb8 image shares the memory of the message.

    16-bit values are scaled to 8 bits (divided by 257, rounded), alpha is dropped, and YUV is taken as cameras and
    OpenCV do: BT.601 with Y from 16 to 235.

    Raises:
        ValueError: see `check_image`.
    """
    check_image(message, max_pixels)
    layout = ENCODINGS[message.encoding]
    pixels = _pixels(message, layout)
    if isinstance(layout.to_rgb, int):
        return cv2.cvtColor(pixels, layout.to_rgb)
    return _to_rgb(_to_8_bits(pixels), layout.to_rgb, convert)


def decode_depth(message: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return a depth image as float32 [H, W] in metres, NaN where there is none (0, negative, infinite or NaN).

    Args:
        message: 16UC1 or mono16 in millimetres, or 32FC1 in metres.
        max_pixels: width * height at most.

    Raises:
        ValueError: as `check_image`, for these encodings.
    """
    _check_layout(message, DEPTH_ENCODINGS, max_pixels)
    layout = DEPTH_ENCODINGS[message.encoding]
    depth = _pixels(message, layout).astype(np.float32)
    if layout.dtype == 'u2':
        depth /= 1000
    with np.errstate(invalid='ignore'):  # a signalling NaN among the values
        depth[~((depth > 0) & (depth < np.inf))] = np.nan
    return depth


def check_compressed(message: Any, max_pixels: int = MAX_PIXELS) -> None:
    """Check that a compressed image is a complete JPEG or PNG of at most `max_pixels`, without decoding its pixels.

    Raises:
        ValueError: for depth, another format, data that are damaged or end too early, and a size out of range; says
            what was expected and received. Damage within the pixels of a JPEG cannot be told: it has no checksums.
    """
    check_no_video(message)
    source, _, codec = message.format.partition(';')
    if 'compressedDepth' in codec or source.strip() in ('16UC1', '32FC1'):
        raise ValueError(f'format: expected a JPEG or PNG picture, received {message.format!r}, which holds depth')
    data = bytes(message.data)
    # What the data are is said by the data: drivers write all kinds of formats.
    if data.startswith(_JPEG):
        kind, read_size = 'JPEG', _jpeg_size
    elif data.startswith(_PNG):
        kind, read_size = 'PNG', _png_size
    else:
        start = f'{len(data)} bytes that begin with {data[:8].hex(" ")}' if data else 'no data'
        raise ValueError(f'format {message.format!r}: expected a JPEG or PNG picture, received {start}')
    about = f'{kind} image of {len(data)} bytes'
    try:
        width, height = read_size(data)
    except ValueError as error:
        raise ValueError(f'{about}: {error}') from None
    _check_size(f'{about}, {width} x {height}', width, height, 3 if _mosaic(message.format) else 1, max_pixels)


def decode_compressed(
    message: Any, max_pixels: int = MAX_PIXELS, convert: Convert = convert_with_rosbags
) -> np.ndarray:
    """Return a compressed image as uint8 [H, W, 3] RGB, contiguous.

    JPEG and PNG of 8 or 16 bits, gray or colour; alpha is dropped, 16 bits are scaled as in `decode_image`. Colours are
    in the file's own order, whatever the message's format says. Pixels stay where the camera saw them: an orientation
    in EXIF data is ignored. A Bayer mosaic that image_transport wrote as PNG is turned into colours.

    Raises:
        ValueError: see `check_compressed`; also where the decoder gives up.
    """
    image = _to_8_bits(_decode_picture(message, max_pixels))
    return _to_rgb(image, 'bgr8' if image.ndim == 3 else _mosaic(message.format) or 'mono8', convert)


def decode_compressed_labels(message: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return a compressed label image as it was written: uint8 or uint16 [H, W].

    Raises:
        ValueError: see `check_compressed`; also for JPEG, which changes values, for colours, and where the decoder
            gives up.
    """
    if bytes(message.data[: len(_JPEG)]) == _JPEG:
        raise ValueError(f'format: expected PNG, received {message.format!r}, a JPEG, which changes labels')
    labels = _decode_picture(message, max_pixels)
    if labels.ndim != 2:
        raise ValueError(f'{message.format!r} image: expected one channel, received {labels.shape[2]}')
    return labels


def _decode_picture(message: Any, max_pixels: int) -> np.ndarray:
    check_compressed(message, max_pixels)
    data = np.frombuffer(message.data, np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(
            f'{message.format!r} image: expected data that can be decoded, received: {error.err}'
        ) from None
    if image is None:
        raise ValueError(
            f'{message.format!r} image of {len(data)} bytes: expected data that can be decoded, received others'
        )
    return image


def _check_layout(message: Any, encodings: dict[str, _Layout], max_pixels: int) -> None:
    if message.encoding not in encodings:
        which = ', which holds depth' if message.encoding in DEPTH_ENCODINGS else ''
        raise ValueError(f'encoding: expected one of {", ".join(encodings)}, received {message.encoding!r}{which}')
    layout = encodings[message.encoding]
    about = f'{message.encoding} image of {message.width} x {message.height}'
    _check_size(about, message.width, message.height, layout.smallest, max_pixels)
    multiple_w, multiple_h = layout.multiple_wh
    if message.width % multiple_w or message.height % multiple_h:
        sides = 'width' if multiple_h == 1 else 'width and height'
        raise ValueError(f'{about}: expected an even {sides}, received {message.width} x {message.height}')
    row = _row_bytes(message, layout)
    if message.step < row:
        raise ValueError(f'{about}: expected a step of at least {row} bytes, received {message.step}')
    expected, received = message.step * _rows(message, layout), len(message.data)
    if received != expected:
        raise ValueError(f'{about}, step {message.step}: expected {expected} bytes of data, received {received}')


def _check_size(about: str, width: int, height: int, smallest: int, max_pixels: int) -> None:
    if min(width, height) < smallest:
        raise ValueError(f'{about}: expected at least {smallest} x {smallest}')
    if width * height > max_pixels:
        raise ValueError(
            f'{about}: expected at most {max_pixels / 1e6:g} megapixels, received {width * height / 1e6:g}'
        )


def _row_bytes(message: Any, layout: _Layout) -> int:
    return message.width * layout.channels * np.dtype(layout.dtype).itemsize


def _rows(message: Any, layout: _Layout) -> int:
    # Only encodings with half the rows of colour need an even height.
    return message.height * 3 // 2 if layout.multiple_wh[1] == 2 else message.height


def _pixels(message: Any, layout: _Layout) -> np.ndarray:
    """The values of a checked message, [rows, W] or [rows, W, channels], in its own memory if 8 bits wide.

    Without the padding of the rows; those may lie apart from each other. In this machine's byte order.
    """
    rows = np.frombuffer(message.data, np.uint8).reshape(_rows(message, layout), message.step)
    rows = rows[:, : _row_bytes(message, layout)]
    if layout.dtype != 'u1':
        rows = rows.view(np.dtype(layout.dtype).newbyteorder('>' if message.is_bigendian else '<'))
        # Always a copy: an odd step leaves values at odd addresses, which OpenCV cannot take.
        rows = rows.astype(layout.dtype)
    return rows if layout.channels == 1 else rows.reshape(len(rows), message.width, layout.channels)


def _to_8_bits(array: np.ndarray) -> np.ndarray:
    return array if array.dtype == np.uint8 else cv2.convertScaleAbs(array, alpha=1 / 257)


def _to_rgb(pixels: np.ndarray, encoding: str, convert: Convert) -> np.ndarray:
    """Convert uint8 pixels of an encoding that both conversion libraries know to contiguous RGB."""
    pixels = np.ascontiguousarray(pixels)  # not every library honours padded rows
    if encoding == 'rgb8':
        return pixels
    message = SimpleNamespace(
        encoding=encoding,
        height=pixels.shape[0],
        width=pixels.shape[1],
        step=pixels.strides[0],
        is_bigendian=int(sys.byteorder == 'big'),  # or it would be swapped, if only byte by byte
        data=pixels,
    )
    return np.ascontiguousarray(convert(message, 'rgb8'))


def _mosaic(compressed_format: str) -> str | None:
    """The Bayer encoding that is still to be decoded in a compressed image of one channel, or None.

    image_transport names what it has converted an image to behind 'compressed': a JPEG of a Bayer image is gray
    ('bayer_rggb8; jpeg compressed mono8'), a PNG is the mosaic ('bayer_rggb8; png compressed ').
    """
    source, _, codec = compressed_format.partition(';')
    source = source.strip()
    if source.startswith('bayer_') and source in ENCODINGS and codec.split() == ['png', 'compressed']:
        return ENCODINGS[source].to_rgb
    return None


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from a JPEG's header.

    Raises:
        ValueError: the JPEG has no header, or no end. Decoders make gray of what is missing.
    """
    size = None
    at = len(_JPEG) - 1
    while True:
        if at + 9 > len(data):
            raise ValueError('expected a header, received its beginning only')
        marker = data[at + 1]
        if data[at] != 0xFF or marker in _JPEG_BARE:
            raise ValueError(f'expected a marker of the header at byte {at}, received {data[at : at + 2].hex(" ")}')
        if marker == 0xFF:  # markers may be preceded by any number of FF
            at += 1
            continue
        if marker in _JPEG_FRAMES:
            size = int.from_bytes(data[at + 7 : at + 9], 'big'), int.from_bytes(data[at + 5 : at + 7], 'big')
        if marker == _JPEG_SCAN:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    if size is None:
        raise ValueError('expected width and height before the pixels, received none')
    # Within the pixels, FF is always followed by another byte than D9. What follows the end mark is padding.
    if data.find(b'\xff\xd9', at) < 0:
        raise ValueError('expected an end mark, received none: the image is cut off')
    return size


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height from a PNG's header, after all its checksums.

    Raises:
        ValueError: the PNG is damaged or cut off.
    """
    view = memoryview(data)
    at = len(_PNG)
    while True:
        name = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], 'big')
        if at + 12 > len(data) or end > len(data):
            raise ValueError('expected an end mark, received none: the image is cut off')
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], 'big'):
            raise ValueError(f'expected another checksum of the part {name!r} at byte {at}: the image is damaged')
        if at == len(_PNG) and name != b'IHDR':
            raise ValueError(f'expected the part IHDR first, received {name!r}')
        if name == b'IEND':
            first = len(_PNG) + 8
            return int.from_bytes(data[first : first + 4], 'big'), int.from_bytes(data[first + 4 : first + 8], 'big')
        at = end
