"""Image messages to arrays and back. The one place that knows which conversion library there is."""

from types import SimpleNamespace

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

try:
    from cv_bridge import CvBridge
except ImportError:  # cv_bridge comes with ROS distributions only
    from rosbags.image import message_to_cvimage as _convert
else:
    _convert = CvBridge().imgmsg_to_cv2

# Encoding -> bytes per pixel.
ENCODINGS = {
    'rgb8': 3,
    'bgr8': 3,
    'rgba8': 4,
    'bgra8': 4,
    'mono8': 1,
    'mono16': 2,
    'bayer_rggb8': 1,
    'bayer_bggr8': 1,
    'bayer_gbrg8': 1,
    'bayer_grbg8': 1,
}


def check_image(message: Image) -> None:
    """Check that an image message can be decoded, without touching its pixels.

    Raises:
        ValueError: for an unknown encoding, an empty image, or sizes that do not agree; says what was expected and
            received.
    """
    if message.encoding not in ENCODINGS:
        raise ValueError(f'encoding: expected one of {", ".join(ENCODINGS)}, received {message.encoding!r}')
    about = f'{message.encoding} image of {message.width} x {message.height}'
    if message.width < 1 or message.height < 1:
        raise ValueError(f'{about}: expected at least 1 x 1')
    row = message.width * ENCODINGS[message.encoding]
    if message.step < row:
        raise ValueError(f'{about}: expected a step of at least {row} bytes, received {message.step}')
    expected, received = message.step * message.height, len(message.data)
    if received != expected:
        raise ValueError(f'{about}, step {message.step}: expected {expected} bytes of data, received {received}')


def decode_image(message: Image) -> np.ndarray:
    """Return an image message as uint8 [H, W, 3] RGB, contiguous; 16-bit values are scaled to 8 bits.

    Raises:
        ValueError: see `check_image`.
    """
    check_image(message)
    row = message.width * ENCODINGS[message.encoding]
    if message.step != row:
        # Not every library honours padded rows.
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        message = SimpleNamespace(
            encoding=message.encoding,
            height=message.height,
            width=message.width,
            step=row,
            is_bigendian=message.is_bigendian,
            data=rows[:, :row].tobytes(),
        )
    return np.ascontiguousarray(_convert(message, 'rgb8'))


def encode_image(array: np.ndarray, encoding: str, header: Header) -> Image:
    """Return an array as an image message.

    Args:
        array: uint8 [H, W] for mono8, uint16 [H, W] for mono16, uint8 [H, W, 3] for rgb8.
        encoding: one of these three.
        header: taken over as it is.
    """
    message = Image(header=header, height=array.shape[0], width=array.shape[1], encoding=encoding)
    message.step = array.strides[0] if array.flags.c_contiguous else array[0].nbytes
    message.is_bigendian = 0
    message.data = array.tobytes()  # bytes: rclpy copies them at once, and an array value by value
    return message
