"""Videos that browsers and phones play (H.264), with frames timed by stamps, in pieces joined without encoding anew.

A frame's time is that of its stamp after the first one's: the frame rate varies as the stamps do.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from diffcut_ros.missing import needed
from diffcut_ros.writing import writing

_ENCODER = 'libx264'
# The fastest preset takes half the time of the next one, for files a third larger. Without looking ahead each frame is
# written at once; the number of threads would change the bytes.
_OPTIONS = {'preset': 'ultrafast', 'tune': 'zerolatency', 'crf': '23', 'threads': '1'}
_TICKS_PER_S = 1000
_TICK_NS = 10**9 // _TICKS_PER_S
# A stamp that is not after the last one counts as a tick after it, one that is lost in the future as an hour.
_STEP_NS = (_TICK_NS, 3600 * 10**9)
# How long the last frame is shown.
_LAST_TICKS = _TICKS_PER_S // 10
# Decoders of phones end somewhere above.
_LONGEST_SIDE_PX = 1920
# Those of OpenCV's conversion, which takes a third of the time of FFmpeg's: ITU-R BT.601, limited range.
_BT601, _LIMITED = 6, 1


@dataclass(frozen=True)
class Playback:
    """Size of a video and where its last frame is: all that the next one depends on.

    Attributes:
        size_hw: even, that of the first frame or less; None before it.
        stamp_ns: stamp of the last frame.
        time_ns: its time in the video.
    """

    size_hw: tuple[int, int] | None = None
    stamp_ns: int = 0
    time_ns: int = 0

    def then(self, image_hw: tuple[int, int], stamp_ns: int) -> 'Playback':
        """Return where the next frame is."""
        if self.size_hw is None:
            return Playback(_even_size(image_hw), stamp_ns, 0)
        step_ns = min(max(stamp_ns - self.stamp_ns, _STEP_NS[0]), _STEP_NS[1])
        return Playback(self.size_hw, stamp_ns, self.time_ns + step_ns)


class VideoWriter:
    """Writes a video, or a piece of one, as MP4; a context manager.

    Args:
        path: of the file.
        size_hw: of the video, even.

    Raises:
        ValueError: without PyAV, see `check_video`.
    """

    def __init__(self, path: Path, size_hw: tuple[int, int]) -> None:
        check_video()
        self._path, self._size_hw = path, size_hw
        self._container = _open_new(path)
        self._stream = self._container.add_stream(_ENCODER, options=_OPTIONS)
        self._stream.height, self._stream.width = size_hw
        self._stream.pix_fmt = 'yuv420p'
        context = self._stream.codec_context
        context.time_base = Fraction(1, _TICKS_PER_S)
        context.color_range = _LIMITED
        context.colorspace = context.color_primaries = context.color_trc = _BT601

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.close() if kind is None else self.give_up()

    def write(self, image_rgb: np.ndarray, time_ns: int) -> None:
        """Write a frame.

        Args:
            image_rgb: uint8 [H, W, 3] of any size; one of another than the video's is scaled into it, with its aspect.
            time_ns: in the video, see `Playback`; a tick, 1 ms, after the last one's or more.

        Raises:
            OSError: when the file cannot be written.
        """
        with writing(self._path):
            import av

            planes = cv2.cvtColor(_fitted(image_rgb, self._size_hw), cv2.COLOR_RGB2YUV_I420)
            frame = av.VideoFrame.from_ndarray(planes, 'yuv420p')
            frame.time_base = Fraction(1, _TICKS_PER_S)
            frame.pts = time_ns // _TICK_NS
            for packet in self._stream.encode(frame):
                packet.duration = _LAST_TICKS  # that of other frames follows from the next one's time
                self._container.mux(packet)

    def close(self) -> None:
        """Complete the file."""
        with writing(self._path):
            self._container.mux(self._stream.encode())
            self._container.close()

    def give_up(self) -> None:
        """Close the file as it is."""
        with suppress(OSError):
            self._container.close()


def join_videos(pieces: Sequence[Path], path: Path) -> None:
    """Write the frames of several pieces of a video, one after the other, as one file; a frame at a time.

    Raises:
        OSError: when it cannot be written.
    """
    with writing(path):
        import av

        with _open_new(path) as joined:
            stream = None
            for piece in pieces:
                with av.open(str(piece)) as container:
                    stream = stream or joined.add_stream_from_template(container.streams.video[0])
                    for packet in container.demux(video=0):
                        if packet.dts is not None:  # the last one only says that there are no more
                            packet.stream = stream
                            joined.mux(packet)


def middle_frame(path: Path) -> np.ndarray | None:
    """Return a frame from about the middle of a video, uint8 [H, W, 3] RGB; None where it has none.

    Raises:
        OSError, ValueError: for a file that is missing or no video.
    """
    import av

    with av.open(str(path)) as container:
        container.seek((container.duration or 0) // 2)  # to the key frame before
        for frame in container.decode(video=0):
            return frame.to_ndarray(format='rgb24')
    return None


def check_video() -> None:
    """Raise ValueError where no video can be written, with what to install."""
    with needed('video', 'analyze'):
        import av
    if _ENCODER not in av.codecs_available:
        raise ValueError(f'video: expected FFmpeg with {_ENCODER}, received one without: pip install av')


def _open_new(path: Path) -> Any:
    with writing(path):
        import av

        # The index first: a player begins before it has all of the file.
        options = {'movflags': 'faststart', 'video_track_timescale': str(_TICKS_PER_S)}
        return av.open(str(path), 'w', 'mp4', options=options)


def _even_size(image_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size of a video of such images: H.264 halves the colours' resolution."""
    scale = min(1.0, _LONGEST_SIDE_PX / max(image_hw))
    height, width = (max(1, round(side * scale)) for side in image_hw)
    return height + height % 2, width + width % 2


def _fitted(image_rgb: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return an image of a size with another one in it, whole, as large as fits, between black bars."""
    height, width = image_rgb.shape[:2]
    if (height, width) == size_hw:
        return image_rgb
    if 0 <= size_hw[0] - height <= 1 and 0 <= size_hw[1] - width <= 1:  # as it is
        scaled = image_rgb
    else:
        scale = min(size_hw[0] / height, size_hw[1] / width)
        inside_wh = max(1, round(width * scale)), max(1, round(height * scale))
        scaled = cv2.resize(image_rgb, inside_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (size_hw[0] - scaled.shape[0]) // 2, (size_hw[1] - scaled.shape[1]) // 2
    bottom, right = size_hw[0] - scaled.shape[0] - top, size_hw[1] - scaled.shape[1] - left
    return cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT)
