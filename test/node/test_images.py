import subprocess
import sys

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from diffcut_ros.node.images import decode_image, encode_image
from diffcut_ros.stream.images import check_image
from support.images import gray, image_message, mosaic

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (4, 6, 3), np.uint8)
OPAQUE = np.full((4, 6, 1), 255, np.uint8)
GRAY = RGB[:, :, 0]
# Colours of whole pixel pairs and 2 x 2 blocks, so that YUV with fewer colours than pixels loses none.
Y = RANDOM.integers(16, 236, (4, 6), np.uint8)
U, V = RANDOM.integers(16, 241, (2, 2, 3), np.uint8)
ROW_U, ROW_V = U.repeat(2, 0), V.repeat(2, 0)


def yuv_to_rgb(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """BT.601 with Y from 16 to 235, as its definition says, for u and v as large as y."""
    y, u, v = (plane.astype(float) - zero for plane, zero in ((y, 16), (u, 128), (v, 128)))
    y *= 255 / 219
    u, v = u * 255 / 112, v * 255 / 112
    rgb = y + 0.701 * v, y - 0.114 * 0.886 / 0.587 * u - 0.299 * 0.701 / 0.587 * v, y + 0.886 * u
    return np.clip(np.stack(rgb, 2), 0, 255)


@pytest.mark.parametrize(
    ('encoding', 'pixels', 'expected'),
    [
        ('rgb8', RGB, RGB),
        ('bgr8', RGB[:, :, ::-1], RGB),
        ('8UC3', RGB[:, :, ::-1], RGB),
        ('rgba8', np.concatenate([RGB, OPAQUE], 2), RGB),
        ('bgra8', np.concatenate([RGB[:, :, ::-1], OPAQUE // 3], 2), RGB),
        ('mono8', GRAY, gray(GRAY)),
        ('8UC1', GRAY, gray(GRAY)),
        ('mono16', GRAY.astype(np.uint16) * 257, gray(GRAY)),
    ],
)
@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('big_endian', [False, True])
def test_decoding(encoding, pixels, expected, padding, big_endian):
    decoded = decode_image(image_message(pixels, encoding, padding=padding, big_endian=big_endian))
    assert decoded.flags.c_contiguous
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, expected)


def test_16_bits_are_rounded():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(decode_image(image_message(values, 'mono16'))[:, :, 2], np.rint(values / 257))


def packed(order: str) -> np.ndarray:
    """Rows of 4:2:2 pixels whose bytes are in this order, such as 'YUYV', [4, 6, 2]."""
    planes = {'U': ROW_U, 'V': ROW_V}
    both = iter((Y[:, ::2], Y[:, 1::2]))
    return np.stack([next(both) if name == 'Y' else planes[name] for name in order], 2).reshape(4, 6, 2)


def semiplanar(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.concatenate([Y, np.stack([first, second], 2).reshape(2, 6)])


@pytest.mark.parametrize(
    ('encoding', 'rows'),
    [
        ('yuv422', packed('UYVY')),
        ('uyvy', packed('UYVY')),
        ('yuv422_yuy2', packed('YUYV')),
        ('yuyv', packed('YUYV')),
        ('nv12', semiplanar(U, V)),
        ('nv21', semiplanar(V, U)),
    ],
)
@pytest.mark.parametrize('padding', [0, 5])
def test_yuv(encoding, rows, padding):
    decoded = decode_image(image_message(rows, encoding, height=4, padding=padding))
    assert decoded.flags.c_contiguous
    assert decoded.dtype == np.uint8
    assert np.abs(decoded - yuv_to_rgb(Y, ROW_U.repeat(2, 1), ROW_V.repeat(2, 1))).max() < 2


BITS = {8: np.array(1, np.uint8), 16: np.array(257, np.uint16)}


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', BITS)
@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('big_endian', [False, True])
def test_bayer(pattern, bits, padding, big_endian):
    values = mosaic(pattern, (200, 120, 40)) * BITS[bits]
    decoded = decode_image(image_message(values, f'bayer_{pattern}{bits}', padding=padding, big_endian=big_endian))
    assert decoded.shape == (7, 8, 3)
    assert (decoded == [200, 120, 40]).all()


def test_rgb8_is_not_copied():
    message = image_message(RGB, 'rgb8')
    assert np.shares_memory(decode_image(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        (image_message(RGB[:, :, :2], '8UC2'), ['one of rgb8', 'nv12', '1, 3 or 4 channels', "received '8UC2'"]),
        (image_message(RGB, ''), ["received ''"]),
        (image_message(packed('YUYV')[:, :5], 'yuyv'), ['yuyv image of 5 x 4', 'even width']),
        (image_message(semiplanar(U, V)[:, :5], 'nv12', height=4), ['nv12 image of 5 x 4', 'even width and height']),
        (image_message(semiplanar(U, V), 'nv21', height=3), ['nv21 image of 6 x 3', 'even width and height']),
        (image_message(semiplanar(U, V)[:4], 'nv12', height=4), ['expected 36 bytes', 'received 24']),
        (image_message(semiplanar(U, V)[:4], 'nv12', height=4, padding=2), ['expected 48 bytes', 'received 32']),
        (image_message(semiplanar(U, V), 'i420', height=4, padding=3), ['expected an even step, received 9']),
        (image_message(mosaic('rggb', (1, 2, 3), (7, 2)), 'bayer_rggb8'), ['2 x 7', 'at least 3 x 3']),
        (Image(encoding='mono16', width=5, height=1, step=9, data=bytes(9)), ['at least 10 bytes', 'received 9']),
        (Image(encoding='rgb8', width=2**32 - 1, height=2**32 - 1), ['at most 50 megapixels', 'received 1.84467e+13']),
    ],
)
def test_errors(message, words):
    for function in (check_image, decode_image):
        with pytest.raises(ValueError, match='expected') as error:
            function(message)
        for word in words:
            assert word in str(error.value)


def test_limit():
    message = image_message(RGB, 'rgb8')
    assert decode_image(message, max_pixels=24).shape == RGB.shape
    with pytest.raises(
        ValueError, match=r'rgb8 image of 6 x 4: expected at most 2\.3e-05 megapixels, received 2\.4e-05'
    ):
        decode_image(message, max_pixels=23)


def test_encoding_keeps_header_and_has_no_padding():
    header = Header(frame_id='here')
    message = encode_image(RGB[:, ::2], 'rgb8', header)
    assert (message.header, message.height, message.width, message.step) == (header, 4, 3, 9)
    assert bytes(message.data) == RGB[:, ::2].tobytes()


def test_encoding_and_decoding():
    for array, encoding in ((RGB, 'rgb8'), (GRAY, 'mono8'), (GRAY.astype(np.uint16) * 257, 'mono16')):
        expected = RGB if encoding == 'rgb8' else gray(GRAY)
        assert np.array_equal(decode_image(encode_image(array, encoding, Header())), expected)


def test_a_cv_bridge_for_another_numpy_is_told_at_the_start(tmp_path):
    """As it is with NumPy 2 and a cv_bridge for NumPy 1: it imports, and fails with the first image."""
    package = tmp_path / 'cv_bridge'
    package.mkdir()
    (package / '__init__.py').write_text(
        'class CvBridge:\n'
        '    def imgmsg_to_cv2(self, message, encoding):\n'
        "        raise ImportError('numpy.core.multiarray failed to import')\n"
    )
    program = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); import diffcut_ros.node.images'
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f'ImportError: cv_bridge: expected one that is built for NumPy {np.__version__}')
    assert "pip install 'numpy<2'" in last
