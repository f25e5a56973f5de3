"""Image messages, good and damaged, of every encoding and file type."""

import io
import struct
import zlib

import cv2
import numpy as np
import PIL.Image
from sensor_msgs.msg import CompressedImage, Image
from skimage import data as photographs

from diffcut_ros.stream.encodings import DEPTH_ENCODINGS, ENCODINGS

# Names that are no encodings, or none of pictures.
WRONG_ENCODINGS = [
    '',
    'RGB 8',
    'rgb565',
    '8UC2',
    '8UC5',
    '16FC1',
    'nv20',
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
    encoding = str(random.choice(list(ENCODINGS if random.random() < 0.8 else DEPTH_ENCODINGS)))
    layout = ENCODINGS[encoding]
    width, height = (int(side) for side in random.integers(2, 9, 2) * 2)
    step = layout.row_bytes(width) + int(random.choice([0, 0, 1, 2, 7]))
    rows = layout.rows(height)
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


def files() -> list[bytes]:
    """Files of all kinds."""
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
        encoded('.webp', photo),
        saved(PIL.Image.fromarray(alpha), format='WEBP', lossless=True),
        encoded('.tiff', photo),
        encoded('.tiff', photo[:, :, 1] / np.float32(255)),
        saved(PIL.Image.fromarray(photo), format='BMP'),
        saved(PIL.Image.fromarray(photo), format='AVIF'),
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


def damaged_image(random: np.random.Generator) -> Image:
    """Return an image message with up to three damages."""
    message = good_image(random)
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        damage_image(message, random)
    return message


def damaged_compressed_image(random: np.random.Generator) -> CompressedImage:
    """Return a compressed image, 48 x 64 when it is good, with up to two damages."""
    data = FILES[random.integers(len(FILES))]
    for _ in range(random.choice([0, 1, 1, 2])):
        data = damage_file(data, random)
    text = 'jpeg' if random.random() < 0.7 else str(random.choice(WRONG_FORMATS))
    return CompressedImage(format=text, data=data)
