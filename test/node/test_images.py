import io
import struct
import subprocess
import sys
import tracemalloc
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
from sensor_msgs.msg import CompressedImage, Image
from skimage import data as photographs
from std_msgs.msg import Header

from diffcut_ros.node.images import decode_compressed, decode_image, encode_image
from diffcut_ros.stream.images import (
    ENCODINGS,
    check_compressed,
    check_image,
    decode_compressed_labels,
)

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (4, 6, 3), np.uint8)
OPAQUE = np.full((4, 6, 1), 255, np.uint8)
GRAY = RGB[:, :, 0]
# Colours of whole pixel pairs and 2 x 2 blocks, so that YUV with fewer colours than pixels loses none.
Y = RANDOM.integers(16, 236, (4, 6), np.uint8)
U, V = RANDOM.integers(16, 241, (2, 2, 3), np.uint8)
ROW_U, ROW_V = U.repeat(2, 0), V.repeat(2, 0)


def image_message(values: np.ndarray, encoding: str, height: int | None = None, padding=0, big_endian=False) -> Image:
    """Return a message of rows of values, [rows, ...]."""
    values = values.astype(values.dtype.newbyteorder('>' if big_endian else '<'))
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(encoding=encoding, height=height or len(values), width=values.shape[1], step=rows.shape[1])
    message.is_bigendian = int(big_endian)
    message.data = rows.tobytes()
    return message


def gray(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, 2)


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


def mosaic(pattern: str, rgb: tuple[int, int, int], shape=(7, 8)) -> np.ndarray:
    """What a sensor with this pattern sees of one colour."""
    cell = np.array([rgb['rgb'.index(name)] for name in pattern], np.uint8).reshape(2, 2)
    return np.tile(cell, (4, 4))[: shape[0], : shape[1]]


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


def test_every_encoding_is_tested():
    tested = {'rgb8', 'bgr8', '8UC3', 'rgba8', 'bgra8', 'mono8', '8UC1', 'mono16', 'nv12', 'nv21'}
    tested |= {'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'}
    tested |= {f'bayer_{pattern}{bits}' for pattern in ('rggb', 'bggr', 'gbrg', 'grbg') for bits in BITS}
    assert tested == set(ENCODINGS)


def test_rgb8_is_not_copied():
    message = image_message(RGB, 'rgb8')
    assert np.shares_memory(decode_image(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    ('message', 'words'),
    [
        (image_message(RGB, '8UC4'), ["received '8UC4'"]),
        (image_message(GRAY.astype(np.uint16), '16UC1'), ['expected one of rgb8', "received '16UC1'", 'holds depth']),
        (image_message(GRAY.astype(np.float32), '32FC1'), ["received '32FC1'", 'holds depth']),
        (image_message(packed('YUYV')[:, :5], 'yuyv'), ['yuyv image of 5 x 4', 'even width']),
        (image_message(semiplanar(U, V)[:, :5], 'nv12', height=4), ['nv12 image of 5 x 4', 'even width and height']),
        (image_message(semiplanar(U, V), 'nv21', height=3), ['nv21 image of 6 x 3', 'even width and height']),
        (image_message(semiplanar(U, V)[:4], 'nv12', height=4), ['expected 36 bytes', 'received 24']),
        (image_message(semiplanar(U, V)[:4], 'nv12', height=4, padding=2), ['expected 48 bytes', 'received 32']),
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


def compressed_message(data: bytes, text: str) -> CompressedImage:
    return CompressedImage(format=text, data=data)


def encoded(image: np.ndarray, extension: str, *options: int) -> bytes:
    """Return a file of an image whose colours, if any, are RGB or RGBA."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    return cv2.imencode(extension, image, options)[1].tobytes()


def saved(image: PIL.Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


PHOTO = photographs.astronaut()[:120, 150:310]
PHOTO_GRAY = PHOTO[:, :, 1]
PHOTO_ALPHA = np.dstack([PHOTO, PHOTO_GRAY])
JPEG = encoded(PHOTO, '.jpg', cv2.IMWRITE_JPEG_QUALITY, 95)
PNG = encoded(PHOTO, '.png')


@pytest.mark.parametrize(
    ('text', 'data', 'expected'),
    [
        ('png', PNG, PHOTO),
        ('rgb8; png compressed bgr8', PNG, PHOTO),
        ('rgba8; png compressed bgr8', encoded(PHOTO_ALPHA, '.png'), PHOTO),
        ('mono8; png compressed ', encoded(PHOTO_GRAY, '.png'), gray(PHOTO_GRAY)),
        ('mono16; png compressed ', encoded(PHOTO_GRAY * np.uint16(257), '.png'), gray(PHOTO_GRAY)),
        ('bgr16; png compressed bgr16', encoded(PHOTO * np.uint16(257), '.png'), PHOTO),
        ('png', encoded(PHOTO_ALPHA * np.uint16(257), '.png'), PHOTO),
        ('png', saved(PIL.Image.fromarray(PHOTO_GRAY).convert('LA'), 'PNG'), gray(PHOTO_GRAY)),
        ('png', saved(PIL.Image.fromarray(PHOTO_GRAY).convert('P'), 'PNG'), gray(PHOTO_GRAY)),
        ('png', saved(PIL.Image.fromarray(PHOTO_GRAY > 99), 'PNG'), gray((PHOTO_GRAY > 99) * np.uint8(255))),
    ],
)
def test_png(text, data, expected):
    decoded = decode_compressed(compressed_message(data, text))
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert np.array_equal(decoded, expected)


# An EXIF header that says: turn by 90 degrees to show.
TURNED = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'


@pytest.mark.parametrize(
    ('text', 'data', 'expected'),
    [
        ('jpeg', JPEG, PHOTO),
        ('', JPEG, PHOTO),
        ('png', JPEG, PHOTO),
        ('rgb8; jpeg compressed bgr8', JPEG, PHOTO),
        ('rgb8; jpeg compressed rgb8', JPEG, PHOTO),
        ('jpg', encoded(PHOTO, '.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1), PHOTO),
        ('jpg', encoded(PHOTO, '.jpg', cv2.IMWRITE_JPEG_RST_INTERVAL, 4), PHOTO),
        ('jpeg', JPEG + bytes(1000), PHOTO),
        ('jpeg', b'\xff\xd8' + b'\xff' * 5 + JPEG[2:], PHOTO),
        ('jpeg', saved(PIL.Image.fromarray(PHOTO), 'JPEG', quality=95, exif=TURNED), PHOTO),
        ('mono8; jpeg compressed mono8', encoded(PHOTO_GRAY, '.jpg'), gray(PHOTO_GRAY)),
    ],
)
def test_jpeg(text, data, expected):
    decoded = decode_compressed(compressed_message(data, text))
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < 6
    # A mean over the image tells swapped colours, which a pixel does not.
    assert np.abs(decoded.mean((0, 1)) - expected.mean((0, 1))).max() < 1.5


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_compressed_labels_keep_their_values(kind):
    labels = np.arange(48 * 64).reshape(48, 64).astype(kind)
    decoded = decode_compressed_labels(compressed_message(encoded(labels, '.png'), 'mono16; png compressed '))
    assert decoded.dtype == kind
    assert np.array_equal(decoded, labels)


@pytest.mark.parametrize(
    ('data', 'text'),
    [
        (JPEG, 'expected PNG'),
        (encoded(PHOTO, '.png'), 'expected one channel, received 3'),
        (encoded(PHOTO_GRAY, '.png')[:100], 'expected an end mark'),
    ],
)
def test_what_is_no_compressed_label_image(data, text):
    with pytest.raises(ValueError, match=text):
        decode_compressed_labels(compressed_message(data, 'mono8; png compressed '))


def test_jpeg_of_a_mosaic_is_gray_already():
    decoded = decode_compressed(compressed_message(encoded(PHOTO_GRAY, '.jpg'), 'bayer_rggb8; jpeg compressed mono8'))
    assert np.array_equal(decoded, gray(decoded[:, :, 0]))


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', BITS)
def test_png_of_a_mosaic(pattern, bits):
    data = encoded(mosaic(pattern, (200, 120, 40)) * BITS[bits], '.png')
    decoded = decode_compressed(compressed_message(data, f'bayer_{pattern}{bits}; png compressed '))
    assert (decoded == [200, 120, 40]).all()


def png_of(width: int, height: int) -> bytes:
    """Return a PNG with correct checksums that claims to be this large, and holds nothing."""

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return PNG[:8] + part(b'IHDR', header) + part(b'IDAT', zlib.compress(b'')) + part(b'IEND', b'')


def jpeg_of(width: int, height: int) -> bytes:
    at = JPEG.index(b'\xff\xc0') + 5
    return JPEG[:at] + struct.pack('>HH', height, width) + JPEG[at + 4 :]


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'', ['JPEG or PNG', 'received no data']),
        (b'GIF89a' + bytes(99), ['JPEG or PNG', 'received 105 bytes that begin with 47 49 46']),
        (JPEG[:2], ['received 2 bytes that begin with ff d8']),
        (JPEG[:100], ['JPEG image of 100 bytes', 'expected a header']),
        (JPEG[: len(JPEG) // 2], ['JPEG image of', 'expected an end mark', 'cut off']),
        (JPEG[:-2], ['expected an end mark', 'cut off']),
        (JPEG[:20] + b'\x00\x00' + JPEG[22:], ['expected a marker of the header at byte 20', 'received 00 00']),
        (jpeg_of(0, 120), ['0 x 120', 'at least 1 x 1']),
        (jpeg_of(65000, 65000), ['65000 x 65000', 'at most 50 megapixels', 'received 4225']),
        (PNG[:8], ['PNG image of 8 bytes', 'cut off']),
        (PNG[: len(PNG) // 2], ['PNG image of', 'cut off']),
        (PNG[:-12], ['expected an end mark', 'cut off']),
        (PNG[:1000] + bytes([PNG[1000] ^ 1]) + PNG[1001:], ["part b'IDAT'", 'damaged']),
        (PNG[:20] + bytes([PNG[20] ^ 1]) + PNG[21:], ["part b'IHDR'", 'damaged']),
        (PNG[:8] + PNG[33:], ['IHDR first']),
        (png_of(60000, 60000), ['60000 x 60000', 'at most 50 megapixels', 'received 3600']),
        (png_of(0, 5), ['0 x 5', 'at least 1 x 1']),
    ],
)
def test_compressed_errors(data, words):
    for function in (check_compressed, decode_compressed):
        tracemalloc.start()
        with pytest.raises(ValueError, match='expected') as error:
            function(compressed_message(data, 'jpeg'))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        for word in words:
            assert word in str(error.value)
        assert peak_bytes < 1e6


@pytest.mark.parametrize('data', [png_of(64, 64), JPEG[:700].partition(b'\xff\xc0')[0] + JPEG[-900:]])
def test_what_the_decoder_refuses_is_an_error(data):
    with pytest.raises(ValueError, match='expected'):
        decode_compressed(compressed_message(data, 'png'))


@pytest.mark.parametrize(
    'text',
    ['16UC1; compressedDepth png', '32FC1; compressedDepth', '16UC1; compressedDepth rvl', '16UC1; png compressed '],
)
def test_compressed_depth_is_refused(text):
    data = bytes(12) + encoded(PHOTO_GRAY.astype(np.uint16), '.png')
    with pytest.raises(ValueError, match=f"expected a JPEG or PNG picture, received '{text}', which holds depth"):
        decode_compressed(compressed_message(data, text))


def test_limit_of_compressed_images():
    for data in (JPEG, PNG):
        assert decode_compressed(compressed_message(data, 'jpeg'), max_pixels=PHOTO_GRAY.size).shape == PHOTO.shape
        with pytest.raises(ValueError, match='160 x 120: expected at most'):
            decode_compressed(compressed_message(data, 'jpeg'), max_pixels=PHOTO_GRAY.size - 1)


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
