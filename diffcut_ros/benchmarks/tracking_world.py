"""`diffcut_benchmark tracking --world`: do things get their identity back when the camera comes back to them?

Tracks with places in the world by known poses, beside tracks without; the objects that segments show in the map of all
images, as `diffcut_analyze --objects` gives them; and what the map of objects takes that the node
publishes each second. Truth is by depth and pose: each pixel's point is looked for in the frames before, back to the
last one that surely shows it. Frames are shown twice: one after the other; and every other one forth, then, after a
pause, those in between backwards, as a robot comes back.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from rich.table import Table
from scipy.spatial.transform import Rotation

from diffcut_ros.arguments.parser import given
from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.benchmarks.rgbd import frame_paths, load_camera, load_depth, load_frame, load_image, to_world
from diffcut_ros.core import Pipeline, Segmentation, SegmenterConfig, Tracker
from diffcut_ros.core.geometry import PinholeCamera, points_at
from diffcut_ros.core.live_map import LiveMap
from diffcut_ros.core.objects import Sightings, join, look, object_map
from diffcut_ros.core.pipeline import Scene
from diffcut_ros.core.places import Places
from diffcut_ros.core.tracking import SAMPLES_HW, View
from diffcut_ros.core.transform import Transform
from diffcut_ros.core.types import MAX_TRACK_ID
from diffcut_ros.evaluation.measure import machine
from diffcut_ros.features import create_extractor
from diffcut_ros.features.registry import resolve_device
from diffcut_ros.progress import track

# Every eighth row and column of pixels.
_STEP = 8
# As in `tracking`: how far depths of one point may differ, and how near an edge of depth a pixel is not looked at.
_DEPTH_TOLERANCE, _EDGE_PX = 0.05, 4
# An identity that comes back is given to something else where less than this share of its points is within a voxel of
# this side, or the next one, of where the identity was seen before.
_SAME_PLACE, _NEAR_M = 0.25, 0.1
_NOISE_M, _NOISE_DEGREES = 0.01, 1.0
PLACES, IMAGES, OBJECTS = 'with places', 'without', 'objects'
_PAUSES = ('1 s', 1.0), ('3 s', 3.0)


@dataclass(frozen=True)
class LastSeen:
    """Where points of a frame were seen before.

    Attributes:
        here: int64 [M], flat pixel indices in this frame.
        frame: int64 [M], index of the last frame before that surely shows the point, -1 = none does.
        there: int64 [M], flat pixel indices in that one.
    """

    here: np.ndarray
    frame: np.ndarray
    there: np.ndarray


@dataclass(frozen=True)
class Again:
    """What identities of frames are worth, in the order in which they are shown; NaN where nothing was seen so.

    Attributes:
        kept: share of the points that the frame before shows, too, with the identity that they had there.
        later: share of the points that were seen 1 s before, or before the pause, with the identity of that time,
            whether in sight since then or not.
        again: the same of those out of sight for a frame at least, for 1 s, for 3 s.
        identities: number of them.
        most: number of those that hold 99 % of the pixels, the largest ones.
        comebacks: how often an identity comes back that the frame before does not show.
        wrong: share of these in which it is given to something at another place.
    """

    kept: float
    later: float
    again: tuple[float, ...]
    identities: int
    most: int
    comebacks: int
    wrong: float


class MapCosts:
    """Makes the map of objects as the node does, and measures its processor time.

    Args:
        hz: images per second.
        tell: called with what the map says.
    """

    def __init__(self, hz: float, tell: Callable[[str], object]) -> None:
        self._map, self._every = LiveMap(tell), max(1, round(hz))
        self._config = Tracker().config
        self._looks: list[float] = []
        self._sums: list[float] = []
        self._maps: list[float] = []
        self._last: set[int] = set()
        self._ever: set[int] = set()
        self._joined = self._vanished = self._came_back = 0

    def add(self, scene: Scene, segmentation: Segmentation, into: Transform) -> None:
        """Add an image; with the last one of each second, make the map."""
        start_s = time.thread_time()
        self._map.add(scene, segmentation, into, self._config)
        self._looks.append(time.thread_time() - start_s)
        if len(self._looks) % self._every == 0:
            start_s = time.thread_time()
            self._map.settle(self._config)
            settled_s = time.thread_time()
            found = self._map.map(self._config)
            self._sums.append(settled_s - start_s)
            self._maps.append(time.thread_time() - settled_s)
            ids = {one.object_id for one in found.objects}
            gone, tracks = self._last - ids, {track for one in found.objects for track in one.track_ids}
            self._joined += len(gone & tracks)
            self._vanished += len(gone - tracks)
            self._came_back += len((ids - self._last) & self._ever)
            self._last, self._ever = ids, self._ever | ids

    def told(self) -> str:
        """Return what it took, as text."""
        if not self._maps:
            return ''
        looks, sums, maps = (1000 * np.array(values) for values in (self._looks, self._sums, self._maps))
        each = looks.mean() + (sums.sum() + maps.sum()) / len(looks)
        return (
            f'{len(self._last)} objects; of {len(self._ever)} ids in {len(maps)} maps one joined a smaller id '
            f'{self._joined} times, vanished {self._vanished} times, and came back {self._came_back} times; '
            f'{each:.1f} ms an image: {np.median(looks):.1f} ms (p95 '
            f'{np.percentile(looks, 95):.1f}) for itself, and each second {sums.mean():.0f} ms to add up, '
            f'{maps.mean():.0f} ms (at most {maps.max():.0f}) for the map'
        )


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table.

    Raises:
        ValueError: for fewer than four frames, or without a folder of frames.
    """
    if args.frames is None:
        raise ValueError('--world: expected FRAMES, a folder of RGB-D frames with poses, received none')
    paths = frame_paths(args.frames)[:: args.every][: args.limit]
    if len(paths) < 4:
        raise ValueError(f'{args.frames}: expected at least 4 frames, received {len(paths)}')
    hz = args.hz / args.every
    camera = load_camera(args.frames, load_image(paths[0]).shape[:2])
    device = resolve_device(args.device)
    config = SegmenterConfig(**given(args, 'tau', 'damping', 'refine', 'instances'))
    extractor = create_extractor(args.backend, device=device)
    poses = [load_depth(path, camera.size_hw)[1] for path in paths]
    told = noisy(poses) if args.noise else poses

    @cache
    def features(i: int):
        return extractor(load_image(paths[i], camera.size_hw))

    def show(
        order: list[int], stamps_ns: list[int], what: str, costs: MapCosts
    ) -> dict[str, tuple[list[np.ndarray], np.ndarray]]:
        pipeline, trackers = Pipeline(extractor, config), {PLACES: Tracker(), IMAGES: Tracker()}
        ids: dict[str, list[np.ndarray]] = {name: [] for name in trackers}
        seconds: dict[str, list[float]] = {name: [] for name in trackers}
        sights: list[Sightings] = []
        for i, stamp_ns in track(zip(order, stamps_ns, strict=True), len(order), f'{args.frames.name}: {what}'):
            frame = load_frame(paths[i], camera.size_hw)
            scene = Scene(frame.image_rgb, stamp_ns, frame.depth_m, camera)
            segmentation = pipeline.process(scene, features(i)).segmentation
            for name, tracker in trackers.items():
                start_s = time.thread_time()
                view = _view(frame.depth_m, camera, told[i]) if name == PLACES else None
                found = tracker.update(segmentation, stamp_ns, view)
                seconds[name].append(time.thread_time() - start_s)
                ids[name].append(_ids(found))
                if name == PLACES:
                    costs.add(scene, found, to_world(told[i]))
                    place = frame.depth_m, camera, to_world(told[i]), tracker.config.voxel_m
                    sights.append(look(frame.image_rgb, found, stamp_ns, *place))
        shown = {name: (ids[name], 1000 * np.array(seconds[name])) for name in trackers}
        return shown | {OBJECTS: (_objects(ids[PLACES], sights, Tracker().config.voxel_m), np.zeros(0))}

    count = len(paths)
    depths = [_sure(np.nan_to_num(load_depth(path, camera.size_hw)[0])) for path in paths]
    console = Figures()
    console.print(machine(device))
    noise = f', poses off by {100 * _NOISE_M:g} cm and {_NOISE_DEGREES:g} degree' if args.noise else ''
    console.print(f'{args.frames.name}: {count} frames at {hz:g} Hz{noise}')
    cut = f'tau {config.tau:g}, damping {config.damping:g}, instances {config.instances}, refine {config.refine}'
    table = Table(title=f'tracking in the world: backend {args.backend}, {cut}')
    console.begin(lambda: table)
    columns = 'frames', 'method', 'identities', '99 %', 'kept', 'later', 'again', *(name for name, _ in _PAUSES)
    for column in (*columns, 'comebacks', 'wrong', 'time (p95)'):
        table.add_column(column)
    costs: dict[str, MapCosts] = {}
    forth = list(range(count))
    back = [*forth[::2], *forth[1::2][::-1]]
    turn, pause_ns = len(forth[::2]), round(args.pause * 1e9)
    for title, order in (('all', forth), (f'and back after {args.pause:g} s', back)):
        pauses_ns = [pause_ns if order is back and k >= turn else 0 for k in range(count)]
        stamps_ns = [round(k * 1e9 / hz) + pause for k, pause in enumerate(pauses_ns)]
        seen = [depths[i] for i in order], [poses[i] for i in order], camera
        ends = [(turn if k >= turn else 0) if order is back else k + 1 - round(hz) for k in range(count)]
        truth, earlier = last_seen(*seen, list(range(count))), last_seen(*seen, ends)
        table.add_section()
        costs[title] = MapCosts(hz, console.print)
        for name, (ids, milliseconds) in show(order, stamps_ns, title, costs[title]).items():
            points = (_points(load_depth(paths[i], camera.size_hw)[0], camera, poses[i]) for i in order)
            found = score(ids, truth, earlier, stamps_ns, points)
            counts = str(found.identities), str(found.most)
            shares = [_share(share) for share in (found.kept, found.later, *found.again)]
            spent = ''
            if len(milliseconds):
                spent = f'{np.median(milliseconds):.1f} ms ({np.percentile(milliseconds, 95):.1f})'
            table.add_row(title, name, *counts, *shares, str(found.comebacks), _share(found.wrong), spent)
            title = ''
    console.finish()
    for title, cost in costs.items():
        if said := cost.told():
            console.print(f'map of objects, {title}: {said}')


def noisy(poses: list[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Return poses, float64 [4, 4], each off by itself: 1 cm along and 1 degree around each axis (normal)."""
    rng = np.random.default_rng(seed)
    found = []
    for pose in poses:
        turn = Rotation.from_rotvec(rng.normal(0, _NOISE_DEGREES, 3), degrees=True).as_matrix()
        off = pose.copy()
        off[:3, :3] = pose[:3, :3] @ turn
        off[:3, 3] += rng.normal(0, _NOISE_M, 3)
        found.append(off)
    return found


def last_seen(
    depths_mm: list[np.ndarray], poses: list[np.ndarray], camera: PinholeCamera, ends: list[int]
) -> list[LastSeen]:
    """Return where the points of each frame were seen last, in the order in which frames are shown.

    Args:
        depths_mm: uint16 [H, W] of each, 0 where depth is not sure: near its edges, and where there is none.
        poses: float64 [4, 4] of each, camera to world.
        camera: of them.
        ends: for each frame, which of the frames before come into question: those before this one.
    """
    height, width = camera.size_hw
    found = []
    for j, (depth_mm, pose) in enumerate(zip(depths_mm, poses, strict=True)):
        y, x = np.nonzero(depth_mm[::_STEP, ::_STEP])
        y, x = y * _STEP, x * _STEP
        z = depth_mm[y, x] / 1000
        points_m = np.stack([(x - camera.cx) / camera.fx * z, (y - camera.cy) / camera.fy * z, z])
        world = pose[:3, :3] @ points_m + pose[:3, 3:]
        frame, there, left = np.full(len(x), -1), np.zeros(len(x), np.int64), np.arange(len(x))
        for i in range(ends[j] - 1, -1, -1):
            seen = poses[i][:3, :3].T @ (world[:, left] - poses[i][:3, 3:])
            front = seen[2] > 0
            u, v = np.full((2, len(left)), -1)
            u[front] = np.rint(seen[0, front] / seen[2, front] * camera.fx + camera.cx)
            v[front] = np.rint(seen[1, front] / seen[2, front] * camera.fy + camera.cy)
            inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
            at = np.where(inside, v * width + u, 0)
            depth = depths_mm[i].ravel()[at] / 1000
            same = inside & (depth > 0) & (np.abs(depth - seen[2]) <= _DEPTH_TOLERANCE * seen[2])
            frame[left[same]], there[left[same]] = i, at[same]
            left = left[~same]
            if not len(left):
                break
        found.append(LastSeen(y * width + x, frame, there))
    return found


def score(
    ids: list[np.ndarray],
    truth: list[LastSeen],
    earlier: list[LastSeen],
    stamps_ns: list[int],
    points_m: Iterable[np.ndarray],
) -> Again:
    """Score identities, in the order in which frames are shown.

    Args:
        ids: int [H * W] of each frame, 0 = none.
        truth: of each.
        earlier: the same, of `Again.later`.
        stamps_ns: of each, rising.
        points_m: of each, where its pixels are in the world, float64 [H * W, 3], NaN where that is not asked.
    """
    kept, ago, ages_s = _kept(ids, truth, np.array(stamps_ns) / 1e9)
    later, _, _ = _kept(ids, earlier, np.array(stamps_ns) / 1e9)
    sizes = np.sort(np.bincount(np.concatenate(ids))[1:])[::-1]
    sizes = sizes[sizes > 0]
    again = [_mean(kept[ago > 1]), *(_mean(kept[(ago > 1) & (ages_s >= pause)]) for _, pause in _PAUSES)]
    shares = _places_shares(ids, points_m)
    most = 1 + int(np.searchsorted(np.cumsum(sizes), 0.99 * sizes.sum())) if len(sizes) else 0
    return Again(
        _mean(kept[ago == 1]), _mean(later), tuple(again), len(sizes), most, len(shares), _mean(shares < _SAME_PLACE)
    )


def _kept(
    ids: list[np.ndarray], truth: list[LastSeen], stamps_s: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of all points that had an identity when last seen whether they have it now, frames and seconds since."""
    kept, ago, age_s = [], [], []
    for j, seen in enumerate(truth):
        before = np.zeros(len(seen.here), ids[j].dtype)
        for i in np.unique(seen.frame[seen.frame >= 0]):
            of = seen.frame == i
            before[of] = ids[i][seen.there[of]]
        known = before > 0
        kept.append((before == ids[j][seen.here])[known])
        ago.append(j - seen.frame[known])
        age_s.append(stamps_s[j] - stamps_s[seen.frame[known]])
    return np.concatenate(kept), np.concatenate(ago), np.concatenate(age_s)


def _places_shares(ids: list[np.ndarray], points_m: Iterable[np.ndarray]) -> np.ndarray:
    """Return of each identity that comes back the share of its points that are near where it was before."""
    around = _NEAR_M * np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3)
    voxels, shares = Places(_NEAR_M), []
    last: dict[int, int] = {}
    before: dict[int, np.ndarray] = {}
    for j, points in enumerate(points_m):
        image = ids[j][np.isfinite(points).all(1)]
        points = points[np.isfinite(points).all(1)]
        for one in np.unique(image[image > 0]).tolist():
            own = points[image == one]
            if last.get(one, j) < j - 1:
                shares.append(np.isin(voxels.voxels(own[:, None] + around), before[one]).any(1).mean())
            before[one] = np.union1d(before.get(one, np.zeros(0, np.int64)), voxels.voxels(own))
            last[one] = j
    return np.array(shares)


def _sure(depth_m: np.ndarray) -> np.ndarray:
    """Return depth in mm where it is not near an edge, else 0, uint16 [H, W]."""
    window = np.ones((2 * _EDGE_PX + 1, 2 * _EDGE_PX + 1), np.uint8)
    smooth = cv2.dilate(depth_m, window) - cv2.erode(depth_m, window) <= _DEPTH_TOLERANCE * depth_m
    return np.where(smooth, np.minimum(1000 * depth_m, 65535), 0).astype(np.uint16)


def _view(depth_m: np.ndarray, camera: PinholeCamera, pose: np.ndarray) -> View:
    return View(points_at(depth_m, camera, to_world(pose), SAMPLES_HW), to_world(pose))


def _points(depth_m: np.ndarray, camera: PinholeCamera, pose: np.ndarray) -> np.ndarray:
    """Return where each pixel is in the world, float64 [H * W, 3]; NaN but for every `_STEP`-th row and column."""
    sparse = np.full_like(depth_m, np.nan)
    sparse[::_STEP, ::_STEP] = depth_m[::_STEP, ::_STEP]
    return points_at(sparse, camera, to_world(pose), depth_m.shape).reshape(-1, 3)


def _objects(ids: list[np.ndarray], sights: list[Sightings], voxel_m: float) -> list[np.ndarray]:
    """Return the object that each pixel's segment shows in the map of all images, 0 = none.

    Args:
        ids: track id of each pixel, of each image.
        sights: what each shows.
        voxel_m: side of their voxels.
    """
    found = object_map(join(sights), voxel_m)
    tracks = MAX_TRACK_ID + 1
    return [
        found.object_of(one.voxel, one.track, one.samples, tracks)[image]
        for image, one in zip(ids, sights, strict=True)
    ]


def _ids(segmentation: Segmentation) -> np.ndarray:
    return segmentation.labels_by_track().ravel()


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _share(value: float) -> str:
    return f'{value:.3f}' if np.isfinite(value) else ''
