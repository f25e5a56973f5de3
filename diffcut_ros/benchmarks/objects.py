"""`diffcut_benchmark objects`: is each thing one object of the map, and each object one thing?

RGB-D frames with known poses become objects as `diffcut_analyze --objects` makes them, beside track ids as they are.
With --things, points in frames that a person named tell how well objects agree with things.
"""

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy.spatial import cKDTree

from diffcut_ros.arguments.parser import given
from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.benchmarks.rgbd import frame_paths, load_camera, load_frame, load_image, to_world
from diffcut_ros.core import PinholeCamera, Pipeline, Scene, SegmenterConfig
from diffcut_ros.core.geometry import points_at
from diffcut_ros.core.objects import ObjectMap, Sightings, join, look, object_map, one_thing, overlaps
from diffcut_ros.evaluation.measure import machine
from diffcut_ros.features import create_extractor
from diffcut_ros.features.registry import resolve_device
from diffcut_ros.progress import track

# A thing is one object, and the object this thing, where both are so for this share of their points at least.
_MOST = 0.8
_COLUMNS = 'frame', 'x', 'y', 'thing'
_AGREEMENT = 'precision', 'recall', 'one to one', 'points without'


@dataclass(frozen=True)
class Things:
    """Points of frames that a person named.

    Attributes:
        frame: int64 [P], number of the frame, as in its files' names.
        x, y: int64 [P], column and row of the pixel.
        thing: int64 [P], which of `names` it is of.
        names: of the things, each once.
    """

    frame: np.ndarray
    x: np.ndarray
    y: np.ndarray
    thing: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """How objects agree with things, at points of these; NaN where there are no such pairs.

    Attributes:
        precision: of the pairs of points in one object, the share that is of one thing.
        recall: of the pairs of points of one thing, the share that is in one object.
        one_to_one: number of things that are one object, see `_MOST`.
        things: number of things.
        without: number of points without an object.
    """

    precision: float
    recall: float
    one_to_one: int
    things: int
    without: int


@dataclass
class _Seen:
    """What frames show: sightings, ms for each, and of each named point where it is and in which segment (0 = none)."""

    sightings: list[Sightings]
    spent_ms: list[float]
    points_m: np.ndarray
    segment: np.ndarray


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table.

    Raises:
        ValueError: without frames, or for a file of things that cannot be read or is of other frames.
    """
    paths = frame_paths(args.root)[:: args.every][: args.limit]
    camera = load_camera(args.root, load_image(paths[0]).shape[:2])
    things = None if args.things is None else read_things(args.things, camera.size_hw)
    if things is not None and (other := sorted(set(things.frame.tolist()) - set(map(_number, paths)))):
        raise ValueError(
            f'{args.things}: expected points in the frames that are taken of {args.root}, received frame {other[0]}'
        )
    device = resolve_device(args.device)
    config = SegmenterConfig(**given(args, 'tau', 'damping', 'refine', 'instances'))
    pipeline = Pipeline(create_extractor(args.backend, device=device), config)
    shown = _see(paths, camera, pipeline, args.hz / args.every, things)
    seen = join(shown.sightings)
    console = Figures()
    console.print(machine(device))
    cut = f'tau {config.tau:g}, damping {config.damping:g}, instances {config.instances}, refine {config.refine}'
    table = Table(title=f'objects of {args.root.name}, {len(paths)} frames: backend {args.backend}, {cut}')
    console.begin(lambda: table)
    for column in ('', 'objects', '99 %', 'duplicates', *(() if things is None else _AGREEMENT)):
        table.add_column(column)
    if things is not None:
        within = things.thing + things.frame * len(things.names)
        table.add_row('segments, each image alone', '', '', '', *_cells(agree(within, shown.segment)))
    for name, merges in (('a track id is an object', False), ('objects', True)):
        found = object_map(seen, pipeline.tracking.voxel_m, merges)
        row = [name, str(len(found.objects)), str(_holding_most(found)), str(_duplicates(seen, found, merges))]
        if things is not None:
            row += _cells(agree(things.thing, owners(shown.points_m, found, pipeline.tracking.voxel_m)))
        table.add_row(*row)
    console.finish()
    console.print(
        f'what an image adds: {np.median(shown.spent_ms):.1f} ms (p95 {np.percentile(shown.spent_ms, 95):.1f})'
    )


def _see(paths: list[Path], camera: PinholeCamera, pipeline: Pipeline, hz: float, things: Things | None) -> _Seen:
    """Segment frames, and look at the things in them."""
    count = 0 if things is None else len(things.thing)
    seen = _Seen([], [], np.full((count, 3), np.nan), np.zeros(count, np.int64))
    for i, path in track(enumerate(paths), len(paths), paths[0].parent.name):
        frame = load_frame(path, camera.size_hw)
        into = to_world(frame.pose)
        scene = Scene(frame.image_rgb, round(i * 1e9 / hz), frame.depth_m, camera, look_up=lambda into=into: into)
        segmentation = pipeline.process(scene).segmentation
        start_s, voxel_m = time.thread_time(), pipeline.tracking.voxel_m
        seen.sightings.append(look(frame.image_rgb, segmentation, scene.stamp_ns, frame.depth_m, camera, into, voxel_m))
        seen.spent_ms.append(1000 * (time.thread_time() - start_s))
        if things is None:
            continue
        of = np.flatnonzero(things.frame == _number(path))
        at = things.y[of], things.x[of]
        seen.points_m[of] = points_at(frame.depth_m, camera, into, camera.size_hw)[at]
        track_id = segmentation.labels_by_track()[at]
        seen.segment[of] = np.where(track_id > 0, track_id * len(paths) + i, 0)
    return seen


def read_things(path: Path, size_hw: tuple[int, int]) -> Things:
    """Return the points that a person named, from a CSV file of frame, x, y and thing.

    Raises:
        ValueError: when it cannot be read, for other columns or without rows, and for points outside the image.
    """
    try:
        with path.open(encoding='utf-8', newline='') as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f'{path}: expected a CSV file of {", ".join(_COLUMNS)}: {error}') from error
    if not rows or set(rows[0]) != set(_COLUMNS):
        received = ', '.join(map(str, rows[0])) if rows else 'no row'
        raise ValueError(f'{path}: expected columns {", ".join(_COLUMNS)}, received {received}')
    try:
        frame, x, y = (np.array([int(row[name]) for row in rows]) for name in _COLUMNS[:3])
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path}: expected whole numbers as frame, x and y: {error}') from error
    height, width = size_hw
    if outside := np.flatnonzero((x < 0) | (x >= width) | (y < 0) | (y >= height)).tolist():
        row = outside[0]
        raise ValueError(f'{path}, line {row + 2}: expected a point in {width} x {height}, received {x[row]}, {y[row]}')
    names = tuple(dict.fromkeys(row['thing'] for row in rows))
    return Things(frame, x, y, np.array([names.index(row['thing']) for row in rows]), names)


def agree(thing: np.ndarray, object_id: np.ndarray) -> Agreement:
    """Return how objects agree with things.

    Args:
        thing: int64 [P], of each point.
        object_id: int64 [P], the object that it is in, 0 = none: then it is alone.
    """
    without = object_id == 0
    apart = np.where(without, -1 - np.arange(len(thing)), object_id)
    _, of = np.unique(apart, return_inverse=True)
    _, of_thing = np.unique(thing, return_inverse=True)
    table = np.zeros((of_thing.max() + 1, of.max() + 1), np.int64)
    np.add.at(table, (of_thing, of), 1)
    both, in_object, in_thing = (np.sum(n * (n - 1)) / 2 for n in (table, table.sum(0), table.sum(1)))
    most, shared = table.argmax(1), table.max(1)
    one_to_one = (shared >= _MOST * table.sum(1)) & (shared >= _MOST * table.sum(0)[most])
    return Agreement(
        both / in_object if in_object else np.nan,
        both / in_thing if in_thing else np.nan,
        int(one_to_one.sum()),
        len(table),
        int(without.sum()),
    )


def owners(points_m: np.ndarray, found: ObjectMap, voxel_m: float) -> np.ndarray:
    """Return the object that each point is in, int64 [P]: that of the nearest voxel, 0 where none is within its side.

    Args:
        points_m: float64 [P, 3], NaN where it is not known.
        found: the objects.
        voxel_m: side of their voxels.
    """
    known = np.isfinite(points_m).all(1)
    owner = np.zeros(len(points_m), np.int64)
    if len(found.points_m):
        distance, nearest = cKDTree(found.points_m).query(points_m[known], distance_upper_bound=voxel_m)
        owner[known] = np.append(found.object_id, 0)[np.where(np.isfinite(distance), nearest, -1)]
    return owner


def _cells(agreement: Agreement) -> list[str]:
    one, without = agreement.one_to_one, agreement.without
    return [f'{agreement.precision:.3f}', f'{agreement.recall:.3f}', f'{one} of {agreement.things}', str(without)]


def _holding_most(found: ObjectMap) -> int:
    """Return how many objects hold 99 % of the voxels, the largest ones."""
    voxels = np.sort([one.voxels for one in found.objects])[::-1]
    return 1 + int(np.searchsorted(voxels.cumsum(), 0.99 * voxels.sum())) if len(voxels) else 0


def _duplicates(seen: Sightings, found: ObjectMap, merges: bool) -> int:
    """Return of how many pairs of objects more than half of the voxels of the smaller one are the other's, too."""
    row = np.searchsorted(seen.track_id, seen.track)
    of = one_thing(seen) if merges else np.arange(len(seen.track_id))
    kept = np.isin(of[row], np.searchsorted(seen.track_id, [one.object_id for one in found.objects]))
    # Of a voxel, each object once.
    key, which = np.unique(np.stack([seen.voxel[kept], of[row][kept]], 1), axis=0, return_inverse=True)
    voxel, owner = key.T
    same, shared, size = overlaps(voxel, owner, np.bincount(which.ravel(), seen.share[kept]), len(of))
    return int(np.count_nonzero(2 * shared > size[same].min(1)))


def _number(path: Path) -> int:
    return int(path.name.split('.')[0].removeprefix('frame-'))
