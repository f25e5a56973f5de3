"""The frames that a report shows: which ones, and what is kept of each."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from diffcut_ros.analysis.finest_cut import FinestCut, reduced_size
from diffcut_ros.analysis.frame_result import FrameResult, Named
from diffcut_ros.core import Segments
from diffcut_ros.core.classes import UNKNOWN_COLOR
from diffcut_ros.core.colors import number_colors
from diffcut_ros.core.plain import pack, unpack
from diffcut_ros.media.cutout import cut_out, outlined
from diffcut_ros.media.overlay import class_colors, draw_overlay, track_colors
from diffcut_ros.plain_files import read_plain
from diffcut_ros.writing import writing

_FRAMES = 12
_JPEG_QUALITY = 85
# Parts beside those that wear their track's colour have colours of numbers from here on.
_PART_COLORS = 500
# Colours of classes are to be told from those of a legend: they cover more of the image than those of tracks.
_CLASS_OPACITY = 0.65
# Longer side of a thumbnail.
_THUMBNAIL_PX = 160
_FILE = 'shown-{:012d}.npz'
# Of such a file, packed or unpacked: many times what a reduced image takes.
_MOST_BYTES = 2**26


@dataclass
class Slots:
    """Chooses frames evenly over time: the first one of each of a dozen equal spans.

    Attributes:
        begin_ns: when the first image was recorded that was asked about.
        last: the span of the last frame that was chosen.
    """

    begin_ns: int | None = None
    last: int = -1

    def take(self, time_ns: int, end_ns: int, duration_s: float | None) -> bool:
        """Say whether to show the image that was recorded at a time, later than those before.

        Args:
            time_ns: of it.
            end_ns: of the recording.
            duration_s: of what is analysed; None: to the end.
        """
        if self.begin_ns is None:
            self.begin_ns = time_ns
        length_ns = end_ns - self.begin_ns
        if duration_s is not None:
            length_ns = min(length_ns, round(duration_s * 1e9))
        slot = min(_FRAMES - 1, (time_ns - self.begin_ns) * _FRAMES // max(1, length_ns))
        if slot <= self.last:
            return False
        self.last = slot
        return True


@dataclass(frozen=True)
class ShownFrame:
    """What is kept of a frame, at the reduced size.

    Attributes:
        stamp_ns: of the image.
        tau: that the analysis cut it at.
        size_hw: height and width, px.
        image_jpeg: the image.
        overlay_jpeg: the analysis' segments over it.
        labels_png: the analysis' label image, 16 bits.
        track_ids: of its segments, by label from 1.
        areas_px: likewise, in pixels of the whole image.
        parts: the map of `FinestCut`, uint16 in the order of bytes of nearly all machines (little-endian), by zlib.
        part_taus: float64 [K - 1], of `FinestCut`.
        part_colors: uint8 [K, 3] RGB.
        deepest_tau: of `FinestCut`.
        class_overlay_jpeg: as `overlay_jpeg`, by class; None without classes, as the next one.
        class_part_colors: as `part_colors`, by the class of the analysis' segment that most of the part is in.
    """

    stamp_ns: int
    tau: float
    size_hw: tuple[int, int]
    image_jpeg: bytes
    overlay_jpeg: bytes
    labels_png: bytes
    track_ids: tuple[int, ...]
    areas_px: tuple[int, ...]
    parts: bytes
    part_taus: np.ndarray
    part_colors: np.ndarray
    deepest_tau: float
    class_overlay_jpeg: bytes | None = None
    class_part_colors: np.ndarray | None = None


def shown_frame(result: FrameResult) -> ShownFrame:
    """Return what is kept of a frame that was processed with its finest cut."""
    size_hw = reduced_size(result.image_rgb.shape[:2])
    image = cv2.resize(result.image_rgb, size_hw[::-1], interpolation=cv2.INTER_AREA)
    segments, cut = result.segmentation.segments, result.finest_cut
    labels = cv2.resize(result.segmentation.labels, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    shared, named = _shared(cut, labels, segments), result.named
    return ShownFrame(
        stamp_ns=result.stamp_ns,
        tau=result.segmentation.tau,
        size_hw=size_hw,
        image_jpeg=encode_jpeg(image),
        overlay_jpeg=encode_jpeg(draw_overlay(image, labels, track_colors(segments))),
        labels_png=cv2.imencode('.png', labels.astype(np.uint16))[1].tobytes(),
        track_ids=tuple(segments.track_id.tolist()),
        areas_px=tuple(segments.area_px.tolist()),
        parts=zlib.compress(cut.parts.astype('<u2').tobytes()),
        part_taus=cut.taus,
        part_colors=_part_colors(cut, result.segmentation.tau, shared, segments),
        deepest_tau=cut.tau,
        **({} if named is None else _by_class(named, image, labels, shared)),
    )


def _by_class(named: Named, image: np.ndarray, labels: np.ndarray, shared: np.ndarray) -> dict[str, Any]:
    """Return the values of a `ShownFrame` in the colours of classes."""
    colors = class_colors(named.classes, named.class_id)
    return {
        'class_overlay_jpeg': encode_jpeg(draw_overlay(image, labels, colors, _CLASS_OPACITY)),
        'class_part_colors': np.array([*colors, UNKNOWN_COLOR], np.uint8)[_home(shared)],
    }


def _shared(cut: FinestCut, labels: np.ndarray, segments: Segments) -> np.ndarray:
    """Return how many pixels parts share with the analysis' segments, int64 [K, segments]."""
    count, base = len(cut.taus) + 1, len(segments) + 1
    pairs = cut.parts.astype(np.int64) * base + labels
    return np.bincount(pairs.ravel(), minlength=count * base).reshape(count, base)[:, 1:]


def _home(shared: np.ndarray) -> np.ndarray:
    """Return the segment that most of each part is in, int64 [K], as its index; -1 where it is in none."""
    return np.where(shared.any(1), shared.argmax(1), -1) if shared.size else np.full(len(shared), -1)


def _part_colors(cut: FinestCut, tau: float, shared: np.ndarray, segments: Segments) -> np.ndarray:
    """Return colours for the parts, uint8 [K, 3], so that the analysis' segments, cut at tau, look as in its overlay.

    A segment wears the colour of its largest part.
    """
    count = len(cut.taus) + 1
    colors, own = number_colors(np.arange(count) + _PART_COLORS), track_colors(segments)
    if not len(segments):
        return colors
    part_areas = np.bincount(cut.parts.ravel(), minlength=count)
    # With damping, a segment may be one that shows at a larger tau only: its largest part of those mostly within.
    home = _home(shared)
    wears = {label: _largest(part_areas, home == label) for label in set(home[home >= 0].tolist())}
    # At tau, segments are runs of parts, as the page makes them; each has the one that shares the most with it.
    run = np.concatenate([[0], np.cumsum(cut.taus < tau)])
    together = np.stack([shared[run == r].sum(0) for r in range(run[-1] + 1)])
    for r, label in zip(*linear_sum_assignment(together, maximize=True), strict=True):
        if together[r, label]:
            wears.pop(label, None)  # to be the last, which counts where a part is in two
            wears[label] = _largest(part_areas, run == r)
    for label, part in wears.items():
        colors[part] = own[label]
    return colors


def _largest(areas: np.ndarray, among: np.ndarray) -> int:
    """Return the index of the largest area, int64 [K], of those marked in `among`, bool [K]."""
    return int(np.where(among, areas, -1).argmax())


def write_frame(folder: Path, position: int, frame: ShownFrame) -> None:
    """Write a frame into the folder of a part; `position` gives their order."""
    path = folder / _FILE.format(position)
    with writing(path):
        path.write_bytes(pack(vars(frame)))


def read_frames(folders: Sequence[Path]) -> list[ShownFrame]:
    """Return the frames that parts hold.

    Raises:
        ValueError: for a file that holds no frame, or for too many files.
    """
    paths = [path for folder in folders for path in sorted(folder.glob(_FILE.replace('{:012d}', '*')))]
    if len(paths) > _FRAMES:
        raise ValueError(f'expected at most {_FRAMES} frames to show, received {len(paths)}')
    frames = []
    for path in paths:
        try:
            frames.append(ShownFrame(**unpack(read_plain(path, _MOST_BYTES), _MOST_BYTES)))
        except (ValueError, TypeError) as error:
            raise ValueError(f'{path.name}: expected a frame of this analysis: {error}') from error
    return frames


def thumbnail(frames: Sequence[ShownFrame], track_id: int, seen_ns: tuple[int, int]) -> bytes | None:
    """Return a picture of a segment, a JPEG file, from the frame that shows most of it; None where none shows it.

    Args:
        frames: to choose from.
        track_id: of the segment.
        seen_ns: the first and the last stamp that it was seen at.
    """
    best, area, value = None, 0, 0
    for frame in frames:
        if track_id in frame.track_ids and seen_ns[0] <= frame.stamp_ns <= seen_ns[1]:
            index = frame.track_ids.index(track_id)
            if frame.areas_px[index] > area:
                best, area, value = frame, frame.areas_px[index], index + 1
    if best is None:
        return None
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(best.image_jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    mask = (cv2.imdecode(np.frombuffer(best.labels_png, np.uint8), cv2.IMREAD_UNCHANGED) == value).view(np.uint8)
    if not mask.any():  # so small that the reduced image has none of it
        return None
    part = cut_out(image, mask, _THUMBNAIL_PX, enlarges=True)
    return encode_jpeg(outlined(*part, number_colors(np.array(track_id))))


def encode_jpeg(image_rgb: np.ndarray) -> bytes:
    """Return an image, uint8 [H, W, 3] RGB, as a JPEG file."""
    bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
