"""The pipeline of one camera, from image to result: features, hierarchy, cut, track ids, places.

Node, analysis and library use it; it is written here once.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch

from diffcut_ros.core.frame import Cut, Frame, SegmenterConfig, describe_segments
from diffcut_ros.core.geometry import PinholeCamera, SegmentGeometry, locate_segments, moved, points_at
from diffcut_ros.core.motion import Trail, carry_segments, thumbnail, thumbnail_hw
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
        frame: its features and hierarchy, for other cuts; of the image that segments were carried from, if they were.
        cut: how it was cut, whatever other cuts of the frame follow; where it was carried along, without `pixels`.
        box_axes: along which axes boxes lie, 'camera' or 'target': those of the frame that places are in.
        carried_ns: how much older, by the stamps, the image is that segments were carried from; None: they were not.
    """

    scene: Scene
    segmentation: Segmentation
    frame: Frame = field(repr=False)
    cut: Cut = field(repr=False)
    box_axes: str = BOX_AXES[0]
    carried_ns: int | None = None

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


@dataclass(frozen=True)
class _Computed:
    """The last image that was computed: how it was cut, and where it is in the newest image.

    `track_id` is that of each part, int64 [P], 0 = not given yet; None before the cut came out.
    """

    prepared: Prepared
    cut: Cut
    trail: Trail
    track_id: np.ndarray | None = None


class _Coming(NamedTuple):
    """An image that is being computed while others come: where it is in the newest one, and for `Frame.follow`."""

    scene: Scene
    trail: Trail
    before: Callable[[np.ndarray], np.ndarray] | None = None
    segment_before: np.ndarray | None = None


Deliver = Callable[[Result], None]


def _carried(cut: Cut, trail: Trail, _: np.ndarray) -> np.ndarray:
    """Return what `Frame` needs of the image before in another one, which the trail leads to."""
    parts = trail.carry(cut.parts).astype(np.int32)
    return parts if cut.pixels is None else np.stack([parts, trail.carry(cut.pixels)])


def _parts_of(segmentation: Segmentation, parts: np.ndarray, count: int) -> np.ndarray:
    """Return which of so many parts, uint16 [H, W], each segment is, int64 [K]; small ones may be none."""
    if len(segmentation.segments) == count:
        return np.arange(count)
    part = np.zeros(len(segmentation.segments) + 1, np.int64)
    part[segmentation.labels.ravel()] = parts.ravel()
    return part[1:]


def _keep(_: Result) -> None:
    """Deliver to nobody but the caller."""


class Pipeline:
    """Segments the images of one camera, one after the other.

    `process` is `prepare` and `finish`. One thread may prepare the next image while another finishes this one, and a
    third cuts the last one again (`recut`): results are the same as of one after the other, they are delivered one
    after the other, and none of an image after one of a newer image. A failed image leaves the last one as it was.

    Where features take longer than there is from image to image, `carry` takes each image instead, and gives it the
    segments of the last one that was computed, carried along by motion; beside it another thread computes some of them,
    by `begin`, `prepare` and `arrive`.

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
        self._computed: _Computed | None = None
        self._coming: _Coming | None = None
        self._newest: Scene | None = None
        self._newest_is_out = False
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
        frame.follow(*self._follow(scene.stamp_ns))
        with self._cut_in_turn(frame) as segmentation:
            self._coming = None
            return self._show(scene, _Computed(prepared, frame.last_cut, Trail(scene.image_rgb)), segmentation, deliver)

    def carry(self, scene: Scene, deliver: Deliver = _keep) -> Result | None:
        """Take the next image, and give it the segments of the last one that was computed.

        Args and errors are those of `process`.

        Returns:
            The result; None where there is nothing to carry: no image was computed yet, or this one does not go on from
            that, by its stamp, its size or what it shows.
        """
        check_image(scene.image_rgb)
        with self._turn:
            before, self._newest, self._newest_is_out = self._newest, scene, False
            if (
                before is None
                or before.image_rgb.shape != scene.image_rgb.shape
                or not self.tracking.follows(before.stamp_ns, scene.stamp_ns)
            ):
                self._computed = self._coming = None
            if self._coming is not None:
                trail = self._coming.trail.follow(scene.image_rgb)
                self._coming = None if trail is None else self._coming._replace(trail=trail)
            if self._computed is None:
                return None
            trail = self._computed.trail.follow(scene.image_rgb)
            self._computed = None if trail is None else replace(self._computed, trail=trail)
            return None if self._computed is None else self._show(scene, self._computed, None, deliver)

    def begin(self) -> Scene | None:
        """Return the newest image, to be computed while those after it are carried; None where there is none.

        Of two that were begun, only the last arrives.
        """
        with self._turn:
            scene, computed = self._newest, self._computed
            if scene is None:
                return None
            self._coming = _Coming(scene, Trail(scene.image_rgb))
            if computed is not None:
                self._coming = self._coming._replace(
                    before=partial(_carried, computed.cut, computed.trail), segment_before=computed.cut.segment
                )
            return scene

    @torch.inference_mode()
    def arrive(self, prepared: Prepared, deliver: Deliver = _keep) -> bool:
        """Segment an image that was begun and then prepared: from now on its segments are carried.

        Args:
            prepared: what `prepare` returned, once.
            deliver: as for `process`; called with the newest image, unless that came out already: then the next one is
                the first.

        Returns:
            Whether that is so; not if the camera shows something else by now.

        Raises:
            MemoryError: when the device has too little memory.
        """
        scene, frame = prepared
        coming = self._coming
        if coming is None or coming.scene is not scene:
            return False
        frame.follow(coming.before, coming.segment_before)
        with self._cut_in_turn(frame) as segmentation:
            coming = self._coming
            if coming is None or coming.scene is not scene:
                return False
            self._coming = None
            self._computed = _Computed(prepared, frame.last_cut, coming.trail)
            if not self._newest_is_out:
                self._show(self._newest or scene, self._computed, segmentation, deliver)
            return True

    @contextmanager
    def _cut_in_turn(self, frame: Frame) -> Iterator[Segmentation]:
        """Cut a new image, and wait until it is its turn to be delivered."""
        config = self.config  # one image, one set of settings, whenever they are replaced
        segmentation = frame.cut(config)
        # First the last image as it is being cut anew, which is quick in general; it does not hold up the camera.
        self._not_cutting.wait(_PATIENCE_S)
        with self._turn:
            # An image before may have been delivered with the settings of now, and none of the old ones follows it.
            yield segmentation if config == self.config else frame.cut(self.config)

    @torch.inference_mode()
    def recut(self, config: SegmenterConfig | None = None, deliver: Deliver = _keep) -> Result | None:
        """Cut the last image again.

        Args:
            config: if given, replaces the settings, unless there is no image yet.
            deliver: as for `process`.

        Returns:
            Its result, or None if there is no image yet, or a newer one by the time it is cut. Where the last image
            was not computed, the one that was is cut, and carried again.

        Raises:
            MemoryError: when the device has too little memory.
        """
        last = self._computed
        if last is None:
            return None
        prepared = last.prepared
        if config is not None:
            self.config = config
        self._not_cutting.clear()
        try:
            segmentation = prepared.frame.cut(self.config)
            with self._turn:
                last, newest = self._computed, self._newest
                if last is None or newest is None:
                    return None
                if last.prepared is prepared:
                    last = _Computed(prepared, prepared.frame.last_cut, last.trail)
                    return self._show(newest, last, segmentation, deliver)
                # A newer one came out with the settings of now, or has arrived and waits for the next image.
                return None if last.track_id is not None else self._show(newest, last, None, deliver)
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

    def _show(self, newest: Scene, computed: _Computed, segmentation: Segmentation | None, deliver: Deliver) -> Result:
        """Deliver the newest image with the segments of one that was computed, which may be given if it is new."""
        (key, frame), cut, track_id = computed.prepared, computed.cut, computed.track_id
        of_key, before = newest is key, self._before
        if of_key:
            before = _Before(key.stamp_ns, cut.parts, cut.segment, key.image_rgb, cut.pixels)
        if segmentation is None or not of_key:
            cut = replace(cut, parts=computed.trail.carry(cut.parts), pixels=None)
            segmentation = describe_segments(
                cut.parts, cut.concepts, cut.config.min_segment_area, cut.tau, cut.segment, track_id
            )
        known = segmentation.segments.track_id.all()
        scene, view = _placed(newest)
        segmentation = self._tracker.update(segmentation, scene.stamp_ns, view, carried=track_id is not None)
        if not known:
            track_id = np.zeros(len(cut.segment), np.int64) if track_id is None else track_id.copy()
            track_id[_parts_of(segmentation, cut.parts, len(track_id))] = segmentation.segments.track_id
        self._newest, self._newest_is_out, self._before = newest, True, before
        self._computed = replace(computed, track_id=track_id)  # from now on another thread may cut it again
        carried_ns = None if of_key else scene.stamp_ns - key.stamp_ns
        result = Result(scene, segmentation, frame, cut, self.box_axes, carried_ns)
        deliver(result)
        return result

    def _follow(self, stamp_ns: int) -> tuple[Callable[[np.ndarray], np.ndarray] | None, np.ndarray | None]:
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
