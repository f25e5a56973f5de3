"""Videos are read back by a decoder of their own."""

from fractions import Fraction

import av
import numpy as np
import pytest

from diffcut_ros.media.video import Playback, VideoWriter, join_videos

MS = 10**6


def flat(color, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def write(path, images, stamps_ms, playback=Playback()):  # noqa: B008 (frozen)
    """Write a piece of a video; return where it ends."""
    writer = None
    for image, stamp_ms in zip(images, stamps_ms, strict=True):
        playback = playback.then(image.shape[:2], stamp_ms * MS)
        writer = writer or VideoWriter(path, playback.size_hw)
        writer.write(image, playback.time_ns)
    writer.close()
    return playback


def read(path) -> list[tuple[int, np.ndarray]]:
    """Return time in ms and picture of each frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, stream.time_base) == ('h264', 'yuv420p', Fraction(1, 1000))
        return [(frame.pts, frame.to_ndarray(format='rgb24')) for frame in container.decode(stream)]


def times(path) -> list[int]:
    return [time_ms for time_ms, _ in read(path)]


def test_any_browser_plays_it(tmp_path):
    write(tmp_path / 'v.mp4', [flat(100)] * 3, [0, 40, 1000])
    with av.open(str(tmp_path / 'v.mp4')) as container:
        assert container.streams.video[0].codec_context.profile == 'Constrained Baseline'
        # 1 s, and the last frame.
        assert container.duration == 1_100_000
    data = (tmp_path / 'v.mp4').read_bytes()
    assert data.index(b'moov') < data.index(b'mdat')


def test_frames_are_when_their_stamps_say(tmp_path):
    write(tmp_path / 'v.mp4', [flat(9)] * 5, [1_700_000_000_000 + t for t in (0, 33, 67, 500, 60_500)])
    assert times(tmp_path / 'v.mp4') == [0, 33, 67, 500, 60_500]


def test_stamps_that_stand_still_go_back_or_leap(tmp_path):
    stamps = [5000, 5000, 5100, 4000, 4100, 10**13, 10**13 + 100]
    write(tmp_path / 'v.mp4', [flat(9)] * 7, stamps)
    hour = 3_600_000
    assert times(tmp_path / 'v.mp4') == [0, 1, 101, 102, 202, 202 + hour, 302 + hour]


@pytest.mark.parametrize('color', [(250, 20, 30), (20, 250, 40), (30, 40, 250), (255, 255, 255), (0, 0, 0)])
def test_colours(tmp_path, color):
    write(tmp_path / 'v.mp4', [flat(color)], [0])
    ((_, picture),) = read(tmp_path / 'v.mp4')
    assert picture.shape == (48, 64, 3)
    assert np.abs(picture.astype(int) - color).max() <= 6


@pytest.mark.parametrize(
    ('size', 'expected'), [((47, 63), (48, 64)), ((1, 1), (2, 2)), ((480, 3840), (240, 1920)), ((3000, 2), (1920, 2))]
)
def test_sizes_are_even_and_no_larger_than_decoders_take(tmp_path, size, expected):
    write(tmp_path / 'v.mp4', [flat(200, *size)], [0])
    ((_, picture),) = read(tmp_path / 'v.mp4')
    assert picture.shape[:2] == expected
    assert picture[: size[0] // 2 + 1, 0].min() > 180


def test_images_of_another_size_are_scaled_into_the_first_ones(tmp_path):
    write(tmp_path / 'v.mp4', [flat(200), flat(200, 96, 64), flat(200, 12, 32)], [0, 100, 200])
    (_, first), (_, tall), (_, wide) = read(tmp_path / 'v.mp4')
    assert first.min() > 190
    assert tall.shape == wide.shape == first.shape == (48, 64, 3)
    assert tall[:, 17:47].min() > 190
    assert tall[:, :15].max() < 20
    assert tall[:, 49:].max() < 20
    assert wide[13:35].min() > 190
    assert wide[:11].max() < 20
    assert wide[37:].max() < 20


def test_pieces_are_joined_as_if_written_in_one_go(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (9, 48, 64, 3), np.uint8)
    stamps = [0, 30, 30, 130, 120, 220, 420, 421, 422]
    write(tmp_path / 'whole.mp4', noise, stamps)
    middle = write(tmp_path / 'a.mp4', noise[:4], stamps[:4])
    write(tmp_path / 'b.mp4', noise[4:], stamps[4:], middle)
    join_videos([tmp_path / name for name in ('a.mp4', 'b.mp4')], tmp_path / 'joined.mp4')
    assert times(tmp_path / 'joined.mp4') == times(tmp_path / 'whole.mp4') == [0, 30, 31, 131, 132, 232, 432, 433, 434]
    pieces = [picture for name in ('a.mp4', 'b.mp4') for _, picture in read(tmp_path / name)]
    assert all(np.array_equal(a, b) for (_, a), b in zip(read(tmp_path / 'joined.mp4'), pieces, strict=True))


def test_where_it_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match='No such file or directory'):
        write(tmp_path / 'none/v.mp4', [flat(9)], [0])
