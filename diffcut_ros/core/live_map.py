"""The map of what the images of a camera have shown so far: it grows with each of them, within bounds.

What is kept are the sums of `core.objects`. Sums of few images are added to those of many only once they are half as
large, so that an image costs the same however much is remembered.
"""

import logging
import threading
from collections.abc import Callable

import numpy as np

from diffcut_ros.core.objects import ObjectMap, Sightings, join, look, nothing, object_map
from diffcut_ros.core.pipeline import Scene
from diffcut_ros.core.tracking import TrackerConfig
from diffcut_ros.core.transform import Transform
from diffcut_ros.core.types import MAX_TRACK_ID, Segmentation, Segments

_log = logging.getLogger('diffcut_ros')


class LiveMap:
    """Remembers what images show of things, as long as `Tracker` remembers places, and makes a map of it when asked.

    At most `max_remembered` track ids are in it, and `max_voxels` pairs of a voxel and a track id; beyond that, those
    seen longest ago are left out. One thread may add images while another one settles, and makes maps.

    Args:
        tell: called with a readable line when something is left out or forgotten.
    """

    def __init__(self, tell: Callable[[str], object] = _log.warning) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._last, self._waiting, self._kept = nothing(), list[Sightings](), list[Sightings]()
        self._made: ObjectMap | None = None
        self._stamp_ns, self._voxel_m = 0, 0.0
        self._begun = 0  # how often it was begun anew
        self._changes = 0
        self._told: set[str] = set()

    @property
    def changes(self) -> int:
        """How often it has changed."""
        return self._changes

    @property
    def stamp_ns(self) -> int:
        """Stamp of the last image."""
        return self._stamp_ns

    def add(self, scene: Scene, segmentation: Segmentation, into: Transform | None, config: TrackerConfig) -> None:
        """Add what an image shows; the last one again, cut otherwise, takes its place.

        Args:
            scene: the image.
            segmentation: of it, with `track_id`.
            into: takes points of the camera into the frame of the map; None: not known, and the image is not in it.
            config: of the track ids.

        Raises:
            ValueError: when image or camera have another aspect than the depth image.
        """
        reason = config.forgets(self._stamp_ns, scene.stamp_ns, self._voxel_m or config.voxel_m)
        if reason:
            self.forget(reason)
        if not config.max_remembered:
            return
        if scene.depth_m is None or scene.camera is None or into is None:
            seen = nothing(without_places=1)
        else:
            place = scene.depth_m, scene.camera, into, config.voxel_m
            seen = look(scene.image_rgb, segmentation, scene.stamp_ns, *place)
        with self._lock:
            if scene.stamp_ns != self._stamp_ns:
                self._waiting.append(self._last)
            self._last, self._stamp_ns, self._voxel_m = seen, scene.stamp_ns, config.voxel_m
            self._changes += 1

    def settle(self, config: TrackerConfig) -> None:
        """Add up what has come since the last time: to be done each second or so, else memory grows with images."""
        with self._lock:
            kept, waiting, begun = list(self._kept), self._waiting, self._begun
            self._waiting = []
        if waiting:
            kept.append(join(waiting))
        while len(kept) > 1 and len(kept[-2]) <= 2 * len(kept[-1]):
            kept[-2:] = [join(kept[-2:])]
        # They overlap: twice as much may be no more than there is room for.
        if (
            sum(map(len, kept)) > 2 * config.max_voxels
            or sum(len(one.track_id) for one in kept) > 2 * config.max_remembered
        ):
            kept = [self._bounded(join(kept), config)]
        self._keep(kept, begun)

    def map(self, config: TrackerConfig) -> ObjectMap:
        """Return the objects of all images so far, without classes."""
        self.settle(config)
        with self._lock:
            kept, last, begun, voxel_m, before = list(self._kept), self._last, self._begun, self._voxel_m, self._made
        whole = join(kept)
        bounded = self._bounded(whole, config)
        if bounded is not whole:
            self._keep([bounded], begun)
        found = object_map(join([bounded, last]), voxel_m, before=before)
        with self._lock:
            if begun == self._begun:
                self._made = found
        return found

    def shown(self, segments: Segments) -> np.ndarray:
        """Return the object of the last map that each segment of the last image shows, int64 [K].

        0: it has no place, or only such as the map does not have yet.
        """
        with self._lock:
            found, last = self._made, self._last
        if found is None:
            return np.zeros(len(segments), np.int64)
        return found.object_of(last.voxel, last.track, last.samples, MAX_TRACK_ID + 1)[segments.track_id]

    def forget(self, reason: str) -> None:
        """Begin anew, and say so where there was something."""
        with self._lock:
            tracks = {*self._last.track_id.tolist()}.union(
                *(one.track_id.tolist() for one in (*self._kept, *self._waiting))
            )
            self._last, self._waiting, self._kept, self._made = nothing(), [], [], None
            self._stamp_ns, self._voxel_m = 0, 0.0
            self._begun += 1
            self._changes += bool(tracks)
        if tracks:
            self._tell(f'the map of objects, of {len(tracks)} track ids, begins anew: {reason}')

    def _keep(self, kept: list[Sightings], begun: int) -> None:
        """Keep what was added up, unless all was forgotten meanwhile."""
        with self._lock:
            if begun == self._begun:
                self._kept = kept

    def _bounded(self, seen: Sightings, config: TrackerConfig) -> Sightings:
        """Return as much as there is room for."""
        for name, count, most in (
            ('tracking.max_remembered', len(seen.track_id), config.max_remembered),
            ('tracking.max_voxels', len(seen), config.max_voxels),
        ):
            if count > most and name not in self._told:
                self._told.add(name)
                self._tell(
                    f'the map of objects: {name}: {most} are reached; from now on those seen longest ago are left out'
                )
        return seen.latest(config.max_remembered, config.max_voxels)
