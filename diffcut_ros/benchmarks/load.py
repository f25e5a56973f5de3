"""`diffcut_benchmark load`: the node under more images than it can take, its memory over many, and live parameters.

A real node (color backend) runs in its own process; images come and outputs go over the middleware, with reliable
delivery. Ages and answers are measured at the receiver.
"""

import argparse
import os
import time

import numpy as np
import rclpy
from rich.table import Table

from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.benchmarks.peer import images, node_and_peer, resident_mb
from diffcut_ros.progress import track

_STAGES = ('decode', 'features', 'segments', 'publish')
# What is changed, from and to: the last image is there, published again at each.
_CHANGES = [
    ('tau', 0.5, 0.4),
    ('tau', 0.5, 0.6),
    ('tau', 0.4, 0.8),
    ('target_segments', 0, 10),
    ('min_segment_area', 0, 1000),
]


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its tables.

    Raises:
        ValueError: for a time that is too short for outputs.
        TimeoutError: when the node does not start or does not answer.
    """
    console = Figures()
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(args=[])
    try:
        console.print(f'{os.cpu_count()} CPU cores, {os.environ.get("RMW_IMPLEMENTATION", "default middleware")}')
        console.print(_load(args))
        console.print(_memory(args.frames))
        console.print(_live(args.changes))
    finally:
        rclpy.try_shutdown()


def _load(args: argparse.Namespace) -> Table:
    """More images than the node can take: how old its outputs are, and what became of the images."""
    seen = images(round(10 * args.hz))
    with node_and_peer(**{'color.cells': args.cells}) as (_, peer):
        peer.arrived.clear()
        start_s = time.monotonic()
        sent = round(args.seconds * args.hz)
        for i in track(range(sent), sent, 'load'):
            peer.send(seen[i % len(seen)])
            peer.wait(start_s + (i + 1) / args.hz)
        peer.values.clear()
        peer.spin_until(lambda: 'publish p95 [ms]' in peer.values, 5.0, 'diagnostics')
        ages = np.array([age_s for _, age_s in peer.arrived])
        mean_s, p95_s = (
            sum(float(peer.values[f'{stage} {kind} [ms]']) for stage in _STAGES) / 1000 for kind in ('mean', 'p95')
        )
        counts = peer.values
    if len(ages) < 6:
        raise ValueError(f'--seconds: expected time for 6 outputs, received {len(ages)} in {args.seconds:g} s')
    third = len(ages) // 3
    table = Table(title=f'{args.seconds:g} s at {args.hz:g} Hz, 640x480, color.cells {args.cells}', show_header=False)
    for name, value in {
        'processing of an image, mean (p95)': f'{1000 * mean_s:.0f} ms ({1000 * p95_s:.0f})',
        'age of outputs on arrival, median (p95, largest)': f'{1000 * np.median(ages):.0f} ms '
        f'({1000 * np.percentile(ages, 95):.0f}, {1000 * ages.max():.0f})',
        'the same in the first and the last third': f'{1000 * np.median(ages[:third]):.0f}, '
        f'{1000 * np.median(ages[-third:]):.0f} ms',
        'p95 of the age / two processing times (p95) and a frame': f'{_limit(ages, p95_s, args.hz):.2f}',
        'images sent, received, segmented': f'{sent + 1}, {counts["received"]}, {counts["published"]}',
        'replaced by a newer one while one was processed': counts['replaced'],
    }.items():
        table.add_row(name, value)
    return table


def _limit(ages: np.ndarray, processing_s: float, hz: float) -> float:
    return float(np.percentile(ages, 95) / (2 * processing_s + 1 / hz))


def _memory(frames: int) -> Table:
    """The memory of the node over many images, each sent when the last one's labels have arrived."""
    seen = images(300)
    resident = []
    with node_and_peer(**{'color.cells': 16}) as (process, peer):
        for i in track(range(frames), frames, 'memory'):
            peer.exchange(seen[i % len(seen)])
            if (i + 1) % max(1, frames // 10) == 0:
                resident.append(resident_mb(process.pid))
    table = Table(title=f'memory of the node over {frames} images, MB')
    for tenth in range(1, len(resident) + 1):
        table.add_column(f'{tenth * max(1, frames // 10)}', justify='right')
    table.add_column('growth since the first', justify='right')
    table.add_row(*[f'{value:.0f}' for value in resident], f'{resident[-1] - resident[0]:.1f}')
    return table


def _live(repeats: int) -> Table:
    """From the call of the parameter service to the arrival of the last image's new labels."""
    table = Table(title=f'from the service call to the new label image of the last frame, ms ({repeats} photographs)')
    for column in ('parameter', 'from', 'to', 'median', 'p95', 'largest'):
        table.add_column(column, justify='right')
    with node_and_peer() as (_, peer):
        for name, before, after in _CHANGES:
            seconds = []
            for image in track(images(repeats, step_s=4.0), repeats, name):
                peer.set(name, before)
                peer.arrived.clear()
                peer.send(image)
                peer.spin_until(lambda: len(peer.arrived) > 0, 10.0, 'labels')
                peer.wait(time.monotonic() + 0.2)  # nothing of before is under way
                peer.arrived.clear()
                start_s = time.perf_counter()
                peer.set(name, after)
                peer.spin_until(lambda: len(peer.arrived) > 0, 10.0, 'labels')
                seconds.append(time.perf_counter() - start_s)
            peer.set(name, _CHANGES[0][1] if name == 'tau' else before)
            cells = [f'{1000 * value:.0f}' for value in (np.median(seconds), np.percentile(seconds, 95), max(seconds))]
            table.add_row(name, str(before), str(after), *cells)
    return table
