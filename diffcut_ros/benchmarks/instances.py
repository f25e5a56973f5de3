"""`diffcut_benchmark instances`: are segments things? Segments of the cut against their instances, over RGB-D frames.

A thing is in one piece and fills much of its box, keeps its identity, stays in its place and has no gap in space.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.table import Table

from diffcut_ros.arguments.parser import given
from diffcut_ros.benchmarks.depth import LIMIT_M, step_lengths_m, world_positions
from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.benchmarks.rgbd import frame_paths, load_camera, load_frame
from diffcut_ros.benchmarks.tracking import TRACKER, Record, measure, rgbd_sequence
from diffcut_ros.core import Frame, Pipeline, Scene, Segmentation, SegmenterConfig, back_project
from diffcut_ros.core.instances import INSTANCES
from diffcut_ros.core.part_graph import chosen, components
from diffcut_ros.core.runs import Runs
from diffcut_ros.evaluation.measure import machine
from diffcut_ros.features import create_extractor
from diffcut_ros.features.registry import resolve_device
from diffcut_ros.progress import track

# A box that reaches across so much space without a point of its segment holds more than one thing.
GAP_M = 0.3
# What boxes leave out on each side, see `locate_segments`.
_TRIMMED_SHARE = 0.05


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table.

    Raises:
        ValueError: for fewer than two frames, or a folder without frames.
    """
    paths = frame_paths(args.root)[: args.limit]
    if len(paths) < 2:
        raise ValueError(f'{args.root}: expected at least 2 frames, received {len(paths)}')
    frames = [load_frame(paths[0])]
    frames += [load_frame(path, frames[0].depth_m.shape) for path in paths[1:]]
    camera = load_camera(args.root, frames[0].depth_m.shape)
    sequence = rgbd_sequence(args.root, args.hz, every=1)
    device = resolve_device('auto')
    extractor = create_extractor(args.backend, device=device)
    feature_maps = [extractor(frame.image_rgb) for frame in track(frames, len(frames), 'features')]
    points_m = [back_project(frame.depth_m, camera).reshape(-1, 3) for frame in frames]
    config = SegmenterConfig(**given(args, 'tau', 'min_part_share', 'depth_jump'))
    console = Figures()
    console.print(machine(device))
    table = Table(title=f'instances: {len(frames)} frames, backend {args.backend}, tau {config.tau:g}')
    console.begin(lambda: table)
    for column in (
        'instances', 'damping', 'per image', 'fill', 'in parts', f'gap > {GAP_M:g} m', 'kept', 'after 1 s',
        f'steps < {LIMIT_M:g} m', 'time',
    ):  # fmt: skip
        table.add_column(column, justify='left' if column == 'instances' else 'right')
    for damping in (0.0, args.damping):
        for instances in INSTANCES:
            one = replace(config, instances=instances, damping=damping)
            pipeline = Pipeline(extractor, one)
            segmentations, geometries, seconds = [], [], []
            for i, frame in enumerate(track(frames, len(frames), f'{instances}, damping {damping:g}')):
                scene = Scene(frame.image_rgb, round(i * 1e9 / args.hz), frame.depth_m, camera)
                result = pipeline.process(scene, feature_maps[i])
                segmentations.append(result.segmentation)
                geometries.append(result.geometries)
                seconds.append(_cut_s(result.frame, one) - _cut_s(result.frame, replace(one, instances='segments')))
            ids = [found.labels_by_track().ravel().astype(np.int32) for found in segmentations]
            record = Record(ids, seconds)
            labels = [found.labels.ravel() for found in segmentations]
            pairs = track(range(len(frames) - 1), len(frames) - 1, f'{instances}: motion')
            score = measure({TRACKER: record}, labels, sequence, pairs)[0][TRACKER]
            steps = [
                step
                for positions in world_positions(segmentations, geometries, frames).values()
                for step in step_lengths_m(positions)
            ]
            table.add_row(
                instances,
                f'{damping:g}',
                f'{np.median([len(found.segments) for found in segmentations]):g}',
                f'{np.median(np.concatenate([fill(found) for found in segmentations])):.2f}',
                f'{np.concatenate([in_parts(found) for found in segmentations]).mean():.0%}',
                f'{np.concatenate([has_gap(*pair) for pair in zip(segmentations, points_m, strict=True)]).mean():.0%}',
                f'{score.kept:.3f}',
                f'{score.kept_1s:.3f}',
                f'{np.mean(np.array(steps) <= LIMIT_M):.0%}',
                f'{1000 * np.median(seconds):.1f} ms',
            )
        table.add_section()
    console.finish()
    console.print(
        'fill: median share of its box that one fills; in parts: share of those in more than one part;\n'
        f'gap: share of those whose box reaches across {GAP_M:g} m without a point of it along some axis;\n'
        'kept: share of pixels that keep their track id; steps: share of them from frame to frame, in the world;\n'
        'time: CPU time that a cut takes more than one into segments, median'
    )


def _cut_s(frame: Frame, config: SegmenterConfig) -> float:
    """Return the CPU time of a cut of a frame whose hierarchy is known."""
    start = time.process_time()
    frame.cut(config)
    return time.process_time() - start


def fill(segmentation: Segmentation) -> np.ndarray:
    """Return the share of its box that each segment fills, float64 [K]."""
    x0, y0, x1, y1 = segmentation.segments.box_xyxy.T
    return segmentation.segments.area_px / ((x1 - x0) * (y1 - y0))


def in_parts(segmentation: Segmentation) -> np.ndarray:
    """Return which segments are in more than one part, bool [K]; pixels that touch with a side are connected."""
    runs = Runs.of(segmentation.labels)
    pairs = runs.touching
    part = components(len(runs.label), chosen(pairs, runs.label[pairs[0]] == runs.label[pairs[1]]))
    first = np.unique(part, return_index=True)[1]
    return np.bincount(runs.label[first], minlength=len(segmentation.segments) + 1)[1:] > 1


def has_gap(segmentation: Segmentation, points_m: Sequence[np.ndarray]) -> np.ndarray:
    """Return of which segments the box in space reaches across a gap without a point of it, bool [K].

    Args:
        segmentation: of an image.
        points_m: float32 [H * W, 3], what each pixel sees, NaN where there is no depth; the outermost 5 % of a
            segment's points along each axis do not count, as in its box.
    """
    flat = segmentation.labels.ravel()
    seen = np.flatnonzero(~np.isnan(points_m[:, 2]))
    order = seen[np.argsort(flat[seen], kind='stable')]
    ends = np.searchsorted(flat[order], np.arange(len(segmentation.segments) + 1), side='right')
    found = np.zeros(len(segmentation.segments), bool)
    for k in range(len(found)):
        points = np.sort(points_m[order[ends[k] : ends[k + 1]]], axis=0)
        trimmed = int(_TRIMMED_SHARE * len(points))
        inner = points[trimmed : len(points) - trimmed]
        found[k] = len(inner) > 1 and np.diff(inner, axis=0).max() > GAP_M
    return found
