"""Every encoding, with its colours, and however its rows lie in a message."""

import numpy as np
import pytest
from sensor_msgs.msg import Image

from diffcut_ros.analysis.causes import Causes
from diffcut_ros.node.images import decode_image
from diffcut_ros.stream.encodings import ENCODINGS
from diffcut_ros.stream.guesses import Guesses
from diffcut_ros.stream.images import check_image
from support.images import gray, image_message, mosaic

# Colours of whole 2 x 2 blocks, so that YUV with fewer colours than pixels loses none, in the whole range.
RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(16, 240, (4, 6, 3), np.uint8).repeat(2, 0).repeat(2, 1)
RGB[:2, :2], RGB[2:4, 2:4] = 0, 255
YUV_OF = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
PATTERNS = ('rggb', 'bggr', 'gbrg', 'grbg')


def yuv_planes() -> np.ndarray:
    """Y from 16 to 235, U and V from 16 to 240, each as large as the image, [3, H, W]."""
    yuv = RGB @ YUV_OF.T * [219 / 255, 224 / 255, 224 / 255] + [16, 128, 128]
    return np.rint(yuv).astype(np.uint8).transpose(2, 0, 1)


def packed(order: str) -> np.ndarray:
    y, u, v = yuv_planes()
    both = iter((y[:, ::2], y[:, 1::2]))
    planes = {'U': u[:, ::2], 'V': v[:, ::2]}
    return np.stack([next(both) if name == 'Y' else planes[name] for name in order], 2).reshape(*y.shape, 2)


def in_turn(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([first, second], 2).reshape(-1, RGB.shape[1])


def yuv_rows() -> dict[str, np.ndarray]:
    y, u, v = yuv_planes()
    half_u, half_v = u[:, ::2], v[:, ::2]
    few_u, few_v = half_u[::2], half_v[::2]
    flat_u, flat_v = (few.reshape(-1, RGB.shape[1]) for few in (few_u, few_v))
    rows = {
        'nv12': [y, in_turn(few_u, few_v)],
        'nv21': [y, in_turn(few_v, few_u)],
        'nv16': [y, in_turn(half_u, half_v)],
        'nv61': [y, in_turn(half_v, half_u)],
        'nv24': [y, in_turn(u, v)],
        'nv42': [y, in_turn(v, u)],
        'i420': [y, flat_u, flat_v],
        'yuv420p': [y, flat_u, flat_v],
        'yuv420': [y, flat_u, flat_v],
        'yv12': [y, flat_v, flat_u],
    }
    orders = {'yuv422': 'UYVY', 'uyvy': 'UYVY', 'yuv422_yuy2': 'YUYV', 'yuyv': 'YUYV', 'yvyu': 'YVYU'}
    return {name: np.concatenate(planes) for name, planes in rows.items()} | {
        name: packed(order) for name, order in orders.items()
    }


def rows_of(encoding: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of an encoding that show `RGB`, or its red, and what they show."""
    lower = encoding.lower()
    if encoding in yuv_rows():
        return yuv_rows()[encoding], RGB
    if lower.startswith('bayer_'):
        color = (200, 120, 40)
        rows = mosaic(lower[6:10], color, RGB.shape[:2]).astype(ENCODINGS[encoding].dtype)
        return rows * (257 if lower.endswith('16') else 1), np.full_like(RGB, color)
    layout = ENCODINGS[encoding]
    alpha = RANDOM.integers(0, 256, (*RGB.shape[:2], 1), np.uint8)
    values = {1: RGB[:, :, 0], 3: RGB, 4: np.dstack([RGB, alpha])}[layout.channels]
    if layout.channels > 1 and not lower.startswith('rgb'):  # blue, green, red
        values = values[:, :, [2, 1, 0, 3][: layout.channels]]
    kind, shown = np.dtype(layout.dtype), gray(RGB[:, :, 0]) if layout.channels == 1 else RGB
    bits = int(encoding[4:]) if encoding in ('mono10', 'mono12', 'mono14') else 8 * kind.itemsize
    if kind.kind == 'f':
        return (values / 255).astype(kind), shown
    if kind.kind == 'u':
        return (values * ((2**bits - 1) / 255)).astype(kind), shown
    return (values.astype(int) // 2).astype(kind), shown  # signed: a range of at least 255 values, so half as bright


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('big_endian', [False, True])
def test_colours(encoding, big_endian):
    rows, expected = rows_of(encoding)
    guesses = Guesses()
    decoded = decode_image(
        image_message(rows, encoding, height=RGB.shape[0], big_endian=big_endian), guesses=guesses
    ).astype(int)
    if 'S' in encoding:
        expected = expected // 2
    assert np.abs(decoded - expected).max() <= 3
    fills_its_range = ENCODINGS[encoding].dtype in ('u1', 'u2') and encoding not in ('mono10', 'mono12', 'mono14')
    assert bool(guesses.notes) != fills_its_range


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('size_wh', [(4, 4), (6, 4), (8, 10), (66, 50)])
def test_rows_however_they_lie(encoding, size_wh):
    """An image is the same whether rows are padded, and whatever follows them, or is wrong about their step."""
    width, height = size_wh
    layout = ENCODINGS[encoding]
    row, count = layout.row_bytes(width), layout.rows(height)
    # Few different values, near enough that neighbours are alike, as in a picture; no NaN among floats.
    values = np.add.outer(np.arange(count), np.arange(row // np.dtype(layout.dtype).itemsize)) % 100
    rows = values.astype(layout.dtype).view(np.uint8)
    planes = callable(layout.to_rgb)
    half_padding = 4 if layout.half_rows == 3 else 5

    def decode(data: np.ndarray | bytes, step: int, name: str = encoding) -> np.ndarray:
        message = Image(encoding=name, width=width, height=height, step=step, data=bytes(data))
        check_image(message)
        decoded = decode_image(message)
        assert decoded.flags.c_contiguous
        assert decoded.shape == (height, width, 3)
        return decoded

    def padded(by: int) -> np.ndarray:
        # Two rows of half the length, where planes have such: each is padded by half.
        if layout.half_rows == 3 and planes:
            luma, colors = rows[:height], rows[height:].reshape(-1, row // 2)
            colors = np.pad(colors, ((0, 0), (0, by // 2)), constant_values=77).reshape(-1, row + by)
            return np.concatenate([np.pad(luma, ((0, 0), (0, by)), constant_values=77), colors])
        if layout.half_rows == 6:
            luma, colors = rows[:height], rows[height:].reshape(height, 2 * row)
            colors = np.pad(colors, ((0, 0), (0, 2 * by)), constant_values=77).reshape(-1, row + by)
            return np.concatenate([np.pad(luma, ((0, 0), (0, by)), constant_values=77), colors])
        return np.pad(rows, ((0, 0), (0, by)), constant_values=77)

    expected = decode(rows, row)
    ways = {
        'padded': decode(padded(half_padding), row + half_padding),
        'padded, and more': decode(bytes(padded(half_padding)) + bytes(4099), row + half_padding),
        'a page': decode(bytes(rows) + bytes(4099), row),
        'no step': decode(rows, 0),
        'no step, and more': decode(bytes(rows) + bytes(4099), 0),
        'step in pixels': decode(rows, width),
        'step in values': decode(rows, width * layout.channels),
        'not padded, though step says so': decode(rows, row + half_padding),
        'capitals': decode(rows, row, encoding.upper()),
        'small letters': decode(rows, row, f' {encoding.lower()} '),
    }
    if not planes:
        ways['last row not padded'] = decode(bytes(padded(7))[:-7], row + 7)
    for way, decoded in ways.items():
        assert np.array_equal(decoded, expected), way


@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'i420', 'yv12', 'nv16', 'nv24'])
def test_planes_of_more_rows_than_the_image(encoding):
    """As of 1088 rows for 1080."""
    layout, (height, width) = ENCODINGS[encoding], RGB.shape[:2]
    rows, _ = rows_of(encoding)
    expected = decode_image(image_message(rows, encoding, height=height))
    tall = np.full((layout.rows(16), width), 99, np.uint8)
    parts = [rows[:height], rows[height:]]
    if encoding in ('i420', 'yv12'):  # two planes of colour
        half = len(rows[height:]) // 2
        parts = [rows[:height], rows[height : height + half], rows[height + half :]]
    at = 0
    for part in parts:
        tall[at : at + len(part)] = part
        at += len(part) * 16 // height
    decoded = decode_image(image_message(tall, encoding, height=height))
    assert decoded.shape == RGB.shape
    # The last row of colours may mix with that below.
    assert np.array_equal(decoded[:-2], expected[:-2])


@pytest.mark.parametrize(('width', 'row_pixels', 'rows'), [(410, 416, 320), (410, 448, 308), (300, 384, 312)])
@pytest.mark.parametrize(('encoding', 'dtype'), [('bgr8', 'u1'), ('mono8', 'u1'), ('mono16', 'u2')])
def test_buffer_with_rows_that_are_longer_than_step_says(width, row_pixels, rows, encoding, dtype):
    """Slanting stripes tell rows of another length."""
    shape = (308, width) if encoding.startswith('mono') else (308, width, 3)
    picture = 100 + 90 * np.sin(np.add.outer(np.arange(308) / 9, np.arange(width) / 5))
    picture = np.broadcast_to(picture.reshape(308, width, *[1] * (len(shape) - 2)), shape)
    picture = (picture * (257 if dtype == 'u2' else 1)).astype(dtype)
    buffer = np.zeros((rows, row_pixels, *shape[2:]), dtype)
    buffer[:308, :width] = picture
    message = image_message(picture, encoding)
    expected = decode_image(message)
    message.data = buffer.tobytes()
    guesses = Guesses()
    assert np.array_equal(decode_image(message, guesses=guesses), expected)
    assert any('rows of' in note and f'step is {message.step}' in note for note in guesses.notes.values())


def test_buffer_with_more_rows():
    message = image_message(np.broadcast_to(RGB[:1], RGB.shape), 'rgb8')
    message.data = bytes(message.data) + bytes(8 * message.step)
    guesses = Guesses()
    assert np.array_equal(decode_image(message, guesses=guesses), np.broadcast_to(RGB[:1], RGB.shape))
    assert not guesses.notes


@pytest.mark.parametrize(
    ('name', 'known'),
    [
        ('yuy2', 'yuyv'),
        ('YUYV422', 'yuyv'),
        ('uyvy422', 'uyvy'),
        ('gray', 'mono8'),
        ('grey', 'mono8'),
        ('mono', 'mono8'),
        ('Y8', 'mono8'),
        ('Y16', 'mono16'),
        ('y12', 'mono12'),
        ('rgb', 'rgb8'),
        ('RGB888', 'rgb8'),
        ('bgr24', 'bgr8'),
        ('BGR888', 'bgr8'),
        ('rggb8', 'bayer_rggb8'),
        ('GBRG16', 'bayer_gbrg16'),
        ('bayer_bggr12', 'bayer_bggr16'),
        ('grbg10', 'bayer_grbg16'),
    ],
)
def test_other_names_are_taken_and_told(name, known):
    rows, _ = rows_of(known)
    guesses = Guesses()
    decoded = decode_image(image_message(rows, name, height=RGB.shape[0]), guesses=guesses)
    assert np.array_equal(decoded, decode_image(image_message(rows, known, height=RGB.shape[0])))
    assert f'encoding {name!r} is taken as {known}' in guesses.notes.values()


def test_what_is_expected_is_said_whole_in_the_terminal():
    causes = Causes()
    with pytest.raises(ValueError, match='encoding: expected one of rgb8, ') as error:
        check_image(image_message(RGB, 'rgb565'))
    causes.add(f'/camera/color/image_raw: image ignored: {error.value}', 0)
    assert '...' not in causes.told()
    assert causes.told().endswith("received 'rgb565'")
