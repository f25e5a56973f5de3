"""`diffcut_benchmark node_3d`: what segments in space cost: locating them, all points, and building the messages.

Labels are 50 patches of irregular shape, depth is noisy with a tenth missing. Publishing is not part of it.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rich.table import Table
from std_msgs.msg import Header

from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.core import Distortion, PinholeCamera, back_project, locate_segments
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.node.messages import MESSAGES
from diffcut_ros.node.messages_3d import markers, point_cloud

_SIZES_WH = ((640, 480), (1280, 720))


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table."""
    console = Figures()
    table = Table(title=f'{args.segments} segments in space: median of {args.repeats} (95th percentile), ms')
    table.add_column('what')
    columns = []
    for width, height in _SIZES_WH:
        table.add_column(f'{width}x{height}', justify='right')
        calls = _calls(width, height, args.segments)
        columns.append({name: _text(call, args.repeats) for name, call in calls.items()})
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    console.print(f'{os.cpu_count()} CPU cores, NumPy {np.__version__}')
    console.print(table)


def _calls(width: int, height: int, count: int) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    seeds = rng.uniform(0, 1, (count, 2)) * (height, width)
    nearest = np.zeros((height, width), np.int64)
    smallest = np.full((height, width), np.inf)
    for k, (row, column) in enumerate(seeds):
        distance = (rows - row) ** 2 + (columns - column) ** 2
        nearest[distance < smallest] = k
        smallest = np.minimum(smallest, distance)
    depth_m = (1 + nearest / count + rng.normal(0, 0.02, nearest.shape)).astype(np.float32)
    depth_m[rng.random(nearest.shape) < 0.1] = np.nan
    image_rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    segmentation = describe_segments(nearest, np.full((count, 8), 0.3, np.float32), 0, 0.5)
    camera = PinholeCamera(0.9 * width, 0.9 * width, width / 2, height / 2, (height, width))
    lens = replace(camera, distortion=Distortion('plumb_bob', (-0.36, 0.11, 0.001, 0.0005, 0.0)))
    pixels = back_project(np.ones_like(depth_m), camera).reshape(-1, 3)[:, :2]
    header = Header(frame_id='camera')
    points = back_project(depth_m, camera)
    geometries = locate_segments(segmentation.labels, depth_m, camera, count)
    segments = segmentation.segments
    return {
        'locate_segments': lambda: locate_segments(segmentation.labels, depth_m, camera, count),
        'detections': lambda: MESSAGES.detections(segments, header, False, geometries),
        'detections_3d': lambda: MESSAGES.detections_3d(segments, header, geometries),
        'back_project': lambda: back_project(depth_m, camera),
        'directions through a lens, once': lambda: lens.distortion.unbend(pixels),
        'locate_segments, through it': lambda: locate_segments(segmentation.labels, depth_m, lens, count),
        'back_project, through it': lambda: back_project(depth_m, lens),
        'point_cloud, organized': lambda: point_cloud(points, image_rgb, segmentation, header, organized=True),
        'point_cloud': lambda: point_cloud(points, image_rgb, segmentation, header, organized=False),
        'markers': lambda: markers(segments, geometries, header),
    }


def _text(call: Callable[[], object], repeats: int) -> str:
    seconds = []
    for _ in range(repeats + 2):
        start_s = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start_s)
    return f'{1000 * statistics.median(seconds[2:]):.1f} ({1000 * np.percentile(seconds[2:], 95):.1f})'
