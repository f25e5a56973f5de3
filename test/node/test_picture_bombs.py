"""Small pictures that would take much memory or time are errors at once; nothing of them is read in the callback."""

import io
import zlib

import numpy as np
import PIL.Image
import pytest
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from diffcut_ros.stream.depth import decode_rvl
from diffcut_ros.stream.images import MAX_PIXELS, check_compressed, decode_compressed
from diffcut_ros.stream.inputs import Inputs
from diffcut_ros.stream.nal_units import H264, H265, behind_lengths
from diffcut_ros.stream.pictures import read_header
from support.bombs import (
    GRAY,
    jpeg_filled,
    jpeg_of_scans,
    picture,
    png,
    png_of_texts,
    png_part,
    tiff,
    zeros_of_zlib,
)

PIXELS = zlib.compress(bytes(48 * 65))
BOMBS = {
    'scans': (lambda: jpeg_of_scans((48, 64), 6000), 'at most 64 scans'),
    'fill bytes': (lambda: jpeg_filled(b'\xff', 10**6), 'at most 65536 bytes between the parts'),
    'fill bytes and zeros': (lambda: jpeg_filled(b'\xff\0', 10**6), 'at most 65536 bytes between the parts'),
    'fill bytes alone': (lambda: b'\xff\xd8' + b'\xff' * 10**6, 'at most 65536 bytes between the parts'),
    'comments': (lambda: jpeg_filled(b'\xff\xfe\0\2', 10**5), 'at most 1000 parts'),
    'markers': (lambda: jpeg_filled(b'\xff\x01', 10**5), 'at most 1000 parts'),
    'pixels': (lambda: png((64, 48), zeros_of_zlib(2**27)), 'at most 3328 bytes of pixels'),
    'pixels without an end mark': (lambda: png((64, 48), zeros_of_zlib(2**27), end=b''), 'at most 3328 bytes of'),
    'parts': (lambda: png((64, 48), PIXELS, png_part(b'teXt', b'') * 10**5), 'at most 65536 parts'),
    # A number of 64 bits lies elsewhere: what stands here are 200 and 208.
    'sides of another type': (lambda: tiff((256, 16, 1, 200), (257, 16, 1, 208)), 'tag 256 once'),
    'a side as two numbers': (lambda: tiff((256, 3, 2, 64)), 'tag 256 once'),
    'a side that comes again': (lambda: tiff((256, 3, 1, 64), (256, 3, 1, 32)), 'tag 256 once'),
    'tiles': (lambda: tiff((322, 4, 1, 16384), (323, 4, 1, 16384)), 'tiles of 16 to 4096 px'),
    'tiles of a pixel': (lambda: tiff((322, 4, 1, 1), (323, 4, 1, 1)), 'tiles of 16 to 4096 px'),
    'rows': (lambda: tiff((278, 4, 1, 10**7)), 'at most 65536 rows'),
    'channels': (lambda: tiff((277, 3, 1, 60_000)), 'up to 4 channels'),
    'bits': (lambda: tiff((258, 3, 1, 64)), 'up to 32 bits'),
    'comments of PNM': (
        lambda: b'P5 #' + b'x' * 10**6 + b'\n64 48 255 ' + bytes(64 * 48),
        'a header within 1024 bytes',
    ),
}


@pytest.mark.parametrize('case', BOMBS)
def test_a_bomb_is_an_error(case):
    make, words = BOMBS[case]
    message = picture(make())
    for function in (check_compressed, decode_compressed):
        with pytest.raises(ValueError, match=f'expected .*{words}'):
            function(message)


@pytest.mark.parametrize('entry', [(256, 3, 1, 64), (278, 4, 1, 2**32 - 1), (278, 4, 1, 100)])
def test_an_honest_tiff(entry):
    assert decode_compressed(picture(tiff(entry))).shape == (48, 64, 3)


@pytest.mark.parametrize('name', [b'zTXt', b'iTXt', b'iCCP'])
def test_compressed_texts_of_a_png_are_not_unpacked(name):
    plain = decode_compressed(picture(png(GRAY.shape[::-1], PIXELS)))
    data = png_of_texts(50, 2**20, name)
    np.testing.assert_array_equal(decode_compressed(picture(data)), plain)
    assert name not in read_header('PNG', data, MAX_PIXELS)[1]


@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('mode', ['L', 'RGB', 'CMYK'])
def test_honest_jpeg_of_many_parts(mode, progressive):
    """A profile in 200 parts, and as many scans as encoders write."""
    image = PIL.Image.fromarray(GRAY).convert(mode)
    file = io.BytesIO()
    image.save(file, 'JPEG', progressive=progressive, icc_profile=bytes(200 * 65000))
    assert decode_compressed(picture(file.getvalue())).shape == (48, 64, 3)


def test_the_callback_reads_nothing_of_what_is_compressed():
    message = CompressedImage(header=Header(), format='jpeg', data=b'\xff\xd8' + b'\xff' * 10**6)
    inputs = Inputs(message)
    inputs.check(MAX_PIXELS)
    assert inputs.compressed_bytes == 10**6 + 2
    with pytest.raises(ValueError, match='between the parts of its header'):
        inputs.check_contents(MAX_PIXELS)


def test_rvl_of_more_data_than_values():
    with pytest.raises(ValueError, match='expected runs of 100 values'):
        decode_rvl(b'\x77\x77\x77\x77' * 10**6, 100)


@pytest.mark.parametrize('reader', [H264, H265])
def test_packets_of_video(reader):
    """More units than slices, numbers without end, and parameters of any length."""
    with pytest.raises(ValueError, match='at most 10000 units'):
        reader().read(b'\0\0\1\x09\x10\0' * 20_000)
    parameters = b'\x67\x42\0\x1f' if reader is H264 else b'\x42\1' + b'\1' * 13
    with pytest.raises(ValueError, match='expected numbers of at most 32 bits'):
        reader().read(b'\0\0\1' + parameters + b'\0\0\3' * 10**6 + b'\x80')
    assert behind_lengths(bytes(10**6)) == []
