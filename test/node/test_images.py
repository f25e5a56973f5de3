import numpy as np
import pytest
from std_msgs.msg import Header

from diffcut_ros.node.images import decode_image, encode_image

RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
OPAQUE = np.full((4, 6, 1), 255, np.uint8)
GRAY = RGB[:, :, 0]


@pytest.mark.parametrize(
    ('encoding', 'pixels', 'expected'),
    [
        ('rgb8', RGB, RGB),
        ('bgr8', RGB[:, :, ::-1], RGB),
        ('rgba8', np.concatenate([RGB, OPAQUE], 2), RGB),
        ('bgra8', np.concatenate([RGB[:, :, ::-1], OPAQUE], 2), RGB),
        ('mono8', GRAY, np.stack([GRAY] * 3, 2)),
        ('mono16', GRAY.astype(np.uint16) * 257, np.stack([GRAY] * 3, 2)),
    ],
)
@pytest.mark.parametrize('padding', [0, 5])
def test_decoding(encoding, pixels, expected, padding):
    message = encode_image(np.ascontiguousarray(pixels), encoding, Header())
    rows = np.frombuffer(message.data, np.uint8).reshape(4, -1)
    message.data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77).tobytes()
    message.step += padding
    decoded = decode_image(message)
    assert decoded.flags.c_contiguous
    assert np.array_equal(decoded, expected)


def test_big_endian_16_bit():
    message = encode_image((GRAY.astype('>u2') * 257).astype('>u2'), 'mono16', Header())
    message.is_bigendian = 1
    assert np.array_equal(decode_image(message)[:, :, 0], GRAY)


@pytest.mark.parametrize(('pattern', 'red', 'blue'), [('rggb', (0, 0), (1, 1)), ('bggr', (1, 1), (0, 0))])
def test_bayer(pattern, red, blue):
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[red[0] :: 2, red[1] :: 2] = 200
    mosaic[blue[0] :: 2, blue[1] :: 2] = 40
    decoded = decode_image(encode_image(mosaic, f'bayer_{pattern}8', Header()))
    assert decoded[4, 4].tolist() == [200, 0, 40]


def test_encoding_keeps_header_and_has_no_padding():
    header = Header(frame_id='here')
    message = encode_image(RGB[:, ::2], 'rgb8', header)
    assert (message.header, message.height, message.width, message.step) == (header, 4, 3, 9)
    assert bytes(message.data) == RGB[:, ::2].tobytes()
