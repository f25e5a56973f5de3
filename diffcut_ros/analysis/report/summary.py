"""What a report says of all frames, from the tables row by row: memory does not grow with the recording."""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from diffcut_ros.analysis.causes import Cause, Causes
from diffcut_ros.analysis.tables import TABLES, Row, read_rows

# Points of a timeline: more than a screen has.
_BINS = 1000
_LONGEST_TRACKS, _PROBLEMS = 40, 30
# Frames after which tracks that have ended are no longer held.
_SWEEP_FRAMES = 1000
_FRAME_COLUMNS = 'stamp_ns', 'latency_ms', 'segments', 'width_px', 'height_px', 'depth_share'
_SEGMENT_COLUMNS = 'track_id', 'area_px', 'class', 'confidence', 'position_x_m', 'position_y_m', 'position_z_m'


@dataclass
class Series:
    """Smallest, mean and largest value in each bin of frames; None where it has none."""

    low: list[float | None] = field(default_factory=list)
    mean: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)
    count: int = 0
    total: float = 0.0
    _in_bin: int = 0

    def add(self, index: int, value: float | None) -> None:
        """Take a value of the last bin, or of a new one."""
        if index == len(self.mean):
            for values in (self.low, self.mean, self.high):
                values.append(None)
            self._in_bin = 0
        if value is None:
            return
        self.count += 1
        self.total += value
        self._in_bin += 1
        before = value if self._in_bin == 1 else self.mean[-1]
        self.mean[-1] = before + (value - before) / self._in_bin
        self.low[-1] = value if self._in_bin == 1 else min(self.low[-1], value)
        self.high[-1] = value if self._in_bin == 1 else max(self.high[-1], value)


@dataclass
class Track:
    """What is known of a segment that persisted.

    Attributes:
        id: its track id.
        first_ns: stamp of the first image that showed it.
        last_ns: of the last one.
        frames: number of images that did.
        area_share: sum of its shares of the images.
        position_m: sum of its positions.
        positions: number of images that it was located in.
        bins: bit b: it was seen in bin b.
        classes: how many images it was of each class in.
    """

    id: int
    first_ns: int
    last_ns: int
    frames: int = 0
    area_share: float = 0.0
    position_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    positions: int = 0
    bins: int = 0
    classes: Counter = field(default_factory=Counter)

    @property
    def class_name(self) -> str | None:
        """The class that it was of in most images; None without classes."""
        return max(self.classes, key=self.classes.__getitem__, default=None)

    @property
    def rank(self) -> tuple[int, int, float, int]:
        """The longer-lived of two tracks has the larger one; no two tracks have the same."""
        return self.last_ns - self.first_ns, self.frames, self.area_share, -self.first_ns, -self.id


class _Tracks:
    """Keeps the longest-lived tracks.

    Args:
        max_age_ns: a track that has not been seen for longer has ended; its id may be given again.

    Attributes:
        ids: of all tracks. One that is given again is one: there are 65535 at most.
    """

    def __init__(self, max_age_ns: float) -> None:
        self.ids: set[int] = set()
        self._max_age_ns = max_age_ns
        self._living: dict[int, Track] = {}
        self._longest: list[tuple[tuple, Track]] = []

    def add(
        self, track_id: int, stamp_ns: int, bin_index: int, area_share: float, name: str | None, position_m: Row
    ) -> None:
        track = self._living.get(track_id)
        if track is None or not 0 <= stamp_ns - track.last_ns <= self._max_age_ns:
            self._end(track)
            self.ids.add(track_id)
            track = self._living[track_id] = Track(track_id, stamp_ns, stamp_ns)
        track.last_ns = stamp_ns
        track.frames += 1
        track.area_share += area_share
        track.bins |= 1 << bin_index
        if name is not None:
            track.classes[name] += 1
        if None not in position_m:
            track.position_m = tuple(a + b for a, b in zip(track.position_m, position_m, strict=True))
            track.positions += 1

    def sweep(self, now_ns: int) -> None:
        """Let go of tracks that have ended."""
        for track in list(self._living.values()):
            if not 0 <= now_ns - track.last_ns <= self._max_age_ns:
                self._end(self._living.pop(track.id))

    def longest(self) -> list[Track]:
        """End all tracks; return the longest-lived, the longest first."""
        for track in self._living.values():
            self._end(track)
        self._living = {}
        return [track for _, track in sorted(self._longest, reverse=True)]

    def _end(self, track: Track | None) -> None:
        if track is not None:
            push = heapq.heappush if len(self._longest) < _LONGEST_TRACKS else heapq.heappushpop
            push(self._longest, (track.rank, track))


@dataclass
class ClassTotal:
    """What is known of all segments of a class.

    Attributes:
        segments: how many.
        area_share: sum of their shares of the images.
        confidence: sum.
    """

    segments: int = 0
    area_share: float = 0.0
    confidence: float = 0.0


@dataclass
class Summary:
    """What a report says of all frames.

    Attributes:
        bins: first and last stamp of each bin of frames.
        segments: number of segments.
        latency_ms: of the pipeline.
        depth_share: share of the depth image with depth.
        latencies: how many frames had which latency, by three digits.
        tracks: the longest-lived, the longest first.
        track_count: number of different track ids.
        classes: of the classes that segments were of, by name.
        problems: why images and messages are left out, in their order; the first few dozen causes.
        other_problems: how many are left out for other causes.
    """

    bins: list[tuple[int, int]] = field(default_factory=list)
    segments: Series = field(default_factory=Series)
    latency_ms: Series = field(default_factory=Series)
    depth_share: Series = field(default_factory=Series)
    latencies: Counter = field(default_factory=Counter)
    tracks: list[Track] = field(default_factory=list)
    track_count: int = 0
    classes: dict[str, ClassTotal] = field(default_factory=dict)
    problems: list[Cause] = field(default_factory=list)
    other_problems: int = 0

    def latency_quantile(self, share: float) -> float:
        """Return the latency that this share of the frames does not exceed, ms, to three digits."""
        wanted, seen = share * self.latencies.total(), 0
        for value, count in sorted(self.latencies.items()):
            seen += count
            if seen >= wanted:
                return value
        raise ValueError('latency_quantile: expected frames, received none')


def summarize(tables: Path, ending: str, frames: int, max_age_s: float) -> Summary:
    """Read the tables of an analysis.

    Args:
        tables: their folder.
        ending: .parquet or .csv.
        frames: number of rows of the table of frames.
        max_age_s: of the tracker; infinite where ids last as long as their places are remembered.
    """
    summary, tracks = Summary(), _Tracks(max_age_s * 1e9)
    bins = min(_BINS, frames)
    segment_rows = _rows(tables, 'segments', ending, _SEGMENT_COLUMNS)
    for number, row in enumerate(_rows(tables, 'frames', ending, _FRAME_COLUMNS)):
        stamp_ns, latency_ms, segments, width_px, height_px, depth_share = row
        index = number * bins // frames
        first_ns = stamp_ns if index == len(summary.bins) else summary.bins[index][0]
        summary.bins[index:] = [(first_ns, stamp_ns)]
        summary.segments.add(index, segments)
        summary.latency_ms.add(index, latency_ms)
        summary.depth_share.add(index, depth_share)
        summary.latencies[float(f'{latency_ms:.3g}')] += 1
        for track_id, area_px, name, confidence, *position_m in itertools.islice(segment_rows, segments):
            area_share = area_px / (width_px * height_px)
            if name is not None:
                total = summary.classes.setdefault(name, ClassTotal())
                total.segments += 1
                total.area_share += area_share
                total.confidence += confidence
            if track_id:
                tracks.add(track_id, stamp_ns, index, area_share, name, position_m)
        if number % _SWEEP_FRAMES == 0:
            tracks.sweep(stamp_ns)
    summary.tracks, summary.track_count = tracks.longest(), len(tracks.ids)
    causes = Causes(_PROBLEMS)
    for stamp_ns, text in _rows(tables, 'problems', ending, ('stamp_ns', 'problem')):
        causes.add(text, stamp_ns)
    summary.problems, summary.other_problems = causes.in_order(), causes.others
    return summary


def _rows(tables: Path, name: str, ending: str, columns: tuple[str, ...]) -> Iterator[Row]:
    return read_rows(tables / f'{name}{ending}', TABLES[name], columns)
