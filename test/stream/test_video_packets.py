"""Packets of video become the pictures of their messages; what cannot be decoded is told, up to the next key frame."""

import random

import numpy as np
import pytest

from diffcut_ros.stream.images import check_compressed
from diffcut_ros.stream.stamps import stamp_ns
from diffcut_ros.stream.video_packets import VideoDecoder, video_codec
from support.recordings import START_NS, STEP_NS, compressed_message, moving_scene
from support.video import compressed_image, encode, joined, scene, units, which

MEGAPIXEL = 10**6
BEGINNING, GAP, DAMAGE = 'before the first key frame', 'after packets that are missing', 'damaged, or after a damaged'
LOST = 'the decoder gives no picture'


def decode(packets, name='h264', stamps=None, max_pixels=MEGAPIXEL):
    """Return (number by stamp, number of the picture or what is wrong) of each message; None for no image.

    Args:
        packets: [(number, data)].
        name: format.
        stamps: numbers by which the messages are stamped; None: those of the packets.
    """
    video, found = VideoDecoder(max_pixels), []
    stamps = stamps or [index for index, _ in packets]
    for stamp, data in zip(stamps, [data for _, data in packets], strict=True):
        found += video.push(compressed_image(data, START_NS + stamp * STEP_NS, name))
    found += video.flush()
    assert len(found) == len(packets)
    return [
        one and ((stamp_ns(one) - START_NS) // STEP_NS, which(one.rgb()) if one.frame else one.problem) for one in found
    ]


def check(found, **problems):
    """Check that each picture is that of its stamp, but for these numbers: how the cause begins."""
    for index, picture in found:
        expected = problems.get(f'n{index}')
        if expected is None:
            assert picture == index
        else:
            assert isinstance(picture, str)
            assert expected in picture


@pytest.mark.parametrize('codec', ['h264', 'hevc', 'vp8', 'vp9'])
def test_each_message_gives_its_picture_at_once(codec):
    video = VideoDecoder(MEGAPIXEL)
    for index, data in encode(12, codec):
        (image,) = video.push(compressed_image(data, START_NS + index * STEP_NS, codec))
        assert stamp_ns(image) == START_NS + index * STEP_NS
        assert image.size_hw == (96, 128)
        assert which(image.rgb()) == index
        assert np.abs(image.rgb().astype(int) - scene(index)).mean() < 4  # colours in their order
    assert not video.flush()


@pytest.mark.parametrize('codec', ['h264', 'hevc', 'vp8', 'vp9'])
def test_what_is_before_the_first_key_frame(codec):
    found = decode(encode(12, codec)[2:], codec)
    assert [index for index, _ in found] == list(range(2, 12))
    check(found, n2=BEGINNING, n3=BEGINNING, n4=BEGINNING)


@pytest.mark.parametrize('codec', ['h264', 'hevc'])
@pytest.mark.parametrize('stamped', ['pictures', 'packets'])
def test_pictures_that_depend_on_later_ones_come_in_their_order(codec, stamped):
    packets = encode(20, codec, gop=8, b_frames=2)
    assert [index for index, _ in packets] != list(range(20))
    found = decode(packets, codec, None if stamped == 'pictures' else list(range(20)))
    assert found == [(index, index) for index in range(20)]


def test_without_a_limit_of_the_delay_none_is_dropped():
    """A sequence parameter set without usability information (VUI): nothing says how far pictures are out of order."""
    packets = [(index, without_vui(data)) for index, data in encode(24, gop=8, b_frames=3, more=':sar=1/1')]
    assert decode(packets) == [(index, index) for index in range(24)]


def without_vui(packet: bytes) -> bytes:
    """Return a packet of libx264 whose sequence parameter set ends before the VUI: its flag, 1, and what follows."""
    found = []
    for unit in units(packet):
        if unit[0] & 31 == 7:
            # Direct inference, no cropping, VUI: 1 0 1; the VUI begins with the aspect ratio, 1 and 1:1, 00000001.
            bits = ''.join(f'{byte:08b}' for byte in unit.replace(b'\0\0\3', b'\0\0'))
            at = bits.index('101' + '100000001')
            bits = bits[: at + 2] + '01'
            bits += '0' * (-len(bits) % 8)
            unit = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
            assert b'\0\0' not in unit
        found.append(unit)
    return joined(found)


def test_a_gap():
    packets = encode(15)
    found = decode(packets[:2] + packets[3:])
    check(found, n3=GAP, n4=GAP)
    # The lost one was a key frame.
    check(decode(packets[:5] + packets[6:]), n6=GAP, n7=GAP, n8=GAP, n9=GAP)
    # Where no other picture depends on it, nothing else is lost.
    packets = encode(16, gop=8, b_frames=1)
    at = next(at for at, (_, data) in enumerate(packets) if data.split(b'\0\0\1')[1][0] >> 5 == 0)
    assert all(picture == index for index, picture in decode(packets[:at] + packets[at + 1 :]))
    packets = encode(12, 'hevc')
    check(decode(packets[:2] + packets[3:], 'hevc'), n3=LOST, n4=LOST)


@pytest.mark.parametrize('more', ['', ':open-gop=1'])
@pytest.mark.parametrize('codec', ['h264', 'hevc'])
def test_whatever_is_missing_no_picture_is_other_than_it_was(codec, more):
    packets = encode(16, codec, gop=6, b_frames=2, more=more)
    whole = pictures(packets, codec)
    assert len(whole) == 16
    for lost in range(16):
        found = pictures(packets[:lost] + packets[lost + 1 :], codec)
        assert lost >= 8 or {14, 15} <= set(found)
        for index, picture in found.items():
            assert np.array_equal(picture, whole[index])


def pictures(packets, codec):
    """Return what can be decoded, by the numbers of the packets."""
    video, found = VideoDecoder(MEGAPIXEL), []
    for index, data in packets:
        found += video.push(compressed_image(data, START_NS + index * STEP_NS, codec))
    found += video.flush()
    return {(stamp_ns(one) - START_NS) // STEP_NS: one.rgb() for one in found if one.frame}


def test_gaps_that_the_stream_allows_are_none():
    """Numbers of frames may be left out on purpose, where the sequence says so."""
    packets = encode(12)
    assert 'after packets' in decode(packets[:2] + packets[3:])[2][1]
    # profile 66: ... frame_num bits, order, references, gaps; the flag is the bit before the width in macroblocks.
    width = f'{8:07b}'  # 128 / 16, as Exp-Golomb
    allowed = []
    for index, data in packets:
        parts = units(data)
        for at, unit in enumerate(parts):
            if unit[0] & 31 == 7:
                bits = ''.join(f'{byte:08b}' for byte in unit)
                where = bits.index('0' + width + f'{6:05b}')
                bits = bits[:where] + '1' + bits[where + 1 :]
                parts[at] = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        allowed.append((index, joined(parts)))
    assert all(isinstance(picture, int) for _, picture in decode(allowed[:2] + allowed[3:]))


def test_damage():
    packets = encode(15)
    index, data = packets[6]
    damaged = bytearray(data)
    for at in range(len(data) // 3, len(data), 5):
        damaged[at] ^= 0x5A
    for bad in (bytes(damaged), data[: len(data) // 2]):
        found = decode([*packets[:6], (index, bad), *packets[7:]])
        check(found, n6=DAMAGE, n7=DAMAGE, n8=DAMAGE, n9=DAMAGE)
    found = decode([*packets[:6], (index, b'no packet at all'), *packets[7:]])
    check(found, n6='expected a start code', n7=DAMAGE, n8=DAMAGE, n9=DAMAGE)


def test_key_frames_of_other_kinds():
    """Recovery points: I frames across which others refer (open GOP), and pictures renewed bit by bit."""
    packets = encode(30, gop=8, b_frames=2, more=':open-gop=1')
    assert decode(packets) == [(index, index) for index in range(30)]
    found = decode(packets[3:])
    pictures = {index: picture for index, picture in found}
    good = [index for index in sorted(pictures) if pictures[index] == index]
    assert good == list(range(8, 30)) or good == list(range(7, 30))
    packets = encode(30, gop=8, more=':intra-refresh=1')
    assert decode(packets) == [(index, index) for index in range(30)]
    good = [index for index, picture in decode(packets[3:]) if picture == index]
    assert 8 < good[0] < 20
    assert good == list(range(good[0], 30))


def test_parameters_in_the_first_packet_only():
    packets = [(index, data if not index else without_parameters(data)) for index, data in encode(12)]
    assert decode(packets) == [(index, index) for index in range(12)]
    check(decode(packets[1:]), **{f'n{index}': BEGINNING for index in range(1, 12)})
    # The parameters last across a gap.
    check(decode(packets[:2] + packets[3:]), n3=GAP, n4=GAP)


@pytest.mark.parametrize(('more', 'b_frames'), [(':open-gop=1', 2), (':intra-refresh=1', 0)])
def test_recovery_points_without_parameters(more, b_frames):
    packets = encode(40, gop=8, b_frames=b_frames, more=more)
    packets = [(index, data if not index else without_parameters(data)) for index, data in packets]
    good = [index for index, picture in decode(packets[:4] + packets[5:]) if picture == index]
    assert good[-16:] == list(range(24, 40))


def without_parameters(data: bytes) -> bytes:
    return joined(unit for unit in units(data) if unit[0] & 31 not in (7, 8))


@pytest.mark.parametrize('codec', ['h264', 'hevc'])
def test_parameters_in_messages_of_their_own_are_no_images(codec):
    (_, first), *others = encode(7, codec)
    apart = [joined([unit]) for unit in units(first)]
    messages = [*((0, data) for data in apart[:-1]), (0, apart[-1]), *others]
    found = decode(messages, codec)
    assert found == [None] * (len(apart) - 1) + [(index, index) for index in range(7)]


@pytest.mark.parametrize('codec', ['h264', 'hevc'])
def test_units_behind_their_lengths(codec):
    packets = [
        (index, b''.join(len(unit).to_bytes(4, 'big') + unit for unit in units(data)))
        for index, data in encode(7, codec)
    ]
    assert decode(packets, codec) == [(index, index) for index in range(7)]


def test_a_start_code_that_looks_like_a_length():
    """00 00 01 41 before 321 bytes; zeros behind a unit mean nothing."""
    packets = encode(3)
    (unit,) = units(packets[1][1])
    assert unit[0] == 0x41
    assert len(unit) < 322
    packets[1] = 1, (b'\0\0\1' + unit).ljust(4 + 0x141, b'\0')
    assert decode(packets) == [(index, index) for index in range(3)]


@pytest.mark.parametrize('codec', ['h264', 'hevc'])
def test_several_pictures_in_a_message(codec):
    packets = encode(7, codec)
    both = [(index, data + packets[index + 1][1]) for index, data in packets[:6:2]]
    assert decode(both, codec) == [(0, 0), (2, 2), (4, 4)]
    video = VideoDecoder(MEGAPIXEL)
    for index, data in both:
        video.push(compressed_image(data, START_NS + index, codec))
    assert video.note == '3 pictures left out which came behind the first one of their message'


def test_several_slices_are_one_picture_and_parts_are_told():
    packets = encode(10, more=':slices=3')
    assert sum(unit[0] & 31 in (1, 5) for unit in units(packets[1][1])) == 3
    assert decode(packets) == [(index, index) for index in range(10)]
    *head, last = units(packets[1][1])
    found = decode([packets[0], (1, joined(head)), (2, joined([last])), *packets[5:]])
    assert 'received messages with parts of one' in found[2][1]
    check(found[3:])


def test_another_size_and_another_codec():
    small, large = encode(5), encode(5, height=144, width=192)
    video, sizes = VideoDecoder(MEGAPIXEL), []
    for number, (index, data) in enumerate(small + large):
        (image,) = video.push(compressed_image(data, START_NS + number * STEP_NS))
        assert which(image.rgb()) == index
        sizes.append(image.size_hw)
    assert sizes == [(96, 128)] * 5 + [(144, 192)] * 5
    for number, (index, data) in enumerate(encode(5, 'hevc'), 10):
        (image,) = video.push(compressed_image(data, START_NS + number * STEP_NS, 'hevc'))
        assert which(image.rgb()) == index


SAMPLINGS = [('h264', 'yuv420p', 1.5), ('h264', 'yuv444p10le', 6), ('hevc', 'yuv420p', 1.5), ('hevc', 'yuv444p', 3)]


@pytest.mark.parametrize(('codec', 'pixels', 'bytes_per_pixel'), SAMPLINGS)
def test_a_picture_that_takes_much_memory_is_not_decoded(monkeypatch, codec, pixels, bytes_per_pixel):
    packets, size = encode(3, codec, pixels=pixels), int(96 * 128 * bytes_per_pixel)
    monkeypatch.setattr('diffcut_ros.stream.video_packets._LARGEST_PICTURE', size)
    assert decode(packets, codec) == [(0, 0), (1, 1), (2, 2)]
    monkeypatch.setattr('diffcut_ros.stream.video_packets._LARGEST_PICTURE', size - 1)
    for _, problem in decode(packets, codec):
        assert 'picture of 128 x 96: expected at most 0 MB when it is decoded, received 0' in problem


def test_a_larger_sequence_that_no_key_frame_announces():
    """Its parameters come beside those in use, and a picture that is no key frame may take them."""
    small, large = encode(3), encode(3, height=1088, width=1920)
    other = [unit for unit in units(large[0][1]) if unit[0] & 31 in (7, 8)]
    found = decode([small[0], (1, joined(other) + small[1][1]), small[2]])
    assert found[0] == (0, 0)
    for _, problem in found[1:]:
        assert 'picture of 1920 x 1088: expected at most 1 megapixels' in problem


MANY = [('h264', '', '', 'pictures'), ('hevc', '', '', 'pictures'), ('h264', '_OF_SLICES', ':slices=3', 'slices')]


@pytest.mark.parametrize(('codec', 'bound', 'more', 'name'), MANY)
def test_many_pictures_or_slices_in_a_message(monkeypatch, codec, bound, more, name):
    """Each costs the time of a picture, and a few bytes."""
    monkeypatch.setattr(f'diffcut_ros.stream.nal_units._MOST_PIXELS{bound}', 5 * 96 * 128)
    packets = encode(8, codec, gop=4, more=more)
    expected = [(index, index) for index in range(8)]
    assert decode(packets, codec) == expected
    found = decode([packets[0], (1, packets[1][1] * 6), *packets[2:]], codec)
    assert f'expected at most 5 {name} of 128 x 96 in a message, received ' in found[1][1]
    assert found[0] == expected[0]
    assert found[4:] == expected[4:]


@pytest.mark.parametrize('codec', ['h264', 'hevc', 'vp8', 'vp9'])
def test_too_large_is_not_decoded(codec):
    packets = encode(6, codec)
    assert decode(packets, codec, max_pixels=96 * 128)[0] == (0, 0)
    for index, problem in decode(packets, codec, max_pixels=96 * 128 // 3):
        assert index < 6
        assert isinstance(problem, str)
        if codec in ('h264', 'hevc'):
            assert 'picture of 128 x 96: expected at most 0.004096 megapixels, received 0.012288' in problem
    video = VideoDecoder(96 * 128 - 1)
    (image,) = video.push(compressed_image(packets[0][1], START_NS, codec))
    with pytest.raises(ValueError, match='expected at most' if image.frame else 'picture of'):
        image.check(96 * 128 - 1)


def test_colours_as_the_video_says():
    red = np.full((96, 128, 3), (200, 40, 40), np.uint8)
    import av

    for matrix, full in ((None, 1), ('bt709', 1), ('bt709', 2)):
        context = av.CodecContext.create('libx264', 'w')
        context.height, context.width = red.shape[:2]
        context.pix_fmt, context.framerate, context.color_range = 'yuv420p', 10, full
        if matrix:
            context.colorspace = 1
        context.options = {'tune': 'zerolatency', 'crf': '5'}
        frame = av.VideoFrame.from_ndarray(red, 'rgb24')
        frame = frame.reformat(format='yuv420p', dst_colorspace=1 if matrix else 5, dst_color_range=full)
        (packet,) = context.encode(frame)
        (image,) = VideoDecoder(MEGAPIXEL).push(compressed_image(bytes(packet), START_NS))
        assert np.abs(image.rgb().astype(int) - red).max() <= 4


def test_what_is_a_video():
    h264, hevc = encode(2)[1][1], encode(2, 'hevc')[0][1]
    for name in ('h264', 'H264', 'h.264', 'h264;yuv420p;bgr24;bgr8', 'libx264', 'h264_nvenc', 'avc1', ''):
        assert video_codec(compressed_image(h264, 0, name)) == 'H.264'
    for name in ('hevc', 'H265', 'h.265', 'hevc_nvenc', 'libx265;yuv420p', ''):
        assert video_codec(compressed_image(hevc, 0, name)) == 'H.265'
    for name in ('av1', 'libsvtav1', 'libaom-av1', 'av1_nvenc'):
        assert video_codec(compressed_image(b'\x12\0', 0, name)) == 'AV1'
    assert video_codec(compressed_image(b'\x12\0', 0, 'vp9')) == 'VP9'
    assert video_codec(compressed_image(b'\x12\0', 0, 'libvpx')) == 'VP8'
    picture = compressed_message(moving_scene(0), 0)
    for name in ('png', 'h264', ''):
        picture.format = name
        assert video_codec(picture) == ''
    for name in ('jpeg', 'rgb8; jpeg compressed bgr8', '16UC1; compressedDepth png', 'webp', 'avif', 'tiff'):
        assert video_codec(compressed_image(b'II*\0 and so on', 0, name)) == ''


def test_single_images_say_what_to_do_with_video():
    with pytest.raises(ValueError, match=r"format 'h264': .* received H\.264 video, .* republish .* diffcut_analyze"):
        check_compressed(compressed_image(encode(1)[0][1], START_NS))


@pytest.mark.parametrize('codec', ['h264', 'hevc'])
@pytest.mark.parametrize('b_frames', [0, 2])
def test_any_damage_gives_one_image_per_message(codec, b_frames):
    good = encode(16, codec, b_frames=b_frames)
    for seed in range(60):
        rng = random.Random(seed)
        packets = []
        for index, data in good:
            match rng.randrange(15):
                case 0:
                    continue
                case 1:
                    data = data[: rng.randrange(len(data))]
                case 2:
                    at = rng.randrange(len(data))
                    data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
                case 3:
                    at = rng.randrange(min(60, len(data)))
                    data = data[:at] + rng.randbytes(4) + data[at + 4 :]
                case 4:
                    data = rng.randbytes(rng.randrange(50))
            packets.append((index, data))
        video, found = VideoDecoder(MEGAPIXEL), []
        for index, data in packets:
            found += video.push(compressed_image(data, START_NS + index * STEP_NS, codec))
        assert len(found + video.flush()) == len(packets)


@pytest.mark.parametrize(('codec', 'said'), [('hevc', 'h264'), ('h264', 'h265'), ('h264', 'vp8')])
def test_data_with_parameters_decide_before_the_format(codec, said):
    video, found = VideoDecoder(MEGAPIXEL), []
    for index, data in encode(12, codec):
        found += video.push(compressed_image(data, START_NS + index * STEP_NS, said))
    assert [which(one.rgb()) for one in found] == list(range(12))
    assert video.note.count('format says') == 1


def test_a_format_that_is_right_is_not_told():
    video = VideoDecoder(MEGAPIXEL)
    for index, data in encode(3):
        video.push(compressed_image(data, START_NS + index * STEP_NS, 'h264'))
    assert video.note == ''


def test_an_empty_packet():
    (image,) = VideoDecoder(MEGAPIXEL).push(compressed_image(b'', START_NS, 'h264'))
    assert image.problem.endswith('received no data')
