"""Photographs and videos of one's own, as the demo's camera shows them: upright, in colour, of a size for a screen."""

import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Larger ones are shown smaller: the node takes each image as it comes, and three are shown side by side.
LONGEST_SIDE_PX = 960
_EXPECTED = 'expected a photograph (JPEG, PNG, WebP, TIFF, ...), a video (MP4, ...), or a folder of photographs'
# Brands of the containers that hold photographs of phones as tiles, of which a reader of videos shows the first.
_HEIF = re.compile(rb'....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)', re.DOTALL)
_TIFF = (b'II*\0', b'MM\0*')
_DAMAGED = (b'\xff\xd8\xff', b'\x89PNG')
_RECORDING = re.compile(rb'\x89MCAP|SQLite format 3\0|#ROSBAG')
# What is kept of photographs that were read, at some MB each.
_KEPT = 16
# Of a video that does not say how many images it has in a second.
_USUAL_HZ = 25.0
_PLAUSIBLE_HZ = (0.5, 1000.0)
# What Pillow is asked for; it knows more that is no photograph.
_FORMATS = 'JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'GIF', 'PPM', 'JPEG2000', 'AVIF'
# EXIF's tag; from 5 on, width and height change places.
_ORIENTATION = 0x0112
_FFMPEG_LEVEL = 'OPENCV_FFMPEG_LOGLEVEL'


@dataclass(frozen=True)
class OwnImages:
    """What was found at the paths that somebody gave.

    Attributes:
        paths: these.
        photographs: files, in the order in which they are shown; none with a video.
        video: of which the images are shown, over and over.
        video_hz: its images per second; 0 for photographs.
        about: what they are, how large, and what was left out; for people.
    """

    paths: tuple[Path, ...]
    photographs: tuple[Path, ...]
    video: Path | None
    video_hz: float
    about: str


def find_images(paths: Sequence[Path]) -> OwnImages:
    """Return what is at some paths, by what is in the files, whatever they are called.

    Args:
        paths: photographs and folders of them, or one video.

    Raises:
        ValueError: for anything else; says what to give instead.
        OSError: when one cannot be read.
    """
    photographs: list[Path] = []
    left_out: list[str] = []
    for path in paths:
        if path.is_dir():
            found = [file for file in sorted(path.iterdir(), key=_by_numbers) if file.is_file()]
            good = [file for file in found if _is_readable(file)]
            if not good:
                raise ValueError(f'{path}: {_EXPECTED}, received a folder without photographs')
            photographs += good
            left_out += [file.name for file in found if file not in good]
        elif _is_photograph(path):
            photographs.append(path)
        else:
            video_hz, about = _about_video(path)
            if len(paths) > 1:
                raise ValueError(f'{path}: expected one video alone, or photographs, received {len(paths)} paths')
            return OwnImages((path,), (), path, video_hz, about)
    if len(paths) == 1 and paths[0].is_dir():
        photographs = _from_the_first_readable(photographs, left_out)
    _, size_wh = _read_photograph(photographs[0])
    text = _size(photographs[0], size_wh)
    text = f'{len(photographs)} photographs, the first is {text}' if len(photographs) > 1 else text
    if left_out:
        more = f' and {len(left_out) - 3} more' if len(left_out) > 3 else ''
        text += f'; left out, since they cannot be read as photographs: {", ".join(left_out[:3])}{more}'
    return OwnImages(tuple(paths), tuple(photographs), None, 0.0, text)


def _from_the_first_readable(photographs: list[Path], left_out: list[str]) -> list[Path]:
    """Return photographs without those at the beginning that are damaged, of which the names are appended."""
    for number, path in enumerate(photographs[:-1]):
        with suppress(OSError, ValueError):
            _read_photograph(path)
            return photographs[number:]
        left_out.append(path.name)
    return photographs[-1:]


def frames(own: OwnImages, rate_hz: float, seconds_each: float, warn: Callable[[str], object]) -> Iterator[np.ndarray]:
    """Yield what a camera shows, without end, uint8 [H, W, 3] RGB.

    Of a video, images beyond `rate_hz` are passed over.

    Args:
        own: from `find_images`.
        rate_hz: images per second that are taken; not more than `video_hz`.
        seconds_each: how long a photograph is shown, as several images.
        warn: is told which photograph cannot be read when it is its turn; it is passed over.

    Raises:
        ValueError: when none can be read any more.
        OSError: when the video cannot be read any more.
    """
    while True:
        shown = 0
        for image_rgb in _video_images(own, rate_hz) if own.video else _photographs(own, rate_hz * seconds_each, warn):
            shown += 1
            yield image_rgb
        if not shown:
            raise ValueError(f'{own.video or own.photographs[0]}: expected images that can be read, received none')


def images_once(own: OwnImages, warn: Callable[[str], object]) -> Iterator[np.ndarray]:
    """Yield each image of a video, or each photograph, once, as `frames` yields them."""
    yield from _video_images(own, own.video_hz) if own.video else _photographs(own, 1, warn)


def _video_images(own: OwnImages, rate_hz: float) -> Iterator[np.ndarray]:
    with _opened_video(own.video) as video:
        number, due = 0, 0.0
        while video.grab():
            if number >= due:
                due += own.video_hz / rate_hz
                read, image_bgr = video.retrieve()
                if read:
                    yield _scaled(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB))
            number += 1


def _photographs(own: OwnImages, times: float, warn: Callable[[str], object]) -> Iterator[np.ndarray]:
    for path in own.photographs:
        try:
            image_rgb, _ = _read_photograph(path)
        except (OSError, ValueError) as error:
            warn(str(error))
            continue
        for _ in range(max(1, round(times))):
            yield image_rgb


@contextmanager
def _opened_video(path: Path) -> Iterator[cv2.VideoCapture]:
    # Of FFmpeg alone: others take a name with digits for a series of pictures.
    video = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        yield video
    finally:
        video.release()


def _about_video(path: Path) -> tuple[float, str]:
    """Return the images per second of a video, and what it is, for people.

    Raises:
        ValueError: for a file that is none; says what to do.
    """
    with path.open('rb') as file:
        start = file.read(16)
    if _HEIF.match(start):
        raise ValueError(f'{path}: {_EXPECTED}, received one as HEIC; make it a JPEG first: heif-convert IN OUT.jpg')
    if _RECORDING.match(start):
        raise ValueError(f'{path}: {_EXPECTED}, received a recording; diffcut_analyze {path} -o out/ takes it')
    if start.startswith(_DAMAGED):
        raise ValueError(f'{path}: {_EXPECTED}, received one that is damaged: its header cannot be read')
    with _quiet(), _opened_video(path) as video:
        hz, count = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
        read, image_bgr = video.read() if video.isOpened() else (False, None)
    if not read:
        what = f'a file that begins with {start[:8]!r}' if start else 'an empty file'
        raise ValueError(
            f'{path}: {_EXPECTED}, received {what}, of which neither Pillow nor OpenCV can read an image; make it a '
            'JPEG, or an MP4 with H.264: ffmpeg -i IN -c:v libx264 OUT.mp4'
        )
    own_hz = hz if _PLAUSIBLE_HZ[0] <= hz <= _PLAUSIBLE_HZ[1] else _USUAL_HZ
    text = f'{_size(path, image_bgr.shape[1::-1])}, {own_hz:.3g} images per second'
    return own_hz, f'{text}, {count / own_hz:.1f} s' if count > 0 else text


def _size(path: Path, size_wh: tuple[int, int]) -> str:
    shown_wh = _shown_wh(size_wh)
    text = f'{path.name}: {size_wh[0]} x {size_wh[1]} pixels'
    return f'{text}, shown at {shown_wh[0]} x {shown_wh[1]}' if shown_wh != tuple(size_wh) else text


def _open(path: Path) -> Image.Image:
    """Open a photograph with Pillow.

    Raises:
        UnidentifiedImageError: for what it does not know.
        ValueError: for one that is too large, or damaged.
    """
    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)  # phones take photographs as large as that
        try:
            return Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])
        except Image.DecompressionBombError as error:
            most = 2 * Image.MAX_IMAGE_PIXELS // 10**6
            raise ValueError(f'{path}: expected at most {most} million pixels; make it smaller first') from error
        except UnidentifiedImageError:
            raise
        except (OSError, SyntaxError) as error:
            if getattr(error, 'errno', None) is not None:  # not Pillow's: no such file, or nobody may read it
                raise
            raise ValueError(f'{path}: {_EXPECTED}, received one that is damaged: {error}') from error


def _is_readable(path: Path) -> bool:
    """Say whether a file is a photograph, by its header: to decode thousands would take minutes."""
    with suppress(OSError, ValueError):
        return _is_photograph(path)
    return False


def _is_photograph(path: Path) -> bool:
    try:
        with _open(path) as image:
            # A GIF that moves is played. What others have besides their first image is a thumbnail, or another view.
            return not (image.format == 'GIF' and getattr(image, 'n_frames', 1) > 1)
    except UnidentifiedImageError:
        with path.open('rb') as file:
            return file.read(4) in _TIFF  # of three times 16 bits, which OpenCV reads


@lru_cache(_KEPT)
def _read_photograph(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """Return a photograph as it is shown, and its own width and height, turned as its EXIF says.

    Raises:
        ValueError: when it is damaged, or too large.
        OSError: when it cannot be read.
    """
    try:
        with _open(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            size_wh = image.size[::-1] if turned else image.size
            image.draft('RGB', (LONGEST_SIDE_PX, LONGEST_SIDE_PX))  # a large JPEG in an eighth of the time
            image_rgb = _in_color(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        with _quiet():
            image_bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image_bgr is None:
            raise ValueError(f'{path}: {_EXPECTED}, received one that is damaged') from None
        image_rgb, size_wh = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), image_bgr.shape[1::-1]
    except (OSError, SyntaxError) as error:  # damage; Pillow raises both
        raise ValueError(f'{path}: {_EXPECTED}, received one that is damaged: {error}') from error
    return _scaled(image_rgb, size_wh), size_wh


def _in_color(image: Image.Image) -> np.ndarray:
    """Return an image as uint8 [H, W, 3] RGB: of 16 bits the upper ones that are used, what is transparent on white."""
    if image.mode.startswith(('I', 'F')):
        values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
        low, high = (
            (0, 2 ** max(8, int(values.max()).bit_length()) - 1)
            if values.min() >= 0 and values.max() > 1
            else (values.min(), values.max())
        )
        gray = np.clip((values - low) * (255 / max(high - low, 1e-9)), 0, 255).astype(np.uint8)
        return np.dstack([gray] * 3)
    if image.has_transparency_data:
        ground = Image.new('RGBA', image.size, 'white')
        ground.alpha_composite(image.convert('RGBA'))
        image = ground
    return np.asarray(image.convert('RGB'))


def _shown_wh(size_wh: Sequence[int]) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE_PX / max(size_wh))
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


def _scaled(image_rgb: np.ndarray, size_wh: tuple[int, int] | None = None) -> np.ndarray:
    shown_wh = _shown_wh(size_wh or image_rgb.shape[1::-1])
    if image_rgb.shape[1::-1] == shown_wh:
        return np.ascontiguousarray(image_rgb)
    return cv2.resize(image_rgb, shown_wh, interpolation=cv2.INTER_AREA)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV and its FFmpeg from printing lines about what is no video: the error says what there is to say."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    before = os.environ.get(_FFMPEG_LEVEL)
    os.environ[_FFMPEG_LEVEL] = '-8'
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
        if before is None:
            del os.environ[_FFMPEG_LEVEL]
        else:
            os.environ[_FFMPEG_LEVEL] = before


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    """Sort 2 before 10."""
    return [(int(part or 0), '') if i % 2 else (0, part) for i, part in enumerate(re.split(r'(\d+)', path.name))]
