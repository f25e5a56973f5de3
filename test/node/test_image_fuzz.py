"""Damaged messages by the thousand: each is decoded, or is a ValueError; nothing else, and never much memory."""

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
from sensor_msgs.msg import CompressedImage, Image
from skimage import data as photographs

from diffcut_ros.node.images import (
    DEPTH_ENCODINGS,
    ENCODINGS,
    check_compressed,
    check_image,
    decode_compressed,
    decode_depth,
    decode_image,
)

MAX_PIXELS = 200_000
# As many pixels as the limit allows, at 16 bits and 3 channels, thrice.
MAX_BYTES = MAX_PIXELS * 6 * 3

# Names that are no encodings, or none of pictures.
WRONG_ENCODINGS = [
    '',
    'RGB8',
    'rgb8 ',
    'rgb',
    '8UC2',
    '8UC4',
    '64FC1',
    'nv24',
    'jpeg',
    'bayer_rgbg8',
    'h264',
    'ü\0',
    'x' * 99,
]
WRONG_FORMATS = [
    *(
        '',
        ';',
        'jpeg',
        'png',
        'JPG',
        'bmp',
        'bayer_rggb8; png compressed ',
        'bayer_grbg16; png compressed',
        'ü',
        'x' * 999,
    ),
    *('16UC1; compressedDepth png', '32FC1; compressedDepth', '16UC1; png compressed ', 'rgb8; jpeg compressed bgr8'),
]


def good_image(random: np.random.Generator) -> Image:
    """Return a good message: any encoding, a small size, padded or not, of random values."""
    encoding = str(random.choice([*ENCODINGS, *DEPTH_ENCODINGS]))
    layout = ENCODINGS.get(encoding) or DEPTH_ENCODINGS[encoding]
    width, height = (int(side) for side in random.integers(2, 9, 2) * 2)
    step = width * layout.channels * np.dtype(layout.dtype).itemsize + int(random.choice([0, 0, 1, 2, 7]))
    rows = height * 3 // 2 if encoding.startswith('nv') else height
    message = Image(encoding=encoding, width=width, height=height, step=step, data=random.bytes(step * rows))
    message.is_bigendian = int(random.choice([0, 1, 255]))
    return message


def damage_image(message: Image, random: np.random.Generator) -> None:
    sizes = [0, 1, 2, 3, message.width + 1, message.height, message.step // 2, 2**16, 2**31 - 1, 2**31, 2**32 - 1]
    data = bytes(message.data)
    match random.integers(9):
        case 0:
            message.width = int(random.choice(sizes))
        case 1:
            message.height = int(random.choice(sizes))
        case 2:
            message.step = int(random.choice(sizes))
        case 3:
            # The same bytes, as something else.
            message.width, message.height = message.height, message.width
        case 4:
            message.encoding = str(random.choice([*ENCODINGS, *DEPTH_ENCODINGS]))
        case 5:
            message.encoding = str(random.choice(WRONG_ENCODINGS))
        case 6:
            message.is_bigendian = int(random.integers(256))
        case 7:
            message.data = data[: random.integers(len(data) + 1)] + random.bytes(random.choice([0, 1, 5]))
        case 8:
            message.data = random.bytes(len(data))


def outcome(function, check, message) -> np.ndarray | None:
    """Return what a decoder returns, or None for a ValueError; anything else is raised."""
    problem = None
    try:
        result = function(message, max_pixels=MAX_PIXELS)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        assert 'expected' in problem
        return None
    # What has been decoded passes the check.
    if check is not None:
        check(message, max_pixels=MAX_PIXELS)
    return result


@pytest.fixture
def little_memory():
    """Fail where much more memory was held at once, at any time, than the largest image allowed needs."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MAX_BYTES


@pytest.mark.parametrize('seed', range(4))
def test_raw(seed, little_memory):
    random = np.random.default_rng(seed)
    counts = {'image': 0, 'no image': 0, 'depth': 0, 'no depth': 0}
    for _ in range(2000):
        message = good_image(random)
        for _ in range(random.choice([0, 1, 1, 2, 3])):
            damage_image(message, random)
        image = outcome(decode_image, check_image, message)
        if image is not None:
            assert image.shape == (message.height, message.width, 3)
            assert image.dtype == np.uint8
            assert image.flags.c_contiguous
        depth = outcome(decode_depth, None, message)
        if depth is not None:
            assert depth.shape == (message.height, message.width)
            assert depth.dtype == np.float32
            assert not (depth <= 0).any()
            assert not np.isinf(depth).any()
        counts['no image' if image is None else 'image'] += 1
        counts['no depth' if depth is None else 'depth'] += 1
    assert min(counts.values()) > 100, counts


def files() -> list[bytes]:
    """JPEG and PNG files of all kinds."""
    photo = photographs.astronaut()[:48, 200:264]
    alpha = np.dstack([photo, photo[:, :, 0]])

    def saved(image: PIL.Image.Image, **options) -> bytes:
        file = io.BytesIO()
        image.save(file, **options)
        return file.getvalue()

    def encoded(extension: str, image: np.ndarray, *options: int) -> bytes:
        return cv2.imencode(extension, image, options)[1].tobytes()

    return [
        encoded('.jpg', photo),
        encoded('.jpg', photo[:, :, 1]),
        encoded('.jpg', photo, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encoded('.jpg', photo, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        saved(PIL.Image.fromarray(photo), format='JPEG', quality=40, exif=b'Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0'),
        saved(PIL.Image.fromarray(photo).convert('CMYK'), format='JPEG'),
        encoded('.png', photo),
        encoded('.png', photo[:, :, 1]),
        encoded('.png', photo * np.uint16(257)),
        encoded('.png', photo[:, :, 1] * np.uint16(257)),
        encoded('.png', alpha),
        saved(PIL.Image.fromarray(photo).convert('P'), format='PNG', transparency=3),
        saved(PIL.Image.fromarray(photo).convert('1'), format='PNG'),
        saved(
            PIL.Image.fromarray(photo), format='PNG', save_all=True, append_images=[PIL.Image.fromarray(255 - photo)]
        ),
    ]


FILES = files()


def with_checksums(png: bytes) -> bytes:
    """Return a PNG whose checksums are right again, so that its damage gets past them to the decoder."""
    data = bytearray(png)
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], 'big')
        if end > len(data):
            break
        data[end - 4 : end] = struct.pack('>I', zlib.crc32(data[at + 4 : end - 4]))
        at = end
    return bytes(data)


def damage_file(file: bytes, random: np.random.Generator) -> bytes:
    data = bytearray(file)
    at = int(random.integers(len(data))) if len(data) else 0
    match random.integers(9):
        case 0 | 1:
            for _ in range(random.integers(1, 9)):
                if data:
                    data[random.integers(len(data))] ^= 1 << int(random.integers(8))
        case 2:  # in the header, where sizes are
            for _ in range(random.integers(1, 4)):
                if data:
                    data[random.integers(min(len(data), 200))] = int(random.integers(256))
        case 3:
            del data[at:]
        case 4:
            del data[at : at + int(random.integers(1, 40))]
        case 5:
            data[at:at] = random.bytes(int(random.integers(1, 40)))
        case 6:
            data[at : at + 40] = bytes(40)
        case 7:
            data += random.bytes(20)
        case 8:  # another size; sometimes too large, or nothing
            wide, high = (int(side) for side in random.choice([0, 1, 40, 60, 80, 500, 65535], 2))
            if data.startswith(b'\x89PNG'):
                data[16:24] = struct.pack('>II', wide, high)
            else:
                at = max(data.find(b'\xff\xc0'), data.find(b'\xff\xc2')) + 5
                data[at : at + 4] = struct.pack('>HH', high, wide)
    return with_checksums(bytes(data)) if data.startswith(b'\x89PNG') and random.random() < 0.7 else bytes(data)


def test_compressed(little_memory):
    random = np.random.default_rng(9)
    images = [cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR) for file in FILES]
    assert {image.shape for image in images} == {(48, 64, 3)}
    counts = {'image': 0, 'no image': 0, 'of another size': 0}
    for _ in range(5000):
        data = FILES[random.integers(len(FILES))]
        for _ in range(random.choice([0, 1, 1, 2])):
            data = damage_file(data, random)
        text = 'jpeg' if random.random() < 0.7 else str(random.choice(WRONG_FORMATS))
        image = outcome(decode_compressed, check_compressed, CompressedImage(format=text, data=data))
        if image is None:
            counts['no image'] += 1
            continue
        counts['image'] += 1
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.flags.c_contiguous
        assert image.shape[0] * image.shape[1] <= MAX_PIXELS
        if image.shape != (48, 64, 3):
            counts['of another size'] += 1
            size = struct.pack('>HH', *image.shape[:2]) if data[0] == 0xFF else struct.pack('>II', *image.shape[1::-1])
            assert size in data[:1000]
    assert min(counts['image'], counts['no image']) > 500, counts
    assert counts['of another size'] > 10, counts


@pytest.mark.parametrize('make', [bytes, lambda size: np.random.default_rng(size).bytes(size)])
def test_any_bytes_are_no_image(make):
    for size in (1, 2, 3, 4, 7, 8, 9, 12, 100, 10_000):
        for start in (b'', b'\xff\xd8', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'):
            assert outcome(decode_compressed, check_compressed, CompressedImage(data=start + make(size))) is None
