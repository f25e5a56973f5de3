import struct
import tracemalloc

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from diffcut_ros.stream.depth import decode_depth, decode_rvl, depth_size, never_depth
from diffcut_ros.stream.encodings import DEPTH_ENCODINGS
from diffcut_ros.stream.guesses import Guesses
from support.depth import packed_depth, png, run_lengths
from support.images import image_message

DEPTH = np.array([[1.5, 0, 65.535], [0.001, 8, 0]], np.float32)


@pytest.mark.parametrize('encoding', DEPTH_ENCODINGS)
@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('big_endian', [False, True])
def test_depth(encoding, padding, big_endian):
    values = DEPTH if encoding == '32FC1' else np.rint(DEPTH * 1000).astype(np.uint16)
    depth = decode_depth(image_message(values, encoding, padding=padding, big_endian=big_endian))
    assert depth.dtype == np.float32
    assert np.array_equal(depth, np.where(DEPTH, DEPTH, np.float32('nan')), equal_nan=True)


def test_no_depth():
    signalling = np.array([0x7F800001, 0xFF800001], np.uint32).view(np.float32)
    values = np.array([[np.nan, np.inf, -np.inf, -1, -0.0, *signalling, 2]], np.float32)
    depth = decode_depth(image_message(values, '32FC1'))
    assert np.array_equal(depth, [[np.nan] * 7 + [2]], equal_nan=True)


def test_depth_errors():
    with pytest.raises(ValueError, match=r"encoding: expected one of 16UC1, mono16, 32FC1, received 'rgb8'"):
        decode_depth(image_message(np.zeros((4, 6, 3), np.uint8), 'rgb8'))
    with pytest.raises(ValueError, match=r'16UC1 image of 3 x 2, step 6: expected 12 bytes of data, received 11'):
        decode_depth(Image(encoding='16UC1', width=3, height=2, step=6, data=bytes(11)))
    with pytest.raises(ValueError, match='at most 5e-06 megapixels'):
        decode_depth(image_message(DEPTH, '32FC1'), max_pixels=5)


RANDOM = np.random.default_rng(3)
# Slopes, steps, noise, holes, single pixels; begins and ends with depth.
COUNTS = (1000 + 40 * np.arange(37)[:, None] + np.arange(53) * 7 + RANDOM.integers(0, 5, (37, 53))).astype(np.uint16)
COUNTS[5:9, 10:40] = 0
COUNTS[20:, 30:] += 20000
COUNTS[RANDOM.random(COUNTS.shape) < 0.1] = 0
COUNTS[0, 0], COUNTS[36, 52] = 65535, 1
METRES = np.where(COUNTS, COUNTS / np.float32(1000), np.float32(np.nan))
TEXTS = {
    png: ['16UC1; compressedDepth png', '16UC1; compressedDepth', '16UC1', 'mono16; compressedDepth png', 'png', ''],
    run_lengths: ['16UC1; compressedDepth rvl', '16UC1;compressedDepth rvl', '16UC1; compressedDepth', 'rvl', ''],
}


@pytest.mark.parametrize(('pack', 'text'), [(pack, text) for pack, texts in TEXTS.items() for text in texts])
def test_compressed_depth_of_16_bits(pack, text):
    message = packed_depth(COUNTS, pack, text)
    assert depth_size(message) == COUNTS.shape
    depth = decode_depth(message)
    assert depth.dtype == np.float32
    assert np.array_equal(depth, METRES, equal_nan=True)


@pytest.mark.parametrize('pack', [png, run_lengths])
@pytest.mark.parametrize('text', [None, '32FC1; compressedDepth', '32FC1', ''])
def test_compressed_depth_of_floats(pack, text):
    depth_m = np.linspace(0.3, 9.5, 37 * 53).reshape(37, 53).astype(np.float32)
    depth_m[3:5], depth_m[10, 20:] = np.nan, 0
    message = packed_depth(depth_m, pack, text)
    depth = decode_depth(message)
    assert depth_size(message) == depth.shape == depth_m.shape
    assert np.array_equal(np.isnan(depth), ~(depth_m > 0))
    # A step of 16 bits is depth squared / (100 * 101) there: 2 cm at 10 m.
    assert np.nanmax(np.abs(depth - depth_m) / depth_m**2) < 1 / 10100 * 1.01
    assert np.allclose(decode_depth(message, scale_mm=5.0), depth, equal_nan=True)  # metres have no counts


@pytest.mark.parametrize('text', ['png', '16UC1; png compressed ', 'mono16; png compressed mono16', ''])
def test_a_picture_of_16_bits(text):
    message = packed_depth(COUNTS, png, text, header=False)
    assert depth_size(message) == COUNTS.shape
    assert np.array_equal(decode_depth(message), METRES, equal_nan=True)


def test_a_tiff():
    def tiff(values: np.ndarray, text: str) -> CompressedImage:
        return CompressedImage(format=text, data=cv2.imencode('.tiff', values)[1].tobytes())

    for message in (tiff(COUNTS, '16UC1; tiff compressed '), tiff(METRES, '32FC1; tiff compressed ')):
        assert not never_depth(message)
        assert depth_size(message) == COUNTS.shape
        assert np.array_equal(decode_depth(message), METRES, equal_nan=True)
    with pytest.raises(ValueError, match='expected one channel of 16 bits or floats, received uint8'):
        decode_depth(tiff(COUNTS.astype(np.uint8), 'tiff'))


@pytest.mark.parametrize('scale_mm', [0.2, 0.25, 1.0, 10.0])
def test_depth_in_other_counts_than_millimetres(scale_mm):
    messages = [image_message(COUNTS, '16UC1'), image_message(COUNTS, 'mono16'), packed_depth(COUNTS, run_lengths)]
    for message in [*messages, packed_depth(COUNTS), packed_depth(COUNTS, header=False)]:
        assert np.allclose(decode_depth(message, scale_mm=scale_mm), METRES * scale_mm, equal_nan=True)
    metres = image_message(METRES, '32FC1')
    assert np.array_equal(decode_depth(metres, scale_mm=scale_mm), METRES, equal_nan=True)


def test_run_lengths_by_hand():
    # 2 zeros, 2 others: 5 (+5 is 10, in two digits 2 and 1), 6 (+1 is 2); 1 zero, no others.
    data = struct.pack('<I', 0x22A12100)
    assert decode_rvl(data, 5).tolist() == [0, 0, 5, 6, 0]
    # No zeros, 2 others: 1 (2), 0 is no value of a run, yet 65535 is one: -2 is 3.
    assert decode_rvl(struct.pack('<I', 0x02230000), 2).tolist() == [1, 65535]


@pytest.mark.parametrize(
    'values',
    [
        np.zeros((3, 700)),
        np.full((1, 1), 7),
        np.indices((31, 40)).sum(0) % 2 * 65535,
        RANDOM.integers(0, 65536, (60, 80)),
    ],
    ids=['nothing', 'a pixel', 'checkers', 'noise'],
)
def test_run_lengths_of_any_depth(values):
    values = values.astype(np.uint16)
    assert np.array_equal(decode_rvl(run_lengths(values)[8:], values.size).reshape(values.shape), values)


GRAY = np.arange(35 * 50).reshape(35, 50)
JPEG = cv2.imencode('.jpg', GRAY.astype(np.uint8))[1].tobytes()
GOOD_PNG, GOOD_RVL = bytes(packed_depth(COUNTS).data), bytes(packed_depth(COUNTS, run_lengths).data)
RVL = '16UC1; compressedDepth rvl'


@pytest.mark.parametrize(
    ('data', 'text', 'problem'),
    [
        (JPEG, 'jpeg', 'received others: they are JPEG, which changes'),
        (png(GRAY.astype(np.uint8)), '16UC1; png compressed ', 'PNG of colours or of 8 bits'),
        (bytes(12) + png(np.dstack([COUNTS] * 3)), '16UC1; compressedDepth png', 'PNG of colours or of 8 bits'),
        (b'', '16UC1; compressedDepth png', 'expected a PNG of 16 bits, .* received no data'),
        (bytes(12), '16UC1; compressedDepth', 'expected a PNG of 16 bits'),
        (GOOD_PNG[:-30], '16UC1; compressedDepth png', 'the image is cut off'),
        (GOOD_PNG[:900] + b'?' + GOOD_PNG[901:], '16UC1; compressedDepth png', 'the image is damaged'),
        (GOOD_RVL, '16UC1; compressedDepth png', 'expected a PNG of 16 bits'),
        (GOOD_RVL[:-400], RVL, 'expected runs of 1961 values, received others'),
        (GOOD_RVL[:20] + b'\xff' * 40 + GOOD_RVL[60:], RVL, 'expected numbers of at most 10 digits'),
        (GOOD_RVL[:20] + bytes(40), RVL, 'expected runs of 1961 values'),
        (GOOD_RVL[:12] + struct.pack('<II', 53, 36) + GOOD_RVL[20:], RVL, 'expected runs of 1908 values'),
        (GOOD_RVL[:12] + struct.pack('<II', 0, 36) + GOOD_RVL[20:], RVL, 'RVL of 0 x 36: expected at least 1 x 1'),
        (bytes(12) + png(COUNTS), '32FC1; compressedDepth png', 'quantization .* received 0 and 0'),
        (png(COUNTS), '32FC1; compressedDepth png', 'quantization .* received none'),
    ],
)  # fmt: skip
def test_what_is_no_depth_has_one_clear_error(data, text, problem):
    with pytest.raises(ValueError, match=problem):
        decode_depth(CompressedImage(format=text, data=data))


@pytest.mark.parametrize('pack', [png, run_lengths])
def test_sizes_are_bounded_before_anything_is_decompressed(pack):
    message = packed_depth(np.zeros((2000, 2000), np.uint16), pack)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r' 2000 x 2000: expected at most 3\.9 megapixels, received 4'):
        decode_depth(message, max_pixels=3_900_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    assert depth_size(message, max_pixels=4_000_000) == (2000, 2000)


def test_what_may_be_depth():
    for message in (packed_depth(COUNTS), packed_depth(COUNTS, run_lengths), packed_depth(COUNTS, header=False)):
        assert not never_depth(message)
        message.data = message.data[:30]  # damaged, but of the right kind
        assert not never_depth(message)
    assert not never_depth(Image(encoding='mono16'))
    assert 'rgb8' in never_depth(Image(encoding='rgb8'))
    assert 'JPEG' in never_depth(CompressedImage(data=b'\xff\xd8\xff\xe0'))


@pytest.mark.parametrize('numbers', [(3.5, 7.25), (1e-30, 0.0), (1e30, -5.0), (2e9, -3.0)])
@pytest.mark.parametrize('pack', [png, run_lengths])
def test_any_numbers_before_depth_of_16_bits(pack, numbers):
    """The format lacks the encoding, and image_transport does not fill its header."""
    guesses = Guesses()
    message = CompressedImage(format='compressedDepth', data=struct.pack('<iff', 0, *numbers) + pack(COUNTS))
    assert np.array_equal(decode_depth(message, guesses=guesses), METRES, equal_nan=True)
    assert 'does not say whether depth is of 16UC1 or 32FC1: taken as 16UC1' in guesses.notes['quantization']


@pytest.mark.parametrize('largest_m', [1.0, 10.0, 100.0])
@pytest.mark.parametrize('quantization', [1.0, 100.0, 150.0])
def test_numbers_that_image_transport_writes_are_taken(largest_m, quantization):
    a = quantization * (quantization + 1)
    header, guesses = struct.pack('<iff', 0, a, 1 - a / largest_m), Guesses()
    message = CompressedImage(format='compressedDepth', data=header + png(np.ones((4, 6), np.uint16)))
    assert np.allclose(decode_depth(message, guesses=guesses), largest_m)
    assert not guesses.notes


def test_a_format_that_is_not_known_is_named():
    message = CompressedImage(format='16UC1; zdepth', data=bytes(range(1, 200)))
    with pytest.raises(ValueError, match=r'they are zdepth, which is not known; take the raw topic'):
        depth_size(message)
