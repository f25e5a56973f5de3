"""What the demo leaves behind: pictures and a video of camera image and segments, or their names, side by side."""

from pathlib import Path

import cv2
import numpy as np

from diffcut_ros.media.overlay import draw_overlay, write_text
from diffcut_ros.media.scene_picture import draw_scene
from diffcut_ros.media.video import Playback, VideoWriter
from diffcut_ros.node.demo.monitor import Shot
from diffcut_ros.writing import writing

_VIDEO, _UNFINISHED = 'segments.mp4', '.segments.mp4.writing'
# The strip above an image, and how tall letters in it are at most: readable on a phone, three images side by side.
TITLE_PX = 64
_LETTERS = 1.3
_SECONDS_PER_PICTURE = 4.0
_OPACITY_OF_NAMES = 0.6


class Recorder:
    """Writes `segments.mp4` and pictures: every few seconds (with depth, of space, too), of an image cut twice, names.

    A context manager: the video appears when it closes.

    Args:
        folder: exists already; pictures of an earlier demo are removed.

    Attributes:
        names: of the files written.
        cut_twice: the two shots of one image, at one tau and at another, that `tau_change.png` shows; None without one.
    """

    def __init__(self, folder: Path) -> None:
        self.names: list[str] = []
        self.cut_twice: tuple[Shot, Shot] | None = None
        self._folder = folder
        for earlier in (*folder.glob('segments_*s.png'), *folder.glob('tau_change.png'), *folder.glob('names.png')):
            earlier.unlink()
        self._video: VideoWriter | None = None
        self._playback = Playback()
        self._next_picture_s = self._next_scene_s = _SECONDS_PER_PICTURE / 2
        self._previous: Shot | None = None
        self._named: Shot | None = None

    def __enter__(self) -> 'Recorder':
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._video is None:
            return
        new = self._folder / _UNFINISHED
        try:
            if kind is not None and issubclass(kind, OSError):
                self._video.give_up()
            else:
                self._video.close()
                new.replace(self._folder / _VIDEO)
                if self._named is not None:
                    self._write('names.png', _row(self._named))
        finally:
            new.unlink(missing_ok=True)

    def add(self, shot: Shot) -> None:
        """Take a shot into the video, and as a picture where one is due.

        Raises:
            OSError: when a file cannot be written.
        """
        picture = _row(shot)
        self._playback = self._playback.then(picture.shape[:2], shot.stamp_ns)
        if self._video is None:
            self._video = VideoWriter(self._folder / _UNFINISHED, self._playback.size_hw)
            self.names.append(_VIDEO)
        self._video.write(picture, self._playback.time_ns)
        time_s = self._playback.time_ns / 1e9
        before, self._previous = self._previous, shot
        self._named = shot if shot.named is not None else self._named
        if self.cut_twice is None and before is not None and _is_cut_again(before, shot):
            self.cut_twice = before, shot
            self._write('tau_change.png', _row(before, shot))
        elif time_s >= self._next_picture_s:
            self._next_picture_s += _SECONDS_PER_PICTURE
            self._write(f'segments_{time_s:02.0f}s.png', picture)
        if shot.space is not None and time_s >= self._next_scene_s:
            self._next_scene_s += _SECONDS_PER_PICTURE
            self._write(f'segments_3d_{time_s:02.0f}s.png', draw_scene(shot.image_rgb, **vars(shot.space)))

    def _write(self, name: str, image_rgb: np.ndarray) -> None:
        path, new = self._folder / name, self._folder / f'.{name}.writing'
        with writing(path):
            try:
                new.write_bytes(cv2.imencode('.png', image_rgb[:, :, ::-1])[1])
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)
        self.names.append(name)


def title(shot: Shot) -> str:
    """Return what is known of a cut."""
    count = f'{shot.segments} segment{"s" * (shot.segments != 1)}'
    if shot.named is not None:
        return f'{count}, named by {len(shot.named.names)} clicks'
    return f'{count}, tau is changing' if shot.tau is None else f'{count} at tau {shot.tau:g}'


def _is_cut_again(before: Shot, shot: Shot) -> bool:
    return before.stamp_ns == shot.stamp_ns and None not in (before.tau, shot.tau) and before.tau != shot.tau


def _row(*shots: Shot) -> np.ndarray:
    """Return the camera image and its cuts side by side; of one with names, these."""
    cuts = [titled(shot.overlay_rgb if shot.named is None else _names(shot), title(shot)) for shot in shots]
    return np.concatenate([titled(shots[0].image_rgb, 'camera'), *cuts], axis=1)


def _names(shot: Shot) -> np.ndarray:
    """Return what has which name, over the image; each name once, where there is most room."""
    class_id, names, colors = vars(shot.named).values()
    picture = draw_overlay(shot.image_rgb, class_id, colors, _OPACITY_OF_NAMES)
    for value in np.flatnonzero(np.bincount(class_id.ravel())):
        if value:
            room = cv2.distanceTransform(np.pad((class_id == value).view(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
            y, x = np.unravel_index(room.argmax(), room.shape)
            write_text(picture, names.get(int(value), str(value)), (x, y), shot.image_rgb.shape[0] // 20)
    return picture


def titled(image_rgb: np.ndarray, title: str) -> np.ndarray:
    """Return an image with a title in a strip above it, uint8 [H + TITLE_PX, W, 3]."""
    strip = np.full((TITLE_PX, image_rgb.shape[1], 3), 24, np.uint8)
    left = TITLE_PX // 4
    (width, _), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)
    # In tenths: letters shall not grow and shrink in the video with each figure.
    scale = min(_LETTERS, max(1, (image_rgb.shape[1] - 2 * left) * 10 // width) / 10)
    below = TITLE_PX // 2 + round(11 * scale)  # capitals are 22 px tall at 1.0
    ink, thick = (235, 235, 235), max(1, round(2 * scale))
    cv2.putText(strip, title, (left, below), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thick, cv2.LINE_AA)
    return np.concatenate([strip, image_rgb])
