"""What an analysis keeps of each image of a recording."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffcut_ros.analysis.finest_cut import FinestCut, finest_cut
from diffcut_ros.analysis.hierarchies import Hierarchy
from diffcut_ros.analysis.settings import Settings
from diffcut_ros.classes_file import ClassesFile, check_backend
from diffcut_ros.core import Pipeline, Scene, Segmentation, SegmentGeometry, Segments
from diffcut_ros.core.classes import Classes
from diffcut_ros.core.objects import Sightings, look, nothing
from diffcut_ros.core.pipeline import Prepared, Result
from diffcut_ros.core.threads import may_overlap
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import probe


@dataclass(frozen=True)
class Named:
    """What segments are, by example.

    Attributes:
        classes: names and colours.
        class_id: int64 [K], of each segment; 0 where it is unknown.
        confidence: float64 [K], 0 to 1, see `Classes.classify`.
        min_confidence: what is less sure is unknown.
    """

    classes: Classes = field(repr=False)
    class_id: np.ndarray
    confidence: np.ndarray
    min_confidence: float = 0.0

    @property
    def names(self) -> list[str]:
        """Name of the class of each segment."""
        return [self.classes.name(key) for key in self.class_id.tolist()]


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
        latency_ms: time that features, segments, tracks and places took, without waiting for the image before.
        finest_cut: of its hierarchy, where that was asked for.
        named: what its segments are; None without classes.
        target_frame: that the geometries are in; empty: the camera's.
        notes: what was said of remembered places as it was segmented.
        sightings: what it adds to the map of objects, where that is asked for.
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
    named: Named | None = None
    target_frame: str = ''
    notes: tuple[str, ...] = ()
    sightings: Sightings | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.geometries) != len(self.segmentation.segments):
            raise ValueError(
                f'geometries: expected one per segment, {len(self.segmentation.segments)}, '
                f'received {len(self.geometries)}'
            )


class Analyzer:
    """Segments the images of a recording's camera by the pipeline, and keeps what is written of each.

    Args:
        settings: parameters.
        hierarchy_tau: up to where hierarchies go at least.
        classes: what segments get names by; None: they get none.
        with_objects: whether `FrameResult.sightings` are wanted.

    Raises:
        ValueError: for a backend that cannot be built, or is not the one that the classes were taught with.
        MemoryError: when the device has too little memory.
    """

    def __init__(
        self,
        settings: Settings,
        hierarchy_tau: float = 0.0,
        classes: ClassesFile | None = None,
        with_objects: bool = False,
    ) -> None:
        self._hierarchy_tau, self._with_objects = hierarchy_tau, with_objects
        self._classes = None if classes is None else classes.classes
        self._min_confidence = settings.node.min_confidence
        self._extractor = create_extractor(settings.node.backend, settings.node.device, **settings.extractor)
        self._extractor.prepare(1)
        if classes is not None:
            path = Path(settings.node.classes_file)
            check_backend(path, classes, self._extractor.description, probe(self._extractor))
        self._target_frame = settings.node.target_frame
        # Columns of tables have no place for boxes that are turned.
        self._notes: list[str] = []
        self._pipeline = Pipeline(
            self._extractor, settings.segmenter, settings.tracker, box_axes='target', tell=self._notes.append
        )
        self.save, self.load = self._pipeline.save, self._pipeline.load

    @property
    def description(self) -> str:
        """Model, settings and device, as text."""
        return f'{self._extractor.description} on {self._extractor.device}'

    @property
    def overlaps(self) -> bool:
        """Whether it pays to prepare an image while the one before is finished."""
        return may_overlap(self._extractor.device)

    def process(self, scene: Scene, with_finest_cut: bool = False) -> FrameResult:
        """Return the segments of the next image: `prepare` and `finish`."""
        return self.finish(self.prepare(scene), with_finest_cut)

    def prepare(self, scene: Scene) -> tuple[Prepared, float]:
        """Compute of an image what does not depend on the images before; another thread may finish one meanwhile.

        Args:
            scene: the image, with depth where there is some.

        Returns:
            It, and the seconds it took, but for what of the hierarchy only the tables need.

        Raises:
            MemoryError: when the device has too little memory.
        """
        start_s = time.perf_counter()
        ahead = self._pipeline.prepare(scene)
        seconds = time.perf_counter() - start_s
        if ahead.frame.grown:
            config = self._pipeline.config
            ahead.frame.tree(config.alpha, max(config.tau, self._hierarchy_tau))
        return ahead, seconds

    def finish(self, prepared: tuple[Prepared, float], with_finest_cut: bool = False) -> FrameResult:
        """Return the segments of an image that was prepared; images in their order.

        Args:
            prepared: what `prepare` returned, once.
            with_finest_cut: whether the finest cut is wanted, too.

        Raises:
            ValueError: when its depth or camera_info has another aspect.
            MemoryError: when the device has too little memory.
        """
        ahead, seconds = prepared
        scene, start_s = ahead.scene, time.perf_counter()
        self._notes.clear()
        result = self._pipeline.finish(ahead)
        segmentation, geometries = result.segmentation, result.geometries
        latency_ms = (seconds + time.perf_counter() - start_s) * 1000
        named = self._named(segmentation.segments)
        frame, config = result.frame, self._pipeline.config
        tree = frame.tree(config.alpha, max(segmentation.tau, self._hierarchy_tau))
        return FrameResult(
            scene.stamp_ns,
            scene.header,
            scene.image_rgb,
            segmentation,
            Hierarchy.of(tree, frame.feature_map.grid_hw),
            geometries,
            None if scene.depth_m is None else float(np.mean(~np.isnan(scene.depth_m))),
            latency_ms,
            finest_cut(frame, config.alpha, segmentation.tau, config.refine) if with_finest_cut else None,
            named,
            self._target_frame,
            tuple(self._notes),
            self._sightings(result) if self._with_objects else None,
        )

    def _sightings(self, result: Result) -> Sightings:
        scene = result.scene
        if result.into is None or scene.depth_m is None or scene.camera is None:
            return nothing(without_places=1)
        return look(
            scene.image_rgb,
            result.segmentation,
            scene.stamp_ns,
            scene.depth_m,
            scene.camera,
            result.into,
            self._pipeline.tracking.voxel_m,
        )

    def _named(self, segments: Segments) -> Named | None:
        if self._classes is None:
            return None
        least = self._min_confidence
        return Named(self._classes, *self._classes.classify(segments, least), least)
