"""`diffcut_benchmark load`: a camera of 30 Hz, more images than the node can take, memory, live parameters.

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
from diffcut_ros.benchmarks.listener import OUTPUTS, listener
from diffcut_ros.benchmarks.peer import Peer, images, node_and_peer, processor_s, resident_mb
from diffcut_ros.progress import track

_STAGES = ('decode', 'features', 'segments', 'publish')
# What becomes of an image that the node received and did not publish.
_CAUSES = ('skipped', 'replaced', 'rejected', 'failed', 'timed out')
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
        console.print(
            f'{os.cpu_count()} CPU cores, {os.environ.get("RMW_IMPLEMENTATION", "default middleware")}; '
            f'{os.getloadavg()[0]:.1f} processes at work before (an idle machine has 0)'
        )
        console.print(_camera(args))
        console.print(_load(args))
        console.print(_memory(args.frames))
        console.print(_live(args.changes))
    finally:
        rclpy.try_shutdown()


def _load(args: argparse.Namespace) -> Table:
    """More images than the node can take: how old its outputs are, and what became of the images."""
    with node_and_peer(**{'color.cells': args.cells}) as (_, peer):
        peer.arrived.clear()
        sent = _play(peer, args, 'load')
        _diagnostics(peer)
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


def _camera(args: argparse.Namespace) -> Table:
    """Images of a camera, default parameters but `rate_hz` 0, all outputs wanted that these fill."""
    with node_and_peer() as (process, peer), listener('/diffcut', [name for name in OUTPUTS if name != 'labels']):
        peer.spin_until(
            lambda: all(peer.count_subscribers(f'/diffcut/{name}') for name in OUTPUTS), 30.0, 'a subscriber of each'
        )
        peer.exchange(images(1)[0])
        _diagnostics(peer)
        before, before_s = dict(peer.values), processor_s(process.pid)
        peer.arrived.clear()
        sent = _play(peer, args, 'camera')
        peer.wait(time.monotonic() + 0.5)
        used_s = processor_s(process.pid) - before_s
        ages = np.array([age_s for _, age_s in peer.arrived])
        _diagnostics(peer)
        counts = {name: int(peer.values[name]) - int(before[name]) for name in ('received', 'published', *_CAUSES)}
    if not len(ages):
        raise ValueError(f'--seconds: expected time for labels, received none in {args.seconds:g} s')
    table = Table(
        title=f'{args.seconds:g} s at {args.hz:g} Hz, 640x480, default parameters, {", ".join(OUTPUTS)} subscribed to',
        show_header=False,
    )
    dropped = {'on the way to the node': sent - counts['received']} | {name: counts[name] for name in _CAUSES}
    for name, value in {
        'images published per second': f'{counts["published"] / args.seconds:.2f}',
        'images sent, received, published; labels received': f'{sent}, {counts["received"]}, {counts["published"]}; '
        f'{len(ages)}',
        'dropped, by cause': ', '.join(f'{count} {name}' for name, count in dropped.items() if count) or 'none',
        'age of labels on arrival, median (p95, largest)': f'{1000 * np.median(ages):.0f} ms '
        f'({1000 * np.percentile(ages, 95):.0f}, {1000 * ages.max():.0f})',
        'the last images: stages, mean (p95), ms': ', '.join(
            f'{stage} {peer.values[f"{stage} mean [ms]"]} ({peer.values[f"{stage} p95 [ms]"]})' for stage in _STAGES
        ),
        'processor time of the node for an image published': f'{1000 * used_s / max(1, counts["published"]):.0f} ms',
    }.items():
        table.add_row(name, value)
    return table


def _play(peer: Peer, args: argparse.Namespace, name: str) -> int:
    """Send images as a camera does; return how many."""
    seen, sent = images(max(1, round(10 * args.hz))), round(args.seconds * args.hz)
    start_s = time.monotonic()
    for i in track(range(sent), sent, name):
        peer.send(seen[i % len(seen)])
        peer.wait(start_s + (i + 1) / args.hz)
    return sent


def _diagnostics(peer: Peer) -> None:
    """Wait for what the node says of all images so far."""
    peer.values.clear()
    peer.spin_until(lambda: 'publish p95 [ms]' in peer.values, 5.0, 'diagnostics')


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
