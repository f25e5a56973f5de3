"""Image messages to arrays. How pixels lie in them is known by `encodings`, how pictures are compressed by `pictures`.

Messages are anything with the fields of sensor_msgs/Image or CompressedImage; `data` may be bytes or an array of bytes.
"""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from diffcut_ros.printable import quoted
from diffcut_ros.stream.encodings import ENCODINGS, check_layout, known_name, read_rows, read_values
from diffcut_ros.stream.guesses import Guesses
from diffcut_ros.stream.pictures import check_picture, decode_picture, source_encoding

# Turns an image message into an array of another encoding: `CvBridge.imgmsg_to_cv2` or `convert_with_rosbags`.
Convert = Callable[[Any, str], np.ndarray]

# Pixels of an image that is decoded at most, unless the caller says otherwise: 150 MB as RGB.
MAX_PIXELS = 50_000_000


def convert_with_rosbags(message: Any, encoding: str) -> np.ndarray:
    """Return an image message as an array of another encoding; raises ModuleNotFoundError without rosbags."""
    from rosbags.image import message_to_cvimage  # a ROS distribution has cv_bridge instead

    return message_to_cvimage(message, encoding)


def is_compressed(message: Any) -> bool:
    """Say whether an image message is a CompressedImage, which has a format in place of an encoding."""
    return hasattr(message, 'format')


def check_image(message: Any, max_pixels: int = MAX_PIXELS) -> None:
    """Check that an image message can be decoded, without touching its pixels.

    `data` has height * step bytes or more; for formats with planes of colours, such as nv12, those follow in rows of
    the same step. Where `step` is 0 or counts pixels, or `data` is as long as rows without padding, that decides.

    Raises:
        ValueError: for an unknown encoding, an empty image, one of more than `max_pixels`, or rows that are not
            complete; says what was expected and received.
    """
    check_layout(message, ENCODINGS, max_pixels)


def decode_image(
    message: Any,
    max_pixels: int = MAX_PIXELS,
    convert: Convert = convert_with_rosbags,
    guesses: Guesses | None = None,
) -> np.ndarray:
    """Return an image message as uint8 [H, W, 3] RGB, contiguous; an rgb8 image shares the memory of the message.

    Values of more than 8 bits are shown over a range that follows them, see `value_range`; those that fill 16 bits are
    divided by 257. Alpha is dropped, and YUV is taken as cameras and OpenCV do: BT.601 with Y from 16 to 235.

    Args:
        message: the image.
        max_pixels: width * height at most.
        convert: does what is common to conversion libraries.
        guesses: of the images before, added to; None: this image is the only one.

    Raises:
        ValueError: see `check_image`.
    """
    layout = check_layout(message, ENCODINGS, max_pixels)
    guesses = guesses or Guesses()
    rows, height = read_rows(message, layout, guesses)
    if isinstance(layout.to_rgb, str):
        values = guesses.to_8_bits(read_values(message, rows, layout), known_name(message.encoding))
        return _to_rgb(values, layout.to_rgb, convert)
    if callable(layout.to_rgb):
        image = layout.to_rgb(rows, message.width)
    else:
        image = cv2.cvtColor(read_values(message, rows, layout), layout.to_rgb)
    return image if height == message.height else image[: message.height]


def check_compressed(message: Any, max_pixels: int = MAX_PIXELS) -> None:
    """Check that a compressed image is a complete picture of at most `max_pixels`, without decoding its pixels.

    Raises:
        ValueError: for depth, another format, data that are damaged or end too early, and a size out of range; says
            what was expected and received.
        MissingPackageError: for a picture that Pillow decodes, where that is not installed.
    """
    check_picture(message, max_pixels, 3 if _mosaic(message.format) else 1)


def decode_compressed(
    message: Any,
    max_pixels: int = MAX_PIXELS,
    convert: Convert = convert_with_rosbags,
    guesses: Guesses | None = None,
) -> np.ndarray:
    """Return a compressed image as uint8 [H, W, 3] RGB, contiguous.

    JPEG, PNG, WebP and TIFF, and with Pillow AVIF, BMP, GIF and PNM, gray or colour, of 8 bits or more;
    alpha is dropped, more bits are shown as in `decode_image`. Colours are in the file's own order, whatever the
    message's format says. Pixels stay where the camera saw them: an orientation in EXIF data is ignored. A Bayer mosaic
    that image_transport wrote as PNG is turned into colours.

    Args:
        message: the image.
        max_pixels: width * height at most.
        convert: does what is common to conversion libraries.
        guesses: of the images before, added to; None: this image is the only one.

    Raises:
        ValueError: see `check_compressed`; also where the decoder gives up.
    """
    kind, values = decode_picture(message, max_pixels, 3 if _mosaic(message.format) else 1)
    image = (guesses or Guesses()).to_8_bits(values, f'{8 * values.itemsize}-bit {kind}')
    return _to_rgb(image, 'bgr8' if image.ndim == 3 else _mosaic(message.format) or 'mono8', convert)


def decode_compressed_labels(message: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return a compressed label image as it was written: uint8 or uint16 [H, W].

    Raises:
        ValueError: see `check_compressed`; also for other formats than PNG, which may change values, for colours, and
            where the decoder gives up.
    """
    kind = check_picture(message, max_pixels)
    if kind != 'PNG':
        raise ValueError(f'format: expected PNG, received {quoted(message.format)}, a {kind}, which may change labels')
    _, labels = decode_picture(message, max_pixels)
    if labels.ndim != 2:
        raise ValueError(f'{quoted(message.format)} image: expected one channel, received {labels.shape[2]}')
    return labels


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
    source, codec = source_encoding(compressed_format)
    if source.startswith('bayer_') and source in ENCODINGS and codec.split() == ['png', 'compressed']:
        return str(ENCODINGS[source].to_rgb)
    return None
