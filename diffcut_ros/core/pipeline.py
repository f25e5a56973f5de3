"""The pipeline of one camera, from image to result: features, hierarchy, cut, track ids, places.

Node, analysis and library use it; it is written here once.
"""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch

from diffcut_ros.core.frame import Cut, Frame, SegmenterConfig
from diffcut_ros.core.geometry import PinholeCamera, SegmentGeometry, locate_segments, moved, points_at
from diffcut_ros.core.motion import carry_segments, thumbnail, thumbnail_hw
from diffcut_ros.core.plain import expect
from diffcut_ros.core.tracking import SAMPLES_HW, Tracker, TrackerConfig, View
from diffcut_ros.core.transform import Transform
from diffcut_ros.core.types import MAX_SEGMENTS, FeatureMap, Segmentation, check_image

# How long a new image waits for the last one's new cut.
_PATIENCE_S = 0.3
# Hierarchies of more cells are not computed ahead: two at a time could take the memory that one needs.
_MOST_CELLS_AHEAD = 4096
# How boxes may lie, see `Result.box_axes`.
BOX_AXES = ('camera', 'target')

_log = logging.getLogger('diffcut_ros')


@dataclass(frozen=True)
class Scene:
    """What a camera saw at one moment.

    Attributes:
        image_rgb: uint8 [H, W, 3].
        stamp_ns: when that was, to order and compare by.
        depth_m: float32 [H', W'] in metres, NaN where there is none; None without depth.
        camera: of the image; None where it is not known where things are: no positions, but instances in space.
        header: whatever all outputs shall carry, such as a std_msgs/Header.
        look_up: returns what takes points of the camera into the frame that places are wanted in, or None where that is
            not known; may wait. None: they are wanted in the camera's. That frame does not move: track ids are
            remembered by places in it.
    """

    image_rgb: np.ndarray = field(repr=False)
    stamp_ns: int = 0
    depth_m: np.ndarray | None = field(default=None, repr=False)
    camera: PinholeCamera | None = None
    header: Any = None
    look_up: Callable[[], Transform | None] | None = field(default=None, repr=False)


class Prepared(NamedTuple):
    """A scene with its features and, unless that is too large, its hierarchy; see `Pipeline.prepare`."""

    scene: Scene
    frame: Frame


@dataclass(frozen=True)
class Result:
    """What the pipeline finds in one scene.

    Attributes:
        scene: as it was given, with its transform looked up.
        segmentation: its segments, with `track_id`.
        frame: its features and hierarchy, for other cuts.
        cut: how it was cut, whatever other cuts of the frame follow.
        box_axes: along which axes boxes lie, 'camera' or 'target': those of the frame that places are in.
    """

    scene: Scene
    segmentation: Segmentation
    frame: Frame = field(repr=False)
    cut: Cut = field(repr=False)
    box_axes: str = BOX_AXES[0]

    @cached_property
    def into(self) -> Transform | None:
        """What takes points of the camera into the frame that places are in, looked up once; None: not known."""
        return Transform() if self.scene.look_up is None else self.scene.look_up()

    @cached_property
    def geometries(self) -> tuple[SegmentGeometry | None, ...]:
        """Where each segment is in space, in their order, computed once; None where that is not known."""
        return self.locate(self.segmentation.labels, len(self.segmentation.segments))

    def locate(self, labels: np.ndarray, count: int) -> tuple[SegmentGeometry | None, ...]:
        """Return where segments of the scene are, one entry per label from 1 to the count; see `geometries`."""
        scene = self.scene
        if scene.depth_m is None or scene.camera is None or self.into is None:
            return (None,) * count
        if scene.look_up is None:
            return locate_segments(labels, scene.depth_m, scene.camera, count)
        if self.box_axes == 'target':
            return locate_segments(labels, scene.depth_m, scene.camera, count, self.into)
        return moved(locate_segments(labels, scene.depth_m, scene.camera, count), self.into)


@dataclass(frozen=True)
class _Before:
    """What damping needs of the image before: stamp, `Cut.parts`, `.segment`, image or its `thumbnail`, `.pixels`."""

    stamp_ns: int
    parts: np.ndarray
    segment: np.ndarray
    image: np.ndarray
    pixels: np.ndarray | None = None

    def check(self) -> None:
        """Raise ValueError unless it is one as it is saved, with the thumbnail."""
        if not isinstance(self.stamp_ns, int):
            raise ValueError(f'stamp_ns: expected a whole number, received {self.stamp_ns!r}')
        expect('parts', self.parts, 'u', self.parts.shape[:2], 0, len(self.segment) - 1)
        expect('segment', self.segment, 'i', (len(self.segment),), 0, MAX_SEGMENTS)
        expect('image', self.image, 'u', thumbnail_hw(self.parts.shape), 0, 255)
        if self.pixels is not None:
            expect('pixels', self.pixels, 'u', self.parts.shape, 0, MAX_SEGMENTS)


Deliver = Callable[[Result], None]


def _keep(_: Result) -> None:
    """Deliver to nobody but the caller."""


class Pipeline:
    """Segments the images of one camera, one after the other.

    `process` is `prepare` and `finish`. One thread may prepare the next image while another finishes this one, and a
    third cuts the last one again (`recut`): results are the same as of one after the other, they are delivered one
    after the other, and none of an image after one of a newer image. A failed image leaves the last one as it was.

    Args:
        extractor: maps an image, uint8 [H, W, 3] RGB, to its `FeatureMap`; not called where features are given.
        config: settings of the segments.
        tracking: settings of the track ids.
        box_axes: of the results. All three may be replaced at any time: `pipeline.config`, `.tracking`, `.box_axes`.
        tell: called with a readable line when remembered places are forgotten.
    """

    def __init__(
        self,
        extractor: Callable[[np.ndarray], FeatureMap],
        config: SegmenterConfig | None = None,
        tracking: TrackerConfig | None = None,
        box_axes: str = BOX_AXES[0],
        tell: Callable[[str], object] = _log.warning,
    ) -> None:
        self.config = config or SegmenterConfig()
        self.box_axes = box_axes
        self._extractor = extractor
        self._tracker = Tracker(tracking, tell)
        self._last: Prepared | None = None
        self._before: _Before | None = None
        self._turn = threading.Lock()
        self._not_cutting = threading.Event()
        self._not_cutting.set()

    @property
    def tracking(self) -> TrackerConfig:
        """Settings of the track ids."""
        return self._tracker.config

    @tracking.setter
    def tracking(self, config: TrackerConfig) -> None:
        self._tracker.config = config

    def process(self, scene: Scene, feature_map: FeatureMap | None = None, deliver: Deliver = _keep) -> Result:
        """Segment the next image, which is the last one from now on.

        Args:
            scene: the image, with depth where there is some.
            feature_map: of the image, where that is computed for several cameras at once.
            deliver: called with the result when it is its turn, before it is returned.

        Raises:
            ValueError: for an image of another shape or dtype.
            MemoryError: when the device has too little memory.
        """
        return self.finish(self.prepare(scene, feature_map), deliver)

    @torch.inference_mode()
    def prepare(self, scene: Scene, feature_map: FeatureMap | None = None) -> Prepared:
        """Compute of an image what does not depend on the images before: features and hierarchy.

        Args and errors are those of `process`.
        """
        check_image(scene.image_rgb)
        if feature_map is None:
            feature_map = self._extractor(scene.image_rgb)
        frame = Frame(scene.image_rgb, feature_map, depth_m=scene.depth_m)
        if math.prod(feature_map.grid_hw) <= _MOST_CELLS_AHEAD:
            frame.grow(self.config)  # if others hold by the time it is cut, it grows on, or anew
        return Prepared(scene, frame)

    @torch.inference_mode()
    def finish(self, prepared: Prepared, deliver: Deliver = _keep) -> Result:
        """Segment an image that was prepared, which is the last one from now on; images in their order.

        Args:
            prepared: what `prepare` returned, once.
            deliver: as for `process`.

        Raises:
            MemoryError: when the device has too little memory.
        """
        scene, frame = prepared
        config = self.config  # one image, one set of settings, whenever they are replaced
        frame.follow(*self._carry(scene.stamp_ns))
        cut = frame.cut(config)
        # First the last image as it is being cut anew, which is quick in general; it does not hold up the camera.
        self._not_cutting.wait(_PATIENCE_S)
        with self._turn:
            # An image before may have been delivered with the settings of now, and none of the old ones follows it.
            if config != self.config:
                cut = frame.cut(self.config)
            return self._finish(prepared, cut, deliver)

    @torch.inference_mode()
    def recut(self, config: SegmenterConfig | None = None, deliver: Deliver = _keep) -> Result | None:
        """Cut the last image again.

        Args:
            config: if given, replaces the settings, unless there is no image yet.
            deliver: as for `process`.

        Returns:
            Its result, or None if there is no image yet, or a newer one by the time it is cut.

        Raises:
            MemoryError: when the device has too little memory.
        """
        last = self._last
        if last is None:
            return None
        if config is not None:
            self.config = config
        self._not_cutting.clear()
        try:
            cut = last.frame.cut(self.config)
            with self._turn:
                return self._finish(last, cut, deliver) if self._last is last else None
        finally:
            self._not_cutting.set()

    def save(self) -> dict[str, Any]:
        """Return what the next images depend on, for `pack`: the tracks and, for damping, the image before."""
        before = self._before if self.config.damping > 0 else None
        # Not the image, but its thumbnail: a saved state shall be small.
        small = before and vars(replace(before, image=thumbnail(before.image)))
        return {'tracker': self._tracker.save(), 'before': small}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from where a pipeline with the same settings was saved.

        Raises:
            ValueError: for another state.
        """
        try:
            before = state['before'] and _Before(**state['before'])
            if before is not None:
                before.check()
            self._tracker.load(state['tracker'])
            self._before = before
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f'expected the state of a pipeline, received another: {error!r}') from error

    def _finish(self, last: Prepared, segmentation: Segmentation, deliver: Deliver) -> Result:
        frame = last.frame
        scene, view = _placed(last.scene)
        cut = frame.last_cut
        self._before = _Before(scene.stamp_ns, cut.parts, cut.segment, scene.image_rgb, cut.pixels)
        self._last = last  # from now on another thread may cut it again
        result = Result(scene, self._tracker.update(segmentation, scene.stamp_ns, view), frame, cut, self.box_axes)
        deliver(result)
        return result

    def _carry(self, stamp_ns: int) -> tuple[Callable[[np.ndarray], np.ndarray] | None, np.ndarray | None]:
        """Return `before` and `segment_before` for a frame: None if the last image is older than tracks may get."""
        before = self._before
        if before is None or not self.tracking.follows(before.stamp_ns, stamp_ns):
            return None, None
        both = before.parts if before.pixels is None else np.stack([before.parts, before.pixels])
        return partial(carry_segments, both, before.image), before.segment


def _placed(scene: Scene) -> tuple[Scene, View | None]:
    """Return a scene whose transform is looked up, and where what it shows is in a frame that does not move."""
    depth_m, camera = scene.depth_m, scene.camera
    if scene.look_up is None or depth_m is None or camera is None:
        return scene, None
    into = scene.look_up()
    scene = replace(scene, look_up=lambda: into)
    if into is None:
        return scene, None
    try:
        return scene, View(points_at(depth_m, camera, into, SAMPLES_HW), into)
    except ValueError:  # another aspect: told to those who ask for places
        return scene, None
