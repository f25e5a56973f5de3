"""Damaged messages by the thousand: each is decoded, or is a ValueError; nothing else, and never much memory."""

import struct
import tracemalloc

import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage

from diffcut_ros.node.images import decode_compressed, decode_image
from diffcut_ros.stream.depth import decode_depth, depth_size
from diffcut_ros.stream.images import check_compressed, check_image
from support.damage import FILES, damage_file, damaged_compressed_image, damaged_image
from support.depth import packed_depth, png, run_lengths

MAX_PIXELS = 200_000
# As many pixels as the limit allows, at 16 bits and 3 channels, thrice.
MAX_BYTES = MAX_PIXELS * 6 * 3


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
        message = damaged_image(random)
        image = outcome(decode_image, check_image, message)
        if image is not None:
            assert image.shape == (message.height, message.width, 3)
            assert image.dtype == np.uint8
            assert image.flags.c_contiguous
        depth = outcome(decode_depth, depth_size, message)
        if depth is not None:
            assert depth.shape == (message.height, message.width)
            assert depth.dtype == np.float32
            assert not (depth <= 0).any()
            assert not np.isinf(depth).any()
        counts['no image' if image is None else 'image'] += 1
        counts['no depth' if depth is None else 'depth'] += 1
    assert min(counts.values()) > 100, counts


def test_compressed(little_memory):
    random = np.random.default_rng(9)
    images = [decode_compressed(CompressedImage(data=file)) for file in FILES]
    assert {image.shape for image in images} == {(48, 64, 3)}
    counts = {'image': 0, 'no image': 0, 'of another size': 0}
    for _ in range(5000):
        message = damaged_compressed_image(random)
        image = outcome(decode_compressed, check_compressed, message)
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
            data, (height, width) = bytes(message.data[:1000]), image.shape[:2]
            if data.startswith(b'\xff\xd8'):
                assert struct.pack('>HH', height, width) in data
            elif data.startswith(b'\x89PNG'):
                assert struct.pack('>II', width, height) in data
    assert min(counts['image'], counts['no image']) > 500, counts
    assert counts['of another size'] > 10, counts


@pytest.mark.parametrize('make', [bytes, lambda size: np.random.default_rng(size).bytes(size)])
def test_any_bytes_are_no_image(make):
    for size in (1, 2, 3, 4, 7, 8, 9, 12, 100, 10_000):
        for start in (b'', b'\xff\xd8', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'):
            assert outcome(decode_compressed, check_compressed, CompressedImage(data=start + make(size))) is None


DEPTH_TEXTS = '16UC1; compressedDepth png', '16UC1; compressedDepth rvl', '32FC1; compressedDepth', ''


@pytest.mark.parametrize('pack', [png, run_lengths])
def test_compressed_depth(pack, little_memory):
    random = np.random.default_rng(4)
    values = random.integers(0, 3000, (48, 64)).astype(np.uint16) * (random.random((48, 64)) < 0.8)
    good = bytes(packed_depth(values, pack).data)
    counts = {'depth': 0, 'none': 0}
    for _ in range(1000):
        data = good
        for _ in range(random.choice([0, 1, 1, 2])):
            data = damage_file(data, random)
        text = str(
            random.choice(['16UC1; compressedDepth png', '16UC1; compressedDepth rvl', '32FC1; compressedDepth', ''])
        )
        depth = outcome(decode_depth, depth_size, CompressedImage(format=text, data=data))
        if depth is not None:
            assert depth.ndim == 2
            assert depth.dtype == np.float32
            assert not ((depth <= 0) | np.isinf(depth)).any()
        counts['none' if depth is None else 'depth'] += 1
    assert min(counts.values()) > 100, counts
