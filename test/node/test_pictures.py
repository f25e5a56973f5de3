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
from sensor_msgs.msg import CompressedImage
from skimage import data as photographs

from diffcut_ros.node.images import decode_compressed
from diffcut_ros.stream.images import check_compressed, decode_compressed_labels
from support.images import gray, mosaic

BITS = {8: np.array(1, np.uint8), 16: np.array(257, np.uint16)}


def compressed_message(data: bytes, text: str = 'jpeg') -> CompressedImage:
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
PROGRESSIVE = encoded(PHOTO, '.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
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
        ('jpg', PROGRESSIVE, PHOTO),
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
        (b'', ['JPEG, PNG, WebP, TIFF', 'received no data']),
        (b'GIF89a' + bytes(99), ['GIF image of 105 bytes', 'cut off or damaged']),
        (
            b'....ftypheic' + bytes(99),
            ['JPEG, PNG, WebP, TIFF', 'received HEIC, 111 bytes that begin with 2e 2e 2e 2e'],
        ),
        (b'\xff\x4f\xff\x51' + bytes(99), ['JPEG, PNG, WebP, TIFF', 'received JPEG 2000, 103 bytes that begin with']),
        (b'what?', ['AVIF', 'received 5 bytes that begin with 77 68 61 74 3f']),
        (JPEG[:2], ['JPEG image of 2 bytes', 'expected a header']),
        (JPEG[:100], ['JPEG image of 100 bytes', 'expected a header']),
        (PROGRESSIVE[: len(PROGRESSIVE) // 2], ['JPEG image of', 'expected an end mark', 'cut off']),
        (PROGRESSIVE[:-2], ['expected an end mark', 'cut off']),
        (JPEG[:20] + JPEG[-2:] + JPEG[20:], ['expected a marker of the header at byte 20', 'received ff d9']),
        (jpeg_of(0, 120), ['0 x 120', 'at least 1 x 1']),
        (jpeg_of(65000, 65000), ['65000 x 65000', 'at most 50 megapixels', 'received 4225']),
        (PNG[:8], ['PNG image of 8 bytes', 'cut off']),
        (PNG[: len(PNG) // 2], ['PNG image of', 'cut off']),
        (PNG[:-13], ['expected an end mark', 'cut off']),
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
    ['16UC1; compressedDepth png', '32FC1; compressedDepth', '16UC1; compressedDepth rvl'],
)
def test_compressed_depth_is_refused(text):
    data = bytes(12) + encoded(PHOTO_GRAY.astype(np.uint16), '.png')
    with pytest.raises(ValueError, match=f"expected a picture, JPEG, .*, received '{text}', which holds depth"):
        decode_compressed(compressed_message(data, text))


def test_limit_of_compressed_images():
    for data in (JPEG, PNG):
        assert decode_compressed(compressed_message(data, 'jpeg'), max_pixels=PHOTO_GRAY.size).shape == PHOTO.shape
        with pytest.raises(ValueError, match='160 x 120: expected at most'):
            decode_compressed(compressed_message(data, 'jpeg'), max_pixels=PHOTO_GRAY.size - 1)


def without(data: bytes, marker: int) -> bytes:
    """Return a JPEG without the parts of its header that have a marker."""
    at, kept = 2, data[:2]
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
        kept += data[at:end] if data[at + 1] != marker else b''
        at = end
    return kept + data[at:]


TABLES = JPEG.index(b'\xff\xdb')


@pytest.mark.parametrize(
    'data',
    [
        JPEG[:TABLES] + b'\xff\x00\x00\x02' + JPEG[TABLES:],
        JPEG[:TABLES] + bytes(7) + JPEG[TABLES:],
        JPEG[:TABLES] + b'\x12\xff\x00\xff\xff' + JPEG[TABLES:],
        JPEG[:TABLES] + b'\xff\xd0' + JPEG[TABLES:],
        JPEG[:2] + b'\0' + JPEG[2:],
        bytes(2) + JPEG,
        b'a header of 20 bytes' + JPEG,
        JPEG[:-2],
        JPEG + bytes(700),
        JPEG + b'\xff\xd8\xff\xd9',
        without(JPEG, 0xC4),
    ],
)
def test_jpeg_as_viewers_show_it(data, capfd):
    assert np.array_equal(decode_compressed(compressed_message(data)), decode_compressed(compressed_message(JPEG)))
    assert capfd.readouterr().err == ''  # where decoders complain


def test_jpeg_that_is_cut_off_is_an_error_or_nearly_whole():
    whole, errors, pictures = decode_compressed(compressed_message(JPEG)), [], 0
    for end in [*range(len(JPEG) // 2, len(JPEG) - 200, 97), *range(len(JPEG) - 60, len(JPEG))]:
        for tail in (b'', b'\xff\xd9'):
            try:
                cut = decode_compressed(compressed_message(JPEG[:end] + tail))
            except ValueError as error:
                errors.append(str(error))
            else:
                assert np.array_equal(cut[:-17], whole[:-17])
                assert np.array_equal(cut[:, :-17], whole[:, :-17])
                pictures += 1
    assert all('expected data for all pixels' in error for error in errors)
    assert len(errors) > 100
    assert pictures > 4


def test_jpeg_that_lacks_bytes_in_its_middle_is_an_error():
    begin, noticed = len(JPEG) // 4, 0
    for at in range(begin, begin + 40 * 60, 60):
        try:
            decode_compressed(compressed_message(JPEG[:at] + JPEG[at + 500 :]))
        except ValueError:
            noticed += 1
    assert noticed > 35


@pytest.mark.parametrize('value', [127, 128, 129])
def test_jpeg_that_ends_gray_is_whole(value):
    photo = PHOTO.copy()
    photo[-40:, -60:] = value
    decoded = decode_compressed(compressed_message(encoded(photo, '.jpg')))
    assert (decoded[-8:, -8:] == value).all()


PICTURES = {
    'webp': encoded(PHOTO, '.webp', cv2.IMWRITE_WEBP_QUALITY, 95),
    'webp, with alpha': saved(PIL.Image.fromarray(PHOTO_ALPHA), 'WEBP', quality=95),
    'webp, lossless': saved(PIL.Image.fromarray(PHOTO), 'WEBP', lossless=True),
    'rgb8; tiff compressed bgr8': encoded(PHOTO, '.tiff'),
    'rgb16; tiff compressed bgr16': encoded(PHOTO * np.uint16(257), '.tiff'),
    'tiff, by Pillow': saved(PIL.Image.fromarray(PHOTO), 'TIFF'),
    'avif': saved(PIL.Image.fromarray(PHOTO), 'AVIF', quality=95),
    'bmp': saved(PIL.Image.fromarray(PHOTO), 'BMP'),
}
GRAY_PICTURES = {
    'mono8; tiff compressed ': encoded(PHOTO_GRAY, '.tiff'),
    'mono16; tiff compressed ': encoded(PHOTO_GRAY * np.uint16(257), '.tiff'),
    '32FC1; tiff compressed ': encoded(PHOTO_GRAY / np.float32(255), '.tiff'),
    '16UC1; png compressed ': encoded(PHOTO_GRAY * np.uint16(257), '.png'),
    'bmp, with a palette': saved(PIL.Image.fromarray(PHOTO_GRAY), 'BMP'),
}


@pytest.mark.parametrize('text', [*PICTURES, *GRAY_PICTURES])
def test_other_pictures(text):
    expected = PHOTO if text in PICTURES else gray(PHOTO_GRAY)
    message = compressed_message((PICTURES | GRAY_PICTURES)[text], text)
    check_compressed(message, max_pixels=PHOTO_GRAY.size)
    decoded = decode_compressed(message, max_pixels=PHOTO_GRAY.size)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert np.abs(decoded.astype(int) - expected).mean() < 6
    assert np.abs(decoded.mean((0, 1)) - expected.mean((0, 1))).max() < 1.5


def number(value: int, size: int, order: str = 'little') -> bytes:
    return value.to_bytes(size, order)


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


TIFF_HEADER = b'II*\0' + struct.pack('<IH', 8, 2) + struct.pack('<HHIIHHII', 256, 4, 1, 9000, 257, 4, 1, 9000)
AVIF_SIZE = PICTURES['avif'].index(b'ispe') + 8
HUGE = {
    'webp': replaced(PICTURES['webp'], 26, number(9000, 2) * 2),
    'webp, lossless': replaced(PICTURES['webp, lossless'], 21, number(8999 | 8999 << 14, 4)),
    'webp, with alpha': replaced(PICTURES['webp, with alpha'], 24, number(8999, 3) * 2),
    'tiff': TIFF_HEADER,
    'avif': replaced(PICTURES['avif'], AVIF_SIZE, number(9000, 4, 'big') * 2),
    'bmp': replaced(PICTURES['bmp'], 18, number(9000, 4) * 2),
}


@pytest.mark.parametrize('kind', HUGE)
def test_a_size_is_checked_before_there_is_memory_for_it(kind):
    for function in (check_compressed, decode_compressed):
        tracemalloc.start()
        with pytest.raises(ValueError, match='9000 x 9000: expected at most 50 megapixels, received 81'):
            function(compressed_message(HUGE[kind]))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak_bytes < 1e6


@pytest.mark.parametrize('text', [*PICTURES, *GRAY_PICTURES])
def test_half_a_picture_is_an_error(text):
    data = (PICTURES | GRAY_PICTURES)[text]
    with pytest.raises(ValueError, match='expected'):
        decode_compressed(compressed_message(data[: len(data) // 2]))


def test_a_picture_for_pillow_without_pillow(tmp_path):
    (tmp_path / 'picture').write_bytes(PICTURES['avif'])
    program = f"""
import sys
from types import SimpleNamespace
sys.modules['PIL'] = None
from diffcut_ros.stream.images import check_compressed
check_compressed(SimpleNamespace(format='avif', data=open({str(tmp_path / 'picture')!r}, 'rb').read()))
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert 'pictures in AVIF: expected the package pillow, found none' in last
    assert 'pip install pillow' in last


GIF, PPM = saved(PIL.Image.fromarray(PHOTO), 'GIF'), saved(PIL.Image.fromarray(PHOTO), 'PPM')
AVIF, WEBP = saved(PIL.Image.fromarray(PHOTO), 'AVIF'), encoded(PHOTO, '.webp')


def test_gif_and_ppm():
    assert np.array_equal(decode_compressed(compressed_message(PPM, 'ppm')), PHOTO)
    assert np.abs(decode_compressed(compressed_message(GIF, 'gif')).astype(int) - PHOTO).mean() < 8
    pgm = saved(PIL.Image.fromarray(PHOTO_GRAY), 'PPM')
    assert np.array_equal(decode_compressed(compressed_message(pgm, 'pgm')), gray(PHOTO_GRAY))


@pytest.mark.parametrize('data', [PNG, JPEG, WEBP, AVIF, GIF], ids=['png', 'jpeg', 'webp', 'avif', 'gif'])
@pytest.mark.parametrize('zeros', [1, 3, 4, 13, 300])
def test_zeros_before_a_picture(data, zeros):
    expected = decode_compressed(compressed_message(data))
    assert np.array_equal(decode_compressed(compressed_message(bytes(zeros) + data)), expected)


@pytest.mark.parametrize('lost', [1, 4, 11, 12])
def test_a_png_that_lacks_its_end_mark_only(lost):
    assert np.array_equal(decode_compressed(compressed_message(PNG[:-lost])), PHOTO)


def test_a_png_whose_parts_end_before_its_pixels_is_cut():
    """Between two parts of its pixels, where no part is incomplete."""
    noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    data = encoded(noise, '.png')
    at = data.rindex(b'IDAT') - 4
    assert data.count(b'IDAT') > 1
    with pytest.raises(ValueError, match='the image is cut off'):
        decode_compressed(compressed_message(data[:at]))


def test_a_cut_picture_is_told_without_an_address():
    with pytest.raises(ValueError, match='the image is cut off or damaged') as error:
        decode_compressed(compressed_message(AVIF[:-300]))
    assert '0x' not in str(error.value)


@pytest.mark.filterwarnings('error')
def test_pillow_warns_of_no_size_that_is_refused():
    data = replaced(PICTURES['bmp'], 18, number(12_000, 4) + number(9_000, 4))
    with pytest.raises(ValueError, match='12000 x 9000: expected at most 50 megapixels, received 108'):
        check_compressed(compressed_message(data, 'bmp'))


@pytest.mark.parametrize('shape', [(96, 128), (96, 128, 3)])
def test_nothing_is_printed_for_a_good_jpeg_of_gray(capfd, shape):
    flat = np.full(shape, 128, np.uint8)
    assert (decode_compressed(compressed_message(encoded(flat, '.jpg'))) == 128).all()
    assert capfd.readouterr().err == ''
