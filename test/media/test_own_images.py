"""Photographs and videos as people have them, written as files."""

import re
import subprocess
import sys
import warnings
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from diffcut_ros.media.own_images import LONGEST_SIDE_PX, find_images, frames
from diffcut_ros.media.video import VideoWriter
from diffcut_ros.recordings.bag import open_bag

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)
RATE_HZ = 10.0


def halves(height: int = 40, width: int = 60) -> np.ndarray:
    """Red above green, so that it is seen how it was turned."""
    image = np.full((height, width, 3), RED, np.uint8)
    image[height // 2 :] = GREEN
    return image


def film(path: Path, images: list[np.ndarray], hz: float = 25) -> Path:
    with VideoWriter(path, images[0].shape[:2]) as video:
        for k, image in enumerate(images):
            video.write(image, round(k * 1e9 / hz))
    return path


def shown(*paths: Path, count: int = 1, rate_hz: float = RATE_HZ, each_s: float = 0.1) -> list[np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return list(islice(frames(find_images(paths), rate_hz, each_s, pytest.fail), count))


def is_near(pixel: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - color).max() < 12)


@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'bmp', 'tif', 'ppm', 'gif'])
def test_usual_photographs_whatever_they_are_called(tmp_path, ending):
    Image.fromarray(halves()).save(tmp_path / f'halves.{ending}')
    path = (tmp_path / f'halves.{ending}').rename(tmp_path / 'photograph.xyz')
    (image,) = shown(path)
    assert (image.shape, image.dtype, image.flags.c_contiguous) == ((40, 60, 3), np.uint8, True)
    assert is_near(image[5, 30], RED)
    assert is_near(image[35, 30], GREEN)


@pytest.mark.parametrize(('orientation', 'red_at'), [(1, (5, 20)), (3, (35, 20)), (6, (20, 35)), (8, (20, 5))])
def test_photographs_stand_upright(tmp_path, orientation, red_at):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(halves(40, 40)).save(tmp_path / 'turned.jpg', exif=exif, quality=95)
    (image,) = shown(tmp_path / 'turned.jpg')
    assert is_near(image[red_at], RED)


def test_a_large_photograph_that_lies_on_its_side(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(halves(4000, 6000)).save(tmp_path / 'large.jpg', exif=exif)
    own = find_images([tmp_path / 'large.jpg'])
    assert own.about == 'large.jpg: 4000 x 6000 pixels, shown at 640 x 960'
    (image,) = shown(tmp_path / 'large.jpg')
    assert image.shape == (LONGEST_SIDE_PX, 640, 3)
    assert is_near(image[100, 600], RED)
    assert is_near(image[100, 40], GREEN)


def test_one_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10**6)
    Image.fromarray(halves(1000, 2001)).save(tmp_path / 'huge.png')
    with pytest.raises(ValueError, match=r'huge\.png: expected at most 2 million pixels; make it smaller first'):
        find_images([tmp_path / 'huge.png'])


def test_gray_of_8_and_16_bits(tmp_path):
    ramp = np.linspace(0, 255, 60).astype(np.uint8)[None].repeat(40, 0)
    Image.fromarray(ramp).save(tmp_path / '8.png')
    cv2.imwrite(str(tmp_path / '16.png'), ramp.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / '12.tif'), ramp.astype(np.uint16) * 16)  # a camera of 12 bits
    for name in ('8.png', '16.png', '12.tif'):
        (image,) = shown(tmp_path / name)
        assert image.shape == (40, 60, 3)
        assert np.abs(image.astype(int) - ramp[:, :, None]).max() <= 1, name


@pytest.mark.parametrize('ending', ['png', 'tif'])
def test_colours_of_16_bits(tmp_path, ending):
    cv2.imwrite(str(tmp_path / f'deep.{ending}'), halves()[:, :, ::-1].astype(np.uint16) * 257)
    (image,) = shown(tmp_path / f'deep.{ending}')
    assert is_near(image[5, 30], RED)
    assert is_near(image[35, 30], GREEN)


def test_what_is_transparent_is_white(tmp_path):
    image = np.dstack([halves(), np.full((40, 60), 255, np.uint8)])
    image[:, :30, 3] = 0
    Image.fromarray(image).save(tmp_path / 'transparent.png')
    Image.fromarray(image).quantize().save(tmp_path / 'palette.png')
    for name in ('transparent.png', 'palette.png'):
        (seen,) = shown(tmp_path / name)
        assert is_near(seen[5, 10], WHITE)
        assert is_near(seen[5, 50], RED)


def test_a_folder_is_shown_in_turn_and_over_again(tmp_path):
    for number, value in ((1, 10), (2, 100), (10, 200)):
        cv2.imwrite(str(tmp_path / f'image_{number}.jpg'), np.full((20 + number, 30, 3), value, np.uint8))
    (tmp_path / 'notes.txt').write_text('no photograph')
    own = find_images([tmp_path])
    assert own.about == (
        '3 photographs, the first is image_1.jpg: 30 x 21 pixels; left out, since they cannot be read as photographs: '
        'notes.txt'
    )
    images = shown(tmp_path, count=8, each_s=0.2)
    assert [image.shape[0] - 20 for image in images] == [1, 1, 2, 2, 10, 10, 1, 1]


def test_damaged_ones_among_others_are_told_and_passed_over(tmp_path):
    for number in (1, 2, 3):
        noise = np.random.default_rng(0).integers(0, 255, (20 + number, 30, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f'{number}.jpg'), noise)
    for number in (1, 3):  # headers are whole
        whole = (tmp_path / f'{number}.jpg').read_bytes()
        (tmp_path / f'{number}.jpg').write_bytes(whole[: len(whole) * 3 // 4])
    own, told = find_images([tmp_path]), []
    assert own.about.endswith('left out, since they cannot be read as photographs: 1.jpg')
    assert [image.shape[0] for image in islice(frames(own, RATE_HZ, 0.1, told.append), 3)] == [22, 22, 22]
    assert len(told) == 2
    assert '3.jpg: expected a photograph' in told[0]
    assert 'received one that is damaged' in told[0]


def test_a_video_is_played_at_its_speed_and_over_again(tmp_path):
    path = film(tmp_path / 'film.mp4', [np.full((48, 64, 3), 8 * k, np.uint8) for k in range(25)])
    own = find_images([path])
    assert own.video == path
    assert own.video_hz == pytest.approx(25, rel=0.2)  # the last image is shown longer
    assert own.about.startswith('film.mp4: 64 x 48 pixels, 2')
    images = shown(path, count=40, rate_hz=own.video_hz)
    values = [round(image.mean() / 8) for image in images]
    assert values == [k % 25 for k in range(40)]
    half = [round(image.mean() / 8) for image in shown(path, count=14, rate_hz=own.video_hz / 2)]
    assert half == [*range(0, 25, 2), 0]


def test_a_gif_that_moves_is_played(tmp_path):
    first, second = (Image.new('RGB', (64, 48), color) for color in ('red', 'lime'))
    first.save(tmp_path / 'moves.gif', save_all=True, append_images=[second], duration=100)
    images = shown(tmp_path / 'moves.gif', count=4)
    assert [is_near(image[20, 30], RED) for image in images] == [True, False, True, False]


def test_what_is_neither_is_told_in_one_line(tmp_path, capfd):
    cases = {
        'notes.txt': (b'hello, this is no image', r"received a file that begins with b'hello, t', of which neither"),
        'empty.jpg': (b'', 'received an empty file, of which neither'),
        'no.mp4': (b'\0\0\0\x20ftypisom\0\0\2\0isomiso2', 'of which neither Pillow nor OpenCV can read an image; make'),
        'phone.heic': (b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'received one as HEIC; make it a JPEG first'),
        'run.mcap': (b'\x89MCAP0\r\n', r'received a recording; diffcut_analyze .*run\.mcap -o out/ takes it'),
        'cut.jpg': (cv2.imencode('.jpg', halves())[1].tobytes()[:60], 'received one that is damaged'),
        'cut.png': (cv2.imencode('.png', halves())[1].tobytes()[:60], 'received one that is damaged'),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf'{name}: expected a photograph \(JPEG.*{words}') as told:
            find_images([tmp_path / name])
        assert '\n' not in str(told.value)
    with pytest.raises(FileNotFoundError):
        find_images([tmp_path / 'missing.jpg'])
    (tmp_path / 'folder').mkdir()
    with pytest.raises(ValueError, match=r'folder: expected a photograph.*received a folder without photographs'):
        find_images([tmp_path / 'folder'])
    assert capfd.readouterr() == ('', '')


def test_a_video_among_photographs_is_refused(tmp_path):
    path = film(tmp_path / 'film.mp4', [halves()] * 3)
    cv2.imwrite(str(tmp_path / 'one.png'), halves())
    with pytest.raises(ValueError, match='expected one video alone, or photographs, received 2 paths'):
        find_images([tmp_path / 'one.png', path])


def test_the_program_of_the_documentation_records_them(tmp_path):
    path = film(tmp_path / 'film.mp4', [np.full((48, 64, 3), 20 * k, np.uint8) for k in range(10)])
    text = (Path(__file__).parents[2] / 'docs/recordings.md').read_text()
    code = re.search(r'## A recording of your own images.*?```\n(.*?)```', text, re.DOTALL)[1]
    command = [sys.executable, '-c', code, str(path), str(tmp_path / 'bag')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout == f'10 images in {tmp_path / "bag"}\n', done.stderr
    with open_bag(tmp_path / 'bag') as bag:
        stamps_ns = [message.time_ns for message in bag.messages(['/camera/image_raw'])]
    assert np.diff(stamps_ns).mean() == pytest.approx(4e7, rel=0.2)  # the last is shown longer
