"""How the pixels of each encoding lie in an image message."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from diffcut_ros.printable import quoted
from diffcut_ros.stream.guesses import Guesses


class Layout(NamedTuple):
    """How the pixels of an encoding lie in a message.

    Attributes:
        dtype: of one value.
        channels: values per pixel in a row.
        to_rgb: name of the encoding with 8 bits in both conversion libraries; or a code of cv2.cvtColor for the rows;
            or a function of the rows, uint8 [rows, step], and the width.
        multiple_wh: width and height are multiples of these.
        smallest: width and height are at least this.
        half_rows: rows of `step` bytes for two rows of the image; more than 2 where planes of colour follow.
    """

    dtype: str
    channels: int
    to_rgb: str | int | Callable[[np.ndarray, int], np.ndarray] | None
    multiple_wh: tuple[int, int] = (1, 1)
    smallest: int = 1
    half_rows: int = 2

    def rows(self, height: int) -> int:
        """Return the number of rows of `step` bytes of an image."""
        return height * self.half_rows // 2

    def row_bytes(self, width: int) -> int:
        """Return the bytes of a row, without what it is padded by."""
        return width * self.channels * np.dtype(self.dtype).itemsize


def _bayer(dtype: str, pattern: str) -> Layout:
    # A colour needs a neighbour on each side: below 3 x 3, OpenCV gives a black image.
    return Layout(dtype, 1, f'bayer_{pattern}8', smallest=3)


def _i420(swapped: bool, rows: np.ndarray, width: int) -> np.ndarray:
    """A plane of Y, then one of U and one of V (swapped: V, U) of half its width and height, and of half its step."""
    height, step = len(rows) * 2 // 3, rows.shape[1]
    colors = rows[height:].reshape(height, step // 2)[:, : width // 2]
    packed = np.concatenate([rows[:height, :width], colors.reshape(-1, width)])
    return cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_YV12 if swapped else cv2.COLOR_YUV2RGB_I420)


def _nv16(code: int, rows: np.ndarray, width: int) -> np.ndarray:
    """A plane of Y, then one of as many rows of U and V in turn, for each two pixels."""
    height = len(rows) // 2
    return cv2.cvtColor(np.dstack([rows[:height, :width], rows[height:, :width]]), code)


# BT.601 with Y from 16 to 235 and U, V from 16 to 240, as OpenCV has it for the other layouts.
_FROM_YUV = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]]) * [255 / 219, 255 / 224, 255 / 224]
_FROM_YUV = np.column_stack([_FROM_YUV, -_FROM_YUV @ [16, 128, 128]])


def _nv24(swapped: bool, rows: np.ndarray, width: int) -> np.ndarray:
    """A plane of Y, then one of U and V (swapped: V, U) in turn for each pixel, with twice its step."""
    height, step = len(rows) // 3, rows.shape[1]
    colors = rows[height:].reshape(height, 2 * step)[:, : 2 * width].reshape(height, width, 2)
    yuv = np.dstack([rows[:height, :width], colors[..., ::-1] if swapped else colors])
    return cv2.transform(yuv, _FROM_YUV)


def _partial(function: Callable[..., np.ndarray], first: Any) -> Callable[[np.ndarray, int], np.ndarray]:
    return lambda rows, width: function(first, rows, width)


# The types of OpenCV, in the meaning that OpenCV and RViz give them; for a meaning of two channels there is no rule.
_KINDS = {'8U': 'u1', '8S': 'i1', '16U': 'u2', '16S': 'i2', '32S': 'i4', '32F': 'f4', '64F': 'f8'}
_TYPES = {
    f'{kind}C{channels}': Layout(dtype, channels, meaning)
    for kind, dtype in _KINDS.items()
    for channels, meaning in ((1, 'mono8'), (3, 'bgr8'), (4, 'bgra8'))
}

# A conversion library does what both of them do alike. YUV is done here, since each knows other names of it and neither
# all, and so is the way from more bits to 8, since one rounds and the other truncates.
_NAMES = {
    'rgb8': Layout('u1', 3, 'rgb8'),
    'bgr8': Layout('u1', 3, 'bgr8'),
    'rgba8': Layout('u1', 4, 'rgba8'),
    'bgra8': Layout('u1', 4, 'bgra8'),
    'mono8': Layout('u1', 1, 'mono8'),
    'rgb16': Layout('u2', 3, 'rgb8'),
    'bgr16': Layout('u2', 3, 'bgr8'),
    'rgba16': Layout('u2', 4, 'rgba8'),
    'bgra16': Layout('u2', 4, 'bgra8'),
    **dict.fromkeys(('mono16', 'mono10', 'mono12', 'mono14'), Layout('u2', 1, 'mono8')),
    **{f'bayer_{pattern}8': _bayer('u1', pattern) for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')},
    **{f'bayer_{pattern}16': _bayer('u2', pattern) for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')},
    # Each old name of ROS with its new one.
    **dict.fromkeys(('yuv422', 'uyvy'), Layout('u1', 2, cv2.COLOR_YUV2RGB_UYVY, (2, 1))),
    **dict.fromkeys(('yuv422_yuy2', 'yuyv'), Layout('u1', 2, cv2.COLOR_YUV2RGB_YUYV, (2, 1))),
    'yvyu': Layout('u1', 2, cv2.COLOR_YUV2RGB_YVYU, (2, 1)),
    # `height` rows of Y, then height / 2 rows of U and V in turn, all `step` bytes long.
    'nv12': Layout('u1', 1, cv2.COLOR_YUV2RGB_NV12, (2, 2), half_rows=3),
    'nv21': Layout('u1', 1, cv2.COLOR_YUV2RGB_NV21, (2, 2), half_rows=3),
    'nv16': Layout('u1', 1, _partial(_nv16, cv2.COLOR_YUV2RGB_YUYV), (2, 1), half_rows=4),
    'nv61': Layout('u1', 1, _partial(_nv16, cv2.COLOR_YUV2RGB_YVYU), (2, 1), half_rows=4),
    'nv24': Layout('u1', 1, _partial(_nv24, False), half_rows=6),
    'nv42': Layout('u1', 1, _partial(_nv24, True), half_rows=6),
    **dict.fromkeys(('i420', 'yuv420p', 'yuv420'), Layout('u1', 1, _partial(_i420, False), (2, 2), half_rows=3)),
    'yv12': Layout('u1', 1, _partial(_i420, True), (2, 2), half_rows=3),
}
ENCODINGS = _NAMES | _TYPES

# REP 118: 16 bits are counts of `depth_scale`, in general millimetres; floats are metres.
DEPTH_ENCODINGS = {
    '16UC1': Layout('u2', 1, None),
    'mono16': Layout('u2', 1, None),
    '32FC1': Layout('f4', 1, None),
}

# What else encodings are called, where that can mean one only; mosaics and gray of fewer than 16 bits lie in 16.
_OTHER_NAMES = {
    **dict.fromkeys(('rgb', 'rgb24', 'rgb888'), 'rgb8'),
    **dict.fromkeys(('bgr', 'bgr24', 'bgr888'), 'bgr8'),
    **dict.fromkeys(('rgba', 'rgba32', 'rgba8888'), 'rgba8'),
    **dict.fromkeys(('bgra', 'bgra32', 'bgra8888'), 'bgra8'),
    **dict.fromkeys(('mono', 'gray', 'grey', 'gray8', 'grey8', 'y8', 'y800'), 'mono8'),
    **dict.fromkeys(('gray16', 'grey16', 'y16'), 'mono16'),
    **{f'{gray}{bits}': f'mono{bits}' for gray in ('gray', 'grey', 'y') for bits in (10, 12, 14)},
    **dict.fromkeys(('yuy2', 'yuyv422'), 'yuyv'),
    **dict.fromkeys(('uyvy422',), 'uyvy'),
    **dict.fromkeys(('yvyu422',), 'yvyu'),
    **{
        f'{prefix}{pattern}{bits}': f'bayer_{pattern}{8 if bits == 8 else 16}'
        for prefix in ('', 'bayer_')
        for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')
        for bits in (8, 10, 12, 14, 16)
        if f'{prefix}{pattern}{bits}' not in ENCODINGS
    },
}
# Some drivers write names in capitals.
_ANY_CASE = _OTHER_NAMES | {name.lower(): name for name in ENCODINGS}
# Names in messages: of several for one layout the first, of 8 and 16 bits that of 8, and one order of a mosaic.
_TOLD = [
    name
    for layout, name in {layout: name for name, layout in reversed(_NAMES.items())}.items()
    if not re.search('[a-z]{3}16$|bayer_(?!rggb)', name)
][::-1]

# Buffers of cameras are rounded up: a row to a multiple of so many pixels or bytes, their number to one of so many.
_ROUNDED = (8, 16, 32, 64, 128)
# Rows that tell whether each is like the one before.
_COMPARED = 64


def known_name(encoding: str) -> str:
    """Return the name under which the encoding of a message is known, by whatever case or name; else it as it is."""
    return _ANY_CASE.get(encoding.strip().lower(), encoding)


def check_size(about: str, width: int, height: int, smallest: int, max_pixels: int) -> None:
    """Check the size of an image before there is memory for its pixels.

    Raises:
        ValueError: says what was expected and received.
    """
    if min(width, height) < smallest:
        raise ValueError(f'{about}: expected at least {smallest} x {smallest}')
    if width * height > max_pixels:
        raise ValueError(
            f'{about}: expected at most {max_pixels / 1e6:g} megapixels, received {width * height / 1e6:g}'
        )


def check_layout(message: Any, encodings: dict[str, Layout], max_pixels: int) -> Layout:
    """Return the layout of an image message, after a check of its sizes that does not touch its pixels.

    Raises:
        ValueError: for an unknown encoding, an empty image, one of more than `max_pixels`, or rows that are not
            complete; says what was expected and received.
    """
    name = known_name(message.encoding)
    if name not in encodings:
        names = f'{", ".join(_TOLD)}, these with 16 bits, other Bayer orders, or 1, 3 or 4 channels such as 16UC1'
        names = names if encodings is ENCODINGS else ', '.join(encodings)
        raise ValueError(f'encoding: expected one of {names}, received {quoted(message.encoding)}')
    layout = encodings[name]
    about = f'{known_name(message.encoding)} image of {message.width} x {message.height}'
    check_size(about, message.width, message.height, layout.smallest, max_pixels)
    multiple_w, multiple_h = layout.multiple_wh
    if message.width % multiple_w or message.height % multiple_h:
        sides = 'width' if multiple_h == 1 else 'width and height'
        raise ValueError(f'{about}: expected an even {sides}, received {message.width} x {message.height}')
    row, rows, received = layout.row_bytes(message.width), layout.rows(message.height), len(message.data)
    step = _step(message, layout)
    if step < row:
        raise ValueError(f'{about}: expected a step of at least {row} bytes, received {message.step}')
    # The last row may end without what pads the others; not that of a plane, where others follow.
    if received < rows * step - (0 if callable(layout.to_rgb) else step - row):
        raise ValueError(f'{about}, step {step}: expected {rows * step} bytes of data, received {received}')
    if multiple_h == 2 and callable(layout.to_rgb) and step % 2:
        raise ValueError(f'{about}: expected an even step, received {step}')
    return layout


def _step(message: Any, layout: Layout) -> int:
    """Bytes from row to row: the message's step, or what its data say where that cannot be."""
    row, rows = layout.row_bytes(message.width), layout.rows(message.height)
    # Left out, or counted in pixels or in values.
    if message.step in (0, message.width, message.width * layout.channels) and len(message.data) >= row * rows:
        return row
    return row if len(message.data) == row * rows else message.step


def read_rows(message: Any, layout: Layout, guesses: Guesses) -> tuple[np.ndarray, int]:
    """Return the rows of a checked message, uint8 [rows, row bytes] in its own memory, and the image's height in them.

    Without the padding of the rows, unless the layout's function wants it; those may lie apart from each other. The
    height is larger than the image's where a buffer has planes of more rows.
    """
    row, step, size = layout.row_bytes(message.width), _step(message, layout), len(message.data)
    height = message.height
    if message.encoding.strip().lower() in _OTHER_NAMES:
        guesses.note(
            f'name {quoted(message.encoding)}',
            f'encoding {quoted(message.encoding)} is taken as {known_name(message.encoding)}',
        )
    if size > step * layout.rows(height):
        heights = sorted({-(-height // rows) * rows for rows in (1, 2, 4, *_ROUNDED)})
        if layout.half_rows != 2:
            height = next((one for one in heights if layout.rows(one) * step == size), height)
        elif step == row:
            step = _rounded_step(message, layout, heights)
    if step != message.step:
        about = f'{known_name(message.encoding)} image of {message.width} x {message.height}'
        guesses.note(
            f'step of {known_name(message.encoding)}', f'{about}: rows of {step} bytes, though step is {message.step}'
        )
    columns = step if callable(layout.to_rgb) else row
    return np.ndarray((layout.rows(height), columns), np.uint8, message.data, strides=(step, 1)), height


def read_values(message: Any, rows: np.ndarray, layout: Layout) -> np.ndarray:
    """Return the values of rows, [rows, W] or [rows, W, channels], in their own memory if 8 bits wide.

    In this machine's byte order.
    """
    if layout.dtype != 'u1':
        rows = rows.view(np.dtype(layout.dtype).newbyteorder('>' if message.is_bigendian else '<'))
        # Always a copy: an odd step leaves values at odd addresses, which OpenCV cannot take.
        rows = rows.astype(layout.dtype)
    return rows if layout.channels == 1 else rows.reshape(len(rows), message.width, layout.channels)


def _rounded_step(message: Any, layout: Layout, heights: list[int]) -> int:
    """The step of a buffer that is larger than its image, where the message says that rows are not padded.

    Some drivers say so although they are: then the buffer has the size of rounded sides, and its rows are alike.
    """
    row, size = layout.row_bytes(message.width), len(message.data)
    pixel = row // message.width
    steps = {-(-row // bytes_) * bytes_ for bytes_ in _ROUNDED}
    steps |= {-(-message.width // pixels) * pixels * pixel for pixels in _ROUNDED}
    candidates = [row, *sorted(step for step in steps - {row} if any(step * one == size for one in heights))]

    def unlike(step: int) -> float:
        rows = np.ndarray((message.height, row), np.uint8, message.data, strides=(step, 1))
        some = rows[len(rows) // 2 :][:_COMPARED].astype(np.int16)
        return float(np.abs(np.diff(some, axis=0)).sum())

    return min(candidates, key=unlike) if len(candidates) > 1 else row
