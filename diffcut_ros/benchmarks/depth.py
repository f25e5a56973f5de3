"""`diffcut_benchmark depth`: how far positions of segments drift over RGB-D frames with known poses.

A segment of a still scene has one place in the world. First the positions alone: each segment's pixels are carried into
a later frame by depth and true motion, and are located there by that frame's depth. Then the tracks of the tracker:
every change of their borders moves them, and so do the image's sides, which cut off walls and floors.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from rich.table import Table

from diffcut_ros.arguments.parser import given
from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.benchmarks.rgbd import RgbdFrame, frame_paths, load_camera, load_frame
from diffcut_ros.core import (
    PinholeCamera,
    Pipeline,
    Scene,
    Segmentation,
    SegmenterConfig,
    SegmentGeometry,
    back_project,
    locate_segments,
)
from diffcut_ros.core.geometry import project
from diffcut_ros.features import create_extractor
from diffcut_ros.progress import track

# Aim: positions stay within this.
LIMIT_M = 0.1
# Later frames that segments are carried into.
STEPS = (1, 10, 30)
# A segment's median says little where much of it has left the view, or is hidden.
_SEEN_AGAIN = 0.9
_SHORTEST_TRACK = 5


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table.

    Raises:
        ValueError: for a folder without such frames.
    """
    paths = frame_paths(args.root)[: args.limit]
    first = load_frame(paths[0])
    camera = load_camera(args.root, first.depth_m.shape)
    config = SegmenterConfig(**given(args, 'tau', 'damping', 'min_segment_area'))
    pipeline = Pipeline(create_extractor(args.backend), config)
    frames, segmentations, geometries = [], [], []
    for i, path in enumerate(track(paths, len(paths), 'segmenting')):
        frames.append(load_frame(path, first.depth_m.shape))
        stamp_ns = round(i * 1e9 / args.hz)
        result = pipeline.process(Scene(frames[-1].image_rgb, stamp_ns, frames[-1].depth_m, camera))
        segmentations.append(result.segmentation)
        geometries.append(result.geometries)
    console = Figures()
    title = f'drift of positions: {len(frames)} frames, {args.backend}, tau {config.tau:g}, damping {config.damping:g}'
    table = Table(title=title)
    console.begin(lambda: table)
    for column in ('what', 'number', f'within {LIMIT_M:g} m', 'median', '90th percentile'):
        table.add_column(column, justify='left' if column == 'what' else 'right')
    for step in track(STEPS, len(STEPS), 'carrying pixels along'):
        drifts = carried_drifts(segmentations, geometries, frames, camera, step)
        table.add_row(f'the same pixels, frames later: {step}', *_summary(drifts))
    for about, located in (
        ('a track', geometries),
        ('wholly in view', [wholly_in_view(*pair) for pair in zip(segmentations, geometries, strict=True)]),
    ):
        tracks = world_positions(segmentations, located, frames).values()
        tracks = [positions for positions in tracks if len(positions) >= _SHORTEST_TRACK]
        table.add_section()
        table.add_row(f'{about}, from frame to frame', *_summary([d for t in tracks for d in step_lengths_m(t)]))
        table.add_row(
            f'{about}, median distance from its middle', *_summary([np.median(deviations_m(t)) for t in tracks])
        )
        table.add_row(f'{about}, largest distance', *_summary([deviations_m(t).max() for t in tracks]))
    console.finish()
    console.print(f'tracks of at least {_SHORTEST_TRACK} frames')


def wholly_in_view(
    segmentation: Segmentation, geometries: Sequence[SegmentGeometry | None]
) -> list[SegmentGeometry | None]:
    """Return the geometries of segments that touch no side of the image, None for the others."""
    height, width = segmentation.labels.shape
    x0, y0, x1, y1 = segmentation.segments.box_xyxy.T
    inside = (x0 > 0) & (y0 > 0) & (x1 < width) & (y1 < height)
    return [geometry if whole else None for geometry, whole in zip(geometries, inside, strict=True)]


def carry(labels: np.ndarray, frame: RgbdFrame, later: RgbdFrame, camera: PinholeCamera) -> np.ndarray:
    """Return where the pixels of a frame are in another, by depth and poses: labels [H, W], 0 where there is none.

    Where several meet, the nearest is seen.
    """
    height, width = frame.depth_m.shape
    points = back_project(frame.depth_m, camera)
    known = ~np.isnan(frame.depth_m)
    motion = np.linalg.inv(later.pose) @ frame.pose
    moved = points[known] @ motion[:3, :3].T + motion[:3, 3]
    values, moved = labels[known][moved[:, 2] > 0], moved[moved[:, 2] > 0]
    pixels = np.round(project(moved, camera)).astype(int)
    inside = ((pixels >= 0) & (pixels < (width, height))).all(1)
    columns, rows = pixels[inside].T
    far_first = np.argsort(-moved[inside, 2])
    carried = np.zeros_like(labels)
    carried[rows[far_first], columns[far_first]] = values[inside][far_first]
    return carried


def carried_drifts(
    segmentations: Sequence[Segmentation],
    geometries: Sequence[Sequence[SegmentGeometry | None]],
    frames: Sequence[RgbdFrame],
    camera: PinholeCamera,
    step: int,
) -> list[float]:
    """Return how far segments are from their place after so many frames, in metres, pixels being carried along.

    Segments of which less than 90 % of the pixels with depth are seen again are left out.
    """
    drifts = []
    for i in range(0, len(frames) - step, step):
        labels, count = segmentations[i].labels, len(segmentations[i].segments)
        carried = carry(labels, frames[i], frames[i + step], camera)
        before = np.bincount(labels[~np.isnan(frames[i].depth_m)], minlength=count + 1)
        after = np.bincount(carried.ravel(), minlength=count + 1)
        located = locate_segments(carried, frames[i + step].depth_m, camera, count)
        for label, (one, other) in enumerate(zip(geometries[i], located, strict=True), start=1):
            if one and other and after[label] >= _SEEN_AGAIN * before[label]:
                places = _in_world(one, frames[i]), _in_world(other, frames[i + step])
                drifts.append(float(np.linalg.norm(places[1] - places[0])))
    return drifts


def world_positions(
    segmentations: Iterable[Segmentation],
    geometries: Sequence[Sequence[SegmentGeometry | None]],
    frames: Sequence[RgbdFrame],
) -> dict[int, np.ndarray]:
    """Return the positions of each track in the world, float64 [n, 3] in metres, in the order of the frames."""
    tracks = defaultdict(list)
    for segmentation, located, frame in zip(segmentations, geometries, frames, strict=True):
        for segment, geometry in zip(segmentation.segments, located, strict=True):
            if segment.track_id and geometry:
                tracks[segment.track_id].append(_in_world(geometry, frame))
    return {track_id: np.array(positions) for track_id, positions in tracks.items()}


def step_lengths_m(positions: np.ndarray) -> list[float]:
    """Return the distances of consecutive positions [n, 3]."""
    return [float(np.linalg.norm(b - a)) for a, b in pairwise(positions)]


def deviations_m(positions: np.ndarray) -> np.ndarray:
    """Return the distance of each position [n, 3] from the median position."""
    return np.linalg.norm(positions - np.median(positions, axis=0), axis=1)


def _in_world(geometry: SegmentGeometry, frame: RgbdFrame) -> np.ndarray:
    return frame.pose[:3, :3] @ geometry.position_m + frame.pose[:3, 3]


def _summary(distances_m: Sequence[float]) -> list[str]:
    if not distances_m:
        return ['0', '-', '-', '-']
    within = np.mean(np.array(distances_m) <= LIMIT_M)
    middle, high = np.percentile(distances_m, (50, 90))
    return [str(len(distances_m)), f'{100 * within:.0f} %', f'{middle:.3f} m', f'{high:.3f} m']
