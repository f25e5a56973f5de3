"""From a scene to segments with identities, in space where there is depth: what the node does with each image."""

import pickle
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from diffcut_ros.analysis.finest_cut import FinestCut, finest_cut
from diffcut_ros.analysis.hierarchies import Hierarchy
from diffcut_ros.analysis.settings import Settings
from diffcut_ros.core import Frame, Segmentation, SegmentGeometry, Tracker, locate_segments
from diffcut_ros.core.motion import carry_segments, thumbnail
from diffcut_ros.features import create_extractor
from diffcut_ros.stream.inputs import Scene


@dataclass(frozen=True)
class FrameResult:
    """One segmented image of a recording.

    Attributes:
        stamp_ns: its header stamp, or when it was recorded where it has none.
        header: of the image, std_msgs/Header.
        image_rgb: uint8 [H, W, 3].
        segmentation: its segments, with `track_id`.
        hierarchy: of its cells: other cuts need no features.
        geometries: where each segment is, in their order; None for those that could not be located, and without depth.
        depth_share: share of the depth image's pixels with depth, 0 to 1; None without depth.
        latency_ms: time that features, segments, tracks and places took.
        finest_cut: of its hierarchy, where that was asked for.
    """

    stamp_ns: int
    header: Any
    image_rgb: np.ndarray = field(repr=False)
    segmentation: Segmentation
    hierarchy: Hierarchy = field(repr=False)
    geometries: tuple[SegmentGeometry | None, ...]
    depth_share: float | None
    latency_ms: float
    finest_cut: FinestCut | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.geometries) != len(self.segmentation.segments):
            raise ValueError(
                f'geometries: expected one per segment, {len(self.segmentation.segments)}, '
                f'received {len(self.geometries)}'
            )


@dataclass(frozen=True)
class _Before:
    """What is needed of the image before, for damping: when it was, its segments, and what motion is found by."""

    stamp_ns: int
    segments: np.ndarray
    thumbnail: np.ndarray


class Pipeline:
    """Segments the images of one camera, one after the other.

    Args:
        settings: parameters.
        hierarchy_tau: down to where hierarchies go at least.

    Raises:
        ValueError: for a backend that cannot be built.
        MemoryError: when the device has too little memory.
    """

    def __init__(self, settings: Settings, hierarchy_tau: float = 0.0) -> None:
        self._settings, self._hierarchy_tau = settings, hierarchy_tau
        self._extractor = create_extractor(settings.node.backend, settings.node.device, **settings.extractor)
        self._extractor.prepare(1)
        self._tracker = Tracker(settings.tracker)
        self._before: _Before | None = None

    @property
    def description(self) -> str:
        """Model, settings and device, for people."""
        return f'{self._extractor.description} on {self._extractor.device}'

    def process(self, scene: Scene, with_finest_cut: bool = False) -> FrameResult:
        """Return the segments of the next image.

        Args:
            scene: the image, with depth where there is some.
            with_finest_cut: whether the finest cut is wanted, too.

        Raises:
            ValueError: when its depth or camera_info has another aspect.
            MemoryError: when the device has too little memory.
        """
        start_s = time.perf_counter()
        feature_map = self._extractor.batch([scene.image_rgb])[0]
        frame = Frame(scene.image_rgb, feature_map, self._find_before(scene.stamp_ns))
        segmentation = frame.cut(self._settings.segmenter)
        if self._settings.segmenter.damping > 0:
            # Not the image: a saved state shall be small.
            self._before = _Before(scene.stamp_ns, frame.segments, thumbnail(scene.image_rgb))
        segmentation = self._tracker.update(segmentation, scene.stamp_ns)
        count, depth_share = len(segmentation.segments), None
        geometries: list[SegmentGeometry | None] = [None] * count
        if scene.depth_m is not None:
            geometries = locate_segments(segmentation.labels, scene.depth_m, scene.camera, count)
            depth_share = float(np.mean(~np.isnan(scene.depth_m)))
        latency_ms = (time.perf_counter() - start_s) * 1000
        alpha = self._settings.segmenter.alpha
        deepest = max(segmentation.tau, self._hierarchy_tau)
        hierarchy = Hierarchy.of(frame.tree(alpha, deepest), feature_map.grid_hw)
        finest = finest_cut(frame, feature_map, alpha, segmentation.tau) if with_finest_cut else None
        return FrameResult(
            scene.stamp_ns,
            scene.header,
            scene.image_rgb,
            segmentation,
            hierarchy,
            tuple(geometries),
            depth_share,
            latency_ms,
            finest,
        )

    def save(self) -> bytes:
        """Return what the next images depend on: the tracks, and what is needed of the image before."""
        return zlib.compress(pickle.dumps((self._tracker, self._before)), 1)

    def load(self, state: bytes) -> None:
        """Go on from where a pipeline with the same settings was saved; `state` is trusted, since it is a pickle."""
        self._tracker, self._before = pickle.loads(zlib.decompress(state))

    def _find_before(self, stamp_ns: int) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return `Frame`'s `before` for an image: None if the last one is older than tracks may get."""
        before = self._before
        if before is None or not 0 <= stamp_ns - before.stamp_ns <= self._settings.tracker.max_age_s * 1e9:
            return None
        return partial(carry_segments, before.segments, before.thumbnail)
